//! A server under test: the real one, in this process, on a free port, two shards.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use annulus::config::{
    AuthMode, Config, DataMode, DialectPath, Fsync, HooksConfig, IdentityConfig, StorageConfig, TlsConfig,
};
use annulus::io::{Control, host};
use annulus::server::{RunError, Server, Settings};

/// How long a test waits for anything before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Drains when it goes out of scope, and fails the test if the server did not end well.
pub struct TestServer {
    pub address: SocketAddr,
    /// Where it speaks TLS, if it does.
    pub tls_address: Option<SocketAddr>,
    controls: Vec<Control>,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl TestServer {
    /// With the default configuration.
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// With what `change` makes of the default configuration.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(two_cores(), change)
    }

    /// With a shard on each of `cores`, and what `change` makes of the default configuration.
    pub fn on(cores: Vec<usize>, change: impl FnOnce(&mut Config)) -> Self {
        Self::serve(cores, None, None, change)
    }

    /// With its data in `directory`, a shard on each of `cores`, and what `change` makes of the defaults.
    pub fn on_disk(directory: &Path, cores: Vec<usize>, change: impl FnOnce(&mut StorageConfig)) -> Self {
        let mut storage = storage_in(directory);
        change(&mut storage);
        let offers_durable = storage.fsync != Fsync::Never;
        Self::serve(cores, Some(storage), None, |config| config.offers_durable = offers_durable)
    }

    /// With its data in `directory`, or in memory, and all of it to be dropped for whoever asks.
    pub fn resettable(directory: Option<&Path>) -> Self {
        Self::serve(two_cores(), directory.map(storage_in), None, |config| {
            (config.test_reset, config.offers_durable) = (true, directory.is_some());
        })
    }

    /// With its data in `directory`, and clients that have to say who they are.
    pub fn asking(directory: &Path, identity: IdentityConfig) -> Self {
        Self::serve(two_cores(), Some(storage_in(directory)), Some(identity), |config| {
            (config.auth, config.offers_durable) = (AuthMode::Required, true);
        })
    }

    /// In memory, with rules and what the application is told and asked.
    pub fn hooked(auth: AuthMode, identity: IdentityConfig, hooks: HooksConfig) -> Self {
        Self::serve_with(two_cores(), None, (Some(identity), hooks, None), |config| config.auth = auth)
    }

    /// In memory, with TLS on a second port.
    pub fn with_tls(tls: TlsConfig, change: impl FnOnce(&mut Config)) -> Self {
        Self::serve_with(two_cores(), None, (None, HooksConfig::default(), Some(tls)), |config| {
            config.tls_listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
            change(config);
        })
    }

    fn serve(
        cores: Vec<usize>,
        storage: Option<StorageConfig>,
        identity: Option<IdentityConfig>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        Self::serve_with(cores, storage, (identity, HooksConfig::default(), None), change)
    }

    fn serve_with(
        cores: Vec<usize>,
        storage: Option<StorageConfig>,
        (identity, hooks, tls): (Option<IdentityConfig>, HooksConfig, Option<TlsConfig>),
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            drain_ms: 500,
            dialects: vec![DialectPath::NATIVE, annulus::dialect::synckit::PATH],
            ..Config::default()
        };
        change(&mut config);
        let (bound, is_bound) = mpsc::channel();
        // It probes the kernel with a ring of its own, whose end interrupts a later system call of this thread.
        let thread = thread::spawn(move || {
            let server = Server::bind(Settings {
                config,
                cores,
                storage,
                identity,
                tls,
                hooks,
                admin: None,
                from_flags: None,
                node_is_chosen: false,
            })?;
            let tls_address = server.tls_addresses().first().copied();
            let _ = bound.send((server.addresses()[0], tls_address, server.controls()));
            server.serve()
        });
        let (address, tls_address, controls) = is_bound.recv().expect("the server binds");
        Self { address, tls_address, controls, thread: Some(thread) }
    }

    /// Drains and waits for the end.
    pub fn stop(self) {
        self.drain();
        self.join().expect("the server ends well");
    }

    /// Tells every shard to drain, as a signal does.
    pub fn drain(&self) {
        self.controls.iter().for_each(Control::drain);
    }

    /// Waits for the end that [`Self::drain`] began.
    pub fn join(mut self) -> Result<(), RunError> {
        self.thread.take().unwrap().join().expect("no shard panicked")
    }

    /// The value of one series of `/metrics`; 0 if it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        let page = get(self.address, "/metrics");
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until the series has at least this value.
    pub fn await_metric(&self, series: &str, at_least: f64) {
        await_that(series, || self.metric(series) >= at_least);
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.drain();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !thread::panicking() {
                assert!(matches!(ended, Ok(Ok(()))), "the server ends well");
            }
        }
    }
}

/// A place for a data directory, removed with everything in it at the end of the test.
pub struct Directory(PathBuf);

impl Directory {
    /// Not there yet.
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("annulus-end-to-end-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of the only segment of the journal.
    pub fn segment(&self) -> PathBuf {
        let names = std::fs::read_dir(self.0.join("journal")).unwrap();
        let paths: Vec<PathBuf> = names.map(|name| name.unwrap().path()).collect();
        assert_eq!(paths.len(), 1, "{paths:?}");
        paths[0].clone()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Kept for a look where the test has failed.
        if !thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Two cores this process may use; where there is one, it carries both shards.
pub fn two_cores() -> Vec<usize> {
    let allowed = host::allowed_cores();
    vec![allowed[0], *allowed.get(1).unwrap_or(&allowed[0])]
}

/// Looks again and again, without busy waiting, until `holds`.
pub fn await_that(what: &str, holds: impl FnMut() -> bool) {
    await_for(PATIENCE, what, holds);
}

/// The same of what may take so long, as it lets all others go first.
pub fn await_for(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < patience, "waited too long for: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The whole answer to a plain HTTP request for `path`.
pub fn get(address: SocketAddr, path: &str) -> String {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
}

/// Sends `request` as it is and returns everything the server sends until it closes.
pub fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn storage_in(directory: &Path) -> StorageConfig {
    StorageConfig {
        data_dir: directory.to_owned(),
        fsync: Fsync::Always,
        segment_bytes: 1 << 20,
        journal_bytes_max: 0,
        checkpoint_interval_ms: 60_000,
        disk_reserve_bytes: 0,
        salvage: false,
        data_mode: DataMode::OWNER,
        service_core: None,
    }
}

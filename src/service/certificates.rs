//! The certificates of TLS: read at the start, and again when their files change.
//!
//! Invariant: what cannot be used is said in the log, and what was in force stays. Shards wait for nobody: they find what is in
//! force where they look for it when a client connects.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::handle::Handle;
use super::reading::{self, NotRead};
use super::watching::Watch;
use crate::config::TlsConfig;
use crate::io::{Clock, Event};
use crate::limits::KEY_FILE_BYTES_MAX;
use crate::tls::{BadPem, Current, Offer, Pair, Pem};

/// How long files must rest after a change before they are read: a certificate and its key change one after the other.
const REST: Duration = Duration::from_millis(250);
/// How long they are waited for at most.
const REST_NS_MAX: u64 = 5_000_000_000;
/// How often they are looked at though nobody has said that they changed.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// Why what is configured cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    #[error("{flag} {}: {source}", path.display())]
    Io { flag: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Content(#[from] BadPem),
    #[error("cannot open an event: {0}; see `ulimit -n`")]
    Event(#[source] io::Error),
}

/// Texts that were read together.
#[derive(Debug, PartialEq, Eq)]
struct Texts {
    pairs: Vec<Pair>,
    client_ca: Option<Pem>,
}

impl Texts {
    fn read(config: &TlsConfig) -> Result<Self, CertificatesError> {
        let pair = |(certificate, key): &(PathBuf, PathBuf)| {
            Ok(Pair { certificate: read("--tls-cert", certificate)?, key: read("--tls-key", key)? })
        };
        let pairs = config.pairs.iter().map(pair).collect::<Result<_, CertificatesError>>()?;
        let client_ca = config.client_ca.as_deref().map(|path| read("--tls-client-ca", path)).transpose()?;
        Ok(Self { pairs, client_ca })
    }

    fn offer(&self, before: Option<&Offer>) -> Result<Offer, BadPem> {
        Offer::new(&self.pairs, self.client_ca.as_ref(), before)
    }
}

/// See the module. Read, and nobody looks yet whether they change.
pub struct Certificates {
    config: TlsConfig,
    /// What was read last, if it could be used.
    seen: Texts,
    current: Current,
    handle: Handle,
    watch: Watch,
}

/// A thread that looks after them.
pub struct Serving {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Certificates {
    /// Reads all that `config` names.
    ///
    /// # Errors
    /// [`CertificatesError`] for what cannot be read or used.
    pub fn open(config: &TlsConfig) -> Result<Self, CertificatesError> {
        // Before they are read, so that no change is missed.
        let pairs = config.pairs.iter().flat_map(|(certificate, key)| [certificate, key]);
        let watch = Watch::of(pairs.chain(&config.client_ca).map(PathBuf::as_path), "within ten minutes");
        let seen = Texts::read(config)?;
        let current = Current::new(seen.offer(None)?);
        let handle = Handle::new(Event::new().map_err(CertificatesError::Event)?);
        Ok(Self { config: config.clone(), seen, current, handle, watch })
    }

    /// What new connections are offered, now and later.
    pub fn current(&self) -> Current {
        self.current.clone()
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// If there is none to be had.
    pub fn start(self) -> io::Result<Serving> {
        let handle = self.handle();
        let thread = thread::Builder::new().name("certificates".to_owned()).spawn(move || self.run())?;
        Ok(Serving { handle, thread })
    }

    fn run(mut self) {
        let clock = Clock::start();
        // What is watched may have changed since.
        let (mut pause, mut changed_ns) = (REST, None);
        while !self.handle.is_stopping() {
            let is_woken = self.handle.wait(&self.watch, Some(pause));
            let is_asked = self.handle.take_reload();
            if is_asked {
                tracing::info!("SIGHUP: certificates are read again");
            }
            let now_ns = clock.elapsed_ns();
            if self.watch.take() {
                changed_ns.get_or_insert(now_ns);
            }
            // Something else in the same folder may change all the time.
            let has_rested = changed_ns.is_some_and(|since_ns| now_ns - since_ns > REST_NS_MAX);
            if is_asked || !is_woken || has_rested {
                self.look();
                (pause, changed_ns) = (LOOK_EVERY, None);
            } else if changed_ns.is_some() {
                pause = REST;
            }
        }
    }

    /// Reads files again, and offers what is in them if that is something else.
    fn look(&mut self) {
        let offered = Texts::read(&self.config).and_then(|texts| {
            if texts == self.seen {
                return Ok(None);
            }
            Ok(Some((texts.offer(Some(&self.current.offer()))?, texts)))
        });
        match offered {
            Ok(None) => {}
            Ok(Some((offer, texts))) => {
                self.current.replace(offer);
                self.seen = texts;
                tracing::info!("the certificates of TLS count as they are now");
            }
            Err(error) => {
                self.current.note_refused();
                tracing::error!("{error}; the certificates that were in force stay");
            }
        }
    }
}

impl Serving {
    /// Ends it.
    pub fn stop(self) {
        self.handle.stop();
        if self.thread.join().is_err() {
            tracing::error!("the thread of the certificates panicked; the log above says where");
        }
    }
}

/// Whether all that is configured can be used.
///
/// # Errors
/// [`CertificatesError`].
pub fn check(config: &TlsConfig) -> Result<(), CertificatesError> {
    Texts::read(config)?.offer(None)?;
    Ok(())
}

/// A sentence for each key that others than its owner and its group may read.
pub fn open_to_others(config: &TlsConfig) -> Vec<String> {
    let open = config.pairs.iter().filter_map(|(_, key)| {
        let mode = fs::metadata(key).ok()?.permissions().mode() & 0o777;
        let key = key.display();
        (mode & 0o007 != 0).then(|| {
            format!(
                "--tls-key {key} has mode {mode:03o}, so that others may use it; `chmod o= {key}` closes it"
            )
        })
    });
    open.collect()
}

fn read(flag: &'static str, path: &Path) -> Result<Pem, CertificatesError> {
    let name = format!("{flag} {}", path.display());
    match reading::read(path, KEY_FILE_BYTES_MAX) {
        Ok(text) => Ok(Pem { name, text }),
        Err(NotRead::Io(source)) => Err(CertificatesError::Io { flag, path: path.to_owned(), source }),
        Err(problem) => Err(BadPem { name, problem: problem.to_string() }.into()),
    }
}

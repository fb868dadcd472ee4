//! The server as a whole: binds, starts a thread for each shard, and waits for their end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use crate::auth::Standing;
use crate::config::{AuthMode, Config, HooksConfig, IdentityConfig, ProxyProtocol, StorageConfig, TlsConfig};
use crate::dialect;
use crate::handover::{DeskPort, HooksPort, InspectionPort, StoragePort, connect_inspection};
use crate::io::probe::{ProbeError, probe};
use crate::io::ring_memory::{LockedMemory, RingSize, is_no_memory};
use crate::io::{Beside, Clock, Control, Driver, Event, Inherited, Listener, NotBound, Ring, bind};
use crate::mesh::{self, KeyHasher, Ports, ShardIndex};
use crate::metrics::AdminMetrics;
use crate::service::admin::{Admin, AdminConfig, FromFlags, OnDisk, Ways};
use crate::service::certificates::{Certificates, CertificatesError};
use crate::service::desk::{Desk, DeskError};
use crate::service::drains::Drains;
use crate::service::hooks::Hooks;
use crate::service::signals::Signals;
use crate::service::supervisor::{self, Watchdog};
use crate::service::{self, Opening, Store};
use crate::shard::{Shard, Shared};
use crate::storage::{Lock, StorageError};

/// What to serve, and where.
pub struct Settings {
    /// What every shard has a copy of.
    pub config: Config,
    /// Cores to run on, one shard each, ascending.
    pub cores: Vec<usize>,
    /// Where and how maps are kept on disk; `None`: in memory only.
    pub storage: Option<StorageConfig>,
    /// By what clients say who they are, and what they may do; `None`: nobody is asked, and everybody may do everything.
    pub identity: Option<IdentityConfig>,
    /// By what TLS is spoken at `config.tls_listen`; `None`: there is no such address.
    pub tls: Option<TlsConfig>,
    /// How the application is reached, where the rules of `identity` name anything of it.
    pub hooks: HooksConfig,
    /// Where the HTTP API for backends listens, if there is one.
    pub admin: Option<SocketAddr>,
    /// What the command line has said, for whoever asks and changes it; `None`: there was none.
    pub from_flags: Option<FromFlags>,
    /// Whether the configuration's node name was chosen by the user, or made up for want of one.
    pub node_is_chosen: bool,
}

/// Why the server ended other than by being told to; printed behind `annulus: `, exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Ring(#[from] ProbeError),
    /// The kernel has io_uring, but not all of what a shard uses.
    #[error("this kernel's io_uring lacks {0}; run Linux 6.1 or newer, and see `annulus doctor`")]
    RingFeatures(String),
    #[error("{address} is in use; stop what listens there (`ss -ltnp`) or choose another with --listen")]
    AddressInUse { address: SocketAddr },
    #[error("cannot listen on {address}: {source}; choose an address of this host with --listen")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {address}: {source}; choose another with --admin-listen")]
    AdminBind { address: SocketAddr, source: io::Error },
    /// There is not even memory for smaller rings.
    #[error("no memory for the ring of shard {shard}: {memory}; {}", memory.advice())]
    NoRingMemory { shard: usize, memory: LockedMemory },
    #[error("no memory for the ring of the service thread: {0}; {advice}", advice = .0.advice())]
    NoServiceMemory(LockedMemory),
    #[error("cannot start shard {shard}: {source}; see `annulus doctor`")]
    Shard { shard: usize, source: io::Error },
    #[error("cannot start a thread or open an event: {0}; see `ulimit -u` and `ulimit -n`")]
    Thread(#[source] io::Error),
    #[error("the application cannot be told anything: {0}")]
    Hooks(#[source] io::Error),
    #[error("no random numbers from the kernel: {0}")]
    Random(getrandom::Error),
    #[error("{0}{advice}", advice = advice(.0))]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Desk(#[from] DeskError),
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    #[error("shard {shard} failed: {source}")]
    Failed { shard: usize, source: io::Error },
}

/// What to do where the storage itself cannot know.
fn advice(error: &StorageError) -> &'static str {
    match error {
        StorageError::Io { .. } => "; see `annulus doctor`, or choose another directory with --data-dir",
        _ => "",
    }
}

fn not_bound((address, source): NotBound) -> RunError {
    match source.kind() {
        io::ErrorKind::AddrInUse => RunError::AddressInUse { address },
        _ => RunError::Bind { address, source },
    }
}

/// A server whose ports are bound and whose data is found, and which does not serve yet.
pub struct Server {
    settings: Settings,
    clock: Clock,
    listeners: Vec<Vec<Listener>>,
    addresses: Vec<SocketAddr>,
    tls_addresses: Vec<SocketAddr>,
    controls: Vec<Control>,
    drains: Drains,
    data: Option<Data>,
    desk: Option<(Desk, Vec<DeskPort>)>,
    hooks: Option<(Hooks, Vec<HooksPort>)>,
    admin: Admin,
    certificates: Option<Certificates>,
}

/// What follows the end of a server.
pub struct Next {
    /// The program that takes its place.
    pub program: PathBuf,
    /// What it is to accept from.
    pub listeners: Vec<OwnedFd>,
}

/// Maps on disk: the storage, the shards' ways to it, and what wakes it.
struct Data {
    store: Store,
    ports: Vec<StoragePort>,
    event: Event,
}

impl Server {
    /// Checks the kernel, binds every address and opens the data directory, so that whatever is wrong shows before
    /// anything runs.
    ///
    /// # Errors
    /// [`RunError`] with what to do about it.
    pub fn bind(settings: Settings) -> Result<Self, RunError> {
        Self::bind_with(settings, Vec::new())
    }

    /// The same, with listeners that another process has opened for this one.
    ///
    /// # Errors
    /// [`RunError`] with what to do about it.
    pub fn bind_with(mut settings: Settings, inherited: Vec<Inherited>) -> Result<Self, RunError> {
        let missing = probe()?.missing();
        if !missing.is_empty() {
            return Err(RunError::RingFeatures(missing.join(", ")));
        }
        let shards = settings.cores.len();
        // Those with TLS behind the others, by which a shard knows them.
        let wanted = [&*settings.config.listen, &*settings.config.tls_listen].concat();
        let mut bound = bind(&wanted, shards, inherited).map_err(not_bound)?;
        for listener in bound.left_over.drain(..) {
            let address = listener.address;
            tracing::warn!(
                "neither --listen nor --tls-listen names {address} any more: whoever waits there is reset"
            );
            supervisor::forget(address);
            listener.end();
        }
        let controls: Vec<Control> =
            (0..shards).map(|_| Control::new()).collect::<io::Result<_>>().map_err(RunError::Thread)?;
        let drains = Drains::new(controls.clone(), supervisor::is_there());
        let mut addresses = bound.addresses.clone();
        let tls_addresses = addresses.split_off(settings.config.listen.len());
        settings.config.listen.clone_from(&addresses);
        settings.config.tls_listen.clone_from(&tls_addresses);
        let certificates = settings.tls.as_ref().map(Certificates::open).transpose()?;
        let clock = Clock::start_wary(settings.config.clock_drift_max_ms);
        let mut locked = None;
        if let Some(storage) = &settings.storage {
            locked = Some((storage, service::lock(&settings.config, storage, &clock)?));
        }
        // Once the directory is there, as API keys are in the data directory unless they are said to be elsewhere.
        let open_desk = |identity| Desk::open(identity, &controls, clock.clone());
        let mut desk = settings.identity.as_ref().map(open_desk).transpose()?;
        let has_rules = settings.identity.as_ref().is_some_and(|identity| identity.rules.is_some());
        let open_hooks = || Hooks::open(&settings.hooks, &controls, clock.clone()).map_err(RunError::Hooks);
        let hooks = has_rules.then(open_hooks).transpose()?;
        if let (Some((desk, _)), Some((hooks, _))) = (&mut desk, &hooks) {
            desk.tell(hooks.handle())?;
        }
        let mut admin = Admin::unbound();
        if let Some(address) = settings.admin {
            admin.bind(address).map_err(|source| RunError::AdminBind { address, source })?;
        }
        // Once the data is ours, as whoever has connected is reset if this start fails.
        let listeners = bound.listen(settings.config.backlog).map_err(not_bound)?;
        if supervisor::is_there() {
            supervisor::keep(listeners.iter().flatten().map(|one| (one.address(), one.as_fd())));
        }
        let open = |(storage, lock)| {
            Data::open(&settings.config, storage, lock, (&controls, drains.clone()), clock.clone())
        };
        let data = locked.map(open).transpose()?;
        if let Some(storage) = &settings.storage {
            admin.open_socket(&storage.data_dir, storage.data_mode);
        }
        if let Some(data) = &data {
            let chosen = settings.node_is_chosen.then_some(&*settings.config.node);
            settings.config.node = data.store.node(chosen);
        }
        Ok(Self {
            settings,
            clock,
            listeners,
            addresses,
            tls_addresses,
            controls,
            drains,
            data,
            desk,
            hooks,
            admin,
            certificates,
        })
    }

    /// The name of this node: the one that was chosen, or else that of the data set.
    pub fn node(&self) -> &str {
        &self.settings.config.node
    }

    /// Where it listens without TLS, with the ports that port 0 became.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it listens with TLS.
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        &self.tls_addresses
    }

    /// Where the HTTP API for backends listens, with the port that port 0 became.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// What tells the shards to end, one for each.
    pub fn controls(&self) -> Vec<Control> {
        self.controls.clone()
    }

    /// Serves until one of `signals` ends it, or another program is to take over.
    ///
    /// # Errors
    /// [`RunError`] with what to do about it.
    pub fn run(self, signals: Signals) -> Result<Option<Next>, RunError> {
        // Before the shards, so that a signal that comes while they start is not lost.
        let desk = self.desk.as_ref().map(|(desk, _)| desk.handle());
        let drains = self.drains.clone();
        let certificates = self.certificates.as_ref().map(Certificates::handle);
        signals.tell(drains.clone(), desk.into_iter().chain(certificates).collect());
        let listeners = self.serve_until_drained()?;
        let next = drains.next().map(|program| Next {
            program: program.to_owned(),
            listeners: listeners.into_iter().map(|listener| listener.socket).collect(),
        });
        Ok(next)
    }

    /// Serves until every shard was told to drain through [`Self::controls`].
    ///
    /// # Errors
    /// [`RunError`] with what to do about it.
    pub fn serve(self) -> Result<(), RunError> {
        self.serve_until_drained().map(drop)
    }

    /// The same; returns the listeners that go on to listen.
    fn serve_until_drained(self) -> Result<Vec<Listener>, RunError> {
        let shards = self.settings.cores.len();
        let random = || getrandom::u64().map_err(RunError::Random);
        let (mut store, mut event, mut storage_ports) = (None, None, Vec::new());
        if let Some(data) = self.data {
            (store, event, storage_ports) = (Some(data.store), Some(data.event), data.ports);
        }
        let shared = Shared {
            config: Arc::new(self.settings.config),
            dialects: dialect::ALL,
            epoch: store.as_ref().map_or_else(random, |store| Ok(store.epoch()))?,
            hasher: match &store {
                Some(store) => store.hasher(),
                None => KeyHasher::new(random()?),
            },
            connections: Arc::new(AtomicUsize::new(0)),
            process: crate::io::process::metrics,
            storage: store.as_ref().map(Store::shared),
            tls: self.certificates.as_ref().map(Certificates::current),
        };
        let admin_metrics = Arc::<AdminMetrics>::default();
        let admin_event = Event::new().map_err(RunError::Thread)?;
        let (inspection_ports, inspection_ends): (Vec<_>, Vec<_>) =
            connect_inspection(shards, &admin_metrics).into_iter().unzip();
        let mut inspection_ports = inspection_ports.into_iter();
        let ways = Ways {
            ends: inspection_ends,
            controls: self.controls.clone(),
            event: admin_event.clone(),
            clock: self.clock.clone(),
        };
        let on_disk = shared.storage.as_ref().zip(self.settings.storage.as_ref());
        let identity = self.settings.identity;
        let admin_config = AdminConfig {
            target: self.addresses[0],
            headed: match shared.config.proxy_protocol {
                ProxyProtocol::Require => shared.config.trusted_proxies.clone(),
                ProxyProtocol::Off | ProxyProtocol::Accept => Vec::new(),
            },
            asks_for_keys: shared.config.auth != AuthMode::None,
            rules: identity.as_ref().and_then(|identity| identity.rules.clone()),
            revoked: identity.and_then(|identity| {
                let mode =
                    self.settings.storage.as_ref().map_or_else(Default::default, |data| data.data_mode);
                Some((identity.revoked?, mode))
            }),
            message_bytes_max: shared.config.message_bytes_max,
            config: Arc::clone(&shared.config),
            from_flags: self.settings.from_flags,
            on_disk: on_disk.map(|(shared, storage)| OnDisk {
                data_dir: storage.data_dir.clone(),
                progress: Arc::clone(&shared.progress),
            }),
            hasher: shared.hasher,
            dialects: dialect::NAMES,
            metrics: admin_metrics,
            tls: shared.tls.clone(),
            desk: self.desk.as_ref().and_then(|(_, ports)| Some(Arc::clone(&ports.first()?.metrics))),
            hooks: self
                .hooks
                .as_ref()
                .and_then(|(_, ports)| Some(Arc::clone(&ports.first()?.events.metrics))),
            clock: self.clock.clone(),
        };
        let memory = LockedMemory::of(shards, store.is_some());
        let service = service::start(store).map_err(|error| match is_no_memory(&error) {
            true => RunError::NoServiceMemory(memory),
            false => RunError::Thread(error),
        })?;
        let shard_pulses = self.controls.iter().map(Control::pulse).zip(0..);
        let mut pulses: Vec<_> =
            shard_pulses.map(|(pulse, shard)| (format!("shard {shard}"), pulse.clone())).collect();
        pulses.extend(service.pulse().map(|pulse| ("the service thread".to_owned(), pulse.clone())));
        let status = status(&self.addresses, shards);
        let (mut desk_event, mut standing, mut desk_ports, mut serving_desk) = (None, None, Vec::new(), None);
        if let Some((desk, ports)) = self.desk {
            (desk_event, standing, desk_ports) = (Some(desk.event()), Some(desk.standing()), ports);
            serving_desk = Some(desk.start().map_err(RunError::Thread)?);
        }
        let start = |certificates: Certificates| certificates.start().map_err(RunError::Thread);
        let serving_certificates = self.certificates.map(start).transpose()?;
        let (mut hooks_event, mut hooks_ports, mut serving_hooks) = (None, Vec::new(), None);
        if let Some((hooks, ports)) = self.hooks {
            (hooks_event, hooks_ports) = (Some(hooks.handle().event().clone()), ports);
            serving_hooks = Some(hooks.start().map_err(RunError::Thread)?);
        }
        let (mut storage_ports, mut desk_ports) = (storage_ports.into_iter(), desk_ports.into_iter());
        let mut hooks_ports = hooks_ports.into_iter();
        let (ready, is_ready) = mpsc::channel();
        let (ended, has_ended) = mpsc::channel();
        let mut threads: Vec<JoinHandle<()>> = Vec::with_capacity(shards);
        let mut starts = Vec::with_capacity(shards);
        let parts = self.listeners.into_iter().zip(self.controls).zip(mesh::connect(shards));
        for (index, ((listeners, control), ports)) in parts.enumerate() {
            let (start, rings) = mpsc::channel();
            starts.push(start);
            let seed = getrandom::u64().map_err(RunError::Random)?;
            let core = self.settings.cores[index];
            let shared = shared.clone();
            let storage = storage_ports.next();
            let beside = Beside {
                storage: event.clone(),
                desk: desk_event.clone(),
                hooks: hooks_event.clone(),
                admin: Some(admin_event.clone()),
            };
            let desk = desk_ports.next();
            let hooks = hooks_ports.next();
            let inspection = inspection_ports.next();
            let standing = standing.clone();
            let (ready, ended) = (ready.clone(), ended.clone());
            let thread = thread::Builder::new().name(format!("shard-{index}"));
            let clock = self.clock.clone();
            let body = move || {
                let part = Part {
                    index,
                    core,
                    shared,
                    storage,
                    desk,
                    standing,
                    hooks,
                    inspection,
                    beside,
                    listeners,
                    control,
                    ports,
                    clock,
                    seed,
                };
                // The main thread is gone only if this server could not start.
                let _ = ended.send((index, part.run(&ready, &rings)));
            };
            threads.push(thread.spawn(body).map_err(RunError::Thread)?);
        }
        drop((ready, ended));
        // Every shard needs the ring of every other before the first may be woken.
        let mut rings = vec![-1; shards];
        let mut smaller = 0;
        for (shard, ring) in is_ready.iter().take(shards) {
            let (descriptor, size) = ring.map_err(|source| match is_no_memory(&source) {
                true => RunError::NoRingMemory { shard, memory },
                false => RunError::Shard { shard, source },
            })?;
            rings[shard] = descriptor;
            smaller += usize::from(size != RingSize::FULL);
        }
        if smaller > 0 {
            tracing::warn!(
                "{smaller} of {shards} shards serve with smaller rings, and slower under load: {memory}; {}",
                memory.advice()
            );
        }
        let rings: Arc<[RawFd]> = rings.into();
        for start in starts {
            // A shard that is gone by now has said why.
            let _ = start.send(Arc::clone(&rings));
        }
        // Once there is somebody to ask.
        let serving_admin = self.admin.start(admin_config, ways).map_err(RunError::Thread)?;
        supervisor::serves(&status);
        let mut watchdog = Watchdog::start(pulses).map_err(RunError::Thread)?;
        let mut kept = Vec::new();
        // The first that fails ends the server, whichever it is: the others would wait for its answers for ever.
        for (shard, outcome) in has_ended {
            kept.extend(outcome.map_err(|source| RunError::Failed { shard, source })?);
            // What has ended answers nobody.
            if let Some(watchdog) = watchdog.take() {
                watchdog.stop();
            }
        }
        for (shard, thread) in threads.into_iter().enumerate() {
            let failed = |_| RunError::Failed { shard, source: io::Error::other("the thread panicked") };
            thread.join().map_err(failed)?;
        }
        serving_admin.stop();
        if let Some(desk) = serving_desk {
            desk.stop();
        }
        if let Some(hooks) = serving_hooks {
            hooks.stop();
        }
        if let Some(certificates) = serving_certificates {
            certificates.stop();
        }
        service.stop();
        Ok(kept)
    }
}

/// What the service manager shows of a server.
fn status(addresses: &[SocketAddr], shards: usize) -> String {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    format!("annulus {} serves on {} with {shards} shards", env!("CARGO_PKG_VERSION"), addresses.join(", "))
}

impl Data {
    fn open(
        config: &Config,
        storage: &StorageConfig,
        lock: Lock,
        (controls, drains): (&[Control], Drains),
        clock: Clock,
    ) -> Result<Self, RunError> {
        let random = || getrandom::u64().map_err(RunError::Random);
        let event = Event::new().map_err(RunError::Thread)?;
        let fresh = [random()?, random()?];
        let opening = Opening { config, storage, lock, controls, drains, event: event.clone(), clock, fresh };
        let (store, ports) = Store::open(opening)?;
        Ok(Self { store, ports, event })
    }
}

/// What one shard thread is started with.
struct Part {
    index: usize,
    core: usize,
    shared: Shared,
    /// Its ways to the storage.
    storage: Option<StoragePort>,
    /// Its way to the desk, and what is in force at first.
    desk: Option<DeskPort>,
    standing: Option<Arc<Standing>>,
    /// Its way to the application.
    hooks: Option<HooksPort>,
    /// Its way to the admin thread.
    inspection: Option<InspectionPort>,
    beside: Beside,
    listeners: Vec<Listener>,
    control: Control,
    ports: Ports,
    clock: Clock,
    seed: u64,
}

type Ready = mpsc::Sender<(usize, io::Result<(RawFd, RingSize)>)>;

impl Part {
    fn run(self, ready: &Ready, rings: &mpsc::Receiver<Arc<[RawFd]>>) -> io::Result<Vec<Listener>> {
        // The ring belongs to the thread that makes it, so it is made here, and its memory on this core.
        let ring = crate::io::host::pin_to(self.core).and_then(|()| Ring::new());
        let ring = match ring {
            Ok(ring) => ring,
            Err(error) => {
                let _ = ready.send((self.index, Err(error)));
                return Ok(Vec::new());
            }
        };
        let _ = ready.send((self.index, Ok((ring.as_raw_fd(), ring.size()))));
        // Fails only if another shard could not start, which the main thread reports.
        let Ok(rings) = rings.recv() else { return Ok(Vec::new()) };
        let (index, now) = (self.index as ShardIndex, self.clock.now());
        let mut shard = Shard::new(self.shared, index, self.ports, self.storage, now, self.seed);
        if let Some(standing) = self.standing {
            shard.stand_under(standing, self.desk);
        }
        if let Some(hooks) = self.hooks {
            shard.hook_up(hooks);
        }
        if let Some(inspection) = self.inspection {
            shard.open_to_inspection(inspection);
        }
        Driver::new(ring, shard, self.clock, self.control, self.beside, self.listeners, rings).run()
    }
}

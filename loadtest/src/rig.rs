//! Where the pieces of a run stand: a server on its core, with its data, and the load on another core.
//!
//! Invariant: the load thread is pinned to its core whenever none of these functions is at work; a server never
//! inherits that pin.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::bench::Bench;
use crate::clock::{NANOS_PER_SECOND, allowed_cores, pin_to_core, pin_to_cores};
use crate::cpu::Subject;
use crate::disk::data_dir::DataDir;
use crate::disk::probe::DiskProbe;
use crate::drive::Timing;
use crate::failure::Failure;
use crate::fleet::{Secured, Target};
use crate::options::{Options, StorageKind};
use crate::polling;
use crate::server::process::ServerProcess;
use crate::server::{annulus, certificate, locate};
use crate::tls::{Tls, Trust};
use crate::window::Meter;

pub struct Rig<'a> {
    options: &'a Options,
    /// Those this process may use, ascending.
    cores: Vec<usize>,
    /// TLS of servers that are started, if they speak it.
    tls: Option<certificate::Made>,
}

/// One of several runs of one scenario.
#[derive(Clone, Debug)]
pub struct Run {
    /// Different in each run.
    pub name: String,
    pub reversed: bool,
}

impl<'a> Rig<'a> {
    /// # Errors
    /// [`Failure::Setup`] when the load cannot be pinned.
    pub fn new(options: &'a Options) -> Result<Self, Failure> {
        let tls = options.server.tls.then(certificate::Made::new).transpose()?;
        let rig = Self { options, cores: allowed_cores(), tls };
        rig.pin_load()?;
        Ok(rig)
    }

    pub fn core_count(&self) -> usize {
        self.cores.len()
    }

    /// Where a server is started, and the floor runs.
    pub fn server_core(&self) -> usize {
        self.options.cores.server_core.or(self.cores.first().copied()).unwrap_or(0)
    }

    pub fn timing(&self) -> Timing {
        let nanos = |seconds: f64| (seconds * NANOS_PER_SECOND as f64) as u64;
        let duration = &self.options.duration;
        Timing {
            warmup_ns: nanos(duration.warmup),
            window_ns: nanos(duration.seconds),
            timeout_ns: nanos(duration.timeout),
        }
    }

    /// Whether the server is one that runs already.
    pub fn is_remote(&self) -> bool {
        self.options.server.url.is_some()
    }

    /// A new directory for the server about to be started; `None` where it keeps nothing, or its own arguments say
    /// where.
    ///
    /// # Errors
    /// [`Failure::Setup`] when it cannot be made.
    pub fn data_dir(&self, needs_disk: bool) -> Result<Option<DataDir>, Failure> {
        let options = &self.options.server;
        let wanted = options.storage.map_or(needs_disk, |kind| kind == StorageKind::Disk);
        if self.is_remote() || annulus::names_storage(&options.server_args) || !wanted {
            return Ok(None);
        }
        DataDir::create(&options.data_parent).map(Some)
    }

    /// Measures the disk that the server writes to, if it can be told which one that is.
    ///
    /// # Errors
    /// As [`DiskProbe::run`].
    pub fn probe_disk(&self, data: Option<&DataDir>) -> Result<Option<DiskProbe>, Failure> {
        let own = || data.map(|data| data.path().to_owned());
        let remote = || self.remote_pid().and_then(locate::data_dir);
        let folder: Option<PathBuf> = self.options.server.disk_probe.clone().or_else(own).or_else(remote);
        folder.as_deref().map(DiskProbe::run).transpose()
    }

    /// `further`: arguments before those of `--server-args`.
    ///
    /// # Errors
    /// As [`ServerProcess::start`].
    pub fn start_server(&self, data: Option<&DataDir>, further: &[String]) -> Result<ServerProcess, Failure> {
        let options = &self.options.server;
        let further = [further, self.tls.as_ref().map_or(&[], |made| &made.arguments)].concat();
        let launch = annulus::Launch {
            binary: options.server_bin.as_deref(),
            data: data.map(DataDir::path),
            further: &further,
            arguments: &options.server_args,
            core: self.server_core(),
        };
        self.started_on(&self.cores, || launch.start())
    }

    /// A server of another kind, with all its threads and children on the core that is the server's otherwise.
    ///
    /// # Errors
    /// As [`ServerProcess::start`].
    pub fn start_alone(
        &self,
        start: impl FnOnce() -> Result<ServerProcess, Failure>,
    ) -> Result<ServerProcess, Failure> {
        self.started_on(&[self.server_core()], start)
    }

    /// What a scenario needs, for a server of ours or the one that was named.
    ///
    /// # Errors
    /// [`Failure::Setup`] for a `--url` that is none.
    pub fn bench(
        &self,
        server: Option<&ServerProcess>,
        disk: Option<DiskProbe>,
        run: &Run,
    ) -> Result<Bench, Failure> {
        let target = match (&self.options.server.url, server) {
            (_, Some(server)) => Target::loopback(server.address).with_tls(self.secured()?),
            (Some(url), None) => Target::parse(url, |host| self.tls_of(host))?,
            (None, None) => Target::loopback(([127, 0, 0, 1], 0).into()),
        };
        let target = match &self.options.server.tokens {
            Some(file) => target.showing(file)?,
            None => target,
        };
        let pid = server.map(ServerProcess::pid).or_else(|| self.remote_pid());
        Ok(self.bench_of(target, pid, disk, run))
    }

    /// How a server that was started is spoken to with TLS, if it is.
    fn secured(&self) -> Result<Option<Secured>, Failure> {
        let Some(made) = &self.tls else { return Ok(None) };
        let tls = Tls::new(&Trust::File(made.path()), "localhost", !self.options.server.tls_no_tickets)?;
        Ok(Some(Secured { tls, address: made.address }))
    }

    /// How the server of a `wss://` address is spoken to.
    fn tls_of(&self, host: &str) -> Result<Tls, Failure> {
        let options = &self.options.server;
        let trust = match &options.tls_ca {
            Some(path) => Trust::File(path.clone()),
            None if options.tls_insecure => Trust::Anybody,
            None => {
                return Err(Failure::Setup(
                    "say with --tls-ca whose certificates are believed, or --tls-insecure".to_owned(),
                ));
            }
        };
        Tls::new(&trust, host, !options.tls_no_tickets)
    }

    /// The same for a server of another kind; its counters are not asked for.
    pub fn bench_at(&self, target: Target, pid: Option<u32>, disk: Option<DiskProbe>, run: &Run) -> Bench {
        let mut bench = self.bench_of(target, pid, disk, run);
        bench.meter.metrics = None;
        bench
    }

    fn bench_of(&self, target: Target, pid: Option<u32>, disk: Option<DiskProbe>, run: &Run) -> Bench {
        let pinned = pid.map(locate::pinned_cores).unwrap_or_default();
        let cores = &self.options.cores;
        let floor_core = cores.server_core.or(pinned.first().copied()).or(self.cores.first().copied());
        // A load that polls takes its whole core, so only where no part of the server runs there.
        let shares_core = pinned.is_empty() || pinned.contains(&self.load_core());
        polling::set(!cores.load_sleeps && !shares_core);
        Bench {
            meter: Meter {
                subject: pid.map(Subject::Process),
                metrics: Some(target.clone()),
                progress: self.options.report.progress || std::io::stderr().is_terminal(),
            },
            target,
            timing: self.timing(),
            floor_core: floor_core.filter(|_| !cores.no_floor),
            run: run.name.clone(),
            reversed: run.reversed,
            disk,
        }
    }

    fn remote_pid(&self) -> Option<u32> {
        let options = &self.options.server;
        let named = options.url.as_deref().and_then(|url| Target::parse(url, |host| self.tls_of(host)).ok());
        options.server_pid.or_else(|| locate::listener_pid(named?.address))
    }

    fn started_on(
        &self,
        cores: &[usize],
        start: impl FnOnce() -> Result<ServerProcess, Failure>,
    ) -> Result<ServerProcess, Failure> {
        // What is started inherits the cores of this thread.
        pin_to_cores(cores)?;
        let started = start();
        self.pin_load()?;
        started
    }

    fn load_core(&self) -> usize {
        self.options.cores.load_core.or(self.cores.last().copied()).unwrap_or(0)
    }

    fn pin_load(&self) -> Result<(), Failure> {
        let core = self.load_core();
        pin_to_core(core)
            .map_err(|error| Failure::Setup(format!("cannot pin the load to core {core}: {error}")))
    }

    /// The folder of a data directory that is not the server's: Redis's.
    pub fn data_parent(&self) -> &Path {
        &self.options.server.data_parent
    }
}

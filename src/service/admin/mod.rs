//! The admin thread: an HTTP API for backends (`docs/messaging.md`) and for whoever runs the server (`docs/admin.md`), on a listener of its
//! own and on a socket in the data directory.
//!
//! ```text
//!  backend ──HTTP──► routes.rs ──a message of /v1──► gateway.rs ══WebSocket of its API key══► a shard
//!  console ──HTTP──► guard.rs ──► pages.rs ──► clients, maps, names, now, storage, settings, … ──► shards.rs ══queues══► all shards
//!  browser ──HTTP──► console.rs: the page that asks for those
//!                    answer.rs: codes of errors as HTTP             openapi.rs: what there is, for tools
//! ```
//! A request below `/api/` is a message of `/v1` without a `type`, sent over a connection that shows the key the request has shown. So whatever
//! a key may do, by rules, rates and limits, it may do here, and there is nothing to be kept alike. Below `/admin/` is what no client may ask.
//!
//! Invariant: nothing here waits for another request, and no shard waits for anything here.
//!
//! order: mod → routes → pages → served → { revoking, openapi, guard, config, console } →
//! { clients, maps, names, now, draining, checks, settings, kept_lines, storage } → { gateway, walk, figures } → shards →
//! { fields, respond } → answer

mod answer;
mod checks;
mod clients;
mod config;
mod console;
mod draining;
mod fields;
mod figures;
mod gateway;
mod guard;
mod kept_lines;
mod maps;
mod names;
mod now;
mod openapi;
mod pages;
mod respond;
mod revoking;
mod routes;
mod served;
mod settings;
mod shards;
mod storage;
mod walk;

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use tokio::runtime;
use tokio::sync::oneshot;

use crate::config::DataMode;
use crate::io::host::{self, reachable};
use crate::io::{process, recent};
use crate::service::in_directory;
pub use config::AdminConfig;
use gateway::{Engine, Gateway};
use guard::{Guard, Peer};
use served::Served;
pub use settings::{FromFlags, Read, Setting};
pub use shards::Ways;
pub use storage::OnDisk;

/// The name of the socket in a data directory.
pub const ADMIN_SOCKET: &str = "admin.sock";
/// Between two looks at the memory of the process, and at the log.
const LOOK: Duration = Duration::from_secs(1);

/// What listens and does not answer yet.
pub struct Admin {
    listener: Option<TcpListener>,
    socket: Option<Socket>,
    /// Lines of the log that are said from now on.
    lines: Option<recent::Lines>,
}

/// The socket in a data directory, which is removed when this is dropped.
struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A thread that answers.
pub struct Serving {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Admin {
    /// Listens nowhere, and keeps what the log says.
    pub fn unbound() -> Self {
        Self { listener: None, socket: None, lines: recent::begin() }
    }

    /// # Errors
    /// The address cannot be had.
    pub fn bind(&mut self, address: SocketAddr) -> io::Result<()> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Listens in a data directory that is ours. Without that socket everything works but the commands that talk to it, so a failure is
    /// only said in the log.
    pub fn open_socket(&mut self, data_dir: &Path, mode: DataMode) {
        let path = data_dir.join(ADMIN_SOCKET);
        // Of a server that was killed.
        let _ = fs::remove_file(&path);
        let open = || {
            let listener = in_directory(data_dir, ADMIN_SOCKET, |path| UnixListener::bind(path))?;
            fs::set_permissions(&path, Permissions::from_mode(mode.of_files()))?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(listener)
        };
        match open() {
            Ok(listener) => self.socket = Some(Socket { listener, path }),
            Err(error) => {
                let path = path.display();
                tracing::warn!("no {path}, so `annulus top` and its like cannot reach this server: {error}");
            }
        }
    }

    /// Where it listens, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// If there is none to be had.
    pub fn start(self, config: AdminConfig, ways: Ways) -> io::Result<Serving> {
        let (stop, is_stopped) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            if let Err(error) = host::yield_to_shards() {
                tracing::warn!(
                    "the admin thread cannot lower its priority, so shards may notice it: {error}"
                );
            }
            let serving = runtime.block_on(async {
                let until_stopped = async {
                    // An end that is gone stops it, too.
                    let _ = is_stopped.await;
                };
                tokio::select! {
                    served = self.serve(config, ways) => served,
                    () = until_stopped => Ok(()),
                }
            });
            // Whoever exports or backs up is not waited for.
            runtime.shutdown_background();
            if let Err(error) = serving {
                tracing::error!("the admin thread has ended: {error}");
            }
        };
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(serve)?;
        Ok(Serving { stop, thread })
    }

    async fn serve(self, config: AdminConfig, ways: Ways) -> io::Result<()> {
        let clock = config.clock.clone();
        let controls = ways.controls.clone();
        let shards = shards::Shards::start(ways)?;
        let progress = config.on_disk.as_ref().map(|on_disk| Arc::clone(&on_disk.progress));
        let is_always = self.listener.is_some();
        let engine = Engine { target: reachable(config.target), headed: config.headed.clone() };
        let served = Arc::new(Served {
            gateway: Gateway::new(engine, config.message_bytes_max),
            guard: Guard::new(config.asks_for_keys, clock.clone()),
            seconds: now::Seconds::start(shards.clone(), progress, &config.metrics, clock.clone(), is_always),
            storage: storage::Storage::new(config.on_disk.clone(), clock.clone()),
            settings: settings::Settings::new(config.from_flags.clone(), Arc::clone(&config.config)),
            draining: draining::Draining::new(controls, clock.clone()),
            checks: checks::Checks::start(shards.clone(), Arc::clone(&config.metrics), clock),
            lines: tokio::sync::Mutex::new(kept_lines::KeptLines::new(self.lines)),
            shards,
            config,
        });
        let app = routes::app(&served);
        tokio::spawn(watch(Arc::clone(&served)));
        let over_tcp = async {
            match self.listener {
                Some(listener) => serve_tcp(listener, app.clone()).await,
                None => std::future::pending().await,
            }
        };
        let over_socket = async {
            match &self.socket {
                Some(socket) => serve_socket(socket.listener.try_clone()?, app.clone()).await,
                None => std::future::pending().await,
            }
        };
        tokio::try_join!(over_tcp, over_socket).map(|((), ())| ())
    }
}

async fn serve_tcp(listener: TcpListener, app: Router) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await
}

async fn serve_socket(listener: UnixListener, app: Router) -> io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await
}

/// Looks at the memory of the process and takes lines of the log, for ever.
async fn watch(served: Arc<Served>) {
    let exceeded = &served.config.metrics.memory_soft_exceeded;
    loop {
        tokio::time::sleep(LOOK).await;
        served.lines.lock().await.take();
        let soft_bytes = served.settings.config().await.memory_soft_bytes as u64;
        let resident_bytes = if soft_bytes == 0 { None } else { process::metrics().resident_bytes };
        let Some(resident_bytes) = resident_bytes else {
            exceeded.set(0);
            continue;
        };
        // It has to fall by a twentieth before it is told again.
        let was = exceeded.value() == 1;
        let is = resident_bytes > if was { soft_bytes - soft_bytes / 20 } else { soft_bytes };
        match (was, is) {
            (false, true) => tracing::warn!(
                "the process has {resident_bytes} bytes of memory, which is over --memory-soft {soft_bytes}"
            ),
            (true, false) => {
                tracing::info!(
                    "the process has {resident_bytes} bytes of memory, which is below --memory-soft"
                );
            }
            _ => {}
        }
        exceeded.set(u64::from(is));
    }
}

impl Serving {
    /// Ends it; what is under way is not answered.
    pub fn stop(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the admin thread panicked; the log above says where");
        }
    }
}

//! The admin listener: an HTTP API for backends, `docs/messaging.md`.
//!
//! ```text
//!  backend ──HTTP──► routes.rs ──a message of /v1──► gateway.rs ══WebSocket of its API key══► a shard
//!                    answer.rs: codes of errors as HTTP             openapi.rs: what there is, for tools
//! ```
//! A request is a message of `/v1` without a `type`, sent over a connection that shows the key the request has shown. So whatever a
//! key may do, by rules, rates and limits, it may do here, and there is nothing to be kept alike.
//!
//! Invariant: no shard knows of it, and nothing here waits for another request.
//!
//! order: mod → routes → { revoking, openapi, gateway } → { answer, config }

mod answer;
mod config;
mod gateway;
mod openapi;
mod revoking;
mod routes;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use tokio::runtime;
use tokio::sync::oneshot;

use crate::io::host::reachable;
pub use config::AdminConfig;
use gateway::{Engine, Gateway};

/// A listener that does not answer yet.
pub struct Admin {
    listener: TcpListener,
}

/// One that does.
pub struct Serving {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Admin {
    /// # Errors
    /// The address cannot be had.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// # Errors
    /// If the kernel does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// If there is none to be had.
    pub fn start(self, config: AdminConfig) -> io::Result<Serving> {
        let (stop, is_stopped) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            let serving = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(self.listener)?;
                let engine = Engine { target: reachable(config.target), headed: config.headed.clone() };
                let gateway = Gateway::new(engine, config.message_bytes_max);
                let app = routes::app(gateway, &config);
                let until_stopped = async {
                    // An end that is gone stops it, too.
                    let _ = is_stopped.await;
                };
                tokio::select! {
                    served = axum::serve(listener, app) => served,
                    () = until_stopped => Ok(()),
                }
            });
            if let Err(error) = serving {
                tracing::error!("the admin listener has ended: {error}");
            }
        };
        let thread = thread::Builder::new().name("admin".to_owned()).spawn(serve)?;
        Ok(Serving { stop, thread })
    }
}

impl Serving {
    /// Ends it; what is under way is not answered.
    pub fn stop(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the admin listener panicked; the log above says where");
        }
    }
}

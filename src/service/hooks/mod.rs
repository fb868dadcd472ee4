//! The thread of the hooks: tells the application what happens, and asks it what the shards want to know.
//!
//! ```text
//! running.rs  the thread: takes what shards have, hands it on   target.rs  who hears of what: a line, batches, attempts
//! batch.rs    events as they are sent                           way.rs     how a batch goes out: a request, or NATS
//! asking.rs   one question                                      http.rs  nats.rs  the two of them
//! loaded.rs   hooks with their secrets                          dead_letters.rs  what could not be delivered
//! handle.rs   what others tell it
//! ```
//! Invariant: no shard waits for it, and no target for another. What it has taken of a shard is delivered at least once, or a dead
//! letter, or counted as lost.
//!
//! order: mod → running → { target, asking } → dead_letters → way → { http, nats, handle } →
//! { batch, loaded }

mod asking;
mod batch;
mod dead_letters;
mod handle;
mod http;
mod loaded;
mod nats;
mod running;
mod target;
mod way;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

pub use dead_letters::{DeadLetters, Letter, Taken, take};
pub use handle::Handle;
pub use http::Http;
pub use loaded::{LoadError, Loaded};
pub use way::{Sender, Way};

use crate::config::HooksConfig;
use crate::handover::{HooksPort, connect_hooks};
use crate::io::{Clock, Control, Event};
use crate::metrics::HookMetrics;
use running::Running;

/// The hooks, which do not run yet.
pub struct Hooks {
    handle: Handle,
    running: Running,
}

/// The hooks at work.
pub struct Serving {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Hooks {
    /// Also the shards' ends.
    ///
    /// # Errors
    /// If no descriptor is left, or there is no randomness.
    pub fn open(
        config: &HooksConfig,
        controls: &[Control],
        clock: Clock,
    ) -> io::Result<(Self, Vec<HooksPort>)> {
        let metrics = Arc::<HookMetrics>::default();
        let (ports, ends): (Vec<_>, Vec<_>) = connect_hooks(controls.len(), &metrics).into_iter().unzip();
        let (handle, told) = Handle::new(Event::new()?, config.nats.is_some());
        let running = Running {
            handle: handle.clone(),
            told,
            ends,
            controls: controls.to_vec(),
            config: config.clone(),
            http: Http::default(),
            metrics,
            clock,
            instance: getrandom::u64().map_err(io::Error::other)?,
        };
        Ok((Self { handle, running }, ports))
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// If there is none to be had.
    pub fn start(self) -> io::Result<Serving> {
        let Self { handle, running } = self;
        let thread = thread::Builder::new().name("hooks".to_owned()).spawn(move || running.run())?;
        Ok(Serving { handle, thread })
    }
}

impl Serving {
    /// Ends it, once what waits is delivered or some seconds are over. Called once the shards have ended.
    pub fn stop(self) {
        self.handle.stop();
        if self.thread.join().is_err() {
            tracing::error!("the thread of the hooks panicked; the log above says where");
        }
    }
}

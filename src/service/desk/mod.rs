//! The desk: the thread that says who a token or an API key names, and what is in force.
//!
//! ```text
//! files.rs    what is read, at first and again     queues.rs  tokens of all shards by turns, and the answers
//! jwks.rs     keys that come over the network      running.rs the thread
//! ```
//! Invariant: no shard waits for it, and it waits for nobody: where a shard has no room for an answer, its tokens stay in the
//! queue, and what comes over the network is fetched by a thread of its own.
//!
//! order: mod → running → { files, queues, jwks }

mod files;
mod jwks;
mod queues;
mod running;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::auth::Standing;
use crate::config::IdentityConfig;
use crate::handover::{DeskPort, connect_desk};
use crate::io::{Clock, Control, Event};
use crate::metrics::DeskMetrics;
use crate::service::handle::Handle;
use crate::service::hooks;
use crate::service::watching::Watch;
use files::Files;
pub use files::{DeskError, check, open_to_others, read_hooks, read_rules};
use jwks::Jwks;
pub use jwks::check_url;
use queues::Queues;
use running::Running;

/// A desk that has read everything and does not answer yet.
pub struct Desk {
    running: Running,
}

/// A desk that answers.
pub struct Serving {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Desk {
    /// Reads all that `config` names. Returns the shards' ends as well.
    ///
    /// # Errors
    /// [`DeskError`] for what cannot be read or says nothing.
    pub fn open(
        config: &IdentityConfig,
        controls: &[Control],
        clock: Clock,
    ) -> Result<(Self, Vec<DeskPort>), DeskError> {
        let (files, desk) = Files::open(config)?;
        let metrics = Arc::new(DeskMetrics::default());
        let (ports, ends): (Vec<_>, Vec<_>) = connect_desk(controls.len(), &metrics).into_iter().unzip();
        let event = Event::new().map_err(DeskError::Event)?;
        let running = Running {
            metrics,
            jwks: config.jwks_url.clone().map(|url| Jwks::new(url, event.clone())),
            handle: Handle::new(event),
            watch: Watch::of(files.watched(), "after --auth-revalidate-ms"),
            files,
            desk,
            queues: Queues::new(ends),
            controls: controls.to_vec(),
            clock,
            revalidate_ms: config.revalidate_ms,
        };
        Ok((Self { running }, ports))
    }

    /// From now on the hooks that stand in the rules are told there.
    ///
    /// # Errors
    /// [`DeskError`] for a secret that cannot be read, and hooks that need what there is not.
    pub fn tell(&mut self, handle: hooks::Handle) -> Result<(), DeskError> {
        let Running { files, desk, .. } = &mut self.running;
        files.tell(handle, desk.standing().rules.as_ref())
    }

    /// What is in force at the start.
    pub fn standing(&self) -> Arc<Standing> {
        Arc::clone(self.running.desk.standing())
    }

    /// What wakes it once a shard has put something into its queue.
    pub fn event(&self) -> Event {
        self.running.handle.event().clone()
    }

    pub fn handle(&self) -> Handle {
        self.running.handle.clone()
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// If there is none to be had.
    pub fn start(self) -> io::Result<Serving> {
        let handle = self.handle();
        let running = self.running;
        let thread = thread::Builder::new().name("desk".to_owned()).spawn(move || running.run())?;
        Ok(Serving { handle, thread })
    }
}

impl Serving {
    /// Ends it. Called once the shards have ended.
    pub fn stop(self) {
        self.handle.stop();
        if self.thread.join().is_err() {
            tracing::error!("the desk panicked; the log above says where");
        }
    }
}

//! What ends the service of the shards, and what follows then: the end of the process, or another program in its place.
//!
//! ```text
//! Serving ──stop──────────────► Stopping ──► the process ends
//!    └─────upgrade──► Upgrading ──stop──► Stopping
//!                         └──all shards have drained, the data is synced──► the next program, with the listeners
//! ```

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::io::Control;

/// See the module. Shared by who hears signals, who answers `annulus upgrade`, and who waits for the shards.
#[derive(Clone, Debug)]
pub struct Drains(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shards: Vec<Control>,
    /// Whether somebody keeps the listeners for the next life of this server, so that they go on to listen.
    are_kept: bool,
    is_stopping: AtomicBool,
    next: OnceLock<PathBuf>,
}

impl Drains {
    pub fn new(shards: Vec<Control>, are_kept: bool) -> Self {
        Self(Arc::new(Inner { shards, are_kept, is_stopping: AtomicBool::new(false), next: OnceLock::new() }))
    }

    /// Drains, and ends the process then; whether it was not doing that already.
    pub fn stop(&self) -> bool {
        let is_first = !self.0.is_stopping.swap(true, Ordering::AcqRel);
        if is_first {
            let tell = if self.0.are_kept { Control::hand_over } else { Control::drain };
            self.0.shards.iter().for_each(tell);
        }
        is_first
    }

    /// Drains, and has `program` take the place of this one then. Whoever is to know of it is told by `announce`, which runs
    /// first, as a drain without clients is over at once.
    ///
    /// # Errors
    /// If this server is about to end, or to be upgraded, already; nobody is told then.
    pub fn upgrade(&self, program: PathBuf, announce: impl FnOnce()) -> Result<(), &'static str> {
        if self.0.is_stopping.load(Ordering::Acquire) {
            return Err("this server is ending");
        }
        self.0.next.set(program).map_err(|_| "an upgrade is under way already")?;
        announce();
        self.0.shards.iter().for_each(Control::hand_over);
        Ok(())
    }

    /// The program that takes the place of this one.
    pub fn next(&self) -> Option<&Path> {
        let next = self.0.next.get()?;
        (!self.0.is_stopping.load(Ordering::Acquire)).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Signal;

    fn drains(are_kept: bool) -> (Drains, Control) {
        let shard = Control::new().unwrap();
        (Drains::new(vec![shard.clone()], are_kept), shard)
    }

    #[test]
    fn listeners_end_with_the_server_unless_somebody_keeps_them() {
        for (are_kept, signal) in [(false, Signal::Drain), (true, Signal::HandOver)] {
            let (drains, shard) = drains(are_kept);
            assert_eq!(shard.signal(), Signal::Serve);
            assert!(drains.stop() && !drains.stop());
            assert_eq!(shard.signal(), signal);
        }
    }

    #[test]
    fn an_upgrade_hands_over_once_and_a_stop_takes_it_back() {
        let (drains, shard) = drains(false);
        assert_eq!(drains.next(), None);
        drains.upgrade("/next".into(), || assert_eq!(shard.signal(), Signal::Serve)).unwrap();
        assert_eq!((shard.signal(), drains.next()), (Signal::HandOver, Some(Path::new("/next"))));
        let nobody = || panic!("nobody is told");
        assert!(drains.upgrade("/other".into(), nobody).is_err_and(|why| why.contains("under way")));
        assert!(drains.stop());
        assert_eq!((shard.signal(), drains.next()), (Signal::Drain, None));
        assert!(drains.upgrade("/next".into(), nobody).is_err_and(|why| why.contains("ending")));
    }
}

//! What a behaviour is to the one who runs it.

use super::crowd::Crowd;
use super::peer::Bytes;
use super::peer::Part;
use crate::failure::Failure;

/// A heavy or hostile client, or a crowd of them.
pub trait Behaviour {
    /// Stores what it needs and opens its connections, before anything is measured.
    ///
    /// # Errors
    /// When the server does not let it.
    fn prepare(&mut self, _crowd: &mut Crowd) -> Result<(), Failure> {
        Ok(())
    }

    /// When the measured part may begin.
    fn ready_ns(&self) -> u64 {
        0
    }

    /// Queues what is due. It is called in each turn of the measured part.
    ///
    /// # Errors
    /// [`Failure::Io`] when there are no more sockets.
    fn tick(&mut self, crowd: &mut Crowd, now: u64) -> Result<(), Failure>;

    /// What the server has done wrong besides what is measured, such as to close a client that is only slow.
    fn fault(&self, _crowd: &Crowd) -> Option<String> {
        None
    }
}

/// One row of the page.
pub struct Row {
    pub name: &'static str,
    /// In a few words, for `--list`.
    pub says: &'static str,
    pub make: fn(Size) -> Box<dyn Behaviour>,
    /// What its server is told besides.
    pub server_arguments: &'static [&'static str],
}

/// Whether a run is to be short.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub quick: bool,
    /// How long the victim is alone between the preparation and the measured part, nanoseconds.
    pub alone_ns: u64,
}

impl Size {
    pub fn of(self, whole: usize, quick: usize) -> usize {
        if self.quick { quick } else { whole }
    }
}

/// Requests under way while something is stored.
const STORING: u64 = 4;

/// Has all `requests` answered on a connection of their own, which stays open.
///
/// # Errors
/// [`Failure::Timeout`] when no answer comes any more.
pub fn store(crowd: &mut Crowd, part: Part, requests: &[Bytes]) -> Result<(), Failure> {
    let index = crowd.open(1, part)?.start;
    for request in requests {
        crowd.ask(index, request);
        let stored = |crowd: &Crowd| crowd.owed(index) < STORING || crowd.is_ended(index);
        crowd.until("what is to be stored was not answered", stored)?;
    }
    crowd.until("what is to be stored was not answered", |crowd| crowd.owed(index) == 0)?;
    if crowd.is_ended(index) {
        return Err(Failure::Closed(format!("while something was stored ({})", crowd.counts)));
    }
    Ok(())
}

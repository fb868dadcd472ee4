//! What each failure of an operation does: the table of `docs/operating.md`, in code.
//!
//! Invariant: nothing that failed is asked for again in the same turn, unless what failed is over and done with. So nothing
//! that fails for ever keeps a core busy.

use rustix::io::Errno;

use super::operation::Operation;

/// Microseconds accepting rests after it failed.
pub const ACCEPT_REST_US: u64 = 100_000;
/// Microseconds before what failed for no lasting reason is asked for again. Another shard may wait for it.
pub const RETRY_US: u64 = 1_000;
/// Microseconds between two lines of the log about failures.
const TOLD_EVERY_US: u64 = 1_000_000;

/// What the driver does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What was wanted has come about in another way, or whom it was for is gone.
    Nothing,
    /// Asked for once more, in the next turn.
    Again,
    /// Asked for once more after a rest, counted and told.
    Later,
    /// The connection ends.
    EndConnection,
}

/// What follows from `operation` ending with `errno`.
pub fn answer(operation: Operation, errno: Errno) -> Answer {
    match (operation, errno) {
        // A client that was gone before it was accepted, and the end of accepting.
        (Operation::Accept(_), Errno::CONNABORTED | Errno::CANCELED) => Answer::Again,
        (Operation::Accept(_), _) => Answer::Later,
        // Buffers come back with the end of this turn; and a receive that was cancelled may be wanted again by now.
        (Operation::Receive(_), Errno::NOBUFS | Errno::CANCELED) => Answer::Again,
        (Operation::Receive(_) | Operation::Send(_), _) => Answer::EndConnection,
        (Operation::Timer, Errno::TIME | Errno::CANCELED) => Answer::Nothing,
        // The shard that was to be woken has ended.
        (Operation::Wake(_), Errno::BADF | Errno::BADFD | Errno::OWNERDEAD) => Answer::Nothing,
        // The timer has just completed.
        (Operation::MoveTimer, Errno::NOENT | Errno::ALREADY) => Answer::Nothing,
        // What was to be cancelled has just ended, and completes.
        (Operation::CancelAccept(_) | Operation::CancelReceive(_), Errno::NOENT) => Answer::Nothing,
        (
            Operation::Control
            | Operation::Timer
            | Operation::Wake(_)
            | Operation::MoveTimer
            | Operation::CancelAccept(_)
            | Operation::CancelReceive(_),
            _,
        ) => Answer::Later,
        (Operation::Woken | Operation::Unknown, _) => Answer::Nothing,
    }
}

/// When the log may be told of the next failure, and how many it was not told of.
#[derive(Debug, Default)]
pub struct Telling {
    next_us: u64,
    untold: u64,
}

impl Telling {
    /// Tells that `what` failed, and what is done, but at most once a second.
    pub fn failed(&mut self, now_us: u64, what: &str, errno: Errno) {
        if now_us < self.next_us {
            self.untold += 1;
            return;
        }
        self.next_us = now_us + TOLD_EVERY_US;
        let untold = std::mem::take(&mut self.untold);
        let reason = std::io::Error::from(errno);
        tracing::warn!(untold, "{what}: {reason}; it is tried again, see `annulus doctor`");
    }
}

/// What `operation` is to whoever runs the server.
pub const fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Accept(_) => "no connection is accepted for a moment",
        Operation::Receive(_) => "a connection cannot be read",
        Operation::Send(_) => "a connection cannot be written to",
        Operation::Control => "a shard cannot wait for what it is told",
        Operation::Woken | Operation::Unknown => "a shard was not woken",
        Operation::Timer | Operation::MoveTimer => "a shard cannot set its timer",
        Operation::Wake(_) => "a shard cannot wake another",
        Operation::CancelAccept(_) => "a shard cannot stop accepting",
        Operation::CancelReceive(_) => "a connection cannot be paused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::ConnectionId;

    // Every error number there is, for every operation: what ends a connection, what rests, and what nobody answers.
    #[test]
    fn only_what_is_over_is_left_alone_or_asked_for_at_once() {
        let id = ConnectionId { index: 0, generation: 0 };
        let of = |operation, wanted| {
            let errnos = (1..134).map(Errno::from_raw_os_error);
            errnos.filter(|&errno| answer(operation, errno) == wanted).collect::<Vec<_>>()
        };
        for operation in [Operation::Receive(id), Operation::Send(id)] {
            assert_eq!((of(operation, Answer::Later), of(operation, Answer::Nothing)), (vec![], vec![]));
        }
        assert_eq!(of(Operation::Receive(id), Answer::Again), [Errno::NOBUFS, Errno::CANCELED]);
        assert_eq!(of(Operation::Send(id), Answer::Again), []);
        assert_eq!(of(Operation::Accept(0), Answer::Again), [Errno::CONNABORTED, Errno::CANCELED]);
        assert_eq!(of(Operation::Accept(0), Answer::Nothing), []);
        for (operation, over) in [
            (Operation::Control, vec![]),
            (Operation::Timer, vec![Errno::TIME, Errno::CANCELED]),
            (Operation::Wake(0), vec![Errno::BADF, Errno::BADFD, Errno::OWNERDEAD]),
            (Operation::MoveTimer, vec![Errno::NOENT, Errno::ALREADY]),
            (Operation::CancelAccept(0), vec![Errno::NOENT]),
            (Operation::CancelReceive(id), vec![Errno::NOENT]),
        ] {
            assert_eq!(of(operation, Answer::Nothing), over, "{operation:?}");
            assert_eq!(of(operation, Answer::Later).len(), 133 - over.len(), "{operation:?}");
        }
    }
}

//! One `write` while its operations are routed.

use crate::mesh::{ConnectionId, Merged, ReplyTo};
use crate::shard::outcomes::{Outcomes, place};
use crate::wire::Reject;

/// See the module.
pub struct OpBatch {
    pub(super) connection: ConnectionId,
    pub(super) outcomes: Outcomes,
    /// Where other shards answer, once one of them has been asked.
    pub(super) reply: Option<ReplyTo>,
    /// Operations that have been answered.
    pub(super) answered: u32,
    /// Bytes that the others take wherever they wait.
    pub(super) request_bytes: usize,
    /// Bytes that the operations come to in the journal, roughly.
    pub(super) write_bytes: usize,
    /// Whether any was merged here.
    pub(super) has_merged: bool,
    /// Whether what is left of them waits for a later turn.
    pub(super) is_put_off: bool,
}

impl OpBatch {
    pub fn new(connection: ConnectionId, mut outcomes: Outcomes, is_put_off: bool) -> Self {
        outcomes.clear();
        Self {
            connection,
            outcomes,
            reply: None,
            answered: 0,
            request_bytes: 0,
            write_bytes: 0,
            has_merged: false,
            is_put_off,
        }
    }

    /// Rejects the next operation before anybody is asked.
    pub fn refuse(&mut self, reject: Reject) {
        let index = place(self.outcomes.len());
        self.outcomes.push(None);
        self.answer(index, Err(reject));
    }

    pub fn answer(&mut self, index: u32, outcome: Result<Merged, Reject>) {
        self.has_merged |= outcome.is_ok();
        self.outcomes.set(index, outcome);
        self.answered += 1;
    }
}

//! Requests that wait for their map: for its cells, which are being loaded, or for its type.
//!
//! Invariant: requests for one map wait in one queue and leave it in order, and each is handled or, where it has
//! waited too long, answered with `timeout`.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::{Cells, MapSlot, Maps};
use crate::limits::WAITING_REQUEST_BYTES_MAX;
use crate::mesh::{DirectRequest, Request, ShardIndex};
use crate::shard::turn::Turn;
use crate::wire::Reject;

/// A request that waits, with the bytes its spans point into.
pub struct Parked {
    /// Who has asked; it may be this shard.
    pub from: ShardIndex,
    since_us: u64,
    pub request: Request,
    pub bytes: Vec<u8>,
    /// A read: the number under which its cells are looked up.
    pub(super) look_up: Option<u32>,
    _counted: WaitingBytes,
}

impl Parked {
    pub const fn since_us(&self) -> u64 {
        self.since_us
    }

    /// Whether it waits for the map however often that cannot be loaded, as no client waits for an answer.
    pub fn is_patient(&self) -> bool {
        match &self.request {
            Request::Walk(walk) => !walk.is_owed,
            Request::Direct(direct) => matches!(**direct, DirectRequest::Fetch(_)),
            Request::ScanQueries { is_owed, .. } => !is_owed,
            _ => false,
        }
    }
}

/// Bytes of requests that wait in this shard, counted until it is dropped.
pub struct WaitingBytes {
    bytes: usize,
    sum: Rc<Cell<usize>>,
}

impl WaitingBytes {
    /// Counts more of them.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.sum.set(self.sum.get() + bytes);
    }
}

impl Drop for WaitingBytes {
    fn drop(&mut self) {
        self.sum.set(self.sum.get() - self.bytes);
    }
}

/// Milliseconds after which a request may come again that found too many waiting.
const RETRY_AFTER_MS: u32 = 500;

impl Maps {
    /// Whether a request whose names and values take so many bytes may wait beside all that wait.
    ///
    /// # Errors
    /// It must be refused for now.
    pub fn may_wait(&self, bytes: usize) -> Result<(), Reject> {
        let waiting = self.waiting_bytes.get() + bytes + size_of::<Parked>();
        if waiting <= WAITING_REQUEST_BYTES_MAX {
            return Ok(());
        }
        Err(Reject::Overloaded { retry_after_ms: RETRY_AFTER_MS })
    }

    /// Whether a request that takes so many bytes may wait for this map.
    ///
    /// # Errors
    /// It must be refused for now.
    pub fn may_wait_for(&self, turn: &Turn, slot: MapSlot, bytes: usize) -> Result<(), Reject> {
        self.load_failure(turn, slot).map_or_else(|| self.may_wait(bytes), Err)
    }

    /// Counts the bytes of requests that wait.
    pub fn count_waiting(&self, bytes: usize) -> WaitingBytes {
        self.waiting_bytes.set(self.waiting_bytes.get() + bytes);
        WaitingBytes { bytes, sum: Rc::clone(&self.waiting_bytes) }
    }

    /// Bytes of requests that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.get()
    }

    /// Whether requests for the cells of this map must wait: for the cells, which are asked for if nobody has, or
    /// for the type.
    pub fn must_wait(&mut self, turn: &mut Turn, slot: MapSlot) -> bool {
        let now_ms = turn.now.timer_ms();
        self.touch(slot, now_ms);
        match self.table[slot].cells {
            Cells::Typed(_) | Cells::Untyped => false,
            Cells::Claiming(_) | Cells::Loading(_) => true,
            Cells::Unloaded => {
                self.begin_load(turn, slot);
                true
            }
        }
    }

    /// Whether the map's cells are not there yet; they are asked for if nobody has.
    pub fn must_load(&mut self, turn: &mut Turn, slot: MapSlot) -> bool {
        self.must_wait(turn, slot) && matches!(self.table[slot].cells, Cells::Loading(_))
    }

    /// Keeps a request of shard `from` until its map is loaded or its type known, behind those that wait already.
    pub fn park_request(
        &mut self,
        turn: &mut Turn,
        slot: MapSlot,
        from: ShardIndex,
        request: Request,
        bytes: Vec<u8>,
    ) {
        let _counted = self.count_waiting(size_of::<Parked>() + bytes.len());
        let since_us = turn.now.monotonic_us;
        let parked = Parked { from, since_us, request, bytes, look_up: None, _counted };
        self.take_late(turn, slot);
        let queue = self.table[slot].parked();
        debug_assert!(queue.is_some(), "a map that is there has nothing to wait for");
        if let Some(queue) = queue {
            queue.push_back(parked);
        }
    }

    /// Whether a parked request must be answered with `timeout`, as whoever asked has given it up.
    pub fn is_late(&self, turn: &Turn, parked: &Parked) -> bool {
        // Another shard waits for the type, however long it takes; it asks for it once.
        self.has_waited_too_long(turn, parked.since_us)
            && !matches!(parked.request, Request::ClaimType { .. })
    }

    /// Takes a request that waits in vain, and what it is to be answered with; call until `None`.
    pub fn next_given_up(&mut self) -> Option<(Parked, Reject)> {
        self.given_up.pop_front()
    }

    /// Takes what has waited too long from the front of the map's queue, so that a map that never comes takes no more
    /// memory than what is asked in that time.
    pub(super) fn take_late(&mut self, turn: &Turn, slot: MapSlot) {
        let mut claims = Vec::new();
        while let Some(oldest) = self.table[slot].parked().and_then(|parked| parked.front()) {
            let since_us = oldest.since_us;
            if !self.has_waited_too_long(turn, since_us) {
                break;
            }
            match self.table[slot].parked().and_then(VecDeque::pop_front) {
                Some(claim) if matches!(claim.request, Request::ClaimType { .. }) => claims.push(claim),
                Some(late) => self.given_up.push_back((late, Reject::Timeout)),
                None => break,
            }
        }
        if let Some(parked) = self.table[slot].parked() {
            claims.into_iter().rev().for_each(|claim| parked.push_front(claim));
        }
    }

    /// Without storage nothing takes long but shards that do, and their requests are carried out however late.
    fn has_waited_too_long(&self, turn: &Turn, since_us: u64) -> bool {
        let waited_us = turn.now.monotonic_us.saturating_sub(since_us);
        self.journal.is_some() && waited_us > turn.config.ack_timeout_ms * 1000
    }
}

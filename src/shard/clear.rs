//! Dropping all maps of all shards at once, which tests ask for between two runs.
//!
//! ```text
//! each shard     Held ──► all others    takes no more requests; shard 0 begins, the others follow
//! each shard     Dropped ──► shard 0    once all others hold: everything they sent before has come by then
//! shard 0        Ended ──► all others   with a tick above everything of before; requests are taken again
//! ```
//! With storage a shard says that it has dropped its maps once everything it had applied is durable. Shard 0 then writes
//! one record, before which nothing counts, and ends the clear when the base has followed it: a crash undoes all of it
//! or nothing, and whatever is loaded afterwards is of afterwards.
//!
//! Invariant: no shard applies anything between its own drop and the end, and nothing of before the drop is on its
//! way by the end. So a map has one type on all shards afterwards, whoever was claiming it meanwhile. What clients
//! ask for meanwhile waits and is carried out on the empty maps.

use super::Shard;
use super::clients::connection::Phase;
use super::maps::journal::Journal;
use super::pages::JSON;
use super::requests::Waiting;
use crate::crdt::Time;
use crate::handover::ToStorage;
use crate::mesh::{Answer, ClearStep, ConnectionId, Item, ReplyTo, Request, ShardIndex, ShardSet};
use crate::wire::http::StatusCode;

/// The shard that every clear begins and ends at, so that there is one at a time.
const COORDINATOR: ShardIndex = 0;
/// Milliseconds between two requests for the checkpoint that a clear waits for: one may come before its record.
const CHECKPOINT_EVERY_MS: u64 = 1_000;

/// See the module.
pub struct Clearing {
    stage: Stage,
    /// Clears that have ended here.
    ended: u64,
    /// For each shard how often it has said that it holds. One that has heard of the end sooner may hold for the next
    /// clear already.
    held: Vec<u64>,
    /// The tick of the last clear: whoever has seen only what was applied before it must start anew.
    tick: Time,
    /// What the coordinator knows of the clear under way: who has dropped its maps, and who waits for the end.
    dropped: ShardSet,
    replies: Vec<ReplyTo>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No clear is under way.
    Serving,
    Holding,
    /// Its maps are gone, and the storage has yet to sync what it had applied.
    Syncing,
    Dropped,
    /// Of the coordinator: all shards have dropped their maps, and the base has yet to follow.
    Recorded {
        tick: Time,
        checkpoint_at_ms: u64,
    },
}

impl Clearing {
    /// `tick`: that of the last clear, which an earlier process may have done.
    pub fn new(shards: usize, tick: Time) -> Self {
        Self {
            stage: Stage::Serving,
            ended: 0,
            held: vec![0; shards],
            tick,
            dropped: ShardSet::EMPTY,
            replies: Vec::new(),
        }
    }
}

impl Shard {
    /// Drops all maps of all shards, then answers the HTTP request of `id`. Connections and subscriptions stay.
    pub fn clear_maps(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.phase = Phase::Admission;
        let reply = self.wait_for(id, None, Waiting::Clear, 1);
        if self.index == COORDINATOR {
            self.begin_clear(reply);
        } else {
            self.outgoing.push(COORDINATOR, Item::Request(Request::Clear { reply }));
        }
    }

    /// Somebody wants a clear. One that is under way does as well: nothing is applied before it ends.
    pub(in crate::shard) fn begin_clear(&mut self, reply: ReplyTo) {
        self.clearing.replies.push(reply);
        if !self.is_clearing() {
            self.hold_for_clear();
        }
    }

    /// Whether this shard must take nothing on, as a clear is under way.
    pub(in crate::shard) fn is_clearing(&self) -> bool {
        self.clearing.stage != Stage::Serving
    }

    /// The tick of the last clear: nothing that was applied up to it is there any more.
    pub(in crate::shard) fn cleared_through(&self) -> Time {
        self.clearing.tick
    }

    pub(in crate::shard) fn clear_step(&mut self, from: ShardIndex, step: ClearStep) {
        match step {
            ClearStep::Held => {
                self.clearing.held[usize::from(from)] += 1;
                if self.is_clearing() {
                    self.drop_once_all_hold();
                } else {
                    self.hold_for_clear();
                }
            }
            ClearStep::Dropped { clock } => self.shard_dropped(from, clock),
            ClearStep::Ended { tick } => self.end_clear(tick),
        }
    }

    fn hold_for_clear(&mut self) {
        self.clearing.stage = Stage::Holding;
        self.clearing.held[usize::from(self.index)] += 1;
        self.tell_all_others(ClearStep::Held);
        self.drop_once_all_hold();
    }

    fn drop_once_all_hold(&mut self) {
        let Clearing { stage, ended, held, .. } = &self.clearing;
        if *stage != Stage::Holding || held.iter().any(|held| held <= ended) {
            return;
        }
        // Subscribers are told of everything that was acknowledged, even if it is gone the next moment.
        self.flush_batches();
        self.maps.clear();
        self.drop_loading();
        self.clearing.stage = Stage::Syncing;
        if self.journal.is_none() {
            self.dropped();
        }
    }

    /// This shard has dropped its maps.
    fn dropped(&mut self) {
        self.clearing.stage = Stage::Dropped;
        let clock = self.clock.last();
        if self.index == COORDINATOR {
            self.shard_dropped(self.index, clock);
        } else {
            self.outgoing.push(COORDINATOR, Item::Clear(ClearStep::Dropped { clock }));
        }
    }

    /// For the coordinator: one more shard has dropped its maps.
    fn shard_dropped(&mut self, from: ShardIndex, clock: Time) {
        self.clearing.dropped.insert(from);
        self.clock.follow(clock);
        if self.clearing.dropped == ShardSet::first(self.shards) {
            self.clearing.dropped = ShardSet::EMPTY;
            let tick = self.clock.tick(self.now.unix_ms);
            match &mut self.journal {
                None => self.tell_the_end(tick),
                Some(journal) => {
                    journal.push_clear(tick);
                    let checkpoint_at_ms = self.now.timer_ms();
                    self.clearing.stage = Stage::Recorded { tick, checkpoint_at_ms };
                    self.ask_for_checkpoint();
                }
            }
        }
    }

    fn tell_the_end(&mut self, tick: Time) {
        if let Some(journal) = &self.journal {
            // Everything up to the record is durable. The journal may tell its clock later, and cursors below the tick, which
            // count as of before, would be given meanwhile.
            journal.progress().advance_durable_clock(tick);
        }
        self.tell_all_others(ClearStep::Ended { tick });
        self.end_clear(tick);
    }

    fn end_clear(&mut self, tick: Time) {
        self.clock.follow(tick);
        self.cursor_limit = self.cursor_limit.max(tick);
        self.clearing.tick = tick;
        self.clearing.ended += 1;
        self.clearing.stage = Stage::Serving;
        self.let_go_soon();
        for reply in std::mem::take(&mut self.clearing.replies) {
            if reply.shard == self.index {
                self.clear_answered(reply);
            } else {
                self.outgoing.push(reply.shard, Item::Answer(Answer::Cleared { reply }));
            }
        }
        if self.clearing.held.iter().any(|&held| held > self.clearing.ended) {
            self.hold_for_clear();
        }
    }

    /// Takes the step that the storage was waited for.
    pub(in crate::shard) fn go_on_clearing(&mut self) {
        match self.clearing.stage {
            Stage::Syncing if self.clear_may_go_on() => self.dropped(),
            Stage::Recorded { tick, .. } if self.clear_may_go_on() => self.tell_the_end(tick),
            Stage::Recorded { .. } => self.ask_for_checkpoint(),
            _ => {}
        }
    }

    /// Whether the storage is as far as the clear under way needs it.
    pub(in crate::shard) fn clear_may_go_on(&self) -> bool {
        match self.clearing.stage {
            Stage::Syncing => self.journal.as_ref().is_some_and(Journal::is_all_durable),
            Stage::Recorded { tick, .. } => {
                self.journal.as_ref().is_some_and(|journal| journal.is_folded(tick))
            }
            _ => false,
        }
    }

    fn ask_for_checkpoint(&mut self) {
        let now_ms = self.now.timer_ms();
        if let Stage::Recorded { checkpoint_at_ms, .. } = &mut self.clearing.stage
            && let Some(journal) = &mut self.journal
            && now_ms >= *checkpoint_at_ms
        {
            *checkpoint_at_ms = now_ms + CHECKPOINT_EVERY_MS;
            journal.send(ToStorage::Checkpoint);
        }
    }

    /// When [`Self::go_on_clearing`] has something to do though the storage says nothing, in milliseconds of the
    /// monotonic clock.
    pub(in crate::shard) fn next_clear_checkpoint_ms(&self) -> Option<u64> {
        match self.clearing.stage {
            Stage::Recorded { checkpoint_at_ms, .. } => Some(checkpoint_at_ms),
            _ => None,
        }
    }

    /// All maps of all shards are gone.
    pub(in crate::shard) fn clear_answered(&mut self, reply: ReplyTo) {
        if self.end_wait(reply).is_some() {
            self.respond_page(reply.connection, false, StatusCode::OK, JSON, "{\"success\":true}");
        }
    }

    fn tell_all_others(&mut self, step: ClearStep) {
        for target in (0..self.shards as ShardIndex).filter(|&target| target != self.index) {
            self.outgoing.push(target, Item::Clear(step));
        }
    }
}

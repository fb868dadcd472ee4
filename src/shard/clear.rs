//! Dropping all maps of all shards at once, which tests ask for between two runs.
//!
//! ```text
//! each shard     Quiet ──► all others   takes no more requests; shard 0 begins, the others follow
//! each shard     Dropped ──► shard 0    once all others are quiet: all they sent before has come by then
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
use super::clients::Phase;
use super::maps::Journal;
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
    /// For each shard how often it has said that it is quiet. One that has heard of the end sooner may be so for the next
    /// clear already.
    quiet: Vec<u64>,
    /// What the coordinator knows of the clear under way: who has dropped its maps, and who waits for the end.
    dropped: ShardSet,
    replies: Vec<ReplyTo>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No clear is under way.
    Serving,
    Quiet,
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
    pub fn new(shards: usize) -> Self {
        Self {
            stage: Stage::Serving,
            ended: 0,
            quiet: vec![0; shards],
            dropped: ShardSet::EMPTY,
            replies: Vec::new(),
        }
    }

    /// Whether this shard must take nothing on.
    pub fn is_under_way(&self) -> bool {
        self.stage != Stage::Serving
    }
}

impl Shard {
    /// Drops all maps of all shards, then answers the HTTP request of `id`. Connections and subscriptions stay.
    pub fn clear_maps(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        connection.phase = Phase::Admission;
        let reply = self.requests.wait_for(&mut self.turn, &mut self.clients, (id, None), Waiting::Clear, 1);
        if self.turn.index == COORDINATOR {
            self.begin_clear(reply);
        } else {
            self.turn.outgoing.push(COORDINATOR, Item::Request(Request::Clear { reply }));
        }
    }

    /// Somebody wants a clear. One that is under way does as well: nothing is applied before it ends.
    pub(super) fn begin_clear(&mut self, reply: ReplyTo) {
        self.clearing.replies.push(reply);
        if !self.clearing.is_under_way() {
            self.become_quiet();
        }
    }

    pub(super) fn clear_step(&mut self, from: ShardIndex, step: ClearStep) {
        match step {
            ClearStep::Quiet => {
                self.clearing.quiet[usize::from(from)] += 1;
                if self.clearing.is_under_way() {
                    self.drop_once_all_are_quiet();
                } else {
                    self.become_quiet();
                }
            }
            ClearStep::Dropped { clock } => self.shard_dropped(from, clock),
            ClearStep::Ended { tick } => self.end_clear(tick),
        }
    }

    fn become_quiet(&mut self) {
        self.clearing.stage = Stage::Quiet;
        self.clearing.quiet[usize::from(self.turn.index)] += 1;
        self.tell_all_others(ClearStep::Quiet);
        self.drop_once_all_are_quiet();
    }

    fn drop_once_all_are_quiet(&mut self) {
        let Clearing { stage, ended, quiet, .. } = &self.clearing;
        if *stage != Stage::Quiet || quiet.iter().any(|quiet| quiet <= ended) {
            return;
        }
        // Subscribers are told of everything that was acknowledged, even if it is gone the next moment.
        self.feeds.flush_batches(&mut self.turn, &mut self.clients, &mut self.maps);
        let Self { turn, clients, maps, queries, .. } = &mut *self;
        queries.end_turn(turn, clients, maps, true);
        queries.clear();
        self.maps.clear();
        self.channels.clear(&mut self.turn, &mut self.maps);
        self.directs.clear();
        self.clearing.stage = Stage::Syncing;
        if self.maps.journal().is_none() {
            self.dropped();
        }
    }

    /// This shard has dropped its maps.
    fn dropped(&mut self) {
        self.clearing.stage = Stage::Dropped;
        let clock = self.turn.clock.last();
        if self.turn.index == COORDINATOR {
            self.shard_dropped(self.turn.index, clock);
        } else {
            self.turn.outgoing.push(COORDINATOR, Item::Clear(ClearStep::Dropped { clock }));
        }
    }

    /// For the coordinator: one more shard has dropped its maps.
    fn shard_dropped(&mut self, from: ShardIndex, clock: Time) {
        self.clearing.dropped.insert(from);
        self.turn.clock.follow(clock);
        if self.clearing.dropped == ShardSet::first(self.turn.shards) {
            self.clearing.dropped = ShardSet::EMPTY;
            let tick = self.turn.clock.tick(self.turn.now.unix_ms);
            match self.maps.journal_mut() {
                None => self.tell_the_end(tick),
                Some(journal) => {
                    journal.push_clear(tick);
                    let checkpoint_at_ms = self.turn.now.timer_ms();
                    self.clearing.stage = Stage::Recorded { tick, checkpoint_at_ms };
                    self.ask_for_checkpoint();
                }
            }
        }
    }

    fn tell_the_end(&mut self, tick: Time) {
        if let Some(journal) = self.maps.journal() {
            // Everything up to the record is durable. The journal may tell its clock later, and cursors below the tick, which
            // count as of before, would be given meanwhile.
            journal.progress().advance_durable_clock(tick);
        }
        self.tell_all_others(ClearStep::Ended { tick });
        self.end_clear(tick);
    }

    fn end_clear(&mut self, tick: Time) {
        self.turn.clock.follow(tick);
        self.turn.cursor_limit = self.turn.cursor_limit.max(tick);
        self.maps.cleared_through = tick;
        self.clearing.ended += 1;
        self.clearing.stage = Stage::Serving;
        self.turn.storage_left |= self.maps.has_releases();
        for reply in std::mem::take(&mut self.clearing.replies) {
            if reply.shard == self.turn.index {
                self.clear_answered(reply);
            } else {
                self.turn.outgoing.push(reply.shard, Item::Answer(Answer::Cleared { reply }));
            }
        }
        if self.clearing.quiet.iter().any(|&quiet| quiet > self.clearing.ended) {
            self.become_quiet();
        }
    }

    /// Takes the step that the storage was waited for.
    pub(super) fn continue_clear(&mut self) {
        match self.clearing.stage {
            Stage::Syncing if self.clear_may_continue() => self.dropped(),
            Stage::Recorded { tick, .. } if self.clear_may_continue() => self.tell_the_end(tick),
            Stage::Recorded { .. } => self.ask_for_checkpoint(),
            _ => {}
        }
    }

    /// Whether the storage is as far as the clear under way needs it.
    pub(super) fn clear_may_continue(&self) -> bool {
        match self.clearing.stage {
            Stage::Syncing => self.maps.journal().is_some_and(Journal::is_all_durable),
            Stage::Recorded { tick, .. } => {
                self.maps.journal().is_some_and(|journal| journal.is_folded(tick))
            }
            _ => false,
        }
    }

    fn ask_for_checkpoint(&mut self) {
        let now_ms = self.turn.now.timer_ms();
        if let Stage::Recorded { checkpoint_at_ms, .. } = &mut self.clearing.stage
            && let Some(journal) = self.maps.journal_mut()
            && now_ms >= *checkpoint_at_ms
        {
            *checkpoint_at_ms = now_ms + CHECKPOINT_EVERY_MS;
            journal.send(ToStorage::Checkpoint);
        }
    }

    /// When [`Self::continue_clear`] has something to do though the storage says nothing, in milliseconds of the
    /// monotonic clock.
    pub(super) fn next_clear_checkpoint_ms(&self) -> Option<u64> {
        match self.clearing.stage {
            Stage::Recorded { checkpoint_at_ms, .. } => Some(checkpoint_at_ms),
            _ => None,
        }
    }

    /// All maps of all shards are gone.
    pub(super) fn clear_answered(&mut self, reply: ReplyTo) {
        if self.requests.end_wait(&mut self.turn, &mut self.clients, reply).is_some() {
            self.respond_page(reply.connection, false, StatusCode::OK, JSON, "{\"success\":true}");
        }
    }

    fn tell_all_others(&mut self, step: ClearStep) {
        for target in self.turn.others() {
            self.turn.outgoing.push(target, Item::Clear(step));
        }
    }
}

//! The turn: what happens between two waits, in the one order in which it is right.

use super::maps::SharedMap;
use super::maps::journal::Journal;
use super::{Command, Now, Shard};
use crate::metrics::Metrics;
use crate::wire::Close;

/// Milliseconds after which shards that watch each other's maps hear each other's clocks, changes or not, so that an
/// idle shard does not hold cursors back.
const CLOCK_SHARED_EVERY_MS: u64 = 100;
/// Microseconds after which envelopes that found a full queue are offered again.
const MESH_RETRY_US: u64 = 500;
/// The same for what the storage had no room for.
const STORAGE_RETRY_US: u64 = 500;

impl Shard {
    /// Begins a turn; everything in it happens at `now`.
    pub fn start_turn(&mut self, now: Now) {
        // The wall clock may have stepped back, and times to live go by it. Ticks never do.
        self.now = now;
        self.reference_ms = self.reference.now(now.unix_ms, now.timer_ms());
        self.metrics.turns += 1;
        self.receive_from_storage();
    }

    /// Ends a turn: timers, then changes to subscribers and chunks to walkers, then one batch for the storage, one
    /// envelope for each shard and one send for each connection.
    pub fn end_turn(&mut self) {
        self.end_lead();
        self.release_rate_limited();
        self.fire_timers();
        self.run_removals();
        self.give_up_old_requests();
        self.release_held();
        self.flush_batches();
        self.run_walks();
        self.answer_watches();
        while let Some(id) = self.clients.slow.pop() {
            self.disconnect(id, Close::SlowConsumer);
        }
        // Before any envelope, so that no shard hears of what the storage has not been told.
        self.evict_maps();
        self.hand_over();
        self.watch_durable();
        self.seal_envelopes();
        self.clients.flush(self.now, &mut self.metrics);
        self.log_more_ended();
        if self.is_drained() && !self.exited {
            self.exited = true;
            self.clients.commands.push(Command::Exit);
        }
    }

    /// Takes what the driver must do now; valid after [`Self::end_turn`].
    pub fn take_commands(&mut self, into: &mut Vec<Command>) {
        std::mem::swap(into, &mut self.clients.commands);
        self.clients.commands.clear();
    }

    /// Counts what only the driver knows: the turn that just ended took this long. That is also how long the
    /// requests took that were received and answered in it.
    pub fn turn_took_ns(&mut self, ns: u64) {
        self.metrics.turn_ns.record(ns);
        self.metrics.op_ns.record_many(ns, std::mem::take(&mut self.answered_at_once));
    }

    /// Where the driver counts what happens to its ring.
    pub fn metrics_mut(&mut self) -> &mut Metrics {
        &mut self.metrics
    }

    /// The counters with the gauges as they are now.
    pub fn metrics_now(&self) -> Metrics {
        let mut metrics = self.metrics.clone();
        metrics.maps =
            self.maps.iter().filter(|map| map.typed().is_some_and(|cells| cells.cells() > 0)).count() as u64;
        let is_decided_here = |map: &SharedMap| map.typed().is_some() && self.owner(map.hash) == self.index;
        metrics.map_names = self.maps.iter().filter(|map| is_decided_here(map)).count() as u64;
        metrics.cells =
            self.maps.iter().filter_map(|map| map.typed()).map(|cells| cells.cells() as u64).sum();
        let rooms = || self.presence.rooms.iter().filter(|room| !room.members.is_empty());
        metrics.presence_rooms = rooms().count() as u64;
        metrics.presence_members = rooms().map(|room| room.members.len() as u64).sum();
        metrics.resident_bytes = self.maps.iter().map(|map| map.heap_bytes() as u64).sum();
        metrics.journal_pending_bytes = self.journal.as_ref().map_or(0, Journal::backlog_bytes);
        metrics.outbox_bytes =
            self.clients.table.iter().map(|(_, connection)| connection.outbox.bytes() as u64).sum();
        let (envelopes, bytes) = self.outgoing.depth();
        metrics.mesh_pending_envelopes = envelopes as u64;
        metrics.mesh_pending_bytes = bytes as u64;
        metrics
    }

    /// How long the driver may wait for completions, in microseconds; `None`: as long as it takes.
    pub fn wait_us(&self) -> Option<u64> {
        if self.has_work_left() {
            return Some(0);
        }
        let now_us = self.now.monotonic_us;
        let mut at_us = self.clients.next_flush_us();
        let mut sooner = |candidate: Option<u64>| {
            at_us = match (at_us, candidate) {
                (Some(at_us), Some(candidate)) => Some(at_us.min(candidate)),
                (at_us, candidate) => at_us.or(candidate),
            };
        };
        sooner(self.timers.next_ms().map(|at_ms| at_ms * 1000));
        sooner(self.next_rate_limited_us());
        sooner(self.next_life_us());
        sooner(self.next_removal_ms().map(|at_ms| now_us + at_ms.saturating_sub(self.now.unix_ms) * 1000));
        sooner(self.endings.due_ms().map(|at_ms| at_ms * 1000));
        sooner(self.outgoing.any_waiting().then_some(now_us + MESH_RETRY_US));
        sooner(self.next_look_at_loads_ms().map(|at_ms| at_ms * 1000));
        sooner(self.next_pass_ms().map(|at_ms| at_ms * 1000));
        sooner(self.next_clear_checkpoint_ms().map(|at_ms| at_ms * 1000));
        sooner(self.has_unjournaled().then_some(now_us + STORAGE_RETRY_US));
        sooner(self.watchers_elsewhere.then_some((self.clock_shared_at_ms + CLOCK_SHARED_EVERY_MS) * 1000));
        sooner(self.oldest_request_us().map(|began_us| began_us + self.config.ack_timeout_ms * 1000));
        at_us.map(|at_us| at_us.saturating_sub(now_us))
    }

    /// Whether the next turn has something to do even if nothing happens.
    fn has_work_left(&self) -> bool {
        let has_requests = !self.is_clearing()
            && (self.has_walks() || self.has_watches_to_answer() || self.has_deferred() && !self.is_held());
        self.mesh_left || self.storage_left || has_requests && !self.outgoing.any_waiting()
    }

    /// Hands one envelope to every shard there is something for.
    fn seal_envelopes(&mut self) {
        if self.shards == 1 {
            return;
        }
        let now_ms = self.now.timer_ms();
        let is_time = self.watchers_elsewhere && now_ms >= self.clock_shared_at_ms + CLOCK_SHARED_EVERY_MS;
        if is_time {
            self.clock_shared_at_ms = now_ms;
            self.clock.advance(self.now.unix_ms);
        }
        let commands = &mut self.clients.commands;
        let mut sent = 0;
        let journaled = self.journal.as_ref().map_or(0, Journal::covering);
        self.outgoing.seal(self.clock.last(), journaled, is_time, |target| {
            commands.push(Command::Wake(target));
            sent += 1;
        });
        self.metrics.envelopes_sent += sent;
    }
}

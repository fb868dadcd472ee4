//! The turn: what happens between two waits, in the one order in which it is right.

use super::account::Use;
use super::directs::Around;
use super::slow_turns::Kind;
use super::{Command, Now, Shard};
use crate::metrics::Metrics;
use crate::wire::Close;

/// Milliseconds after which shards that watch each other's maps hear each other's clocks, changes or not, so that an
/// idle shard does not hold cursors back.
const CLOCK_SHARED_EVERY_MS: u64 = 100;
/// Microseconds after which envelopes that found a full queue are offered again.
const MESH_RETRY_US: u64 = 500;
/// The same for what the storage or the desk had no room for.
const STORAGE_RETRY_US: u64 = 500;

impl Shard {
    /// Begins a turn; everything in it happens at `now`.
    pub fn start_turn(&mut self, now: Now) {
        let before = self.turn.now;
        self.turn.begin(now);
        self.clients.forgive_standstill(&self.turn, before);
        self.receive_from_storage();
        self.receive_from_desk();
        self.receive_from_hooks();
        // At once: what comes from other shards in this turn goes out as it may be seen from now on.
        self.review_identities();
        self.go_on_regranting();
        self.finish_writes();
        self.turn.note_kind(Kind::Carried);
    }

    /// Goes on with writes that have operations left, before anything new is begun: each once, while the turn may do more, and
    /// one in any case.
    fn finish_writes(&mut self) {
        for done in 0..self.requests.unfinished_len() {
            if self.is_congested() || done > 0 && self.turn.is_spent() {
                return;
            }
            let Self { turn, clients, maps, requests, .. } = self;
            requests.finish_next(turn, clients, maps);
            self.tell_much();
        }
    }

    /// Ends a turn: timers, then changes to subscribers and chunks to walkers, then one batch for the storage, one
    /// envelope for each shard and one send for each connection.
    pub fn end_turn(&mut self) {
        self.turn.note_kind(Kind::Mesh);
        self.end_lead();
        self.clients.end_rate_limits(&self.turn);
        self.fire_timers();
        self.maps.run_removals(&mut self.turn);
        self.give_up_old_requests();
        self.go_on_leaving();
        self.turn.note_kind(Kind::Upkeep);
        self.answer_inspections();
        self.turn.note_kind(Kind::Inspection);
        self.end_gone();
        self.go_on_handshakes();
        self.turn.note_kind(Kind::Upkeep);
        self.resume_waiting();
        self.turn.note_kind(Kind::Waiting);
        self.refuse_given_up();
        // Whatever they do about it is told below; who is found to be drained there hears of it in the next turn.
        self.tell_drained();
        self.tell_changes();
        self.go_on();
        while let Some(id) = self.clients.next_slow() {
            self.disconnect(id, Close::SlowConsumer);
        }
        self.turn.note_kind(Kind::Telling);
        self.settle_account();
        // Before any envelope, so that no shard hears of what the storage has not been told.
        self.maps.evict_maps(&mut self.turn);
        self.maps.hand_over(&mut self.turn);
        self.watch_durable();
        self.clients.settle_budgets(&mut self.turn);
        self.tell_application();
        self.seal_envelopes();
        self.clients.flush(&mut self.turn);
        self.clients.log_more_ended(&self.turn);
        self.turn.note_kind(Kind::HandingOver);
        if self.is_drained() && !self.exited {
            self.exited = true;
            self.turn.commands.push(Command::Exit);
        }
    }

    /// Says what clients hold, and closes those that hold too much where that is too much in all.
    fn settle_account(&mut self) {
        let (outboxes, rooms) = (self.clients.held_bytes(), self.rooms.counts().bytes);
        self.turn.account.set(Use::Channels, self.channels.counts().bytes);
        self.turn.account.set(Use::Outboxes, outboxes);
        let presence = rooms + self.clients.members_bytes() + self.presence.counts().bytes;
        self.turn.account.set(Use::Presence, presence);
        self.turn.account.set(
            Use::Waiting,
            self.maps.waiting_bytes() + self.access.waiting_bytes() + self.questions.bytes(),
        );
        self.turn.account.set(Use::Tls, self.clients.tls_bytes());
        self.turn.account.set(Use::Directs, self.directs.counts().bytes);
        self.turn.account.set(Use::Queries, self.queries.bytes());
        self.turn.account.set(Use::Sessions, self.clients.session_bytes());
        self.clients.collect_debts(&self.turn);
        while let Some((id, at_once)) = self.clients.next_due() {
            self.disconnect_for(id, Close::SlowConsumer, "clients hold as much memory as they may");
            if at_once {
                self.clients.finish(&mut self.turn, id);
            }
        }
    }

    /// Tells subscribers what the turn has changed, walkers what they lack, and watchers who is in their rooms.
    fn tell_changes(&mut self) {
        let Self {
            turn, clients, maps, feeds, queries, requests, rooms, presence, channels, directs, ..
        } = self;
        feeds.flush_batches(turn, clients, maps);
        channels.flush_batches(turn, clients, maps);
        if !self.clearing.is_under_way() {
            feeds.run_walks(turn, clients, maps);
            requests.read_on(turn, clients, maps);
        }
        let is_quiet = self.clearing.is_under_way() || turn.account.is_full();
        queries.end_turn(turn, clients, maps, is_quiet);
        rooms.remove_leavers(turn, clients, maps);
        rooms.answer_watches(turn, clients, maps, requests);
        presence.run_ticks(turn, clients, maps, requests, rooms);
        channels.look_after(turn, maps);
        directs.expire(turn, maps);
        if !self.clearing.is_under_way() {
            let mut around = Around { turn, clients, maps, requests };
            directs.fetch_late(around.turn, around.clients);
            directs.answer_fetches(&mut around);
            directs.go_on_announcing(&mut around);
        }
    }

    /// Tells subscribers what is too much to wait for the end of the turn, with all that it costs: many may hear of it, and many
    /// queries look at it. Called whenever something was carried out and more may be.
    pub(super) fn tell_much(&mut self) {
        if self.maps.has_full_batch() {
            let Self { turn, clients, maps, feeds, queries, .. } = self;
            feeds.flush_full_batches(turn, clients, maps);
            queries.look(turn, maps);
        }
    }

    /// Tells the application what the turn has changed.
    fn tell_application(&mut self) {
        let (dropped, is_to_wake) = self.turn.happenings.flush(self.turn.now.unix_ms);
        self.turn.metrics.hooks_dropped += dropped;
        if is_to_wake {
            self.turn.commands.push(Command::WakeHooks);
        }
    }

    /// Lets dialects go on with what lasts for more than a turn.
    fn go_on(&mut self) {
        for dialect in self.clients.commons().take_to_go_on() {
            self.clients.dialect(dialect).go_on(self);
        }
    }

    /// Asks to be woken when anything becomes durable, if anybody here waits for it.
    fn watch_durable(&mut self) {
        let (was_backlogged, was_clearing) = (self.maps.is_backlogged(), self.clearing.is_under_way());
        let Some(journal) = self.maps.journal_mut() else { return };
        if !self.requests.has_durable_waits() && !was_backlogged && !was_clearing {
            return;
        }
        journal.want_wake();
        // What became durable just before that wakes nobody.
        journal.note_progress(self.turn.now);
        self.turn.storage_left |= was_backlogged && !journal.is_backlogged();
        self.turn.storage_left |= was_clearing && self.clear_may_continue();
        self.requests.answer_durable(&mut self.turn, &mut self.clients, &self.maps);
    }

    /// Whether requests must wait: a peer or the storage is too far behind, or all maps are being dropped.
    pub(super) fn is_congested(&self) -> bool {
        self.turn.outgoing.is_congested() || self.maps.is_backlogged() || self.clearing.is_under_way()
    }

    /// Takes what the driver must do now; valid after [`Self::end_turn`].
    pub fn take_commands(&mut self, into: &mut Vec<Command>) {
        std::mem::swap(into, &mut self.turn.commands);
        self.turn.commands.clear();
    }

    /// Counts what only the driver knows: the turn that just ended took this long. That is also how long the
    /// requests took that were received and answered in it.
    pub fn turn_took_ns(&mut self, ns: u64) {
        self.turn.metrics.turn_ns.record(ns);
        self.turn.took_ns(ns);
        self.turn.metrics.op_ns.record_many(ns, self.requests.take_answered_at_once());
    }

    /// What this turn has done so far, in units of `work.rs`: some 10 ns each.
    pub fn work(&self) -> u64 {
        self.turn.work()
    }

    /// Where the driver counts what happens to its ring.
    pub fn metrics_mut(&mut self) -> &mut Metrics {
        &mut self.turn.metrics
    }

    /// How long the driver may wait for completions, in microseconds; `None`: as long as it takes.
    pub fn wait_us(&self) -> Option<u64> {
        if self.has_work_left() {
            return Some(0);
        }
        let now_us = self.turn.now.monotonic_us;
        let mut at_us = self.clients.next_flush_us();
        let mut sooner = |candidate: Option<u64>| {
            at_us = match (at_us, candidate) {
                (Some(at_us), Some(candidate)) => Some(at_us.min(candidate)),
                (at_us, candidate) => at_us.or(candidate),
            };
        };
        sooner(self.clients.next_timer_ms().map(|at_ms| at_ms * 1000));
        sooner(self.clients.next_rate_limited_us());
        sooner(self.clients.next_settled_us());
        sooner(self.clients.next_look_ms().map(|at_ms| at_ms * 1000));
        sooner(self.next_life_us());
        sooner(self.inspection.next_us());
        sooner(self.presence.next_us(self.turn.account.is_full()));
        let of_unix = |at_ms: u64| now_us + at_ms.saturating_sub(self.turn.now.unix_ms) * 1000;
        sooner(self.maps.next_removal_ms().map(of_unix));
        sooner(self.channels.next_due_ms().map(of_unix));
        sooner(self.directs.next_due_ms().map(of_unix));
        sooner(self.clients.next_ending_ms().map(|at_ms| at_ms * 1000));
        sooner(self.turn.outgoing.any_waiting().then_some(now_us + MESH_RETRY_US));
        sooner(self.maps.next_load_check_ms().map(|at_ms| at_ms * 1000));
        sooner(self.maps.next_pass_ms().map(|at_ms| at_ms * 1000));
        sooner(self.next_clear_checkpoint_ms().map(|at_ms| at_ms * 1000));
        sooner(self.maps.has_unjournaled().then_some(now_us + STORAGE_RETRY_US));
        sooner(self.access.has_unsent().then_some(now_us + STORAGE_RETRY_US));
        sooner(self.is_heard_elsewhere().then_some((self.clock_shared_at_ms + CLOCK_SHARED_EVERY_MS) * 1000));
        sooner(
            self.requests
                .oldest_us(&self.turn)
                .map(|began_us| began_us + self.turn.config.ack_timeout_ms * 1000),
        );
        at_us.map(|at_us| at_us.saturating_sub(now_us))
    }

    /// Whether any other shard has ever had subscribers of what is here, and must hear this shard's clock.
    const fn is_heard_elsewhere(&self) -> bool {
        self.feeds.has_watchers_elsewhere() || self.queries.has_watchers_elsewhere()
    }

    /// Whether the next turn has something to do even if nothing happens.
    fn has_work_left(&self) -> bool {
        let has_requests = !self.clearing.is_under_way()
            && (!self.turn.account.is_full()
                && (self.feeds.has_walks()
                    || self.queries.has_scans()
                    || self.queries.has_to_tell()
                    || self.rooms.has_watches_to_answer()
                    || self.directs.has_fetches()
                    || self.requests.may_read_on())
                || self.has_deferred() && !self.maps.is_backlogged());
        let has_line = self.clients.line_len() > 0 || self.requests.unfinished_len() > 0;
        // The last connection may be gone after the turn in which it was closed.
        let is_to_exit = self.is_drained() && !self.exited;
        has_line && !self.is_congested()
            || self.queries.has_to_free()
            || self.rooms.has_leavers()
            || self.has_more_to_send_away()
            || is_to_exit
            || self.clients.has_drained()
            || self.clients.has_to_go_on()
            || self.clients.has_gone()
            || self.clients.has_leaving()
            || self.clients.handshakes_in_line() > 0
            || self.mesh_left
            || self.opened.is_some()
            || self.access.has_work_left()
            || self.questions.has_work_left()
            || self.inspection.has_work_left()
            || self.feeds.has_undelivered()
            || self.rooms.has_to_tell()
            || self.presence.has_to_tell()
            || self.presence.has_to_answer()
            || self.channels.has_undelivered()
            || self.channels.has_review()
            || self.directs.has_late() && !self.clearing.is_under_way()
            || self.directs.has_announcements() && !self.clearing.is_under_way()
            || self.turn.storage_left
            || self.turn.outgoing.is_relieved()
            || has_requests && !self.turn.outgoing.any_waiting()
    }

    /// Hands one envelope to every shard there is something for.
    fn seal_envelopes(&mut self) {
        if self.turn.shards == 1 {
            return;
        }
        let now_ms = self.turn.now.timer_ms();
        let is_time = self.is_heard_elsewhere() && now_ms >= self.clock_shared_at_ms + CLOCK_SHARED_EVERY_MS;
        if is_time {
            self.clock_shared_at_ms = now_ms;
            self.turn.clock.advance(self.turn.now.unix_ms);
        }
        let journaled = self.maps.covering();
        let super::turn::Turn { clock, outgoing, commands, .. } = &mut self.turn;
        let mut sent = 0;
        outgoing.seal(clock.last(), journaled, is_time, |target| {
            commands.push(Command::Wake(target));
            sent += 1;
        });
        self.turn.metrics.envelopes_sent += sent;
    }
}

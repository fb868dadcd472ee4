//! What every part of a shard has at hand in a turn: who the shard is, what time it is, and where what it does goes.
//!
//! It decides nothing and holds nothing of any client, so a function that takes a `&mut Turn` beside its parts may
//! touch those parts, the clock, the counters, and the queues out of the shard, and nothing else.

use std::sync::Arc;

use super::account::Account;
use super::happenings::Happenings;
use super::slow_turns::{self, Kind, Kinds};
use super::{Command, Now, Shared, work};
use crate::auth::rules;
use crate::config::Config;
use crate::crdt::{Clock, ClockDrift, Node, Reference, Stamp, Time};
use crate::mesh::{ConnectionId, KeyHasher, Outgoing, ShardIndex, ShardSet, Writer};
use crate::metrics::Metrics;

/// See the module.
pub struct Turn {
    pub index: ShardIndex,
    pub shards: usize,
    pub config: Arc<Config>,
    /// Names this data set in cursors.
    pub epoch: u64,
    pub hasher: KeyHasher,
    pub node: Node,

    pub now: Now,
    pub clock: Clock,
    /// What stamps of clients are held against, and where it is in this turn, in Unix milliseconds.
    reference: Reference,
    reference_ms: u64,
    /// For each shard: every change of its own up to here has been handled.
    pub heard: Vec<Time>,
    /// No cursor names a later tick, as a later one may come again after a crash.
    pub cursor_limit: Time,
    /// Tells this life of the shard from those of before.
    pub life: u64,
    pub random: Random,
    serial: u32,
    /// Units of work done so far in this turn.
    work: u64,
    /// Members of channels and rooms that have been sent something in this turn.
    receivers: u32,
    /// The same by kind, and which slow turns were told.
    kinds: Kinds,
    told_slow: slow_turns::Told,
    /// Past so many, who is being served has had its share of this turn.
    share_ends: u64,

    /// To other shards.
    pub outgoing: Outgoing,
    /// To whoever drives this one.
    pub commands: Vec<Command>,
    pub metrics: Metrics,
    /// What memory is used for.
    pub account: Account,
    /// To the application.
    pub happenings: Happenings,
    /// Something is left of the storage for the next turn, which must not wait for an event.
    pub storage_left: bool,
}

impl Turn {
    /// # Panics
    /// If `config.node` is not a valid node name, which the flags ensure.
    pub fn new(
        shared: &Shared,
        (index, shards): (ShardIndex, usize),
        outgoing: Outgoing,
        now: Now,
        seed: u64,
    ) -> Self {
        let node = Node::new(shared.config.node.as_bytes()).expect("the node name was checked");
        let mut clock = Clock::new(node);
        let mut cursor_limit = Time::MAX;
        let mut stored = Time::ZERO;
        if let Some(storage) = &shared.storage {
            stored = storage.clock_floor;
            clock.follow(stored);
            cursor_limit = storage.progress.durable_clock();
        }
        let drift_max_ms = shared.config.clock_drift_max_ms;
        let mut reference = Reference::new(now.unix_ms, now.timer_ms(), stored, drift_max_ms);
        Self {
            index,
            shards,
            config: Arc::clone(&shared.config),
            epoch: shared.epoch,
            hasher: shared.hasher,
            node,
            now,
            clock,
            reference_ms: reference.now(now.unix_ms, now.timer_ms()),
            reference,
            heard: vec![Time::ZERO; shards],
            cursor_limit,
            life: seed,
            random: Random(seed),
            serial: 0,
            work: 0,
            receivers: 0,
            kinds: Kinds::default(),
            told_slow: slow_turns::Told::default(),
            share_ends: 0,
            outgoing,
            commands: Vec::new(),
            metrics: Metrics::default(),
            account: Account::new(
                shared.config.memory_limit_bytes.div_ceil(shards),
                shared.config.outbox_hard_bytes,
            ),
            happenings: Happenings::default(),
            storage_left: false,
        }
    }

    /// Goes on with another configuration.
    pub fn configure(&mut self, config: Arc<Config>) {
        self.account.set_outbox_hard_bytes(config.outbox_hard_bytes);
        self.config = config;
    }

    /// Begins the next turn.
    pub fn begin(&mut self, now: Now) {
        // The wall clock may have stepped back, and times to live go by it. Ticks never do.
        self.now = now;
        self.reference_ms = self.reference.now(now.unix_ms, now.timer_ms());
        self.outgoing.look();
        self.metrics.turns += 1;
        self.work = 0;
        self.kinds.begin();
        self.receivers = 0;
    }

    /// Takes note that what was done since this was last called is of this kind.
    pub const fn note_kind(&mut self, kind: Kind) {
        self.kinds.note(kind, self.work);
    }

    /// Says what a turn that took so long has done, if that is too long.
    pub fn took_ns(&mut self, ns: u64) {
        let slow_ns = self.config.slow_turn_ms * 1_000_000;
        if slow_ns == 0 || ns <= slow_ns {
            return;
        }
        self.metrics.slow_turns += 1;
        if let Some(untold) = self.told_slow.next(self.now.timer_ms()) {
            let (ms, shard, kinds) = (ns / 1_000_000, self.index, &self.kinds);
            tracing::warn!(
                "a turn of shard {shard} took {ms} ms, over --slow-turn-ms, for {kinds}; {untold} more since the last such line"
            );
        }
    }

    /// Counts work that is being done, in the units of `work.rs`.
    #[inline]
    pub const fn spend(&mut self, units: u64) {
        self.work += units;
    }

    /// Takes what was done since for no work of this turn.
    pub const fn set_work(&mut self, units: u64) {
        self.work = units;
    }

    /// Counts one of many members who are sent the same bytes: in units, and by itself ([`work::RECEIVERS_MAX`]).
    #[inline]
    pub const fn reach_one(&mut self, bytes: usize) {
        self.work += work::receivers(1, bytes);
        self.receivers += 1;
    }

    /// Takes note that a key has changed, for the application.
    #[inline]
    pub fn note_change(&mut self, map: &Arc<str>, key: &str) {
        if self.happenings.wants_changes() {
            self.spend(work::RECEIVER);
            self.happenings.changed(self.now.unix_ms, map, key);
        }
    }

    /// Counts what rules have been asked.
    pub const fn count_asked(&mut self, asked: rules::Asked) {
        self.spend(asked.work as u64);
        self.metrics.rules_undecided += asked.undecided as u64;
    }

    /// Units of work done so far in this turn.
    pub const fn work(&self) -> u64 {
        self.work
    }

    /// Whether this turn has done as much as it may, so that what is large waits for the next.
    pub const fn is_spent(&self) -> bool {
        self.work >= work::TURN_MAX || self.receivers >= work::RECEIVERS_MAX
    }

    /// Whether it has done so much that what is small waits, too.
    pub const fn is_over_ceiling(&self) -> bool {
        self.work >= work::TURN_CEILING
    }

    /// Begins a message, or goes on with one, for a connection that has `spent` so many units in this turn: its share ends
    /// with what it or the turn may do, [`work::MESSAGE_MIN`] from here at the earliest.
    pub fn begin_share(&mut self, spent: u64) {
        let left = work::CONNECTION_MAX.saturating_sub(spent).min(work::TURN_MAX.saturating_sub(self.work));
        self.begin_share_of(left.max(work::MESSAGE_MIN));
    }

    /// Begins what has a share of so many units, whatever has been done in this turn.
    pub const fn begin_share_of(&mut self, units: u64) {
        self.share_ends = self.work + units;
    }

    /// Whether who is being served has had its share, so that the rest waits for the next turn.
    pub const fn is_share_over(&self) -> bool {
        self.work >= self.share_ends
    }

    /// Whether both the turn and the share have done enough, as the rest of what has a share whatever was done waits then.
    pub const fn is_over(&self) -> bool {
        self.is_spent() && self.is_share_over()
    }

    /// Counts turns, and begins anew after 2^32.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only whether two turns are one, or follow, is asked"
    )]
    pub const fn number(&self) -> u32 {
        self.metrics.turns as u32
    }

    /// Moves this shard's clock up to a time that a client has seen.
    ///
    /// # Errors
    /// It is too far ahead; the clock stays.
    pub fn observe(&mut self, seen: Time) -> Result<(), ClockDrift> {
        self.clock.observe(self.reference_ms, seen, self.config.clock_drift_max_ms)
    }

    /// The clock of this shard, for clients to set theirs by: a stamp a millisecond later is not refused. So it is this
    /// shard's clock, unless that has been pushed as far ahead as stamps may be, when it is a millisecond less than that.
    pub fn clock_for_clients(&mut self) -> Stamp {
        let time = self.clock.advance(self.now.unix_ms);
        let accepted_ms = self.reference_ms.saturating_add(self.config.clock_drift_max_ms);
        let time =
            if time.millis() < accepted_ms { time } else { Time::new(accepted_ms.saturating_sub(1), 0) };
        Stamp { time, node: self.node }
    }

    /// The shard that owns what hashes to `hash`.
    pub fn owner(&self, hash: u64) -> ShardIndex {
        crate::mesh::owner(hash, self.shards)
    }

    /// How many shards there are, where answers are counted.
    pub fn shard_count(&self) -> u32 {
        u32::try_from(self.shards).expect("there are no more than `SHARDS_MAX`")
    }

    /// All shards but this one.
    pub fn others(&self) -> impl Iterator<Item = ShardIndex> + use<> {
        let index = self.index;
        ShardSet::first(self.shards).iter().filter(move |&other| other != index)
    }

    /// A connection of this shard, as other shards know it.
    pub const fn writer(&self, connection: ConnectionId) -> Writer {
        Writer { shard: self.index, connection }
    }

    /// What a connection of this shard is called in logs.
    pub fn connection_name(&self, id: ConnectionId) -> String {
        format!("{}-{}-{}", self.index, id.index, id.generation)
    }

    /// Tells apart what had the same slot one after the other.
    pub fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }
}

/// A small pseudo-random generator (SplitMix64, Steele et al. 2014) for jitter, where no secret depends on it.
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Any number: what happens to have the same is taken for the same, as seldom as that happens.
    pub fn any(&mut self) -> u64 {
        self.next()
    }

    /// A number in `0..bound`, nearly uniform; 0 for an empty range.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }
}

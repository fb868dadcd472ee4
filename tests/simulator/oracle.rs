//! What clients were promised: every acknowledged operation, and for counters what may have been applied.
//!
//! Two books are kept: what holds while the process lives, and what a crash must leave, which are the operations
//! acknowledged as durable. After a crash the second is all there is.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::TIE_TAG;
use crate::letters::Letters;
use crate::replica::{Cell, Replica, Stamp};
use crate::scenario::MapSpec;
use crate::talk::Talk;
use crate::types::{Sight, Types};

/// What was promised at one moment.
pub struct Snapshot {
    book: Book,
    latest: Stamp,
}

/// What the operations of one key of a counter allow.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    low: i64,
    high: i64,
}

/// The totals one client sent for its own slot, and those that were acknowledged.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    acked: (i64, i64),
    sent: (i64, i64),
}

/// See the module. Maps are named by their index in the scenario.
#[derive(Default)]
pub struct Oracle {
    now: Book,
    durable: Book,
    /// The latest stamp a server gave that is durable, and what it was before the last crash.
    latest: Stamp,
    clock_floor: Stamp,
    /// Keys at which something may be older than a removal that is forgotten, so that replicas that know of it differ.
    revived: BTreeSet<(usize, String)>,
    pub acked: u64,
    pub acked_durable: u64,
    /// Of `acked`, those of SyncKit's clients.
    pub acked_synckit: u64,
    pub ambiguous: u64,
    /// What was said in channels.
    pub talk: Talk,
    pub letters: Letters,
}

/// See the module.
#[derive(Clone, Default)]
struct Book {
    /// Merged from all acknowledged operations.
    floors: BTreeMap<usize, Replica>,
    counts: BTreeMap<(usize, String), Range>,
    slots: BTreeMap<(usize, String, usize), Slot>,
    types: Types,
}

impl Oracle {
    /// The owner has acknowledged an operation with this outcome.
    pub fn acked(&mut self, map: usize, key: &str, cell: &Cell, is_durable: bool) {
        self.books(is_durable).for_each(|book| {
            book.floors.entry(map).or_default().merge(key, cell);
        });
    }

    /// An operation of this type was acknowledged, or the type was told: the map is of this type for everybody. False if
    /// that was said of a map that is gone, and was another one.
    pub fn saw_type(&mut self, sight: &Sight<'_>, is_durable: bool) -> bool {
        let mut is_now = true;
        self.books(is_durable).for_each(|book| is_now &= book.saw_type(sight));
        is_now
    }

    /// Something was sent that may have nothing be left of a key, of which nothing is remembered in the end.
    pub fn may_vanish(&mut self, map: usize, key: &str) {
        self.books(true).for_each(|book| book.types.may_vanish(map, key));
    }

    /// A server gave this stamp.
    pub fn saw_stamp(&mut self, stamp: &Stamp, is_durable: bool) {
        self.saw_time(stamp);
        if is_durable && *stamp > self.latest {
            self.latest = stamp.clone();
        }
    }

    /// A server told this time: no earlier than all that was durable when it started.
    pub fn saw_time(&self, time: &Stamp) {
        let (time, floor) =
            ((time.millis, time.counter), (self.clock_floor.millis, self.clock_floor.counter));
        assert!(time >= floor, "the clock went back: {time:?} after {floor:?}");
    }

    /// What whoever asks now must see at least.
    pub fn floor(&self, map: usize) -> Replica {
        self.now.floors.get(&map).cloned().unwrap_or_default()
    }

    pub fn floor_of_key(&self, map: usize, key: &str) -> Option<Cell> {
        self.now.floors.get(&map)?.cells.get(key).cloned()
    }

    /// Tags acknowledged at `key`, for this value if there is one, as far as that cannot have changed.
    pub fn tags_of(&self, map: usize, key: &str, value: Option<&str>) -> Vec<String> {
        match self.floor_of_key(map, key) {
            Some(Cell::Or { live, .. }) => {
                let is_meant = |held: &str| value.is_none_or(|value| held == value);
                let is_certain = |tag: &str, held: &str| is_meant(held) && !tag.starts_with(TIE_TAG);
                let tags = live.iter().filter(|(tag, (_, held))| is_certain(tag, held));
                tags.map(|(tag, _)| tag.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// An increment was sent: it may be applied from now on.
    pub fn increment_sent(&mut self, map: usize, key: &str, by: i64) {
        self.books(true).for_each(|book| {
            let range = book.counts.entry((map, key.to_owned())).or_default();
            range.low += by.min(0);
            range.high += by.max(0);
        });
    }

    /// A counter may be taken to zero from now on, whatever it counted: all that is known then is that everybody agrees.
    pub fn zero_sent(&mut self, map: usize, key: &str) {
        const ANYTHING: i64 = 1 << 40;
        self.books(true).for_each(|book| {
            let range = book.counts.entry((map, key.to_owned())).or_default();
            range.low -= ANYTHING;
            range.high += ANYTHING;
        });
    }

    /// An increment was applied, or certainly was not.
    pub fn increment_answered(&mut self, map: usize, key: &str, by: i64, answer: Answer) {
        self.books(answer != Answer::Applied).for_each(|book| {
            let range = book.counts.entry((map, key.to_owned())).or_default();
            if answer == Answer::Refused {
                range.low -= by.min(0);
                range.high -= by.max(0);
            } else {
                range.low += by.max(0);
                range.high += by.min(0);
            }
        });
    }

    pub fn totals_sent(&mut self, map: usize, key: &str, client: usize, totals: (i64, i64)) {
        self.books(true).for_each(|book| {
            book.slots.entry((map, key.to_owned(), client)).or_default().sent = totals;
        });
    }

    pub fn totals_acked(
        &mut self,
        map: usize,
        key: &str,
        client: usize,
        totals: (i64, i64),
        is_durable: bool,
    ) {
        self.books(is_durable).for_each(|book| {
            let acked = &mut book.slots.entry((map, key.to_owned(), client)).or_default().acked;
            *acked = (acked.0.max(totals.0), acked.1.max(totals.1));
        });
    }

    fn books(&mut self, is_durable: bool) -> impl Iterator<Item = &mut Book> {
        let Self { now, durable, .. } = self;
        std::iter::once(now).chain(is_durable.then_some(durable))
    }

    /// Everything that was handed over is durable.
    pub fn all_is_durable(&mut self) {
        self.durable = self.now.clone();
    }

    /// All maps were dropped, for good.
    pub fn cleared(&mut self) {
        self.now = Book::default();
        self.durable = Book::default();
        self.letters.cleared();
    }

    /// The process has ended: what was not durable may be gone.
    pub fn crashed(&mut self) {
        self.now = self.durable.clone();
        self.clock_floor = self.latest.clone();
    }

    /// Something that a client has dated itself is written, where removals are forgotten.
    pub fn may_come_back(&mut self, map: usize, key: &str) {
        self.revived.insert((map, key.to_owned()));
    }

    /// Whether a replica may have another state of this key than the shards.
    pub fn is_revived(&self, map: usize, key: &str) -> bool {
        self.revived.contains(&(map, key.to_owned()))
    }

    /// What must be there in a copy of what is there now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { book: self.now.clone(), latest: self.latest.clone() }
    }

    /// A server goes on from such a copy.
    pub fn restored(&mut self, Snapshot { book, latest }: Snapshot) {
        (self.now, self.durable) = (book.clone(), book);
        (self.latest, self.clock_floor) = (latest.clone(), latest);
        self.letters.restored();
    }

    /// Whether a crash must leave at least this.
    pub fn is_durable(&self, map: usize, key: &str, cell: &Cell) -> bool {
        let floor = self.durable.floors.get(&map).and_then(|floor| floor.cells.get(key));
        !matches!(cell, Cell::Counter(_)) && floor.is_some_and(|floor| floor.covers(cell))
    }

    /// Checks the state of all shards, as read through the protocol, against all promises.
    pub fn verify(&self, maps: &[MapSpec], truth: &BTreeMap<usize, Replica>, forgets: bool) {
        for (map, floor) in &self.now.floors {
            let replica = truth.get(map).cloned().unwrap_or_default();
            if !forgets && let Some(key) = replica.lacks(floor) {
                let (is, promised) = (replica.cells.get(&key), floor.cells.get(&key));
                panic!(
                    "an acked operation is lost at {} {key}: {is:?}, promised {promised:?}",
                    maps[*map].name
                );
            }
        }
        let mut counts = self.now.counts.clone();
        for ((map, key, _), slot) in &self.now.slots {
            let range = counts.entry((*map, key.clone())).or_default();
            range.low += slot.acked.0 - slot.sent.1;
            range.high += slot.sent.0 - slot.acked.1;
        }
        for ((map, key), range) in counts {
            let cell = truth.get(&map).and_then(|replica| replica.cells.get(&key));
            let count = match cell {
                Some(Cell::Counter(count)) => *count,
                None => 0,
                Some(cell) if range.low <= 0 && range.high >= 0 && !self.is_counter(map) => {
                    // Ambiguous increments that the type of the map refused.
                    assert!(!matches!(cell, Cell::Counter(_)));
                    continue;
                }
                Some(cell) => panic!("{} {key} is no counter: {cell:?}", maps[map].name),
            };
            let is_possible = (range.low..=range.high).contains(&count);
            assert!(is_possible, "{} {key} counts {count}, promised {range:?}", maps[map].name);
        }
    }

    pub fn type_of(&self, map: usize) -> Option<&'static str> {
        self.now.types.of(map)
    }

    fn is_counter(&self, map: usize) -> bool {
        self.type_of(map) == Some("counter")
    }
}

impl Book {
    fn saw_type(&mut self, sight: &Sight<'_>) -> bool {
        let before = self.types.of(sight.map);
        let is_now = self.types.saw(sight);
        if self.types.of(sight.map) != before {
            // What was promised of the map that is gone.
            self.floors.remove(&sight.map);
        }
        is_now
    }
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Applied,
    AppliedDurably,
    Refused,
}

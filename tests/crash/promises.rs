//! What clients were promised, and whether what is there keeps it.
//!
//! Invariant: a promise is the least a reader must see. What was sent and never acknowledged may be there or not;
//! what nobody ever sent may not.

use std::collections::{BTreeMap, BTreeSet};

use crate::maps::{self, Kind};
use crate::notes::Notes;
use crate::op::{self, Change, Op};
use crate::replica::{Cell, Replica, Stamp};

/// Milliseconds by which the clocks of this process and the server may seem to differ.
const CLOCK_SLACK_MS: u64 = 5;

type Place = (usize, String);

/// See the module.
#[derive(Default)]
pub struct Promises {
    puts: BTreeMap<Place, Put>,
    sets: BTreeMap<Place, Tags>,
    counts: BTreeMap<Place, Count>,
    /// Acknowledged as in memory since the start: kept by an orderly end, perhaps lost by any other.
    in_memory: Vec<(Op, Option<Stamp>)>,
    /// How many values each writer has sent.
    values: BTreeMap<String, u64>,
    /// The latest stamp a server gave that is on disk.
    latest: Stamp,
    /// When what was sent and promised, where somebody wants to know.
    notes: Option<Notes>,
}

struct Put {
    at: Stamp,
    value: Option<String>,
    /// When its time is over at the earliest, in unix milliseconds.
    ends_ms: Option<u64>,
}

#[derive(Default)]
struct Tags {
    live: BTreeMap<String, String>,
    removed: BTreeSet<String>,
    /// Somebody has asked for their removal.
    may_be_removed: BTreeSet<String>,
    sent: BTreeMap<String, String>,
}

#[derive(Default)]
struct Count {
    low: i64,
    high: i64,
    slots: BTreeMap<String, Slot>,
}

#[derive(Default)]
struct Slot {
    sent: (i64, i64),
    acked: (i64, i64),
}

impl Promises {
    pub fn with_notes(notes: Notes) -> Self {
        Self { notes: Some(notes), ..Self::default() }
    }

    pub fn take_notes(&mut self) -> Option<Notes> {
        self.notes.take()
    }

    pub fn stamp(&self, map: usize, key: &str) -> Option<Stamp> {
        self.puts.get(&(map, key.to_owned())).map(|put| put.at.clone())
    }

    /// Tags that are there and may be removed.
    pub fn tags(&self, map: usize, key: &str) -> Vec<String> {
        let tags = self.sets.get(&(map, key.to_owned()));
        tags.map_or_else(Vec::new, |tags| tags.live.keys().cloned().collect())
    }

    /// Before an operation is sent: from now on it may be there.
    pub fn sending(&mut self, writer: &str, number: u64, op: &Op) {
        if let Some(notes) = &mut self.notes {
            notes.sending(writer, number, op);
        }
        self.values.insert(writer.to_owned(), number);
        let place = (op.map, op.key.clone());
        match &op.change {
            Change::Put { .. } => {}
            Change::Add { tag, value } => {
                let tags = self.sets.entry(place).or_default();
                tags.sent.insert(tag.clone(), value.clone());
            }
            Change::Remove { tags: removed } => {
                self.sets.entry(place).or_default().may_be_removed.extend(removed.iter().cloned());
            }
            Change::Increment { by } => {
                let count = self.counts.entry(place).or_default();
                count.low += (*by).min(0);
                count.high += (*by).max(0);
            }
            Change::Totals { replica, totals } => {
                let count = self.counts.entry(place).or_default();
                count.slots.entry(replica.clone()).or_default().sent = *totals;
            }
        }
    }

    /// An operation was acknowledged with this stamp.
    pub fn acked(&mut self, op: Op, stamp: Option<Stamp>, is_durable: bool) {
        if let (Change::Put { at, .. }, Some(stamp)) = (&op.change, &stamp) {
            match at {
                Some(own) => assert_eq!(own, stamp, "the stamp the client brought"),
                None => assert!(op.after.as_ref().is_none_or(|after| stamp > after), "{op:?} got {stamp:?}"),
            }
        }
        if is_durable {
            self.keep(op, stamp);
        } else {
            self.in_memory.push((op, stamp));
        }
    }

    /// The server has ended in good order: everything acknowledged is on disk.
    pub fn ended_in_order(&mut self) {
        for (op, stamp) in std::mem::take(&mut self.in_memory) {
            self.keep(op, stamp);
        }
    }

    pub fn was_killed(&mut self) {
        self.in_memory.clear();
    }

    fn keep(&mut self, op: Op, stamp: Option<Stamp>) {
        if let Some(notes) = &mut self.notes {
            notes.kept(&op, stamp.as_ref());
        }
        let place = (op.map, op.key);
        match op.change {
            Change::Put { value, at, ttl_ms } => {
                let stamp = stamp.expect("a put is acknowledged with its stamp");
                let begins_ms = if at.is_some() { stamp.millis } else { op.made_ms };
                if at.is_none() {
                    self.latest = self.latest.clone().max(stamp.clone());
                }
                if self.puts.get(&place).is_none_or(|put| put.at < stamp) {
                    let ends_ms = ttl_ms.map(|ttl_ms| begins_ms + ttl_ms);
                    self.puts.insert(place, Put { at: stamp, value, ends_ms });
                }
            }
            Change::Add { tag, value } => {
                let tags = self.sets.entry(place).or_default();
                if !tags.removed.contains(&tag) {
                    tags.live.insert(tag, value);
                }
            }
            Change::Remove { tags: removed } => {
                let tags = self.sets.entry(place).or_default();
                for tag in removed {
                    tags.live.remove(&tag);
                    tags.removed.insert(tag);
                }
            }
            Change::Increment { by } => {
                let count = self.counts.entry(place).or_default();
                count.low += by.max(0);
                count.high += by.min(0);
            }
            Change::Totals { replica, totals } => {
                let acked =
                    &mut self.counts.entry(place).or_default().slots.entry(replica).or_default().acked;
                *acked = (acked.0.max(totals.0), acked.1.max(totals.1));
            }
        }
    }

    /// The clock of a server that has just started.
    pub fn check_clock(&self, time: &Stamp) {
        let (now, latest) = ((time.millis, time.counter), (self.latest.millis, self.latest.counter));
        assert!(now >= latest, "the clock went back: {time:?} after {:?}", self.latest);
    }

    /// Compares all of a map; `who` names the reader. Returns how many cells were compared.
    pub fn check(&self, map: usize, replica: &Replica, now_ms: u64, who: &str) -> u64 {
        let what = |key: &str| format!("{} {key} of {who}", maps::name(map));
        let first = (map, String::new());
        let here = |place: &Place| place.0 == map;
        let mut checked = 0;
        for ((_, key), put) in self.puts.range(first.clone()..).take_while(|(place, _)| here(place)) {
            put.check(replica.cells.get(key), now_ms, &what(key));
            checked += 1;
        }
        for ((_, key), tags) in self.sets.range(first.clone()..).take_while(|(place, _)| here(place)) {
            tags.check(replica.cells.get(key), &what(key));
            checked += 1;
        }
        for ((_, key), count) in self.counts.range(first..).take_while(|(place, _)| here(place)) {
            count.check(replica.cells.get(key), &what(key));
            checked += 1;
        }
        for (key, cell) in &replica.cells {
            self.check_was_sent(map, key, cell, &what(key));
        }
        checked
    }

    /// Nothing is there that nobody has sent.
    fn check_was_sent(&self, map: usize, key: &str, cell: &Cell, what: &str) {
        let check = |value: &str| {
            let mut parts = value.splitn(3, '.');
            let writer = parts.next().unwrap();
            let number = parts.next().and_then(|number| number.parse().ok()).expect("a value has a number");
            let is_whole = value == op::value(writer, number, map, key);
            assert!(is_whole, "{what} has a value that nobody wrote there: {value}");
            let sent = self.values.get(writer).copied().unwrap_or(0);
            assert!(number <= sent, "{what} has a value before it was sent: {value}");
        };
        match (cell, maps::kind(map)) {
            (Cell::Lww { value, .. }, Kind::Lww | Kind::Fleeting) => {
                value.iter().for_each(|value| check(text_of(value)))
            }
            (Cell::Or { live, removed }, Kind::Or) => {
                let tags = self.sets.get(&(map, key.to_owned()));
                for (tag, (_, value)) in live {
                    check(value);
                    let sent = tags.and_then(|tags| tags.sent.get(tag));
                    assert_eq!(sent, Some(value), "{what} has a tag that nobody wrote");
                }
                for tag in removed {
                    let was_asked = tags.is_some_and(|tags| tags.may_be_removed.contains(tag));
                    assert!(was_asked, "{what} has a removal nobody asked for: {tag}");
                }
            }
            (Cell::Counter(_), Kind::Counter) => {
                assert!(self.counts.contains_key(&(map, key.to_owned())), "{what} was never counted");
            }
            _ => panic!("{what} has another type: {cell:?}"),
        }
    }
}

/// The text in a value that is a plain string as JSON.
fn text_of(value: &str) -> &str {
    value.trim_matches('"')
}

impl Put {
    fn check(&self, cell: Option<&Cell>, now_ms: u64, what: &str) {
        let Some(Cell::Lww { at, value, .. }) = cell else {
            panic!("LOST: {what} is {cell:?}, acked at {:?}", self.at);
        };
        assert!(*at >= self.at, "LOST: {what} is of {at:?}, acked at {:?}", self.at);
        if *at > self.at || value.as_deref().map(text_of) == self.value.as_deref() {
            return;
        }
        let has_ended = self.ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms + CLOCK_SLACK_MS);
        assert!(value.is_none() && has_ended, "{what} is {value:?} at its stamp, acked {:?}", self.value);
    }
}

impl Tags {
    fn check(&self, cell: Option<&Cell>, what: &str) {
        if self.live.is_empty() && self.removed.is_empty() {
            return;
        }
        let Some(Cell::Or { live, removed }) = cell else { panic!("LOST: {what} is {cell:?}") };
        for (tag, value) in &self.live {
            let is_removed = removed.contains(tag) && self.may_be_removed.contains(tag);
            let is_there = live.get(tag).is_some_and(|(_, there)| there == value);
            assert!(is_there || is_removed, "LOST: {what} lacks the tag {tag}");
        }
        let kept = self.removed.iter().find(|tag| live.contains_key(*tag));
        assert!(kept.is_none(), "LOST: {what} has the tag {kept:?}, whose removal was acked");
    }
}

impl Count {
    fn check(&self, cell: Option<&Cell>, what: &str) {
        let (mut low, mut high) = (self.low, self.high);
        for slot in self.slots.values() {
            low += slot.acked.0 - slot.sent.1;
            high += slot.sent.0 - slot.acked.1;
        }
        let count = match cell {
            Some(Cell::Counter(count)) => *count,
            None => 0,
            Some(_) => panic!("{what} is no counter: {cell:?}"),
        };
        assert!((low..=high).contains(&count), "LOST: {what} counts {count}, acked {low} to {high}");
    }
}

//! One subscription as its client sees it: what was asked for, what was told, and what may have been missed.

use std::collections::{BTreeMap, BTreeSet};

use simd_json::OwnedValue;
use simd_json::prelude::*;

use super::op::FIELDS_START;
use crate::replica::{Cell, Replica};
use crate::scenario::{Kind, Scenario};

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Filter {
    #[default]
    All,
    Keys(Vec<String>),
    Prefix(String),
}

impl Filter {
    /// Whether the same keys pass by the words of the protocol: order and repetition of names do not matter.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Keys(keys), Self::Keys(others)) => {
                let set = |keys: &[String]| keys.iter().cloned().collect::<BTreeSet<_>>();
                set(keys) == set(others)
            }
            (filter, other) => filter == other,
        }
    }

    /// The same filter, said in another way.
    pub fn in_other_words(&self) -> Self {
        match self {
            Self::Keys(keys) => {
                let mut keys = [&keys[..], &keys[..1]].concat();
                keys.reverse();
                Self::Keys(keys)
            }
            filter => filter.clone(),
        }
    }

    pub fn passes(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Keys(keys) => keys.iter().any(|wanted| wanted == key),
            Self::Prefix(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}

/// What a subscription asks for.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    pub filter: Filter,
    pub echo: bool,
    /// Without a snapshot: only what changes from now on.
    pub bare: bool,
    pub since: Option<String>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Its first request; chunks of it name this.
    pub id: u64,
    pub spec: Spec,
    /// Its client's own operations before this number may lie below the cursor that it goes on from, unheard.
    pub first_op: u64,
    /// A newer subscription of the same map, asked for and not begun.
    pub next: Option<Box<Watch>>,
    /// The server has begun to answer, and has finished the snapshot.
    pub has_begun: bool,
    pub is_live: bool,
    /// An unsubscribe is under way, and will be answered before anything that was asked for later.
    pub is_leaving: bool,
    /// It was cancelled: the next one is on its way, or the answer to the unsubscribe.
    is_over: bool,
    pub replica: Replica,
    pub cursor: Option<String>,
    /// The last cursor it was told; on another connection they may begin earlier.
    told: Option<String>,
    /// Chunks of a snapshot that is not complete.
    chunks: Vec<(String, Cell)>,
    is_in_snapshot: bool,
    /// Everything delivered since the snapshot began.
    delivered: Replica,
    /// Keys at which its own operations may have changed something it does not hear of.
    pub unclear: BTreeSet<String>,
    /// Keys at which the replica may have what a crash has undone, until the server says what is there.
    pub haunted: BTreeSet<String>,
    /// Its cursor is of before all maps were dropped, or of another map or filter.
    pub must_reset: bool,
    /// What keys begin with that its view does not have, as the rules are or, while it must reset, will be.
    pub hides: Option<String>,
    /// When it was asked for, or last complete, in microseconds.
    pub began_us: u64,
    /// It may lack removals: see [`Self::chunk`].
    pub is_excused: bool,
    /// Own operations that were acknowledged before the snapshot was complete.
    pub own: Replica,
    /// What had been acknowledged to anybody when the subscription was asked for.
    pub floor: Replica,
    /// Changes per key, since it was last cleared.
    pub heard: BTreeMap<String, usize>,
}

impl Watch {
    pub fn new(id: u64, spec: Spec, floor: Replica, began_us: u64) -> Self {
        Self { id, spec, floor, began_us, ..Self::default() }
    }

    /// What to go on from on the next connection, if there is anything.
    pub fn keep(mut self) -> Option<Self> {
        let mut next = self.next.take();
        while let Some(watch) = next {
            // Keys that are unclear to either are unclear to whoever goes on.
            self.unclear.extend(watch.unclear);
            next = watch.next;
        }
        let own = std::mem::take(&mut self.own);
        self.replica.merge_all(&own);
        (self.cursor.is_some() && !self.is_leaving).then_some(self)
    }

    /// Notes the keys at which something `is_lost`.
    pub fn note_lost(&mut self, is_lost: impl Fn(&str, &Cell) -> bool) {
        let lost = self.replica.cells.iter().filter(|(key, cell)| is_lost(key, cell));
        self.haunted.extend(lost.map(|(key, _)| key.clone()));
    }

    fn merge(&mut self, key: &str, cell: &Cell) {
        self.replica.merge(key, cell);
        if self.replica.cells.get(key) == Some(cell) {
            self.haunted.remove(key);
        }
    }

    /// The subscription that was asked for last.
    pub fn last_asked(&mut self) -> &mut Self {
        match self.next {
            Some(ref mut next) => next.last_asked(),
            None => self,
        }
    }

    /// Request `id`, which was for this or a later one, was cancelled: so what was before it is over, too.
    pub fn cancel(&mut self, id: u64) {
        while self.id != id {
            self.begin_next();
        }
        assert!(!self.is_live && !self.is_over, "what has been answered was cancelled");
        assert!(self.next.is_some() || self.is_leaving, "nothing has cancelled request {id}");
        self.is_over = true;
        self.is_in_snapshot = false;
    }

    /// Goes over to the subscription that was asked for later, of which the first has come.
    pub fn begin_next(&mut self) {
        assert!(!self.is_leaving, "an unsubscribe was overtaken");
        let next = *self.next.take().expect("somebody asked for what has come");
        let old = std::mem::replace(self, next);
        if self.spec.since.is_some() {
            self.replica = old.replica;
            self.unclear.extend(old.unclear);
            self.haunted = old.haunted;
            self.cursor = self.spec.since.clone();
            self.is_excused = old.is_excused;
        }
    }

    /// Takes one chunk of a snapshot.
    ///
    /// A removal that is forgotten while the snapshot of what it removed is still under way is heard of by
    /// nobody. Where the snapshot took longer than removals are remembered, the replica is therefore not checked.
    pub fn chunk(&mut self, message: &OwnedValue, map: &str, kind: Kind, scenario: &Scenario, now_us: u64) {
        assert!(!self.is_over, "a chunk of what was cancelled: {message}");
        self.has_begun = true;
        if !std::mem::replace(&mut self.is_in_snapshot, true) {
            self.delivered = Replica::default();
            self.chunks.clear();
        }
        for entry in message.get_array("entries").expect("a chunk has entries") {
            let (key, cell) = Cell::of_entry(entry);
            assert!(self.spec.filter.passes(&key), "{map} {key} does not pass the filter");
            self.chunks.push((key, cell));
        }
        if message.get_bool("more").expect("a chunk says whether there is more") {
            return;
        }
        let flag = |name| message.get_bool(name).expect("the last chunk says how it began");
        let (resumed, reset) = (flag("resumed"), flag("reset"));
        assert!(!(resumed && reset));
        assert!(!resumed || self.spec.since.is_some(), "resumed without a cursor");
        let must_reset = std::mem::take(&mut self.must_reset);
        assert!(
            !reset || scenario.forgets || must_reset,
            "{map} was reset although nothing is forgotten: {message}"
        );
        assert!(reset || !must_reset, "a cursor of another time or place is good for {map}: {message}");
        self.is_in_snapshot = false;
        self.is_live = true;
        let took_us = now_us - std::mem::replace(&mut self.began_us, now_us);
        let is_too_slow = scenario.forgets && took_us > scenario.config.tombstone_retention_ms * 1000;
        self.is_excused = is_too_slow || resumed && self.is_excused;
        if !resumed {
            self.replica = Replica::default();
            self.haunted.clear();
        }
        for (key, cell) in std::mem::take(&mut self.chunks) {
            self.check_is_shown(&key);
            let is_news = self.delivered.merge(&key, &cell);
            // A reset may come in the middle, after which it starts over; and what was removed meanwhile brings no
            // news once the removal is forgotten. A large set comes in pieces, of which one may have been told already,
            // and a counter that changed between two chunks may be back where it was.
            let may_come_again = matches!(cell, Cell::Or { .. } | Cell::Counter(_));
            assert!(
                is_news || may_come_again || reset || scenario.forgets,
                "a snapshot of {map} has {key} twice: {cell:?}"
            );
            self.merge(&key, &cell);
        }
        let own = std::mem::take(&mut self.own);
        self.replica.merge_all(&own);
        self.take_cursor(message);
        if !scenario.forgets && !self.spec.bare && !matches!(kind, Kind::Counter | Kind::Rising) {
            // An acked operation may have lost against one of its own, which it does not hear of.
            let (filter, unclear) = (&self.spec.filter, &self.unclear);
            self.floor.cells.retain(|key, _| filter.passes(key) && !unclear.contains(key));
            if let Some(key) = self.replica.lacks(&self.floor) {
                let (is, promised) = (self.replica.cells.get(&key), self.floor.cells.get(&key));
                panic!("a snapshot of {map} (resumed {resumed}) lacks {key}: {is:?}, acked {promised:?}");
            }
        }
    }

    /// Takes a change. `own` is how values the client wrote on this connection begin; `is_strict`: none may come
    /// back.
    pub fn change(&mut self, message: &OwnedValue, map: &str, kind: Kind, own: &str, rules: Rules) {
        assert!(self.is_live && !self.is_in_snapshot, "a change of {map} before the end of its snapshot");
        for entry in message.get_array("entries").expect("a change has entries") {
            let (key, cell) = Cell::of_entry(entry);
            assert!(self.spec.filter.passes(&key), "{map} {key} does not pass the filter");
            self.check_is_shown(&key);
            let is_news = self.delivered.merge(&key, &cell);
            let may_repeat = rules.forgets || kind == Kind::Counter || matches!(cell, Cell::Or { .. });
            assert!(is_news || may_repeat, "{map} {key} was delivered twice or out of order: {cell:?}");
            if rules.is_strict && !self.spec.echo {
                let is_own = match &cell {
                    Cell::Lww { value, .. } => {
                        let text = value
                            .as_ref()
                            .and_then(|value| value.strip_prefix(FIELDS_START).or(value.strip_prefix('"')));
                        text.is_some_and(|text| text.starts_with(own))
                    }
                    Cell::Or { live, .. } => live.values().any(|(_, value)| value.starts_with(own)),
                    Cell::Counter(_) => false,
                };
                assert!(!is_own, "a writer heard its own change of {map}: {cell:?}");
            }
            if kind == Kind::Rising
                && let (Some(Cell::Counter(before)), Cell::Counter(count)) =
                    (self.replica.cells.get(&key), &cell)
                && self.spec.since.is_none()
            {
                assert!(count > before, "{map} {key} fell from {before} to {count}");
            }
            *self.heard.entry(key.clone()).or_default() += 1;
            self.merge(&key, &cell);
        }
        self.take_cursor(message);
    }

    fn take_cursor(&mut self, message: &OwnedValue) {
        let cursor = message.get_str("cursor").expect("a cursor");
        let ticks = |cursor: &str| -> u64 {
            cursor.split('.').nth(1).and_then(|ticks| ticks.parse().ok()).expect("epoch and ticks")
        };
        if let Some(before) = &self.told {
            assert!(ticks(cursor) >= ticks(before), "a cursor went back from {before} to {cursor}");
        }
        self.told = Some(cursor.to_owned());
        self.cursor = self.told.clone();
    }
}

/// What the run allows changes to be.
#[derive(Clone, Copy)]
pub struct Rules {
    pub forgets: bool,
    pub is_strict: bool,
}

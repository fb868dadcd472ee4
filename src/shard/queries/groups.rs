//! What an owner keeps for those who ask: queries, and who is told of them.
//!
//! Invariant: a query keeps a row for a key exactly if `holders` says so, with the place of its value as of the last change that
//! was looked at.

use std::sync::Arc;

use hashbrown::HashMap;

use super::index::{Index, Way};
use super::kept::Kept;
use super::lookers::{Lookers, Mark};
use super::rows::Row;
use crate::auth::rules::Parts;
use crate::crdt::Time;
use crate::mesh::{Filter, QueryRef, ShardIndex, Standing};
use crate::query::{Fields, Paths, Query};
use crate::shard::maps::MapSlot;
use crate::shard::work;

/// Bytes that a key takes which any query keeps, beside itself, and for each query that does.
pub(super) const HOLDER_BYTES: usize = 64;
pub(super) const HELD_BYTES: usize = 32;

/// One of so many changes is for a query that is found by a value or a span.
const SELDOM: u64 = 8;

/// The queries of one map through one view.
pub(super) struct Group {
    pub map: MapSlot,
    pub name: Arc<str>,
    pub view: Option<Arc<Parts>>,
    pub paths: Paths,
    /// Which queries look at which of them.
    pub lookers: Lookers,
    pub queries: Vec<u32>,
    /// Who keeps a key, and in which place.
    pub holders: HashMap<Box<str>, Vec<(u32, Row)>>,
    /// Of the fields that `--index` names.
    pub indexes: Vec<Index>,
    /// What looking at one change is, by and large.
    pub work: u64,
    /// Where the scan is, in the order in which cells were applied, and in which load of the map.
    pub position: Time,
    pub load: u32,
    pub is_in_line: bool,
    /// It waits for its map.
    pub is_parked: bool,
}

/// A query, for as long as any shard has subscribers of it.
pub(super) struct Asked {
    pub group: u32,
    pub query: Arc<Query>,
    pub filter: Option<Arc<Filter>>,
    /// Of its paths, in the group.
    pub slots: Vec<u32>,
    /// By what it is found (`lookers.rs`).
    pub mark: Mark,
    pub kept: Kept,
    /// Of a scan: where it was when this one joined, and whether it has begun anew since.
    pub joined: Option<(Time, bool)>,
    /// Instead of a scan: what it looks at of an index.
    pub way: Option<Way>,
    pub watchers: Vec<Watcher>,
    pub is_touched: bool,
    /// The last change that it has looked at.
    pub seen: u64,
}

/// A feed that is told what is shown.
pub(super) struct Watcher {
    pub shard: ShardIndex,
    pub feed: QueryRef,
    pub position: Position,
    pub steps: Vec<u8>,
    pub told: Option<Standing>,
    /// Whether it has ever been told all.
    pub was_complete: bool,
}

/// How far a watcher has been told.
#[derive(Clone, Debug)]
pub(super) enum Position {
    /// All that is shown up to this row; `None`: nothing.
    Through(Option<Row>),
    /// All that is shown.
    End,
}

impl Watcher {
    pub fn covers(&self, row: &Row) -> bool {
        match &self.position {
            Position::End => true,
            Position::Through(through) => {
                through.as_ref().is_some_and(|through| row.place() <= through.place())
            }
        }
    }
}

impl Asked {
    /// Whether a value with these fields matches; its place is left in `place` then.
    pub fn matches(&self, key: &str, fields: &Fields, place: &mut Vec<u8>) -> bool {
        let passes = self.filter.as_ref().is_none_or(|filter| filter.passes(key.as_bytes()));
        if !passes || !self.query.matches(fields, &self.slots) {
            return false;
        }
        place.clear();
        self.query.write_place(fields, &self.slots, key.as_bytes(), place);
        true
    }

    /// What asking it of one value costs.
    pub fn work(&self) -> u64 {
        work::QUERY + work::copied(self.query.asked_bytes())
    }

    /// What it adds to looking at a change, whatever changes: one that is found by a value or a span is seldom asked.
    pub fn work_of_a_change(&self) -> u64 {
        match self.mark {
            Mark::Fields => self.work(),
            Mark::Pin(_) | Mark::Span(_) => self.work().div_ceil(SELDOM),
        }
    }

    /// Whether any shard waits for its first answer.
    pub fn is_owed(&self) -> bool {
        self.watchers.iter().any(|watcher| !watcher.was_complete)
    }
}

/// Takes note that a query keeps a row; bytes that this takes.
pub(super) fn hold(group: &mut Group, asked: u32, row: &Row) -> usize {
    if let Some(held) = group.holders.get_mut(row.key()) {
        if let Some((_, known)) = held.iter_mut().find(|(holder, _)| *holder == asked) {
            *known = row.clone();
            return 0;
        }
        held.push((asked, row.clone()));
        return HELD_BYTES;
    }
    group.holders.insert(row.key().into(), vec![(asked, row.clone())]);
    HOLDER_BYTES + row.key().len() + HELD_BYTES
}

/// Takes note that a query keeps the row of a key no more; bytes that this gives back.
pub(super) fn release(group: &mut Group, asked: u32, key: &str) -> usize {
    let Some(held) = group.holders.get_mut(key) else { return 0 };
    let Some(place) = held.iter().position(|(holder, _)| *holder == asked) else { return 0 };
    held.swap_remove(place);
    if !held.is_empty() {
        return HELD_BYTES;
    }
    group.holders.remove(key);
    HOLDER_BYTES + key.len() + HELD_BYTES
}

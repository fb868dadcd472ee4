//! The owner's side of queries: which of its entries match, and what shards with subscribers are told of them.
//!
//! ```text
//!  map ──► groups: its values as one view shows them, their fields read once ──► queries ──► what is kept, who is told
//! ```
//! **A change** is looked at by queries that keep its key, and by those that look at a field of it that has changed: these alone may
//! begin or cease to match. What it was before comes with it (`maps/before.rs`).
//!
//! Invariant: a query keeps a row for a key exactly if `holders` says so, with the place of its value as of the last change that
//! was looked at.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use hashbrown::HashMap;
use slab::Slab;

use super::kept::{Kept, Outcome, Told};
use super::rows::Row;
use crate::auth::rules::Parts;
use crate::crdt::{Cell, HashedKey, MapType, Time};
use crate::limits::{CHUNK_BYTES, QUERIES_PER_VIEW_MAX};
use crate::mesh::{
    Entries, Entry, EntryPacker, EntryState, Filter, Item, OpenQuery, QueryNews, QueryRef, QuerySteps,
    ShardIndex, Span, Standing,
};
use crate::query::{Fields, Paths, Query};
use crate::shard::maps::{Batch, Lens, MapSlot, Maps, pack_cell};
use crate::shard::slots;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

/// Bytes that a key takes which any query keeps, beside itself, and for each query that does.
const HOLDER_BYTES: usize = 64;
const HELD_BYTES: usize = 32;

/// See the module.
#[derive(Default)]
pub struct Owned {
    pub(super) groups: Slab<Group>,
    by_map: HashMap<MapSlot, Vec<u32>>,
    pub(super) asked: Slab<Asked>,
    /// Groups with a scan under way, or with rows to tell.
    pub(super) line: VecDeque<u32>,
    /// Queries whose watchers have something to be told.
    touched: Vec<u32>,
    /// What is told to feeds of this shard.
    own_news: Vec<QueryNews<Vec<u8>>>,
    has_watchers_elsewhere: bool,
    /// Marks the queries that have looked at the change at hand.
    change: u64,
    pub(super) bytes: usize,
    pub(super) scratch: Scratch,
}

/// Buffers that are kept.
#[derive(Default)]
pub(super) struct Scratch {
    pub fields: Fields,
    pub before: Fields,
    pub place: Vec<u8>,
    candidates: Vec<u32>,
    entry: Vec<u8>,
}

/// The queries of one map through one view.
pub(super) struct Group {
    pub map: MapSlot,
    pub name: Arc<str>,
    pub view: Option<Arc<Parts>>,
    pub paths: Paths,
    /// For each slot of a path the queries that look at it.
    looking: Vec<Vec<u32>>,
    pub queries: Vec<u32>,
    /// Who keeps a key, and in which place.
    pub holders: HashMap<Box<str>, Vec<(u32, Row)>>,
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
    pub kept: Kept,
    /// Of a scan: where it was when this one joined, and whether it has begun anew since.
    pub joined: Option<(Time, bool)>,
    pub watchers: Vec<Watcher>,
    is_touched: bool,
    seen: u64,
}

/// A feed that is told what is shown.
pub(super) struct Watcher {
    pub shard: ShardIndex,
    feed: QueryRef,
    pub position: Position,
    pub steps: Vec<u8>,
    told: Option<Standing>,
    /// Whether it has ever been told all.
    was_complete: bool,
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
    fn covers(&self, row: &Row) -> bool {
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

    /// Whether any shard waits for its first answer.
    pub fn is_owed(&self) -> bool {
        self.watchers.iter().any(|watcher| !watcher.was_complete)
    }
}

/// A change as one group sees it.
struct Seen<'a> {
    key: &'a str,
    /// What is shown of it; empty: nothing.
    packed: &'a [u8],
    applied: Time,
}

impl Owned {
    pub const fn has_watchers_elsewhere(&self) -> bool {
        self.has_watchers_elsewhere
    }

    /// Tells a feed of what it asks for, from now on.
    pub fn open(&mut self, turn: &mut Turn, maps: &mut Maps, from: ShardIndex, open: OpenQuery) {
        self.has_watchers_elsewhere |= from != turn.index;
        let OpenQuery { feed, map, filter, view, query } = open;
        let slot = maps.find_or_insert(&map, turn.hasher.map(&map));
        let groups = self.by_map.entry(slot).or_default();
        let found = groups.iter().copied().find(|&group| self.groups[group as usize].view == view);
        let asked = found.and_then(|group| {
            let mut queries = self.groups[group as usize].queries.iter().copied();
            queries.find(|&asked| {
                let asked = &self.asked[asked as usize];
                asked.query == query && asked.filter == filter
            })
        });
        let queries = found.map_or(0, |group| self.groups[group as usize].queries.len());
        turn.spend(work::PASSED_OVER * queries as u64);
        if asked.is_none() && (queries >= QUERIES_PER_VIEW_MAX || turn.account.refuses_queries()) {
            let reject = turn.account.busy();
            if groups.is_empty() {
                self.by_map.remove(&slot);
                maps.release_if_unused(slot);
            }
            return self.tell(
                turn,
                from,
                QueryNews { feed, steps: Vec::new(), standing: Standing::Refused(reject) },
            );
        }
        let group = found.unwrap_or_else(|| {
            let group = slots::slot(self.groups.insert(Group {
                map: slot,
                name: map,
                view,
                paths: Paths::default(),
                looking: Vec::new(),
                queries: Vec::new(),
                holders: HashMap::new(),
                position: Time::ZERO,
                load: 0,
                is_in_line: false,
                is_parked: false,
            }));
            groups.push(group);
            maps.interest_mut(slot).set_queried(true);
            group
        });
        let asked = asked.unwrap_or_else(|| self.ask(group, query, filter));
        let position = Position::Through(None);
        let watcher =
            Watcher { shard: from, feed, position, steps: Vec::new(), told: None, was_complete: false };
        self.asked[asked as usize].watchers.push(watcher);
        self.touch(asked);
        self.line_up(group);
    }

    fn ask(&mut self, group: u32, query: Arc<Query>, filter: Option<Arc<Filter>>) -> u32 {
        let of_group = &mut self.groups[group as usize];
        let slots: Vec<u32> = query.paths().iter().map(|path| of_group.paths.enter(path)).collect();
        of_group.looking.resize_with(of_group.paths.slots(), Vec::new);
        let kept = Kept::new(query.end());
        self.bytes += query.bytes();
        let entry = self.asked.vacant_entry();
        let asked = slots::slot(entry.key());
        for &slot in &slots {
            of_group.looking[slot as usize].push(asked);
        }
        of_group.queries.push(asked);
        let watchers = Vec::new();
        entry.insert(Asked {
            group,
            query,
            filter,
            slots,
            kept,
            joined: None,
            watchers,
            is_touched: false,
            seen: 0,
        });
        self.begin_scan(asked);
        asked
    }

    /// Tells a feed nothing more.
    pub fn close(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        (from, map): (ShardIndex, &str),
        feed: QueryRef,
    ) {
        let Some(slot) = maps.find(map, turn.hasher.map(map)) else { return };
        for group in self.by_map.get(&slot).cloned().unwrap_or_default() {
            for place in 0..self.groups[group as usize].queries.len() {
                let asked = self.groups[group as usize].queries[place];
                turn.spend(work::PASSED_OVER);
                let watchers = &mut self.asked[asked as usize].watchers;
                let is_it = |watcher: &Watcher| watcher.shard == from && watcher.feed == feed;
                if let Some(at) = watchers.iter().position(is_it) {
                    watchers.swap_remove(at);
                    if watchers.is_empty() {
                        self.forget(turn, asked);
                    }
                    return self.forget_if_empty(maps, group);
                }
            }
        }
    }

    /// Forgets a query, and what is kept of it.
    fn forget(&mut self, turn: &mut Turn, slot: u32) {
        let asked = self.asked.remove(slot as usize);
        let group = &mut self.groups[asked.group as usize];
        turn.spend(work::TAG * asked.kept.len() as u64);
        self.bytes -= asked.kept.bytes() + asked.query.bytes();
        for row in asked.kept.rows() {
            self.bytes -= release(group, slot, row.key());
        }
        for (path, &place) in asked.query.paths().iter().zip(&asked.slots) {
            group.looking[place as usize].retain(|&other| other != slot);
            group.paths.leave(path, place);
        }
        group.queries.retain(|&other| other != slot);
        turn.spend(work::PASSED_OVER * group.queries.len() as u64);
    }

    fn forget_if_empty(&mut self, maps: &mut Maps, group: u32) {
        if !self.groups[group as usize].queries.is_empty() {
            return;
        }
        let Group { map, .. } = self.groups.remove(group as usize);
        self.line.retain(|&other| other != group);
        if let Some(groups) = self.by_map.get_mut(&map) {
            groups.retain(|&other| other != group);
            if groups.is_empty() {
                self.by_map.remove(&map);
                maps.interest_mut(map).set_queried(false);
                maps.release_if_unused(map);
            }
        }
    }

    /// Ends what is asked of a map; with `only_owed` what has not been answered once.
    pub(super) fn refuse(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        group: u32,
        (reject, only_owed): (Reject, bool),
    ) {
        for asked in self.groups[group as usize].queries.clone() {
            let of = &mut self.asked[asked as usize];
            let is_ended = |watcher: &mut Watcher| !only_owed || !watcher.was_complete;
            let ended: Vec<Watcher> = of.watchers.extract_if(.., is_ended).collect();
            let is_over = of.watchers.is_empty();
            for Watcher { shard, feed, .. } in ended {
                self.tell(
                    turn,
                    shard,
                    QueryNews { feed, steps: Vec::new(), standing: Standing::Refused(reject) },
                );
            }
            if is_over {
                self.touched.retain(|&touched| touched != asked);
                self.forget(turn, asked);
            }
        }
        self.forget_if_empty(maps, group);
    }

    /// The groups of a map.
    pub(super) fn groups_of(&self, map: MapSlot) -> Vec<u32> {
        self.by_map.get(&map).cloned().unwrap_or_default()
    }

    /// All maps were dropped.
    pub fn clear(&mut self) {
        let asked: Vec<u32> = self.asked.iter().map(|(asked, _)| slots::slot(asked)).collect();
        for slot in asked {
            let asked = &mut self.asked[slot as usize];
            for watcher in &mut asked.watchers {
                for row in asked.kept.shown_behind(None) {
                    QuerySteps::push_out(&mut watcher.steps, row.key());
                }
            }
            self.bytes -= asked.kept.bytes();
            asked.kept.clear();
            asked.joined = None;
            for watcher in &mut asked.watchers {
                watcher.position = Position::End;
            }
            self.touch(slot);
        }
        for (_, group) in &mut self.groups {
            for (key, held) in group.holders.drain() {
                self.bytes -= HOLDER_BYTES + key.len() + HELD_BYTES * held.len();
            }
            group.position = Time::ZERO;
        }
    }

    /// What has changed in a map is looked at by those who ask for it.
    pub fn take_batch(&mut self, turn: &mut Turn, maps: &mut Maps, batch: &Batch) {
        let mut before = Entries::new(&batch.before);
        let applied = turn.clock.last();
        let mut entries = Entries::new(&batch.packed);
        loop {
            let all = entries.packed();
            let Some(entry) = entries.next() else { return };
            let packed = &all[..all.len() - entries.packed().len()];
            let before = before.next().map(|before| before.state);
            for group in self.groups_of(batch.map) {
                let EntryState::Value { .. } = entry.state else {
                    self.refuse(turn, maps, group, (Reject::MapType, false));
                    continue;
                };
                self.take_change(turn, maps, group, (&entry, packed, before, applied));
            }
        }
    }

    fn take_change(
        &mut self,
        turn: &mut Turn,
        maps: &Maps,
        group: u32,
        (entry, packed, before, applied): (&Entry<'_>, &[u8], Option<EntryState<'_>>, Time),
    ) {
        let mut scratch = mem::take(&mut self.scratch);
        let Group { view, name, paths, looking, queries, holders, .. } = &self.groups[group as usize];
        let EntryState::Value { at, value, expires_ms } = entry.state else { return };
        let was = before.and_then(|before| match before {
            EntryState::Value { value, .. } => value,
            _ => None,
        });
        scratch.entry.clear();
        // Whether there was anything to be seen.
        let was_there;
        match view {
            None => {
                was_there = was.is_some();
                paths.read(value, &mut scratch.fields);
                paths.read(was, &mut scratch.before);
                if value.is_some() {
                    scratch.entry.extend_from_slice(packed);
                }
            }
            Some(parts) => {
                let mut lens = Lens::new(parts, name);
                let seen = value.and_then(|value| lens.seen(entry.key, value));
                let was_seen = was.and_then(|was| lens.seen(entry.key, was));
                paths.read(seen.as_deref(), &mut scratch.fields);
                paths.read(was_seen.as_deref(), &mut scratch.before);
                was_there = was_seen.is_some();
                if let Some(seen) = &seen {
                    EntryPacker(&mut scratch.entry).ending(entry.key, &at, seen, expires_ms);
                }
                turn.count_asked(lens.asked);
            }
        }
        turn.spend(work::CELL + work::decoded(packed.len()));
        self.change += 1;
        let mut candidates = mem::take(&mut scratch.candidates);
        candidates.clear();
        candidates.extend(holders.get(entry.key).into_iter().flatten().map(|&(asked, _)| asked));
        let held = candidates.len();
        for &asked in &candidates {
            self.asked[asked as usize].seen = self.change;
        }
        if !scratch.entry.is_empty() {
            let mut look = |asked: u32| {
                let of = &mut self.asked[asked as usize];
                if mem::replace(&mut of.seen, self.change) != self.change {
                    candidates.push(asked);
                }
            };
            // What is there at all is looked at by everybody.
            if !was_there {
                queries.iter().copied().for_each(&mut look);
            } else {
                let differs = |slot: u32| looking[slot as usize].iter().copied().for_each(&mut look);
                scratch.fields.compare(&scratch.before, differs);
            }
        }
        turn.spend(work::PASSED_OVER * candidates.len() as u64);
        let seen = Seen { key: entry.key, packed: &scratch.entry, applied };
        for (place, &asked) in candidates.iter().enumerate() {
            let of = &self.asked[asked as usize];
            let is_match =
                !scratch.entry.is_empty() && of.matches(entry.key, &scratch.fields, &mut scratch.place);
            if !is_match && place >= held || is_match && place >= held && !of.kept.may_take(&scratch.place) {
                continue;
            }
            let old = match place < held {
                true => self.held(group, asked, entry.key),
                false => None,
            };
            let new = is_match.then(|| Row::new(&scratch.place, entry.key.as_bytes()));
            let outcome = self.replace(group, asked, (old.as_ref(), new.as_ref()));
            self.tell_outcome(turn, maps, asked, (old.as_ref(), &seen), outcome);
        }
        scratch.candidates = candidates;
        self.scratch = scratch;
    }

    fn held(&self, group: u32, asked: u32, key: &str) -> Option<Row> {
        let held = self.groups[group as usize].holders.get(key)?;
        held.iter().find(|(holder, _)| *holder == asked).map(|(_, row)| row.clone())
    }

    /// Replaces a row of what is kept of a query, and of who holds it.
    pub(super) fn replace(
        &mut self,
        group: u32,
        asked: u32,
        (old, new): (Option<&Row>, Option<&Row>),
    ) -> Outcome {
        let of = &mut self.asked[asked as usize];
        let bytes = of.kept.bytes();
        let outcome = of.kept.replace(old, new);
        self.bytes = self.bytes + of.kept.bytes() - bytes;
        let group = &mut self.groups[group as usize];
        if let Some(new) = new.filter(|_| outcome.is_kept) {
            self.bytes += hold(group, asked, new);
        } else if let Some(old) = old {
            self.bytes -= release(group, asked, old.key());
        }
        if let Some(dropped) = &outcome.dropped
            && !(new.is_some_and(|new| new.place() == dropped.place()) && old.is_none())
        {
            self.bytes -= release(group, asked, dropped.key());
        }
        outcome
    }

    /// Tells watchers of a query what a change of one entry comes to.
    fn tell_outcome(
        &mut self,
        turn: &mut Turn,
        maps: &Maps,
        slot: u32,
        (old, seen): (Option<&Row>, &Seen<'_>),
        outcome: Outcome,
    ) {
        let asked = &mut self.asked[slot as usize];
        let group = &self.groups[asked.group as usize];
        for told in outcome.told.into_iter().flatten() {
            for watcher in &mut asked.watchers {
                let (covers_old, steps) = (old.is_some_and(|old| watcher.covers(old)), watcher.steps.len());
                match &told {
                    Told::Put(row) if !watcher.covers(row) => {
                        if row.key() == seen.key && covers_old {
                            QuerySteps::push_out(&mut watcher.steps, seen.key);
                        }
                    }
                    Told::Put(row) if row.key() == seen.key => {
                        QuerySteps::push_put(&mut watcher.steps, seen.applied, |out| {
                            out.extend_from_slice(seen.packed);
                        });
                    }
                    Told::Put(row) => put_row(turn, maps, group, row, &mut watcher.steps),
                    Told::Out(row) if watcher.covers(row) => {
                        QuerySteps::push_out(&mut watcher.steps, row.key())
                    }
                    Told::Out(_) => {}
                }
                turn.spend(work::FRAME + work::copied(watcher.steps.len() - steps));
            }
        }
        if asked.kept.is_lacking() {
            let last = asked.kept.last_shown().cloned();
            for watcher in
                asked.watchers.iter_mut().filter(|watcher| matches!(watcher.position, Position::End))
            {
                watcher.position = Position::Through(last.clone());
            }
        }
        let (group, wants_scan) = (asked.group, asked.kept.wants_scan());
        self.touch(slot);
        if wants_scan {
            self.begin_scan(slot);
            self.line_up(group);
        }
    }

    pub(super) fn begin_scan(&mut self, slot: u32) {
        let asked = &mut self.asked[slot as usize];
        let group = asked.group;
        asked.kept.begin_scan();
        let is_first = {
            let of_group = &self.groups[group as usize];
            of_group.queries.iter().all(|&other| self.asked[other as usize].joined.is_none())
        };
        let of_group = &mut self.groups[group as usize];
        if is_first {
            of_group.position = Time::ZERO;
        }
        self.asked[slot as usize].joined = Some((of_group.position, false));
    }

    pub(super) fn line_up(&mut self, slot: u32) {
        let group = &mut self.groups[slot as usize];
        if !group.is_parked && !mem::replace(&mut group.is_in_line, true) {
            self.line.push_back(slot);
        }
    }

    pub(super) fn touch(&mut self, slot: u32) {
        if !mem::replace(&mut self.asked[slot as usize].is_touched, true) {
            self.touched.push(slot);
        }
    }

    /// Appends what is shown behind the position of each watcher of a query, as much as there is room for; whether that is all
    /// for now.
    pub(super) fn fill(&mut self, turn: &mut Turn, maps: &Maps, (slot, enough): (u32, u64)) -> bool {
        let asked = &mut self.asked[slot as usize];
        let group = &self.groups[asked.group as usize];
        let (mut is_all, mut is_touched) = (true, false);
        for watcher in &mut asked.watchers {
            let Position::Through(through) = &watcher.position else { continue };
            if turn.outgoing.is_waiting(watcher.shard) {
                is_all = false;
                continue;
            }
            let mut last = through.clone();
            for row in asked.kept.shown_behind(through.as_ref()) {
                if watcher.steps.len() > CHUNK_BYTES || turn.work() >= enough && !watcher.steps.is_empty() {
                    is_all = false;
                    break;
                }
                put_row(turn, maps, group, row, &mut watcher.steps);
                last = Some(row.clone());
            }
            is_touched |= !watcher.steps.is_empty();
            let is_end = is_all && !asked.kept.is_lacking();
            watcher.position = if is_end { Position::End } else { Position::Through(last) };
            is_touched |= is_end;
        }
        if is_touched {
            self.touch(slot);
        }
        is_all
    }

    /// Sends what watchers are to be told.
    pub fn flush(&mut self, turn: &mut Turn) {
        for slot in mem::take(&mut self.touched) {
            let Some(asked) = self.asked.get_mut(slot as usize) else { continue };
            asked.is_touched = false;
            let mut told = Vec::new();
            for watcher in &mut asked.watchers {
                let standing = match watcher.position {
                    Position::End => Standing::Complete,
                    Position::Through(_) => Standing::Lacking,
                };
                if watcher.steps.is_empty() && watcher.told.unwrap_or(Standing::Lacking) == standing {
                    continue;
                }
                watcher.was_complete |= standing == Standing::Complete;
                watcher.told = Some(standing);
                let steps = mem::take(&mut watcher.steps);
                told.push((watcher.shard, QueryNews { feed: watcher.feed, steps, standing }));
            }
            for (shard, news) in told {
                self.tell(turn, shard, news);
            }
        }
    }

    fn tell(&mut self, turn: &mut Turn, shard: ShardIndex, news: QueryNews<Vec<u8>>) {
        if shard == turn.index {
            return self.own_news.push(news);
        }
        let envelope = turn.outgoing.filling(shard);
        let news = news.map(|steps| Span::append(&mut envelope.bytes, &steps));
        envelope.items.push(Item::Query(Box::new(news)));
    }

    /// What feeds of this shard are told.
    pub fn take_own_news(&mut self) -> Vec<QueryNews<Vec<u8>>> {
        mem::take(&mut self.own_news)
    }

    pub(super) fn release_row(&mut self, group: u32, asked: u32, row: &Row) {
        self.bytes -= release(&mut self.groups[group as usize], asked, row.key());
    }
}

/// Appends an entry as it is now, or that it is not there any more.
fn put_row(turn: &mut Turn, maps: &Maps, group: &Group, row: &Row, steps: &mut Vec<u8>) {
    let start = steps.len();
    let hash = turn.hasher.key(maps[group.map].interest.hash(), row.key());
    let cells = maps[group.map].typed().filter(|cells| cells.map_type() == MapType::Lww);
    let cell = cells
        .and_then(|cells| Some(cells.cell(cells.find(HashedKey { hash, bytes: row.key().as_bytes() })?)));
    turn.spend(work::CELL);
    if let Some(cell) = cell {
        QuerySteps::push_put(steps, cell.applied(), |out| pack_seen(turn, group, cell, out));
        // Only its kind and its tick.
        if steps.len() > start + 9 {
            return;
        }
    }
    steps.truncate(start);
    QuerySteps::push_out(steps, row.key());
}

fn pack_seen(turn: &mut Turn, group: &Group, cell: &Cell, out: &mut Vec<u8>) {
    match &group.view {
        None => pack_cell(out, cell),
        Some(parts) => {
            let mut lens = Lens::new(parts, &group.name);
            lens.pack(out, cell, usize::MAX);
            turn.count_asked(lens.asked);
        }
    }
}

/// Takes note that a query keeps a row; bytes that this takes.
fn hold(group: &mut Group, asked: u32, row: &Row) -> usize {
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
fn release(group: &mut Group, asked: u32, key: &str) -> usize {
    let Some(held) = group.holders.get_mut(key) else { return 0 };
    let Some(place) = held.iter().position(|(holder, _)| *holder == asked) else { return 0 };
    held.swap_remove(place);
    if !held.is_empty() {
        return HELD_BYTES;
    }
    group.holders.remove(key);
    HOLDER_BYTES + key.len() + HELD_BYTES
}

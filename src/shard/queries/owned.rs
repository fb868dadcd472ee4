//! The owner's side of queries: who asks for what, of which of its entries those know that match.
//!
//! ```text
//!  map ──► groups: its values as one view shows them, their fields read once ──► queries ──► what is kept, who is told
//! ```

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use hashbrown::HashMap;
use slab::Slab;

use super::groups::{Asked, Group, HELD_BYTES, HOLDER_BYTES, Position, Watcher, hold, release};
use super::index::{self, Index, Way};
use super::kept::{Kept, Outcome};
use super::lookers::Lookers;
use super::rows::Row;
use crate::crdt::Time;
use crate::limits::QUERIES_PER_VIEW_MAX;
use crate::mesh::{Filter, Item, OpenQuery, QueryNews, QueryRef, QuerySteps, ShardIndex, Span, Standing};
use crate::query::{Fields, Paths, Query};
use crate::shard::maps::{MapSlot, Maps};
use crate::shard::slots;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

/// See the module.
#[derive(Default)]
pub struct Owned {
    pub(super) groups: Slab<Group>,
    by_map: HashMap<MapSlot, Vec<u32>>,
    pub(super) asked: Slab<Asked>,
    /// Groups with a scan under way, or with rows to tell.
    pub(super) line: VecDeque<u32>,
    /// Queries whose watchers have something to be told.
    pub(super) touched: Vec<u32>,
    /// What is told to feeds of this shard.
    own_news: Vec<QueryNews<Vec<u8>>>,
    has_watchers_elsewhere: bool,
    /// Groups that nobody asks anything, kept for their indexes; the longest first.
    pub(super) idle: VecDeque<u32>,
    /// Marks the queries that have looked at the change at hand.
    pub(super) change: u64,
    pub(super) bytes: usize,
    pub(super) scratch: Scratch,
}

/// Buffers that are kept.
#[derive(Default)]
pub(super) struct Scratch {
    pub fields: Fields,
    pub before: Fields,
    pub place: Vec<u8>,
    pub candidates: Vec<u32>,
    pub entry: Vec<u8>,
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
            let mut paths = Paths::default();
            let hints = turn.config.query_indexes.iter().filter(|hint| hint.is_of(&map));
            let indexes: Vec<Index> = hints.map(|hint| Index::new(paths.enter(hint.field()))).collect();
            let work = work::CELL * (1 + indexes.len() as u64);
            let group = slots::slot(self.groups.insert(Group {
                map: slot,
                name: map,
                view,
                paths,
                lookers: Lookers::default(),
                queries: Vec::new(),
                holders: HashMap::new(),
                indexes,
                work,
                position: Time::ZERO,
                load: 0,
                is_in_line: false,
                is_parked: false,
            }));
            groups.push(group);
            group
        });
        if self.groups[group as usize].queries.is_empty() {
            self.idle.retain(|&idle| idle != group);
        }
        let asked = asked.unwrap_or_else(|| self.ask(group, query, filter));
        self.note_work(maps, slot);
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
        let kept = Kept::new(query.end());
        let entry = self.asked.vacant_entry();
        let asked = slots::slot(entry.key());
        let (mark, bytes) = of_group.lookers.enter(asked, &query, &slots);
        self.bytes += query.bytes() + bytes;
        of_group.queries.push(asked);
        let watchers = Vec::new();
        entry.insert(Asked {
            group,
            query,
            filter,
            slots,
            mark,
            kept,
            joined: None,
            way: None,
            watchers,
            is_touched: false,
            seen: 0,
        });
        self.groups[group as usize].work += self.asked[asked as usize].work_of_a_change();
        self.begin_scan(asked);
        asked
    }

    /// Says what a change of a map is to its queries.
    fn note_work(&mut self, maps: &mut Maps, map: MapSlot) {
        let groups = self.by_map.get(&map).into_iter().flatten();
        let work = groups.map(|&group| self.groups[group as usize].work).sum();
        maps.interest_mut(map).set_queried_work(work);
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
        group.work -= asked.work_of_a_change();
        turn.spend(work::TAG * asked.kept.len() as u64);
        self.bytes -= asked.kept.bytes() + asked.query.bytes();
        for row in asked.kept.rows() {
            self.bytes -= release(group, slot, row.key());
        }
        let left = group.lookers.leave(slot, &asked.query, &asked.slots, asked.mark);
        self.bytes -= left.bytes;
        for (path, &place) in asked.query.paths().iter().zip(&asked.slots) {
            group.paths.leave(path, place);
        }
        group.queries.retain(|&other| other != slot);
        turn.spend(work::PASSED_OVER * (group.queries.len() + left.passed_over) as u64);
    }

    fn forget_if_empty(&mut self, maps: &mut Maps, group: u32) {
        match self.groups[group as usize].queries.is_empty() && !self.keep_idle(maps, group) {
            true => self.forget_group(maps, group),
            false => self.note_work(maps, self.groups[group as usize].map),
        }
    }

    /// Forgets a group that nobody asks anything.
    pub(super) fn forget_group(&mut self, maps: &mut Maps, group: u32) {
        let Group { map, indexes, .. } = self.groups.remove(group as usize);
        self.bytes -= index::bytes(&indexes);
        self.line.retain(|&other| other != group);
        if let Some(groups) = self.by_map.get_mut(&map) {
            groups.retain(|&other| other != group);
            let is_last = groups.is_empty();
            if is_last {
                self.by_map.remove(&map);
            }
            self.note_work(maps, map);
            if is_last {
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
        match self.groups[group as usize].queries.is_empty() {
            true => {
                self.idle.retain(|&idle| idle != group);
                self.forget_group(maps, group);
            }
            false => self.note_work(maps, self.groups[group as usize].map),
        }
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
            (asked.joined, asked.way) = (None, None);
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
            self.bytes -= index::bytes(&group.indexes);
            group.indexes.iter_mut().for_each(Index::clear);
        }
    }

    /// Changes the indexes of a group, and counts the bytes that they take.
    pub(super) fn change_indexes(&mut self, group: u32, change: impl FnOnce(&mut [Index])) {
        let indexes = &mut self.groups[group as usize].indexes;
        let before = index::bytes(indexes);
        change(indexes);
        self.bytes = self.bytes + index::bytes(indexes) - before;
    }

    /// The row that a query keeps of a key.
    pub(super) fn held(&self, group: u32, asked: u32, key: &str) -> Option<Row> {
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

    pub(super) fn begin_scan(&mut self, slot: u32) {
        let asked = &mut self.asked[slot as usize];
        let group = asked.group;
        asked.kept.begin_scan();
        let indexes = &self.groups[group as usize].indexes;
        asked.way = Way::best(indexes, &asked.query, &asked.slots, asked.kept.rows_max());
        if asked.way.is_some() {
            return;
        }
        let of_group = &mut self.groups[group as usize];
        let is_first = of_group.indexes.iter().all(|index| index.joined.is_none())
            && of_group.queries.iter().all(|&other| self.asked[other as usize].joined.is_none());
        if is_first {
            of_group.position = Time::ZERO;
            of_group.indexes.iter_mut().for_each(Index::begin);
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

    /// Tells a feed, here or elsewhere.
    pub(super) fn tell(&mut self, turn: &mut Turn, shard: ShardIndex, news: QueryNews<Vec<u8>>) {
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

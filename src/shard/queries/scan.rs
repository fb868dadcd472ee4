//! How an owner finds what matches: it goes through the cells of a map in the order in which they were applied, for all queries of
//! a group that wait for it at once, a share a turn. A query that joins on the way has seen everything once the scan has come round
//! to where it was. What changes meanwhile every query is told as it happens, so a cell that is met twice is nothing new.
//!
//! A map that leaves memory in between has other ticks for some of its cells, and is scanned anew.

use std::mem;

use super::index::Index;
use super::owned::Owned;
use crate::crdt::{MapType, State, Time};
use crate::limits::CHUNK_CELLS_SCANNED_MAX;
use crate::mesh::Request;
use crate::query::Fields;
use crate::shard::maps::{Lens, Maps};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

/// Units of work of scanning that fit into a turn whatever else it has done, so that scans go on in every one.
const WORK_PER_TURN_MIN: u64 = work::TURN_MAX / 8;

impl Owned {
    /// Whether a scan is under way, or rows are to be told.
    pub fn has_work(&self) -> bool {
        !self.line.is_empty()
    }

    /// Goes on with scans and with what is to be told, as much as a turn may.
    pub fn run(&mut self, turn: &mut Turn, maps: &mut Maps) {
        self.free_idle(turn, maps);
        let enough = work::TURN_MAX.max(turn.work() + WORK_PER_TURN_MIN);
        for _ in 0..self.line.len() {
            if turn.work() >= enough {
                return;
            }
            let Some(group) = self.line.pop_front() else { return };
            self.groups[group as usize].is_in_line = false;
            if self.advance(turn, maps, (group, enough)) && self.groups.contains(group as usize) {
                self.line_up(group);
            }
        }
    }

    /// The map of a group is there again; it goes on.
    pub fn map_released(&mut self, turn: &Turn, maps: &Maps, map: &str) {
        let Some(slot) = maps.find(map, turn.hasher.map(map)) else { return };
        for group in self.groups_of(slot) {
            self.groups[group as usize].is_parked = false;
            self.line_up(group);
        }
    }

    /// The map of a group could not be loaded: who has its answer waits on.
    pub fn map_refused(&mut self, turn: &mut Turn, maps: &mut Maps, (map, reject): (&str, Reject)) {
        let Some(slot) = maps.find(map, turn.hasher.map(map)) else { return };
        for group in self.groups_of(slot) {
            if mem::take(&mut self.groups[group as usize].is_parked) {
                self.refuse(turn, maps, group, (reject, true));
                if self.groups.contains(group as usize) {
                    self.line_up(group);
                }
            }
        }
    }

    /// Goes on with one group; whether something is left.
    fn advance(&mut self, turn: &mut Turn, maps: &mut Maps, (slot, enough): (u32, u64)) -> bool {
        let group = &self.groups[slot as usize];
        let map = group.map;
        if maps.must_load(turn, map) {
            let is_owed = group.queries.iter().any(|&asked| self.asked[asked as usize].is_owed());
            if is_owed && let Some(reject) = maps.load_failure(turn, map) {
                self.refuse(turn, maps, slot, (reject, true));
                return self.groups.contains(slot as usize);
            }
            let request = Request::ScanQueries { map: group.name.clone(), is_owed };
            self.groups[slot as usize].is_parked = true;
            maps.park_request(turn, map, turn.index, request, Vec::new());
            return false;
        }
        if maps[map].map_type().is_some_and(|map_type| map_type != MapType::Lww) {
            self.refuse(turn, maps, slot, (Reject::MapType, false));
            return false;
        }
        let mut is_searching = self.scan(turn, maps, (slot, enough));
        let mut is_filled = true;
        for place in 0..self.groups[slot as usize].queries.len() {
            let asked = self.groups[slot as usize].queries[place];
            turn.spend(work::PASSED_OVER);
            is_searching |= self.walk(turn, maps, (asked, enough));
            is_filled &= self.fill(turn, maps, (asked, enough));
        }
        is_searching || !is_filled
    }

    /// Looks at some cells for all that wait, and for indexes; whether any still does.
    fn scan(&mut self, turn: &mut Turn, maps: &Maps, (slot, enough): (u32, u64)) -> bool {
        self.give_up_indexes(turn, slot);
        let is_scanning = |asked: &&u32| self.asked[**asked as usize].joined.is_some();
        let scanning: Vec<u32> =
            self.groups[slot as usize].queries.iter().filter(is_scanning).copied().collect();
        let filled = self.groups[slot as usize].indexes.iter().filter(|index| index.joined.is_some()).count();
        if scanning.is_empty() && filled == 0 {
            return false;
        }
        let work_of_each: u64 = scanning.iter().map(|&asked| self.asked[asked as usize].work()).sum();
        let work_of_each = work_of_each + filled as u64 * work::CELL;
        let mut fields = mem::take(&mut self.scratch.fields);
        let mut is_at_end = true;
        if let Some(cells) = maps[self.groups[slot as usize].map].typed() {
            let group = &mut self.groups[slot as usize];
            if group.load != cells.load() {
                (group.load, group.position) = (cells.load(), Time::ZERO);
                for &asked in &scanning {
                    self.asked[asked as usize].joined = Some((Time::ZERO, false));
                }
                let filled = group.indexes.iter_mut().filter(|index| index.joined.is_some());
                filled.for_each(Index::begin);
            }
            let view = group.view.clone();
            let name = group.name.clone();
            let mut lens = view.as_deref().map(|parts| Lens::new(parts, &name));
            for (looked_at, (applied, current)) in cells.log_since(group.position).enumerate() {
                let asked_work = lens.as_ref().map_or(0, |lens| lens.asked.work as u64);
                if looked_at == CHUNK_CELLS_SCANNED_MAX
                    || turn.work() >= enough && looked_at > 0
                    || asked_work > work::CONNECTION_MAX
                {
                    is_at_end = false;
                    break;
                }
                turn.spend(work::PASSED_OVER);
                if let Some((_, cell)) = current
                    && let State::Lww(lww) = cell.state()
                    && let Some(value) = lww.value()
                {
                    let key = std::str::from_utf8(cell.key()).expect("keys enter as text");
                    turn.spend(work::WALKED + work::decoded(value.len()) + work_of_each);
                    let seen = match &mut lens {
                        None => Some(std::borrow::Cow::Borrowed(value)),
                        Some(lens) => lens.seen(key, value),
                    };
                    if let Some(seen) = seen {
                        self.groups[slot as usize].paths.read(Some(&seen), &mut fields);
                        self.fill_indexes(slot, key, &fields);
                        for &asked in &scanning {
                            self.consider(turn, (slot, asked), key, &fields);
                        }
                    }
                }
                self.groups[slot as usize].position = applied;
            }
            if let Some(lens) = lens {
                turn.count_asked(lens.asked);
            }
        }
        self.scratch.fields = fields;
        let group = &mut self.groups[slot as usize];
        let position = group.position;
        let mut is_left = false;
        for index in &mut group.indexes {
            let Some(joined) = &mut index.joined else { continue };
            if goes_on(joined, is_at_end, position) {
                is_left = true;
            } else {
                index.complete();
            }
        }
        for asked in scanning {
            let joined = &mut self.asked[asked as usize].joined;
            if !joined.as_mut().is_some_and(|joined| goes_on(joined, is_at_end, position)) {
                self.end_scan(slot, asked);
            }
            is_left |= self.asked[asked as usize].kept.is_scanning();
        }
        if is_at_end {
            self.groups[slot as usize].position = Time::ZERO;
        }
        is_left
    }

    fn fill_indexes(&mut self, slot: u32, key: &str, fields: &Fields) {
        let mut place = mem::take(&mut self.scratch.place);
        self.change_indexes(slot, |indexes| {
            for index in indexes.iter_mut().filter(|index| index.joined.is_some()) {
                index.put(fields, key, &mut place);
            }
        });
        self.scratch.place = place;
    }

    /// Fills no index for which there is no memory.
    fn give_up_indexes(&mut self, turn: &Turn, slot: u32) {
        let mut indexes = self.groups[slot as usize].indexes.iter();
        if indexes.any(|index| index.joined.is_some()) && turn.account.refuses_queries() {
            self.change_indexes(slot, |indexes| {
                indexes.iter_mut().filter(|index| index.joined.is_some()).for_each(Index::give_up);
            });
        }
    }

    pub(super) fn end_scan(&mut self, group: u32, slot: u32) {
        let asked = &mut self.asked[slot as usize];
        asked.joined = None;
        let bytes = asked.kept.bytes();
        let mut dropped = Vec::new();
        asked.kept.end_scan(|row| dropped.push(row));
        self.bytes = self.bytes + asked.kept.bytes() - bytes;
        dropped.iter().for_each(|row| self.release_row(group, slot, row));
        if self.asked[slot as usize].kept.wants_scan() {
            self.begin_scan(slot);
        }
        self.touch(slot);
    }
}

/// Whether somebody who joined a scan there has not seen everything yet. At the end it begins anew for those who joined on the way.
fn goes_on((since, is_round): &mut (Time, bool), is_at_end: bool, position: Time) -> bool {
    if is_at_end && !*is_round && *since > Time::ZERO {
        *is_round = true;
        return true;
    }
    !(is_at_end || *is_round && *since <= position)
}

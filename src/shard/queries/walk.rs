//! What comes first of a query, found by an index: its rows are looked at instead of all cells of the map, as much as a turn has
//! work for. What changes meanwhile the query is told as it happens, as during a scan.

use std::mem;

use super::index::Way;
use super::owned::Owned;
use super::rows::Row;
use super::watchers::cell_of;
use crate::crdt::State;
use crate::query::Fields;
use crate::shard::maps::{Lens, Maps};
use crate::shard::turn::Turn;
use crate::shard::work;

impl Owned {
    /// Goes on with what a query looks at of an index, if it does; whether anything is left.
    pub(super) fn walk(&mut self, turn: &mut Turn, maps: &Maps, (asked, enough): (u32, u64)) -> bool {
        let Some(mut way) = self.asked[asked as usize].way.take() else { return false };
        let group = self.asked[asked as usize].group;
        if self.walk_on(turn, maps, (asked, enough), &mut way) {
            self.asked[asked as usize].way = Some(way);
            return true;
        }
        self.end_scan(group, asked);
        self.asked[asked as usize].kept.is_scanning()
    }

    /// Whether anything is left.
    fn walk_on(&mut self, turn: &mut Turn, maps: &Maps, (asked, enough): (u32, u64), way: &mut Way) -> bool {
        let group = self.asked[asked as usize].group;
        let work_of_each = self.asked[asked as usize].work() + work::CELL;
        loop {
            let rows = way.next(&self.groups[group as usize].indexes[way.index()]);
            if rows.is_empty() {
                return false;
            }
            for row in &rows {
                if way.is_in_order() && !self.may_take_from(asked, (way, row)) {
                    return false;
                }
                if turn.work() >= enough {
                    return true;
                }
                turn.spend(work_of_each);
                way.pass(row);
                self.look_at(turn, maps, (group, asked), row);
            }
        }
    }

    /// Whether anything from this row of an index on may still be kept, given that rows come in the order of the list.
    fn may_take_from(&mut self, asked: u32, (way, row): (&Way, &Row)) -> bool {
        let place = &mut self.scratch.place;
        place.clear();
        place.extend_from_slice(&row.place()[..row.place().len() - row.key().len()]);
        if way.descends() {
            place.iter_mut().for_each(|byte| *byte = !*byte);
        }
        self.asked[asked as usize].kept.may_take(place)
    }

    fn look_at(&mut self, turn: &mut Turn, maps: &Maps, (group, asked): (u32, u32), row: &Row) {
        let of_group = &self.groups[group as usize];
        let Some(State::Lww(lww)) = cell_of(turn, maps, of_group, row).map(|cell| cell.state()) else {
            return;
        };
        let Some(value) = lww.value() else { return };
        turn.spend(work::decoded(value.len()));
        let mut fields = mem::take(&mut self.scratch.fields);
        match of_group.view.clone() {
            None => of_group.paths.read(Some(value), &mut fields),
            Some(parts) => {
                let mut lens = Lens::new(&parts, &of_group.name);
                let seen = lens.seen(row.key(), value);
                of_group.paths.read(seen.as_deref(), &mut fields);
                turn.count_asked(lens.asked);
            }
        }
        self.consider(turn, (group, asked), row.key(), &fields);
        self.scratch.fields = fields;
    }

    /// Takes an entry that a query has not been told of into what is kept of it, if it matches and is among the first.
    pub(super) fn consider(
        &mut self,
        turn: &mut Turn,
        (group, asked): (u32, u32),
        key: &str,
        fields: &Fields,
    ) {
        let of = &self.asked[asked as usize];
        let place = &mut self.scratch.place;
        let may_be_kept = of.matches(key, fields, place) && of.kept.may_take(place);
        if may_be_kept && !self.holds(group, asked, key) {
            turn.spend(work::CELL);
            let row = Row::new(&self.scratch.place, key.as_bytes());
            let outcome = self.replace(group, asked, (None, Some(&row)));
            debug_assert!(outcome.told.iter().all(Option::is_none));
        }
    }

    fn holds(&self, group: u32, asked: u32, key: &str) -> bool {
        let held = self.groups[group as usize].holders.get(key);
        held.is_some_and(|held| held.iter().any(|(holder, _)| *holder == asked))
    }
}

//! What shards with subscribers are told of a query: steps, as it changes, and what is shown behind the place that each has come to.

use std::mem;

use super::groups::{Group, Position};
use super::kept::{Outcome, Told};
use super::owned::Owned;
use super::rows::Row;
use crate::crdt::{Cell, HashedKey, State, Time};
use crate::limits::CHUNK_BYTES;
use crate::mesh::{QueryNews, QuerySteps, Standing};
use crate::shard::maps::{Lens, Maps, pack_cell};
use crate::shard::turn::Turn;
use crate::shard::work;

/// A change as one group sees it.
pub(super) struct Seen<'a> {
    pub key: &'a str,
    /// What is shown of it; empty: nothing.
    pub packed: &'a [u8],
    pub applied: Time,
}

impl Owned {
    /// Tells watchers of a query what a change of one entry comes to.
    pub(super) fn tell_outcome(
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
}

/// Appends an entry as it is now, or that it is not there any more.
fn put_row(turn: &mut Turn, maps: &Maps, group: &Group, row: &Row, steps: &mut Vec<u8>) {
    let start = steps.len();
    turn.spend(work::CELL);
    if let Some(cell) = cell_of(turn, maps, group, row).filter(|cell| matches!(cell.state(), State::Lww(_))) {
        QuerySteps::push_put(steps, cell.applied(), |out| pack_seen(turn, group, cell, out));
        // Only its kind and its tick.
        if steps.len() > start + 9 {
            return;
        }
    }
    steps.truncate(start);
    QuerySteps::push_out(steps, row.key());
}

/// The cell of a row, if it is there.
pub(super) fn cell_of<'m>(turn: &Turn, maps: &'m Maps, group: &Group, row: &Row) -> Option<&'m Cell> {
    let hash = turn.hasher.key(maps[group.map].interest.hash(), row.key());
    maps.cell(group.map, HashedKey { hash, bytes: row.key().as_bytes() })
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

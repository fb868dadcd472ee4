//! Reads that have waited a while for their map: their cells are looked up before all of it is there.
//!
//! Invariant: nothing is written to a map that is being loaded, so what the storage has of a cell then is what the map will
//! have. A write that waits for the map, and a read behind it from the same connection, stay in this order. What is looked up
//! at a time is bounded, and so is how far a queue is searched; whatever comes of it, the read goes on once the map is there.

use std::collections::VecDeque;
use std::sync::Arc;

use super::load::restore;
use super::waiting::Parked;
use super::{Cells, MapSlot, Maps};
use crate::crdt::Map;
use crate::handover::{Found, LookUp, ToStorage};
use crate::limits::LOOKED_UP_BYTES_MAX;
use crate::mesh::{Request, Writer};
use crate::shard::turn::Turn;
use crate::shard::work;

/// Microseconds that a read waits before it is looked up: a map of usual size is there by then.
const WAITED_US: u64 = 50_000;
/// Reads that are looked up at a time.
const UNDER_WAY_MAX: usize = 16;
/// Requests at the front of a queue among which reads are searched for.
const SEARCHED_MAX: usize = 64;
/// Keys of a read that is looked up; each costs a partition.
const KEYS_MAX: usize = 16;

/// What is looked up, and what came of it.
#[derive(Default)]
pub struct LookUps {
    under_way: usize,
    found: VecDeque<(Parked, Option<Box<Map>>)>,
}

impl Maps {
    /// Has reads looked up that have waited long for the map in `slot`.
    pub(super) fn look_up_reads(&mut self, turn: &mut Turn, slot: MapSlot) {
        let map = &mut self.table[slot];
        let (Cells::Loading(loading), Some(journal)) = (&mut map.cells, &mut self.journal) else { return };
        if !loading.is_asked() {
            return;
        }
        let mut writers: Vec<Writer> = Vec::new();
        for parked in loading.parked().iter_mut().take(SEARCHED_MAX) {
            if self.look_ups.under_way == UNDER_WAY_MAX {
                return;
            }
            turn.spend(work::PASSED_OVER);
            match &parked.request {
                Request::Write { reply, .. } => writers.push(reply.writer()),
                Request::Read { reply, read }
                    if parked.look_up.is_none()
                        && turn.now.monotonic_us.saturating_sub(parked.since_us()) >= WAITED_US
                        && !writers.contains(&reply.writer()) =>
                {
                    let keys = read.unpack(&parked.bytes).keys;
                    if keys.iter().take(KEYS_MAX + 1).count() > KEYS_MAX {
                        continue;
                    }
                    let number = turn.next_serial();
                    parked.look_up = Some(number);
                    self.look_ups.under_way += 1;
                    let (map, keys) = (Arc::clone(map.interest.name()), keys.0.into());
                    journal.send(ToStorage::LookUp(LookUp { map, keys, number }));
                }
                _ => {}
            }
        }
    }

    /// Takes what was looked up for a read, if that still waits. It waits for the load for which it was asked: who waits for one
    /// that is over has left.
    pub(super) fn cells_found(&mut self, turn: &mut Turn, Found { map, number, cells }: &Found) {
        self.look_ups.under_way = self.look_ups.under_way.saturating_sub(1);
        let hash = turn.hasher.map(map);
        let (Some(chunk), Some(slot)) = (cells, self.find(map, hash)) else { return };
        let Cells::Loading(loading) = &mut self.table[slot].cells else { return };
        if !loading.is_asked() {
            return;
        }
        let is_it = |parked: &Parked| parked.look_up == Some(*number);
        let Some(place) = loading.parked().iter().take(SEARCHED_MAX).position(is_it) else { return };
        let mut found = chunk.map_type.map(|map_type| Box::new(Map::new(map_type)));
        turn.spend(work::copied(chunk.cells.len()));
        if let Some(found) = &mut found {
            let is_whole = restore(found, turn.hasher, hash, chunk);
            // A value whose time is up ends as a change of the map, once that is there.
            let is_over = found.next_expiry_ms().is_some_and(|next_ms| next_ms <= turn.now.unix_ms);
            if !is_whole || is_over {
                return;
            }
        }
        if let Some(parked) = loading.parked().remove(place) {
            self.look_ups.found.push_back((parked, found));
        }
    }

    /// Takes a read that can be answered, and the cells to answer it from; call until `None`.
    pub fn next_found(&mut self) -> Option<(Parked, Option<Box<Map>>)> {
        self.look_ups.found.pop_front()
    }
}

/// One that a turn takes is no more than a load may bring it.
const _: () = assert!(LOOKED_UP_BYTES_MAX <= 4 * crate::limits::LOAD_CHUNK_BYTES);

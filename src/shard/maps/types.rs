//! The type of a map: fixed by its first write, wherever its keys live, and forgotten with the map.
//!
//! ```text
//!  owner of a key          home of the name
//!  first write ─ClaimType─► fixed, if it was not; the owner is a holder
//!  cells       ◄─TypeFixed─
//!  no cells    ─ReleaseType─► no holder; without cells of its own and hearers the home forgets the type, too
//! ```
//! Invariant: while any shard has cells of a map, its home knows the type: a shard is a holder from the answer to its claim
//! on until it says that it has forgotten the map, in the same queue in which it would claim it again. With storage the
//! type is on disk, and stays.

use std::collections::VecDeque;
use std::sync::Arc;

use super::waiting::Parked;
use super::{Cells, MapSlot, Maps};
use crate::crdt::{Map, MapType, Time};
use crate::mesh::{Answer, Item, PackedWrite, ReplyTo, Request, ShardIndex, Write};
use crate::shard::turn::Turn;
use crate::wire::Reject;

/// What waits for the type of one map.
#[derive(Default)]
pub struct Claim {
    pub(super) parked: VecDeque<Parked>,
}

impl Maps {
    /// The slot of the map, which may be known, if its type is known here and the operation can be applied at once. Where this shard
    /// is the map's home, it decides here and now.
    pub fn ready_slot(
        &mut self,
        turn: &mut Turn,
        known: Option<MapSlot>,
        write: &Write<'_>,
    ) -> Option<MapSlot> {
        let slot = known.unwrap_or_else(|| self.find_or_insert(write.map, write.map_hash));
        let is_home = turn.owner(write.map_hash) == turn.index;
        match self.table[slot].cells {
            Cells::Typed(_) => {
                self.touch(slot, turn.now.timer_ms());
                Some(slot)
            }
            Cells::Unloaded | Cells::Loading(_) | Cells::Claiming(_) => None,
            Cells::Untyped if is_home => {
                self.touch(slot, turn.now.timer_ms());
                self.begin_map(slot, write.action.map_type());
                self.journal_type(turn, slot, write.action.map_type());
                Some(slot)
            }
            Cells::Untyped => None,
        }
    }

    /// Keeps an operation until its map is loaded, and the home of the map has said what type it is.
    pub fn park(&mut self, turn: &mut Turn, reply: ReplyTo, write: &Write<'_>) {
        let slot = self.find_or_insert(write.map, write.map_hash);
        if !self.must_wait(turn, slot) {
            let map = &mut self.table[slot];
            map.cells = Cells::Claiming(Box::default());
            let claim =
                Request::ClaimType { map: map.interest.name().clone(), map_type: write.action.map_type() };
            let home = turn.owner(map.interest.hash());
            turn.outgoing.push(home, Item::Request(claim));
        }
        let mut bytes = Vec::new();
        let write = PackedWrite::pack(write, &mut bytes);
        self.park_request(turn, slot, turn.index, Request::Write { reply, write }, bytes);
    }

    /// Whether an operation that cannot be applied at once may wait for its map.
    ///
    /// # Errors
    /// It must be refused for now.
    pub fn may_park(&self, turn: &Turn, write: &Write<'_>) -> Result<(), Reject> {
        match self.find(write.map, write.map_hash) {
            Some(slot) => self.may_wait_for(turn, slot, write.bytes()),
            None => self.may_wait(write.bytes()),
        }
    }

    /// Another shard wants to write the first cell of `map` it owns; this is the map's home and decides.
    pub fn claim_type(&mut self, turn: &mut Turn, from: ShardIndex, map: &Arc<str>, wanted: MapType) {
        let slot = self.find_or_insert(map, turn.hasher.map(map));
        if self.must_wait(turn, slot) {
            if let Some(reject) = self.load_failure(turn, slot) {
                return refuse_type(turn, from, map, reject);
            }
            let claim = Request::ClaimType { map: map.clone(), map_type: wanted };
            return self.park_request(turn, slot, from, claim, Vec::new());
        }
        let map_type = self.table[slot].map_type().unwrap_or(wanted);
        if matches!(self.table[slot].cells, Cells::Untyped) {
            self.begin_map(slot, map_type);
            self.journal_type(turn, slot, map_type);
        }
        if !self.is_stored {
            self.table[slot].holders.get_or_insert_default().insert(from);
        }
        turn.outgoing.push(from, Item::Answer(Answer::TypeFixed { map: map.clone(), map_type }));
    }

    /// The home has decided; what was parked for that is to be released, in order, as after a load.
    pub fn type_fixed(&mut self, turn: &mut Turn, map: &str, map_type: MapType) {
        let Some(slot) = self.find(map, turn.hasher.map(map)) else { return };
        let cells = &mut self.table[slot].cells;
        if matches!(cells, Cells::Claiming(_))
            && let Cells::Claiming(claim) = std::mem::replace(cells, Cells::Untyped)
        {
            self.begin_map(slot, map_type);
            self.release_after_claim(turn, slot, claim.parked);
        }
    }

    /// The home cannot decide: what was parked for that is refused, and the next write asks again.
    pub fn type_refused(&mut self, turn: &Turn, map: &str, reject: Reject) {
        let Some(slot) = self.find(map, turn.hasher.map(map)) else { return };
        if let Cells::Claiming(claim) = &mut self.table[slot].cells {
            let parked = std::mem::take(&mut claim.parked);
            self.table[slot].cells = Cells::Untyped;
            self.given_up.extend(parked.into_iter().map(|parked| (parked, reject)));
            self.changed(slot);
        }
    }

    /// The first write of a map has come, or is about to.
    fn begin_map(&mut self, slot: MapSlot, map_type: MapType) {
        let mut cells = Box::new(Map::new(map_type));
        // It may have been here before: whoever has seen that map, and not the end of it, must start over.
        cells.finish_restore(self.forgotten_through);
        self.table[slot].cells = Cells::Typed(cells);
        self.changed(slot);
    }

    /// Forgets a map without cells that nobody watches, and its type with it, unless a storage keeps that.
    pub(super) fn forget_if_empty(&mut self, turn: &mut Turn, slot: MapSlot) {
        let Some(map) = self.table.get(slot) else { return };
        let Some(cells) = map.typed().filter(|cells| cells.cells() == 0) else { return };
        if map.holders.is_some() || !map.is_idle() {
            return;
        }
        if self.is_stored {
            return self.forget_stored(slot);
        }
        self.forgotten_through = self.forgotten_through.max(cells.pruned_through());
        let interest = self.remove(slot).interest;
        let home = turn.owner(interest.hash());
        if home != turn.index {
            let map = Arc::clone(interest.name());
            turn.outgoing.push(home, Item::Request(Request::ReleaseType { map }));
        }
    }

    /// Shard `from` has no cells of the map any more, and has forgotten its type.
    pub fn type_released(&mut self, turn: &Turn, from: ShardIndex, map: &str) {
        let Some(slot) = self.find(map, turn.hasher.map(map)) else { return };
        let holders = &mut self.table[slot].holders;
        if let Some(shards) = holders {
            shards.remove(from);
        }
        holders.take_if(|shards| shards.is_empty());
        self.changed(slot);
    }

    /// The latest removal that is forgotten of a map: who has seen less must start over.
    pub fn forgotten_through(&self, slot: Option<MapSlot>) -> Time {
        let cells = slot.and_then(|slot| self.table[slot].typed());
        cells.map_or(self.forgotten_through, Map::pruned_through).max(self.cleared_through)
    }
}

/// Tells a shard that has asked for the type of a map that nobody can say.
pub fn refuse_type(turn: &mut Turn, asker: ShardIndex, map: &Arc<str>, reject: Reject) {
    turn.outgoing.push(asker, Item::Answer(Answer::TypeRefused { map: map.clone(), reject }));
}

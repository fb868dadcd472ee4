//! What a change takes away, for subscribers who may not see everything: whether it could be seen decides what they are told.
//!
//! It is packed before the change is made, and only for maps that somebody watches through a view that looks at values.
//! Invariant: a batch has it for each of its changes or for none. Who begins to need it in the middle of one is told nothing
//! before the chunk that its walk begins with, and that comes after all of the batch.

use std::iter;

use super::{MapSlot, Maps, NO_BATCH};
use crate::crdt::{Cell, Delta, HashedKey, OrSet, Removal, State, Tagged};
use crate::mesh::{EntryPacker, TaggedValue};
use crate::shard::turn::Turn;
use crate::shard::work;

impl Maps {
    /// Whether what the next change of a map takes away is to be noted.
    pub(super) fn wants_before(&self, slot: MapSlot) -> bool {
        let map = &self.table[slot];
        match map.batch {
            NO_BATCH => map.interest.wants_before(),
            batch => self.changes.has_before(batch),
        }
    }

    /// Notes what a delta is about to take away.
    #[cold]
    pub(super) fn note_before(
        &mut self,
        turn: &mut Turn,
        slot: MapSlot,
        key: HashedKey<'_>,
        delta: &Delta<'_>,
    ) {
        let mut noted = self.changes.begin_before();
        if let Some(cell) = self.cell(slot, key) {
            match (cell.state(), delta) {
                (State::OrSet(set), Delta::OrAdd { tag, .. }) => {
                    pack_tags(&mut noted, set.live_tag(tag).into_iter());
                }
                (State::OrSet(_), _) => {}
                _ => pack_value(&mut noted, cell),
            }
        }
        turn.spend(work::copied(noted.len()));
        self.changes.put_before(noted);
    }

    /// Notes what a removal is about to take away.
    pub(super) fn note_removal(
        &mut self,
        turn: &mut Turn,
        slot: MapSlot,
        key: HashedKey<'_>,
        removal: &Removal<'_, '_>,
    ) {
        let mut noted = self.changes.begin_before();
        if let Some(State::OrSet(set)) = self.cell(slot, key).map(Cell::state) {
            let gone = removed_by(set, removal);
            turn.spend(work::TAG * gone.len() as u64);
            pack_tags(&mut noted, gone.into_iter());
        }
        turn.spend(work::copied(noted.len()));
        self.changes.put_before(noted);
    }

    /// The cell of a key in memory, if there is one.
    pub fn cell(&self, slot: MapSlot, key: HashedKey<'_>) -> Option<&Cell> {
        let cells = self.table[slot].typed()?;
        Some(cells.cell(cells.find(key)?))
    }
}

/// The live tags that a removal names, ascending.
fn removed_by<'s>(set: &'s OrSet, removal: &Removal<'_, '_>) -> Vec<&'s Tagged> {
    match removal {
        Removal::All => set.live().collect(),
        Removal::Value(value) => set.live().filter(|tagged| tagged.value() == *value).collect(),
        Removal::Tags(tags) => {
            let mut gone: Vec<_> = tags.iter().filter_map(|tag| set.live_tag(tag)).collect();
            gone.sort_unstable_by_key(|tagged| tagged.tag());
            gone.dedup_by_key(|tagged| tagged.tag());
            gone
        }
    }
}

/// Packs the value or the count of a cell, if there is any, under no key: that is in the change.
pub(super) fn pack_value(noted: &mut Vec<u8>, cell: &Cell) {
    match cell.state() {
        State::Lww(lww) => {
            if let Some(value) = lww.value() {
                EntryPacker(noted).value("", &lww.at(), Some(value));
            }
        }
        State::Counter(counter) => EntryPacker(noted).count("", counter.count()),
        State::OrSet(_) => {}
    }
}

fn pack_tags<'s>(noted: &mut Vec<u8>, gone: impl Iterator<Item = &'s Tagged>) {
    let mut gone = gone.peekable();
    if gone.peek().is_some() {
        let tagged =
            gone.map(|tagged| TaggedValue { tag: tagged.tag(), value: tagged.value(), at: *tagged.at() });
        EntryPacker(noted).tags("", tagged, iter::empty());
    }
}

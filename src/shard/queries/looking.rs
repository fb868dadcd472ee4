//! Which queries a change concerns: those that keep its key, and those that look at a field of it that has changed and need no other
//! value than it has now (`lookers.rs`), as these alone may begin or cease to match. What was there before comes with the change
//! (`maps/before.rs`).

use std::mem;

use super::groups::Group;
use super::index;
use super::owned::Owned;
use super::rows::Row;
use super::watchers::Seen;
use crate::crdt::Time;
use crate::mesh::{Entries, Entry, EntryPacker, EntryState};
use crate::shard::maps::{Batch, Lens, Maps};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

impl Owned {
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
        let Group { view, name, paths, .. } = &self.groups[group as usize];
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
        let is_there = !scratch.entry.is_empty();
        let indexes = self.groups[group as usize].indexes.len();
        if indexes > 0 {
            turn.spend(work::CELL * indexes as u64);
            let was = was_there.then_some(&scratch.before);
            let now = is_there.then_some(&scratch.fields);
            self.change_indexes(group, |indexes| {
                index::change(indexes, entry.key, (was, now), &mut scratch.place);
            });
        }
        let Group { lookers, holders, .. } = &self.groups[group as usize];
        self.change += 1;
        let mut candidates = mem::take(&mut scratch.candidates);
        candidates.clear();
        candidates.extend(holders.get(entry.key).into_iter().flatten().map(|&(asked, _)| asked));
        let held = candidates.len();
        for &asked in &candidates {
            self.asked[asked as usize].seen = self.change;
        }
        let mut looked_up = 0;
        if is_there {
            let mut look = |asked: u32| {
                let of = &mut self.asked[asked as usize];
                if mem::replace(&mut of.seen, self.change) != self.change {
                    candidates.push(asked);
                }
            };
            if !was_there {
                lookers.appeared(&mut look);
            }
            let differs = |slot: u32| looked_up += lookers.changed(slot, &scratch.fields, &mut look);
            scratch.fields.compare(&scratch.before, differs);
        }
        turn.spend(work::PASSED_OVER * looked_up as u64);
        let seen = Seen { key: entry.key, packed: &scratch.entry, applied };
        for (place, &asked) in candidates.iter().enumerate() {
            let of = &self.asked[asked as usize];
            turn.spend(of.work());
            let is_match = is_there && of.matches(entry.key, &scratch.fields, &mut scratch.place);
            if place >= held && !(is_match && of.kept.may_take(&scratch.place)) {
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
}

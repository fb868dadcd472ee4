//! The owner's side of an operation: its stamp, the merge, and who must hear of it.

use std::iter;

use super::{Cells, MapSlot, Maps, SharedMap};
use crate::crdt::{Delta, MapType, Merge, Refused, Removal, Stamp, State, Time};
use crate::mesh::{Action, At, Merged, MergedStamp, TagList, TaggedValue, Write, Writer};
use crate::metrics::{OpKind, OpOutcome as Counted};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

impl Maps {
    /// Applies one operation to a key this shard owns, in the map of `slot`, whose type is known.
    pub fn apply(
        &mut self,
        turn: &mut Turn,
        slot: MapSlot,
        write: &Write<'_>,
        writer: Option<Writer>,
    ) -> Result<Merged, Reject> {
        match write.view {
            None => self.apply_allowed(turn, slot, write, writer),
            Some(parts) => self.ask_and_apply(turn, slot, (write, parts), writer),
        }
    }

    /// The same of one that is allowed.
    pub(super) fn apply_allowed(
        &mut self,
        turn: &mut Turn,
        slot: MapSlot,
        write: &Write<'_>,
        writer: Option<Writer>,
    ) -> Result<Merged, Reject> {
        let kind = op_kind(&write.action);
        turn.spend(work::CELL + work::copied(write.action.bytes()));
        if let Some(reject) = self.refuses_growth(slot, write) {
            turn.metrics.count_op(kind, Counted::Rejected);
            return Err(reject);
        }
        match self.apply_to(turn, slot, write, writer) {
            Ok((merged, changed)) => {
                turn.metrics.count_op(kind, if changed { Counted::Applied } else { Counted::Lost });
                Ok(merged)
            }
            Err(reject) => {
                turn.metrics.count_op(kind, Counted::Rejected);
                Err(reject)
            }
        }
    }

    /// The stamp the operation got, and whether anything changed.
    fn apply_to(
        &mut self,
        turn: &mut Turn,
        slot: MapSlot,
        write: &Write<'_>,
        writer: Option<Writer>,
    ) -> Result<(Merged, bool), Reject> {
        let Some(map_type) = self.table[slot].map_type().filter(|&map_type| write.action.fits(map_type))
        else {
            return Err(Reject::MapType);
        };
        match write.action {
            Action::Set { value, at, ttl_ms } => {
                let (at, merged) = self.stamp(turn, at)?;
                // This clock may be ahead, as clients or the host have pushed it: what comes without a stamp ends by the
                // wall clock. Where the client gave one, it knows when its value ends, and may send it twice.
                let began_ms = if merged == Merged::GIVEN { at.time.millis() } else { turn.now.unix_ms };
                let expires_ms = ttl_ms.map_or(0, |ttl_ms| began_ms + ttl_ms);
                let delta = Delta::Lww { at, value: Some(value), expires_ms };
                let applied = self.applied(turn, merged);
                Ok((merged, self.merge(turn, slot, write, &delta, applied, writer)?))
            }
            Action::Delete { .. } if map_type == MapType::Or => {
                Ok((Merged::UNSTAMPED, self.remove_tags(turn, slot, write, Removal::All, writer)?))
            }
            Action::Delete { .. } if map_type == MapType::Counter => {
                let count = match self.find_state(slot, write) {
                    Some(State::Counter(counter)) => counter.count(),
                    _ => 0,
                };
                // Another replica's slot is its own: what it has yet to tell must count from here on.
                let changed =
                    count != 0 && self.count(turn, slot, write, i64::try_from(-count).ok(), writer)?;
                Ok((Merged::UNSTAMPED, changed))
            }
            Action::Delete { at, .. } => {
                let (at, merged) = self.stamp(turn, at)?;
                let delta = Delta::Lww { at, value: None, expires_ms: 0 };
                let applied = self.applied(turn, merged);
                Ok((merged, self.merge(turn, slot, write, &delta, applied, writer)?))
            }
            Action::Add { value, tag, at } => {
                let (at, merged) = self.stamp(turn, at)?;
                let mut own_tag = Vec::new();
                let tag = match tag {
                    Some(tag) => tag,
                    None => {
                        at.write_to(&mut own_tag);
                        std::str::from_utf8(&own_tag).expect("a stamp is ASCII")
                    }
                };
                let delta = Delta::OrAdd { tag, value, at };
                let applied = self.applied(turn, merged);
                Ok((merged, self.merge(turn, slot, write, &delta, applied, writer)?))
            }
            Action::RemoveTags { tags } => {
                let mut tags: Vec<&str> = tags.iter().collect();
                let removal = Removal::Tags(&mut tags);
                Ok((Merged::UNSTAMPED, self.remove_tags(turn, slot, write, removal, writer)?))
            }
            Action::RemoveValue { value } => {
                Ok((Merged::UNSTAMPED, self.remove_tags(turn, slot, write, Removal::Value(value), writer)?))
            }
            Action::Increment { by } => {
                Ok((Merged::UNSTAMPED, self.count(turn, slot, write, Some(by), writer)?))
            }
            Action::IncrementTotals { replica, added, subtracted } => {
                let delta = Delta::Counter { replica, added, subtracted };
                let applied = self.applied(turn, Merged::UNSTAMPED);
                Ok((Merged::UNSTAMPED, self.merge(turn, slot, write, &delta, applied, writer)?))
            }
        }
    }

    /// Counts in this server's slot; what is no `i64` is too much for it, too.
    fn count(
        &mut self,
        turn: &mut Turn,
        slot: MapSlot,
        write: &Write<'_>,
        by: Option<i64>,
        writer: Option<Writer>,
    ) -> Result<bool, Reject> {
        let cells = self.table[slot].typed();
        let delta = by.and_then(|by| cells?.increment(write.hashed_key(), turn.node, by));
        let delta = delta.ok_or(Reject::ValueInvalid("the counter would pass 2^53 - 1"))?;
        let applied = self.applied(turn, Merged::UNSTAMPED);
        self.merge(turn, slot, write, &delta, applied, writer)
    }

    /// Removes tags, all of them in one change or none.
    fn remove_tags(
        &mut self,
        turn: &mut Turn,
        slot: MapSlot,
        write: &Write<'_>,
        mut removal: Removal<'_, '_>,
        writer: Option<Writer>,
    ) -> Result<bool, Reject> {
        let applied = self.applied(turn, Merged::UNSTAMPED);
        let is_heard = self.table[slot].interest.is_heard();
        if is_heard && self.wants_before(slot) {
            self.note_removal(turn, slot, write.hashed_key(), &removal);
        }
        let mut packed = Vec::new();
        let removed = loop {
            match self.try_remove(turn, slot, write, &mut removal, applied, &mut packed) {
                // Where what it names was among what is forgotten, it lacks room again.
                Err(Refused::Crowded(lack))
                    if self.make_room(turn, slot, write.hashed_key(), lack, applied) => {}
                removed => break removed.map_err(reject)?,
            }
        };
        if removed == 0 {
            return Ok(false);
        }
        turn.metrics.changes += 1;
        turn.note_change(self.table[slot].interest.name(), write.key);
        self.changed(slot);
        self.schedule_removals(turn, slot);
        if is_heard {
            let tags = TagList(&packed);
            self.add_change(slot, applied, writer, |entry| entry.tags(write.key, iter::empty(), tags.iter()));
        }
        Ok(true)
    }

    /// Removes tags if there is room for it, which costs where there is none, too; how many. Those it has removed are packed
    /// where somebody hears of them.
    fn try_remove(
        &mut self,
        turn: &mut Turn,
        slot: MapSlot,
        write: &Write<'_>,
        removal: &mut Removal<'_, '_>,
        applied: Time,
        packed: &mut Vec<u8>,
    ) -> Result<usize, Refused> {
        let (key, journal) = (write.hashed_key(), &mut self.journal);
        let map = &mut self.table[slot];
        let is_heard = map.interest.is_heard();
        let SharedMap { interest, cells: Cells::Typed(cells), changed_at, .. } = map else {
            return Err(Refused::MapType);
        };
        let mut work = 0;
        let removed = cells.remove(key, removal, applied, turn.config.cell_bytes_max, &mut work, |tag| {
            if let Some(journal) = journal {
                journal.push(interest.name(), key.bytes, &Delta::OrRemove { tag }, applied);
                *changed_at = applied;
            }
            if is_heard {
                TagList::push(packed, tag);
            }
        });
        turn.spend(work::TAG * work as u64);
        removed
    }

    pub(super) fn find_state(&self, slot: MapSlot, write: &Write<'_>) -> Option<State<'_>> {
        let cells = self.table[slot].typed()?;
        let cell = cells.find(write.hashed_key())?;
        Some(cells.cell(cell).state())
    }

    /// The stamp a client brought, if it is not too far ahead, or else a new one.
    fn stamp(&mut self, turn: &mut Turn, at: At) -> Result<(Stamp, Merged), Reject> {
        match at {
            At::Now | At::After(_) => {
                if let At::After(seen) = at {
                    // Where this clock must not follow, its own stamp has to do.
                    let _ = turn.observe(seen);
                }
                let at = turn.clock.stamp(turn.now.unix_ms);
                Ok((at, Merged::at(at.time)))
            }
            At::Given(at) => {
                turn.observe(at.time).map_err(|_| Reject::ClockDrift)?;
                Ok((at, Merged::GIVEN))
            }
        }
    }

    /// The tick at which a change is applied: the one its stamp has, if this server gave it just now.
    fn applied(&mut self, turn: &mut Turn, merged: Merged) -> Time {
        match merged.stamp() {
            MergedStamp::Own(time) => time,
            MergedStamp::Given | MergedStamp::None => turn.clock.tick(turn.now.unix_ms),
        }
    }

    /// Merges one delta and queues the change for those who watch the map. Whether it changed anything.
    fn merge(
        &mut self,
        turn: &mut Turn,
        slot: MapSlot,
        write: &Write<'_>,
        delta: &Delta<'_>,
        applied: Time,
        writer: Option<Writer>,
    ) -> Result<bool, Reject> {
        let key = write.hashed_key();
        let is_heard = self.table[slot].interest.is_heard();
        if is_heard && self.wants_before(slot) {
            self.note_before(turn, slot, key, delta);
        }
        let Some(cells) = self.table[slot].typed_mut() else { return Err(Reject::MapType) };
        match cells.merge_within(key, delta, applied, turn.config.cell_bytes_max) {
            Err(Refused::Crowded(lack)) if self.make_room(turn, slot, key, lack, applied) => {
                turn.spend(work::CELL);
                self.merge(turn, slot, write, delta, applied, writer)
            }
            Ok(Merge::Lost) => Ok(false),
            Ok(Merge::Changed(_)) => {
                turn.metrics.changes += 1;
                turn.note_change(self.table[slot].interest.name(), write.key);
                self.changed(slot);
                self.journal_change(slot, write.key.as_bytes(), delta, applied);
                self.schedule_removals(turn, slot);
                if is_heard {
                    self.collect(slot, write, delta, applied, writer);
                }
                Ok(true)
            }
            Err(refused) => Err(reject(refused)),
        }
    }

    /// Adds the change to this turn's batch of its map.
    fn collect(
        &mut self,
        slot: MapSlot,
        write: &Write<'_>,
        delta: &Delta<'_>,
        applied: Time,
        writer: Option<Writer>,
    ) {
        let count = match self.find_state(slot, write) {
            Some(State::Counter(counter)) => counter.count(),
            _ => 0,
        };
        self.add_change(slot, applied, writer, |entry| match *delta {
            Delta::Lww { at, value: Some(value), expires_ms } => {
                entry.ending(write.key, &at, value, expires_ms);
            }
            Delta::Lww { at, value: None, .. } => entry.value(write.key, &at, None),
            Delta::OrAdd { tag, value, at } => {
                entry.tags(write.key, iter::once(TaggedValue { tag, value, at }), iter::empty());
            }
            Delta::OrRemove { tag } => entry.tags(write.key, iter::empty(), iter::once(tag)),
            Delta::Counter { .. } | Delta::CounterAbsorbed { .. } => entry.count(write.key, count),
        });
    }
}

/// What a client is told.
const fn reject(refused: Refused) -> Reject {
    match refused {
        Refused::MapType => Reject::MapType,
        Refused::TooLarge | Refused::Crowded(_) => {
            Reject::TooLarge("the key holds as many tags or slots as it may")
        }
        Refused::CellFull => Reject::TooLarge("the key holds as many bytes as it may"),
    }
}

pub(super) const fn op_kind(action: &Action<'_>) -> OpKind {
    match action {
        Action::Set { .. } => OpKind::Set,
        Action::Delete { .. } => OpKind::Delete,
        Action::Add { .. } => OpKind::Add,
        Action::RemoveTags { .. } | Action::RemoveValue { .. } => OpKind::Remove,
        Action::Increment { .. } | Action::IncrementTotals { .. } => OpKind::Increment,
    }
}

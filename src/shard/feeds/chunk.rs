//! What one chunk of a walk takes from the cells of an owner.
//!
//! A walk goes through the cells in the order in which they were applied, so that it meets each once, in its latest state. A
//! set with thousands of tags may change more often than it can be told as a whole, so large ones are passed over until the
//! tail is reached. Then of each, in the order of the hashes of their keys, the tags are told that have changed since the
//! walk, or its last **round**, began; what has changed meanwhile is for the next round, and that is less each time.
//!
//! **The map may have left memory** between two chunks. Ticks of cells that had the same may be others then ([`Map::lasting`]),
//! but those that have not changed come in the same order in every load: the walk goes on behind the last that it has seen. If
//! that has changed, what was seen of those with equal ticks is seen again; but each time there is one less of them.
//!
//! Invariant: a chunk looks at no more than [`CHUNK_CELLS_SCANNED_MAX`] entries of the map and tags of its large sets, whether
//! they are stale, do not pass the filter, were seen before or are sent; and its entries have no more bytes than there is room
//! for. The next one begins where it stopped, which may be between two tags of a set. What is in one piece and larger than the
//! room is not sent: the walk is told what it takes.

use crate::crdt::{Cell, CellIndex, HashedKey, Map, OrSet, State, Tag, TagMark, Time};
use crate::limits::{CHUNK_CELLS_SCANNED_MAX, LARGE_SET_BYTES, NODE_BYTES_MAX, OPS_PER_REQUEST_MAX};
use crate::mesh::{EntryPacker, Filter, Round, SetPlace, TaggedValue};
use crate::shard::maps::{Lens, SeenTags, pack_cell, pack_tags};
use crate::shard::work;

/// Bytes of a packed entry beside its key and value, at most: lengths, kind, stamp and end.
const ENTRY_BYTES: usize = 4 + 2 + 1 + 8 + 1 + NODE_BYTES_MAX + 8;
/// The same of an entry with tags, and of a tag in it.
const TAGS_BYTES: usize = 4 + 2 + 1 + 4;
const LIVE_TAG_BYTES: usize = 8 + 1 + NODE_BYTES_MAX + 1 + 4;
const REMOVED_TAG_BYTES: usize = 1;

/// Whom it is for.
pub struct Passed<'a, 'v> {
    pub filter: Option<&'a Filter>,
    /// What may be seen; `None`: everything.
    pub lens: Option<&'a mut Lens<'v>>,
}

/// Units of work of looking through a view past which a chunk ends: it may look at a set of [`LARGE_SET_BYTES`] as a whole by
/// then, or at one value.
const ASKED_MAX: usize = (work::TURN_MAX / 4) as usize;

/// What one chunk covers.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk {
    pub entries: u32,
    /// Entries of the map and tags of large sets that were looked at.
    pub looked_at: usize,
    /// Everything applied up to here was seen, but for large sets.
    pub position: Time,
    pub round: Round,
    /// Nothing is left.
    pub is_last: bool,
    /// What comes next takes so many bytes; 0 unless that is more than there is room for.
    pub needs: usize,
}

impl Chunk {
    /// Packs what passes the filter and was applied after the position, oldest change first, until `room` bytes are full.
    pub fn collect(
        cells: &Map,
        passed: Passed<'_, '_>,
        (position, round): (Time, Option<&Round>),
        room: usize,
        out: &mut Vec<u8>,
    ) -> Self {
        let load = cells.load();
        let (position, round) = match round.cloned() {
            None => (position, new_round(position, load)),
            Some(round) if round.load == load => (position, round),
            Some(round) => (position_in_load(cells, position, &round), Round { load, ..round }),
        };
        let chunk = Self { entries: 0, looked_at: 0, position, round, is_last: false, needs: 0 };
        let Passed { filter, lens } = passed;
        let mut filling = Filling { cells, filter, lens, chunk, room, out, last: None };
        filling.chunk.is_last = filling.take_all();
        let Self { position, round, .. } = &mut filling.chunk;
        round.lasting = round.lasting.max(cells.lasting(*position));
        if round.lasting == *position {
            round.last = None;
        } else if let Some(last) = filling.last {
            round.last = Some(last.name());
        }
        filling.chunk
    }
}

const fn new_round(since: Time, load: u32) -> Round {
    Round { since, load, lasting: since, last: None, has_passed: false, place: None }
}

/// Where a walk goes on whose position is of another load.
fn position_in_load(cells: &Map, position: Time, round: &Round) -> Time {
    let last = round.last.as_ref().and_then(|name| cells.find_named(name));
    // Had it changed, its tick would be greater than all of then.
    let unchanged = last.map(Cell::applied).filter(|&applied| applied <= position);
    unchanged.unwrap_or(round.lasting).max(round.lasting)
}

/// The last tag that was looked at, and whether it is a live one.
type LastTag = Option<(Box<str>, bool)>;

/// A chunk that is being filled.
struct Filling<'a, 'v> {
    cells: &'a Map,
    filter: Option<&'a Filter>,
    lens: Option<&'a mut Lens<'v>>,
    chunk: Chunk,
    room: usize,
    out: &'a mut Vec<u8>,
    /// The last cell that was seen in the order.
    last: Option<&'a Cell>,
}

// What takes something returns whether it has come to its end.
impl Filling<'_, '_> {
    fn take_all(&mut self) -> bool {
        if let Some(place) = self.chunk.round.place.take()
            && !self.take_large(place)
        {
            return false;
        }
        if !self.take_in_order() {
            return false;
        }
        if !self.chunk.round.has_passed {
            return true;
        }
        let tail = self.cells.last_applied().max(self.chunk.position);
        // Nothing changes meanwhile, so nothing is left after the round.
        self.take_large(SetPlace { tail, set: None, tag: None })
    }

    fn take_in_order(&mut self) -> bool {
        if let Some(Filter::Keys(keys)) = self.filter {
            return self.take_keys(keys);
        }
        let cells = self.cells;
        for (applied, current) in cells.log_since(self.chunk.position) {
            if !self.may_look() {
                return false;
            }
            if let Some((index, cell)) = current
                && self.passes(cell)
                && !self.take(index, cell)
            {
                return false;
            }
            self.chunk.position = applied;
            self.last = current.map(|(_, cell)| cell).or(self.last);
        }
        true
    }

    /// Named keys are looked up instead of searched for, all of them for each chunk: no more than a chunk may look at, and
    /// every chunk but the last brings what there is room for, so that looking them up again costs little beside what is sent.
    fn take_keys(&mut self, keys: &[(Box<str>, u64)]) -> bool {
        const { assert!(2 * OPS_PER_REQUEST_MAX <= CHUNK_CELLS_SCANNED_MAX) };
        if self.chunk.looked_at + 2 * keys.len() > CHUNK_CELLS_SCANNED_MAX {
            return false;
        }
        let (cells, position) = (self.cells, self.chunk.position);
        let find = |(key, hash): &(Box<str>, u64)| {
            let index = cells.find(HashedKey { hash: *hash, bytes: key.as_bytes() })?;
            let cell = cells.cell(index);
            (cell.applied() > position).then_some((index, cell))
        };
        let mut found: Vec<_> = keys.iter().filter_map(find).collect();
        found.sort_unstable_by_key(|(_, cell)| cell.applied());
        self.chunk.looked_at += keys.len();
        for (index, cell) in found {
            if !self.may_look() || !self.take(index, cell) {
                return false;
            }
            self.chunk.position = cell.applied();
            self.last = Some(cell);
        }
        true
    }

    /// Packs a cell that is in one piece; a large set is passed over.
    fn take(&mut self, index: CellIndex, cell: &Cell) -> bool {
        if self.cells.is_large(index) {
            self.chunk.round.has_passed = true;
            return true;
        }
        if self.lens.is_some() {
            return self.take_seen(cell);
        }
        let value_bytes = match cell.state() {
            State::Lww(lww) => lww.value().map_or(0, <[u8]>::len),
            State::Counter(_) => size_of::<i128>(),
            // It is small, so to look at all of it costs no more than to send it.
            State::OrSet(set) => set.tags_after(None).map(|(tag, _)| tag_bytes(tag)).sum(),
        };
        if !self.has_room(ENTRY_BYTES + cell.key().len() + value_bytes) {
            return false;
        }
        pack_cell(self.out, cell);
        self.chunk.entries += 1;
        true
    }

    /// Packs what may be seen of a cell that is in one piece.
    fn take_seen(&mut self, cell: &Cell) -> bool {
        let Some(lens) = &mut self.lens else { return true };
        let start = self.out.len();
        if !lens.pack(self.out, cell, usize::MAX) {
            return true;
        }
        let bytes = self.out.len() - start;
        if self.out.len() > self.room {
            self.out.truncate(start);
            return self.has_room(bytes);
        }
        self.chunk.entries += 1;
        true
    }

    /// Packs what has changed in large sets since the round began, from this place on. The next round begins then.
    fn take_large(&mut self, place: SetPlace) -> bool {
        let cells = self.cells;
        let mut after = place.tag;
        for (_, cell) in cells.large_from(place.set.as_ref()) {
            // If it is not there any more, the next one comes as a whole.
            let after = after.take().filter(|_| place.set.as_ref().is_some_and(|set| set.is_of(cell)));
            let is_news = cell.applied() > self.chunk.round.since && self.passes(cell) && self.is_seen(cell);
            let stopped_at = match cell.state() {
                _ if !self.may_look() => Some(after),
                State::OrSet(set) if is_news && self.sees_values() => {
                    self.take_seen_tags(cell.key(), set, after).err()
                }
                State::OrSet(set) if is_news => self.take_tags(cell.key(), set, after).err(),
                _ => None,
            };
            if let Some(tag) = stopped_at {
                self.chunk.round.place = Some(SetPlace { tail: place.tail, set: Some(cell.name()), tag });
                return false;
            }
        }
        self.chunk.position = place.tail;
        self.chunk.round = new_round(place.tail, cells.load());
        true
    }

    /// Packs what of a set has changed since the round began, from behind a tag on, as one entry.
    ///
    /// # Errors
    /// The last tag that was looked at, where it is not all.
    fn take_tags(&mut self, key: &[u8], set: &OrSet, after: LastTag) -> Result<(), LastTag> {
        let since = self.chunk.round.since;
        let after = after.as_ref().map(|(tag, is_live)| TagMark { tag, is_live: *is_live });
        let is_news = move |&(_, applied): &(Tag<'_>, Time)| applied > since;
        let (mut bytes, mut steps, mut news, mut seen) = (TAGS_BYTES + key.len(), 0, 0, after);
        let mut is_whole = true;
        for (tag, applied) in set.tags_after(after) {
            let tag_bytes = if is_news(&(tag, applied)) { tag_bytes(tag) } else { 0 };
            if !self.may_look() || tag_bytes > 0 && !self.has_room(bytes + tag_bytes) {
                is_whole = false;
                break;
            }
            bytes += tag_bytes;
            news += usize::from(tag_bytes > 0);
            steps += 1;
            seen = Some(tag.mark());
        }
        if news > 0 {
            // What one tag alone would need is of no interest once another one has had room.
            self.chunk.needs = 0;
            let tags = set.tags_after(after).take(steps).filter(is_news).map(|(tag, _)| tag);
            let added = tags.clone().filter_map(|tag| match tag {
                Tag::Live(tagged) => {
                    Some(TaggedValue { tag: tagged.tag(), value: tagged.value(), at: *tagged.at() })
                }
                Tag::Removed(_) => None,
            });
            let removed = tags.filter_map(|tag| match tag {
                Tag::Removed(tag) => Some(tag),
                Tag::Live(_) => None,
            });
            let key = std::str::from_utf8(key).expect("keys enter as text");
            EntryPacker(self.out).tags(key, added, removed);
            self.chunk.entries += 1;
        }
        if is_whole { Ok(()) } else { Err(seen.map(|mark| (mark.tag.into(), mark.is_live))) }
    }

    /// As [`Self::take_tags`], through a view that looks at values. What was removed is not told: who could see it is told when
    /// that happens (`views.rs`).
    fn take_seen_tags(&mut self, key: &[u8], set: &OrSet, after: LastTag) -> Result<(), LastTag> {
        let since = self.chunk.round.since;
        let after = after.as_ref().map(|(tag, is_live)| TagMark { tag, is_live: *is_live });
        let key = std::str::from_utf8(key).expect("keys enter as text");
        let (mut bytes, mut seen, mut shown) = (TAGS_BYTES + key.len(), after, SeenTags::new());
        let mut is_whole = true;
        for (tag, applied) in set.tags_after(after) {
            if !self.may_look() {
                is_whole = false;
                break;
            }
            if let Tag::Live(tagged) = tag
                && applied > since
                && let Some(lens) = &mut self.lens
                && let Some(value) = lens.seen(key, tagged.value())
            {
                let tag_bytes = LIVE_TAG_BYTES + tagged.tag().len() + value.len();
                if !self.has_room(bytes + tag_bytes) {
                    is_whole = false;
                    break;
                }
                bytes += tag_bytes;
                shown.push((tagged, value));
            }
            seen = Some(tag.mark());
        }
        if !shown.is_empty() {
            self.chunk.needs = 0;
            pack_tags(self.out, key, &shown);
            self.chunk.entries += 1;
        }
        if is_whole { Ok(()) } else { Err(seen.map(|mark| (mark.tag.into(), mark.is_live))) }
    }

    fn sees_values(&self) -> bool {
        self.lens.as_ref().is_some_and(|lens| lens.needs_values())
    }

    /// Whether anything of a set may be seen, as far as its key decides.
    fn is_seen(&mut self, cell: &Cell) -> bool {
        let Some(lens) = self.lens.as_mut().filter(|lens| !lens.needs_values()) else { return true };
        lens.passes(std::str::from_utf8(cell.key()).expect("keys enter as text"))
    }

    /// Whether one more entry or tag may be looked at.
    fn may_look(&mut self) -> bool {
        let asked = self.lens.as_ref().map_or(0, |lens| lens.asked.work);
        let may = self.chunk.looked_at < CHUNK_CELLS_SCANNED_MAX && asked < ASKED_MAX;
        self.chunk.looked_at += usize::from(may);
        may
    }

    fn passes(&self, cell: &Cell) -> bool {
        self.filter.is_none_or(|filter| filter.passes(cell.key()))
    }

    /// Whether there is room for so many bytes more; what it takes is noted if nothing comes before them.
    fn has_room(&mut self, bytes: usize) -> bool {
        let has_room = self.out.len() + bytes <= self.room;
        if !has_room && self.out.is_empty() {
            self.chunk.needs = bytes;
        }
        has_room
    }
}

// To look at all tags of a small set is bounded by its bytes: each takes at least its place in a list.
const _: () = assert!(LARGE_SET_BYTES / size_of::<Box<str>>() <= CHUNK_CELLS_SCANNED_MAX);

const fn tag_bytes(tag: Tag<'_>) -> usize {
    match tag {
        Tag::Removed(tag) => REMOVED_TAG_BYTES + tag.len(),
        Tag::Live(tagged) => LIVE_TAG_BYTES + tagged.tag().len() + tagged.value().len(),
    }
}

#[cfg(test)]
mod tests;

//! What one chunk of a walk takes from the cells of an owner.
//!
//! A walk goes through the cells in the order in which they were applied, so that it meets each once, in its latest state. A
//! set with thousands of tags may change more often than it can be told as a whole, so large ones are passed over until the
//! tail is reached. Then of each, in an order that stays, the tags are told that have changed since the walk, or its last
//! **round**, began; what has changed meanwhile is for the next round, and that is less each time.
//!
//! Invariant: a chunk looks at no more than [`CHUNK_CELLS_SCANNED_MAX`] entries of the map and tags of its large sets, whether
//! they are stale, do not pass the filter, were seen before or are sent; and its entries have no more bytes than there is room
//! for. The next one begins where it stopped, which may be between two tags of a set. What is in one piece and larger than the
//! room is not sent: the walk is told what it takes.

use crate::crdt::{Cell, CellIndex, HashedKey, Map, OrSet, State, Tag, TagMark, Time};
use crate::limits::{CHUNK_CELLS_SCANNED_MAX, LARGE_SET_BYTES, NODE_BYTES_MAX, OPS_PER_REQUEST_MAX};
use crate::mesh::{EntryPacker, Filter, Round, SetPlace, TaggedValue};
use crate::shard::maps::pack_cell;

/// Bytes of a packed entry beside its key and value, at most: lengths, kind, stamp and end.
const ENTRY_BYTES: usize = 4 + 2 + 1 + 8 + 1 + NODE_BYTES_MAX + 8;
/// The same of an entry with tags, and of a tag in it.
const TAGS_BYTES: usize = 4 + 2 + 1 + 4;
const LIVE_TAG_BYTES: usize = 8 + 1 + NODE_BYTES_MAX + 1 + 4;
const REMOVED_TAG_BYTES: usize = 1;

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
        filter: Option<&Filter>,
        (position, round): (Time, Option<&Round>),
        room: usize,
        out: &mut Vec<u8>,
    ) -> Self {
        let round = round.cloned().unwrap_or_else(|| new_round(position));
        let chunk = Self { entries: 0, looked_at: 0, position, round, is_last: false, needs: 0 };
        let mut filling = Filling { cells, filter, chunk, room, out };
        filling.chunk.is_last = filling.take_all();
        filling.chunk
    }
}

const fn new_round(since: Time) -> Round {
    Round { since, has_passed: false, place: None }
}

/// The last tag that was looked at, and whether it is a live one.
type LastTag = Option<(Box<str>, bool)>;

/// A chunk that is being filled.
struct Filling<'a> {
    cells: &'a Map,
    filter: Option<&'a Filter>,
    chunk: Chunk,
    room: usize,
    out: &'a mut Vec<u8>,
}

// What takes something returns whether it has come to its end.
impl Filling<'_> {
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
        self.take_large(SetPlace { tail, cell: CellIndex::FIRST, tag: None })
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
        }
        true
    }

    /// Packs a cell that is in one piece; a large set is passed over.
    fn take(&mut self, index: CellIndex, cell: &Cell) -> bool {
        if self.cells.is_large(index) {
            self.chunk.round.has_passed = true;
            return true;
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

    /// Packs what has changed in large sets since the round began, from this place on. The next round begins then.
    fn take_large(&mut self, place: SetPlace) -> bool {
        let cells = self.cells;
        let mut after = place.tag;
        for (index, cell) in cells.large_from(place.cell) {
            // If it is not there any more, the place was in another set.
            let after = after.take().filter(|_| index == place.cell);
            let is_news = cell.applied() > self.chunk.round.since && self.passes(cell);
            let stopped_at = match cell.state() {
                _ if !self.may_look() => Some(after),
                State::OrSet(set) if is_news => self.take_tags(cell.key(), set, after).err(),
                _ => None,
            };
            if let Some(tag) = stopped_at {
                self.chunk.round.place = Some(SetPlace { tail: place.tail, cell: index, tag });
                return false;
            }
        }
        self.chunk.position = place.tail;
        self.chunk.round = new_round(place.tail);
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

    /// Whether one more entry or tag may be looked at.
    fn may_look(&mut self) -> bool {
        let may = self.chunk.looked_at < CHUNK_CELLS_SCANNED_MAX;
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
mod tests {
    use super::*;
    use crate::crdt::{Delta, MapType, Merge, Node, Stamp};
    use crate::limits::CHUNK_BYTES;
    use crate::mesh::{Entries, Entry, EntryState, KeyHasher};
    use std::collections::{BTreeMap, BTreeSet};

    const KEYS: usize = 3 * CHUNK_CELLS_SCANNED_MAX;
    const HASHER: KeyHasher = KeyHasher::new(0);

    struct Written {
        map: Map,
        time: Time,
    }

    impl Written {
        fn new(map_type: MapType) -> Self {
            Self { map: Map::new(map_type), time: Time::ZERO }
        }

        fn merge(&mut self, key: &str, make: impl FnOnce(Stamp) -> Delta<'static>) {
            self.time = self.time.next();
            let delta = make(Stamp { time: self.time, node: Node::new(b"n").unwrap() });
            let hashed = HashedKey { hash: hash(key), bytes: key.as_bytes() };
            assert!(matches!(self.map.merge(hashed, &delta, self.time), Ok(Merge::Changed(_))));
        }

        fn set(&mut self, key: &str, value: &'static [u8]) {
            self.merge(key, |at| Delta::Lww { at, value: Some(value), expires_ms: 0 });
        }

        fn add(&mut self, key: &str, tag: usize, value: &'static [u8]) {
            let tag = format!("t{tag:05}").leak();
            self.merge(key, |at| Delta::OrAdd { tag, value, at });
        }

        fn remove(&mut self, key: &str, tag: usize) {
            let tag = format!("t{tag:05}").leak();
            self.merge(key, |_| Delta::OrRemove { tag });
        }
    }

    fn hash(key: &str) -> u64 {
        HASHER.key(HASHER.map("m"), key)
    }

    /// What a client has that merges what it is told.
    #[derive(Default)]
    struct Replica {
        live: BTreeMap<String, usize>,
        removed: BTreeSet<String>,
        /// Tags told, how often whatever.
        told: usize,
    }

    impl Replica {
        fn merge(&mut self, packed: &[u8]) {
            for Entry { key, state } in Entries::new(packed) {
                let EntryState::Tags { added, removed } = state else { continue };
                for tag in removed.iter() {
                    self.live.remove(&format!("{key} {tag}"));
                    self.removed.insert(format!("{key} {tag}"));
                    self.told += 1;
                }
                for tagged in added {
                    let name = format!("{key} {}", tagged.tag);
                    assert!(!self.removed.contains(&name), "{name} comes after its removal");
                    self.live.insert(name, tagged.value.len());
                    self.told += 1;
                }
            }
        }
    }

    /// A walk that takes one chunk after the other.
    struct Walk {
        position: Time,
        round: Option<Round>,
        room: usize,
        is_over: bool,
        chunks: usize,
        entries: usize,
        packed: Vec<u8>,
    }

    impl Walk {
        fn new(room: usize) -> Self {
            let (position, packed) = (Time::ZERO, Vec::new());
            Self { position, round: None, room, is_over: false, chunks: 0, entries: 0, packed }
        }

        fn step(&mut self, map: &Map, filter: Option<&Filter>) {
            self.packed.clear();
            let start = (self.position, self.round.as_ref());
            let mut chunk = Chunk::collect(map, filter, start, self.room, &mut self.packed);
            assert!(chunk.looked_at <= CHUNK_CELLS_SCANNED_MAX && self.packed.len() <= self.room);
            if chunk.needs > 0 {
                assert!(chunk.needs > self.room && self.packed.is_empty());
                let (needs, start) = (chunk.needs, (chunk.position, Some(&chunk.round)));
                chunk = Chunk::collect(map, filter, start, needs, &mut self.packed);
                assert!((1..=needs).contains(&self.packed.len()), "what it needs is enough");
            }
            let has_moved = chunk.position > self.position || self.round.as_ref() != Some(&chunk.round);
            assert!(has_moved || chunk.is_last, "no progress");
            (self.position, self.is_over) = (chunk.position, chunk.is_last);
            self.round = (!chunk.is_last).then_some(chunk.round);
            self.entries += chunk.entries as usize;
            self.chunks += 1;
        }
    }

    /// Goal: what a chunk looks at is bounded also where all of it is stale or filtered away.
    #[test]
    fn a_chunk_stops_among_stale_entries_and_the_next_goes_on_there() {
        let nothing = Filter::Prefix("x".into());
        for (rounds, filter, expected) in [(1, None, KEYS), (2, None, KEYS), (2, Some(&nothing), 0)] {
            let mut written = Written::new(MapType::Lww);
            for number in (0..rounds).flat_map(|_| 0..KEYS) {
                written.set(&format!("k{number}"), b"1");
            }
            let mut walk = Walk::new(CHUNK_BYTES);
            while !walk.is_over {
                walk.step(&written.map, filter);
            }
            assert_eq!(walk.entries, expected, "{rounds} rounds");
            assert!(walk.chunks >= rounds * KEYS / CHUNK_CELLS_SCANNED_MAX, "{} chunks", walk.chunks);
        }
    }

    #[test]
    fn what_is_larger_than_the_room_is_asked_for_with_what_it_needs() {
        let mut written = Written::new(MapType::Lww);
        for key in ["a", "b", "c"] {
            written.set(key, &[b'1'; 5_000]);
            written.set(&key.repeat(2), b"1");
        }
        let mut walk = Walk::new(1_000);
        while !walk.is_over {
            walk.step(&written.map, None);
        }
        assert_eq!(walk.entries, 6);
    }

    /// Goal: a set of any size is told in pieces, each within the room, though it changes all the time, and the walk ends: what
    /// is met again brings only the tags that have changed.
    #[test]
    fn a_set_comes_in_pieces_however_often_it_changes_meanwhile() {
        const TAGS: usize = 2_000;
        for keys in [None, Some(Filter::keys(["set", "other"].into_iter(), hash))] {
            let mut written = Written::new(MapType::Or);
            written.add("before", 0, b"1");
            (0..TAGS).for_each(|tag| written.add("set", tag, &[b'1'; 200]));
            (0..TAGS / 4).for_each(|tag| written.remove("set", 4 * tag));
            written.add("other", 0, b"1");
            let (mut walk, mut replica) = (Walk::new(4_000), Replica::default());
            while !walk.is_over {
                walk.step(&written.map, keys.as_ref());
                replica.merge(&walk.packed);
                if !walk.is_over && walk.chunks < 100 {
                    // Before and behind the place where the walk is.
                    written.remove("set", 4 * walk.chunks + 1);
                    written.remove("set", TAGS - 4 * walk.chunks - 1);
                    written.add("set", TAGS + walk.chunks, b"22");
                }
                assert!(walk.chunks < 400, "it does not end");
            }
            let index = written.map.find(HashedKey { hash: hash("set"), bytes: b"set" }).unwrap();
            let State::OrSet(set) = written.map.cell(index).state() else { panic!("a set") };
            let live: BTreeMap<String, usize> =
                set.live().map(|one| (format!("set {}", one.tag()), one.value().len())).collect();
            let removed: BTreeSet<String> = set.removed().map(|tag| format!("set {tag}")).collect();
            replica.live.retain(|name, _| name.starts_with("set "));
            assert!(replica.live == live && replica.removed == removed, "it lacks something");
            assert!(walk.chunks >= 80 && replica.told < TAGS + 600, "{} tags were told", replica.told);
        }
    }

    #[test]
    fn a_tag_larger_than_the_room_is_asked_for_with_what_it_needs() {
        let mut written = Written::new(MapType::Or);
        for tag in 0..10 {
            written.add("set", tag, if tag % 3 == 0 { b"1" } else { &[b'1'; 5_000] });
        }
        let (mut walk, mut replica) = (Walk::new(1_000), Replica::default());
        while !walk.is_over {
            walk.step(&written.map, None);
            replica.merge(&walk.packed);
        }
        assert_eq!((replica.live.len(), replica.told), (10, 10));
    }

    #[test]
    fn tags_that_are_no_news_count_as_looked_at_and_a_set_that_is_gone_ends() {
        let mut written = Written::new(MapType::Or);
        (0..10_000).for_each(|tag| written.add("set", tag, b"1"));
        let seen = written.time;
        written.add("set", 10_000, b"1");
        let mut walk = Walk::new(CHUNK_BYTES);
        walk.position = seen;
        while !walk.is_over {
            walk.step(&written.map, None);
        }
        assert_eq!((walk.chunks, walk.entries), (3, 1));
        walk.position = Time::ZERO;
        walk.step(&written.map, None);
        assert!(walk.round.as_ref().is_some_and(|round| round.place.is_some()));
        walk.step(&Map::new(MapType::Or), None);
        assert!(walk.is_over);
    }

    /// Goal: a set that a walk has passed over for being large comes though it is small by then.
    #[test]
    fn a_set_that_shrinks_while_a_walk_is_under_way_is_not_lost() {
        for forgets in [false, true] {
            let mut written = Written::new(MapType::Or);
            written.add("set", 2_000, b"1");
            (0..1_000).for_each(|tag| written.add("set", tag, b"1"));
            if forgets {
                (0..1_000).for_each(|tag| written.remove("set", tag));
            }
            (0..500).for_each(|key| written.add(&format!("k{key}"), 0, &[b'1'; 100]));
            let (mut walk, mut replica) = (Walk::new(10_000), Replica::default());
            while !walk.round.as_ref().is_some_and(|round| round.has_passed) {
                walk.step(&written.map, None);
                replica.merge(&walk.packed);
            }
            if forgets {
                let _ = written.map.prune(written.time.next(), usize::MAX);
            } else {
                (0..1_000).for_each(|tag| written.remove("set", tag));
            }
            while !walk.is_over {
                walk.step(&written.map, None);
                replica.merge(&walk.packed);
            }
            replica.live.retain(|name, _| name.starts_with("set "));
            assert_eq!(replica.live.keys().collect::<Vec<_>>(), ["set t02000"], "forgets: {forgets}");
        }
    }
}

//! Cells as entries: packed whole, and how long they are before anybody makes them.

use crate::crdt::{Cell, State, Tagged};
use crate::limits::{ENTRY_BYTES_MAX, NODE_BYTES_MAX};
use crate::mesh::{Entry, EntryPacker, EntryState, TaggedValue};
use crate::wire::json::string_bytes;

/// Appends the whole state of a cell: as one entry, or, where its tags are more than an entry takes, as several.
pub fn pack_cell(out: &mut Vec<u8>, cell: &Cell) {
    pack_in_entries(out, cell, ENTRY_BYTES_MAX);
}

fn pack_in_entries(out: &mut Vec<u8>, cell: &Cell, entry_bytes_max: usize) {
    let key = key(cell);
    let mut entry = EntryPacker(out);
    match cell.state() {
        State::Lww(lww) => match lww.value() {
            Some(value) => entry.ending(key, &lww.at(), value, lww.expires_ms()),
            None => entry.value(key, &lww.at(), None),
        },
        State::OrSet(set) => {
            let mut live = set.live().peekable();
            entry.tags(key, first_of(&mut live, entry_bytes_max), set.removed());
            while live.peek().is_some() {
                entry.tags(key, first_of(&mut live, entry_bytes_max), std::iter::empty());
            }
        }
        State::Counter(counter) => entry.count(key, counter.count()),
    }
}

/// Takes tags until they have so many bytes, or are all.
fn first_of<'a>(
    live: &mut impl Iterator<Item = &'a Tagged>,
    bytes_max: usize,
) -> impl Iterator<Item = TaggedValue<'a>> {
    let mut bytes = 0;
    std::iter::from_fn(move || {
        if bytes >= bytes_max {
            return None;
        }
        let tagged = live.next()?;
        bytes += tagged.tag().len() + tagged.value().len();
        Some(TaggedValue { tag: tagged.tag(), value: tagged.value(), at: *tagged.at() })
    })
}

/// Bytes of a stamp as text, with its quotes.
const STAMP_BYTES_MAX: usize = 15 + 1 + 5 + 1 + NODE_BYTES_MAX + 2;
/// Bytes of `{"key":,"value":,"at":,"expires_at":},` and a time.
const VALUE_BYTES_MAX: usize = 40 + 20 + STAMP_BYTES_MAX;
/// Bytes of `{"key":,"values":[],"removed":[]},`.
const TAGS_BYTES_MAX: usize = 40;
/// Bytes of `{"tag":,"value":,"at":},`.
const TAG_BYTES_MAX: usize = 30 + STAMP_BYTES_MAX;
/// Bytes of `{"key":,"count":},` and an `i128`.
const COUNT_BYTES_MAX: usize = 20 + 40;

/// At most how many bytes the cell takes as text, and packed, which is less. Stops counting once past `bytes_max`, so
/// that it costs no more to find a cell too large than to send one that is not.
pub fn text_bytes(cell: &Cell, bytes_max: usize) -> usize {
    let key_bytes = string_bytes(key(cell));
    match cell.state() {
        State::Lww(lww) => key_bytes + lww.value().map_or(0, <[u8]>::len) + VALUE_BYTES_MAX,
        State::OrSet(set) => {
            let live =
                set.live().map(|tagged| string_bytes(tagged.tag()) + tagged.value().len() + TAG_BYTES_MAX);
            let removed = set.removed().map(|tag| string_bytes(tag) + 1);
            let mut bytes = key_bytes + TAGS_BYTES_MAX;
            for tag in live.chain(removed) {
                bytes += tag;
                if bytes > bytes_max {
                    break;
                }
            }
            bytes
        }
        State::Counter(_) => key_bytes + COUNT_BYTES_MAX,
    }
}

/// The same of an entry that is packed.
pub fn entry_text_bytes(entry: &Entry<'_>) -> usize {
    let key_bytes = string_bytes(entry.key);
    key_bytes
        + match entry.state {
            EntryState::Value { value, .. } => value.map_or(0, <[u8]>::len) + VALUE_BYTES_MAX,
            EntryState::Tags { added, removed } => {
                let live = added.map(|one| string_bytes(one.tag) + one.value.len() + TAG_BYTES_MAX);
                let removed = removed.iter().map(|tag| string_bytes(tag) + 1);
                TAGS_BYTES_MAX + live.chain(removed).sum::<usize>()
            }
            EntryState::Count(_) | EntryState::Gone => COUNT_BYTES_MAX,
        }
}

fn key(cell: &Cell) -> &str {
    std::str::from_utf8(cell.key()).expect("keys enter as text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{Delta, HashedKey, Map, MapType, Merge, Node, Stamp, Time};
    use crate::mesh::Entries;

    fn stamp(millis: u64) -> Stamp {
        Stamp { time: Time::new(millis, 65_535), node: Node::new(&[b'n'; NODE_BYTES_MAX]).unwrap() }
    }

    /// The cell that these deltas make.
    fn cell_of(map_type: MapType, deltas: &[Delta<'_>], then: impl FnOnce(&Cell)) {
        let mut map = Map::new(map_type);
        let key = HashedKey { hash: 1, bytes: "k\u{1}\"é".as_bytes() };
        for (tick, delta) in deltas.iter().enumerate() {
            assert!(matches!(map.merge(key, delta, Time::new(1 + tick as u64, 0)), Ok(Merge::Changed(_))));
        }
        then(map.cell(map.find(key).unwrap()));
    }

    const VALUE: &[u8] = b"[1,2]";

    #[test]
    fn tags_that_no_entry_takes_go_into_several() {
        let tags: Vec<String> = (0..20).map(|n| format!("tag{n:02}")).collect();
        let mut deltas: Vec<_> =
            tags.iter().map(|tag| Delta::OrAdd { tag, value: VALUE, at: stamp(5) }).collect();
        deltas.push(Delta::OrRemove { tag: "tag07" });
        cell_of(MapType::Or, &deltas, |cell| {
            let mut packed = Vec::new();
            pack_in_entries(&mut packed, cell, 30);
            let (mut live, mut removed, mut entries) = (Vec::new(), Vec::new(), 0);
            for entry in Entries::new(&packed) {
                let EntryState::Tags { added, removed: gone } = entry.state else { panic!("{entry:?}") };
                live.extend(added.map(|tagged| tagged.tag.to_owned()));
                removed.extend(gone.iter().map(str::to_owned));
                entries += 1;
            }
            assert_eq!((live.len(), removed, entries), (19, vec!["tag07".to_owned()], 7));
            assert!(tags.iter().all(|tag| live.contains(tag) != (tag == "tag07")));
        });
    }

    #[test]
    fn a_cell_takes_no_more_packed_than_as_text() {
        let (at, replica) = (stamp((1 << 48) - 1), Node::new(b"r").unwrap());
        let tag = "\u{1}\"t".repeat(5);
        let add = Delta::OrAdd { tag: &tag, value: VALUE, at };
        for (map_type, deltas) in [
            (MapType::Lww, vec![Delta::Lww { at, value: Some(VALUE), expires_ms: u64::MAX }]),
            (MapType::Lww, vec![Delta::Lww { at, value: None, expires_ms: 0 }]),
            (MapType::Or, vec![add, Delta::OrAdd { tag: "b", value: b"", at }, Delta::OrRemove { tag: "c" }]),
            (MapType::Counter, vec![Delta::Counter { replica, added: 0, subtracted: (1 << 53) - 1 }]),
        ] {
            cell_of(map_type, &deltas, |cell| {
                let mut packed = Vec::new();
                pack_cell(&mut packed, cell);
                let foreseen = text_bytes(cell, usize::MAX);
                assert!(packed.len() <= foreseen, "{} of {foreseen}", packed.len());
            });
        }
    }

    #[test]
    fn nothing_is_counted_beyond_what_there_is_room_for() {
        let tags: Vec<String> = (0..1000).map(|n| format!("{n}")).collect();
        let deltas: Vec<_> =
            tags.iter().map(|tag| Delta::OrAdd { tag, value: VALUE, at: stamp(5) }).collect();
        cell_of(MapType::Or, &deltas, |cell| {
            assert!(text_bytes(cell, usize::MAX) > 50_000);
            assert!((1000..1300).contains(&text_bytes(cell, 1000)));
        });
    }
}

//! Entries: the state of one key, or what a change did to it, packed into bytes on its way to subscribers. What they
//! become on the wire is the business of a connection's dialect.
//!
//! ```text
//! len u32 | key_len u16, key | kind u8 | body          len: of what follows it
//! value      time u64, node_len u8, node, value
//! ending     time u64, node_len u8, node, expires_ms u64, value
//! tombstone  time u64, node_len u8, node
//! tags       removed_len u32, removed ([`TagList`]) | time u64, node_len u8, node, tag_len u8, tag, value_len u32, value | …
//! count      count i128
//! gone       nothing
//! ```

use std::str;

use super::TagList;
use crate::crdt::{Node, Stamp, Time};
use crate::limits::KEY_BYTES_MAX;

/// One key of a map.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub key: &'a str,
    pub state: EntryState<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum EntryState<'a> {
    /// lww; `None`: deleted. `expires_ms`: Unix milliseconds at which the value ends; 0: never.
    Value { at: Stamp, value: Option<&'a [u8]>, expires_ms: u64 },
    /// or: in a change what it added and removed, else everything.
    Tags { added: TaggedValues<'a>, removed: TagList<'a> },
    /// counter: the sum.
    Count(i128),
    /// A counter of which its subscriber may see nothing any more; in what was before a change: nothing.
    Gone,
}

/// One value of an or-set.
#[derive(Clone, Copy, Debug)]
pub struct TaggedValue<'a> {
    pub tag: &'a str,
    pub value: &'a [u8],
    pub at: Stamp,
}

const VALUE: u8 = 1;
const TOMBSTONE: u8 = 2;
const TAGS: u8 = 3;
const COUNT: u8 = 4;
const ENDING: u8 = 5;
const GONE: u8 = 6;

/// Appends one entry for each call.
pub struct EntryPacker<'a>(pub &'a mut Vec<u8>);

impl EntryPacker<'_> {
    /// A value that stays, or a deletion.
    #[inline]
    pub fn value(&mut self, key: &str, at: &Stamp, value: Option<&[u8]>) {
        let start = self.begin(key, if value.is_some() { VALUE } else { TOMBSTONE });
        put_stamp(self.0, at);
        self.0.extend_from_slice(value.unwrap_or_default());
        self.end(start);
    }

    /// A value that ends at `expires_ms`, unless that is 0.
    #[inline]
    pub fn ending(&mut self, key: &str, at: &Stamp, value: &[u8], expires_ms: u64) {
        if expires_ms == 0 {
            return self.value(key, at, Some(value));
        }
        let start = self.begin(key, ENDING);
        put_stamp(self.0, at);
        self.0.extend_from_slice(&expires_ms.to_le_bytes());
        self.0.extend_from_slice(value);
        self.end(start);
    }

    pub fn tags<'t>(
        &mut self,
        key: &str,
        added: impl Iterator<Item = TaggedValue<'t>>,
        removed: impl Iterator<Item = &'t str>,
    ) {
        let start = self.begin(key, TAGS);
        let out = &mut *self.0;
        let removed_at = out.len();
        out.extend_from_slice(&[0; 4]);
        removed.for_each(|tag| TagList::push(out, tag));
        let removed_len = length(out.len() - removed_at - 4);
        out[removed_at..removed_at + 4].copy_from_slice(&removed_len.to_le_bytes());
        for tagged in added {
            put_stamp(out, &tagged.at);
            TagList::push(out, tagged.tag);
            out.extend_from_slice(&length(tagged.value.len()).to_le_bytes());
            out.extend_from_slice(tagged.value);
        }
        self.end(start);
    }

    pub fn count(&mut self, key: &str, count: i128) {
        let start = self.begin(key, COUNT);
        self.0.extend_from_slice(&count.to_le_bytes());
        self.end(start);
    }

    pub fn gone(&mut self, key: &str) {
        let start = self.begin(key, GONE);
        self.end(start);
    }

    #[inline]
    fn begin(&mut self, key: &str, kind: u8) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&short(key.len()).to_le_bytes());
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(kind);
        start
    }

    #[inline]
    fn end(&mut self, start: usize) {
        let len = length(self.0.len() - start - 4);
        self.0[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }
}

/// A length as it is packed.
///
/// # Panics
/// If it does not fit, which none does: `ENTRY_BYTES_MAX` and `READ_ANSWER_BYTES_CEILING` are held against 32 bits.
pub fn length(len: usize) -> u32 {
    u32::try_from(len).expect("an entry, and an envelope, is far below 4 GiB")
}

/// The same for names.
///
/// # Panics
/// If it does not fit.
fn short(len: usize) -> u16 {
    u16::try_from(len).expect("a key is at most KEY_BYTES_MAX long")
}

const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);

/// Packed entries, one by one. They come from [`EntryPacker`] alone, so reading them cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    pub const fn new(packed: &'a [u8]) -> Self {
        Self(packed)
    }

    /// Those that have not been read, as they are packed.
    pub const fn packed(self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let mut rest = take_long(&mut self.0);
        let key = take_number::<2>(&mut rest);
        let key = take(&mut rest, u16::from_le_bytes(key).into());
        let [kind] = take_number(&mut rest);
        let state = match kind {
            VALUE => EntryState::Value { at: take_stamp(&mut rest), value: Some(rest), expires_ms: 0 },
            TOMBSTONE => EntryState::Value { at: take_stamp(&mut rest), value: None, expires_ms: 0 },
            ENDING => {
                let (at, expires_ms) = (take_stamp(&mut rest), u64::from_le_bytes(take_number(&mut rest)));
                EntryState::Value { at, value: Some(rest), expires_ms }
            }
            TAGS => {
                let removed = TagList(take_long(&mut rest));
                EntryState::Tags { added: TaggedValues(rest), removed }
            }
            GONE => EntryState::Gone,
            _ => EntryState::Count(i128::from_le_bytes(take_number(&mut rest))),
        };
        Some(Entry { key: text(key), state })
    }
}

/// The values an entry of an or-set has, or those a change added.
#[derive(Clone, Copy, Debug)]
pub struct TaggedValues<'a>(&'a [u8]);

impl<'a> Iterator for TaggedValues<'a> {
    type Item = TaggedValue<'a>;

    fn next(&mut self) -> Option<TaggedValue<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let at = take_stamp(&mut self.0);
        let tag = take_short(&mut self.0);
        Some(TaggedValue { tag: text(tag), value: take_long(&mut self.0), at })
    }
}

fn put_stamp(out: &mut Vec<u8>, at: &Stamp) {
    out.extend_from_slice(&at.time.to_bits().to_le_bytes());
    let node = at.node.as_bytes();
    out.push(u8::try_from(node.len()).expect("NODE_BYTES_MAX fits"));
    out.extend_from_slice(node);
}

const _: () = assert!(crate::limits::NODE_BYTES_MAX <= u8::MAX as usize);

fn take_stamp(rest: &mut &[u8]) -> Stamp {
    let time = Time::from_bits(u64::from_le_bytes(take_number(rest)));
    Stamp { time, node: Node::new(take_short(rest)).expect("packed from a node") }
}

pub(super) fn take<'a>(rest: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, tail) = rest.split_at(len);
    *rest = tail;
    taken
}

pub(super) fn take_number<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (number, tail) = rest.split_first_chunk().expect("packed whole");
    *rest = tail;
    *number
}

fn take_short<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let [len] = take_number(rest);
    take(rest, len.into())
}

/// Appends a name behind its length.
pub fn pack_name(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&short(name.len()).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}

/// What [`pack_name`] has packed.
pub(super) fn take_name<'a>(rest: &mut &'a [u8]) -> &'a str {
    let len = u16::from_le_bytes(take_number(rest));
    text(take(rest, len.into()))
}

/// Appends bytes behind their length.
pub(super) fn pack_long(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&length(bytes.len()).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// What [`pack_long`] has packed.
pub(super) fn take_long<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = u32::from_le_bytes(take_number(rest));
    take(rest, len as usize)
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("packed from a str")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(millis: u64, node: &str) -> Stamp {
        Stamp { time: Time::new(millis, 3), node: Node::new(node.as_bytes()).unwrap() }
    }

    #[test]
    fn entries_come_back_as_they_were_packed() {
        let mut packed = Vec::new();
        let mut packer = EntryPacker(&mut packed);
        let values = [
            TaggedValue { tag: "t1", value: b"[1]", at: stamp(1, "a") },
            TaggedValue { tag: "é", value: b"", at: stamp(2, &"n".repeat(40)) },
        ];
        packer.value("k", &stamp(5, "server"), Some(b"{\"a\":1}"));
        packer.value(&"long".repeat(128), &stamp(6, "s"), None);
        packer.ending("e", &stamp(7, "s"), b"[]", 1_700_000_000_000);
        packer.ending("e", &stamp(8, "s"), b"", 0);
        packer.tags("tags", values.into_iter(), ["gone", "x"].into_iter());
        packer.tags("none", [].into_iter(), [].into_iter());
        packer.count("count", -7);
        packer.gone("left");

        let read: Vec<String> = Entries::new(&packed)
            .map(|Entry { key, state }| match state {
                EntryState::Value { at, value, expires_ms } => {
                    format!("{key} {} {} {value:?} {expires_ms}", at.time.millis(), at.node.as_str())
                }
                EntryState::Tags { added, removed } => {
                    let added: Vec<_> = added.map(|one| (one.tag, one.value, one.at.time.millis())).collect();
                    format!("{key} {added:?} {:?}", removed.iter().collect::<Vec<_>>())
                }
                EntryState::Count(count) => format!("{key} {count}"),
                EntryState::Gone => format!("{key} is gone"),
            })
            .collect();
        assert_eq!(
            read,
            [
                format!("k 5 server {:?} 0", Some(b"{\"a\":1}")),
                format!("{} 6 s None 0", "long".repeat(128)),
                format!("e 7 s {:?} 1700000000000", Some(b"[]")),
                format!("e 8 s {:?} 0", Some(b"")),
                format!("tags {:?} [\"gone\", \"x\"]", [("t1", b"[1]".as_slice(), 1), ("é", b"", 2)]),
                "none [] []".to_owned(),
                "count -7".to_owned(),
                "left is gone".to_owned(),
            ]
        );
    }
}

//! Texts: each client sends the whole state of its replica, which only clients can merge. The server keeps the latest of
//! every client and gives all of them to whoever comes, so that no text written at the same time is lost.
//!
//! A state that another one contains adds nothing to it. Clients merge what they are sent, so that most states are soon
//! contained in one of somebody else, and are forgotten when that is noticed: else a document would keep one whole text for
//! every client that ever wrote in it. What cannot be read is not contained in anything.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::frame::{Fields, write_clock};
use super::message::{self, Nodes, elements, text, whole};
use crate::crdt::Time;
use crate::limits::PARSE_PADDING_BYTES;
use crate::shard::work;
use crate::wire::Payload;
use crate::wire::json::{Members, Object, Parser, Value, write_string};

/// States with which each other one is compared, at most.
const COMPARED_MAX: usize = 4;
/// States of a document that are compared at all, and their bytes, at most: the latest (`parts.rs`).
pub const STATES_MAX: usize = 32;
pub const BYTES_MAX: usize = 4 << 20;

/// Appends `textState` and `textClock` of the newest operation, which was stored as canonical JSON.
pub fn write_state(fields: &mut Fields<'_>, operation: &[u8], time: Time) {
    let mut padded = Padded::new(operation);
    let Some(object) = padded.parse(&mut Parser::new()) else { return };
    let Some(operation) = message::Fields::of(object.nodes(), object.scratch()) else { return };
    if let Some(state) = operation.state.and_then(text) {
        write_string(fields.begin("textState"), state);
        match operation.clock {
            Some(clock) => operation.json(clock).write_canonical(fields.begin("textClock")),
            None => write_clock(fields.begin("textClock"), time, None),
        }
    }
}

/// Appends an operation for who comes, in the name of the server: the SDK ignores those in its own name, and a client that
/// comes back without its replica, but with its name, would replace the only copy of what it had written.
pub fn write_operation(out: &mut Vec<u8>, operation: &[u8]) {
    let mut padded = Padded::new(operation);
    let Some(object) = padded.parse(&mut Parser::new()) else { return out.extend_from_slice(operation) };
    out.extend_from_slice(b"{\"clientId\":\"server\"");
    for (name, value) in object.members().filter(|(name, _)| *name != "clientId") {
        out.push(b',');
        write_string(out, name);
        out.push(b':');
        Value::new(value, object.scratch()).write_canonical(out);
    }
    out.push(b'}');
}

/// Whether what is stored as a text is an operation, as whatever a client of SyncKit has sent is.
pub fn is_operation(stored: &[u8]) -> bool {
    stored.first() == Some(&b'{')
}

/// States that are compared one by one, the newest first: which of them bring a text that an earlier one contains.
#[derive(Default)]
pub struct Comparison {
    parser: Parser,
    hasher: DefaultHashBuilder,
    kept: Vec<Blocks>,
    place: u32,
    contained: u32,
}

impl Comparison {
    /// Takes the next operation, of [`STATES_MAX`]; units that its comparison took, beside reading it.
    pub fn take(&mut self, operation: &[u8]) -> u64 {
        let place = self.place;
        self.place += 1;
        let state = state_of(&mut self.parser, operation);
        let Some(blocks) = state.and_then(|state| Blocks::read(state, &mut self.parser, &self.hasher)) else {
            return 0;
        };
        let looked_up = work::PASSED_OVER * (blocks.0.len() * (1 + self.kept.len())) as u64;
        if self.kept.iter().any(|kept| kept.contains(&blocks)) {
            self.contained |= 1 << place;
        } else if self.kept.len() < COMPARED_MAX {
            self.kept.push(blocks);
        }
        looked_up
    }

    /// Which of those that were taken another contains: a bit each, the first the lowest.
    pub const fn contained(&self) -> u32 {
        self.contained
    }
}

const _: () = assert!(STATES_MAX <= u32::BITS as usize);

/// The state that an operation brings, which is JSON in a string.
fn state_of(parser: &mut Parser, operation: &[u8]) -> Option<Padded> {
    let mut padded = Padded::new(operation);
    let object = padded.parse(parser)?;
    let state = message::Fields::of(object.nodes(), object.scratch())
        .and_then(|fields| fields.state)
        .and_then(text)
        .map(|state| Padded::new(state.as_bytes()));
    parser.recycle(object);
    state
}

/// JSON with room to be parsed in place.
struct Padded {
    bytes: Vec<u8>,
    len: usize,
}

impl Padded {
    fn new(json: &[u8]) -> Self {
        let mut bytes = json.to_vec();
        bytes.resize(json.len() + PARSE_PADDING_BYTES, 0);
        Self { bytes, len: json.len() }
    }

    fn parse(&mut self, parser: &mut Parser) -> Option<Object<'_>> {
        parser.parse(Payload::new(&mut self.bytes, self.len)).ok()
    }
}

/// The blocks of a Fugue text (Weidner and Kleppmann, 2023), by the identity each was given when it was inserted. A block never
/// changes but for being deleted, unless it is cut in two; then it has another text here and is another block. Identities and
/// texts are hashes, keyed at random, so that nobody can make two that count as one.
struct Blocks(HashMap<u64, Block>);

#[derive(Clone, Copy)]
struct Block {
    text: u64,
    is_deleted: bool,
}

impl Blocks {
    fn read(mut state: Padded, parser: &mut Parser, hasher: &DefaultHashBuilder) -> Option<Self> {
        let object = state.parse(parser)?;
        let blocks = Self::of(object.nodes(), hasher);
        parser.recycle(object);
        blocks
    }

    /// Of `{"blocks":[[id, block], …], …}`.
    fn of(state: Nodes<'_>, hasher: &DefaultHashBuilder) -> Option<Self> {
        let blocks = elements(member(state, "blocks")?)?;
        let block = |pair: Nodes<'_>| {
            let mut pair = elements(pair)?;
            let (id, block) = (pair.next()?, pair.next()?);
            let client = text(member(id, "client_id")?)?;
            let id = (client, whole(member(id, "clock")?)?, whole(member(id, "offset")?)?);
            let is_deleted = message::is_true(member(block, "deleted")?);
            let text = hasher.hash_one(text(member(block, "text")?)?);
            Some((hasher.hash_one(id), Block { text, is_deleted }))
        };
        // One without blocks says nothing of what it has seen.
        let blocks: HashMap<_, _> = blocks.map(block).collect::<Option<_>>()?;
        (!blocks.is_empty()).then_some(Self(blocks))
    }

    fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(id, theirs)| {
            self.0
                .get(id)
                .is_some_and(|ours| ours.text == theirs.text && (ours.is_deleted || !theirs.is_deleted))
        })
    }
}

fn member<'a>(object: Nodes<'a>, name: &str) -> Option<Nodes<'a>> {
    Members::of(object)?.filter(|(known, _)| *known == name).map(|(_, value)| value).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operation whose state has these blocks: who, when, text, whether deleted.
    fn operation(blocks: &[(&str, u64, &str, bool)]) -> Vec<u8> {
        let blocks: Vec<String> = blocks
            .iter()
            .map(|(client, clock, text, deleted)| {
                let id = format!(r#"{{"client_id":"{client}","clock":{clock},"offset":0}}"#);
                format!(r#"[{id},{{"id":{id},"text":"{text}","left_origin":null,"right_origin":null,"deleted":{deleted}}}]"#)
            })
            .collect();
        let state = format!(r#"{{"blocks":[{}],"clock":{{"value":9}},"client_id":"x"}}"#, blocks.join(","));
        let mut out = br#"{"clientId":"x","state":"#.to_vec();
        write_string(&mut out, &state);
        out.extend_from_slice(br#","type":"text-state"}"#);
        out
    }

    fn contained(operations: &[&[u8]]) -> u32 {
        let mut comparison = Comparison::default();
        operations.iter().for_each(|operation| {
            comparison.take(operation);
        });
        comparison.contained()
    }

    fn contained_in(first: &[u8], second: &[u8]) -> bool {
        contained(&[first, second]) == 0b10
    }

    #[test]
    fn a_state_contains_what_it_has_all_blocks_of() {
        let (ann, bob) = (("ann", 1, "Hello", false), ("bob", 1, "you", false));
        assert!(contained_in(&operation(&[ann, bob]), &operation(&[ann])));
        assert!(contained_in(&operation(&[ann]), &operation(&[ann])));
        assert!(
            !contained_in(&operation(&[ann]), &operation(&[])),
            "it costs nothing, and may mean something"
        );
        assert!(!contained_in(&operation(&[ann]), &operation(&[bob])), "written at the same time");
        assert!(!contained_in(&operation(&[ann]), &operation(&[ann, bob])));
    }

    #[test]
    fn deletions_count_as_text_does() {
        let (here, gone) = (("ann", 1, "Hello", false), ("ann", 1, "Hello", true));
        assert!(contained_in(&operation(&[gone]), &operation(&[here])));
        assert!(!contained_in(&operation(&[here]), &operation(&[gone])), "the deletion is news");
    }

    #[test]
    fn what_cannot_be_compared_is_kept() {
        let whole = operation(&[("ann", 1, "Hello", false)]);
        assert!(!contained_in(&operation(&[("ann", 1, "Hel", false)]), &whole), "a block that was cut");
        for other in [
            br#"{"state":"{}"}"#.as_slice(),
            br#"{"state":"no json"}"#,
            br#"{"state":7}"#,
            br#"{"state":"{\"blocks\":[1]}"}"#,
            br#"{"state":"{\"blocks\":[[{},{}]]}"}"#,
            b"{}",
        ] {
            assert_eq!(contained(&[&whole, other]), 0, "{}", String::from_utf8_lossy(other));
            assert_eq!(contained(&[other, &whole]), 0);
        }
        assert_eq!(contained(&[&whole]), 0);
    }
}

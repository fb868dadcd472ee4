//! The canonical form of a value: what is stored, hashed, compared and sent.
//!
//! Compact; members sorted by the bytes of their names, of duplicates the last; numbers as in `number.rs`;
//! strings as in `string.rs`. Invariant: canonical text parses to a value whose canonical text is the same.

use std::cell::Cell;
use std::fmt;

use simd_json::{Node, StaticNode};

use super::{Elements, Members, Number, write_string};

/// Room to sort the members of objects in, kept between values so that sorting allocates nothing once it
/// has grown. Used from one thread: a message never leaves its shard.
#[derive(Default)]
pub struct Scratch(Cell<Vec<u32>>);

impl Scratch {
    /// Entries it has room for.
    pub fn capacity(&self) -> usize {
        let names = self.0.take();
        let capacity = names.capacity();
        self.0.set(names);
        capacity
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Scratch")
    }
}

/// Appends the canonical form of one value. Recurses as deep as the value nests, which the parser bounds
/// (`JSON_DEPTH_MAX`).
pub fn write_canonical(value: &[Node<'_>], scratch: &Scratch, out: &mut Vec<u8>) {
    // The usual value is a scalar or flat and sorted, and never touches the scratch.
    let mut names = scratch.0.take();
    write_value(value, &mut names, out);
    scratch.0.set(names);
}

fn write_value(value: &[Node<'_>], names: &mut Vec<u32>, out: &mut Vec<u8>) {
    match value.first() {
        Some(Node::String(text)) => write_string(out, text),
        Some(Node::Object { .. }) => write_object(value, names, out),
        Some(Node::Array { .. }) => write_array(value, names, out),
        Some(Node::Static(StaticNode::Bool(true))) => out.extend_from_slice(b"true"),
        Some(Node::Static(StaticNode::Bool(false))) => out.extend_from_slice(b"false"),
        Some(node) => match Number::of(node) {
            Some(number) => number.write_to(out),
            None => out.extend_from_slice(b"null"),
        },
        None => {}
    }
}

fn write_array(value: &[Node<'_>], names: &mut Vec<u32>, out: &mut Vec<u8>) {
    out.push(b'[');
    let start = out.len();
    for element in Elements::of(value).into_iter().flatten() {
        if out.len() > start {
            out.push(b',');
        }
        write_value(element, names, out);
    }
    out.push(b']');
}

fn write_object(value: &[Node<'_>], names: &mut Vec<u32>, out: &mut Vec<u8>) {
    let Some(members) = Members::of(value) else { return };
    out.push(b'{');
    if is_strictly_sorted(members) {
        let start = out.len();
        for (name, member) in members {
            write_member(start, name, member, names, out);
        }
    } else {
        write_sorted(value, names, out);
    }
    out.push(b'}');
}

fn is_strictly_sorted(mut members: Members<'_>) -> bool {
    let Some((mut previous, _)) = members.next() else { return true };
    members.all(|(name, _)| {
        let sorted = is_less(previous, name);
        previous = name;
        sorted
    })
}

/// By bytes. Most names differ in their first byte, which is cheaper to see than a call to `memcmp`.
#[inline]
fn is_less(left: &str, right: &str) -> bool {
    match (left.as_bytes().first(), right.as_bytes().first()) {
        (Some(left_first), Some(right_first)) if left_first != right_first => left_first < right_first,
        _ => left < right,
    }
}

/// Sorts the places of the members' names on top of `names`, which nested objects use as a stack.
fn write_sorted(value: &[Node<'_>], names: &mut Vec<u32>, out: &mut Vec<u8>) {
    let name_at = |place: u32| match value[place as usize] {
        Node::String(name) => name,
        _ => "",
    };
    let bottom = names.len();
    let mut place = 1;
    for (_, member) in Members::of(value).into_iter().flatten() {
        names.push(place);
        // A message has fewer nodes than bytes.
        const { assert!(crate::limits::MESSAGE_BYTES_CEILING < u32::MAX as usize) };
        place += 1 + member.len() as u32;
    }
    // Of equal names the one sent last comes last.
    names[bottom..].sort_unstable_by_key(|&place| (name_at(place), place));

    let (start, top) = (out.len(), names.len());
    for index in bottom..top {
        let name = name_at(names[index]);
        if index + 1 < top && name_at(names[index + 1]) == name {
            continue;
        }
        write_member(start, name, &value[names[index] as usize + 1..], names, out);
    }
    names.truncate(bottom);
}

/// `start` is where the object's first member begins. `member` may be followed by other nodes.
fn write_member(start: usize, name: &str, member: &[Node<'_>], names: &mut Vec<u32>, out: &mut Vec<u8>) {
    if out.len() > start {
        out.push(b',');
    }
    write_string(out, name);
    out.push(b':');
    write_value(member, names, out);
}

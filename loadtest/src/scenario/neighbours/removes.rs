//! Writes of 983 KB that hold ten removals of 16 384 tags each, none of which the key has, from the last to the first: what
//! keeps them in order has to make room at the front each time.
//!
//! Bound in the server: a removal is linear in its tags, and a turn ends when its work is done.

use super::behaviour::Row;
use super::requests::{add, text, writes};
use super::siege::Siege;

/// Tags one removal may name.
const TAGS: usize = 16_384;

pub const ROW: Row = Row {
    name: "removes",
    says: "writes of 983 KB: ten removals of 16 384 unknown tags",
    make: |size| {
        let stored = writes(std::iter::once(add("removes", "key", "1")), 1);
        let requests = (0..size.of(8, 2)).map(|request| {
            let ops: Vec<String> = (0..10).map(|op| removal(request * 10 + op)).collect();
            text(&format!(r#"{{"type":"write","id":1,"ops":[{}]}}"#, ops.join(",")))
        });
        Box::new(Siege::new(stored, 1, requests.collect(), 1))
    },
    server_arguments: &[],
};

/// Tags of three characters. A key can hold no more of them than one removal names, so each removal has a key of its own.
fn removal(number: usize) -> String {
    let tags: Vec<String> = (0..TAGS).rev().map(tag).collect();
    format!(r#"{{"map":"removes","key":"{number}","op":"remove","tags":["{}"]}}"#, tags.join(r#"",""#))
}

fn tag(number: usize) -> String {
    let digit = |place: usize| {
        char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[number / 36_usize.pow(place as u32) % 36])
    };
    [digit(2), digit(1), digit(0)].into_iter().collect()
}

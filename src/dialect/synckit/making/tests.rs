//! States that are made over turns: what they hold, and what is counted of them.

use super::*;
use crate::crdt::Node;
use crate::mesh::Entries;

/// The state of a document with these keys, and units it took, made in steps of so many.
fn made(compared: &mut Compared, keys: &[(&str, u64, &[u8])], step: u64) -> (MadeState, u64, Vec<String>) {
    let mut packed = Vec::new();
    for &(key, time, value) in keys {
        let at = Stamp { time: Time::new(time, 0), node: Node::new(b"n").unwrap() };
        EntryPacker(&mut packed).value(key, &at, Some(value));
    }
    let mut parts = Parts::default();
    parts.take(Entries::new(&packed), |_| {});
    let mut making = Making::new(Framing::Text, "d", parts);
    let mut units = 0;
    while !making.is_done() {
        units += making.go_on(compared, step);
    }
    let (made, of_no_use) = making.finish();
    (made, units, of_no_use.into_iter().map(|(key, _)| key).collect())
}

// To compare texts costs as much as to read them all: as long as they are the same, nobody does it again.
#[test]
fn the_same_texts_are_compared_once() {
    let mut compared = Compared::default();
    let block = |text: &str| {
        let id = r#"{\"client_id\":\"a\",\"clock\":1,\"offset\":0}"#;
        let block = format!(r#"{{\"id\":{id},\"text\":\"{text}\",\"deleted\":false}}"#);
        format!(r#"{{"type":"text-state","state":"{{\"blocks\":[[{id},{block}]]}}"}}"#)
    };
    let mut told = |times: [u64; 3]| {
        let texts = ["x", "x", "y"].map(block);
        let keys = ["a", "b", "c"].map(|client| format!("__synckit:text:{client}"));
        let entries: Vec<(&str, u64, &[u8])> =
            (0..3).map(|n| (&*keys[n], times[n], texts[n].as_bytes())).collect();
        let (_, _, of_no_use) = made(&mut compared, &entries, 1);
        (of_no_use, compared.comparisons)
    };
    for _ in 0..3 {
        assert_eq!(told([1, 2, 3]), (vec!["__synckit:text:a".to_owned()], 1));
    }
    assert_eq!(told([1, 2, 4]).1, 2, "another state");
}

/// That which makes the state of these entries, without a value where they are gone.
fn making(entries: &[(String, Option<String>)]) -> Making {
    let mut packed = Vec::new();
    for ((key, value), time) in entries.iter().zip(1..) {
        let at = Stamp { time: Time::new(time, 0), node: Node::new(b"n").unwrap() };
        EntryPacker(&mut packed).value(key, &at, value.as_ref().map(String::as_bytes));
    }
    let mut parts = Parts::default();
    parts.take(Entries::new(&packed), |_| {});
    Making::new(Framing::Text, "d", parts)
}

// What is kept counts by its length, so that it must not have grown to twice of that.
#[test]
fn a_state_takes_little_more_than_its_length_whatever_is_in_it() {
    let some = |key: String, value: String| (key, Some(value));
    let text = format!(r#"{{"type":"text-state","state":"{}"}}"#, "x".repeat(100_000));
    for entries in [
        (0..20).map(|n| some(format!("__synckit:text:{n}"), text.clone())).collect::<Vec<_>>(),
        (0..9_000).map(|n| some(format!("__synckit:set:{n}"), "1".to_owned())).collect(),
        (0..3_000).map(|n| (format!("__synckit:set:{n}"), None)).collect(),
        (0..3_000).map(|n| (format!("f{n}"), None)).collect(),
        (0..3_000).map(|n| some(format!("f{n}"), "1".to_owned())).collect(),
    ] {
        let mut making = making(&entries);
        while !making.is_done() {
            making.go_on(&mut Compared::default(), u64::MAX);
        }
        let (len, capacity) = (making.frames.bytes.len(), making.frames.bytes.capacity());
        assert!(capacity < len + len / 2, "{}: {len} bytes in {capacity}", entries[0].0);
    }
}

#[test]
fn what_is_kept_while_a_state_is_made_counts() {
    const FIELDS: usize = 4_000;
    let entries: Vec<_> = (0..FIELDS).map(|n| (format!("f{n}"), None)).collect();
    let mut making = making(&entries);
    let parts = making.state.bytes() - 20 * FIELDS;
    assert!(parts >= FIELDS * 5, "places of all keys: {parts}");
    while !making.is_done() {
        making.go_on(&mut Compared::default(), 1);
    }
    let told = making.state.bytes() + making.frames.bytes.len();
    assert!(making.bytes() >= told + (FIELDS - REMOVED_TOLD_MAX) * 5, "removals that are told to some");
}

#[test]
fn a_state_is_the_same_in_however_many_steps_it_is_made_and_none_is_large() {
    let names: Vec<String> = (0..2_000).map(|n| format!("f{}", n % 1_500)).collect();
    let keys: Vec<(&str, u64, &[u8])> =
        names.iter().zip(0..).map(|(name, time)| (&**name, time, b"1".as_slice())).collect();
    let [(one, all, _), (other, in_steps, _)] =
        [u64::MAX, 100].map(|step| made(&mut Compared::default(), &keys, step));
    assert_eq!((one.fields_bytes(), all), (other.fields_bytes(), in_steps));
    assert!(all > 2_000 * work::PASSED_OVER && one.answer_bytes() > 1_500 * 6);
    let value = "1".repeat(10_000);
    let entries: Vec<_> = names[..1_500].iter().map(|name| (name.clone(), Some(value.clone()))).collect();
    let mut making = making(&entries);
    let mut compared = Compared::default();
    while !making.is_done() {
        let units = making.go_on(&mut compared, 1_000);
        assert!(units <= 1_000 + 2 * work::encoded(10_000) + work::CELL, "{units}");
    }
}

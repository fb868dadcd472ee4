//! What a turn costs is bounded whatever clients send, and what is small does not wait for what is large.
//!
//! Method: one shard in the hands of the test, which hands it what has arrived and looks at the units of work
//! (`shard/work.rs`) of each turn. No time is measured.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../client_frames/mod.rs"]
mod client_frames;
#[path = "../driven_shard/mod.rs"]
mod driven_shard;
mod host;
mod inspection;
#[path = "../shards/mod.rs"]
mod shards;
mod subscribers;
mod tags;
mod writes;

use annulus::mesh::ConnectionId;
use annulus::shard::work;

use annulus::limits::READ_ANSWER_BYTES_MAX;
use client_frames::text_frame;
use host::Host;

const OPS: usize = 1_000;

#[test]
fn a_ping_is_answered_in_its_turn_beside_an_importer_whose_messages_take_turns() {
    let mut host = Host::new(|_| {});
    let (importer, victim) = (host.open(), host.open());
    let messages: Vec<u8> = (0..20).flat_map(import).collect();
    host.receive(importer, &messages);
    host.receive(victim, &text_frame(br#"{"type":"ping"}"#));
    host.turn();
    assert_eq!(host.texts(victim).len(), 1, "the ping was answered in the turn in which it came");
    let one_message = work::decoded(messages.len() / 20) + OPS as u64 * (work::CELL + 1);
    let (mut turns, mut acks) = (1, host.acks(importer));
    while acks < 20 {
        host.turn();
        turns += 1;
        acks += host.acks(importer);
        assert!(turns < 100, "the importer is served");
        assert!(host.work() <= work::TURN_MAX + one_message, "{} units in one turn", host.work());
    }
    assert!(turns >= 10, "20 messages of 1000 operations took {turns} turns");
}

#[test]
fn a_chunk_of_the_smallest_entries_fits_into_a_turn_that_has_done_what_it_may() {
    const COUNTERS: usize = 8 * OPS;
    let mut host = Host::new(|_| {});
    let (writer, watcher) = (host.open(), host.open());
    for first in (0..COUNTERS).step_by(OPS) {
        let op = |n| format!(r#"{{"map":"c","key":"{n:x}","op":"increment","by":1}}"#);
        let ops: Vec<String> = (first..first + OPS).map(op).collect();
        let write = format!(r#"{{"type":"write","id":1,"ops":[{}]}}"#, ops.join(","));
        host.receive(writer, &text_frame(write.as_bytes()));
        while host.acks(writer) == 0 {
            host.turn();
        }
    }
    host.receive(watcher, &text_frame(br#"{"type":"subscribe","map":"c"}"#));
    let mut seen = 0;
    while seen < COUNTERS {
        host.turn();
        seen += host.texts(watcher).iter().map(|text| text.matches("\"count\"").count()).sum::<usize>();
        assert!(host.work() <= work::TURN_MAX * 3 / 2, "{} units in one turn", host.work());
    }
}

#[test]
fn importers_take_turns() {
    let mut host = Host::new(|_| {});
    let importers: Vec<ConnectionId> = (0..4).map(|_| host.open()).collect();
    // The first has sent far more than the others.
    for (place, &importer) in importers.iter().enumerate() {
        let count = if place == 0 { 40 } else { 5 };
        let messages: Vec<u8> = (0..count).flat_map(import).collect();
        host.receive(importer, &messages);
    }
    let mut acks = [0; 4];
    for _ in 0..200 {
        host.turn();
        for (acks, &importer) in acks.iter_mut().zip(&importers) {
            *acks += host.acks(importer);
        }
        let of_small = &acks[1..];
        if of_small.iter().all(|&acks| acks == 5) {
            assert!(acks[0] <= 8, "the others were done when the first had {} of its 40", acks[0]);
            return;
        }
    }
    panic!("the others have {acks:?} acks");
}

#[test]
fn connections_that_wait_for_an_end_of_their_own_cost_a_turn_nothing() {
    let mut host = Host::new(|config| config.outbox_soft_bytes = 4 << 10);
    let writer = host.open();
    let value = "x".repeat(8 << 10);
    host.receive(writer, &text_frame(write_one("m", "k", &format!("\"{value}\"")).as_bytes()));
    host.turn();
    let readers: Vec<ConnectionId> = (0..500).map(|_| host.open()).collect();
    for &reader in &readers {
        let read = text_frame(br#"{"type":"read","map":"m","keys":["k"]}"#);
        let ping = text_frame(br#"{"type":"ping"}"#);
        host.receive(reader, &[read.as_slice(), &ping].concat());
    }
    host.takes_bytes = false;
    (0..20).for_each(|_| host.turn());
    host.turn();
    assert_eq!(host.work(), 0, "500 connections wait for their outboxes");
    host.takes_bytes = true;
    (0..20).for_each(|_| host.turn());
    for &reader in &readers {
        assert!(host.texts(reader).iter().any(|text| text.contains("pong")), "each went on when it could");
    }
}

#[test]
fn messages_that_arrive_one_by_one_have_no_more_of_a_turn_than_in_one_piece() {
    let mut host = Host::new(|_| {});
    let (reader, writer) = (host.open(), host.open());
    let value = format!("\"{}\"", "x".repeat(20 << 10));
    host.receive(writer, &text_frame(write_one("m", "k", &value).as_bytes()));
    host.turn();
    let read = text_frame(br#"{"type":"read","map":"m","keys":["k"]}"#);
    (0..200).for_each(|_| host.receive(reader, &read));
    let mut turns = 0;
    let mut answers = 0;
    while answers < 200 {
        host.turn();
        (turns, answers) = (turns + 1, answers + host.texts(reader).len());
        assert!(host.work() <= 2 * work::CONNECTION_MAX, "{} units in one turn", host.work());
        assert!(turns < 1_000, "{answers} of 200 answers");
    }
}

#[test]
fn large_answers_asked_for_in_one_turn_are_made_over_many() {
    let mut host = Host::new(|_| {});
    let writer = host.open();
    let value = format!("\"{}\"", "x".repeat(200 << 10));
    for key in 0..11 {
        host.receive(writer, &text_frame(write_one("m", &format!("k{key}"), &value).as_bytes()));
    }
    (0..20).for_each(|_| host.turn());
    let read = |count: usize| {
        let keys = (0..count).map(|key| format!("\"k{key}\"")).collect::<Vec<_>>().join(",");
        text_frame(format!(r#"{{"type":"read","map":"m","keys":[{keys}]}}"#).as_bytes())
    };
    let readers: Vec<ConnectionId> = (0..30).map(|_| host.open()).collect();
    readers.iter().for_each(|&reader| host.receive(reader, &read(9)));
    let mut answers = 0;
    for _ in 0..40 {
        host.turn();
        let one_answer = work::encoded(READ_ANSWER_BYTES_MAX) + 10 * work::CELL;
        assert!(host.work() <= work::TURN_MAX / 2 + one_answer, "{} units in one turn", host.work());
        answers += readers.iter().map(|&reader| host.texts(reader).len()).sum::<usize>();
    }
    assert_eq!(answers, 30, "all are answered");
    host.receive(readers[0], &read(11));
    host.turn();
    let text = host.texts(readers[0]).pop().unwrap();
    assert!(text.contains("too_large"), "more than one answer of many keys may take: {text:.100}");
}

#[test]
fn a_message_in_a_thousand_frames_of_one_byte_counts_them() {
    let mut host = Host::new(|_| {});
    let client = host.open();
    // A text that begins and goes on for ever, a byte a frame.
    let fragments: Vec<u8> = std::iter::once(client_frames::frame(0x01, b"x"))
        .chain((0..8 * 1_000).map(|_| client_frames::frame(0x00, b"x")))
        .flatten()
        .collect();
    host.receive(client, &fragments);
    host.turn();
    let all = work::FRAGMENT * 8_000;
    assert!(host.work() >= all / 2 && host.work() <= work::CONNECTION_MAX + 2_000, "{}", host.work());
}

/// The `n`th message of an importer.
fn import(n: usize) -> Vec<u8> {
    let op = |k: usize| format!(r#"{{"map":"m","key":"k{}","op":"set","value":{k}}}"#, n * OPS + k);
    let ops = (0..OPS).map(op).collect::<Vec<_>>().join(",");
    text_frame(format!(r#"{{"type":"write","id":{n},"ops":[{ops}]}}"#).as_bytes())
}

fn write_one(map: &str, key: &str, value: &str) -> String {
    format!(r#"{{"type":"write","id":1,"ops":[{{"map":"{map}","key":"{key}","op":"set","value":{value}}}]}}"#)
}

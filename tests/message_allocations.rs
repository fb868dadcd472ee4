//! Goal: in the steady state messages are read and written without allocating. Method: an allocator that
//! counts what this thread asks it for.

mod counting_allocator;

use annulus::crdt::{MapType, Stamp, Time};
use annulus::dialect::native::encode::*;
use annulus::dialect::native::message::{Action, Message, Request};
use annulus::dialect::native::plain::{PlainRoom, PlainWrite};
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::shard::{AckLevel, Ops, SnapshotEnd};
use annulus::wire::json::Parser;
use annulus::wire::{Cursor, Payload, Reject, Scope, Ticket};

use counting_allocator::allocations;

/// Allocations of `work` after two rounds that grow every buffer to its size.
fn steady_allocations(mut work: impl FnMut()) -> u64 {
    work();
    work();
    let before = allocations();
    for _ in 0..100 {
        work();
    }
    allocations() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(steady_allocations(|| drop(std::hint::black_box(Box::new(1)))), 100);
}

#[test]
fn reading_messages_allocates_nothing() {
    let write = concat!(
        r#"{"type":"write","id":"0190c5a4-7e2d-7c3b-9a41-5f3d2b1c0e9f","ops":["#,
        r#"{"map":"m","key":"k","op":"set","value":{"b":[1.5,"x\n"],"a":{"d":1,"c":2}},"at":"1:0:n"},"#,
        r#"{"map":"m","key":"k","op":"add","value":{"a":1,"b":2},"tag":"t"},"#,
        r#"{"map":"m","key":"k","op":"remove","tags":["t","u"]},"#,
        r#"{"map":"m","key":"","op":"delete"},"#,
        r#"{"map":"m","key":"k","op":"increment","by":1}]}"#,
    );
    // Messages of several shapes and sizes take turns. Refused ones may allocate: what is wrong with them is looked for.
    let messages = [r#"{"type":"ping","id":7}"#, write];
    let mut parser = Parser::new();
    let (mut padded, mut canonical) = (Vec::new(), Vec::new());
    let mut ops_read = 0;
    let allocations = steady_allocations(|| {
        for json in messages {
            padded.clear();
            padded.extend_from_slice(json.as_bytes());
            padded.extend_from_slice(&[0; PARSE_PADDING_BYTES]);
            let Ok(object) = parser.parse(Payload::new(&mut padded, json.len())) else { continue };
            let message = Message::new(&object);
            let id = message.id().map(|id| id.to_ticket());
            assert!(id.is_some());
            if let Ok(Request::Write { ops, .. }) = message.request() {
                for op in ops.clone().flatten().chain(ops.flatten()) {
                    canonical.clear();
                    if let Action::Set { value, .. } | Action::Add { value, .. } = op.action {
                        value.write_canonical(&mut canonical);
                    }
                    ops_read += 1;
                }
            }
            parser.recycle(object);
        }
    });
    assert_eq!(ops_read, 102 * 2 * 4, "four of the five operations are good, and each is read twice");
    assert_eq!(allocations, 0);
}

#[test]
fn reading_plain_writes_allocates_nothing() {
    let message = |value: &str| {
        format!(
            r#"{{"type":"write","id":"0190c5a4-7e2d-7c3b","ops":[{{"map":"m","key":"k","op":"set","value":{value}}},{{"map":"m","key":"k","op":"remove","tags":["t","u"]}}]}}"#
        )
    };
    // In canonical form, and out of order.
    let messages = [r#"{"a":1,"b":[2]}"#, r#"{"b":[{"d":1,"c":2}],"a":1}"#].map(message);
    let (mut room, mut scratch, mut ops_read) = (PlainRoom::default(), Vec::new(), 0);
    let allocations = steady_allocations(|| {
        for json in &messages {
            let write = PlainWrite::read(json, 100, &mut room).expect("it is plain");
            write.ops().for_each(&mut scratch, |op| ops_read += usize::from(op.is_ok()));
            room.keep(write);
        }
    });
    assert_eq!(ops_read, 102 * 2 * 2);
    assert_eq!(allocations, 0);
}

#[test]
fn writing_messages_allocates_nothing() {
    let at = Stamp::parse("1700000000000:3:n-1").unwrap();
    let cursor = Cursor { epoch: 1, time: Time::new(2, 3), scope: Scope::of_map("m") };
    let id: Option<Ticket> = None;
    let mut out = Vec::new();
    let allocations = steady_allocations(|| {
        out.clear();
        pong(&mut out, id.as_ref(), &at);
        change_start(&mut out, "m");
        for key in ["a", "b\n", "c"] {
            separate_entries(&mut out);
            entry_lww(&mut out, key, &at, Some(b"{}"), 0);
        }
        separate_entries(&mut out);
        entry_or(&mut out, "k", [("t", &b"1"[..], at)].into_iter(), ["u"].into_iter());
        separate_entries(&mut out);
        entry_counter(&mut out, "k", 1);
        change_end(&mut out, cursor);
        snapshot_start(&mut out, id.as_ref(), "m", Some(MapType::Lww));
        snapshot_end(&mut out, SnapshotEnd::Last { cursor, resumed: false, reset: false });
        let outcome = Ack { level: AckLevel::Memory, applied: 1, timeout: true };
        let rejected = [(1, Reject::Overloaded { retry_after_ms: 5 })];
        ack(&mut out, id.as_ref(), outcome, [Some(at), None].into_iter(), rejected.into_iter());
        digest(&mut out, id.as_ref(), "m", 1, 2);
        unsubscribed(&mut out, id.as_ref(), "m");
        error(&mut out, id.as_ref(), Reject::Timeout);
    });
    assert_eq!(allocations, 0);
}

//! Frames for clients: a change, as every subscriber gets it, and an ack.

use std::hint::black_box;

use annulus::crdt::{Node, Stamp, Time};
use annulus::dialect::native::encode::{Ack, ack, change_end, change_start, entry_lww, separate_entries};
use annulus::dialect::native::message::RequestId;
use annulus::shard::AckLevel;
use annulus::wire::websocket::{Opcode, begin_frame, end_frame};
use annulus::wire::{Cursor, Scope, Ticket};

use super::{Meter, one};

const NOW_MS: u64 = 1_700_000_000_000;

pub fn measure(meter: &mut impl Meter) {
    change(meter, "change of 1", 1);
    change(meter, "change of 16", 16);
    ack_of_ten(meter);
}

fn change(meter: &mut impl Meter, name: &'static str, entries: usize) {
    let keys: Vec<String> = (0..entries).map(|number| format!("item-{number:04}")).collect();
    let cursor =
        Cursor { epoch: 0x0123_4567_89ab_cdef, time: Time::new(NOW_MS, 1), scope: Scope::of_map("todos") };
    let (value, at) = ([b'1'; 100], stamp(1));
    let mut out = Vec::new();
    meter.steady(one("encode", name), || {
        out.clear();
        let start = begin_frame(&mut out);
        change_start(&mut out, "todos");
        for key in black_box(&keys) {
            separate_entries(&mut out);
            entry_lww(&mut out, key, &at, Some(&value), 0);
        }
        change_end(&mut out, cursor);
        end_frame(&mut out, start, Opcode::Text);
        assert!(black_box(&out).len() > entries * value.len());
    });
}

fn ack_of_ten(meter: &mut impl Meter) {
    let stamps: Vec<Stamp> = (0..10).map(stamp).collect();
    let id: Ticket = RequestId::Text("0190c5a4-7e2d-7c3b").to_ticket();
    let outcome = Ack { level: AckLevel::Memory, applied: stamps.len(), timeout: false };
    let mut out = Vec::new();
    meter.steady(one("encode", "ack of 10"), || {
        out.clear();
        let start = begin_frame(&mut out);
        let stamps = black_box(&stamps).iter().copied().map(Some);
        ack(&mut out, Some(&id), outcome, stamps, std::iter::empty());
        end_frame(&mut out, start, Opcode::Text);
        assert!(black_box(&out).len() > 200);
    });
}

fn stamp(counter: u16) -> Stamp {
    Stamp { time: Time::new(NOW_MS, counter), node: Node::new(b"annulus").expect("a plain name") }
}

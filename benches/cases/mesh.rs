//! A hop over the mesh: operations packed on one shard, sealed, taken and unpacked on another.
//!
//! Both ends run on one thread, so this is the work of a hop without the way between two caches.

use std::hint::black_box;

use annulus::crdt::{Clock, Node};
use annulus::mesh::{
    Action, At, ConnectionId, Item, KeyHasher, Outgoing, PackedWrite, ReplyTo, Request, ShardIndex, Write,
    connect,
};

use super::{Meter, many};

const OPS: u32 = 10;
const TARGET: ShardIndex = 1;

pub fn measure(meter: &mut impl Meter) {
    let mut ports = connect(2);
    let mut incoming =
        ports.pop().expect("two shards").incoming.swap_remove(0).expect("a queue from the other");
    let mut outgoing = Outgoing::new(ports.pop().expect("two shards").outgoing);
    let mut clock = Clock::new(Node::new(b"annulus").expect("a plain name"));

    let hasher = KeyHasher::new(0);
    let map_hash = hasher.map("todos");
    let value = [b'1'; 100];
    let connection = ConnectionId { index: 0, generation: 1 };
    let write = Write {
        map: "todos",
        map_hash,
        key: "item-0001",
        key_hash: hasher.key(map_hash, "item-0001"),
        action: Action::Set { value: &value, at: At::Now, ttl_ms: None },
        view: None,
    };
    meter.steady(many("mesh", "write, 10 a hop", u64::from(OPS)), || {
        for index in 0..OPS {
            let reply = ReplyTo { shard: 0, slot: 0, serial: 0, index, connection };
            let envelope = outgoing.filling(TARGET);
            let write = PackedWrite::pack(black_box(&write), &mut envelope.bytes);
            envelope.items.push(Item::Request(Request::Write { reply, write }));
        }
        outgoing.seal(clock.tick(0), 0, false, |target| assert_eq!(target, TARGET));

        let envelope = incoming.pop().expect("the envelope has come");
        let mut unpacked = 0;
        for item in envelope.items {
            if let Item::Request(Request::Write { reply, write }) = item {
                let write = black_box(write.unpack(&envelope.bytes));
                assert_eq!((reply.index, write.key.len()), (unpacked, 9));
                unpacked += 1;
            }
        }
        assert_eq!(unpacked, OPS);
    });
}

//! The journal allocates nothing while it writes into one segment, once it has warmed up.
//!
//! Method: an allocator that counts what this thread asks it for.

mod counting_allocator;

use annulus::config::Fsync;
use annulus::crdt::{Delta, Node, Stamp, Time};
use annulus::handover::Batch;
use annulus::storage::{Journal, JournalOptions, Spare, Step};

use counting_allocator::allocations;

const SHARDS: usize = 2;
const ROUNDS: u64 = 1_000;

#[test]
fn a_group_allocates_nothing_in_steady_state() {
    run(None);
}

#[test]
fn nor_does_one_in_a_segment_that_was_prepared() {
    run(Some(Spare { name: "journal/spare.1".to_owned(), bytes: 64 << 20 }));
}

fn run(spare: Option<Spare>) {
    let options = JournalOptions {
        epoch: 1,
        next_sequence: 1,
        segment_bytes: 64 << 20,
        fsync: Fsync::Always,
        shards: SHARDS,
    };
    let mut journal = Journal::new(options, || 7);
    spare.into_iter().for_each(|spare| journal.add_spare(spare));
    let mut spare: [Vec<Vec<u8>>; SHARDS] = [vec![Vec::new(); 2], vec![Vec::new(); 2]];
    let mut round = |number: u64| {
        for (shard, spare) in spare.iter_mut().enumerate() {
            let bytes = spare.pop().expect("what was pushed has come back");
            let mut batch = Batch { number, bytes, ..Batch::default() };
            let at = Stamp { time: Time::from_bits(number), node: Node::new(b"node-1").expect("a name") };
            for _ in 0..10 + number % 3 {
                batch.push("map", b"key", &Delta::Lww { at, value: Some(b"12345"), expires_ms: 0 }, at.time);
            }
            journal.push(shard, batch);
        }
        while let Some(step) = journal.next_step(number) {
            let bytes = if let Step::Write { bytes, .. } = step { Some(bytes) } else { None };
            journal.step_done(number, bytes);
        }
        while let Some((shard, bytes)) = journal.take_recycled() {
            spare[shard].push(bytes);
        }
        assert_eq!(journal.durable(1).batch, number);
    };
    (1..20).for_each(&mut round);
    let before = allocations();
    (20..20 + ROUNDS).for_each(&mut round);
    let during = allocations() - before;
    assert_eq!(during, 0, "allocations in {ROUNDS} groups");
}

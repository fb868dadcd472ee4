//! The journal allocates nothing while it writes into one segment, once it has warmed up.
//!
//! Method: a global allocator that counts. One test in this file, so that no other thread is counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use annulus::config::Fsync;
use annulus::crdt::{Delta, Node, Stamp, Time};
use annulus::handover::Batch;
use annulus::storage::{Journal, JournalOptions, Step};

#[global_allocator]
static COUNTING: Counting = Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[allow(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call goes to the system allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from `System` with this layout, as all blocks here do.
        unsafe { System.dealloc(block, layout) }
    }
}

const SHARDS: usize = 2;
const ROUNDS: u64 = 1_000;

#[test]
fn a_group_allocates_nothing_in_steady_state() {
    let options = JournalOptions {
        epoch: 1,
        next_sequence: 1,
        segment_bytes: 64 << 20,
        fsync: Fsync::Always,
        shards: SHARDS,
    };
    let mut journal = Journal::new(options, || 7);
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
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (20..20 + ROUNDS).for_each(&mut round);
    let during = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(during, 0, "allocations in {ROUNDS} groups");
}

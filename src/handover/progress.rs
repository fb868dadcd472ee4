//! How far the storage is, for every shard to see: written by the storage, read by all.
//!
//! Invariant: every number only grows, except `read_only`, `write_rate` and `asleep`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::crdt::Time;
use crate::metrics::StorageMetrics;

/// One for the whole process.
#[derive(Debug)]
pub struct Progress {
    shards: Box<[ShardProgress]>,
    /// No tick above this was found at start or is durable since; cursors stay below it.
    durable_clock: AtomicU64,
    /// The disk is almost full: writes are refused.
    read_only: AtomicBool,
    /// Bytes of writes that each shard may take from its clients in a second; 0: as many as come.
    write_rate: AtomicU64,
    /// The service thread waits for its event, so whoever hands something over must wake it.
    asleep: AtomicBool,
    metrics: StorageMetrics,
}

/// What concerns one shard.
#[derive(Debug, Default)]
#[repr(align(128))] // Shards on different cores must not share a cache line.
pub struct ShardProgress {
    /// The last batch of this shard that is durable (with `--fsync never`: written).
    durable: AtomicU64,
    /// Bytes of its batches that are durable.
    durable_bytes: AtomicU64,
    /// Every change of this shard up to this tick is in the base.
    folded: AtomicU64,
    /// The shard waits for something to become durable, of its own or of another shard.
    wants_wake: AtomicBool,
}

impl Progress {
    pub fn new(shards: usize, clock: Time) -> Self {
        let shard = |_| ShardProgress { folded: AtomicU64::new(clock.to_bits()), ..Default::default() };
        Self {
            shards: (0..shards).map(shard).collect(),
            durable_clock: AtomicU64::new(clock.to_bits()),
            read_only: AtomicBool::new(false),
            write_rate: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            metrics: StorageMetrics::default(),
        }
    }

    /// What the storage counts about itself.
    pub fn metrics(&self) -> &StorageMetrics {
        &self.metrics
    }

    pub fn shard(&self, index: usize) -> &ShardProgress {
        &self.shards[index]
    }

    pub fn durable_clock(&self) -> Time {
        Time::from_bits(self.durable_clock.load(Ordering::Acquire))
    }

    pub fn advance_durable_clock(&self, to: Time) {
        self.durable_clock.fetch_max(to.to_bits(), Ordering::AcqRel);
    }

    pub fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Release);
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Bytes of writes that each shard may take from its clients in a second; 0: as many as come.
    pub fn write_rate(&self) -> u64 {
        self.write_rate.load(Ordering::Relaxed)
    }

    pub fn set_write_rate(&self, bytes_per_second: u64) {
        // Mostly it stays, and the cache line with it.
        if self.write_rate() != bytes_per_second {
            self.write_rate.store(bytes_per_second, Ordering::Relaxed);
        }
    }

    /// Whether the service thread must be woken; whoever is told so must do it.
    pub fn take_asleep(&self) -> bool {
        // The plain load keeps the cache line shared while the service thread is busy. It must not be reordered
        // before the push into the queue, or a wake would be lost.
        std::sync::atomic::fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst)
    }

    /// The service thread is about to wait: after this it must look at its queues once more.
    pub fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    pub fn stay_awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

impl ShardProgress {
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub fn durable_bytes(&self) -> u64 {
        self.durable_bytes.load(Ordering::Acquire)
    }

    /// Batches up to `batch`, which have `bytes` in all since the start, are durable.
    pub fn set_durable(&self, batch: u64, bytes: u64) {
        self.durable_bytes.store(bytes, Ordering::Release);
        self.durable.store(batch, Ordering::SeqCst);
    }

    pub fn folded(&self) -> Time {
        Time::from_bits(self.folded.load(Ordering::Acquire))
    }

    pub fn set_folded(&self, through: Time) {
        self.folded.fetch_max(through.to_bits(), Ordering::AcqRel);
    }

    /// The shard wants to be woken when anything becomes durable. It must look at what is durable once more after
    /// this, or it may miss the wake.
    pub fn want_wake(&self) {
        self.wants_wake.store(true, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Whether the shard must be woken; whoever is told so must do it.
    pub fn take_wants_wake(&self) -> bool {
        std::sync::atomic::fence(Ordering::SeqCst);
        self.wants_wake.load(Ordering::Relaxed) && self.wants_wake.swap(false, Ordering::SeqCst)
    }
}

//! Recovery, in the order in which `src/server.rs` does it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use annulus::handover::{Progress, StoragePort, connect};
use annulus::mesh::KeyHasher;
use annulus::storage::{
    Base, Format, Journal, JournalOptions, RecoveryOptions, Room, StorageError, Tail, adopt, recover,
    spare_number,
};

use super::{Counts, Now, Service, Unfolded};
use crate::disk::SimDisk;
use crate::random::Random;
use crate::scenario::StorageSpec;

/// Bytes of the base that redb keeps.
const CACHE_BYTES: usize = 1 << 20;

/// A disk that has room again as soon as it was asked.
#[derive(Debug)]
struct SomeRoom;

impl Room for SomeRoom {
    fn free(&self) -> u64 {
        u64::MAX
    }

    fn floor(&self) -> u64 {
        0
    }

    fn wait(&self) -> bool {
        true
    }
}

impl Service {
    /// Opens what is on the disk for so many shards, and gives them their ends of the queues.
    pub fn start(
        disk: &SimDisk,
        spec: &StorageSpec,
        shards: usize,
        now: Now,
        random: &mut Random,
        counts: Counts,
    ) -> Result<(Self, Vec<StoragePort>), StorageError> {
        let fresh = Format { epoch: random.next(), secret: random.next(), node: "sim".to_owned() };
        let format = Format::load_or_create(disk, || fresh)?;
        let hasher = KeyHasher::new(format.secret);
        let base = Base::open(disk, hasher, CACHE_BYTES)?.with_transaction_records(spec.transaction_records);
        let mut tail = Tail::new(hasher, base.folded());
        let options =
            RecoveryOptions { epoch: format.epoch, folded: base.folded(), salvage: false, read_only: false };
        let recovered = recover(disk, options, &mut |record, location| tail.add(record, location))?;
        assert!(recovered.lost.is_empty(), "a power cut is no damage: {recovered:?}");
        tail.attach(disk, &recovered.segments)?;
        base.follow(&tail)?;
        base.heed(Arc::new(SomeRoom));
        let clock = base.clock().max(recovered.clock);
        let spares = adopt(disk, spec.spare_bytes, 2).map_err(StorageError::io("look for", "spare files"))?;
        let spare_number = spares.iter().filter_map(|spare| spare_number(&spare.name)).max().unwrap_or(0);
        let mut salts = Random::new(random.next());
        let options = JournalOptions {
            epoch: format.epoch,
            next_sequence: recovered.next_sequence,
            segment_bytes: spec.segment_bytes,
            fsync: spec.fsync,
            shards,
        };
        let (shard_ends, ports) = connect(shards).into_iter().unzip();
        let found = |segment: annulus::storage::RecoveredSegment| {
            Unfolded::found(segment.name, segment.next_sequence)
        };
        let mut journal = Journal::new(options, move || salts.next() as u32);
        spares.into_iter().for_each(|spare| journal.add_spare(spare));
        let service = Self {
            disk: disk.clone(),
            spec: spec.clone(),
            format,
            progress: Arc::new(Progress::new(shards, clock)),
            clock,
            base,
            tail,
            journal,
            ports,
            file: None,
            under_way: None,
            is_reused: false,
            spare_number,
            may_step: false,
            untold: vec![false; shards + 1],
            types: BTreeMap::new(),
            asked: Vec::new(),
            look_ups: Vec::new(),
            held_until_us: 0,
            outgoing: (0..shards).map(|_| VecDeque::new()).collect(),
            unfolded: recovered.segments.into_iter().map(found).collect(),
            checkpoint_at_us: now.us + spec.checkpoint_interval_us,
            fold_at_us: now.us + spec.fold_us,
            has_unrolled: false,
            is_asleep: false,
            is_woken: false,
            is_calm: false,
            woken: Vec::new(),
            counts,
        };
        Ok((service, shard_ends))
    }
}

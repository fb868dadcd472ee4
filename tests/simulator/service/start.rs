//! Recovery, in the order in which `src/server.rs` does it.

use std::collections::VecDeque;
use std::sync::Arc;

use annulus::handover::{Progress, StoragePort, connect};
use annulus::mesh::KeyHasher;
use annulus::service::{Segments, Types, follow_timeline, read_journal};
use annulus::storage::{
    Base, FinishedSegment, Format, Journal, JournalOptions, RecoveredSegment, Room, StorageError, adopt,
    spare_number,
};

use super::{Counts, Now, Service};
use crate::disk::SimDisk;
use crate::random::Random;
use crate::scenario::{NODE, StorageSpec};

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
        let fresh @ [epoch, secret] = [random.next(), random.next()];
        let format = Format::load_or_create(disk, || Format { epoch, secret, node: NODE.to_owned() })?;
        let hasher = KeyHasher::new(format.secret);
        let base =
            Base::open(disk, hasher, spec.cache_bytes)?.with_transaction_records(spec.transaction_records);
        let (tail, recovered) = read_journal(disk, &format, &base, false, &mut || {})?;
        assert!(recovered.lost.is_empty(), "a power cut is no damage: {recovered:?}");
        let clock = base.clock().max(recovered.clock);
        let (timeline, _) = follow_timeline(disk, &format, clock, false, fresh)?;
        let cleared_at_start = base.cleared_through()?;
        base.heed(Arc::new(SomeRoom));
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
        let segments = Segments::default();
        for segment in recovered.segments {
            let RecoveredSegment { name, next_sequence, bytes, .. } = segment;
            let (last_applied, prepared_bytes) = (Vec::new(), None);
            segments.finished(FinishedSegment { name, next_sequence, bytes, last_applied, prepared_bytes });
        }
        let mut journal = Journal::new(options, move || salts.next() as u32);
        spares.into_iter().for_each(|spare| journal.add_spare(spare));
        let service = Self {
            disk: disk.clone(),
            spec: spec.clone(),
            format,
            timeline,
            progress: Arc::new(Progress::new(shards, clock)),
            clock,
            cleared_at_start,
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
            types: Types::default(),
            asked: Vec::new(),
            look_ups: Vec::new(),
            held_until_us: 0,
            loading: None,
            outgoing: (0..shards).map(|_| VecDeque::new()).collect(),
            segments,
            folding: None,
            checkpoint_at_us: now.us + spec.checkpoint_interval_us,
            fold_at_us: now.us + random.below(spec.fold_us as usize + 1) as u64,
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

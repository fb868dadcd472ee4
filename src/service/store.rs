//! Opens a data directory: everything between the flags and the first request. `docs/storage.md`, "Recovery".

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use rtrb::Consumer;

use super::data_set::{follow_timeline, read_journal};
use super::drains::Drains;
use super::parts::Parts;
use super::place::Place;
use super::pressure::Pressure;
use super::room::Room;
use super::segments::Segments;
use super::shards::Shards;
use super::spares::Spares;
use super::types::Types;
use crate::config::{Config, StorageConfig};
use crate::crdt::Time;
use crate::handover::{Progress, ShardPort, StoragePort, ToStorage, connect};
use crate::io::{Clock, Control, Event};
use crate::limits::TAKEOVER_WAIT_MS;
use crate::mesh::KeyHasher;
use crate::shard::SharedStorage;
use crate::storage::clock::roughly;
use crate::storage::{
    BASE_FILE, Base, FinishedSegment, Fork, Format, HostDisk, Lock, Recovered, RecoveredSegment,
    Room as RoomOnDisk, StorageError, Tail, check_ours, open_to_others,
};

/// What redb may hold of the base in memory, at the least and at the most: a checkpoint wants the inner pages of its
/// trees, and a load reads each page once.
const BASE_CACHE_BYTES_MIN: usize = 8 << 20;
const BASE_CACHE_BYTES_MAX: usize = 64 << 20;
/// Records after which recovery looks at the clock, and how often it says how far it is.
const RECORDS_PER_LOOK: u64 = 1 << 16;
const REPORT_EVERY_NS: u64 = 1_000_000_000;

/// A data directory that this process holds, with everything that the threads of its storage need.
pub struct Store {
    pub(super) parts: Arc<Parts>,
    pub(super) from_shards: Vec<Consumer<ToStorage>>,
    /// Of the next record.
    pub(super) next_sequence: u64,
    /// No tick in the data set is above this.
    clock_floor: Time,
    /// All maps were dropped at this tick.
    cleared_through: Time,
}

/// What opening a data directory takes.
pub struct Opening<'a> {
    /// Its node name is that of a new data set.
    pub config: &'a Config,
    pub storage: &'a StorageConfig,
    /// On its directory.
    pub lock: Lock,
    /// One for each shard.
    pub controls: &'a [Control],
    /// What ends their service.
    pub drains: Drains,
    /// Wakes the service thread.
    pub event: Event,
    pub clock: Clock,
    /// Random numbers: epoch and hash secret of a new data set, or epoch and incarnation of one that was copied.
    pub fresh: [u64; 2],
}

impl Store {
    /// Reads what is in the directory, and says in the log what was found. Also gives the shards' ends of
    /// the queues.
    ///
    /// # Errors
    /// [`StorageError`], which says what to do.
    pub fn open(opening: Opening<'_>) -> Result<(Self, Vec<StoragePort>), StorageError> {
        let Opening { config, storage, lock, controls, drains, event, clock, fresh: [epoch, secret] } =
            opening;
        let root = &storage.data_dir;
        let disk = HostDisk::with_mode(root, storage.data_mode);
        let disk = disk.map_err(StorageError::io("make", root.display().to_string()))?;
        let format = Format::load_or_create(&disk, || Format { epoch, secret, node: config.node.clone() })?;
        if let Some(open) = open_to_others(root, storage.data_mode) {
            tracing::warn!("{open}");
        }
        let hasher = KeyHasher::new(format.secret);
        let cache_bytes = match config.memory_limit_bytes {
            0 => BASE_CACHE_BYTES_MAX,
            limit => (limit / 4).clamp(BASE_CACHE_BYTES_MIN, BASE_CACHE_BYTES_MAX),
        };
        let base = Base::open(&disk, hasher, cache_bytes)?
            .salvaging(storage.salvage)
            .with_memory_limit(config.memory_limit_bytes);
        let base_place = Place::of(disk.path(BASE_FILE)).map_err(StorageError::io("read", BASE_FILE))?;
        let (tail, recovered) = read_and_report(&disk, storage, &format, &base, &clock)?;
        let clock_floor = recovered.clock.max(base.clock());
        let has_lost = !recovered.lost.is_empty();
        let (timeline, fork) = follow_timeline(&disk, &format, clock_floor, has_lost, [epoch, secret])?;
        warn_if_forked(fork, &timeline.node(&format.node));
        let cleared_through = base.cleared_through()?;
        warn_if_ahead(clock_floor, clock.now().unix_ms, config.clock_drift_max_ms);

        let (to_storage, ports): (Vec<_>, Vec<_>) = connect(controls.len()).into_iter().unzip();
        let halves = ports.into_iter().map(|ShardPort { from_shard, to_shard }| (from_shard, to_shard));
        let (from_shards, to_shards): (Vec<_>, Vec<_>) = halves.unzip();
        let progress = Arc::new(Progress::new(controls.len(), clock_floor));
        let room = Room::new(root.clone(), storage.disk_reserve_bytes, Arc::clone(&progress));
        let room = Arc::new(room);
        // Not before: what a start itself writes has its place already, and must not wait for more.
        base.heed(Arc::clone(&room) as Arc<dyn RoomOnDisk>);
        let parts = Parts {
            config: storage.clone(),
            disk,
            format,
            timeline,
            base,
            base_place,
            tail,
            types: Types::default(),
            segments: Segments::default(),
            spares: Spares::new(storage),
            room,
            pressure: Pressure::new(storage.journal_bytes_max, storage.segment_bytes, Arc::clone(&progress)),
            shards: Shards::new(to_shards, controls.to_vec()),
            drains,
            progress,
            clock: clock.clone(),
            retention_ms: config.tombstone_retention_ms,
            event,
            is_stopping: AtomicBool::new(false),
            _lock: lock,
        };
        parts.progress.metrics().checkpoint_unix_ms.set(clock.now().unix_ms);
        for segment in recovered.segments {
            // Without ticks: what is found at start is folded as far as the shards are concerned, as loads read it. So it is
            // not used again, either.
            let RecoveredSegment { name, next_sequence, bytes, .. } = segment;
            parts.finished(FinishedSegment {
                name,
                next_sequence,
                bytes,
                last_applied: Vec::new(),
                prepared_bytes: None,
            });
        }
        // Before the first request, which may come before the first look of the thread.
        parts.room.look();
        let next_sequence = recovered.next_sequence;
        let store = Self { parts: Arc::new(parts), from_shards, next_sequence, clock_floor, cleared_through };
        Ok((store, to_storage))
    }

    /// The name of this history of the data set in cursors.
    pub fn epoch(&self) -> u64 {
        self.parts.timeline.epoch
    }

    /// The name of this node: the one that was chosen, or else that of the node that made the data set, as it is called in
    /// this history of it.
    pub fn node(&self, chosen: Option<&str>) -> String {
        self.parts.timeline.node(chosen.unwrap_or(&self.parts.format.node))
    }

    /// Spreads the keys as they were spread when they were stored.
    pub fn hasher(&self) -> KeyHasher {
        KeyHasher::new(self.parts.format.secret)
    }

    /// What the shards must know.
    pub fn shared(&self) -> SharedStorage {
        SharedStorage {
            progress: Arc::clone(&self.parts.progress),
            clock_floor: self.clock_floor,
            cleared_through: self.cleared_through,
        }
    }
}

/// Says so where the data set has seen a clock that was further ahead than stamps of clients may be.
fn warn_if_ahead(stored: Time, unix_ms: u64, drift_max_ms: u64) {
    let ahead_ms = stored.millis().saturating_sub(unix_ms);
    if ahead_ms > drift_max_ms {
        tracing::warn!(
            ahead = roughly(ahead_ms),
            "the clock of this data set is ahead of the wall clock, as that of a host was once: what clients with a right \
             clock write with `at` loses to what is there, silently, until the wall clock has caught up; \
             `annulus clock` tells more and has a way out"
        );
    }
}

/// Says so where the data set goes on with another history than it had.
fn warn_if_forked(fork: Option<Fork>, node: &str) {
    match fork {
        Some(Fork::Copied) => tracing::warn!(
            node,
            "this data directory is a copy, such as a restored backup: what the original has changed since never happened \
             here, so clients that resume start over, and the node has a new name; the original must not serve the same \
             clients beside it"
        ),
        Some(Fork::Salvaged) => tracing::warn!(
            node,
            "changes were lost: clients that resume start over, and the node has a new name"
        ),
        None => {}
    }
}

/// Locks the data directory, for which it waits as long as an earlier server may need to end.
///
/// # Errors
/// [`StorageError`], which says who holds it, or that it is none of ours.
pub fn lock(config: &Config, storage: &StorageConfig, clock: &Clock) -> Result<Lock, StorageError> {
    let began_ns = clock.elapsed_ns();
    check_ours(&storage.data_dir)?;
    loop {
        match Lock::take_with(&storage.data_dir, storage.data_mode, &holder(config)) {
            Err(StorageError::InUse { .. })
                if clock.elapsed_ns() - began_ns < TAKEOVER_WAIT_MS * 1_000_000 =>
            {
                thread::sleep(RETRY_AFTER);
            }
            taken => return taken,
        }
    }
}

/// Before the next try at a directory in use.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// What another process is told that wants the same directory.
fn holder(config: &Config) -> String {
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    format!("process {}, which listens on {}", std::process::id(), listen.join(" and "))
}

fn read_and_report(
    disk: &HostDisk,
    storage: &StorageConfig,
    format: &Format,
    base: &Base,
    clock: &Clock,
) -> Result<(Tail, Recovered), StorageError> {
    let began_ns = clock.elapsed_ns();
    let mut reported_ns = began_ns;
    let mut records = 0_u64;
    let (tail, recovered) = read_journal(disk, format, base, storage.salvage, &mut || {
        records += 1;
        if records.is_multiple_of(RECORDS_PER_LOOK) && clock.elapsed_ns() - reported_ns >= REPORT_EVERY_NS {
            reported_ns = clock.elapsed_ns();
            tracing::info!("reading the journal: {records} records so far");
        }
    })?;
    report(&recovered, (clock.elapsed_ns() - began_ns) / 1_000_000);
    Ok((tail, recovered))
}

fn report(recovered: &Recovered, took_ms: u64) {
    let Recovered { segments, records, torn, lost, .. } = recovered;
    if !segments.is_empty() {
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        tracing::info!(
            "read {records} changes since the last checkpoint from {} segments, {} KiB, in {took_ms} ms",
            segments.len(),
            bytes >> 10
        );
    }
    if let Some(torn) = torn {
        tracing::warn!(
            "the last write before the server ended is incomplete: {} bytes of {} from byte {} on are cut off; unless \
             the disk is failing, none of it was acknowledged as durable",
            torn.bytes,
            torn.file,
            torn.offset
        );
    }
    for lost in lost {
        tracing::error!(
            "salvaged over damage: {} bytes of {} from byte {} on are lost",
            lost.bytes,
            lost.file,
            lost.offset
        );
    }
}

//! Goal: a log has after a restart what it had when the last durable batch was handed over, gives no offset twice, and says truly
//! whether anything is missing. Method: random histories over a shard's maps and a disk in the hands of the test, which forgets
//! the last batches at will; what is to be there is what a plain list had then.

use std::collections::BTreeSet;

use super::*;
use crate::config::Config;
use crate::crdt::{Cell, HashedKey, Map, MapType, State, Time};
use crate::handover::{self, Batch, Body, Chunk, FromStorage, Image, Progress, ShardPort, ToStorage};
use crate::mesh::{KeyHasher, Outgoing};
use crate::shard::{Now, Shared, SharedStorage};

const HASHER: KeyHasher = KeyHasher::new(1);
const TTL_MS: u64 = 5_000;

/// One life of the shard that has the log.
struct Life {
    turn: Turn,
    maps: Maps,
    port: ShardPort,
}

/// What outlasts it.
#[derive(Default)]
struct Disk {
    batches: Vec<Batch>,
}

impl Disk {
    /// The cells that were handed over, as a load brings them.
    fn chunk(&self, map: &Arc<str>) -> Chunk {
        let mut cells = Map::new(MapType::Lww);
        let hash = HASHER.map(map);
        let mut is_typed = false;
        for batch in &self.batches {
            let mut bytes = batch.bytes.clone();
            handover::seal(&mut bytes, 1, 0);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let record = handover::read_record(rest, 0).unwrap();
                rest = &rest[record.bytes..];
                is_typed = true;
                if let Body::Delta(delta) = record.body {
                    let key = HashedKey { hash: HASHER.key_bytes(hash, record.key), bytes: record.key };
                    let _ = cells.merge(key, &delta, record.applied).unwrap();
                }
            }
        }
        let mut chunk = Chunk {
            map: Arc::clone(map),
            map_type: is_typed.then_some(MapType::Lww),
            pruned_through: Time::ZERO,
            cells: Vec::new(),
            is_last: true,
        };
        for (_, cell) in cells.since(Time::ZERO) {
            chunk.push(cell.key(), &image(cell));
        }
        chunk
    }

    fn clock(&self) -> Time {
        self.batches.last().map_or(Time::ZERO, |batch| batch.last_applied)
    }
}

fn image(cell: &Cell) -> Vec<u8> {
    let mut bytes = Vec::new();
    let State::Lww(lww) = cell.state() else { unreachable!("the map is of values") };
    let delta = crate::crdt::Delta::Lww { at: lww.at(), value: lww.value(), expires_ms: lww.expires_ms() };
    Image::begin(&mut bytes, cell.applied()).push(&delta, cell.applied());
    bytes
}

impl Life {
    fn begin(disk: &Disk, now_ms: u64, seed: u64) -> Self {
        let progress = Arc::new(Progress::new(1, disk.clock()));
        let storage = SharedStorage { progress, clock_floor: disk.clock(), cleared_through: Time::ZERO };
        let shared = Shared {
            config: Arc::new(Config::default()),
            dialects: &[],
            epoch: 1,
            hasher: HASHER,
            connections: Arc::default(),
            process: Default::default,
            storage: Some(storage),
            tls: None,
        };
        let now = Now { unix_ms: now_ms, monotonic_us: now_ms * 1000 };
        let turn = Turn::new(&shared, (0, 1), Outgoing::new(vec![None]), now, seed);
        let (to_shard, port) = handover::connect(1).remove(0);
        Self { maps: Maps::new(&shared, &turn, Some(to_shard)), turn, port }
    }

    fn open(&mut self, disk: &Disk, bounds: Bounds) -> Log {
        let map = OwnMap::of_channel(&HASHER, "c");
        if let Ok(log) = Log::open(&mut self.turn, &mut self.maps, map.clone(), bounds) {
            return log;
        }
        self.maps.hand_over(&mut self.turn);
        while let Ok(item) = self.port.from_shard.pop() {
            if let ToStorage::Load { map } = item {
                self.port.to_shard.push(FromStorage::Chunk(disk.chunk(&map))).unwrap();
            }
        }
        self.maps.take_from_storage(&mut self.turn);
        while let Some(release) = self.maps.begin_release(&mut self.turn) {
            self.maps.end_release(&mut self.turn, release, true);
        }
        Log::open(&mut self.turn, &mut self.maps, map, bounds).expect("it was loaded")
    }

    /// Ends the turn: what has changed is handed over as one batch.
    fn end_turn(&mut self, disk: &mut Disk, now_ms: u64) {
        self.maps.run_removals(&mut self.turn);
        self.maps.hand_over(&mut self.turn);
        while let Ok(item) = self.port.from_shard.pop() {
            if let ToStorage::Records(batch) = item {
                disk.batches.push(batch);
            }
        }
        self.turn.begin(Now { unix_ms: now_ms, monotonic_us: now_ms * 1000 });
    }
}

/// A history, and what should be there.
struct History {
    random: u64,
    now_ms: u64,
    disk: Disk,
    /// What was live after each batch, of what is kept.
    states: Vec<(usize, Vec<Entry>)>,
    /// Every offset that was given, with the batch that it was in; `usize::MAX`: it was undone.
    given: Vec<(u64, usize)>,
    epochs: BTreeSet<u64>,
    is_all_kept: bool,
}

impl History {
    fn below(&mut self, bound: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn note(&mut self, log: &Log) {
        let kept = log.entries.after(0).filter(|entry| entry.place.is_some()).cloned().collect();
        self.states.push((self.disk.batches.len(), kept));
    }

    fn live(&mut self, life: &mut Life, log: &mut Log, bounds: Bounds) {
        for _ in 0..1 + self.below(60) {
            match self.below(10) {
                0 => {
                    let through = log.entries.last().saturating_sub(self.below(8));
                    log.drop_through(&mut life.turn, &mut life.maps, through);
                }
                1 => self.now_ms += self.below(2_000),
                _ => {
                    let data = vec![b'7'; 1 + self.below(300) as usize].into();
                    let is_kept = self.is_all_kept || self.below(2) == 0;
                    let draft = Draft { from: "u\"1".into(), data, ttl_ms: TTL_MS, is_kept };
                    let pushed = log.push(&mut life.turn, &mut life.maps, bounds, draft).unwrap();
                    assert!(self.given.iter().all(|&(given, _)| given != pushed.offset), "{pushed:?} again");
                    self.given.push((pushed.offset, self.disk.batches.len() + 1));
                }
            }
            assert!(log.entries.len() <= bounds.entries && log.entries.bytes() <= bounds.bytes);
            log.trim(&mut life.turn, &mut life.maps, bounds);
            life.end_turn(&mut self.disk, self.now_ms);
            self.note(log);
        }
    }

    /// Some of the last batches are lost.
    fn crash(&mut self) {
        let lost = self.below(8) as usize;
        let left = self.disk.batches.len().saturating_sub(lost);
        self.disk.batches.truncate(left);
        while self.states.last().is_some_and(|&(batches, _)| batches > left) {
            self.states.pop();
        }
    }

    fn check(&mut self, log: &Log, bounds: Bounds) {
        if self.epochs.insert(log.entries.epoch()) {
            // Not even its head has survived: it is another log, of which nothing was ever given.
            assert!(self.states.last().is_none_or(|(_, live)| live.is_empty()), "the epoch stays");
            self.given.clear();
        }
        let now_ms = self.now_ms;
        let mut expected = self.states.last().map_or(Vec::new(), |(_, live)| live.clone());
        expected.retain(|entry| entry.expires_ms > now_ms);
        let over = expected.len().saturating_sub(bounds.entries);
        expected.drain(..over);
        let found: Vec<&Entry> = log.entries.after(0).collect();
        let plain = |entry: &Entry| (entry.offset, entry.time_ms, entry.expires_ms, entry.data.clone());
        assert_eq!(
            found.iter().map(|entry| plain(entry)).collect::<Vec<_>>(),
            expected.iter().map(plain).collect::<Vec<_>>()
        );
        let there: BTreeSet<u64> = found.iter().map(|entry| entry.offset).collect();
        let batches = self.disk.batches.len();
        let (survived, undone): (Vec<_>, Vec<_>) = self.given.iter().partition(|&&(_, at)| at <= batches);
        let near = |&(offset, _): &(u64, usize)| offset.saturating_sub(2)..offset + 3;
        for since in self.given.iter().flat_map(near).chain(0..3) {
            let misses = survived.iter().any(|(offset, _)| *offset > since && !there.contains(offset));
            let is_undone = undone.iter().any(|(offset, _)| *offset == since);
            let follows = log.entries.follows(since);
            assert!(!self.is_all_kept || follows.is_err() || !misses && !is_undone, "{since}: {follows:?}");
        }
        // What is undone stays so, however many batches follow.
        for (_, at) in self.given.iter_mut().filter(|(_, at)| *at > batches) {
            *at = usize::MAX;
        }
    }
}

#[test]
fn what_is_durable_is_there_after_a_restart_and_no_offset_is_given_twice() {
    let seeds = std::env::var("SEEDS").map_or(150, |seeds| seeds.parse().unwrap());
    for seed in 1..=seeds {
        let mut history = History {
            random: seed,
            now_ms: 1_700_000_000_000,
            disk: Disk::default(),
            states: Vec::new(),
            given: Vec::new(),
            epochs: BTreeSet::new(),
            is_all_kept: seed % 2 == 0,
        };
        let mut bounds = Bounds { entries: 8, bytes: 3_000 };
        let mut life = Life::begin(&history.disk, history.now_ms, seed);
        let mut log = life.open(&history.disk, bounds);
        history.epochs.insert(log.entries.epoch());
        for round in 0..6 {
            history.live(&mut life, &mut log, bounds);
            match history.below(3) {
                0 => {
                    log.close(&mut life.turn, &mut life.maps);
                    life.end_turn(&mut history.disk, history.now_ms);
                }
                1 => {}
                _ => history.crash(),
            }
            if history.below(3) == 0 {
                bounds.entries = 1 + history.below(16) as usize;
            }
            life = Life::begin(&history.disk, history.now_ms, seed + 1_000 * (round + 1));
            log = life.open(&history.disk, bounds);
            history.check(&log, bounds);
            life.end_turn(&mut history.disk, history.now_ms);
            history.note(&log);
        }
    }
}

#[test]
fn a_log_that_is_full_writes_one_cell_for_each_entry() {
    let (disk, bounds) = (Disk::default(), Bounds { entries: 10, bytes: 1 << 20 });
    let mut life = Life::begin(&disk, 1_000, 1);
    let mut log = life.open(&disk, bounds);
    let mut disk = disk;
    for _ in 0..500 {
        let draft = Draft { from: "u".into(), data: (*b"1").into(), ttl_ms: TTL_MS, is_kept: true };
        log.push(&mut life.turn, &mut life.maps, bounds, draft).unwrap();
        life.end_turn(&mut disk, 1_000);
    }
    let records: u32 = disk.batches.iter().map(|batch| batch.records).sum();
    assert_eq!(records, 500 + 1 + 1, "its type, the head, and the entries");
    let map = OwnMap::of_channel(&HASHER, "c");
    let slot = map.ready(&mut life.turn, &mut life.maps).unwrap();
    assert_eq!(life.maps[slot].typed().unwrap().cells(), bounds.entries + 1 + 1);
}

#[test]
fn a_log_that_was_let_go_of_goes_on_without_a_gap_in_the_same_life() {
    let (mut disk, bounds) = (Disk::default(), Bounds { entries: 10, bytes: 1 << 20 });
    let mut given = Vec::new();
    for _ in 0..4 {
        let mut life = Life::begin(&disk, 1_000, 1);
        let mut log = life.open(&disk, bounds);
        let draft = Draft { from: "u".into(), data: (*b"1").into(), ttl_ms: TTL_MS, is_kept: true };
        given.push(log.push(&mut life.turn, &mut life.maps, bounds, draft).unwrap().offset);
        log.close(&mut life.turn, &mut life.maps);
        life.end_turn(&mut disk, 1_000);
    }
    assert_eq!(given, [1, 2, 3, 4]);
}

//! What the journal asks to be done, in which order, and what it reports when.

use annulus::config::Fsync;
use annulus::crdt::Time;
use annulus::storage::{Disk, Durable, FinishedSegment, SEGMENT_HEADER_BYTES, Step, segment_name};

use crate::content::Change;
use crate::drive::{Drive, STRICT, batch, bytes_of, find, options};
use crate::memory_disk::MemoryDisk;
use crate::random::Random;

struct Scene {
    drive: Drive<MemoryDisk>,
    random: Random,
    now_ms: u64,
    batches: u64,
    pushed_bytes: u64,
}

impl Scene {
    fn new(fsync: Fsync, segment_bytes: usize) -> Self {
        let options = annulus::storage::JournalOptions { segment_bytes, ..options(fsync) };
        let drive = Drive::new(&MemoryDisk::default(), options, 7);
        Self { drive, random: Random(1), now_ms: 1_000, batches: 0, pushed_bytes: 0 }
    }

    /// A batch of one change, of shard 0, whose tick is its number.
    fn push(&mut self) {
        self.batches += 1;
        let change = Change::random(&mut self.random, Time::from_bits(self.batches));
        let batch = batch(self.batches, &[change]);
        self.pushed_bytes += batch.bytes.len() as u64;
        self.drive.journal.push(0, batch);
    }

    /// The name of the next step, which is carried out.
    fn step(&mut self) -> &'static str {
        let Some(step) = self.drive.journal.next_step(self.now_ms) else { return "none" };
        assert_eq!(self.drive.journal.next_step(self.now_ms), None, "one at a time");
        self.drive.carry_out(&step);
        let name = match step {
            Step::Create { .. } => "create",
            Step::Reuse { .. } => "reuse",
            Step::Write { .. } => "write",
            Step::Sync => "sync",
            Step::SyncFolder => "sync folder",
        };
        self.drive.journal.step_done(self.now_ms, bytes_of(step));
        name
    }

    /// All steps there are.
    fn steps(&mut self) -> Vec<&'static str> {
        std::iter::from_fn(|| Some(self.step()).filter(|step| *step != "none")).collect()
    }

    fn durable(&self) -> u64 {
        self.drive.journal.durable(0).batch
    }
}

const SEGMENT_BYTES: usize = 1 << 20;

#[test]
fn the_first_group_is_durable_once_its_file_and_its_name_are_synced() {
    let mut scene = Scene::new(Fsync::Always, SEGMENT_BYTES);
    assert_eq!(scene.step(), "none");
    scene.push();
    for step in ["create", "write", "sync", "sync folder"] {
        assert_eq!(scene.durable(), 0, "before {step}");
        assert_eq!(scene.step(), step);
    }
    let durable = Durable { batch: 1, bytes: scene.pushed_bytes, clock: Time::from_bits(1) };
    assert_eq!(scene.drive.journal.durable(0), durable);
    assert_eq!(scene.drive.journal.durable(1), Durable { batch: 0, bytes: 0, clock: Time::from_bits(1) });
    assert_eq!(scene.step(), "none");
    scene.push();
    assert_eq!(scene.steps(), ["write", "sync"], "the name is known by now");
    assert_eq!(scene.durable(), 2);
}

#[test]
fn what_comes_while_a_step_is_under_way_is_one_group() {
    let mut scene = Scene::new(Fsync::Always, SEGMENT_BYTES);
    scene.push();
    scene.step();
    let write = scene.drive.journal.next_step(scene.now_ms).unwrap();
    (0..5).for_each(|_| scene.push());
    scene.drive.carry_out(&write);
    scene.drive.journal.step_done(scene.now_ms, bytes_of(write));
    assert_eq!(scene.steps(), ["sync", "sync folder", "write", "sync"]);
    assert_eq!(scene.durable(), 6);
    let (_, seen) = find(&scene.drive.disk, STRICT).unwrap();
    let marks: Vec<_> = seen.iter().filter(|seen| seen.change.is_none()).collect();
    assert_eq!(
        marks.iter().map(|mark| (mark.sequence, mark.synced_through)).collect::<Vec<_>>(),
        [(1, 0), (3, 2)]
    );
}

// Whatever it has left of its bytes is no record, and is written over.
#[test]
fn a_step_that_finds_no_room_comes_again_and_nothing_is_durable_for_it() {
    let mut scene = Scene::new(Fsync::Always, SEGMENT_BYTES);
    scene.push();
    let create = scene.drive.journal.next_step(scene.now_ms).unwrap();
    scene.drive.journal.step_refused(None);
    assert_eq!(
        scene.drive.journal.next_step(scene.now_ms).map(|step| format!("{step:?}")),
        Some(format!("{create:?}"))
    );
    scene.drive.carry_out(&create);
    scene.drive.journal.step_done(scene.now_ms, None);
    for _ in 0..2 {
        let durable = scene.durable();
        let write = scene.drive.journal.next_step(scene.now_ms).unwrap();
        let Step::Write { offset, bytes } = &write else { panic!("{write:?}") };
        let (offset, bytes) = (*offset, bytes.clone());
        for part in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            scene.drive.carry_out_in_part(&Step::Write { offset, bytes: bytes.clone() }, part);
            scene.drive.journal.step_refused(Some(bytes.clone()));
            // More comes, and the segment is to end.
            scene.push();
            assert!(scene.drive.journal.roll());
            assert!(scene.drive.journal.unwritten_bytes() > bytes.len() as u64);
            assert_eq!((scene.drive.journal.next_sync(scene.now_ms), scene.durable()), (None, durable));
            let unchanged = annulus::storage::RecoveryOptions { read_only: true, ..STRICT };
            let (found, _) = find(&scene.drive.disk, unchanged).unwrap();
            assert_eq!((found.records, found.torn.is_some()), (durable, part > 0));
            let again = scene.drive.journal.next_step(scene.now_ms).unwrap();
            assert_eq!(again, Step::Write { offset, bytes: bytes.clone() });
        }
        scene.drive.carry_out(&write);
        scene.drive.journal.step_done(scene.now_ms, bytes_of(write));
        scene.steps();
        assert_eq!(scene.durable(), scene.batches);
        assert!(scene.drive.journal.take_finished().is_some());
        scene.push();
        assert_eq!(scene.step(), "create");
    }
    scene.steps();
    assert_eq!(find(&scene.drive.disk, STRICT).unwrap().0.records, scene.batches);
}

#[test]
fn with_an_interval_one_sync_is_for_all_groups_since_the_first() {
    let mut scene = Scene::new(Fsync::Interval { ms: 100 }, SEGMENT_BYTES);
    scene.push();
    assert_eq!(scene.steps(), ["create", "write"]);
    assert_eq!(scene.drive.journal.wake_at_ms(), Some(1_100));
    scene.now_ms = 1_099;
    scene.push();
    assert_eq!(scene.steps(), ["write"]);
    assert_eq!(scene.drive.journal.wake_at_ms(), Some(1_100), "the oldest waits for it");
    assert!(!scene.drive.journal.is_idle());
    assert_eq!((scene.durable(), scene.drive.journal.backlog_bytes()), (0, scene.pushed_bytes));
    scene.now_ms = 1_100;
    scene.push();
    assert_eq!(scene.steps(), ["sync", "sync folder", "write"], "a sync that is due goes first");
    assert_eq!((scene.durable(), scene.drive.journal.wake_at_ms()), (2, Some(1_200)));
    scene.now_ms = 1_200;
    assert_eq!(scene.steps(), ["sync"]);
    assert_eq!((scene.durable(), scene.drive.journal.wake_at_ms()), (3, Some(1_300)), "for a mark");
    assert!(scene.drive.journal.is_idle());
    scene.now_ms = 1_300;
    assert_eq!(scene.steps(), ["write"]);
    scene.now_ms = 1_400;
    assert_eq!(scene.steps(), ["sync"]);
    assert_eq!(scene.drive.journal.wake_at_ms(), None);
}

#[test]
fn without_fsync_only_the_end_of_a_segment_is_synced() {
    let mut scene = Scene::new(Fsync::Never, SEGMENT_BYTES);
    scene.push();
    assert_eq!(scene.steps(), ["create", "write"]);
    assert_eq!((scene.durable(), scene.drive.journal.backlog_bytes()), (1, 0), "written is all there is");
    assert!(scene.drive.journal.is_idle());
    assert!(scene.drive.journal.roll());
    assert!(!scene.drive.journal.is_idle());
    assert_eq!(scene.steps(), ["sync", "sync folder"]);
    assert!(scene.drive.journal.take_finished().is_some());
}

#[test]
fn a_full_segment_is_finished_and_the_next_begins_with_what_comes() {
    let mut scene = Scene::new(Fsync::Never, 600);
    let mut finished = Vec::new();
    for _ in 0..100 {
        scene.push();
        scene.steps();
        finished.extend(std::iter::from_fn(|| scene.drive.journal.take_finished()));
        if finished.len() == 4 {
            break;
        }
    }
    let mut next_sequence = 1;
    let files = scene.drive.disk.files();
    for segment in &finished {
        assert_eq!(segment.name, segment_name(next_sequence));
        next_sequence = segment.next_sequence;
        let size = files[&segment.name].len();
        assert!(size <= 600 && size > SEGMENT_HEADER_BYTES, "{size} bytes");
    }
    assert_eq!(files.len(), 5);
    let (recovered, _) = find(&scene.drive.disk, STRICT).unwrap();
    let found: Vec<_> = recovered.segments.iter().map(|segment| segment.next_sequence).collect();
    assert_eq!(found[..4], finished.iter().map(|segment| segment.next_sequence).collect::<Vec<_>>());
}

#[test]
fn a_batch_larger_than_a_segment_has_one_for_itself() {
    let mut scene = Scene::new(Fsync::Always, 600);
    scene.push();
    scene.steps();
    let changes: Vec<_> =
        (0..50).map(|number| Change::random(&mut scene.random, Time::from_bits(10 + number))).collect();
    scene.drive.journal.push(1, batch(1, &changes));
    assert_eq!(scene.steps(), ["create", "write", "sync", "sync folder"]);
    scene.push();
    assert_eq!(scene.steps(), ["create", "write", "sync", "sync folder"]);
    let finished: Vec<_> = std::iter::from_fn(|| scene.drive.journal.take_finished()).collect();
    let applied = |ticks: [u64; 2]| ticks.map(Time::from_bits).to_vec();
    assert_eq!(finished[0].last_applied, applied([1, 0]));
    assert_eq!(finished[1].last_applied, applied([1, 59]));
    assert_eq!(find(&scene.drive.disk, STRICT).unwrap().0.records, 52);
}

#[test]
fn a_roll_ends_the_segment_behind_everything_that_has_come() {
    let mut scene = Scene::new(Fsync::Always, SEGMENT_BYTES);
    assert!(!scene.drive.journal.roll(), "there is nothing to end");
    scene.push();
    scene.steps();
    scene.push();
    assert!(scene.drive.journal.roll());
    assert_eq!(scene.drive.journal.take_finished(), None);
    assert_eq!(scene.steps(), ["write", "sync"]);
    let finished = FinishedSegment {
        name: segment_name(1),
        next_sequence: 5,
        bytes: scene.drive.disk.open(&segment_name(1)).unwrap().size().unwrap(),
        last_applied: vec![Time::from_bits(2), Time::ZERO],
        prepared_bytes: None,
    };
    assert_eq!(scene.drive.journal.take_finished(), Some(finished));
    assert!(!scene.drive.journal.roll() && scene.drive.journal.is_idle());

    scene.push();
    assert!(scene.drive.journal.roll(), "even before the file is there");
    assert_eq!(scene.steps(), ["create", "write", "sync", "sync folder"]);
    assert_eq!(scene.drive.journal.take_finished().unwrap().name, segment_name(5));

    scene.push();
    scene.steps();
    assert!(scene.drive.journal.roll(), "what is synced already ends at once");
    assert!(scene.drive.journal.take_finished().is_some());
}

#[test]
fn a_roll_waits_for_all_groups_that_have_come() {
    let mut scene = Scene::new(Fsync::Interval { ms: 100 }, 64 << 20);
    // Each is a group of its own, as two are more than a group may be.
    let change = Change::of_kind(1, &mut scene.random, Time::from_bits(1));
    let changes = vec![Change { key: vec![0; 60_000], ..change }; 80];
    for number in 1..=3 {
        scene.drive.journal.push(0, batch(number, &changes));
    }
    scene.drive.journal.roll();
    assert_eq!(scene.steps(), ["create", "write", "write", "write", "sync", "sync folder"]);
    assert!(scene.drive.journal.take_finished().is_some() && scene.drive.journal.is_idle());
}

#[test]
fn the_bytes_of_batches_come_back_empty_to_their_shards() {
    let mut scene = Scene::new(Fsync::Always, SEGMENT_BYTES);
    scene.push();
    let changes = [Change::random(&mut scene.random, Time::from_bits(1))];
    scene.drive.journal.push(1, batch(1, &changes));
    for shard in 0..2 {
        let (of, bytes) = scene.drive.journal.take_recycled().unwrap();
        assert_eq!((of, bytes.len(), bytes.capacity() > 0), (shard, 0, true));
    }
    assert_eq!(scene.drive.journal.take_recycled(), None);
}

#[test]
fn a_backlog_is_written_in_groups_of_bounded_size() {
    const GROUP_BYTES_MAX: usize = 8 << 20;
    let mut scene = Scene::new(Fsync::Always, 64 << 20);
    let change = Change { key: vec![0; 60_000], ..Change::of_kind(1, &mut scene.random, Time::from_bits(1)) };
    let mut pushed = 0;
    for number in 1.. {
        let batch = batch(number, &vec![change.clone(); 16]);
        pushed += batch.bytes.len();
        scene.drive.journal.push(0, batch);
        if pushed > 3 * GROUP_BYTES_MAX {
            break;
        }
    }
    let mut sizes = Vec::new();
    while let Some(step) = scene.drive.journal.next_step(0) {
        if let Step::Write { bytes, .. } = &step {
            sizes.push(bytes.len());
        }
        scene.drive.journal.step_done(0, bytes_of(step));
    }
    assert_eq!(sizes.len(), 4, "{sizes:?}");
    assert!(sizes.iter().all(|&bytes| bytes <= GROUP_BYTES_MAX + SEGMENT_HEADER_BYTES), "{sizes:?}");
}

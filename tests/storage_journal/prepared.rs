//! Segments that were prepared: how they are written, where their records end, and what damage and crashes leave of them.

use std::collections::BTreeMap;

use annulus::config::Fsync;
use annulus::crdt::Time;
use annulus::storage::{
    BLOCK_BYTES, Disk, JournalOptions, RecoveryOptions, Segment, SegmentHeader, Step, StorageError, adopt,
    prepare, recycle, segment_name, spare_name,
};

use crate::content::{Change, KINDS};
use crate::drive::{Drive, LOOK, LOOK_HARD, SALVAGE, STRICT, Seen, batch, bytes_of, changes, find, options};
use crate::memory_disk::MemoryDisk;
use crate::random::{Random, each_seed};

const SPARE_BYTES: u64 = 6 * BLOCK_BYTES as u64;

/// A journal with spare files, and what was pushed.
struct Scene {
    drive: Drive<MemoryDisk>,
    random: Random,
    batches: u64,
    pushed: Vec<Change>,
}

impl Scene {
    fn new() -> Self {
        let drive = Drive::new(&MemoryDisk::default(), options(Fsync::Always), 7);
        Self { drive, random: Random(1), batches: 0, pushed: Vec::new() }
    }

    fn with_spares(count: usize) -> Self {
        let mut scene = Self::new();
        (0..count).for_each(|_| scene.drive.prepare_spare(SPARE_BYTES));
        scene
    }

    fn push(&mut self) {
        self.batches += 1;
        let kind = self.batches as usize % (KINDS - 1);
        self.push_of(kind, 0);
    }

    /// A change with a key that is longer by so many bytes.
    fn push_of(&mut self, kind: usize, longer: usize) {
        let mut change = Change::of_kind(kind, &mut self.random, Time::from_bits(self.batches));
        change.key.extend(vec![b'k'; longer]);
        self.drive.journal.push(0, batch(self.batches, std::slice::from_ref(&change)));
        self.pushed.push(change);
    }

    /// The steps that there are to do, carried out.
    fn steps(&mut self, now_ms: u64) -> Vec<&'static str> {
        let mut names = Vec::new();
        while let Some(step) = self.drive.journal.next_step(now_ms) {
            self.drive.carry_out(&step);
            names.push(match step {
                Step::Create { .. } => "create",
                Step::Reuse { .. } => "reuse",
                Step::Write { .. } => "write",
                Step::Sync => "sync",
                Step::SyncFolder => "sync folder",
            });
            self.drive.journal.step_done(now_ms, bytes_of(step));
        }
        names
    }

    fn durable(&self) -> u64 {
        self.drive.journal.durable(0).batch
    }

    /// Everything that was pushed is found, on the disk as it is.
    fn check(&self) {
        let (recovered, seen) = find(&self.drive.disk, LOOK).unwrap();
        assert_eq!(changes(&seen), self.pushed);
        assert_eq!((recovered.torn, recovered.lost.len()), (None, 0));
    }
}

#[test]
fn a_group_is_one_step_and_the_first_is_promised_once_the_name_is_synced() {
    let mut scene = Scene::with_spares(1);
    scene.push();
    for step in ["reuse", "write", "sync folder"] {
        assert_eq!(scene.durable(), 0, "before {step}");
        let next = scene.drive.journal.next_step(0).unwrap();
        scene.drive.carry_out(&next);
        scene.drive.journal.step_done(0, bytes_of(next));
    }
    assert_eq!(scene.durable(), 1);
    for number in 2..5 {
        scene.push();
        assert_eq!(scene.steps(0), ["write"]);
        assert_eq!(scene.durable(), number);
        scene.check();
    }
    assert!(scene.drive.journal.is_idle());
    assert!(scene.drive.journal.roll());
    assert_eq!(scene.drive.journal.take_finished(), None, "it has no end record yet");
    assert_eq!(scene.steps(0), ["write"]);
    let finished = scene.drive.journal.take_finished().unwrap();
    assert_eq!((finished.prepared_bytes, finished.bytes), (Some(SPARE_BYTES), 5 * BLOCK_BYTES as u64));
    scene.check();
    scene.push();
    assert_eq!(scene.steps(0), ["create", "write", "sync", "sync folder"], "there is no spare file");
    scene.check();
}

#[test]
fn a_segment_that_grows_ends_when_there_is_a_spare_file_and_something_to_write() {
    let mut scene = Scene::new();
    scene.push();
    scene.steps(0);
    scene.drive.prepare_spare(SPARE_BYTES);
    assert!(scene.steps(0).is_empty());
    scene.push();
    assert_eq!(scene.steps(0), ["reuse", "write", "sync folder"]);
    assert!(scene.drive.journal.take_finished().unwrap().prepared_bytes.is_none());
    scene.check();
}

#[test]
fn a_group_that_is_too_large_for_a_spare_file_has_a_segment_that_grows() {
    let mut scene = Scene::with_spares(2);
    scene.push();
    scene.steps(0);
    scene.batches += 1;
    scene.push_of(1, SPARE_BYTES as usize);
    assert_eq!(scene.steps(0), ["write", "create", "write", "sync", "sync folder"], "an end, and the group");
    scene.push();
    assert_eq!(scene.steps(0), ["reuse", "write", "sync folder"]);
    scene.check();
}

#[test]
fn a_full_segment_is_ended_within_its_size() {
    let mut scene = Scene::with_spares(3);
    for _ in 0..12 {
        scene.push();
        scene.steps(0);
    }
    for _ in 0..2 {
        let finished = scene.drive.journal.take_finished().unwrap();
        assert_eq!(finished.bytes, SPARE_BYTES);
        assert_eq!(scene.drive.disk.open(&finished.name).unwrap().size().unwrap(), SPARE_BYTES);
    }
    scene.check();
}

// As on a file system that gives each write new blocks.
#[test]
fn a_step_without_room_comes_again_with_the_same_spare_file() {
    let mut scene = Scene::with_spares(1);
    scene.push();
    let refused_once = |scene: &mut Scene| {
        let step = scene.drive.journal.next_step(0).unwrap();
        let shown = format!("{step:?}");
        scene.drive.journal.step_refused(bytes_of(step));
        let again = scene.drive.journal.next_step(0).unwrap();
        assert_eq!(format!("{again:?}"), shown);
        scene.drive.carry_out(&again);
        scene.drive.journal.step_done(0, bytes_of(again));
        shown
    };
    assert!(refused_once(&mut scene).starts_with("Reuse"));
    assert!(refused_once(&mut scene).starts_with("Write"));
    scene.steps(0);
    assert_eq!(scene.durable(), 1);
    scene.drive.journal.roll();
    assert!(refused_once(&mut scene).starts_with("Write"));
    assert_eq!(scene.drive.journal.take_finished().unwrap().bytes, 2 * BLOCK_BYTES as u64);
    scene.check();
}

#[test]
fn a_mark_follows_the_last_group_once() {
    for spares in [0, 1] {
        let mut scene = Scene::with_spares(spares);
        scene.push();
        scene.steps(1_000);
        assert_eq!(scene.drive.journal.wake_at_ms(), Some(1_100));
        assert!(scene.steps(1_099).is_empty());
        scene.push();
        scene.steps(1_099);
        assert!(scene.steps(1_198).is_empty(), "it waits for the last group");
        let write = ["write", "sync"];
        assert_eq!(scene.steps(1_199), write[..2 - spares]);
        assert_eq!((scene.drive.journal.wake_at_ms(), scene.durable()), (None, 2));
        assert!(scene.steps(9_000).is_empty());
        scene.check();
        let (_, seen) = find(&scene.drive.disk, LOOK).unwrap();
        let last = seen.last().unwrap();
        assert_eq!((last.change.as_ref(), last.synced_through), (None, last.sequence - 1));
    }
}

/// Goal: damage to the last group is told from a crash once its mark is there, and only then.
#[test]
fn damage_to_the_last_group_is_no_torn_tail_once_it_is_marked() {
    for spares in [0, 1] {
        let mut scene = Scene::with_spares(spares);
        (0..2).for_each(|_| {
            scene.push();
            scene.steps(0);
        });
        let look = |scene: &Scene| {
            let (_, seen) = find(&scene.drive.disk, LOOK).unwrap();
            let last = seen.iter().rfind(|seen| seen.change.is_some()).unwrap();
            let mut files = scene.drive.disk.files();
            files.get_mut(&segment_name(1)).unwrap()[last.location.offset as usize + 9] ^= 1;
            find(&MemoryDisk::with_files(&files), STRICT)
        };
        let (torn, seen) = look(&scene).unwrap();
        assert!(torn.torn.is_some());
        assert_eq!(changes(&seen), scene.pushed[..1]);
        scene.steps(100);
        assert!(matches!(look(&scene), Err(StorageError::Damaged { .. })));
    }
}

#[test]
fn without_fsync_nothing_is_marked() {
    let mut drive = Drive::new(&MemoryDisk::default(), options(Fsync::Never), 7);
    drive.journal.push(0, batch(1, &[Change::of_kind(1, &mut Random(1), Time::from_bits(1))]));
    drive.run(0);
    assert_eq!(drive.journal.wake_at_ms(), None);
}

/// A journal in two segments that were used before: the first is ended, the second is not. Behind the records of each are those
/// of an earlier life. Groups have one block, but for one with two.
struct Twice {
    files: BTreeMap<String, Vec<u8>>,
    names: [String; 2],
    records: Vec<Seen>,
    /// Everything before is in the base.
    folded: u64,
    /// Where the last group of each ends, and its end record.
    ends: [usize; 2],
}

fn used_twice() -> Twice {
    let mut scene = Scene::with_spares(2);
    for _ in 0..2 {
        (0..4).for_each(|_| {
            scene.push();
            scene.steps(0);
        });
        scene.drive.journal.roll();
        scene.steps(0);
    }
    let earlier: Vec<_> = std::iter::from_fn(|| scene.drive.journal.take_finished()).collect();
    assert_eq!(earlier.len(), 2);
    let folded = earlier[1].next_sequence - 1;
    earlier.iter().for_each(|segment| scene.drive.recycle(&segment.name, SPARE_BYTES));
    scene.pushed.clear();
    for is_last in [false, true] {
        scene.push();
        scene.steps(0);
        scene.batches += 1;
        scene.push_of(1, 5_000);
        scene.steps(0);
        if !is_last {
            scene.drive.journal.roll();
            scene.steps(0);
        }
    }
    let options = RecoveryOptions { folded, ..LOOK };
    let (recovered, records) = find(&scene.drive.disk, options).unwrap();
    assert_eq!(changes(&records), scene.pushed);
    let names = [0, 1].map(|index| recovered.segments[index].name.clone());
    let ends = [0, 1].map(|index| recovered.segments[index].bytes as usize);
    assert_eq!(ends, [4 * BLOCK_BYTES, 3 * BLOCK_BYTES]);
    let files = scene.drive.disk.files();
    for (name, end) in names.iter().zip(ends) {
        assert_eq!(files[name].len() as u64, SPARE_BYTES);
        assert!(files[name][end..].iter().any(|&byte| byte != 0), "there is something of an earlier life");
    }
    Twice { files, names, records, folded, ends }
}

impl Twice {
    fn with(&self, file: usize, bytes: Vec<u8>) -> MemoryDisk {
        let mut files = self.files.clone();
        files.insert(self.names[file].clone(), bytes);
        MemoryDisk::with_files(&files)
    }

    fn find(
        &self,
        disk: &MemoryDisk,
        options: RecoveryOptions,
    ) -> Result<(Vec<Seen>, bool, usize), StorageError> {
        let (recovered, seen) = find(disk, RecoveryOptions { folded: self.folded, ..options })?;
        Ok((seen, recovered.torn.is_some(), recovered.lost.len()))
    }

    /// What was written behind all that some bytes belong to was begun once they were synced.
    fn is_proven(&self, file: usize, at: usize) -> bool {
        // Without its salt nothing in a file says anything.
        file == 0 || at < BLOCK_BYTES && !(12..16).contains(&at)
    }
}

#[test]
fn every_changed_byte_is_found_and_costs_its_own_record_at_most() {
    let written = used_twice();
    for file in 0..2 {
        for at in (0..SPARE_BYTES as usize).filter(|at| at % 7 == 0 || at % BLOCK_BYTES < 200) {
            let mut bytes = written.files[&written.names[file]].clone();
            bytes[at] ^= 0x11;
            let disk = written.with(file, bytes);
            let strict = written.find(&disk, LOOK);
            if at >= written.ends[file] {
                assert_eq!(strict.unwrap(), (written.records.clone(), false, 0), "{at} counts for nothing");
                continue;
            }
            let is_hit = |seen: &&Seen| {
                let start = seen.location.offset as usize;
                seen.location.segment as usize == file
                    && (start..start + seen.location.bytes as usize).contains(&at)
            };
            let hit = written.records.iter().find(is_hit);
            if !written.is_proven(file, at) {
                // Nothing says that the last group had been there as a whole.
                let (seen, is_torn, lost) = strict.unwrap();
                let in_file = |seen: &Seen| seen.location.segment as usize == file;
                let is_kept = |seen: &&Seen| match hit {
                    Some(hit) => seen.sequence < hit.sequence,
                    None => at >= BLOCK_BYTES || !in_file(seen),
                };
                let kept: Vec<Seen> = written.records.iter().filter(is_kept).cloned().collect();
                assert_eq!((seen, is_torn, lost), (kept, true, 0), "byte {at}");
                continue;
            }
            assert!(matches!(strict, Err(StorageError::Damaged { .. })), "byte {at} of {file}: {strict:?}");
            let salt_is_gone = (12..16).contains(&at);
            for options in [LOOK_HARD, SALVAGE] {
                let (seen, _, lost) = written.find(&disk, options).unwrap();
                let is_kept = |seen: &&Seen| match salt_is_gone {
                    true => seen.location.segment as usize != file,
                    false => hit.is_none_or(|hit| seen.sequence != hit.sequence),
                };
                let kept: Vec<Seen> = written.records.iter().filter(is_kept).cloned().collect();
                assert_eq!(changes(&seen), changes(&kept), "byte {at} of {file}, {options:?}");
                assert!(lost > 0);
            }
            written.find(&disk, STRICT).unwrap();
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_torn_if_it_is_the_last_and_damaged_before() {
    let written = used_twice();
    let end_record = written.ends[0] - BLOCK_BYTES + 40;
    for file in 0..2 {
        for len in (0..SPARE_BYTES as usize).filter(|len| len % 5 == 0 || len % BLOCK_BYTES < 100) {
            let disk = written.with(file, written.files[&written.names[file]][..len].to_vec());
            let found = written.find(&disk, STRICT);
            if file == 0 && len < end_record {
                assert!(matches!(found, Err(StorageError::Damaged { .. })), "cut at {len}: {found:?}");
                continue;
            }
            let is_kept = |seen: &&Seen| {
                seen.location.segment as usize != file
                    || len >= 64 && (seen.location.offset + seen.location.bytes) as usize <= len
            };
            let kept: Vec<Seen> = written.records.iter().filter(is_kept).cloned().collect();
            let (seen, _, lost) = found.unwrap();
            assert_eq!((changes(&seen), lost), (changes(&kept), 0), "cut at {len}");
            assert_eq!(written.find(&disk, STRICT).unwrap().0, seen, "the same again");
        }
    }
}

/// Goal: what a process leaves behind is recovered, whatever a power cut makes of its last group, block by block, and what is of an
/// earlier life is never taken for it, nor said to be torn if nothing of the group is there.
#[test]
fn blocks_of_the_last_group_may_be_there_or_not() {
    let written = used_twice();
    let name = &written.names[1];
    let last_group = BLOCK_BYTES..3 * BLOCK_BYTES;
    let before = used_before(&written);
    for is_there in [[false, false], [true, false], [false, true], [true, true]] {
        let mut bytes = written.files[name].clone();
        for (block, _) in is_there.iter().enumerate().filter(|(_, is_there)| !**is_there) {
            let block = last_group.start + block * BLOCK_BYTES;
            bytes[block..block + BLOCK_BYTES].copy_from_slice(&before[block..block + BLOCK_BYTES]);
        }
        let disk = written.with(1, bytes);
        let (seen, is_torn, _) = written.find(&disk, LOOK).unwrap();
        let in_group = |seen: &&Seen| {
            seen.location.segment == 1 && last_group.contains(&(seen.location.offset as usize))
        };
        let count = written.records.len() - written.records.iter().filter(in_group).count();
        match is_there {
            [true, true] => assert_eq!(seen, written.records),
            // Its mark is whole.
            [true, false] => assert_eq!((seen.as_slice(), is_torn), (&written.records[..=count], true)),
            [false, _] => assert_eq!((seen.as_slice(), is_torn), (&written.records[..count], false)),
        }
        written.find(&disk, STRICT).unwrap();
        let len = disk.files()[name].len();
        assert!(len <= written.ends[1] && written.find(&disk, STRICT).unwrap().0 == seen, "{len} bytes");
    }
}

#[test]
fn a_block_that_cannot_be_read_is_damage_up_to_the_end_record() {
    let written = used_twice();
    for (file, name) in written.names.iter().enumerate() {
        for start in (0..SPARE_BYTES as usize).step_by(BLOCK_BYTES) {
            let disk = MemoryDisk::with_files(&written.files);
            disk.lose(name, start..start + BLOCK_BYTES);
            let strict = written.find(&disk, LOOK);
            if file == 0 && start >= written.ends[0] {
                assert_eq!(strict.unwrap().0, written.records, "nobody reads it");
                continue;
            }
            assert!(matches!(strict, Err(StorageError::Damaged { .. })), "{start} of {file}: {strict:?}");
            let in_block = |seen: &&Seen| {
                let at = seen.location.offset as usize;
                let is_hit = at < start + BLOCK_BYTES && start < at + seen.location.bytes as usize;
                seen.location.segment as usize != file || start > 0 && !is_hit
            };
            let kept: Vec<Seen> = written.records.iter().filter(in_block).cloned().collect();
            assert_eq!(
                changes(&written.find(&disk, LOOK_HARD).unwrap().0),
                changes(&kept),
                "{start} of {file}"
            );
        }
    }
}

/// The second file as it was before its second life.
fn used_before(written: &Twice) -> Vec<u8> {
    let mut bytes = written.files[&written.names[1]].clone();
    // Of the first life each block but the first has its like in the other file, which was used in the same way.
    let other = &written.files[&written.names[0]];
    bytes[BLOCK_BYTES..].copy_from_slice(&other[4 * BLOCK_BYTES..].repeat(3)[..5 * BLOCK_BYTES]);
    bytes
}

#[test]
fn a_segment_that_was_not_begun_is_removed_without_a_word() {
    let mut scene = Scene::with_spares(2);
    scene.push();
    scene.steps(0);
    scene.drive.journal.roll();
    scene.steps(0);
    let next = scene.drive.journal.take_finished().unwrap().next_sequence;
    scene.drive.disk.rename(&spare_name(2), &segment_name(next)).unwrap();
    let (recovered, seen) = find(&scene.drive.disk, STRICT).unwrap();
    assert_eq!((recovered.torn, recovered.next_sequence, recovered.segments.len()), (None, next, 1));
    assert_eq!(changes(&seen), scene.pushed);
    assert!(scene.drive.disk.open(&segment_name(next)).is_err());
}

#[test]
fn a_start_keeps_spare_files_that_are_whole_and_removes_all_others() {
    let disk = MemoryDisk::default();
    for number in 1..=4 {
        prepare(&disk, number, SPARE_BYTES, &mut || true).unwrap().unwrap();
    }
    disk.open(&spare_name(2)).unwrap().write_at(b"begun", 100).unwrap();
    disk.create(&format!("{}.new", spare_name(9))).unwrap();
    disk.create("journal/spare.x").unwrap();
    prepare(&disk, 5, 2 * SPARE_BYTES, &mut || true).unwrap().unwrap();
    assert_eq!(prepare(&disk, 6, SPARE_BYTES, &mut || false).unwrap(), None);
    let names: Vec<_> = adopt(&disk, SPARE_BYTES, 2).unwrap().into_iter().map(|spare| spare.name).collect();
    assert_eq!(names, [spare_name(1), spare_name(3)]);
    assert_eq!(disk.files().into_keys().collect::<Vec<_>>(), names);
    assert!(adopt(&disk, SPARE_BYTES, 0).unwrap().is_empty() && disk.files().is_empty());
}

/// Goal: a folded segment is there as it was, or not at all under its name, whenever the power goes while it becomes a spare file.
/// Method: it is the last one, so without its header it would be damage, as the base has what is in it.
#[test]
fn a_power_cut_while_a_segment_becomes_a_spare_file_leaves_no_damage() {
    let mut scene = Scene::with_spares(1);
    scene.push();
    scene.steps(0);
    scene.drive.journal.roll();
    scene.steps(0);
    let finished = scene.drive.journal.take_finished().unwrap();
    let files = scene.drive.disk.files();
    let options = RecoveryOptions { folded: finished.next_sequence - 1, ..STRICT };
    for changes in 0..8 {
        each_seed(50, |random| {
            let disk = MemoryDisk::with_files(&files);
            disk.fail_after(changes);
            let recycled = recycle(&disk, &finished.name, 2, SPARE_BYTES);
            assert_eq!(recycled.is_ok(), changes >= 5);
            disk.cut_power(random);
            let (recovered, _) = find(&disk, options).unwrap();
            assert_eq!(recovered.next_sequence, finished.next_sequence);
            let spares = adopt(&disk, SPARE_BYTES, 2).unwrap();
            assert_eq!(disk.files().len(), spares.len());
            assert!(recycled.is_ok() || spares.is_empty());
        });
    }
}

// Of the commit before segments were prepared: a server that was killed after two writes, each acked as durable.
#[test]
fn a_journal_of_version_1_is_read_and_gone_on_with() {
    const EPOCH: u64 = 0xF7A0_5E8C_52BA_558D;
    let bytes = include_bytes!("version_1.log");
    assert!(!SegmentHeader::decode(bytes).unwrap().is_prepared);
    let files = BTreeMap::from([(segment_name(1), bytes.to_vec())]);
    let disk = MemoryDisk::with_files(&files);
    let options_of = RecoveryOptions { epoch: EPOCH, ..STRICT };
    let (recovered, seen) = find(&disk, options_of).unwrap();
    let keys: Vec<_> = changes(&seen).into_iter().map(|change| (change.map, change.key)).collect();
    let key = |map: &str, key: &str| (map.to_owned(), key.as_bytes().to_vec());
    let found =
        [key("views", ""), key("views", "v1"), key("todos", "t1"), key("todos", ""), key("todos", "t1")];
    assert_eq!(keys[..4].iter().filter(|key| found.contains(key)).count(), 4, "{keys:?}");
    assert_eq!((recovered.records, recovered.next_sequence, recovered.torn), (7, 11, None));
    assert_eq!(disk.files(), files);

    let going_on = JournalOptions { epoch: EPOCH, next_sequence: 11, ..options(Fsync::Always) };
    let mut drive = Drive::new(&disk, going_on, 3);
    drive.prepare_spare(SPARE_BYTES);
    let change = Change::of_kind(1, &mut Random(1), Time::from_bits(1 << 62));
    drive.journal.push(0, batch(1, std::slice::from_ref(&change)));
    drive.run(0);
    assert!(SegmentHeader::decode(&disk.files()[&segment_name(11)]).unwrap().is_prepared);
    let (_, seen_again) = find(&disk, options_of).unwrap();
    assert_eq!(changes(&seen_again), [changes(&seen), vec![change]].concat());
    let segment = Segment::read(&disk, &segment_name(1), EPOCH).unwrap();
    assert_eq!(segment.records().map(Result::unwrap).count(), seen.len());
}

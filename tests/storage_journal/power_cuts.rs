//! After a crash at any moment nothing is missing that was reported durable, and nothing is there that was not
//! written, for every `--fsync`; and recovery may crash itself, as often as it likes.
//!
//! Method: random histories, one seed each. Batches are pushed and steps carried out in random order; then the
//! process ends, sometimes in the middle of a step, and at times the disk loses power with it (with `never` that may
//! cost what was not finished). What is found must be a beginning of what was pushed. With `always` there may be spare files, and
//! folded segments become some, so that what is behind the end of records is of earlier lives.

use std::cell::Cell;

use annulus::config::Fsync;
use annulus::crdt::Time;
use annulus::storage::{BLOCK_BYTES, Disk, FinishedSegment, JournalOptions, RecoveryOptions, Segment, adopt};

use crate::content::Change;
use crate::drive::{Drive, EPOCH, STRICT, batch, bytes_of, changes, find};
use crate::memory_disk::MemoryDisk;
use crate::random::{Random, each_seed};

const SHARDS: usize = 3;
const LIVES: usize = 5;

#[test]
fn nothing_durable_is_lost_with_fsync_always() {
    let reused = Cell::new(0);
    each_seed(800, |random| {
        let played = History::new(random, Fsync::Always).play(random);
        reused.set(reused.get() + played.reused);
    });
    assert!(reused.get() != 0, "some were prepared");
}

#[test]
fn nothing_durable_is_lost_with_fsync_interval() {
    each_seed(400, |random| drop(History::new(random, Fsync::Interval { ms: 20 }).play(random)));
}

#[test]
fn nothing_written_is_lost_without_fsync_unless_the_power_goes() {
    each_seed(400, |random| drop(History::new(random, Fsync::Never).play(random)));
}

struct History {
    disk: MemoryDisk,
    /// 0: there are no spare files.
    spare_bytes: u64,
    reused: u64,
    fsync: Fsync,
    segment_bytes: usize,
    now_ms: u64,
    tick: u64,
    /// Everything that was pushed and not lost, in order.
    pushed: Vec<Change>,
    /// How many of these must be there after a power cut.
    safe: usize,
    /// How many of these must be there as long as the power stays.
    reported: usize,
    /// Everything up to this sequence number is in the base, and is the first `folded_changes` of all.
    folded: u64,
    folded_changes: usize,
}

impl History {
    fn new(random: &mut Random, fsync: Fsync) -> Self {
        Self {
            disk: MemoryDisk::default(),
            spare_bytes: match fsync {
                Fsync::Always => (random.below(5) * BLOCK_BYTES) as u64,
                _ => 0,
            },
            reused: 0,
            fsync,
            segment_bytes: random.within(200..3_000),
            now_ms: 0,
            tick: 0,
            pushed: Vec::new(),
            safe: 0,
            reported: 0,
            folded: 0,
            folded_changes: 0,
        }
    }

    fn play(mut self, random: &mut Random) -> Self {
        for _ in 0..LIVES {
            let next_sequence = self.recover(random);
            self.live(random, next_sequence);
        }
        self.recover(random);
        self
    }

    /// Crashes a few times, then checks what is there.
    fn recover(&mut self, random: &mut Random) -> u64 {
        let options = RecoveryOptions { folded: self.folded, ..STRICT };
        while random.one_in(3) {
            self.disk.fail_after(random.below(6) as u32);
            let _ = find(&self.disk, options);
            self.end(random);
        }
        let (recovered, seen) = find(&self.disk, options).unwrap();
        let found = changes(&seen);
        let expected = &self.pushed[self.folded_changes..];
        assert!(expected.starts_with(&found), "found {found:#?} of {expected:#?}");
        let count = self.folded_changes + found.len();
        assert!(count >= self.safe.max(self.reported), "{count}, not {} or {}", self.safe, self.reported);
        assert!(found.iter().all(|change| change.applied <= recovered.clock));
        self.pushed.truncate(count);
        // From now on it is synced.
        (self.safe, self.reported) = (count, count);
        recovered.next_sequence
    }

    fn live(&mut self, random: &mut Random, next_sequence: u64) {
        let options = JournalOptions {
            epoch: EPOCH,
            next_sequence,
            segment_bytes: self.segment_bytes,
            fsync: self.fsync,
            shards: SHARDS,
        };
        let mut drive = Drive::new(&self.disk, options, random.next() as u32);
        for spare in adopt(&self.disk, self.spare_bytes, 2).unwrap() {
            drive.adopt(spare);
        }
        // For each shard its batches, by how many changes there are behind them.
        let mut ends: [Vec<usize>; SHARDS] = Default::default();
        for _ in 0..random.below(80) {
            self.now_ms += random.below(8) as u64;
            match random.below(8) {
                0..3 => self.push(random, &mut drive, &mut ends),
                3..7 => self.step(&mut drive),
                _ if random.one_in(3) => {
                    drive.journal.roll();
                }
                _ if self.spare_bytes > 0 && drive.journal.spares() == 0 => {
                    drive.prepare_spare(self.spare_bytes)
                }
                _ => {}
            }
            self.note_durable(&drive, &ends);
            while let Some(finished) = drive.journal.take_finished() {
                self.finished(random, &mut drive, &finished);
            }
        }
        self.crash(random, &mut drive);
    }

    fn push(&mut self, random: &mut Random, drive: &mut Drive<MemoryDisk>, ends: &mut [Vec<usize>; SHARDS]) {
        let shard = random.below(SHARDS);
        let mut change = || {
            self.tick += 1;
            Change::random(random, Time::from_bits(self.tick))
        };
        let changes = [change(), change()];
        self.pushed.extend(changes.iter().cloned());
        ends[shard].push(self.pushed.len());
        drive.journal.push(shard, batch(ends[shard].len() as u64, &changes));
    }

    fn step(&mut self, drive: &mut Drive<MemoryDisk>) {
        if let Some(step) = drive.journal.next_step(self.now_ms) {
            drive.carry_out(&step);
            drive.journal.step_done(self.now_ms, bytes_of(step));
        }
    }

    /// What is reported must be there from now on: of each shard everything up to a batch.
    fn note_durable(&mut self, drive: &Drive<MemoryDisk>, ends: &[Vec<usize>; SHARDS]) {
        for (shard, ends) in ends.iter().enumerate() {
            let durable = drive.journal.durable(shard);
            let Some(&count) = (durable.batch as usize).checked_sub(1).and_then(|last| ends.get(last)) else {
                continue;
            };
            self.reported = self.reported.max(count);
            if self.fsync != Fsync::Never {
                self.safe = self.safe.max(count);
            }
            assert!(durable.clock >= self.pushed[count - 1].applied);
        }
    }

    /// What is finished is safe whatever `--fsync` says; at times it is folded, and at times removed.
    fn finished(&mut self, random: &mut Random, drive: &mut Drive<MemoryDisk>, finished: &FinishedSegment) {
        self.reused += u64::from(finished.prepared_bytes.is_some());
        let segment = Segment::read(&self.disk, &finished.name, EPOCH).unwrap();
        let records = segment.records().map(|found| Change::of(&found.unwrap().1));
        let changes: Vec<Change> = records.flatten().collect();
        let last = changes.last().expect("a segment is never empty");
        let end = 1 + self.pushed.iter().rposition(|change| change == last).expect("it was pushed");
        self.safe = self.safe.max(end);
        let newest = finished.last_applied.iter().max();
        assert_eq!(newest, changes.iter().map(|change| &change.applied).max());
        // Segments are folded in order: one that was left is folded with the next.
        if random.one_in(2) {
            (self.folded, self.folded_changes) = (finished.next_sequence - 1, end);
            match finished.prepared_bytes {
                Some(bytes) if random.one_in(2) => drive.recycle(&finished.name, bytes),
                _ if random.one_in(2) => self.disk.remove(&finished.name).unwrap(),
                _ => {}
            }
        }
    }

    fn crash(&mut self, random: &mut Random, drive: &mut Drive<MemoryDisk>) {
        if let Some(step) = drive.journal.next_step(self.now_ms).filter(|_| random.one_in(2)) {
            drive.carry_out_in_part(&step, random.below(2_000));
        }
        self.end(random);
    }

    /// Ends the process, and at times the power goes with it.
    fn end(&mut self, random: &mut Random) {
        if random.one_in(2) {
            self.disk.work_again();
        } else {
            self.disk.cut_power(random);
            self.reported = self.safe;
        }
    }
}

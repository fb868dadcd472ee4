//! Every flush: a life is lived on a disk that is recorded, and afterwards the server is started on what the disk was
//! behind each flush, and on what a volatile cache may have left of the writes up to the next. What was acknowledged as
//! durable by that flush must be there, and nothing may be that was not sent by then.
//!
//! ```text
//! cargo test --test crash -- --every-flush --file-system xfs --seconds 10 --replays 100
//! TMPDIR=/dev/shm cargo test ...     where the disk of this host is slow
//! ```

use std::fs::{self, File, OpenOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::life::{Life, World};
use crate::log::Log;
use crate::notes::Notes;
use crate::options::{EveryFlush, Options};
use crate::power::{run as run_command, unmount};
use crate::promises::Promises;
use crate::random::Random;
use crate::recorded::{self, RecordedDisk};

/// Between the seeds of what is recorded and of the starts on it.
const SEEDS: u64 = 1 << 32;

/// Whether nothing was lost; says so, or why there was none of it.
pub fn run(options: &Options) -> bool {
    let Some(every_flush) = &options.every_flush else { return true };
    let root = std::env::temp_dir().join(format!("annulus-flushes-{}", std::process::id()));
    let disk = match RecordedDisk::new(&root, &every_flush.file_system) {
        Ok(disk) => disk,
        Err(why) => {
            println!("every flush: skipped, as this machine does not allow it: {why}");
            let _ = fs::remove_dir_all(&root);
            return true;
        }
    };
    println!("every flush: {} below {}", every_flush.file_system, root.display());
    let Some((first, notes)) = record(disk, every_flush, options.seed) else { return false };
    let mut replay = Replay::new(&root, every_flush, options.seed, notes);
    let is_kept = replay.run(first);
    if is_kept {
        replay.life.forget();
        fs::remove_dir_all(&root).unwrap();
    }
    is_kept
}

/// Lives a life on the disk; where its log began, and what was promised when.
fn record(disk: RecordedDisk, every_flush: &EveryFlush, seed: u64) -> Option<(usize, Notes)> {
    let log = File::open(disk.log()).unwrap();
    let first = recorded::entries(&log) as usize;
    let began = Instant::now();
    let promises = Promises::with_notes(Notes::new(log));
    let mut life = Life::on(disk.mount().join("data"), seed, World::Recorded, promises);
    let end = catch_unwind(AssertUnwindSafe(|| {
        while began.elapsed() < every_flush.time {
            life.round();
        }
    }));
    drop(disk);
    if end.is_err() {
        eprintln!("\nthe life with seed {seed} that was recorded failed; its logs are in {}", life.keep());
        return None;
    }
    let tally = life.take_tally();
    println!("{tally}");
    let notes = life.promises().take_notes().expect("it was given some");
    life.forget();
    Some((first, notes))
}

/// What is done with a record.
struct Replay<'a> {
    root: &'a Path,
    every_flush: &'a EveryFlush,
    random: Random,
    log: Log,
    notes: Notes,
    /// The disk as it was behind the flush that is looked at.
    image: File,
    life: Life,
}

impl<'a> Replay<'a> {
    fn new(root: &'a Path, every_flush: &'a EveryFlush, seed: u64, notes: Notes) -> Self {
        let image = OpenOptions::new().write(true).open(root.join("base.img")).unwrap();
        let data_dir = root.join("mount/data");
        Self {
            root,
            every_flush,
            random: Random::new(seed),
            log: Log::read(&root.join("log.img")),
            notes,
            image,
            life: Life::on(data_dir, seed + SEEDS, World::Kills, Promises::default()),
        }
    }

    /// Looks at an even sample of the flushes from this entry on; whether nothing was lost.
    fn run(&mut self, first: usize) -> bool {
        let mut flushes = self.log.flushes();
        flushes.retain(|&flush| flush > first);
        let wanted = (self.every_flush.replays / 2).clamp(1, flushes.len());
        let (mut at, mut acked, mut replays, mut pieces) = (0, 0, 0, 0);
        for sample in 0..wanted {
            let number = (sample + 1) * flushes.len() / wanted - 1;
            let flush = flushes[number];
            self.log.replay(at..flush, &self.image).unwrap();
            at = flush;
            // Behind it, up to the next flush, which is not over.
            let next = flushes.get(number + 1).map_or(flush, |next| next - 1);
            let some = (next > flush).then_some(next);
            for until in std::iter::once(flush).chain(some) {
                acked += self.notes.tell(self.life.promises(), flush, until);
                let scratch = self.copy();
                pieces += self.log.replay_some(flush..until, &scratch, &mut self.random).unwrap();
                replays += 1;
                if !self.look() {
                    eprintln!(
                        "\nbehind flush {number} of {} ({flush} entries of the log, some of {until})",
                        flushes.len()
                    );
                    eprintln!(
                        "something was lost; the disk is scratch.img in {}, logs are in {}",
                        self.root.display(),
                        self.life.keep()
                    );
                    return false;
                }
            }
        }
        println!(
            "every flush, {}: {} flushes, {replays} starts behind {wanted} of them, {pieces} pieces of 4 KiB kept \
             of writes behind the last; {acked} operations acked durable, 0 lost, {} cells compared",
            self.every_flush.file_system,
            flushes.len(),
            self.life.take_tally().checked
        );
        true
    }

    /// A copy of the disk, that the file system and the server may write to.
    fn copy(&self) -> File {
        let copied = run_command(
            Command::new("cp")
                .arg("--sparse=always")
                .arg(self.path("base.img"))
                .arg(self.path("scratch.img")),
        );
        copied.unwrap();
        OpenOptions::new().write(true).open(self.path("scratch.img")).unwrap()
    }

    /// Whether a server that starts on the copy has all that was promised.
    fn look(&mut self) -> bool {
        let mount = self.path("mount");
        recorded::mount(&self.every_flush.file_system, &self.path("scratch.img"), &mount).unwrap();
        let end = catch_unwind(AssertUnwindSafe(|| self.life.look()));
        unmount(&mount).unwrap();
        end.is_ok()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

//! Folding on a disk with little room. Goal: no fold gets an error for that, and whoever reads is not held up. Method: a
//! disk that counts the blocks it has given, as a file system does: what is written over takes nothing.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use annulus::crdt::Time;
use annulus::storage::{Base, Disk, DiskFile, Room};

use crate::disks::MemoryDisk;
use crate::journal_files::{EPOCH, JournalFiles};
use crate::loading::many;
use crate::model::{Accepted, HASHER, Loaded, load, no_tail, open_base, records_of};

const BLOCK_BYTES: u64 = 4096;
const MIB: u64 = 1 << 20;
const KEYS: usize = 40_000;
/// What the server leaves to the journal at the least: more than a commit takes.
const FLOOR_BYTES: u64 = 8 * MIB;

/// A disk with a base that fills some MiB.
#[derive(Clone, Debug)]
struct Narrow(MemoryDisk, Arc<Blocks>);

#[derive(Debug)]
struct Blocks {
    left: AtomicU64,
    /// Writes of sums until one finds the disk full.
    sums_left: AtomicU64,
    given: Mutex<BTreeSet<(String, u64)>>,
}

#[derive(Debug)]
struct File {
    name: String,
    inner: Arc<dyn DiskFile>,
    blocks: Arc<Blocks>,
}

impl Default for Blocks {
    fn default() -> Self {
        let endless = || AtomicU64::new(u64::MAX);
        Self { left: endless(), sums_left: endless(), given: Mutex::default() }
    }
}

impl Narrow {
    fn new() -> Self {
        Self(MemoryDisk::default(), Arc::default())
    }

    /// What is synced of it, on another disk.
    fn copy(&self) -> Self {
        let blocks = Blocks {
            given: Mutex::new(self.1.given.lock().expect("nobody panics with it").clone()),
            ..Blocks::default()
        };
        Self(self.0.after_power_cut(), Arc::new(blocks))
    }

    fn leave(&self, bytes: u64) {
        self.1.left.store(bytes / BLOCK_BYTES, Ordering::Relaxed);
        self.1.sums_left.store(u64::MAX, Ordering::Relaxed);
    }

    /// The disk is full once so many more sums are written, and takes none any more, not even over old ones.
    fn fill_after_sums(&self, writes: u64) {
        self.1.sums_left.store(writes, Ordering::Relaxed);
    }

    fn left(&self) -> u64 {
        self.1.left.load(Ordering::Relaxed).saturating_mul(BLOCK_BYTES)
    }

    fn file(&self, name: &str, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(File { name: name.to_owned(), inner, blocks: Arc::clone(&self.1) })
    }
}

impl Disk for Narrow {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.0.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.0.create(name)?))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut given = self.1.given.lock().expect("nobody panics with it");
        *given = given
            .iter()
            .map(|(name, block)| (if name == from { to.to_owned() } else { name.clone() }, *block))
            .collect();
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.0.sync_folder(folder)
    }

    fn birth(&self, name: &str) -> io::Result<String> {
        self.0.birth(name)
    }
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut given = self.blocks.given.lock().expect("nobody panics with it");
        if self.name == "base.redb.sums" {
            match self.blocks.sums_left.load(Ordering::Relaxed) {
                0 => return Err(ErrorKind::StorageFull.into()),
                u64::MAX => {}
                left => self.blocks.sums_left.store(left - 1, Ordering::Relaxed),
            }
        }
        for block in offset / BLOCK_BYTES..(offset + bytes.len() as u64).div_ceil(BLOCK_BYTES) {
            if given.contains(&(self.name.clone(), block)) {
                continue;
            }
            let left = self.blocks.left.load(Ordering::Relaxed);
            if left == 0 {
                let written = (block * BLOCK_BYTES).saturating_sub(offset) as usize;
                self.inner.write_at(&bytes[..written], offset)?;
                return Err(ErrorKind::StorageFull.into());
            }
            self.blocks.left.store(left - 1, Ordering::Relaxed);
            given.insert((self.name.clone(), block));
        }
        drop(given);
        self.inner.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

/// What the disk has left above a floor; whoever has to wait finds what `on_wait` does.
struct Told {
    disk: Narrow,
    floor: u64,
    waits: AtomicU64,
    on_wait: Box<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

impl Room for Told {
    fn free(&self) -> u64 {
        self.disk.left()
    }

    fn floor(&self) -> u64 {
        self.floor
    }

    fn wait(&self) -> bool {
        self.waits.fetch_add(1, Ordering::Relaxed);
        (self.on_wait)()
    }
}

fn told(disk: &Narrow, floor: u64, on_wait: impl Fn() -> bool + Send + Sync + 'static) -> Arc<Told> {
    Arc::new(Told { disk: disk.clone(), floor, waits: AtomicU64::new(0), on_wait: Box::new(on_wait) })
}

/// Changes of so many keys, and later ones of the same.
fn two_rounds(keys: usize, value_bytes: usize) -> (Vec<Accepted>, Vec<Accepted>) {
    let first = many(keys as u64, value_bytes);
    let later = first.iter().cloned().map(|mut accepted| {
        let applied = Time::new(100_000 + accepted.applied.millis(), 0);
        accepted.applied = applied;
        if let crate::crdt_histories::What::Lww { at, .. } = &mut accepted.change.what {
            at.time = applied;
        }
        accepted
    });
    (first.clone(), later.collect())
}

fn todos(base: &Base) -> Loaded {
    load(base, &no_tail(), "todos", 1, Time::ZERO)
}

/// A base with the first round, and a segment with the second; and what must come of it.
fn scene() -> (Narrow, Base, String, Loaded) {
    // It takes a while, so each test has a copy.
    static MADE: OnceLock<(Narrow, String, Loaded)> = OnceLock::new();
    let (disk, name, expected) = MADE.get_or_init(|| made(KEYS, 200));
    let disk = disk.copy();
    let base = open_base(&disk);
    (disk, base, name.clone(), expected.clone())
}

fn made(keys: usize, value_bytes: usize) -> (Narrow, String, Loaded) {
    let (first, later) = two_rounds(keys, value_bytes);
    let disk = Narrow::new();
    let mut journal = JournalFiles::new(&disk);
    let base = open_base(&disk);
    base.fold(&disk, &journal.write(&records_of("todos", &first)), EPOCH).expect("there is room");
    drop(base);
    let name = journal.write(&records_of("todos", &later));
    let wide = disk.copy();
    let base = open_base(&wide);
    base.fold(&wide, &name, EPOCH).expect("there is room");
    (disk, name, todos(&base))
}

#[test]
fn a_fold_takes_no_more_at_once_than_there_is_room_for() {
    let (disk, base, name, expected) = scene();
    let room = told(&disk, FLOOR_BYTES, || panic!("nothing runs out of room"));
    base.heed(Arc::clone(&room) as Arc<dyn Room>);
    // Less than it takes to copy every page, at once or one after the other.
    disk.leave(FLOOR_BYTES + 8 * MIB);
    let folded = base.fold(&disk, &name, EPOCH).unwrap();
    assert!(folded.lacks_room && folded.transactions > 10, "{folded:?}");
    assert_eq!(base.folded(), folded.through);
    assert!(disk.left() >= FLOOR_BYTES / 2 - MIB, "{} bytes are left", disk.left());
    disk.leave(FLOOR_BYTES + 32 * MIB);
    let rest = base.fold(&disk, &name, EPOCH).unwrap();
    assert!(!rest.is_interrupted && rest.transactions > 10, "{rest:?}");
    assert_eq!(todos(&base), expected);
}

#[test]
fn a_fold_without_room_changes_nothing_and_goes_on_when_there_is_some() {
    let (disk, base, name, expected) = scene();
    let room = told(&disk, FLOOR_BYTES, || panic!("nothing runs out of room"));
    base.heed(Arc::clone(&room) as Arc<dyn Room>);
    disk.leave(FLOOR_BYTES / 2 - MIB);
    let before = todos(&base).state.len();
    let folded = base.fold(&disk, &name, EPOCH).unwrap();
    assert!(folded.is_interrupted && folded.lacks_room, "{folded:?}");
    assert_eq!(base.folded(), folded.through);
    assert!(disk.left() >= FLOOR_BYTES / 2 - 2 * MIB, "{} bytes are left", disk.left());
    assert_eq!(todos(&base).state.len(), before, "who reads is served");
    disk.leave(64 * MIB);
    let folded = base.fold(&disk, &name, EPOCH).unwrap();
    assert!(!folded.is_interrupted, "{folded:?}");
    assert_eq!(todos(&base), expected);
}

// Others may take the room that the fold was told of. redb would answer nothing any more after such an error.
#[test]
fn a_fold_that_was_promised_too_much_is_given_up_and_comes_again() {
    let (disk, base, name, expected) = scene();
    let room = told(&Narrow::new(), 0, || panic!("it is seen before the commit"));
    base.heed(room);
    disk.leave(4 * BLOCK_BYTES);
    let folded = base.fold(&disk, &name, EPOCH).unwrap();
    assert!(folded.lacks_room && folded.transactions == 0, "{folded:?}");
    assert_eq!(todos(&base).state.len(), KEYS);
    disk.leave(64 * MIB);
    let folded = base.fold(&disk, &name, EPOCH).unwrap();
    assert_eq!((folded.is_interrupted, folded.transactions), (false, 1));
    assert_eq!(todos(&base), expected);
    drop(base);
    assert_eq!(todos(&open_base(&disk)), expected);
}

#[test]
fn a_commit_without_room_waits_and_holds_up_nobody_who_reads() {
    let (disk, base, name, expected) = scene();
    // All that one transaction writes is in memory until it commits.
    let base = Arc::new(base.with_transaction_records(100));
    let has_read = Arc::new(AtomicBool::new(false));
    let on_wait = {
        let (disk, base, has_read) = (disk.clone(), Arc::downgrade(&base), Arc::clone(&has_read));
        move || {
            let (base, done) = (base.upgrade().unwrap(), Arc::clone(&has_read));
            let reader = thread::spawn(move || {
                assert_eq!(todos(&base).state.len(), KEYS);
                done.store(true, Ordering::Release);
            });
            for _ in 0..20_000 {
                if reader.is_finished() {
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
            assert!(has_read.load(Ordering::Acquire), "who reads waits for who commits");
            disk.leave(64 * MIB);
            true
        }
    };
    // It is told of far more than there is.
    let room = told(&Narrow::new(), 0, on_wait);
    base.heed(Arc::clone(&room) as Arc<dyn Room>);
    disk.leave(0);
    let folded = base.fold(&disk, &name, EPOCH).unwrap();
    assert_eq!((folded.is_interrupted, room.waits.load(Ordering::Relaxed)), (false, 1), "{folded:?}");
    assert_eq!(todos(&base), expected);
}

#[test]
fn at_the_end_a_commit_without_room_fails_and_the_next_start_goes_on() {
    let (disk, base, name, expected) = scene();
    let base = base.with_transaction_records(100);
    base.heed(told(&Narrow::new(), 0, || false));
    disk.leave(0);
    let folded_before = base.folded();
    assert!(base.fold(&disk, &name, EPOCH).is_err());
    drop(base);
    // The disk is as full as before.
    disk.leave(0);
    let base = open_base(&disk);
    assert_eq!(base.folded(), folded_before);
    assert_eq!(todos(&base).state.len(), KEYS);
    disk.leave(64 * MIB);
    base.fold(&disk, &name, EPOCH).unwrap();
    assert_eq!(todos(&base), expected);
}

/// Goal: what is on the disk by half is read as it was written, not taken for damage. Method: the disk is full from one block
/// of a fold on, each time another, or from one write of sums on; values take several blocks, and so little of the base is in
/// memory that the fold reads what it has written.
#[test]
fn a_page_whose_end_or_whose_sum_finds_no_room_is_read_as_it_was_written() {
    let made = made(100, 9_000);
    let blocks = (0..).step_by(5).map_while(|blocks| outcome(&made, |disk| disk.leave(blocks * BLOCK_BYTES)));
    let given_up = blocks.filter(|outcome| *outcome == Outcome::GivenUp).count();
    let sums = (0..).map_while(|writes| outcome(&made, |disk| disk.fill_after_sums(writes)));
    let waited = sums.filter(|outcome| *outcome == Outcome::Waited).count();
    assert!(given_up > 5 && waited > 0, "{given_up} {waited}");
}

#[derive(PartialEq)]
enum Outcome {
    GivenUp,
    Waited,
}

/// Folds on a disk that gets full, and again when there is room; `None`: it did not get full.
fn outcome((disk, name, expected): &(Narrow, String, Loaded), fill: impl FnOnce(&Narrow)) -> Option<Outcome> {
    const CACHE_BYTES: usize = 64 << 10;
    let disk = disk.copy();
    let base = Base::open(&disk, HASHER, CACHE_BYTES).expect("the base opens");
    let on_wait = {
        let disk = disk.clone();
        move || {
            disk.leave(64 * MIB);
            true
        }
    };
    // It is told of far more than there is.
    let room = told(&Narrow::new(), 0, on_wait);
    base.heed(Arc::clone(&room) as Arc<dyn Room>);
    fill(&disk);
    let folded = base.fold(&disk, name, EPOCH).expect("a full disk is no error");
    if folded.is_interrupted {
        assert_eq!(todos(&base).state.len(), expected.state.len(), "who reads is served");
        disk.leave(64 * MIB);
        base.fold(&disk, name, EPOCH).expect("there is room");
    }
    assert_eq!(todos(&base), *expected);
    drop(base);
    assert_eq!(todos(&open_base(&disk)), *expected);
    let has_waited = room.waits.load(Ordering::Relaxed) > 0;
    let outcome = if folded.is_interrupted { Outcome::GivenUp } else { Outcome::Waited };
    (folded.is_interrupted || has_waited).then_some(outcome)
}

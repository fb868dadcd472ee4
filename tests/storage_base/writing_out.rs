//! What a fold, a sweep and a copy write goes to the disk little by little. Goal: a group of the journal never waits in the
//! queue of the disk behind a whole transaction. Method: a disk that counts what of the base is written and not synced.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annulus::crdt::Time;
use annulus::storage::{Base, Compaction, Disk, DiskFile};

use crate::disks::MemoryDisk;
use crate::journal_files::{EPOCH, JournalFiles};
use crate::loading::many;
use crate::model::{HASHER, records_of};

const KEYS: u64 = 100_000;
const CACHE_BYTES: usize = 8 << 20;
/// With one more write of redb, which says in one piece which pages are free.
const UNSYNCED_BYTES_MAX: u64 = 3 << 20;

/// Counts what of the base is not synced.
#[derive(Debug, Default)]
struct Counting {
    disk: MemoryDisk,
    unsynced: Arc<Unsynced>,
}

#[derive(Debug, Default)]
struct Unsynced {
    now: AtomicU64,
    most: AtomicU64,
    /// Syncs of more than one and less than one and a half MiB, as somebody has them between changes.
    early: AtomicU64,
    /// All that was written.
    sum: AtomicU64,
}

#[derive(Debug)]
struct File {
    inner: Arc<dyn DiskFile>,
    unsynced: Arc<Unsynced>,
}

impl Counting {
    fn file(&self, name: &str, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        if !name.starts_with("base.redb") || name.contains("sums") {
            return inner;
        }
        Arc::new(File { inner, unsynced: Arc::clone(&self.unsynced) })
    }

    /// The most that was not synced at once, and all that was written, since the last call.
    fn take(&self) -> (u64, u64) {
        (self.unsynced.most.swap(0, Ordering::Relaxed), self.unsynced.sum.swap(0, Ordering::Relaxed))
    }
}

impl Disk for Counting {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.disk.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.disk.create(name)?))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }

    fn birth(&self, name: &str) -> io::Result<String> {
        self.disk.birth(name)
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
        let written = bytes.len() as u64;
        let now = self.unsynced.now.fetch_add(written, Ordering::Relaxed) + written;
        self.unsynced.most.fetch_max(now, Ordering::Relaxed);
        self.unsynced.sum.fetch_add(written, Ordering::Relaxed);
        self.inner.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        if (1 << 20..3 << 19).contains(&self.unsynced.now.swap(0, Ordering::Relaxed)) {
            self.unsynced.early.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.sync()
    }
}

/// Much was written, and little of it at once.
fn assert_little_by_little(disk: &Counting, what: &str) {
    let (most, sum) = disk.take();
    assert!(sum > 3 * UNSYNCED_BYTES_MAX, "{what} wrote {sum} bytes, too few to tell");
    assert!(most <= UNSYNCED_BYTES_MAX, "{what} had {most} of {sum} bytes unsynced");
}

#[test]
fn what_a_fold_a_sweep_and_a_copy_write_is_synced_little_by_little() {
    let disk = Counting::default();
    let mut journal = JournalFiles::new(&disk);
    let base = Base::open(&disk, HASHER, CACHE_BYTES).expect("the base opens");
    let sets = many(KEYS, 300);
    base.fold(&disk, &journal.write(&records_of("m", &sets)), EPOCH).expect("there is room");
    let early = disk.unsynced.early.load(Ordering::Relaxed) << 20;
    let sum = disk.unsynced.sum.load(Ordering::Relaxed);
    // The rest is what a commit writes once more.
    assert!(3 * early > sum, "{early} of {sum} bytes were synced while redb held nothing that others need");
    assert_little_by_little(&disk, "a fold");
    let deletes: Vec<_> = sets
        .into_iter()
        .map(|mut accepted| {
            accepted.applied = Time::new(1_000_000 + accepted.applied.millis(), 0);
            if let crate::crdt_histories::What::Lww { at, value, .. } = &mut accepted.change.what {
                (at.time, *value) = (accepted.applied, None);
            }
            accepted
        })
        .collect();
    let few = deletes.len() / 4;
    base.fold(&disk, &journal.write(&records_of("m", &deletes[few..])), EPOCH).expect("there is room");
    assert_little_by_little(&disk, "a fold of deletes");
    base.sweep(Time::new(9_000_000, 0), 0, usize::MAX).expect("there is room");
    assert_little_by_little(&disk, "a sweep");
    let copied = base.compact(&disk, &|| true).expect("there is room");
    assert!(matches!(copied, Compaction::Done { .. }), "{copied:?}");
    assert_little_by_little(&disk, "a copy");
}

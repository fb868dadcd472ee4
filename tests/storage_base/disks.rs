//! The disks that the contract is tried on: a folder of the host, and one in memory that can lose its power.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use annulus::storage::{Disk, DiskFile, HostDisk};

use crate::crdt_histories::{Random, each_seed};

/// Tries the same on every kind of disk.
pub fn on_each_disk(mut act: impl FnMut(&dyn Disk)) {
    act(&MemoryDisk::default());
    let folder = TempFolder::new();
    act(&HostDisk::new(&folder.0).expect("the temporary folder takes files"));
}

/// Tries many seeds on the disk in memory, and some of them, as it is slow, on the host's.
pub fn each_seed_on_each_disk(act: impl Fn(&mut Random, &dyn Disk)) {
    let on_host = Cell::new(3);
    each_seed(|random| {
        act(random, &MemoryDisk::default());
        if on_host.get() > 0 {
            on_host.set(on_host.get() - 1);
            let folder = TempFolder::new();
            act(random, &HostDisk::new(&folder.0).expect("the temporary folder takes files"));
        }
    });
}

/// A folder that is gone with this.
pub struct TempFolder(pub PathBuf);

impl TempFolder {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("annulus-base-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("the temporary folder can be made");
        Self(path)
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Files in memory, each with what the programs see and what a power cut leaves.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
    /// Syncs that still work; `None`: all.
    syncs_left: Mutex<Option<u64>>,
    /// Syncs until one fails that everything works after; `None`: none does.
    syncs_to_lost: Mutex<Option<u64>>,
}

#[derive(Debug)]
struct MemoryFile {
    live: Mutex<Vec<u8>>,
    durable: Mutex<Vec<u8>>,
    /// Written since the last sync.
    dirty: Mutex<Vec<Range<usize>>>,
    /// Its length was set since the last sync.
    is_resized: Mutex<bool>,
    shared: std::sync::Weak<Shared>,
}

impl MemoryDisk {
    /// Only so many syncs work from now on, over all files; then nothing works any more.
    pub fn fail_after_syncs(&self, syncs: u64) {
        *lock(&self.0.syncs_left) = Some(syncs);
    }

    pub fn has_failed(&self) -> bool {
        *lock(&self.0.syncs_left) == Some(0)
    }

    /// The sync after so many more fails, and the kernel counts as clean what it should have synced (fsyncgate, 2018): a later
    /// sync does not bring it to the disk.
    pub fn lose_after_syncs(&self, syncs: u64) {
        *lock(&self.0.syncs_to_lost) = Some(syncs);
    }

    pub fn has_lost(&self) -> bool {
        lock(&self.0.syncs_to_lost).is_none()
    }

    /// The disk as it is once the power is back.
    pub fn after_power_cut(&self) -> Self {
        let after = Self::default();
        for (name, file) in &*lock(&self.0.files) {
            let bytes = lock(&file.durable).clone();
            lock(&after.0.files).insert(name.clone(), MemoryFile::new(&after, bytes));
        }
        after
    }
}

impl Shared {
    /// Fails from the last sync on that works.
    fn count_sync(&self) -> io::Result<()> {
        if let Some(left) = &mut *lock(&self.syncs_left) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(io::Error::other("the disk has failed"));
            }
        }
        Ok(())
    }

    /// Counts one sync; whether it is the one that fails.
    fn loses_this_sync(&self) -> bool {
        let mut left = lock(&self.syncs_to_lost);
        match *left {
            Some(0) => *left = None,
            Some(syncs) => {
                *left = Some(syncs - 1);
                return false;
            }
            None => return false,
        }
        true
    }
}

impl MemoryFile {
    fn new(disk: &MemoryDisk, bytes: Vec<u8>) -> Arc<Self> {
        let (live, durable) = (Mutex::new(bytes.clone()), Mutex::new(bytes));
        let shared = Arc::downgrade(&disk.0);
        Arc::new(Self { live, durable, dirty: Mutex::default(), is_resized: Mutex::default(), shared })
    }

    fn works(&self) -> io::Result<()> {
        let has_failed = self.shared.upgrade().is_some_and(|disk| *lock(&disk.syncs_left) == Some(0));
        if has_failed { Err(io::Error::other("the disk has failed")) } else { Ok(()) }
    }
}

impl Disk for MemoryDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let files = lock(&self.0.files);
        let file = files.get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(file)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = lock(&self.0.files);
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = MemoryFile::new(self, Vec::new());
        files.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let files = lock(&self.0.files);
        let split = |name: &String| match name.rsplit_once('/') {
            Some((folder, name)) => (folder.to_owned(), name.to_owned()),
            None => (String::new(), name.clone()),
        };
        Ok(files.keys().map(split).filter(|(of, _)| of == folder).map(|(_, name)| name).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.0.files);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = lock(&self.0.files).remove(name);
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Names are there at once; but a disk that fails at its sync has failed.
    fn sync_folder(&self, _folder: &str) -> io::Result<()> {
        self.0.count_sync()
    }

    fn birth(&self, name: &str) -> io::Result<String> {
        let files = lock(&self.0.files);
        Ok(format!("{:p}", Arc::as_ptr(files.get(name).ok_or(io::ErrorKind::NotFound)?)))
    }
}

impl DiskFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.live).len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.works()?;
        let live = lock(&self.live);
        let range = offset as usize..offset as usize + buffer.len();
        buffer.copy_from_slice(live.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.works()?;
        let mut live = lock(&self.live);
        let end = offset as usize + bytes.len();
        if live.len() < end {
            live.resize(end, 0);
        }
        live[offset as usize..end].copy_from_slice(bytes);
        lock(&self.dirty).push(offset as usize..end);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.works()?;
        lock(&self.live).resize(len as usize, 0);
        *lock(&self.is_resized) = true;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if let Some(disk) = self.shared.upgrade() {
            disk.count_sync()?;
        }
        let (live, mut durable) = (lock(&self.live), lock(&self.durable));
        let (dirty, is_resized) =
            (std::mem::take(&mut *lock(&self.dirty)), std::mem::take(&mut *lock(&self.is_resized)));
        if self.shared.upgrade().is_some_and(|disk| disk.loses_this_sync()) {
            return Err(io::Error::other("input/output error"));
        }
        if is_resized {
            durable.resize(live.len(), 0);
        }
        for range in dirty {
            // What was written and cut off again is not there.
            let range = range.start.min(live.len())..range.end.min(live.len());
            let len = durable.len().max(range.end);
            durable.resize(len, 0);
            durable[range.clone()].copy_from_slice(&live[range]);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no other test uses this disk")
}

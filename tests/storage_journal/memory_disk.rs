//! A disk in memory that can lose power: it keeps what is there and what would survive.
//!
//! After a power cut each file holds, byte by byte, some of what was written since its sync and otherwise what it
//! held then; of the creations, renamings and removals since the sync of their folder a random number, from the
//! front, has happened. It can be told to fail, for crashes in the middle of something.

#![allow(
    clippy::disallowed_types,
    reason = "this is no shard: the files of one disk are shared by their handles"
)]

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use annulus::storage::{Disk, DiskFile};

use crate::random::Random;

/// What the kernel says of a block that the disk cannot read.
const EIO: i32 = 5;

#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    contents: Vec<Content>,
    /// Which content each name has, now and for certain.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// What leads from the durable names to the others.
    unsynced: Vec<Renaming>,
    /// Changes until everything fails.
    changes_left: Option<u32>,
    /// Bytes of a content that the disk does not give any more.
    unreadable: Option<(usize, Range<usize>)>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Renaming {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    content: usize,
}

impl MemoryDisk {
    /// Everything that is there, by name.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        state
            .names
            .iter()
            .map(|(name, &content)| (name.clone(), state.contents[content].live.clone()))
            .collect()
    }

    /// A disk on which this is there, for certain.
    pub fn with_files(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let disk = Self::default();
        for (name, bytes) in files {
            disk.create(name).unwrap().write_at(bytes, 0).unwrap();
        }
        disk.sync_all();
        disk
    }

    /// The disk does not give these bytes of a file any more; what is written anew lies elsewhere.
    pub fn lose(&self, name: &str, bytes: Range<usize>) {
        let mut state = self.lock();
        let content = state.names[name];
        state.unreadable = Some((content, bytes));
    }

    pub fn sync_all(&self) {
        let mut state = self.lock();
        for content in &mut state.contents {
            content.durable = content.live.clone();
        }
        state.durable_names = state.names.clone();
        state.unsynced.clear();
    }

    /// After this many more changes and syncs each one fails.
    pub fn fail_after(&self, changes: u32) {
        self.lock().changes_left = Some(changes);
    }

    /// The next one works again, too.
    pub fn cut_power(&self, random: &mut Random) {
        let mut state = self.lock();
        let happened = random.below(state.unsynced.len() + 1);
        let mut names = std::mem::take(&mut state.durable_names);
        state.unsynced.drain(..).take(happened).for_each(|renaming| renaming.apply(&mut names));
        (state.names, state.durable_names) = (names.clone(), names);
        for content in &mut state.contents {
            content.live = torn(random, content);
            content.durable = content.live.clone();
        }
        state.changes_left = None;
    }

    /// Only the process has ended: everything is as it was.
    pub fn work_again(&self) {
        self.lock().changes_left = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        match &mut state.changes_left {
            Some(0) => return Err(io::Error::other("the disk was told to fail")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }
}

/// What is left of a file.
fn torn(random: &mut Random, content: &Content) -> Vec<u8> {
    let (live, durable) = (&content.live, &content.durable);
    if live == durable {
        return live.clone();
    }
    let (short, long) = (live.len().min(durable.len()), live.len().max(durable.len()));
    let len = match random.below(4) {
        0 => durable.len(),
        1 => live.len(),
        _ => random.within(short..long + 1),
    };
    // Everything up to a byte; blocks of a few bytes; or nothing.
    let (mode, cut, block) = (random.below(3), random.below(long + 1), random.within(1..100));
    let is_zeroed = random.one_in(2);
    let mut is_written = false;
    let mut byte = |at: usize| {
        if at.is_multiple_of(block) {
            is_written = random.one_in(2);
        }
        let from_live = match mode {
            0 => at < cut,
            1 => is_written,
            _ => false,
        };
        let byte = live.get(at).filter(|_| from_live).or(durable.get(at));
        // The size covers bytes that nobody has written: zeros, or what the block was used for before.
        byte.copied().unwrap_or_else(|| if is_zeroed { 0 } else { random.next() as u8 })
    };
    (0..len).map(&mut byte).collect()
}

impl Renaming {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, content) => {
                names.insert(name, content);
            }
            Self::Rename(from, to) => {
                if let Some(content) = names.remove(&from) {
                    names.insert(to, content);
                }
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
        }
    }

    fn is_in(&self, folder: &str) -> bool {
        let (Self::Create(name, _) | Self::Rename(name, _) | Self::Remove(name)) = self;
        folder_of(name) == folder
    }
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl State {
    fn rename(&mut self, renaming: Renaming) {
        renaming.clone().apply(&mut self.names);
        self.unsynced.push(renaming);
    }

    fn content(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Disk for MemoryDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let content = self.lock().content(name)?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), content }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.change()?;
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let content = state.contents.len();
        state.contents.push(Content::default());
        state.rename(Renaming::Create(name.to_owned(), content));
        Ok(Arc::new(MemoryFile { disk: self.clone(), content }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.lock();
        let below = state.names.keys().filter(|name| folder_of(name) == folder);
        Ok(below.map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.change()?;
        state.content(from)?;
        state.rename(Renaming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.change()?;
        state.content(name)?;
        state.rename(Renaming::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.change()?;
        let (synced, unsynced) =
            state.unsynced.drain(..).partition::<Vec<_>, _>(|renaming| renaming.is_in(folder));
        state.unsynced = unsynced;
        synced.into_iter().for_each(|renaming| renaming.apply(&mut state.durable_names));
        Ok(())
    }

    fn birth(&self, name: &str) -> io::Result<String> {
        Ok(self.lock().content(name)?.to_string())
    }
}

impl DiskFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().contents[self.content].live.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.lock();
        let start = offset as usize;
        let is_lost = |(content, lost): &(usize, Range<usize>)| {
            *content == self.content && lost.start < start + buffer.len() && start < lost.end
        };
        if state.unreadable.as_ref().is_some_and(is_lost) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let bytes = state.contents[self.content].live.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.change()?;
        let live = &mut state.contents[self.content].live;
        let end = offset as usize + bytes.len();
        live.resize(live.len().max(end), 0);
        live[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.change()?.contents[self.content].live.resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.change()?;
        let content = &mut state.contents[self.content];
        content.durable = content.live.clone();
        Ok(())
    }
}

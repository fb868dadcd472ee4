//! What redb keeps its pages in: a file of a [`super::Disk`], or, for who must not change it, such a file under
//! a layer of memory that takes the writes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
#[expect(clippy::disallowed_types, reason = "redb calls from whatever thread of the storage uses it")]
use std::sync::{Mutex, PoisonError};

use super::blocks::Blocks;
use super::pages::PageFile;
use super::{DiskFile, Room, is_without_room};

/// What the base and its file know of the room on the disk.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "redb calls from whatever thread of the storage uses it")]
pub(super) struct Shortage {
    room: OnceLock<Arc<dyn Room>>,
    /// Something was to be written for which there was no room. It is in memory until it is synced.
    is_spilled: AtomicBool,
    spilled: Mutex<Blocks>,
}

impl Shortage {
    /// From now on a write that finds no room is no error.
    pub fn heed(&self, room: Arc<dyn Room>) {
        // There is one for the life of a server.
        let _ = self.room.set(room);
    }

    pub fn free(&self) -> u64 {
        self.room.get().map_or(u64::MAX, |room| room.free())
    }

    pub fn floor(&self) -> u64 {
        self.room.get().map_or(0, |room| room.floor())
    }

    pub fn is_spilled(&self) -> bool {
        self.is_spilled.load(Ordering::Acquire)
    }

    /// What has spilled is of a transaction that was given up.
    pub fn forget(&self) {
        self.with_spilled(Blocks::clear);
    }

    fn with_spilled<T>(&self, act: impl FnOnce(&mut Blocks) -> T) -> T {
        let mut spilled = self.spilled.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut spilled);
        self.is_spilled.store(!spilled.is_empty(), Ordering::Release);
        result
    }
}

/// Reads and writes the file. Where anybody knows the room, redb is told of no write that finds none, as it would answer
/// nothing any more. Such a write stays in memory, and the sync behind it waits: redb syncs with nothing locked that who
/// reads may need, but writes with all of it locked.
#[derive(Debug)]
pub(super) struct FileBackend {
    file: Arc<PageFile>,
    shortage: Arc<Shortage>,
}

impl FileBackend {
    /// Of a new file.
    pub fn new(file: Arc<PageFile>, shortage: Arc<Shortage>) -> Self {
        Self { file, shortage }
    }

    /// Of a file that an earlier process has written.
    ///
    /// # Errors
    /// Of the file system.
    pub fn open(file: Arc<PageFile>, shortage: Arc<Shortage>) -> io::Result<Self> {
        sync_length(&*file)?;
        Ok(Self::new(file, shortage))
    }

    /// Keeps in memory what is to be written. Once anything is, all is, until the sync.
    fn spill(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let beneath = |rest: &mut [u8], at| self.file.read_at(rest, at);
        self.shortage.with_spilled(|spilled| spilled.write(data, offset, beneath))
    }

    /// Writes what has spilled, for which it waits until there is room.
    fn write_spilled(&self) -> io::Result<()> {
        while let Some((offset, content)) = self
            .shortage
            .with_spilled(|spilled| spilled.first().map(|(offset, content)| (offset, content.to_vec())))
        {
            match self.file.write_at(&content, offset) {
                Ok(()) => self.shortage.with_spilled(Blocks::drop_first),
                Err(error) if is_without_room(&error) && self.may_wait() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn may_wait(&self) -> bool {
        self.shortage.room.get().is_some_and(|room| room.wait())
    }
}

/// Syncs the length of a file that an earlier process has written, as redb writes a header that counts on it: where that
/// process has ended because it could not sync a longer file, a later sync alone may not bring the length.
///
/// # Errors
/// Of the file system.
pub(super) fn sync_length(file: &dyn DiskFile) -> io::Result<()> {
    file.set_len(file.size()?)?;
    file.sync()
}

impl redb::StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let beneath = |rest: &mut [u8], at| self.file.read_at(rest, at);
        if self.shortage.is_spilled() {
            // What has spilled may be in the file by half: without its end, or without its sum.
            self.shortage.with_spilled(|spilled| spilled.read(&mut bytes, offset, beneath))?;
        } else {
            beneath(&mut bytes, offset)?;
        }
        Ok(bytes)
    }

    /// Synced at once: redb writes a header that counts on the new length without a sync between the two, and
    /// panics when it finds that header in a file that is still short.
    fn set_len(&self, len: u64) -> io::Result<()> {
        loop {
            match self.file.set_len(len) {
                // Hardly ever, as a file that is only longer takes no room.
                Err(error) if is_without_room(&error) && self.may_wait() => {}
                set => break set?,
            }
        }
        if self.shortage.is_spilled() {
            self.shortage.with_spilled(|spilled| spilled.cut(len));
        }
        self.file.sync_length()
    }

    /// Eventual or not: a sync is the only barrier a file has.
    fn sync_data(&self, _eventual: bool) -> io::Result<()> {
        if self.shortage.is_spilled() {
            self.write_spilled()?;
        }
        loop {
            match self.file.write_sums() {
                Err(error) if is_without_room(&error) && self.may_wait() => {}
                written => break written?,
            }
        }
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.shortage.is_spilled() {
            return self.spill(offset, data);
        }
        match self.file.write_at(data, offset) {
            Err(error) if is_without_room(&error) && self.shortage.room.get().is_some() => {
                self.spill(offset, data)
            }
            written => written,
        }
    }
}

/// Reads the file and keeps what is written in memory, as even opening a base and closing it writes.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "redb calls from whatever thread of the storage uses it")]
pub(super) struct LayeredBackend {
    /// `None`: as if it were empty.
    file: Option<Arc<dyn DiskFile>>,
    layer: Mutex<Layer>,
}

#[derive(Debug)]
struct Layer {
    len: u64,
    /// Bytes of the file that still count; what lies behind them reads as zero.
    file_len: u64,
    /// What was written.
    blocks: Blocks,
}

impl LayeredBackend {
    /// # Errors
    /// Of the file system.
    #[expect(clippy::disallowed_types, reason = "as above")]
    pub fn new(file: Option<Arc<dyn DiskFile>>) -> io::Result<Self> {
        let len = file.as_ref().map_or(Ok(0), |file| file.size())?;
        Ok(Self { file, layer: Mutex::new(Layer { len, file_len: len, blocks: Blocks::default() }) })
    }

    fn with_layer<T>(&self, act: impl FnOnce(&mut Layer) -> io::Result<T>) -> io::Result<T> {
        let mut layer =
            self.layer.lock().map_err(|_| io::Error::other("a thread that wrote has panicked"))?;
        act(&mut layer)
    }

    /// Fills `buffer` from the file, and with zeros behind its end.
    fn read_file(&self, file_len: u64, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from_file = file_len.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let (read, beyond) = buffer.split_at_mut(from_file);
        beyond.fill(0);
        match &self.file {
            Some(file) if !read.is_empty() => file.read_at(read, offset),
            _ => Ok(()),
        }
    }
}

impl redb::StorageBackend for LayeredBackend {
    fn len(&self) -> io::Result<u64> {
        self.with_layer(|layer| Ok(layer.len))
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.with_layer(|layer| {
            if offset + len as u64 > layer.len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let beneath = |rest: &mut [u8], at| self.read_file(layer.file_len, rest, at);
            layer.blocks.read(&mut bytes, offset, beneath)
        })?;
        Ok(bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with_layer(|layer| {
            layer.len = len;
            layer.file_len = layer.file_len.min(len);
            layer.blocks.cut(len);
            Ok(())
        })
    }

    fn sync_data(&self, _eventual: bool) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with_layer(|layer| {
            let beneath = |rest: &mut [u8], at| self.read_file(layer.file_len, rest, at);
            layer.blocks.write(data, offset, beneath)?;
            layer.len = layer.len.max(offset + data.len() as u64);
            Ok(())
        })
    }
}

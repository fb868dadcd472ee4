//! The redb database on its file, opened anew after it has met a damaged page.
//!
//! redb refuses everybody once one read has failed, whoever needs the page. What it has committed is on the disk, so
//! it is dropped, which then writes nothing, and opened again: only what needs the damaged page fails.
//!
//! In the same way a copy takes its place ([`Pages::take_place`]); who reads the former one goes on with that.

use std::io::ErrorKind;
use std::sync::{Arc, PoisonError, TryLockError};
#[expect(
    clippy::disallowed_types,
    reason = "storage threads only: who opens the database anew waits for nobody"
)]
use std::sync::{RwLock, RwLockReadGuard};

use redb::{Builder, Database, ReadTransaction, WriteTransaction};

use super::backend::{FileBackend, LayeredBackend, Shortage, sync_length};
use super::base::failed;
use super::disk::remove_if_there;
use super::pages::{PageFile, SUMS_FILE, write_sums};
use super::redb_header::{abort_rollback, check_everything, check_header, forget_prepared};
use super::{BASE_FILE, Disk, DiskFile, StorageError};

/// What the file of the base is called until it is one, and the sums of a copy.
const BASE_FILE_NEW: &str = "base.redb.new";
const SUMS_FILE_NEW: &str = "base.redb.sums.new";

/// See the module.
#[derive(Debug)]
#[expect(clippy::disallowed_types, reason = "as above")]
pub(super) struct Pages {
    open: RwLock<Open>,
    cache_bytes: usize,
    /// Of the disk.
    pub shortage: Arc<Shortage>,
}

#[derive(Debug)]
pub(super) struct Open {
    database: Database,
    /// `None`: it is only read, by a command that ends at the first damage.
    file: Option<Arc<PageFile>>,
}

impl Open {
    /// See [`PageFile::write_out`].
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn write_out(&self) -> Result<(), StorageError> {
        let written = self.file.as_ref().map_or(Ok(()), |file| file.write_out());
        written.map_err(StorageError::io("sync", BASE_FILE))
    }
}

/// Keeps the database from being opened anew while a transaction writes.
pub(super) type Held<'a> = RwLockReadGuard<'a, Open>;

impl Pages {
    /// `None`: there is no base yet.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::DamagedBase`] and [`StorageError::Base`].
    pub fn open(disk: &dyn Disk, cache_bytes: usize) -> Result<Option<Self>, StorageError> {
        let Some(pages) = open_file(disk, BASE_FILE)? else { return Ok(None) };
        remove_copy(disk)?;
        let shortage = Arc::default();
        let open = Self::open_named(disk, pages, &shortage, cache_bytes)?;
        Ok(Some(Self::of(open, cache_bytes, shortage)))
    }

    fn open_named(
        disk: &dyn Disk,
        pages: Arc<dyn DiskFile>,
        shortage: &Arc<Shortage>,
        cache_bytes: usize,
    ) -> Result<Open, StorageError> {
        let sums = match open_file(disk, SUMS_FILE)? {
            Some(sums) => sums,
            None => {
                // Of an earlier version, or taken away as nobody trusts them: redb compares its own, once.
                drop(checked(Some(Arc::clone(&pages)), cache_bytes)?);
                write_sums(disk, &*pages)?;
                disk.open(SUMS_FILE).map_err(StorageError::io("open", SUMS_FILE))?
            }
        };
        // As for the base itself: the length counts.
        sync_length(&*sums).map_err(StorageError::io("sync", SUMS_FILE))?;
        let file = Arc::new(PageFile::new(pages, sums));
        let database = open_on(&file, shortage, cache_bytes)?;
        Ok(Open { database, file: Some(file) })
    }

    /// Makes an empty one under another name, which [`Pages::give_name`] ends.
    ///
    /// # Errors
    /// [`StorageError::Io`] and [`StorageError::Base`].
    pub fn create(disk: &dyn Disk, cache_bytes: usize) -> Result<Self, StorageError> {
        Self::create_with_sums(disk, SUMS_FILE, cache_bytes)
    }

    /// Makes an empty one beside another, whose place it may [take](Pages::take_place).
    ///
    /// # Errors
    /// [`StorageError::Io`] and [`StorageError::Base`].
    pub fn create_copy(disk: &dyn Disk, cache_bytes: usize) -> Result<Self, StorageError> {
        Self::create_with_sums(disk, SUMS_FILE_NEW, cache_bytes)
    }

    fn create_with_sums(disk: &dyn Disk, sums_name: &str, cache_bytes: usize) -> Result<Self, StorageError> {
        let create = |name: &str| {
            remove_if_there(disk, name)?;
            disk.create(name).map_err(StorageError::io("create", name))
        };
        let file = Arc::new(PageFile::new(create(BASE_FILE_NEW)?, create(sums_name)?));
        let shortage = Arc::default();
        let backend = FileBackend::new(Arc::clone(&file), Arc::clone(&shortage));
        let database = builder(cache_bytes).create_with_backend(backend).map_err(failed)?;
        Ok(Self::of(Open { database, file: Some(file) }, cache_bytes, shortage))
    }

    /// # Errors
    /// [`StorageError::Io`].
    pub fn give_name(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        if let Some(file) = &self.held().file {
            file.sync().map_err(StorageError::io("sync", BASE_FILE_NEW))?;
        }
        rename(disk, BASE_FILE_NEW, BASE_FILE)
    }

    /// Puts a copy, which is complete and closed, in the place of this one. Nobody may write meanwhile. A crash leaves the one
    /// or the other, at worst without its sums, which the next start then computes.
    ///
    /// # Errors
    /// [`StorageError::Io`] and [`StorageError::Base`]; the next start finds out which it is then.
    pub fn take_place(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        for name in [BASE_FILE_NEW, SUMS_FILE_NEW] {
            let synced = disk.open(name).and_then(|file| file.sync());
            synced.map_err(StorageError::io("sync", name))?;
        }
        // The sums of one are never beside the pages of the other.
        remove_if_there(disk, SUMS_FILE)?;
        disk.sync_folder("").map_err(StorageError::io("sync", "the data directory"))?;
        rename(disk, BASE_FILE_NEW, BASE_FILE)?;
        rename(disk, SUMS_FILE_NEW, SUMS_FILE)?;
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let pages = disk.open(BASE_FILE).map_err(StorageError::io("open", BASE_FILE))?;
        *open = Self::open_named(disk, pages, &self.shortage, self.cache_bytes)?;
        Ok(())
    }

    /// Has redb put its pages to the front of the file and cut off the rest, of which each commit takes a half. Nobody else may
    /// use it.
    ///
    /// # Errors
    /// [`StorageError::Base`].
    pub fn trim(&mut self) -> Result<(), StorageError> {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        open.database.compact().map_err(failed)?;
        let Some(file) = &open.file else { return Ok(()) };
        let size = || file.size().map_err(StorageError::io("read", BASE_FILE_NEW));
        loop {
            let before = size()?;
            let mut transaction = open.database.begin_write().map_err(failed)?;
            transaction.set_two_phase_commit(true);
            transaction.commit().map_err(failed)?;
            if size()? >= before {
                return Ok(());
            }
        }
    }

    /// Bytes of its file.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn file_bytes(&self) -> Result<u64, StorageError> {
        let size = self.held().file.as_ref().map_or(Ok(0), |file| file.size());
        size.map_err(StorageError::io("read", BASE_FILE))
    }

    /// Opens it without writing to its file; one that is not there is empty. With `reads_all`, where it must be there, or
    /// where there are no sums, every page in use is read and compared first.
    ///
    /// # Errors
    /// As [`Pages::open`].
    pub fn open_unchanged(
        disk: &dyn Disk,
        cache_bytes: usize,
        reads_all: bool,
    ) -> Result<Self, StorageError> {
        let pages = open_file(disk, BASE_FILE)?;
        let sums = open_file(disk, SUMS_FILE)?;
        let database = match (pages, sums) {
            (None, _) if reads_all => return Err(damaged("the file is not there".to_owned())),
            (None, _) => {
                let backend = LayeredBackend::new(None).map_err(StorageError::io("read", BASE_FILE))?;
                builder(cache_bytes).create_with_backend(backend).map_err(failed)?
            }
            (Some(pages), None) => checked(Some(pages), cache_bytes)?,
            (Some(pages), Some(sums)) => {
                let file: Arc<dyn DiskFile> = Arc::new(PageFile::new(pages, sums));
                if reads_all {
                    checked(Some(file), cache_bytes)?
                } else {
                    open_unchanged_on(file, cache_bytes)?
                }
            }
        };
        Ok(Self::of(Open { database, file: None }, cache_bytes, Arc::default()))
    }

    #[expect(clippy::disallowed_types, reason = "as above")]
    const fn of(open: Open, cache_bytes: usize, shortage: Arc<Shortage>) -> Self {
        Self { open: RwLock::new(open), cache_bytes, shortage }
    }

    pub fn begin_read(&self) -> Result<ReadTransaction, StorageError> {
        self.open_anew_if_failed()?;
        self.held().database.begin_read().map_err(failed)
    }

    pub fn begin_write(&self) -> Result<(WriteTransaction, Held<'_>), StorageError> {
        self.open_anew_if_failed()?;
        let held = self.held();
        Ok((held.database.begin_write().map_err(failed)?, held))
    }

    fn held(&self) -> Held<'_> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_anew_if_failed(&self) -> Result<(), StorageError> {
        if !self.held().file.as_ref().is_some_and(|file| file.has_failed()) {
            return Ok(());
        }
        let mut open = match self.open.try_write() {
            Ok(open) => open,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Whoever writes meets the failure, too, and ends.
            Err(TryLockError::WouldBlock) => return Err(StorageError::Refused),
        };
        let Open { database, file: Some(file) } = &mut *open else { return Ok(()) };
        file.forget_failure();
        // Of the transaction that met the failure.
        self.shortage.forget();
        // Where that fails, too, the next one tries again.
        let opened = open_on(file, &self.shortage, self.cache_bytes);
        *database = opened.inspect_err(|_| file.note_failure())?;
        Ok(())
    }
}

/// Does it once more where a load of another thread has met a damaged page, whereupon redb refused everybody.
pub(super) fn again_if_refused<T>(
    mut act: impl FnMut() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    match act() {
        Err(StorageError::Refused) => act(),
        done => done,
    }
}

/// Removes what a copy has left that did not come to its end.
///
/// # Errors
/// [`StorageError::Io`].
pub(super) fn remove_copy(disk: &dyn Disk) -> Result<(), StorageError> {
    [BASE_FILE_NEW, SUMS_FILE_NEW].into_iter().try_for_each(|name| remove_if_there(disk, name))
}

/// Makes another name survive.
fn rename(disk: &dyn Disk, from: &str, to: &str) -> Result<(), StorageError> {
    disk.rename(from, to).map_err(StorageError::io("rename", from))?;
    disk.sync_folder("").map_err(StorageError::io("sync", "the data directory"))
}

/// `None`: there is none.
fn open_file(disk: &dyn Disk, name: &str) -> Result<Option<Arc<dyn DiskFile>>, StorageError> {
    match disk.open(name) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some).map_err(StorageError::io("open", name)),
    }
}

fn open_on(
    file: &Arc<PageFile>,
    shortage: &Arc<Shortage>,
    cache_bytes: usize,
) -> Result<Database, StorageError> {
    let backend = FileBackend::open(Arc::clone(file), Arc::clone(shortage));
    let backend = backend.map_err(StorageError::io("sync", BASE_FILE))?;
    check_header(&backend).map_err(StorageError::io("read", BASE_FILE))?.map_err(damaged)?;
    forget_prepared(&backend).map_err(StorageError::io("write", BASE_FILE))?;
    builder(cache_bytes).create_with_backend(backend).map_err(failed)
}

/// Of pages that are checked as they are read.
fn open_unchanged_on(file: Arc<dyn DiskFile>, cache_bytes: usize) -> Result<Database, StorageError> {
    let backend = LayeredBackend::new(Some(file)).map_err(StorageError::io("read", BASE_FILE))?;
    check_header(&backend).map_err(StorageError::io("read", BASE_FILE))?.map_err(damaged)?;
    builder(cache_bytes).create_with_backend(backend).map_err(failed)
}

/// Has redb read and compare every page in use. What is written to it is gone afterwards.
fn checked(file: Option<Arc<dyn DiskFile>>, cache_bytes: usize) -> Result<Database, StorageError> {
    let backend = LayeredBackend::new(file).map_err(StorageError::io("read", BASE_FILE))?;
    check_everything(&backend).map_err(StorageError::io("read", BASE_FILE))?.map_err(damaged)?;
    let mut builder = builder(cache_bytes);
    builder.set_repair_callback(abort_rollback);
    builder.create_with_backend(backend).map_err(|error| match failed(error) {
        damage @ StorageError::DamagedBase { .. } => damage,
        other => damaged(other.to_string()),
    })
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.create_with_file_format_v3(true).set_cache_size(cache_bytes);
    builder
}

const fn damaged(fault: String) -> StorageError {
    StorageError::DamagedBase { fault }
}

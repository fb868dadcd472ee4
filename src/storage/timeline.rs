//! `TIMELINE`: which history of a data set this directory goes on with.
//!
//! A copy of a data directory, such as a restored backup, is a fork: what was changed in the original since then never
//! happened here. So a copy takes another epoch, and clients that come with a cursor of the original start over; and its
//! node takes another name, so that no slot of a counter counts two histories. The file says what it is itself: a copy of it
//! is another file, and shows that the directory is one.

use std::fs;
use std::io;

use super::disk::replace_file_with;
use super::text_file::{self, TextFile};
use super::{Disk, HostDisk, StorageError};
use crate::limits::NODE_BYTES_MAX;

pub(super) const NAME: &str = "TIMELINE";

/// One history of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Its name in cursors.
    pub epoch: u64,
    /// Tells the node from what it was in other histories; 0 in the first one.
    pub incarnation: u32,
}

/// Why a directory does not go on with the history it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// It was copied, or restored from a backup, or made by an import.
    Copied,
    /// Changes were lost to damage.
    Salvaged,
}

/// What a directory says of its history.
enum Found {
    Own(Timeline),
    /// One of another directory. Whatever cannot be read counts as such: who starts over loses nothing.
    Foreign,
    Nothing,
}

impl Timeline {
    /// The history of the directory, which for a new one is `first`. Where it is another one than before, that is said, and
    /// `fresh` gives it.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn follow(
        disk: &dyn Disk,
        first: Option<Self>,
        is_salvaged: bool,
        fresh: impl FnOnce() -> Self,
    ) -> Result<(Self, Option<Fork>), StorageError> {
        let fork = match Self::read(disk)? {
            _ if is_salvaged => Some(Fork::Salvaged),
            Found::Own(timeline) => return Ok((timeline, None)),
            Found::Nothing if first.is_some() => None,
            Found::Nothing | Found::Foreign => Some(Fork::Copied),
        };
        let timeline = first.filter(|_| fork.is_none()).unwrap_or_else(fresh);
        timeline.write(disk)?;
        Ok((timeline, fork))
    }

    /// Changes are about to be given up: whatever becomes of that, this history ends.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(super) fn end(disk: &dyn Disk) -> Result<(), StorageError> {
        match disk.remove(NAME) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| disk.sync_folder("")).map_err(StorageError::io("remove", NAME)),
        }
    }

    /// The name of the node in this history.
    pub fn node(&self, name: &str) -> String {
        if self.incarnation == 0 {
            return name.to_owned();
        }
        let suffix = format!(".{:08x}", self.incarnation);
        // Names are ASCII.
        let kept = name.len().min(NODE_BYTES_MAX - suffix.len());
        format!("{}{suffix}", &name[..kept])
    }

    /// Says of a copy what it is, even where nothing has happened yet that could tell it from a new data set.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(super) fn mark_copy(to: &dyn Disk) -> Result<(), StorageError> {
        let text = Self { epoch: 0, incarnation: 0 }.text("copy");
        replace_file_with(to, NAME, |_| Ok(text.into_bytes().into()))
    }

    fn read(disk: &dyn Disk) -> Result<Found, StorageError> {
        let Some(text) = text_file::read(disk, NAME)? else { return Ok(Found::Nothing) };
        let Ok(text) = String::from_utf8(text) else { return Ok(Found::Foreign) };
        let place = disk.birth(NAME).map_err(StorageError::io("read", NAME))?;
        let own = Self::fields(&text).filter(|timeline| timeline.text(&place) == text);
        Ok(own.map_or(Found::Foreign, Found::Own))
    }

    /// Whether the file, if there is one, is as it was written, be that here or where this directory was copied from.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub(super) fn is_whole(disk: &HostDisk) -> Result<bool, StorageError> {
        match fs::read_to_string(disk.path(NAME)) {
            Ok(text) => {
                let place = TextFile::of(&text).value("file").unwrap_or_default();
                Ok(Self::fields(&text).is_some_and(|timeline| timeline.text(place) == text))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
            Err(error) => Err(StorageError::io("read", NAME)(error)),
        }
    }

    fn fields(text: &str) -> Option<Self> {
        let file = TextFile::of(text);
        Some(Self { epoch: file.hex("epoch")?, incarnation: file.hex("incarnation")?.try_into().ok()? })
    }

    fn write(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        replace_file_with(disk, NAME, |file| Ok(self.text(&disk.birth(file)?).into_bytes().into()))
    }

    fn text(&self, place: &str) -> String {
        let Self { epoch, incarnation } = self;
        TextFile::sealed(format!(
            "annulus-timeline 1\nepoch {epoch:016x}\nincarnation {incarnation:08x}\nfile {place}\n"
        ))
    }
}

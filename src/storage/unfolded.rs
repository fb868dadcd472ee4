//! The journal of a running server that cannot fold, read beside it: for a copy or an export, which want what is in there.

use std::io::ErrorKind;
use std::path::Path;

use super::backup::{self, Copied, CopyOptions};
use super::export::{self, ExportOptions, Exported};
use super::{Base, Disk, RecoveryOptions, StorageError, Tail, recover};

/// How often the files are listed anew because one of them was folded after all, and deleted.
const TRIES: usize = 8;

/// A base, and the journal of the data set `epoch` beside it.
pub struct Unfolded<'a> {
    pub base: &'a Base,
    pub disk: &'a dyn Disk,
    pub epoch: u64,
}

impl Unfolded<'_> {
    /// As [`backup::copy`], with what is in the journal.
    ///
    /// # Errors
    /// As there; [`StorageError::Io`] also if a segment is folded meanwhile.
    pub fn copy(
        &self,
        target: &Path,
        options: CopyOptions,
        progress: &mut dyn FnMut(&Copied),
    ) -> Result<Copied, StorageError> {
        let recovered = self.retried(|options| recover(self.disk, options, &mut |_, _| {}))?;
        let journal = backup::Journal { segments: &recovered.segments, epoch: self.epoch };
        backup::copy_with(self.base, self.disk, Some(journal), target, options, progress)
    }

    /// As [`export::export_folded`], with what is in the journal.
    ///
    /// # Errors
    /// As there, and of the segments.
    pub fn export(
        &self,
        data_dir: &Path,
        options: ExportOptions<'_>,
        out: impl std::io::Write,
        progress: &mut dyn FnMut(&Exported),
    ) -> Result<Exported, StorageError> {
        let (tail, _) = self.retried(|options| Tail::read(self.disk, self.base.hasher, options))?;
        if tail.clear().is_some() {
            let fault = || std::io::Error::other("all maps were dropped, and the base has not followed yet");
            return Err(StorageError::io("export", "the journal")(fault()));
        }
        export::write_maps(self.base, &tail, data_dir, options, out, progress)
    }

    /// Read before the base is: what is folded meanwhile is in both then, and not in neither. The group that is being
    /// written counts as torn, and is not taken.
    fn retried<T>(
        &self,
        read: impl Fn(RecoveryOptions) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let once = || {
            let folded = self.base.folded();
            read(RecoveryOptions { epoch: self.epoch, folded, salvage: false, read_only: true })
        };
        for _ in 1..TRIES {
            match once() {
                Err(StorageError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                read => return read,
            }
        }
        once()
    }
}

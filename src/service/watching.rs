//! Who changes the files: their folders are watched, as a file that is replaced is another one.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Whatever leaves a file with other content. A file that is a link into a folder that is exchanged, as Kubernetes mounts
/// them, changes with the link beside it.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ONLYDIR);

/// See the module. Where the kernel has none of it to give, files are looked at now and then all the same.
pub(super) struct Watch(Option<OwnedFd>);

/// When files count that nobody can tell have changed: `they count …`.
pub(super) type Otherwise = &'static str;

impl Watch {
    pub fn of<'a>(files: impl Iterator<Item = &'a Path>, otherwise: Otherwise) -> Self {
        let parent = |file: &'a Path| match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folders: BTreeSet<&Path> = files.map(parent).collect();
        if folders.is_empty() {
            return Self(None);
        }
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let watch = watch.inspect_err(|error| warn(Path::new("files"), *error, otherwise)).ok();
        for (folder, watch) in folders.into_iter().zip(std::iter::repeat(&watch)) {
            if let Some(watch) = watch
                && let Err(error) = inotify::add_watch(watch, folder, CHANGES)
            {
                warn(folder, error, otherwise);
            }
        }
        Self(watch)
    }

    /// Becomes readable when something has changed.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }

    /// Whether something has changed since the last look.
    pub fn take(&self) -> bool {
        let Some(watch) = &self.0 else { return false };
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(watch, &mut space);
        let mut has_changed = false;
        // Whichever it was: they are small, and compared with what they were.
        while reader.next().is_ok() {
            has_changed = true;
        }
        has_changed
    }
}

fn warn(what: &Path, error: Errno, otherwise: Otherwise) {
    tracing::warn!(
        "changes of {} are not told: {error}; they count {otherwise}, or at SIGHUP; see \
         fs.inotify.max_user_instances and max_user_watches",
        what.display()
    );
}

//! A file system of a few MiB, for a test that fills it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::Directory;

/// Mounted while this lives.
pub struct SmallDisk {
    directory: Directory,
    mount: PathBuf,
}

impl SmallDisk {
    /// An ext4 of so many bytes on a loop device, or else a tmpfs. `None`, and a word about it, where this user may mount
    /// neither.
    pub fn new(bytes: u64) -> Option<Self> {
        let directory = Directory::new();
        let mount = directory.path().join("mount");
        fs::create_dir_all(&mount).unwrap();
        // In memory if possible, so that a sync takes no time.
        let name = directory.path().file_name().unwrap();
        let in_memory = Path::new("/dev/shm");
        let image = if in_memory.is_dir() { in_memory.join(name) } else { directory.path().join("image") };
        File::create(&image).unwrap().set_len(bytes).unwrap();
        let has_run = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
        };
        let (shown, target) = (text(&image), text(&mount));
        let size = format!("size={bytes}");
        // No blocks for root alone: a test may be root.
        let is_mounted = has_run("mkfs.ext4", &["-q", "-m", "0", shown])
            && has_run("mount", &["-o", "loop", shown, target])
            || has_run("mount", &["-t", "tmpfs", "-o", &size, "annulus-test", target]);
        // It stays for as long as it is mounted.
        fs::remove_file(image).unwrap();
        if !is_mounted {
            println!("skipped: this user may mount neither an image nor a tmpfs");
            return None;
        }
        Some(Self { directory, mount })
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// A folder on another disk.
    pub fn elsewhere(&self) -> &Path {
        self.directory.path()
    }

    pub fn free_bytes(&self) -> u64 {
        annulus::io::volume::free_bytes(&self.mount).unwrap()
    }

    /// Takes room until `left` bytes are free, or so little more that no file system gives it.
    pub fn take_until(&self, left: u64, name: &str) {
        let mut file = File::create(self.mount.join(name)).unwrap();
        let piece = [0x5A; 16 << 10];
        while self.free_bytes() > left {
            let wanted = (self.free_bytes() - left).clamp(1, piece.len() as u64) as usize;
            if file.write_all(&piece[..wanted]).and_then(|()| file.sync_data()).is_err() {
                return;
            }
        }
    }

    /// Has every write wait until what this gives is dropped; `None` where this file system knows no such thing.
    pub fn freeze(&self) -> Option<Frozen> {
        let has_run = Command::new("fsfreeze").arg("-f").arg(&self.mount).output();
        has_run.is_ok_and(|output| output.status.success()).then(|| Frozen(self.mount.clone()))
    }

    /// Gives so much of it back.
    pub fn give_bytes(&self, name: &str, bytes: u64) {
        let file = File::options().write(true).open(self.mount.join(name)).unwrap();
        file.set_len(file.metadata().unwrap().len().saturating_sub(bytes)).unwrap();
    }

    /// Gives it back.
    pub fn give(&self, name: &str) {
        fs::remove_file(self.mount.join(name)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, as a server of a failed test may not be gone yet.
        let _ = Command::new("umount").arg("-l").arg(&self.mount).output();
    }
}

/// See [`SmallDisk::freeze`].
pub struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.0).output();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a name of this test")
}

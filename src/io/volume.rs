//! The file system below a directory: its kind, its free space, and how long it takes to sync.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Clock;

/// What kind of file system a directory is on, as far as it matters for a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeKind {
    /// On a local disk, or looks like it.
    Disk(&'static str),
    /// In memory: a restart of the host empties it.
    Memory(&'static str),
    /// On another host, which decides what a sync means, and whether locks hold.
    Remote(&'static str),
}

/// Tells the kind by its magic number (`linux/magic.h`).
///
/// # Errors
/// Of the file system.
pub fn kind(directory: &Path) -> io::Result<VolumeKind> {
    let magic = rustix::fs::statfs(directory)?.f_type as u32;
    Ok(match magic {
        0xEF53 => VolumeKind::Disk("ext4"),
        0x5846_5342 => VolumeKind::Disk("xfs"),
        0x9123_683E => VolumeKind::Disk("btrfs"),
        0xF2F5_2010 => VolumeKind::Disk("f2fs"),
        0x2FC1_2FC1 => VolumeKind::Disk("zfs"),
        0x794C_7630 => VolumeKind::Disk("overlayfs"),
        0x0102_1994 => VolumeKind::Memory("tmpfs"),
        0x8584_58F6 => VolumeKind::Memory("ramfs"),
        0x6969 => VolumeKind::Remote("nfs"),
        0xFF53_4D42 | 0xFE53_4D42 => VolumeKind::Remote("cifs"),
        0x0102_1997 => VolumeKind::Remote("9p"),
        0x00C3_6400 => VolumeKind::Remote("ceph"),
        0x6573_5546 => VolumeKind::Remote("fuse"),
        _ => VolumeKind::Disk("a file system this program does not know"),
    })
}

/// Bytes that this process may still write to the file system of `directory`.
///
/// # Errors
/// Of the file system.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let volume = rustix::fs::statvfs(directory)?;
    Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
}

/// Appends and syncs that are measured, and bytes of each.
const PROBES: u64 = 32;
const PROBE_BYTES: u64 = 4 << 10;

/// Nanoseconds of `fdatasync` after an append of 4 KiB, ascending. Leaves nothing behind.
///
/// # Errors
/// Of the file system; also if `directory` cannot be written.
pub fn measure_sync(directory: &Path) -> io::Result<Vec<u64>> {
    let path = directory.join(format!(".annulus-probe-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    // The open file lives on without its name, even if this process ends now.
    fs::remove_file(&path)?;
    let clock = Clock::start();
    let bytes = [0x5A; PROBE_BYTES as usize];
    let mut taken = Vec::with_capacity(PROBES as usize);
    for probe in 0..PROBES {
        file.write_all_at(&bytes, probe * PROBE_BYTES)?;
        let began_ns = clock.elapsed_ns();
        file.sync_data()?;
        taken.push(clock.elapsed_ns() - began_ns);
    }
    taken.sort_unstable();
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_takes_time_and_leaves_nothing_behind() {
        let directory = std::env::temp_dir().join(format!("annulus-volume-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let taken = measure_sync(&directory).unwrap();
        assert_eq!(taken.len() as u64, PROBES);
        assert!(taken.is_sorted() && taken[0] > 0, "{taken:?}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        fs::remove_dir(&directory).unwrap();
        assert!(measure_sync(&directory).is_err_and(|error| error.kind() == io::ErrorKind::NotFound));
    }

    #[test]
    fn the_kernel_tells_kind_and_room() {
        assert!(free_bytes(Path::new("/")).unwrap() > 0);
        assert!(kind(Path::new("/")).is_ok());
        if Path::new("/dev/shm").exists() {
            assert_eq!(kind(Path::new("/dev/shm")).unwrap(), VolumeKind::Memory("tmpfs"));
        }
    }
}

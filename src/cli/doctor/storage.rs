//! Is the data directory on a disk that can be written, has room, and syncs fast enough?

use std::io;
use std::path::{Path, PathBuf};

use super::Check;
use crate::cli::Serve;
use crate::config::Bytes;
use crate::config::{Fsync, StorageConfig};
use crate::io::Clock;
use crate::io::volume::{self, VolumeKind};
use crate::storage::{check_ours, clock, open_to_others};

/// Milliseconds of a sync from which on durable acks are slow enough to say so.
const SLOW_SYNC_MS: f64 = 10.0;

pub(super) fn checks(serve: &Serve) -> Vec<Check> {
    let Some(storage) = &serve.storage else {
        return vec![Check::ok("storage", "memory").remark("a restart empties it")];
    };
    if let Err(error) = check_ours(&storage.data_dir) {
        return vec![Check::fail("data directory", error.to_string(), "choose another with --data-dir")];
    }
    let directory = nearest(&storage.data_dir);
    let open = open_to_others(&storage.data_dir, storage.data_mode);
    let rights = match open {
        Some(open) => Check::warn("data mode", open, ""),
        None => Check::ok("data mode", format!("{:04o}", storage.data_mode.of_files())),
    };
    vec![
        rights,
        writable(storage, &directory, volume::measure_sync(&directory)),
        kind(volume::kind(&directory)),
        room(volume::free_bytes(&directory), storage.disk_reserve_bytes),
    ]
    .into_iter()
    .chain(clock(&storage.data_dir, serve.config.clock_drift_max_ms))
    .collect()
}

/// Whether the data set that is there has seen a clock that was ahead. Nothing is said of one that a server uses, or that
/// cannot be read: the server itself says so when it starts.
fn clock(data_dir: &Path, drift_max_ms: u64) -> Option<Check> {
    let stored_ms = clock::stored_at_least(data_dir).ok()?.millis();
    let ahead_ms = stored_ms.saturating_sub(Clock::start().now().unix_ms);
    Some(if ahead_ms <= drift_max_ms {
        Check::ok("stored clock", "not ahead of the wall clock")
    } else {
        Check::warn(
            "stored clock",
            format!("{} ahead of the wall clock", clock::roughly(ahead_ms)),
            "what clients write with stamps of a right clock loses until then: see `annulus clock`",
        )
    })
}

/// The directory itself, or where it will be made.
fn nearest(directory: &Path) -> PathBuf {
    let is_there = |path: &&Path| path.is_dir();
    match directory.ancestors().find(is_there) {
        Some(found) => found.to_owned(),
        // A relative name of which nothing is there yet.
        None => PathBuf::from("."),
    }
}

fn writable(storage: &StorageConfig, directory: &Path, synced: io::Result<Vec<u64>>) -> Check {
    let what = "data directory";
    let shown = storage.data_dir.display();
    let taken_ns = match synced {
        Ok(taken_ns) if !taken_ns.is_empty() => taken_ns,
        Ok(_) => return Check::ok(what, format!("{shown} is writable")),
        Err(error) => {
            let found = format!("{shown}: {error} ({})", directory.display());
            return Check::fail(what, found, "let this user write there, or choose another with --data-dir");
        }
    };
    let ms = |fraction: f64| {
        let rank = ((taken_ns.len() - 1) as f64 * fraction).round() as usize;
        taken_ns[rank] as f64 / 1e6
    };
    let found = format!("{shown} syncs 4 KiB in {:.2} ms, at most {:.2} ms", ms(0.5), ms(1.0));
    match storage.fsync {
        Fsync::Always if ms(0.5) >= SLOW_SYNC_MS => Check::warn(
            what,
            found,
            "every durable ack waits for one: use a disk with a protected write cache, or --fsync interval",
        ),
        _ => Check::ok(what, found),
    }
}

fn kind(found: io::Result<VolumeKind>) -> Check {
    let what = "file system";
    match found {
        Ok(VolumeKind::Disk(name)) => Check::ok(what, name),
        Ok(VolumeKind::Memory(name)) => {
            Check::warn(what, name, "a restart of the host empties it: choose a disk with --data-dir")
        }
        Ok(VolumeKind::Remote(name)) => Check::warn(
            what,
            name,
            "another host decides what a sync means and whether the lock holds: choose a local disk with --data-dir",
        ),
        Err(error) => Check::warn(what, error.to_string(), "see `df`"),
    }
}

fn room(free: io::Result<u64>, reserve: u64) -> Check {
    let what = "free disk";
    match free {
        Ok(free) => {
            let reserve_shown = Bytes(usize::try_from(reserve).unwrap_or(usize::MAX));
            let found = format!("{} MiB, --disk-reserve {reserve_shown}", free >> 20);
            match free > reserve {
                true => Check::ok(what, found),
                false => Check::warn(what, found, "writes will be refused with read_only: make room"),
            }
        }
        Err(error) => Check::warn(what, error.to_string(), "see `df`"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn storage(fsync: Fsync) -> StorageConfig {
        StorageConfig {
            data_dir: "/data/annulus".into(),
            fsync,
            segment_bytes: 1 << 20,
            journal_bytes_max: 0,
            checkpoint_interval_ms: 1,
            disk_reserve_bytes: 1 << 20,
            salvage: false,
            data_mode: crate::config::DataMode::OWNER,
            service_core: None,
        }
    }

    #[test]
    fn a_slow_disk_is_a_warning_where_acks_wait_for_it() {
        let verdict = |fsync, taken: Vec<u64>| writable(&storage(fsync), Path::new("/"), Ok(taken)).verdict;
        assert_eq!(verdict(Fsync::Always, vec![900_000, 1_000_000, 50_000_000]), Verdict::Ok);
        assert_eq!(verdict(Fsync::Always, vec![1_000, 10_000_000, 10_000_001]), Verdict::Warn);
        assert_eq!(verdict(Fsync::Never, vec![1_000, 10_000_000, 10_000_001]), Verdict::Ok);
        let check = writable(&storage(Fsync::Always), Path::new("/"), Ok(vec![1_500_000; 3]));
        assert!(check.found.ends_with("in 1.50 ms, at most 1.50 ms"), "{}", check.found);
    }

    #[test]
    fn a_directory_that_cannot_be_written_fails() {
        let refused = Err(io::Error::from(io::ErrorKind::PermissionDenied));
        let check = writable(&storage(Fsync::Always), Path::new("/data"), refused);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.advice.contains("--data-dir"));
    }

    #[test]
    fn too_little_room_and_the_wrong_disk_are_warnings() {
        assert_eq!(room(Ok(2 << 20), 1 << 20).verdict, Verdict::Ok);
        assert_eq!(room(Ok(1 << 20), 1 << 20).verdict, Verdict::Warn);
        assert_eq!(kind(Ok(VolumeKind::Disk("ext4"))).verdict, Verdict::Ok);
        assert_eq!(kind(Ok(VolumeKind::Memory("tmpfs"))).verdict, Verdict::Warn);
        assert_eq!(kind(Ok(VolumeKind::Remote("nfs"))).verdict, Verdict::Warn);
    }

    #[test]
    fn what_is_not_there_yet_is_looked_at_where_it_will_be() {
        assert_eq!(nearest(Path::new("/nothing/of/this")), Path::new("/"));
        assert_eq!(nearest(Path::new("./annulus-nothing")), Path::new("."));
        assert_eq!(nearest(Path::new("annulus-nothing")), Path::new("."));
    }
}

//! What the disk itself takes to make something durable: appends to a file, each followed by `fdatasync`, as a
//! journal does it, with nothing else under way.
//!
//! Sizes take turns, so that a slow moment of the disk meets all of them alike. Only the sync is timed: the append
//! before it goes to memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use hdrhistogram::Histogram;

use crate::clock::{NANOS_PER_SECOND, now_ns};
use crate::failure::Failure;
use crate::report::figures::Figures;

/// Bytes of one append: a lone small write, up to what hundreds of connections say at once.
const APPEND_BYTES: [usize; 4] = [4 << 10, 16 << 10, 64 << 10, 256 << 10];
/// Rounds of all sizes: 800 syncs, so that eight are beyond the 99th percentile; 68 MB, about one segment of a journal.
const ROUNDS: usize = 200;
/// A disk too slow for all the rounds is given up to this; the page says how many syncs there were.
const PROBE_NS_MAX: u64 = 20 * NANOS_PER_SECOND;
/// The longest sync that is told apart.
const SYNC_NS_MAX: u64 = 60 * NANOS_PER_SECOND;

/// How long `fdatasync` took.
pub struct DiskProbe {
    all_ns: Histogram<u64>,
    by_size_ns: Vec<Histogram<u64>>,
    in_memory: bool,
}

impl DiskProbe {
    /// Measures the file system that `folder` is on; leaves nothing there.
    ///
    /// # Errors
    /// [`Failure::Setup`] when no file can be made, written or synced there.
    pub fn run(folder: &Path) -> Result<Self, Failure> {
        let refuse = |error: std::io::Error| {
            Failure::Setup(format!("the disk probe in {} failed: {error}", folder.display()))
        };
        let mut probe = Self {
            all_ns: empty(),
            by_size_ns: APPEND_BYTES.map(|_| empty()).into(),
            in_memory: is_in_memory(folder).map_err(refuse)?,
        };
        probe.measure(folder).map_err(refuse)?;
        Ok(probe)
    }

    fn measure(&mut self, folder: &Path) -> std::io::Result<()> {
        let mut scratch = Scratch::create(folder)?;
        let bytes = vec![0x5a; APPEND_BYTES.into_iter().max().unwrap_or(0)];
        let end_ns = now_ns() + PROBE_NS_MAX;
        for _ in 0..ROUNDS {
            for (size, sync_ns) in APPEND_BYTES.into_iter().zip(&mut self.by_size_ns) {
                scratch.file.write_all(&bytes[..size])?;
                let begin_ns = now_ns();
                scratch.file.sync_data()?;
                let ns = (now_ns() - begin_ns).max(1);
                sync_ns.saturating_record(ns);
                self.all_ns.saturating_record(ns);
            }
            if now_ns() > end_ns {
                break;
            }
        }
        Ok(())
    }

    /// Sets what the disk takes beside `figures`, and how much longer its acks, whose `latency` that is, took.
    pub fn compare(&self, figures: &mut Figures) {
        figures.set_latency("disk_fdatasync", &self.all_ns);
        figures.set("disk_fdatasyncs", self.all_ns.len() as f64);
        for (bytes, sync_ns) in APPEND_BYTES.into_iter().zip(&self.by_size_ns) {
            figures.set_latency(&format!("disk_fdatasync_{}k", bytes >> 10), sync_ns);
        }
        if self.in_memory {
            figures.set("disk_is_memory", 1.0);
        }
        let pair = |figures: &Figures, quantile: &str| {
            let ack = figures.number(&format!("latency_{quantile}_us"))?;
            Some(ack / figures.number(&format!("disk_fdatasync_{quantile}_us"))?)
        };
        for quantile in ["p50", "p99"] {
            if let Some(ratio) = pair(figures, quantile) {
                figures.set(&format!("ack_{quantile}_over_disk_{quantile}"), ratio);
            }
        }
    }
}

/// Whether a sync there reaches no disk, as nothing of it would survive the machine.
fn is_in_memory(folder: &Path) -> std::io::Result<bool> {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(folder)?.f_type as u64 & u64::from(u32::MAX);
    Ok(matches!(kind, TMPFS | RAMFS))
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, SYNC_NS_MAX, 3).expect("bounds and digits are valid")
}

/// A file that is gone when this is.
struct Scratch {
    file: File,
    path: PathBuf,
}

impl Scratch {
    fn create(folder: &Path) -> std::io::Result<Self> {
        let path = folder.join(format!("loadtest-probe-{}-{}", std::process::id(), now_ns()));
        let file = File::options().append(true).create_new(true).open(&path)?;
        Ok(Self { file, path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_times_every_size_and_leaves_nothing_behind() {
        let folder = std::env::temp_dir().join(format!("loadtest-probe-test-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let probe = DiskProbe::run(&folder).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir(&folder).unwrap();
        let mut figures = Figures::default();
        figures.set("latency_p99_us", 2.0 * probe.all_ns.value_at_quantile(0.99) as f64 / 1e3);
        probe.compare(&mut figures);
        assert!(figures.number("disk_fdatasync_256k_p99_us").is_some_and(|us| us > 0.0));
        assert_eq!(figures.number("ack_p99_over_disk_p99"), Some(2.0));
    }

    #[test]
    fn folder_that_is_not_there_is_a_matter_of_setup() {
        assert!(matches!(DiskProbe::run(Path::new("/nowhere/at/all")), Err(Failure::Setup(_))));
    }
}

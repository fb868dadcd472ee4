//! How this process is, for whoever scrapes it. What it costs does not grow with the connections.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use rustix::param::{clock_ticks_per_second, page_size};

use super::{Clock, host};
use crate::metrics::ProcessMetrics;

/// Descriptors that are counted one by one, on kernels that do not tell their number: 2.7 µs each, so under a millisecond
/// of the turn of a shard.
const LISTED_MAX: usize = 256;

/// Asks the kernel.
pub fn metrics() -> ProcessMetrics {
    let stat = Stat::read();
    let ticks_per_second = clock_ticks_per_second() as f64;
    ProcessMetrics {
        cpu_seconds: stat.map(|stat| stat.cpu_ticks as f64 / ticks_per_second),
        resident_bytes: stat.map(|stat| stat.resident_pages * page_size() as u64),
        open_files: open_files(),
        open_files_max: Some(host::open_files().soft),
        started_seconds: started_seconds(stat),
    }
}

/// What `/proc/self/stat` says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    /// Of user and system.
    cpu_ticks: u64,
    /// Since the boot.
    started_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// The fields of proc_pid_stat(5). The second is the name of the program, which may have any characters in it.
    fn parse(text: &str) -> Option<Self> {
        let (_, behind_name) = text.rsplit_once(')')?;
        let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            started_ticks: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

/// The kernel tells the number as the size of the directory since Linux 6.2. Before, they are listed; `None` if that would
/// take long.
fn open_files() -> Option<u64> {
    const DIRECTORY: &str = "/proc/self/fd";
    match fs::metadata(DIRECTORY).ok()?.size() {
        0 => {
            // One of them is that of the listing.
            let listed = fs::read_dir(DIRECTORY).ok()?.take(LISTED_MAX + 1).count();
            (listed <= LISTED_MAX).then(|| listed.saturating_sub(1) as u64)
        }
        open => Some(open),
    }
}

/// Worked out once, as it must not move when the wall clock does: a new value means a restart to whoever charts it.
fn started_seconds(stat: Option<Stat>) -> Option<f64> {
    static STARTED: OnceLock<Option<f64>> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let uptime_seconds: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
        let unix_seconds = unix_seconds();
        let started_seconds = stat?.started_ticks as f64 / clock_ticks_per_second() as f64;
        // To the hundredth, which is as much as is known.
        Some(((unix_seconds - uptime_seconds + started_seconds) * 100.0).round() / 100.0)
    })
}

fn unix_seconds() -> f64 {
    Clock::start().now().unix_ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 250 150 13 14 15 16 17 18 4711 20 300 22";
        for name in ["annulus", "a b", "a) S 9 9", "(((", ""] {
            let stat = Stat { cpu_ticks: 400, started_ticks: 4711, resident_pages: 300 };
            assert_eq!(Stat::parse(&format!("42 ({name}) {rest}\n")), Some(stat), "{name}");
        }
        for text in ["", "42", "42 (a) S 1", "42 (a) S 1 2 3 4 5 6 7 8 9 10 x 12 13 14 15 16 17 18 19 20 21"]
        {
            assert_eq!(Stat::parse(text), None, "{text}");
        }
    }

    // Against what can be known otherwise: a descriptor more, a buffer that is written to, and time that is spent.
    #[test]
    fn the_numbers_are_those_of_this_process() {
        let before = metrics();
        let files: Vec<fs::File> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let memory = vec![1_u8; 64 << 20];
        let mut spins = 0_u64;
        let after = loop {
            (0..1_000_000_u64).for_each(|_| spins = std::hint::black_box(spins + 1));
            let now = metrics();
            if now.cpu_seconds > before.cpu_seconds {
                break now;
            }
        };
        // Other tests of this process open and allocate meanwhile.
        assert!(after.open_files.unwrap() >= 100, "{after:?}");
        assert!(after.resident_bytes.unwrap() > 64 << 20, "{after:?}");
        assert_eq!(after.open_files_max, Some(host::open_files().soft));
        let age_seconds = unix_seconds() - after.started_seconds.unwrap();
        assert!((-1.0..3_600.0).contains(&age_seconds), "{age_seconds}");
        assert_eq!(after.started_seconds, before.started_seconds);
        drop((files, memory));
    }
}

//! What the host lets this process have: open files and cores. Asks the kernel, changes only the soft limit.

use std::io;

use crate::limits::ADMISSION_RESERVE;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// File descriptors this process may have open (`RLIMIT_NOFILE`); `u64::MAX` stands for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What holds now.
    pub soft: u64,
    /// How far the process may raise it without privileges.
    pub hard: u64,
}

/// Reads `RLIMIT_NOFILE`.
pub fn open_files() -> OpenFiles {
    let limit = getrlimit(Resource::Nofile);
    OpenFiles { soft: limit.current.unwrap_or(u64::MAX), hard: limit.maximum.unwrap_or(u64::MAX) }
}

/// Raises the soft limit of open files to the hard one and tells what holds now. A refusal leaves the limit
/// as it was: the caller sees it in `soft` and decides whether that is enough.
pub fn raise_nofile() -> OpenFiles {
    let limit = getrlimit(Resource::Nofile);
    // A refusal needs no handling of its own: reading the limit again shows what holds.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    open_files()
}

/// Connections that `shards` shards can hold within the limit, with room left for those that are taken only to be
/// told to come back later.
pub fn connections_possible(limit: OpenFiles, shards: usize) -> usize {
    let spare = ADMISSION_RESERVE + shards * DESCRIPTORS_PER_SHARD + DESCRIPTORS_OF_PROCESS;
    let limit = usize::try_from(limit.soft).unwrap_or(usize::MAX);
    limit.saturating_sub(spare).max(limit / 2)
}

/// Descriptors of one shard: its ring, its event, and a listener for each of a few addresses.
pub const DESCRIPTORS_PER_SHARD: usize = 16;
/// Descriptors of the process itself: the service thread, standard streams, the log.
const DESCRIPTORS_OF_PROCESS: usize = 32;

/// The cores this process may run on, ascending: what `taskset`, cpusets and containers left of the machine.
pub fn allowed_cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        // The mask has more bits than `CpuSet` on machines beyond 1024 cores; the standard library counts
        // there, and the numbers start at zero unless somebody restricted them.
        Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
    }
}

/// Keeps the calling thread on `core`.
///
/// # Errors
/// If this process may not run there.
pub fn pin_to(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_polite_refusals() {
        let limit = |soft| OpenFiles { soft, hard: soft };
        assert_eq!(connections_possible(limit(20_000), 2), 20_000 - 1024 - 32 - 32);
        assert_eq!(connections_possible(limit(1024), 2), 512);
        assert_eq!(connections_possible(limit(u64::MAX), 128), usize::MAX - 1024 - 128 * 16 - 32);
    }

    #[test]
    fn raising_reaches_the_hard_limit() {
        let raised = raise_nofile();
        assert_eq!(raised.soft, raised.hard);
        assert_eq!(open_files(), raised);
    }

    #[test]
    fn this_thread_runs_on_an_allowed_core() {
        let cores = allowed_cores();
        assert!(cores.contains(&rustix::thread::sched_getcpu()));
        assert!(cores.is_sorted());
    }
}

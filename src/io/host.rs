//! What the host lets this process have: open files and cores. Asks the kernel, changes only the soft limit.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use crate::limits::CLOSING_RESERVE;
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

/// Whether the kernel may give this process huge pages from now on. Each is resident as a whole once a byte of it is touched,
/// so a process that holds little grows by far more than that; one that holds much finds it faster. A refusal leaves all as it
/// was.
pub fn allow_huge_pages(may: bool) {
    let _ = rustix::thread::disable_transparent_huge_pages(!may);
}

/// Connections that `shards` shards can hold within the limit, with room left for handshakes and for what is closing.
pub fn connections_possible(limit: OpenFiles, shards: usize) -> usize {
    let spare = CLOSING_RESERVE + shards * DESCRIPTORS_PER_SHARD + DESCRIPTORS_OF_PROCESS;
    let limit = usize::try_from(limit.soft).unwrap_or(usize::MAX);
    limit.saturating_sub(spare).max(limit / 2)
}

/// Handshakes that there may be beside so many connections: most of what is left, and the rest for what is closing.
pub fn handshakes_possible(limit: OpenFiles, shards: usize, connections: usize) -> usize {
    let used = connections + shards * DESCRIPTORS_PER_SHARD + DESCRIPTORS_OF_PROCESS;
    let left = usize::try_from(limit.soft).unwrap_or(usize::MAX).saturating_sub(used);
    (left / 4 * 3).max(1)
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

/// Lets every other thread that wants to run go before the calling one, from now on.
///
/// # Errors
/// None that is known: everybody may step back.
pub fn yield_to_all() -> io::Result<()> {
    // For the kernel each thread has a priority of its own.
    Ok(rustix::process::setpriority_process(None, 19)?)
}

/// Lets the shards go before the calling thread where they share a core, but for a share that lets it go on.
///
/// # Errors
/// None that is known: everybody may step back.
pub fn yield_to_shards() -> io::Result<()> {
    Ok(rustix::process::setpriority_process(None, 5)?)
}

/// Whether this process was started with `signal` ignored, as `nohup` does with SIGHUP.
pub fn ignores_signal(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_signals(&status) >> (signal - 1) & 1 == 1
}

/// The set of signals that `status`, the text of `/proc/self/status`, calls ignored; empty where it says nothing.
fn ignored_signals(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

/// Bytes of memory this process may use: of the host, or of its cgroup or one around it, whichever has less.
pub fn memory_bytes() -> usize {
    let system = rustix::system::sysinfo();
    let host = (system.totalram as u64).saturating_mul(u64::from(system.mem_unit));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = cgroup_memory_bytes(&groups, |path| std::fs::read_to_string(path).ok());
    usize::try_from(limit.map_or(host, |limit| limit.min(host))).unwrap_or(usize::MAX)
}

/// The least `memory.max` of the groups (cgroup v2) that `groups`, the text of `/proc/self/cgroup`, names.
fn cgroup_memory_bytes(groups: &str, read: impl Fn(&std::path::Path) -> Option<String>) -> Option<u64> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = std::path::Path::new("/sys/fs/cgroup");
    let own = root.join(path);
    let around = own.ancestors().take_while(|group| group.starts_with(root));
    // A group without a limit says `max`.
    around.filter_map(|group| read(&group.join("memory.max"))?.trim().parse().ok()).min()
}

/// An address a client on this machine can connect to: the unspecified one is none.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let localhost = SocketAddr::from(([127, 0, 0, 1], 0)).ip();
        address.set_ip(if address.is_ipv4() { localhost } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
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
        assert_eq!(handshakes_possible(limit(20_000), 2, 10_000), (20_000 - 10_000 - 32 - 32) / 4 * 3);
        assert_eq!(handshakes_possible(limit(1024), 2, 512), 336);
        assert_eq!(handshakes_possible(limit(100), 2, 512), 1);
    }

    #[test]
    fn raising_reaches_the_hard_limit() {
        let raised = raise_nofile();
        assert_eq!(raised.soft, raised.hard);
        assert_eq!(open_files(), raised);
    }

    #[test]
    fn ignored_signals_are_read_from_their_mask() {
        assert_eq!(ignored_signals("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"), 0x1001);
        assert_eq!(ignored_signals(""), 0);
        // The runtime of Rust ignores SIGPIPE before anything else, and nobody ignores SIGKILL.
        assert!(ignores_signal(libc::SIGPIPE) && !ignores_signal(libc::SIGKILL));
    }

    #[test]
    fn this_thread_runs_on_an_allowed_core() {
        let cores = allowed_cores();
        assert!(cores.contains(&rustix::thread::sched_getcpu()));
        assert!(cores.is_sorted());
    }

    #[test]
    fn the_tightest_cgroup_around_counts() {
        let read = |path: &std::path::Path| match path.to_str()? {
            "/sys/fs/cgroup/a/b/memory.max" => Some("max\n".to_owned()),
            "/sys/fs/cgroup/a/memory.max" => Some("4096\n".to_owned()),
            "/sys/fs/cgroup/memory.max" => Some("8192\n".to_owned()),
            _ => None,
        };
        assert_eq!(cgroup_memory_bytes("0::/a/b\n", read), Some(4096));
        assert_eq!(cgroup_memory_bytes("0::/c\n", read), Some(8192));
        assert_eq!(cgroup_memory_bytes("1:memory:/a\n", read), None);
        assert!(memory_bytes() > 64 << 20);
    }
}

//! What a server costs: CPU time from its clock, the rest from `/proc`.
//!
//! Everything that works for a server is its cost: threads that have ended, which a sum over those that live would
//! miss (the kernel's own for an io_uring come and go), and processes it has forked.
#![allow(
    unsafe_code,
    reason = "no safe crate of ours knows the clock of another process; the block below says why it is sound"
)]

use std::fs;
use std::io;

use crate::clock::NANOS_PER_SECOND;

/// Whose time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All threads of a process, and its children.
    Process(u32),
    /// One thread of ours: the floor.
    OwnThread(u32),
}

/// CPU time used up to now.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// Nanoseconds on a core, exact to one scheduler tick; those of children to one tick of the kernel's clock.
    pub total_ns: u64,
    /// Of them, in processes it has forked.
    pub children_ns: u64,
    /// Nanoseconds in user space, from `stat`: the kernel looks at each of its ticks where the thread is, and no
    /// kernel built for speed counts it exactly (`VIRT_CPU_ACCOUNTING_GEN` would; a virtual machine has no PMU).
    user_ns: u64,
}

/// Ticks of CPU time below which the share of user space is a guess: 20 tell it to some ten points of a hundred.
const TICKS_MIN: u64 = 20;

impl CpuTime {
    pub fn since(self, earlier: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            children_ns: self.children_ns.saturating_sub(earlier.children_ns),
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
        }
    }

    /// Time in user space; `None` when the kernel has looked too seldom to know.
    pub fn user_ns_if_known(self) -> Option<u64> {
        (self.total_ns >= TICKS_MIN * tick_ns()).then_some(self.user_ns)
    }
}

impl Subject {
    /// # Errors
    /// When the process is gone.
    pub fn cpu_time(self) -> io::Result<CpuTime> {
        match self {
            Self::OwnThread(thread) => task_time(&format!("/proc/self/task/{thread}")),
            Self::Process(pid) => process_time(pid),
        }
    }

    /// Resident memory of the process, bytes; `None` when it is gone, or for a thread, which has none of its own.
    pub fn resident_bytes(self) -> Option<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most of it there has ever been.
    pub fn resident_bytes_peak(self) -> Option<u64> {
        self.status_bytes("VmHWM:")
    }

    /// Has the peak begin anew, at what is resident now; where the kernel refuses, it stays that since the start.
    pub fn reset_resident_peak(self) {
        if let Self::Process(pid) = self {
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }

    fn status_bytes(self, field: &str) -> Option<u64> {
        let Self::Process(pid) = self else { return None };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|kib| kib.parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
    }
}

/// The id of the calling thread, for [`Subject::OwnThread`].
pub fn own_thread() -> Subject {
    Subject::OwnThread(rustix::thread::gettid().as_raw_nonzero().get() as u32)
}

fn task_time(directory: &str) -> io::Result<CpuTime> {
    let schedstat = fs::read_to_string(format!("{directory}/schedstat")).unwrap_or_default();
    let stat = fs::read_to_string(format!("{directory}/stat"))?;
    let (user_ns, system_ns) = user_and_system_ns(&stat);
    let exact = schedstat.split_whitespace().next().and_then(|ns| ns.parse().ok());
    // A kernel without schedstat leaves us the sampled times.
    Ok(CpuTime { total_ns: exact.unwrap_or(user_ns + system_ns), children_ns: 0, user_ns })
}

fn process_time(pid: u32) -> io::Result<CpuTime> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let [user_ns, _, ended_user_ns, ended_system_ns] = times_ns(&stat);
    let mut time = CpuTime { total_ns: process_clock_ns(pid)?, children_ns: 0, user_ns };
    // A child's time goes to its parent's `stat` when it is waited for, and is in its own until then.
    time.children_ns = ended_user_ns + ended_system_ns;
    time.user_ns += ended_user_ns;
    for child in children(pid) {
        if let Ok(child) = process_time(child) {
            time.children_ns += child.total_ns;
            time.user_ns += child.user_ns;
        }
    }
    time.total_ns += time.children_ns;
    Ok(time)
}

/// What all its threads have used, those that have ended, too.
fn process_clock_ns(pid: u32) -> io::Result<u64> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write only what they are given, which outlives them; any number may be asked for.
    let failed = unsafe {
        match libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) {
            0 => libc::clock_gettime(clock, &raw mut time) != 0,
            _ => true,
        }
    };
    if failed {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(time.tv_sec as u64 * NANOS_PER_SECOND + time.tv_nsec as u64)
}

/// Processes it has forked and not waited for yet; none where the kernel keeps no such list.
fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn user_and_system_ns(stat: &str) -> (u64, u64) {
    let [user_ns, system_ns, ..] = times_ns(stat);
    (user_ns, system_ns)
}

/// Fields 14 to 17 of `stat`, counted after the name, which may hold spaces and brackets: in user space and in the
/// kernel, then the same of children that were waited for.
fn times_ns(stat: &str) -> [u64; 4] {
    let tick_ns = tick_ns();
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut times = rest.split_whitespace().skip(11).map(|ticks| ticks.parse::<u64>().unwrap_or(0) * tick_ns);
    std::array::from_fn(|_| times.next().unwrap_or(0))
}

/// The unit of `stat`, usually 10 ms.
fn tick_ns() -> u64 {
    NANOS_PER_SECOND / rustix::param::clock_ticks_per_second().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::thread_cpu_ns;

    #[test]
    fn user_time_is_unknown_until_there_were_enough_ticks() {
        let time = |ticks| CpuTime { total_ns: ticks * tick_ns(), ..CpuTime::default() };
        assert_eq!(time(TICKS_MIN - 1).user_ns_if_known(), None);
        assert_eq!(time(TICKS_MIN).user_ns_if_known(), Some(0));
    }

    #[test]
    fn times_are_found_behind_a_name_with_brackets() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 200 100 4 2 0";
        let tick_ns = NANOS_PER_SECOND / rustix::param::clock_ticks_per_second();
        assert_eq!(times_ns(stat), [200, 100, 4, 2].map(|ticks| ticks * tick_ns));
    }

    /// Goal: nothing that worked for a server is missed. Method: burn time in a thread that ends, then in a child
    /// that is waited for.
    #[test]
    fn threads_and_children_that_have_ended_are_counted() {
        let own = Subject::Process(std::process::id());
        let before = own.cpu_time().unwrap();
        std::thread::spawn(|| while thread_cpu_ns() < 50_000_000 {}).join().unwrap();
        let after_thread = own.cpu_time().unwrap();
        assert!(after_thread.since(before).total_ns >= 50_000_000);
        let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        std::process::Command::new("sh").args(["-c", spin]).status().unwrap();
        assert!(own.cpu_time().unwrap().since(after_thread).children_ns > 0);
    }

    #[test]
    fn own_process_has_time_and_memory() {
        let own = Subject::Process(std::process::id());
        assert!(own.resident_bytes().unwrap() > 0);
        assert!(own.cpu_time().is_ok());
    }
}

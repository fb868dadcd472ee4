//! What a server costs: CPU time and memory, from `/proc`.

use std::fs;
use std::io;

use crate::clock::NANOS_PER_SECOND;

/// Whose time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All threads of a process.
    Process(u32),
    /// One thread of ours: the floor.
    OwnThread(u32),
}

/// CPU time used up to now.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// Nanoseconds on a core, from `schedstat`: exact to one scheduler tick.
    pub total_ns: u64,
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
            Self::Process(pid) => {
                let mut sum = CpuTime::default();
                for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                    // A thread may end while we look; what it used is then not seen.
                    if let Ok(time) = task_time(&task?.path().to_string_lossy()) {
                        sum.total_ns += time.total_ns;
                        sum.user_ns += time.user_ns;
                    }
                }
                Ok(sum)
            }
        }
    }

    /// Resident memory of the process, bytes; `None` when it is gone, or for a thread, which has none of its own.
    pub fn resident_bytes(self) -> Option<u64> {
        let Self::Process(pid) = self else { return None };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
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
    Ok(CpuTime { total_ns: exact.unwrap_or(user_ns + system_ns), user_ns })
}

/// Fields 14 and 15 of `stat`, counted after the name, which may hold spaces and brackets.
fn user_and_system_ns(stat: &str) -> (u64, u64) {
    let tick_ns = tick_ns();
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut times = rest.split_whitespace().skip(11).map(|ticks| ticks.parse::<u64>().unwrap_or(0) * tick_ns);
    (times.next().unwrap_or(0), times.next().unwrap_or(0))
}

/// The unit of `stat`, usually 10 ms.
fn tick_ns() -> u64 {
    NANOS_PER_SECOND / rustix::param::clock_ticks_per_second().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_time_is_unknown_until_there_were_enough_ticks() {
        let time = |ticks| CpuTime { total_ns: ticks * tick_ns(), user_ns: 0 };
        assert_eq!(time(TICKS_MIN - 1).user_ns_if_known(), None);
        assert_eq!(time(TICKS_MIN).user_ns_if_known(), Some(0));
    }

    #[test]
    fn times_are_found_behind_a_name_with_brackets() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 200 100 0 0";
        let tick_ns = NANOS_PER_SECOND / rustix::param::clock_ticks_per_second();
        assert_eq!(user_and_system_ns(stat), (200 * tick_ns, 100 * tick_ns));
    }

    #[test]
    fn own_process_has_time_and_memory() {
        let own = Subject::Process(std::process::id());
        assert!(own.resident_bytes().unwrap() > 0);
        assert!(own.cpu_time().is_ok());
    }
}

//! What rings cost of the memory that a user may lock, and what to do where that is little.
//!
//! Kernels before 5.12 and again recent ones (seen with 6.18) charge the queues of a ring to `RLIMIT_MEMLOCK`, in one sum for
//! all processes of a user without `CAP_IPC_LOCK`, and give them back a moment after the ring is closed. Kernels
//! between those charge them to the cgroup. So nothing is concluded from a number: rings are tried.

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use super::{Clock, Ring};
use crate::limits::{RECEIVE_BUFFERS, RING_COMPLETIONS, RING_ENTRIES, SERVICE_RING_ENTRIES};

/// How long memory of rings that were just closed, by the probe or by an earlier server, is waited for.
const GIVEN_BACK_WITHIN_NS: u64 = 250_000_000;
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// How many operations a ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize {
    pub entries: u32,
    pub completions: u32,
}

impl RingSize {
    pub const FULL: Self = Self { entries: RING_ENTRIES, completions: RING_COMPLETIONS };
    /// From the one to have down to the least that is worth serving with. A smaller one submits in more rounds, and leaves
    /// more completions to the kernel's own list.
    pub const ALL: [Self; 3] = [Self::FULL, Self::FULL.divided(4), Self::FULL.divided(16)];

    const fn divided(self, by: u32) -> Self {
        Self { entries: self.entries / by, completions: self.completions / by }
    }

    /// Bytes of its queues, in whole pages (`io_uring_setup(2)`): 64 an entry; 16 a completion, 4 an index, and a head.
    const fn bytes(self) -> u64 {
        let (entries, completions) = (self.entries as u64, self.completions as u64);
        pages(64 * entries) + pages(HEAD_BYTES + 16 * completions + 4 * entries)
    }
}

/// Of both queues of a ring.
const HEAD_BYTES: u64 = 320;

const fn pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(4096)
}

/// Makes one thing that takes memory of that kind, and once more if there was none at first.
///
/// # Errors
/// Of `make`.
pub fn patiently<T>(make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let clock = Clock::start();
    loop {
        match make() {
            Err(error) if is_no_memory(&error) && clock.elapsed_ns() < GIVEN_BACK_WITHIN_NS => {
                thread::sleep(RETRY_AFTER);
            }
            made => return made,
        }
    }
}

/// Whether `error` says that there is no memory of that kind.
pub fn is_no_memory(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NOMEM)
}

/// What a whole server needs, and what this user has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedMemory {
    pub needed_bytes: u64,
    /// What all processes of this user may lock; `None`: as much as there is.
    pub limit_bytes: Option<u64>,
}

impl LockedMemory {
    /// For so many shards and, where maps are `stored`, the ring of their service thread.
    pub fn of(shards: usize, stored: bool) -> Self {
        let buffers = pages((RECEIVE_BUFFERS * size_of::<io_uring::types::BufRingEntry>()) as u64);
        let service = RingSize { entries: SERVICE_RING_ENTRIES, completions: 2 * SERVICE_RING_ENTRIES };
        let stored = if stored { service.bytes() } else { 0 };
        let is_free = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
        Self {
            needed_bytes: shards as u64 * (RingSize::FULL.bytes() + buffers) + stored,
            limit_bytes: if is_free { None } else { getrlimit(Resource::Memlock).current },
        }
    }

    /// What to raise, and where.
    pub fn advice(&self) -> String {
        if self.limit_bytes.is_none() {
            return "raise the memory limit of the container or cgroup, or list fewer --cores".to_owned();
        }
        // Whole mebibytes, with one for what else this user may lock.
        let mib = (self.needed_bytes >> 20) + 2;
        format!(
            "systemd: LimitMEMLOCK={mib}M; /etc/security/limits.conf: `USER - memlock {}`; or list fewer --cores",
            mib << 10
        )
    }
}

impl fmt::Display for LockedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = self.needed_bytes.div_ceil(1024);
        match self.limit_bytes {
            None => write!(f, "rings of all shards take {needed} KiB, locked memory is not limited"),
            Some(limit) => write!(
                f,
                "rings of all shards take {needed} KiB, all processes of this user may lock {} KiB",
                limit / 1024
            ),
        }
    }
}

/// How many of `shards` rings, all at once, are full ones; the others are smaller.
///
/// # Errors
/// If there is not even memory for the smallest, or no other ring either.
pub fn try_rings(shards: usize) -> io::Result<usize> {
    let rings: Vec<Ring> = (0..shards).map(|_| Ring::new()).collect::<io::Result<_>>()?;
    Ok(rings.iter().filter(|ring| ring.size() == RingSize::FULL).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    // 15, 60 and 227 rings of these sizes fit into 8 MiB on a kernel that charges them, and not one more.
    #[test]
    fn sizes_are_those_that_a_kernel_charges() {
        let fit = RingSize::ALL.map(|size| (8 << 20) / size.bytes());
        assert_eq!(fit, [15, 60, 227]);
    }

    #[test]
    fn what_is_needed_grows_with_shards_and_is_told_with_what_to_raise() {
        let limited =
            |shards, stored| LockedMemory { limit_bytes: Some(8 << 20), ..LockedMemory::of(shards, stored) };
        assert_eq!(limited(2, false).needed_bytes, 2 * (544_768 + 8_192));
        assert_eq!(limited(2, true).needed_bytes - limited(2, false).needed_bytes, 28_672);
        let advice = limited(16, true).advice();
        assert!(advice.contains("LimitMEMLOCK=10M") && advice.contains("memlock 10240"), "{advice}");
    }

    #[test]
    fn only_want_of_memory_is_waited_for() {
        let tries = std::cell::Cell::new(0);
        let failing = |errno: Errno| {
            patiently(|| {
                tries.set(tries.get() + 1);
                Err::<(), _>(errno.into())
            })
        };
        assert!(failing(Errno::PERM).is_err());
        assert_eq!(tries.take(), 1);
        assert!(failing(Errno::NOMEM).is_err_and(|error| is_no_memory(&error)));
        assert!(tries.get() > 1);
    }
}

//! Memory that a shard has freed and the allocator keeps, and pages of what it holds.
//!
//! The allocator gives it back to the system in passing, while it is asked for more. When the last client has left nobody asks,
//! and the process would stay as large as it ever was. So a shard with nothing to do has the allocator give back what it can.

#![allow(unsafe_code, reason = "the allocator is a library in C")]

use super::host;

/// Without this much nobody misses it, and it would soon be asked for again.
const FREED_BYTES_MIN: usize = 8 << 20;
/// Microseconds for which there must have been nothing to do, as it takes milliseconds for each hundred megabytes. Less than
/// what lies between the clocks that shards tell each other.
pub const REST_US: u64 = 20_000;
/// Bytes of maps on one shard from which on huge pages make keys faster to find, and nobody misses what they waste.
const HUGE_PAGES_FROM_BYTES: usize = 128 << 20;

/// What a shard holds, and what it has freed since it gave back memory.
#[derive(Debug, Default)]
pub struct Allocated {
    held_bytes: usize,
    /// The most that was held since then.
    held_bytes_max: usize,
    has_huge_pages: bool,
}

impl Allocated {
    /// Takes note of what is held now, and of how much of it is maps.
    pub fn note(&mut self, held_bytes: usize, maps_bytes: usize) {
        self.held_bytes = held_bytes;
        self.held_bytes_max = self.held_bytes_max.max(held_bytes);
        if maps_bytes >= HUGE_PAGES_FROM_BYTES && !self.has_huge_pages {
            self.has_huge_pages = true;
            host::allow_huge_pages(true);
        }
    }

    /// Whether it is worth it to give back what was freed.
    pub const fn is_much_freed(&self) -> bool {
        self.held_bytes_max - self.held_bytes >= FREED_BYTES_MIN
    }

    /// Gives back what this thread has freed.
    pub fn give_back(&mut self) {
        self.held_bytes_max = self.held_bytes;
        give_back();
    }
}

/// Gives back to the system what this thread has freed: for who has done something large, and rests.
pub fn give_back() {
    // SAFETY: it may be called by any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_is_given_back_once_and_only_if_it_is_much() {
        let mut allocated = Allocated::default();
        let mut is_much = |held_bytes| {
            allocated.note(held_bytes, 0);
            let is_much = allocated.is_much_freed();
            if is_much {
                allocated.give_back();
            }
            is_much
        };
        let (much, little) = (3 * FREED_BYTES_MIN, FREED_BYTES_MIN - 1);
        assert_eq!(
            [0, much, much - little, much, 0, 0, little, 0, much].map(&mut is_much),
            [false, false, false, false, true, false, false, false, false]
        );
        assert!(is_much(much - FREED_BYTES_MIN));
    }
}

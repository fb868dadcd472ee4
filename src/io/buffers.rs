//! The receive buffers of one shard: a ring of provided buffers, from which the kernel takes one only when
//! bytes have arrived, so that an idle connection holds none.
//!
//! ```text
//! ring    one page-aligned array of RECEIVE_BUFFERS entries, shared with the kernel
//! storage RECEIVE_BUFFERS × (RECEIVE_BUFFER_BYTES for the kernel + PARSE_PADDING_BYTES for the parser)
//! ```
#![allow(unsafe_code, reason = "the ring and its buffers are memory shared with the kernel")]

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use rustix::param;

use crate::limits::{PARSE_PADDING_BYTES, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS};

/// The one group of provided buffers of a ring.
pub const BUFFER_GROUP: u16 = 0;

const STRIDE: usize = RECEIVE_BUFFER_BYTES + PARSE_PADDING_BYTES;
const RING_BYTES: usize = RECEIVE_BUFFERS * size_of::<BufRingEntry>();
const MAPPED_BYTES: usize = RING_BYTES + RECEIVE_BUFFERS * STRIDE;
const MASK: u16 = RECEIVE_BUFFERS as u16 - 1;

/// Buffers the kernel has at first. It takes them in turn, so that all it has ever been given become resident, whoever is
/// connected: a shard that is mostly idle makes do with few.
const BUFFERS_AT_FIRST: u16 = 64;

/// See the module. Unmapped on drop, which must come after the ring it was registered with is gone.
pub struct Buffers {
    mapped: *mut u8,
    /// Buffers in use: those below this number. Whether there are more since the last [`Self::publish`].
    count: u16,
    has_grown: bool,
    /// How many the kernel has filled since their pages were given back.
    filled: usize,
    /// Entries handed to the kernel so far, modulo 2^16; published by [`Self::publish`].
    tail: u16,
}

impl Buffers {
    /// Maps the memory and puts the first buffers into the ring.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn map() -> io::Result<Self> {
        // SAFETY: a new anonymous mapping overlaps nothing.
        let mapped = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                MAPPED_BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        let mut buffers = Self { mapped: mapped.cast(), count: 0, has_grown: false, filled: 0, tail: 0 };
        buffers.use_up_to(BUFFERS_AT_FIRST);
        buffers.publish();
        Ok(buffers)
    }

    /// Uses twice as many buffers from the next turn on, as the kernel has run out of them, however many receives have ended
    /// for that in this turn; whether there are more.
    pub fn grow(&mut self) -> bool {
        if !self.has_grown {
            let before = self.count;
            self.use_up_to((2 * before).min(RECEIVE_BUFFERS as u16));
            self.has_grown = self.count > before;
        }
        self.has_grown
    }

    fn use_up_to(&mut self, count: u16) {
        (self.count..count).for_each(|buffer| self.give_back(buffer));
        self.count = count;
    }

    /// The address to register.
    pub fn ring_address(&self) -> u64 {
        self.mapped as u64
    }

    /// The bytes of a buffer that the kernel has filled, followed by the parser's padding.
    pub fn filled(&mut self, buffer: u16, len: usize) -> &mut [u8] {
        assert!(usize::from(buffer) < RECEIVE_BUFFERS && len <= RECEIVE_BUFFER_BYTES);
        self.filled += 1;
        // SAFETY: the buffer lies inside the mapping, is initialized (mapped memory is zero), and belongs to us
        // from its completion until `give_back`; `&mut self` keeps a second slice from existing.
        unsafe { std::slice::from_raw_parts_mut(self.storage(buffer), len + PARSE_PADDING_BYTES) }
    }

    /// Gives the pages of all buffers back to the system, if many have become resident; the next bytes get new ones. Called
    /// where no completion is left to be handled and the kernel makes none: every buffer is empty then.
    pub fn give_back_pages(&mut self) {
        if self.filled < 2 * usize::from(BUFFERS_AT_FIRST) {
            return;
        }
        self.filled = 0;
        let begin = RING_BYTES.next_multiple_of(param::page_size());
        // SAFETY: the range lies inside the mapping, behind the ring, and nobody holds a slice of it; anonymous pages
        // that are gone read as zero.
        let _ =
            unsafe { madvise(self.mapped.add(begin).cast(), MAPPED_BYTES - begin, Advice::LinuxDontNeed) };
    }

    /// Queues a buffer for the kernel to fill again; [`Self::publish`] hands it over.
    pub fn give_back(&mut self, buffer: u16) {
        let address = self.storage(buffer) as u64;
        // SAFETY: the index is masked to the ring; the kernel reads entries only below the published tail, so
        // this one is ours. Its first entry holds the tail in a field that these setters do not touch.
        let entry = unsafe { &mut *self.mapped.cast::<BufRingEntry>().add(usize::from(self.tail & MASK)) };
        entry.set_addr(address);
        entry.set_len(RECEIVE_BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel have what was given back.
    pub fn publish(&mut self) {
        self.has_grown = false;
        // SAFETY: the tail lies in the mapping, aligned, and is only ever written here.
        let tail = unsafe { &*BufRingEntry::tail(self.mapped.cast()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    fn storage(&self, buffer: u16) -> *mut u8 {
        // SAFETY: callers pass buffers below RECEIVE_BUFFERS, so the sum stays inside the mapping.
        unsafe { self.mapped.add(RING_BYTES + usize::from(buffer) * STRIDE) }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size; no slice outlives `&mut self`.
        let _ = unsafe { munmap(self.mapped.cast(), MAPPED_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the mapping: other tests of this process have memory, too.
    fn resident_pages(buffers: &Buffers) -> usize {
        let mut pages = vec![0; MAPPED_BYTES.div_ceil(param::page_size())];
        // SAFETY: the range is the mapping, and there is a byte for each page of it.
        let looked = unsafe { libc::mincore(buffers.mapped.cast(), MAPPED_BYTES, pages.as_mut_ptr()) };
        assert_eq!(looked, 0);
        pages.iter().filter(|&&page| page & 1 == 1).count()
    }

    #[test]
    fn pages_of_buffers_that_were_filled_are_given_back_if_they_are_many() {
        let mut buffers = Buffers::map().unwrap();
        while buffers.grow() {
            buffers.publish();
        }
        (0..RECEIVE_BUFFERS as u16).for_each(|buffer| buffers.filled(buffer, RECEIVE_BUFFER_BYTES).fill(7));
        let most = RECEIVE_BUFFERS * RECEIVE_BUFFER_BYTES / param::page_size();
        assert!(resident_pages(&buffers) >= most);
        buffers.give_back_pages();
        assert!(resident_pages(&buffers) < most / 100, "the ring stays");
        buffers.filled(5, 10).fill(7);
        buffers.give_back_pages();
        assert_eq!(buffers.filled(5, 10)[9], 7, "a few stay");
    }

    #[test]
    fn buffers_are_doubled_once_a_turn_up_to_all() {
        let mut buffers = Buffers::map().unwrap();
        let mut counts = vec![buffers.count];
        for _ in 0..4 {
            let grown = [buffers.grow(), buffers.grow()];
            counts.push(buffers.count);
            assert_eq!(grown, [counts.last() > counts.iter().nth_back(1); 2]);
            buffers.publish();
        }
        assert_eq!(counts, [64, 128, 256, 512, 512]);
        assert_eq!((buffers.tail, usize::from(buffers.count)), (512, RECEIVE_BUFFERS));
    }
}

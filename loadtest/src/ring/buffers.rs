//! The receive buffers the kernel picks from (`IORING_REGISTER_PBUF_RING`).
//!
//! Invariant: a buffer belongs to the kernel until a completion names it, and to the [`Loan`] made for that completion
//! until the loan is dropped, which gives it back. Nobody else reads or writes it.
#![allow(unsafe_code, reason = "the kernel shares this memory; the blocks below say who may touch it when")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// Bytes of one buffer: what the server uses, so that client, floor and server cut a stream alike.
pub const BUFFER_BYTES: usize = 8 << 10;
/// Number of buffers, a power of two as the kernel demands; what the server uses.
pub const BUFFER_COUNT: u16 = 512;
const _: () = assert!(BUFFER_COUNT.is_power_of_two());

/// The buffer group every multishot receive names.
pub const GROUP: u16 = 0;
/// Alignment of the entry table: the kernel maps it by pages.
const PAGE_BYTES: usize = 4096;

pub struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    /// Entries handed to the kernel so far, wrapping.
    tail: Cell<u16>,
}

/// What one completion has received; the kernel gets the buffer back when it is dropped.
pub struct Loan<'a> {
    buffers: &'a Buffers,
    id: u16,
    len: usize,
}

impl Buffers {
    /// Allocates the buffers, hands all of them to the kernel and registers their table with the ring.
    ///
    /// # Errors
    /// What the kernel says when it is too old (5.19) or out of lockable memory.
    pub fn register(submitter: &Submitter<'_>) -> io::Result<Self> {
        // SAFETY: both layouts have a non-zero size.
        let (entries, memory) = unsafe { (alloc_zeroed(entries_layout()), alloc_zeroed(memory_layout())) };
        let Some(entries) = NonNull::new(entries.cast::<BufRingEntry>()) else {
            handle_alloc_error(entries_layout())
        };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(memory_layout()) };
        let buffers = Self { entries, memory, tail: Cell::new(0) };
        for id in 0..BUFFER_COUNT {
            buffers.give_back(id);
        }
        // SAFETY: the table is page-aligned, holds BUFFER_COUNT entries, and lives until `Ring` has dropped the
        // io_uring instance: `Ring` declares the instance before the buffers, so it goes first.
        unsafe { submitter.register_buf_ring_with_flags(entries.as_ptr() as u64, BUFFER_COUNT, GROUP, 0)? };
        Ok(buffers)
    }

    /// The first `len` bytes of buffer `id`. To be called once for the completion that has just named it.
    pub fn lend(&self, id: u16, len: usize) -> Loan<'_> {
        assert!(id < BUFFER_COUNT && len <= BUFFER_BYTES, "the kernel named a buffer that does not exist");
        Loan { buffers: self, id, len }
    }

    /// Lets the kernel fill buffer `id`, which is below [`BUFFER_COUNT`], again.
    fn give_back(&self, id: u16) {
        let tail = self.tail.get();
        let slot = usize::from(tail & (BUFFER_COUNT - 1));
        // SAFETY: `slot` is inside the table; the kernel reads an entry only once the tail has passed it, which the
        // release store below does last. The tail shares its bytes with the reserved field of the first entry,
        // which the three setters leave alone.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(slot);
            entry.set_addr(self.memory.as_ptr().add(usize::from(id) * BUFFER_BYTES) as u64);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(id);
            self.tail.set(tail.wrapping_add(1));
            let shared_tail = BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>();
            (*shared_tail).store(tail.wrapping_add(1), Ordering::Release);
        }
    }
}

impl Deref for Loan<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range is inside `memory` (checked by `lend`), was zeroed at allocation, and the kernel does not
        // write to a buffer between the completion that names it and `give_back`, which only the drop calls.
        unsafe {
            let start = self.buffers.memory.as_ptr().add(usize::from(self.id) * BUFFER_BYTES);
            std::slice::from_raw_parts(start, self.len)
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.buffers.give_back(self.id);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated in `register` with these layouts; `Ring` closes the instance before, and only after
        // its last receive has completed, so the kernel no longer writes here.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), entries_layout());
            dealloc(self.memory.as_ptr(), memory_layout());
        }
    }
}

const fn entries_layout() -> Layout {
    let bytes = size_of::<BufRingEntry>() * BUFFER_COUNT as usize;
    match Layout::from_size_align(bytes, PAGE_BYTES) {
        Ok(layout) => layout,
        Err(_) => panic!("the entry table has a valid layout"),
    }
}

const fn memory_layout() -> Layout {
    match Layout::from_size_align(BUFFER_BYTES * BUFFER_COUNT as usize, PAGE_BYTES) {
        Ok(layout) => layout,
        Err(_) => panic!("the buffers have a valid layout"),
    }
}

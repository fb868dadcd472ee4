//! An allocator that counts what each thread asks it for, for tests that nothing is allocated, or not too much.

#![allow(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts and passes on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
    static BYTES_PEAK: Cell<i64> = const { Cell::new(0) };
}

/// Allocations of this thread so far.
#[allow(dead_code, reason = "some tests count bytes alone")]
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

/// Bytes that this thread has and has not given back.
#[allow(dead_code, reason = "some tests count allocations alone")]
pub fn bytes() -> i64 {
    BYTES.get()
}

/// The most that [`bytes`] has been since this was asked for last.
#[allow(dead_code, reason = "some tests count allocations alone")]
pub fn bytes_peak() -> i64 {
    BYTES_PEAK.replace(BYTES.get())
}

fn count_bytes(more: i64) {
    let bytes = BYTES.get() + more;
    BYTES.set(bytes);
    BYTES_PEAK.set(bytes.max(BYTES_PEAK.get()));
}

struct Counting;

// SAFETY: every call goes to `System` unchanged; counting touches no memory but a thread-local that needs
// neither initialisation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        count_bytes(layout.size() as i64);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count_bytes(-(layout.size() as i64));
        // SAFETY: the caller keeps the contract of `dealloc`, and the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        count_bytes(size as i64 - layout.size() as i64);
        // SAFETY: the caller keeps the contract of `realloc`, and the pointer came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

//! `--warm-memory`: makes the host of a virtual machine back the pages that a server is about to take.
//!
//! A page that no guest program has ever touched is found and cleared by the host on its first touch, which can take
//! twenty times as long as clearing it again. What is touched and freed here is what the kernel hands out next.
#![allow(unsafe_code, reason = "mapping memory is unsafe; the blocks below say who owns the mapping")]

use std::fs;
use std::ptr;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::clock::{now_ns, seconds};
use crate::failure::Failure;

const PAGE_BYTES: usize = 4096;
/// Memory left for everybody else, the server's start included.
const SPARED_BYTES: usize = 512 << 20;
const UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Touches `bytes` of new memory and frees them. Returns the pace of the first touch in GB/s.
///
/// # Errors
/// [`Failure::Setup`] when this machine has not so much to spare.
pub fn warm(bytes: usize) -> Result<f64, Failure> {
    if let Some(available) = available_bytes().filter(|&available| bytes + SPARED_BYTES > available) {
        let (wanted, available) = (bytes >> 20, available >> 20);
        return Err(Failure::Setup(format!(
            "--warm-memory of {wanted} MiB, but {available} MiB are available"
        )));
    }
    let started_ns = now_ns();
    touch(bytes).map_err(|error| Failure::Setup(format!("--warm-memory: {error}")))?;
    let took = seconds((now_ns() - started_ns).max(1));
    Ok(bytes as f64 / 1e9 / took)
}

fn touch(bytes: usize) -> rustix::io::Result<()> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new private mapping at an address of the kernel's choice; nothing else lies there.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE)? };
    // SAFETY: the range is the mapping just made, and the advice changes no content. A kernel without huge pages
    // refuses it, and small ones do as well.
    let _ = unsafe { madvise(start, bytes, Advice::LinuxHugepage) };
    for offset in (0..bytes).step_by(PAGE_BYTES) {
        // SAFETY: `offset` is inside the mapping, which is writable and known to nobody else. Volatile, as nobody
        // ever reads it.
        unsafe { start.cast::<u8>().add(offset).write_volatile(1) };
    }
    // SAFETY: the whole mapping and nothing else; no reference to it was made.
    unsafe { munmap(start, bytes) }
}

fn available_bytes() -> Option<usize> {
    let table = fs::read_to_string("/proc/meminfo").ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib << 10)
}

/// Reads a size such as `3GiB`, `512MiB` or plain bytes.
///
/// # Errors
/// The text for the command line.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let refusal = || format!("'{text}' is no size; write 3GiB, 512MiB or a number of bytes");
    let unit = UNITS.iter().find_map(|&(name, scale)| Some((text.strip_suffix(name)?, scale)));
    let (digits, scale) = unit.unwrap_or((text, 1));
    let number: usize = digits.parse().map_err(|_| refusal())?;
    number.checked_mul(scale).filter(|&bytes| bytes > 0).ok_or_else(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        assert_eq!(parse_size("3GiB"), Ok(3 << 30));
        assert_eq!(parse_size("512MiB"), Ok(512 << 20));
        assert_eq!(parse_size("4096"), Ok(4096));
        for text in ["", "0", "GiB", "3GB", "-1MiB", "99999999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_is_touched_at_some_pace_and_more_than_there_is_is_refused() {
        assert!(warm(8 << 20).unwrap() > 0.0);
        assert!(matches!(warm(1 << 50), Err(Failure::Setup(_))));
    }
}

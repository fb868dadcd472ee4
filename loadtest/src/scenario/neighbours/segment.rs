//! The segment size of a socket that reads slowly.
//!
//! Over loopback segments have 64 KiB, and the kernel grows the server's send buffer with them to megabytes, which is where
//! an answer would wait then. A client on a slow link has small segments, and what it does not read waits in the server.
#![allow(
    unsafe_code,
    reason = "no safe crate of ours has `TCP_MAXSEG`; the block below says why it is sound"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What fits into a packet of Ethernet, with the usual options.
const SEGMENT_BYTES: libc::c_int = 1448;

/// Has a socket that is not connected yet take only small segments.
///
/// # Errors
/// What the kernel says.
pub fn keep_small(socket: BorrowedFd<'_>) -> io::Result<()> {
    let bytes = SEGMENT_BYTES;
    // SAFETY: the kernel only reads `bytes`, an integer of the size that is told, which outlives the call.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MAXSEG,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

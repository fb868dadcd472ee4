//! Asks the kernel, before anything is served, whether it has what a shard's ring needs.
//!
//! Nothing is concluded from a version number: a ring is built with the flags of the server, and each feature is used
//! once over loopback. It is a small one, as the kernel may count the memory of a ring to this user for a moment after it
//! was closed; whether there is memory for those of the shards, only these can tell (`ring_memory.rs`).
#![allow(
    unsafe_code,
    reason = "registers a buffer ring and hands raw entries to the kernel, as the driver does"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use rustix::io::Errno;

use super::ring_memory::patiently;

/// What the kernel's rings can do. The server needs all of it; see [`RingFeatures::missing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingFeatures {
    /// Send, timeout and cancel exist.
    pub operations: bool,
    /// A ring of provided buffers can be registered, so that an idle connection holds no buffer.
    pub buffer_ring: bool,
    /// One submission accepts many connections.
    pub multishot_accept: bool,
    /// One submission receives many times into provided buffers.
    pub multishot_receive: bool,
    /// One ring can complete into another: how a shard wakes its neighbour.
    pub ring_messages: bool,
}

impl RingFeatures {
    /// Names of what the server needs and the kernel lacks; empty when it can run.
    pub fn missing(&self) -> Vec<&'static str> {
        [
            ("send/timeout/cancel", self.operations),
            ("provided-buffer ring", self.buffer_ring),
            ("multishot accept", self.multishot_accept),
            ("multishot receive", self.multishot_receive),
            ("ring messages", self.ring_messages),
        ]
        .into_iter()
        .filter_map(|(name, present)| (!present).then_some(name))
        .collect()
    }
}

/// Why a ring could not even be tried; each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// `ENOSYS`: no io_uring in this kernel.
    #[error("this kernel has no io_uring; run Linux 6.1 or newer with CONFIG_IO_URING=y")]
    Absent,
    /// `EPERM`: the sysctl or a seccomp filter forbids it.
    #[error(
        "io_uring is forbidden here; run `sysctl -w kernel.io_uring_disabled=0`, and inside a container allow \
         io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile"
    )]
    Forbidden,
    /// `EINVAL`: the setup flags are not known.
    #[error("this kernel is too old for SINGLE_ISSUER and DEFER_TASKRUN rings; run Linux 6.1 or newer")]
    TooOld,
    /// `ENOMEM`: the memory of the ring is over a limit.
    #[error(
        "no memory for a ring; raise the locked-memory limit (`ulimit -l unlimited`, systemd: \
         LimitMEMLOCK=infinity) or the memory limit of the container"
    )]
    NoMemory,
    /// Anything else, such as no descriptor left or no loopback interface.
    #[error("the io_uring probe failed: {0}; see `ulimit -n`, `ip address show lo` and `dmesg`")]
    Other(#[source] io::Error),
}

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::NOSYS) => Self::Absent,
            Some(Errno::PERM | Errno::ACCESS) => Self::Forbidden,
            Some(Errno::INVAL) => Self::TooOld,
            Some(Errno::NOMEM) => Self::NoMemory,
            _ => Self::Other(error),
        }
    }
}

/// Submission queue entries of the ring that is tried.
const ENTRIES: u32 = 16;

/// Builds a ring as a shard does and tries each feature once; takes a few milliseconds.
///
/// # Errors
/// [`ProbeError`] when no such ring can be built. A ring that lacks a feature is not an error here.
pub fn probe() -> Result<RingFeatures, ProbeError> {
    let mut ring = build_ring(ENTRIES, 2 * ENTRIES)?;
    let operations = operations_exist(&ring);
    let buffers = Buffers::register(&ring).ok();
    let (multishot_accept, multishot_receive) =
        try_sockets(&mut ring, buffers.as_ref()).map_err(ProbeError::Other)?;
    let ring_messages = try_ring_message(&mut ring).map_err(ProbeError::Other)?;
    let buffer_ring = buffers.is_some();
    if let Some(buffers) = buffers {
        buffers.unregister(&ring);
    }
    Ok(RingFeatures { operations, buffer_ring, multishot_accept, multishot_receive, ring_messages })
}

fn build_ring(entries: u32, completions: u32) -> Result<IoUring, ProbeError> {
    let build = || {
        IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(completions)
            .build(entries)
    };
    Ok(patiently(build)?)
}

fn operations_exist(ring: &IoUring) -> bool {
    let mut probe = Probe::new();
    let needed = [opcode::Send::CODE, opcode::Timeout::CODE, opcode::AsyncCancel::CODE, opcode::Close::CODE];
    ring.submitter().register_probe(&mut probe).is_ok() && needed.iter().all(|&code| probe.is_supported(code))
}

/// Marks of the operations in flight, to tell their completions apart.
const ACCEPT: u64 = 1;
const RECEIVE: u64 = 2;
const MESSAGE: u64 = 3;

/// Accepts one loopback connection and receives one byte from it, both multishot. Returns whether the accept
/// and the receive stayed armed after their first completion.
fn try_sockets(ring: &mut IoUring, buffers: Option<&Buffers>) -> io::Result<(bool, bool)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    submit(ring, &opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build().user_data(ACCEPT))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let accepted = match wait_for(ring, ACCEPT)? {
        Some(entry) if entry.result() >= 0 => entry,
        _ => return Ok((false, false)),
    };
    // SAFETY: a successful accept hands over a descriptor that nobody else knows of.
    let accepted_socket = unsafe { OwnedFd::from_raw_fd(accepted.result()) };
    let multishot_accept = cqueue::more(accepted.flags());
    if buffers.is_none() {
        return Ok((multishot_accept, false));
    }

    let receive = opcode::RecvMulti::new(Fd(accepted_socket.as_raw_fd()), Buffers::GROUP);
    submit(ring, &receive.build().user_data(RECEIVE))?;
    client.write_all(b"?")?;
    let received = wait_for(ring, RECEIVE)?;
    let armed = received.is_some_and(|entry| {
        entry.result() == 1 && cqueue::more(entry.flags()) && cqueue::buffer_select(entry.flags()).is_some()
    });
    // The end of the stream ends the receive, so that nothing writes to the buffers any more.
    drop(client);
    let finished = !armed || wait_for(ring, RECEIVE)?.is_some_and(|entry| !cqueue::more(entry.flags()));
    Ok((multishot_accept, armed && finished))
}

/// Sends a message from `ring` to a second ring and waits for it there.
fn try_ring_message(ring: &mut IoUring) -> io::Result<bool> {
    let mut target = match build_ring(4, 8) {
        Ok(target) => target,
        Err(_) => return Ok(false),
    };
    let to: RawFd = target.as_raw_fd();
    submit(ring, &opcode::MsgRingData::new(Fd(to), 0, MESSAGE, None).build().user_data(MESSAGE))?;
    let sent = wait_for(ring, MESSAGE)?.is_some_and(|entry| entry.result() >= 0);
    Ok(sent && wait_for(&mut target, MESSAGE)?.is_some())
}

fn submit(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<()> {
    // SAFETY: no entry of this file points at memory but that of `Buffers`, which outlives its receives; the
    // descriptors are open until their completion was awaited or the ring is gone.
    unsafe { ring.submission().push(entry) }.map_err(|_| io::Error::other("the submission queue is full"))?;
    ring.submit().map(drop)
}

/// The next completion marked `mark`, or `None` after a second: over loopback that means never.
fn wait_for(ring: &mut IoUring, mark: u64) -> io::Result<Option<cqueue::Entry>> {
    let second = Timespec::new().sec(1);
    loop {
        if let Some(entry) = ring.completion().find(|entry| entry.user_data() == mark) {
            return Ok(Some(entry));
        }
        match ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&second)) {
            Ok(_) => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::TIME) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// One page: a ring of four provided buffers at its start, the buffers in its second half.
struct Buffers {
    page: NonNull<u8>,
}

impl Buffers {
    const GROUP: u16 = 1;
    const COUNT: u16 = 4;
    const BYTES: usize = 64;
    const LAYOUT: Layout = match Layout::from_size_align(4096, 4096) {
        Ok(layout) => layout,
        Err(_) => panic!("a page is a valid layout"),
    };

    /// # Errors
    /// `EINVAL` from a kernel before 5.19, which has no buffer rings.
    fn register(ring: &IoUring) -> io::Result<Self> {
        // SAFETY: the layout has a size.
        let page = NonNull::new(unsafe { alloc_zeroed(Self::LAYOUT) });
        let buffers = Self { page: page.unwrap_or_else(|| handle_alloc_error(Self::LAYOUT)) };
        let entries = buffers.page.as_ptr().cast::<BufRingEntry>();
        for index in 0..Self::COUNT {
            // SAFETY: 4 entries of 16 bytes and 4 buffers of 64 bytes from the middle on lie within the zeroed
            // page, which is aligned for both; nothing else refers to it yet.
            let (entry, buffer) = unsafe {
                let offset = 2048 + usize::from(index) * Self::BYTES;
                (&mut *entries.add(usize::from(index)), buffers.page.as_ptr().add(offset))
            };
            entry.set_addr(buffer as u64);
            entry.set_len(Self::BYTES as u32);
            entry.set_bid(index);
        }
        // SAFETY: the tail lies in the first entry, aligned to two bytes; the kernel reads it atomically.
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) }
            .store(Self::COUNT, Ordering::Release);
        // SAFETY: the page stays until `unregister`, or for ever.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(entries as u64, Self::COUNT, Self::GROUP, 0)
        }?;
        Ok(buffers)
    }

    /// Frees the page once the kernel has let go of it; if it does not, the page is left to it for good.
    fn unregister(self, ring: &IoUring) {
        if ring.submitter().unregister_buf_ring(Self::GROUP).is_ok() {
            // SAFETY: allocated with this layout in `register`, freed only here, where `self` ends.
            unsafe { dealloc(self.page.as_ptr(), Self::LAYOUT) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_runs_the_tests_has_every_feature() {
        let features = probe().expect("annulus is developed on kernels it runs on");
        assert_eq!(features.missing(), Vec::<&str>::new());
    }

    #[test]
    fn missing_features_are_named() {
        let none = RingFeatures {
            operations: true,
            buffer_ring: true,
            multishot_accept: true,
            multishot_receive: false,
            ring_messages: false,
        };
        assert_eq!(none.missing(), ["multishot receive", "ring messages"]);
    }

    #[test]
    fn each_refusal_of_the_kernel_has_its_own_advice() {
        let of = |errno: Errno| ProbeError::from(io::Error::from(errno)).to_string();
        assert!(of(Errno::NOSYS).contains("CONFIG_IO_URING"));
        assert!(of(Errno::PERM).contains("kernel.io_uring_disabled=0"));
        assert!(of(Errno::INVAL).contains("6.1"));
        assert!(of(Errno::NOMEM).contains("LimitMEMLOCK"));
        assert!(of(Errno::MFILE).contains("Too many open files"));
    }
}

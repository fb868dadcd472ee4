//! The io_uring of one shard: its operations, each with the name of what completes.
#![allow(unsafe_code, reason = "submission entries carry raw addresses and descriptors")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;

use super::buffers::{BUFFER_GROUP, Buffers};
use super::ring_memory::{RingSize, is_no_memory, patiently};
use crate::limits::RECEIVE_BUFFERS;
use crate::mesh::ConnectionId;

/// What an operation was, as its completion tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Of the listener with this index.
    Accept(u32),
    Receive(ConnectionId),
    Send(ConnectionId),
    /// The control event of the shard.
    Control,
    /// Another shard has put something into its queue to this one.
    Wake,
    /// The time of the timer has come.
    Timer,
    /// Its outcome interests nobody.
    Ignored,
}

const KIND_SHIFT: u32 = 56;
const GENERATION_SHIFT: u32 = 32;
/// Bits of a generation that travel with an operation. A slot is freed only after its last completion, so a
/// generation that comes around after 16 million accepts names nothing else by then.
const GENERATION_MASK: u32 = (1 << (KIND_SHIFT - GENERATION_SHIFT)) - 1;

impl Operation {
    const fn encode(self) -> u64 {
        let (kind, id) = match self {
            Self::Ignored => (0, ConnectionId { index: 0, generation: 0 }),
            Self::Accept(index) => (1, ConnectionId { index, generation: 0 }),
            Self::Receive(id) => (2, id),
            Self::Send(id) => (3, id),
            Self::Control => (4, ConnectionId { index: 0, generation: 0 }),
            Self::Wake => (5, ConnectionId { index: 0, generation: 0 }),
            Self::Timer => (6, ConnectionId { index: 0, generation: 0 }),
        };
        kind << KIND_SHIFT | ((id.generation & GENERATION_MASK) as u64) << GENERATION_SHIFT | id.index as u64
    }

    const fn decode(user_data: u64) -> Self {
        let generation = (user_data >> GENERATION_SHIFT) as u32 & GENERATION_MASK;
        let id = ConnectionId { index: user_data as u32, generation };
        match user_data >> KIND_SHIFT {
            1 => Self::Accept(id.index),
            2 => Self::Receive(id),
            3 => Self::Send(id),
            4 => Self::Control,
            5 => Self::Wake,
            6 => Self::Timer,
            _ => Self::Ignored,
        }
    }
}

/// Whether `generation` is the one that an operation could carry of it.
pub const fn same_generation(carried: u32, generation: u32) -> bool {
    carried == generation & GENERATION_MASK
}

/// One operation that has come to an end, or one shot of a multishot operation.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    pub operation: Operation,
    pub result: Result<u32, Errno>,
    /// More completions of the same operation will come.
    pub more: bool,
    /// The receive buffer that was filled.
    pub buffer: Option<u16>,
}

impl Completion {
    fn of(entry: &cqueue::Entry) -> Self {
        Self {
            operation: Operation::decode(entry.user_data()),
            result: u32::try_from(entry.result()).map_err(|_| Errno::from_raw_os_error(-entry.result())),
            more: cqueue::more(entry.flags()),
            buffer: cqueue::buffer_select(entry.flags()),
        }
    }
}

/// See the module. Used by the thread that made it only (`SINGLE_ISSUER`).
pub struct Ring {
    // Dropped in this order: no kernel writes into the buffers of a ring that is closed.
    ring: IoUring,
    size: RingSize,
    buffers: Buffers,
    control_value: Box<u64>,
    timer: Box<Timespec>,
    /// Done with, for reuse.
    #[expect(clippy::vec_box, reason = "what is queued points at a gather, so that it must not move")]
    gathers: Vec<Box<Gather>>,
}

impl Ring {
    /// The largest that there is memory for.
    ///
    /// # Errors
    /// As `annulus doctor` explains: no io_uring, too old, forbidden, or out of memory.
    pub fn new() -> io::Result<Self> {
        let [full, smaller @ ..] = RingSize::ALL;
        let mut made = patiently(|| Self::with(full));
        for size in smaller {
            match made {
                // Also the one before may have failed half-way, and what it had comes back late.
                Err(error) if is_no_memory(&error) => made = patiently(|| Self::with(size)),
                made => return made,
            }
        }
        made
    }

    fn with(size: RingSize) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(size.completions)
            .build(size.entries)?;
        let buffers = Buffers::map()?;
        // SAFETY: the mapping outlives the ring: fields drop in order of declaration.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                buffers.ring_address(),
                RECEIVE_BUFFERS as u16,
                BUFFER_GROUP,
                0,
            )?;
        }
        // Saves looking up the ring's descriptor on every turn; a kernel that cannot is only a little slower.
        let _ = ring.submitter().register_ring_fd();
        let (control_value, timer) = (Box::new(0), Box::new(Timespec::new()));
        Ok(Self { ring, size, buffers, control_value, timer, gathers: Vec::new() })
    }

    pub fn size(&self) -> RingSize {
        self.size
    }

    /// The descriptor to which other shards send their wakes.
    pub fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    pub fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }

    pub fn queue_accept(&mut self, listener: BorrowedFd<'_>, index: u32) {
        let accept = opcode::AcceptMulti::new(fd(listener)).flags(libc::SOCK_CLOEXEC);
        self.push(&accept.build(), Operation::Accept(index));
    }

    /// Receives into provided buffers until cancelled, ended or out of buffers.
    pub fn queue_receive(&mut self, socket: BorrowedFd<'_>, id: ConnectionId) {
        self.push(&opcode::RecvMulti::new(fd(socket), BUFFER_GROUP).build(), Operation::Receive(id));
    }

    /// Sends `bytes`, which stay where they are until the completion: the outbox keeps what is in flight.
    pub fn queue_send(&mut self, socket: BorrowedFd<'_>, id: ConnectionId, bytes: &[u8]) {
        let send =
            opcode::Send::new(fd(socket), bytes.as_ptr(), bytes.len() as u32).flags(libc::MSG_NOSIGNAL);
        self.push(&send.build(), Operation::Send(id));
    }

    /// Sends `pieces`, which stay where they are until the completion, as does what is returned.
    pub fn queue_send_pieces<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        id: ConnectionId,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Box<Gather> {
        let mut gather = self.gathers.pop().unwrap_or_default();
        gather.point_at(pieces);
        let send =
            opcode::SendMsg::new(fd(socket), &raw const gather.header).flags(libc::MSG_NOSIGNAL as u32);
        self.push(&send.build(), Operation::Send(id));
        gather
    }

    /// Takes back what [`Self::queue_send_pieces`] gave, after the completion.
    pub fn reuse(&mut self, gather: Box<Gather>) {
        if self.gathers.len() < GATHERS_MAX {
            self.gathers.push(gather);
        }
    }

    /// Stops the receive of `id`; what has arrived before is still reported.
    pub fn queue_cancel_receive(&mut self, id: ConnectionId) {
        let cancel = opcode::AsyncCancel::new(Operation::Receive(id).encode());
        self.push(&cancel.build(), Operation::Ignored);
    }

    pub fn queue_cancel_accept(&mut self, index: u32) {
        let cancel = opcode::AsyncCancel::new(Operation::Accept(index).encode());
        self.push(&cancel.build(), Operation::Ignored);
    }

    /// Waits for the control event of the shard.
    pub fn queue_control(&mut self, event: BorrowedFd<'_>) {
        let value: *mut u64 = &raw mut *self.control_value;
        self.push(&opcode::Read::new(fd(event), value.cast(), 8).build(), Operation::Control);
    }

    /// Raises an event: with the next submission, and so without a system call of its own.
    pub fn queue_raise(&mut self, event: BorrowedFd<'_>) {
        static ONE: u64 = 1;
        let value: *const u64 = &raw const ONE;
        let raise = opcode::Write::new(fd(event), value.cast(), 8).build();
        self.push(&raise.flags(squeue::Flags::SKIP_SUCCESS), Operation::Ignored);
    }

    /// Completes [`Operation::Timer`] after `delay`. It stays armed over as many turns as it takes: to arm and
    /// disarm a timer for every wait costs an exit to the hypervisor each, on virtual machines.
    pub fn queue_timer(&mut self, delay: Duration) {
        *self.timer = Timespec::from(delay);
        let timespec: *const Timespec = &raw const *self.timer;
        self.push(&opcode::Timeout::new(timespec).build(), Operation::Timer);
    }

    /// Moves the armed timer to `delay` from now.
    pub fn queue_move_timer(&mut self, delay: Duration) {
        *self.timer = Timespec::from(delay);
        let timespec: *const Timespec = &raw const *self.timer;
        let moved = opcode::TimeoutUpdate::new(Operation::Timer.encode(), timespec);
        self.push(&moved.build(), Operation::Ignored);
    }

    /// Wakes the shard whose ring this descriptor is.
    pub fn queue_wake(&mut self, ring: RawFd) {
        let wake = opcode::MsgRingData::new(Fd(ring), 0, Operation::Wake.encode(), None);
        self.push(&wake.build().flags(squeue::Flags::SKIP_SUCCESS), Operation::Ignored);
    }

    /// Submits what is queued and waits for a completion, at most as long as `timeout` says. Fills `completed`.
    ///
    /// # Errors
    /// Only such as make the ring unusable.
    pub fn turn(&mut self, timeout: Option<Duration>, completed: &mut Vec<Completion>) -> io::Result<()> {
        self.buffers.publish();
        let waited = match timeout {
            None => self.ring.submit_and_wait(1),
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timespec))
            }
        };
        match waited.map_err(|error| (Errno::from_io_error(&error), error)) {
            Ok(_) | Err((Some(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN), _)) => {}
            Err((_, error)) => return Err(error),
        }
        completed.clear();
        completed.extend(self.ring.completion().map(|entry| Completion::of(&entry)));
        Ok(())
    }

    /// Completions that found the queue full; the kernel keeps them, but it costs.
    pub fn overflows(&mut self) -> u32 {
        self.ring.completion().overflow()
    }

    fn push(&mut self, entry: &squeue::Entry, operation: Operation) {
        let entry = entry.clone().user_data(operation.encode());
        loop {
            // SAFETY: descriptors are open and buffers in place until their completion; the callers' docs say
            // who sees to that.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // A full queue, as in a fan-out to more connections than it has entries: submit and go on. An error
            // means that the kernel is busy; the turn will report one that lasts.
            let _ = self.ring.submit();
        }
    }
}

/// The pieces of one send, in the form the kernel reads them in.
pub struct Gather {
    header: libc::msghdr,
    slices: Vec<libc::iovec>,
}

/// Pieces one send takes; the rest follows with the next.
const PIECES_MAX: usize = 64;

/// Gathers kept for reuse: one for each send of a large fan-out, and a shard keeps 1.2 MiB of them at most.
const GATHERS_MAX: usize = 1024;

impl Default for Gather {
    fn default() -> Self {
        // SAFETY: all fields of a message header are integers and pointers, for which zero is a value.
        let header = unsafe { std::mem::zeroed() };
        Self { header, slices: Vec::new() }
    }
}

impl Gather {
    /// Points at the first [`PIECES_MAX`] of `pieces`, which must stay where they are while this is in use.
    fn point_at<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) {
        self.slices.clear();
        self.slices.extend(
            pieces.take(PIECES_MAX).map(|piece| libc::iovec {
                iov_base: piece.as_ptr().cast_mut().cast(),
                iov_len: piece.len(),
            }),
        );
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = self.slices.len();
    }
}

/// The descriptor that a successful accept made.
pub fn adopt(accepted: u32) -> OwnedFd {
    // SAFETY: the completion of an accept hands over a descriptor that nobody else knows of.
    unsafe { OwnedFd::from_raw_fd(accepted as RawFd) }
}

fn fd(descriptor: BorrowedFd<'_>) -> Fd {
    Fd(descriptor.as_raw_fd())
}

//! The io_uring of one shard: its operations, each with the name of what completes.
//!
//! Invariant: to queue an operation neither fails nor waits. What the queue has no room for, and what the kernel does not
//! take now, waits in order; the turn submits it and has the one answer to a kernel that refuses.
#![allow(unsafe_code, reason = "submission entries carry raw addresses and descriptors")]

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use rustix::io::Errno;

use super::buffers::{BUFFER_GROUP, Buffers};
#[cfg(test)]
use super::faults::Faults;
use super::gather::Gather;
use super::listener::Takes;
use super::operation::{Completion, Operation};
use super::ring_memory::{RingSize, is_no_memory, patiently};
use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS};
use crate::mesh::{ConnectionId, ShardIndex};

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
    /// What found the submission queue full and the kernel unwilling, in order.
    backlog: VecDeque<squeue::Entry>,
    /// Turns in a row in which the kernel took nothing.
    refusals: u32,
    /// What made the ring unusable between two turns.
    failed: Option<io::Error>,
    /// Of completions that were dropped, as the kernel counts them.
    dropped: u32,
    #[cfg(test)]
    pub(super) faults: Faults,
}

/// What a turn of the ring met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// The kernel took nothing that was to be submitted, for want of memory; the turn has waited instead.
    pub refused: Option<Errno>,
    /// Times the completion queue was full and the kernel kept completions back, or dropped them.
    pub overflows: u32,
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
        Ok(Self {
            ring,
            size,
            buffers,
            control_value,
            timer,
            gathers: Vec::new(),
            backlog: VecDeque::new(),
            refusals: 0,
            failed: None,
            dropped: 0,
            #[cfg(test)]
            faults: Faults::default(),
        })
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

    /// Accepts connections until cancelled, or one of them where others accept from the same listener: who has taken one waits
    /// behind the others for the next, as the kernel wakes who has waited longest.
    pub fn queue_accept(&mut self, listener: BorrowedFd<'_>, index: u32, takes: Takes) {
        let accept = match takes {
            Takes::All => opcode::AcceptMulti::new(fd(listener)).flags(libc::SOCK_CLOEXEC).build(),
            Takes::Turns => {
                let nobody = std::ptr::null_mut();
                opcode::Accept::new(fd(listener), nobody, nobody.cast()).flags(libc::SOCK_CLOEXEC).build()
            }
        };
        self.push(&accept, Operation::Accept(index));
    }

    /// Receives into provided buffers until cancelled, ended or out of buffers.
    pub fn queue_receive(&mut self, socket: BorrowedFd<'_>, id: ConnectionId) {
        self.push(&opcode::RecvMulti::new(fd(socket), BUFFER_GROUP).build(), Operation::Receive(id));
    }

    /// Receives into one provided buffer.
    pub fn queue_receive_one(&mut self, socket: BorrowedFd<'_>, id: ConnectionId) {
        let receive = opcode::Recv::new(fd(socket), std::ptr::null_mut(), RECEIVE_BUFFER_BYTES as u32)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(&receive, Operation::Receive(id));
    }

    /// Sends `bytes`, which stay where they are until the completion: the outbox keeps what is in flight.
    pub fn queue_send(&mut self, socket: BorrowedFd<'_>, id: ConnectionId, bytes: &[u8]) {
        // More than that is sent by the sends that follow one which has not sent all.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let send = opcode::Send::new(fd(socket), bytes.as_ptr(), len).flags(libc::MSG_NOSIGNAL);
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
        let send = opcode::SendMsg::new(fd(socket), gather.header()).flags(libc::MSG_NOSIGNAL as u32);
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
        self.push(&cancel.build().flags(squeue::Flags::SKIP_SUCCESS), Operation::CancelReceive(id));
    }

    pub fn queue_cancel_accept(&mut self, index: u32) {
        let cancel = opcode::AsyncCancel::new(Operation::Accept(index).encode());
        self.push(&cancel.build().flags(squeue::Flags::SKIP_SUCCESS), Operation::CancelAccept(index));
    }

    /// Waits for the control event of the shard.
    pub fn queue_control(&mut self, event: BorrowedFd<'_>) {
        let value: *mut u64 = &raw mut *self.control_value;
        self.push(&opcode::Read::new(fd(event), value.cast(), 8).build(), Operation::Control);
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
        self.push(&moved.build().flags(squeue::Flags::SKIP_SUCCESS), Operation::MoveTimer);
    }

    /// Completes [`Operation::Woken`] in the ring of `shard`, which is this descriptor.
    pub fn queue_wake(&mut self, ring: RawFd, shard: ShardIndex) {
        let wake = opcode::MsgRingData::new(Fd(ring), 0, Operation::Woken.encode(), None);
        self.push(&wake.build().flags(squeue::Flags::SKIP_SUCCESS), Operation::Wake(shard));
    }

    fn push(&mut self, entry: &squeue::Entry, operation: Operation) {
        let entry = entry.clone().user_data(operation.encode());
        #[cfg(test)]
        let entry = self.faults.replace(entry, operation);
        let was_waiting = !self.backlog.is_empty();
        if was_waiting || !self.has_pushed(&entry) {
            self.backlog.push_back(entry);
        }
        if !was_waiting
            && !self.backlog.is_empty()
            // A full queue, as in a fan-out to more connections than it has entries: submit and go on.
            && let Err(error) = refusal(self.submit_backlog())
        {
            self.failed = Some(error);
        }
    }

    fn has_pushed(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: descriptors are open and buffers in place until their completion; the callers' docs say
        // who sees to that.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Moves what waits into the queue, and submits for as long as there is no room for all of it.
    fn submit_backlog(&mut self) -> io::Result<usize> {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.has_pushed(&entry) {
                self.backlog.push_front(entry);
                if self.enter(Entering::SUBMIT)? == 0 {
                    return Err(Errno::AGAIN.into());
                }
            }
        }
        Ok(0)
    }
}

// The turn.
impl Ring {
    /// Submits what is queued and waits for a completion, at most as long as `timeout` says. Fills `completed`.
    ///
    /// # Errors
    /// Only such as make the ring unusable: completions were lost, or the kernel knows no such ring.
    pub fn turn(&mut self, timeout: Option<Duration>, completed: &mut Vec<Completion>) -> io::Result<Turned> {
        self.buffers.publish();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let waiting = Entering { submits: true, waits: 1, collects: true, timeout };
        let entered = self.submit_backlog().and_then(|_| self.enter(waiting));
        let refused = match refusal(entered)? {
            None => {
                self.refusals = 0;
                None
            }
            Some(errno) => {
                // To ask again at once would keep the core busy with nothing. Completions may free what is wanted.
                let rest = (REST_MIN * (1 << self.refusals.min(8))).min(REST_MAX);
                self.refusals += 1;
                let resting = Entering { submits: false, waits: 1, collects: true, timeout: Some(rest) };
                if refusal(self.enter(resting))?.is_some() {
                    thread::sleep(rest);
                }
                Some(errno)
            }
        };
        Ok(self.collect(refused, completed))
    }

    /// Submits what is queued and fills `completed` with what has completed, without a wait.
    ///
    /// # Errors
    /// As of [`Self::turn`].
    pub fn look(&mut self, completed: &mut Vec<Completion>) -> io::Result<Turned> {
        #[cfg(test)]
        self.faults.look();
        self.buffers.publish();
        let entered = self.submit_backlog().and_then(|_| self.enter(Entering::LOOK));
        let refused = refusal(entered)?;
        Ok(self.collect(refused, completed))
    }

    fn collect(&mut self, refused: Option<Errno>, completed: &mut Vec<Completion>) -> Turned {
        completed.clear();
        completed.extend(self.ring.completion().map(|entry| Completion::of(&entry)));
        #[cfg(test)]
        completed.iter_mut().for_each(|completion| self.faults.strike(completion));
        Turned { refused, overflows: self.overflows() }
    }

    fn enter(&mut self, how: Entering) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(errno) = self.faults.refuse(how.submits, how.timeout) {
            return Err(errno.into());
        }
        let submits = if how.submits { self.ring.submission().len() as u32 } else { 0 };
        let events = if how.collects { GET_EVENTS } else { 0 };
        let submitter = self.ring.submitter();
        match how.timeout.map(Timespec::from) {
            // SAFETY: without an argument there is nothing that must be valid.
            None => unsafe { submitter.enter::<()>(submits, how.waits, events, None) },
            Some(timespec) => {
                let args = SubmitArgs::new().timespec(&timespec);
                // SAFETY: the argument is of the kind that the flag announces, and lives on.
                unsafe { submitter.enter(submits, how.waits, events | EXTENDED_ARGUMENT, Some(&args)) }
            }
        }
    }

    /// Times since the last look that completions found the queue full.
    fn overflows(&mut self) -> u32 {
        // The kernel clears the flag once it has moved into the queue what it kept back, which is with the next turn.
        let is_kept_back = self.ring.submission().cq_overflow();
        let dropped = self.ring.completion().overflow();
        let fresh = dropped.wrapping_sub(self.dropped);
        self.dropped = dropped;
        fresh + u32::from(is_kept_back)
    }
}

/// One `io_uring_enter`.
#[derive(Clone, Copy)]
struct Entering {
    submits: bool,
    /// For so many completions.
    waits: u32,
    /// Runs what waits to complete.
    collects: bool,
    timeout: Option<Duration>,
}

impl Entering {
    const SUBMIT: Self = Self { submits: true, waits: 0, collects: false, timeout: None };
    const LOOK: Self = Self { submits: true, waits: 0, collects: true, timeout: None };
}

/// Of `io_uring_enter(2)`.
const GET_EVENTS: u32 = 1;
const EXTENDED_ARGUMENT: u32 = 8;

/// How long the first turn waits in which the kernel takes nothing, and the longest such wait.
const REST_MIN: Duration = Duration::from_millis(1);
const REST_MAX: Duration = Duration::from_millis(100);

/// Why the kernel took nothing, if it did not; nothing is lost then.
///
/// # Errors
/// Such as make the ring unusable.
fn refusal(entered: io::Result<usize>) -> io::Result<Option<Errno>> {
    let Err(error) = entered else { return Ok(None) };
    match Errno::from_io_error(&error) {
        // The wait is over, or a signal has ended it, which the next turn begins anew.
        Some(Errno::TIME | Errno::INTR) => Ok(None),
        Some(errno @ (Errno::AGAIN | Errno::BUSY | Errno::NOMEM)) => Ok(Some(errno)),
        _ => Err(error),
    }
}

/// Gathers kept for reuse: one for each send of a large fan-out, and a shard keeps 1.2 MiB of them at most.
const GATHERS_MAX: usize = 1024;

/// The descriptor that a successful accept made.
pub fn adopt(accepted: u32) -> OwnedFd {
    // SAFETY: the completion of an accept hands over a descriptor that nobody else knows of.
    unsafe { OwnedFd::from_raw_fd(accepted as RawFd) }
}

fn fd(descriptor: BorrowedFd<'_>) -> Fd {
    Fd(descriptor.as_raw_fd())
}

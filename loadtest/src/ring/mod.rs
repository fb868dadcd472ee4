//! One io_uring instance, its sockets, and the turn: what was queued leaves, what has arrived is shown.
//!
//! The clients and the floor server run on it alike, with the features the server uses: `SINGLE_ISSUER`,
//! `DEFER_TASKRUN`, multishot accept and receive, provided buffers, one send in flight per socket.
//!
//! Invariant: memory of a send is neither moved nor changed between its submission and its completion
//! ([`Sockets`] holds it); the drop waits for the last completion before that memory is freed.
#![allow(
    unsafe_code,
    reason = "submitting to the kernel is unsafe; the blocks below say what keeps the memory valid"
)]

mod buffers;
mod sockets;

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use rustix::io::Errno;

use buffers::Buffers;

use crate::clock::{now_ns, thread_cpu_ns};
use crate::polling;
use crate::tls::Session;
pub use sockets::{SocketId, Sockets};

/// Submission entries: what the server uses. More sends than this in one turn go in several rounds.
const ENTRIES: u32 = 4096;
/// Completion entries: what the server uses.
const COMPLETIONS: u32 = 16_384;
/// Rounds of 10 ms the drop waits for the kernel to let go of our memory; past it the memory is leaked.
const DRAIN_ROUNDS_MAX: usize = 300;
/// `MSG_WAITALL`: the kernel finishes a send it could only start. `MSG_NOSIGNAL`: a closed peer is an error, no signal.
const SEND_FLAGS: i32 = 0x100 | 0x4000;

/// A shorter look for completions cannot have been interrupted by another thread on the core for long; in a longer one
/// only the time on the core counts, as somebody else, such as the server's background, may have had the rest.
const PREEMPTED_NS_MIN: u64 = 500_000;

/// What happened, in the order the kernel tells it.
pub enum Event<'a> {
    /// The listener has a connection; it is to be given to [`Ring::add`] or dropped.
    Accepted(OwnedFd),
    /// Bytes of the socket with this label.
    Received { socket: SocketId, label: u32, bytes: &'a [u8] },
    /// The peer is gone; 0 for an orderly end, otherwise the error number. The socket is closed already.
    Ended { label: u32, errno: i32 },
}

pub struct Ring {
    // The order matters: fields drop top-down, and the kernel must let go before the memory is freed.
    uring: IoUring,
    buffers: Rc<Buffers>,
    sockets: Sockets,
    done: Vec<Done>,
    listener: Option<TcpListener>,
    polls: bool,
}

#[derive(Clone, Copy)]
struct Done {
    kind: u64,
    socket: u32,
    result: i32,
    flags: u32,
}

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;

impl Ring {
    /// `blob_bytes`: see [`Sockets::send_blob`].
    ///
    /// # Errors
    /// A kernel older than 6.1, `io_uring_disabled`, or too little lockable memory.
    pub fn new(blob_bytes: usize) -> io::Result<Self> {
        let uring = IoUring::<squeue::Entry, cqueue::Entry>::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .build(ENTRIES)?;
        let buffers = Buffers::register(&uring.submitter())?;
        Ok(Self {
            uring,
            buffers: Rc::new(buffers),
            sockets: Sockets::new(blob_bytes),
            done: Vec::with_capacity(COMPLETIONS as usize),
            listener: None,
            polls: polling::is_on(),
        })
    }

    /// Accepts from `listener` until the ring is dropped.
    pub fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build().user_data(ACCEPT << 32);
        self.listener = Some(listener);
        self.push(&entry)
    }

    /// Takes a connected socket and starts to receive from it, through TLS if there is any.
    pub fn add(&mut self, fd: OwnedFd, label: u32, tls: Option<Session>) -> io::Result<SocketId> {
        let socket = self.sockets().insert(fd, label, tls);
        self.receive(socket.0)?;
        Ok(socket)
    }

    pub fn sockets(&mut self) -> &mut Sockets {
        &mut self.sockets
    }

    /// Ends the connection now, as a lost peer would: nothing of it is shown from here on.
    pub fn close(&mut self, socket: SocketId) {
        let sockets = self.sockets();
        sockets.set_closing(socket.0);
        if let Some(fd) = sockets.fd(socket.0) {
            // No port is to linger in TIME_WAIT: thousands of clients come and go.
            let _ = rustix::net::sockopt::set_socket_linger(fd, Some(Duration::ZERO));
            let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Both);
        }
        sockets.reap(socket.0);
    }

    /// Submits what is queued, waits for completions (up to `wait`; `None`: however long it takes) and shows them.
    ///
    /// # Errors
    /// Those of `visit`, and a failing `io_uring_enter`.
    pub fn turn<E: From<io::Error>>(
        &mut self,
        wait: Option<Duration>,
        mut visit: impl FnMut(&mut Self, Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.depart()?;
        self.enter(wait)?;
        let mut done = std::mem::take(&mut self.done);
        done.clear();
        done.extend(self.uring.completion().map(|entry| Done {
            kind: entry.user_data() >> 32,
            socket: entry.user_data() as u32,
            result: entry.result(),
            flags: entry.flags(),
        }));
        let outcome = done.iter().try_for_each(|&completion| self.show(completion, &mut visit));
        self.done = done;
        outcome
    }

    fn show<E: From<io::Error>>(
        &mut self,
        done: Done,
        visit: &mut impl FnMut(&mut Self, Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match done.kind {
            ACCEPT => self.show_accept(done, visit),
            RECEIVE => self.show_receive(done, visit),
            _ => self.note_sent(done).map_err(E::from),
        }
    }

    fn show_accept<E: From<io::Error>>(
        &mut self,
        done: Done,
        visit: &mut impl FnMut(&mut Self, Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !cqueue::more(done.flags)
            && let Some(listener) = self.listener.take()
        {
            self.listen(listener)?;
        }
        if done.result < 0 {
            return Err(io::Error::from_raw_os_error(-done.result).into());
        }
        // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(done.result) };
        visit(self, Event::Accepted(fd))
    }

    fn show_receive<E: From<io::Error>>(
        &mut self,
        done: Done,
        visit: &mut impl FnMut(&mut Self, Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let over = !cqueue::more(done.flags);
        if over {
            self.sockets().set_receiving(done.socket, false);
        }
        if let Some(buffer) = cqueue::buffer_select(done.flags) {
            // Kept apart from `self`, which the visitor may change while it reads.
            let buffers = Rc::clone(&self.buffers);
            let bytes = buffers.lend(buffer, done.result.max(0) as usize);
            if !bytes.is_empty() && !self.sockets.is_closing(done.socket) {
                let (socket, label) = (SocketId(done.socket), self.sockets.label(done.socket));
                let opened = self.sockets.open_records(done.socket, &bytes);
                let wrong = |error| io::Error::other(format!("connection {label}: TLS: {error}"));
                match opened.map_err(wrong)? {
                    None => visit(self, Event::Received { socket, label, bytes: &bytes })?,
                    Some(plain) => {
                        if !plain.is_empty() {
                            visit(self, Event::Received { socket, label, bytes: &plain })?;
                        }
                        self.sockets.give_plain_back(plain);
                    }
                }
            }
        }
        if !over {
            return Ok(());
        }
        if self.sockets().is_closing(done.socket) {
            self.sockets().reap(done.socket);
            return Ok(());
        }
        // The buffers ran out, or the kernel ended the multishot for its own reasons: nothing is lost, ask again.
        if done.result > 0 || done.result == -Errno::NOBUFS.raw_os_error() {
            return Ok(self.receive(done.socket)?);
        }
        let label = self.sockets().label(done.socket);
        self.close(SocketId(done.socket));
        visit(self, Event::Ended { label, errno: -done.result })
    }

    fn note_sent(&mut self, done: Done) -> io::Result<()> {
        if done.result < 0 {
            // The receive of the same socket reports the end of the connection.
            self.sockets().send_ended(done.socket);
        } else if let Some(rest) = self.sockets().arrive(done.socket, done.result as usize) {
            return self.send(done.socket, &rest);
        }
        self.sockets().reap(done.socket);
        Ok(())
    }

    fn depart(&mut self) -> io::Result<()> {
        while let Some(socket) = self.sockets().next_dirty() {
            if let Some(departure) = self.sockets().depart(socket) {
                self.send(socket, &departure)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, socket: u32, departure: &sockets::Departure) -> io::Result<()> {
        let entry = opcode::Send::new(Fd(departure.fd), departure.start, departure.bytes)
            .flags(SEND_FLAGS)
            .build()
            .user_data(SEND << 32 | u64::from(socket));
        self.push(&entry)
    }

    fn receive(&mut self, socket: u32) -> io::Result<()> {
        let Some(fd) = self.sockets().fd(socket).map(|fd| fd.as_fd().as_raw_fd()) else { return Ok(()) };
        self.sockets().set_receiving(socket, true);
        let entry = opcode::RecvMulti::new(Fd(fd), buffers::GROUP)
            .build()
            .user_data(RECEIVE << 32 | u64::from(socket));
        self.push(&entry)
    }

    fn push(&mut self, entry: &Entry) -> io::Result<()> {
        loop {
            // SAFETY: receives point at provided buffers, sends at memory that `Sockets` keeps in place until
            // their completion; both outlive the ring (see the drop).
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            match self.uring.submit() {
                Err(error) if !is_transient(&error) => return Err(error),
                _ => {}
            }
        }
    }

    fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        if self.polls {
            self.poll(wait)?;
            return self.enter_waiting(Some(Duration::ZERO));
        }
        self.enter_waiting(wait)
    }

    /// Submits what is queued and looks for completions until there are some or `wait` has passed.
    fn poll(&mut self, wait: Option<Duration>) -> io::Result<()> {
        match self.uring.submit() {
            Err(error) if !is_transient(&error) => return Err(error),
            _ => {}
        }
        // Read while there is nothing to do; reading it at the end, too, would delay what has come.
        let began_cpu_ns = if self.uring.completion().is_empty() { thread_cpu_ns() } else { 0 };
        let began_ns = now_ns();
        let limit_ns = wait.map_or(u64::MAX, |wait| wait.as_nanos() as u64);
        while self.uring.completion().is_empty()
            && !self.uring.submission().taskrun()
            && now_ns() - began_ns < limit_ns
        {
            std::hint::spin_loop();
        }
        let mut idle_ns = now_ns() - began_ns;
        if idle_ns > PREEMPTED_NS_MIN {
            idle_ns = idle_ns.min(thread_cpu_ns().saturating_sub(began_cpu_ns));
        }
        polling::add_idle_ns(idle_ns);
        Ok(())
    }

    fn enter_waiting(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let entered = match wait {
            None => self.uring.submit_and_wait(1),
            Some(wait) => {
                let limit = Timespec::from(wait);
                self.uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&limit))
            }
        };
        match entered {
            Err(error) if !is_transient(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AGAIN | Errno::INTR | Errno::BUSY | Errno::TIME))
}

impl Drop for Ring {
    fn drop(&mut self) {
        let open: Vec<u32> = self.sockets().open().collect();
        for socket in open {
            self.close(SocketId(socket));
        }
        for _ in 0..DRAIN_ROUNDS_MAX {
            if self.sockets().open().next().is_none() {
                return;
            }
            let turned = self.turn(Some(Duration::from_millis(10)), |_, _| Ok::<(), io::Error>(()));
            if turned.is_err() {
                break;
            }
        }
        // The kernel still holds pointers: memory that is never freed can never be freed too early.
        std::mem::forget(Rc::clone(&self.buffers));
        std::mem::forget(std::mem::replace(&mut self.sockets, Sockets::new(0)));
    }
}

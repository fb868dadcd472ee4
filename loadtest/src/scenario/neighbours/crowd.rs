//! All connections of a behaviour, on one thread that never blocks for longer than a turn.
//!
//! A peer is called by its index, which it keeps when it is opened again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::heard::Speaks;
use super::peer::{Bytes, Moved, Part, Peer};
use crate::clock::now_ns;
use crate::failure::Failure;
use crate::fleet::Target;

const SCRATCH_BYTES: usize = 64 << 10;
/// Wait of one turn of those who only prepare.
const TURN: Duration = Duration::from_millis(1);

/// Close codes that are named one by one.
const CODES_SHOWN_MAX: usize = 3;

pub struct Crowd {
    target: Target,
    peers: Vec<Seat>,
    scratch: Vec<u8>,
    /// Answers without any progress for as long mean that none will come.
    timeout_ns: u64,
    pub counts: Counts,
}

/// What happened since the counts were last begun.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub opened: u64,
    /// Connections that ended before they were open.
    pub kept_out: u64,
    /// Connections that ended unasked, by close code; 0: without one.
    pub closed: BTreeMap<u16, u64>,
    pub answers: u64,
    pub refusals: u64,
    pub sent_bytes: u64,
    pub read_bytes: u64,
}

struct Seat {
    part: Part,
    peer: Option<Peer>,
    /// Answers and refusals that are in the counts, and whether its opening is.
    counted: (u64, u64, bool),
    /// When it ended.
    ended_ns: u64,
}

impl Crowd {
    pub fn new(target: &Target, timeout_ns: u64) -> Self {
        Self {
            target: target.clone(),
            peers: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            timeout_ns,
            counts: Counts::default(),
        }
    }

    /// Takes up `count` connections, which are not open yet.
    ///
    /// # Errors
    /// [`Failure::Io`] when there are no more sockets.
    pub fn add(&mut self, count: usize, part: Part) -> Result<Range<usize>, Failure> {
        let first = self.peers.len();
        for _ in 0..count {
            let peer = Peer::connect(&self.target, part)?;
            self.peers.push(Seat { part, peer: Some(peer), counted: (0, 0, false), ended_ns: 0 });
        }
        Ok(first..first + count)
    }

    /// Opens `count` connections, a hundred at a time, and waits until all of them are open.
    ///
    /// # Errors
    /// [`Failure::Timeout`], or [`Failure::Closed`] when one was turned away.
    pub fn open(&mut self, count: usize, part: Part) -> Result<Range<usize>, Failure> {
        let first = self.peers.len();
        while self.peers.len() < first + count {
            let some = self.add((first + count - self.peers.len()).min(100), part)?;
            self.until("connections did not open", |crowd| some.clone().all(|index| crowd.is_open(index)))?;
        }
        Ok(first..first + count)
    }

    pub fn is_open(&self, index: usize) -> bool {
        self.peers[index].peer.as_ref().is_some_and(|peer| peer.heard.is_open)
    }

    /// Whether it has ended, be it by itself or by us.
    pub fn is_ended(&self, index: usize) -> bool {
        self.peers[index].peer.is_none()
    }

    /// Requests of it that were not answered yet; 0 for one that has ended.
    pub fn owed(&self, index: usize) -> u64 {
        self.peers[index].peer.as_ref().map_or(0, |peer| peer.asked.saturating_sub(peer.heard.answers))
    }

    pub fn outgoing_bytes(&self, index: usize) -> usize {
        self.peers[index].peer.as_ref().map_or(0, |peer| peer.outgoing_bytes)
    }

    /// Queues a request that is answered.
    pub fn ask(&mut self, index: usize, request: &Bytes) {
        if let Some(peer) = &mut self.peers[index].peer {
            peer.asked += 1;
            peer.queue(request);
        }
    }

    /// Queues bytes that want no answer.
    pub fn say(&mut self, index: usize, bytes: &Bytes) {
        if let Some(peer) = &mut self.peers[index].peer {
            peer.queue(bytes);
        }
    }

    /// Loses the connection, as a client does that falls off the network.
    pub fn drop_peer(&mut self, index: usize) {
        self.peers[index].peer = None;
        self.peers[index].ended_ns = now_ns();
    }

    pub fn drop_all(&mut self) {
        self.peers.clear();
    }

    /// Opens one anew that has ended at least `rest_ns` ago. It is not an error if that fails; it is tried again.
    pub fn reopen(&mut self, index: usize, rest_ns: u64) {
        let seat = &mut self.peers[index];
        if seat.peer.is_some() || now_ns() < seat.ended_ns + rest_ns {
            return;
        }
        seat.peer = Peer::connect(&self.target, seat.part).ok();
        seat.counted = (0, 0, false);
        seat.ended_ns = now_ns();
    }

    /// Turns until `done`; a peer that ends meanwhile stays so.
    ///
    /// # Errors
    /// [`Failure::Timeout`] with `missing` when no answer has come and nothing has moved for the time-out;
    /// [`Failure::Closed`] when all have ended.
    pub fn until(&mut self, missing: &str, mut done: impl FnMut(&Self) -> bool) -> Result<(), Failure> {
        let mut moved = (0, now_ns());
        while !done(self) {
            self.turn(TURN)?;
            let bytes = self.counts.sent_bytes + self.counts.read_bytes;
            if bytes != moved.0 {
                moved = (bytes, now_ns());
            } else if now_ns() - moved.1 > self.timeout_ns {
                return Err(Failure::Timeout(format!("{missing} ({})", self.counts)));
            }
            if !self.peers.is_empty() && self.peers.iter().all(|seat| seat.peer.is_none()) {
                return Err(Failure::Closed(format!("{missing} ({})", self.counts)));
            }
        }
        Ok(())
    }

    /// Waits up to `wait` for something that can be sent or read, and does it.
    ///
    /// # Errors
    /// [`Failure::Io`] when the kernel cannot poll.
    pub fn turn(&mut self, wait: Duration) -> Result<(), Failure> {
        let now = now_ns();
        let mut indices = Vec::with_capacity(self.peers.len());
        let mut wanted = Vec::with_capacity(self.peers.len());
        for (index, seat) in self.peers.iter_mut().enumerate() {
            let Some(peer) = &mut seat.peer else { continue };
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, peer.wants_to_read(now));
            flags.set(PollFlags::OUT, peer.wants_to_send());
            indices.push(index);
            wanted.push(flags);
        }
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(indices.len());
        for (&index, &flags) in indices.iter().zip(&wanted) {
            if let Some(peer) = &self.peers[index].peer {
                fds.push(PollFd::from_borrowed_fd(peer.stream().as_fd(), flags));
            }
        }
        let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failure::Io(error.into())),
        }
        let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        for ((index, wanted), ready) in indices.into_iter().zip(wanted).zip(ready) {
            self.serve(index, wanted, ready);
        }
        Ok(())
    }

    fn serve(&mut self, index: usize, wanted: PollFlags, ready: PollFlags) {
        let seat = &mut self.peers[index];
        let Some(peer) = &mut seat.peer else { return };
        let gone = PollFlags::HUP | PollFlags::ERR;
        let moved = if ready.is_empty() {
            return;
        } else if ready.intersects(gone) && !wanted.intersects(PollFlags::IN) {
            // Whoever does not read would be told of the end in every turn.
            Moved::Ended
        } else {
            peer.transfer(wanted.intersects(PollFlags::IN), &mut self.scratch)
        };
        let (answers, refusals, opened) = (peer.heard.answers, peer.heard.refusals, peer.heard.is_open);
        self.counts.answers += answers - seat.counted.0;
        self.counts.refusals += refusals - seat.counted.1;
        self.counts.opened += u64::from(opened && !seat.counted.2);
        seat.counted = (answers, refusals, opened);
        match moved {
            Moved::Bytes(sent, read) => {
                self.counts.sent_bytes += sent as u64;
                self.counts.read_bytes += read as u64;
            }
            Moved::Ended => {
                // A page of HTTP ends with its connection: that is its answer.
                if peer.part().speaks == Speaks::Http {
                    self.counts.answers += 1;
                } else {
                    self.counts.kept_out += u64::from(!opened);
                    *self.counts.closed.entry(peer.heard.close_code.unwrap_or(0)).or_default() += 1;
                }
                seat.peer = None;
                seat.ended_ns = now_ns();
            }
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} answers", self.answers)?;
        if self.refusals > 0 {
            write!(out, ", {} of them errors", self.refusals)?;
        }
        write!(out, ", {} MiB sent, {} MiB read", self.sent_bytes >> 20, self.read_bytes >> 20)?;
        let lost = self.closed.get(&0).copied().unwrap_or_default();
        if lost > 0 {
            write!(out, ", {lost} lost")?;
        }
        let codes: Vec<(&u16, &u64)> = self.closed.iter().filter(|(code, _)| **code != 0).collect();
        if codes.len() > CODES_SHOWN_MAX {
            let count: u64 = codes.iter().map(|(_, count)| *count).sum();
            return write!(out, ", {count} closed with {} codes", codes.len());
        }
        codes.iter().try_for_each(|(code, count)| write!(out, ", {count} closed with {code}"))
    }
}

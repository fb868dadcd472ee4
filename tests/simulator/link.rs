//! One connection's transport as kernel and network make it: bytes on their way in both directions, operations
//! under way, and their completions, which the driver has yet to see.

use std::collections::VecDeque;
use std::net::IpAddr;

use annulus::mesh::ConnectionId;

use crate::random::Random;

/// What the kernel reports to the driver of a shard.
#[derive(Debug)]
pub enum Completion {
    Received(Vec<u8>),
    /// The receive ended for want of a buffer, or because it was cancelled.
    Disarmed,
    /// The peer has ended its side.
    End,
    ReceiveFailed,
    Sent(usize),
    SendFailed,
}

/// How a side has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After everything sent before.
    Orderly,
    /// At once.
    Reset,
}

/// A send the kernel was given.
#[derive(Debug)]
pub struct Sending {
    /// The bytes as they were then; they must stay so until the completion is seen.
    pub bytes: Vec<u8>,
    pub is_completed: bool,
}

/// See the module.
pub struct Link {
    pub shard: usize,
    pub address: IpAddr,
    /// Bytes from the client the kernel has not handed out, and how the client ended.
    pub upstream: VecDeque<u8>,
    pub upstream_end: Option<End>,
    /// Bytes for the client that it has not read, and whether the server has ended its side.
    pub downstream: VecDeque<u8>,
    pub downstream_end: bool,
    pub completions: VecDeque<Completion>,

    /// The kernel has a receive armed; the driver may not know yet that it has ended.
    pub is_armed: bool,
    pub is_cancelled: bool,

    // What the driver knows, as `Socket` in `src/io/sockets.rs`.
    pub id: Option<ConnectionId>,
    pub receiving: bool,
    pub wanted: bool,
    pub sending: Option<Sending>,
    pub is_shut_down: bool,
    pub closing: bool,
    /// The slot was given back, or the connection was never taken.
    pub is_over: bool,
}

impl Link {
    pub fn new(shard: usize, address: IpAddr) -> Self {
        Self {
            shard,
            address,
            upstream: VecDeque::new(),
            upstream_end: None,
            downstream: VecDeque::new(),
            downstream_end: false,
            completions: VecDeque::new(),
            is_armed: false,
            is_cancelled: false,
            id: None,
            receiving: false,
            wanted: true,
            sending: None,
            is_shut_down: false,
            closing: false,
            is_over: false,
        }
    }

    /// Lets the kernel do one thing, taking at most `bytes_max` bytes; whether there was anything to do.
    pub fn step(&mut self, random: &mut Random, bytes_max: usize, kernel_bytes: usize) -> bool {
        if self.is_over || self.id.is_none() {
            return false;
        }
        let received_first = random.per_mille(500) && self.step_receive(bytes_max);
        received_first || self.step_send(random, bytes_max, kernel_bytes) || self.step_receive(bytes_max)
    }

    /// Ends an armed receive although nothing is wrong, as a shortage of buffers does.
    pub fn disarm(&mut self) {
        if std::mem::take(&mut self.is_armed) {
            self.is_cancelled = false;
            self.completions.push_back(Completion::Disarmed);
        }
    }

    fn step_receive(&mut self, bytes_max: usize) -> bool {
        if !self.is_armed {
            return false;
        }
        if self.upstream_end == Some(End::Reset) {
            self.is_armed = false;
            self.completions.push_back(Completion::ReceiveFailed);
        } else if self.is_cancelled && bytes_max.is_multiple_of(2) {
            // Else a cancelled receive still brings bytes.
            self.disarm();
        } else if !self.upstream.is_empty() {
            let len = self.upstream.len().min(bytes_max).min(8 << 10);
            let bytes = self.upstream.drain(..len).collect();
            self.completions.push_back(Completion::Received(bytes));
        } else if self.upstream_end == Some(End::Orderly) || self.closing {
            self.is_armed = false;
            self.completions.push_back(Completion::End);
        } else if self.is_cancelled {
            self.disarm();
        } else {
            return false;
        }
        true
    }

    fn step_send(&mut self, random: &mut Random, bytes_max: usize, kernel_bytes: usize) -> bool {
        let Some(sending) = self.sending.as_mut().filter(|sending| !sending.is_completed) else {
            return false;
        };
        if self.upstream_end == Some(End::Reset) || self.closing {
            sending.is_completed = true;
            self.completions.push_back(Completion::SendFailed);
            return true;
        }
        let room = kernel_bytes.saturating_sub(self.downstream.len());
        let mut len = sending.bytes.len().min(room).min(bytes_max);
        if len == 0 && !sending.bytes.is_empty() {
            return false;
        }
        if len > 1 && random.per_mille(100) {
            len = random.between(1, len);
        }
        sending.is_completed = true;
        self.downstream.extend(&sending.bytes[..len]);
        self.completions.push_back(Completion::Sent(len));
        true
    }

    /// The client ends its side.
    pub fn end_upstream(&mut self, end: End) {
        if end == End::Reset {
            self.upstream.clear();
            self.downstream.clear();
            self.downstream_end = true;
        }
        if self.upstream_end.is_none() || end == End::Reset {
            self.upstream_end = Some(end);
        }
    }

    pub fn is_quiet(&self) -> bool {
        !self.receiving && self.sending.is_none()
    }
}

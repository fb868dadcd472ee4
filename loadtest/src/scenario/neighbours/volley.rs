//! Requests over and over: as many unanswered on each connection as asked for, or as fast as they leave.

use std::ops::Range;

use super::crowd::Crowd;
use super::peer::Bytes;

/// As many as the socket takes, whether they are answered or not.
pub const FLOOD: u64 = u64::MAX;
/// Bytes that wait in a socket of a flood before more are queued.
const OUTGOING_BYTES_MAX: usize = 512 << 10;
/// How long one that was closed waits before it comes back.
pub const REST_NS: u64 = 50_000_000;

#[derive(Default)]
pub struct Volley {
    peers: Range<usize>,
    requests: Vec<Bytes>,
    window: u64,
    /// The place in the requests that comes next, of each peer.
    next: Vec<usize>,
}

impl Volley {
    /// Each peer begins at another place of the requests.
    pub fn new(peers: Range<usize>, requests: Vec<Bytes>, window: u64) -> Self {
        let next = (0..peers.len()).collect();
        Self { peers, requests, window, next }
    }

    /// Has each peer ask what it may, and opens those anew that were closed.
    pub fn tick(&mut self, crowd: &mut Crowd) {
        for (index, next) in self.peers.clone().zip(&mut self.next) {
            crowd.reopen(index, REST_NS);
            while crowd.is_open(index)
                && crowd.owed(index) < self.window
                && crowd.outgoing_bytes(index) < OUTGOING_BYTES_MAX
            {
                crowd.ask(index, &self.requests[*next % self.requests.len()]);
                *next += 1;
            }
        }
    }
}

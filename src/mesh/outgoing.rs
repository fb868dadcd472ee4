//! What one shard has for its peers: the envelope it fills this turn, and the ones that found a full queue.

use std::collections::VecDeque;

use super::{Envelope, Item, Sender, ShardIndex};
use crate::crdt::Time;
use crate::limits::MESH_PENDING_BYTES_MAX;

/// One place for each peer; the place of the shard itself stays empty.
pub struct Outgoing {
    peers: Vec<Peer>,
    /// Whether requests had to wait when the last turn ended.
    was_congested: bool,
}

struct Peer {
    queue: Option<Sender>,
    /// Bytes that were in the queue when the last turn ended.
    queued_bytes: usize,
    filling: Envelope,
    /// Sealed envelopes that wait for room, oldest first.
    waiting: VecDeque<Envelope>,
    waiting_bytes: usize,
}

impl Outgoing {
    pub fn new(queues: Vec<Option<Sender>>) -> Self {
        let peer = |queue| Peer {
            queue,
            queued_bytes: 0,
            filling: Envelope::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        };
        Self { peers: queues.into_iter().map(peer).collect(), was_congested: false }
    }

    /// The envelope for `target` that is being filled this turn.
    pub fn filling(&mut self, target: ShardIndex) -> &mut Envelope {
        &mut self.peers[usize::from(target)].filling
    }

    pub fn push(&mut self, target: ShardIndex, item: Item) {
        self.filling(target).items.push(item);
    }

    /// Seals what was filled with the sender's clock and batch and hands it over, behind what still waits. Returns
    /// the peers that got something through `delivered`; with `always`, even empty envelopes go, to pass on the
    /// clock.
    pub fn seal(&mut self, as_of: Time, journaled: u64, always: bool, mut delivered: impl FnMut(ShardIndex)) {
        self.was_congested = self.is_congested();
        for (target, peer) in self.peers.iter_mut().enumerate() {
            if peer.queue.is_none() {
                continue;
            }
            if !peer.filling.items.is_empty() || (always && peer.waiting.is_empty()) {
                let mut envelope = std::mem::take(&mut peer.filling);
                (envelope.as_of, envelope.journaled) = (as_of, journaled);
                peer.waiting_bytes += envelope.heap_bytes();
                peer.waiting.push_back(envelope);
            }
            if peer.hand_over() {
                delivered(target as ShardIndex);
            }
        }
    }

    /// Whether requests must wait: a peer is so far behind that taking more on would only grow memory, or this turn
    /// has as much for it as a turn may.
    pub fn is_congested(&self) -> bool {
        self.peers.iter().any(|peer| peer.bytes() > MESH_PENDING_BYTES_MAX)
    }

    /// Whether requests had to wait in the turn that has just ended and need not any more, so that the next must not
    /// wait for an event.
    pub fn is_relieved(&self) -> bool {
        self.was_congested && !self.is_congested()
    }

    /// Looks how far the peers are.
    pub fn look(&mut self) {
        for peer in self.peers.iter_mut().filter(|peer| peer.queued_bytes > 0) {
            peer.queued_bytes = peer.queue.as_ref().map_or(0, Sender::bytes);
        }
    }

    /// Whether envelopes for `target` found its queue full.
    pub fn is_waiting(&self, target: ShardIndex) -> bool {
        !self.peers[usize::from(target)].waiting.is_empty()
    }

    /// Whether any envelope waits for room, or requests for a peer to take what it was sent, so that the shard must look
    /// again soon.
    pub fn any_waiting(&self) -> bool {
        self.peers.iter().any(|peer| !peer.waiting.is_empty()) || self.is_congested()
    }

    /// Envelopes and bytes that wait for room. What is in a queue is about to be taken.
    pub fn depth(&self) -> (usize, usize) {
        let envelopes = self.peers.iter().map(|peer| peer.waiting.len()).sum();
        let bytes = self.peers.iter().map(|peer| peer.waiting_bytes).sum();
        (envelopes, bytes)
    }
}

impl Peer {
    /// Moves waiting envelopes into the queue while it has room; whether any went.
    fn hand_over(&mut self) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        let mut went = false;
        while let Some(envelope) = self.waiting.pop_front() {
            let bytes = envelope.heap_bytes();
            match queue.push(envelope) {
                Ok(()) => {
                    self.waiting_bytes -= bytes;
                    went = true;
                }
                Err(envelope) => {
                    self.waiting.push_front(*envelope);
                    break;
                }
            }
        }
        self.queued_bytes = queue.bytes();
        went
    }

    /// Bytes it has yet to take, and those that this turn has for it so far.
    fn bytes(&self) -> usize {
        self.queued_bytes + self.waiting_bytes + self.filling.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{Receiver, connect_with_capacity};

    /// What a shard has for its only peer, and the peer's end of the queue.
    fn pair(envelopes: usize) -> (Outgoing, Receiver) {
        let mut ports = connect_with_capacity(2, envelopes);
        let mut peer = ports.pop().unwrap();
        (Outgoing::new(ports.pop().unwrap().outgoing), peer.incoming[0].take().unwrap())
    }

    fn fill(outgoing: &mut Outgoing, bytes: usize) {
        outgoing.filling(1).bytes.resize(bytes, 0);
        outgoing.push(1, Item::Departed { address: std::net::Ipv4Addr::LOCALHOST.into() });
    }

    #[test]
    fn a_turn_that_has_filled_an_envelope_takes_nothing_more_on_and_the_next_does() {
        let (mut outgoing, mut peer) = pair(4);
        fill(&mut outgoing, MESH_PENDING_BYTES_MAX / 2);
        assert!(!outgoing.is_congested());
        fill(&mut outgoing, MESH_PENDING_BYTES_MAX);
        assert!(outgoing.is_congested());
        outgoing.seal(Time::ZERO, 0, false, |_| {});
        assert!(outgoing.any_waiting() && !outgoing.is_relieved(), "the peer has not taken it");
        peer.pop();
        outgoing.seal(Time::ZERO, 0, false, |_| {});
        assert!(outgoing.is_relieved(), "whoever was not read in this turn is read in the next");
        outgoing.seal(Time::ZERO, 0, false, |_| {});
        assert!(!outgoing.is_relieved() && !outgoing.any_waiting());
    }

    #[test]
    fn bytes_in_the_queue_count_though_it_has_room_for_more_envelopes() {
        let (mut outgoing, mut peer) = pair(64);
        let mut turns = 0;
        while !outgoing.is_congested() {
            fill(&mut outgoing, MESH_PENDING_BYTES_MAX / 8);
            outgoing.seal(Time::ZERO, 0, false, |_| {});
            turns += 1;
        }
        assert!(turns <= 8, "{turns} envelopes were taken on, of 64 that the queue has room for");
        assert!(outgoing.any_waiting(), "nobody wakes a shard whose peer goes on");
        while peer.pop().is_some() {}
        outgoing.look();
        assert!(!outgoing.any_waiting() && outgoing.is_relieved());
    }
}

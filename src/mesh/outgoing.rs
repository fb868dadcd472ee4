//! What one shard has for its peers: the envelope it fills this turn, and the ones that found a full queue.

use std::collections::VecDeque;

use rtrb::{Producer, PushError};

use super::{Envelope, Item, ShardIndex};
use crate::crdt::Time;
use crate::limits::MESH_PENDING_BYTES_MAX;

/// One place for each peer; the place of the shard itself stays empty.
pub struct Outgoing {
    peers: Vec<Peer>,
}

struct Peer {
    queue: Option<Producer<Envelope>>,
    filling: Envelope,
    /// Sealed envelopes that wait for room, oldest first.
    waiting: VecDeque<Envelope>,
    waiting_bytes: usize,
}

impl Outgoing {
    pub fn new(queues: Vec<Option<Producer<Envelope>>>) -> Self {
        let peer =
            |queue| Peer { queue, filling: Envelope::default(), waiting: VecDeque::new(), waiting_bytes: 0 };
        Self { peers: queues.into_iter().map(peer).collect() }
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
        for (target, peer) in self.peers.iter_mut().enumerate() {
            if peer.queue.is_none() {
                continue;
            }
            if !peer.filling.items.is_empty() || (always && peer.waiting.is_empty()) {
                let mut envelope = std::mem::take(&mut peer.filling);
                (envelope.as_of, envelope.journaled) = (as_of, journaled);
                peer.waiting_bytes += envelope_bytes(&envelope);
                peer.waiting.push_back(envelope);
            }
            if peer.hand_over() {
                delivered(target as ShardIndex);
            }
        }
    }

    /// Whether requests must wait: a peer is so far behind that taking more on would only grow memory.
    pub fn is_congested(&self) -> bool {
        self.peers.iter().any(|peer| peer.waiting_bytes > MESH_PENDING_BYTES_MAX)
    }

    /// Whether envelopes for `target` found its queue full.
    pub fn is_waiting(&self, target: ShardIndex) -> bool {
        !self.peers[usize::from(target)].waiting.is_empty()
    }

    /// Whether any envelope waits for room, so that the shard must look again soon.
    pub fn any_waiting(&self) -> bool {
        self.peers.iter().any(|peer| !peer.waiting.is_empty())
    }

    /// Envelopes and bytes that wait for room.
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
            let bytes = envelope_bytes(&envelope);
            match queue.push(envelope) {
                Ok(()) => {
                    self.waiting_bytes -= bytes;
                    went = true;
                }
                Err(PushError::Full(envelope)) => {
                    self.waiting.push_front(envelope);
                    break;
                }
            }
        }
        went
    }
}

fn envelope_bytes(envelope: &Envelope) -> usize {
    envelope.bytes.len() + envelope.items.len() * size_of::<Item>()
}

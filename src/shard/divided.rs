//! What is sent to many, a share a turn: messages to all who subscribe to a map, changes of members to all who watch a room.
//!
//! It is sent to one receiver after the other for as long as the turn has work for it. Who is left is sent it by the next
//! turns, a share in each at least, and what comes meanwhile waits behind it. A connection of this shard takes no further
//! message while something of its own waits here; what other shards have sent has been read already, and waits in order.
//!
//! Invariant: nothing is sent before all that came before it, so each receiver is sent everything in order. Only the oldest that
//! waits has been sent to any.

use std::collections::VecDeque;

use super::clients::Clients;
use super::maps::{Maps, WaitingBytes};
use super::turn::Turn;
use super::work;
use crate::mesh::ConnectionId;

/// See the module: things of type `T`, in line for receivers that are known by an `R`.
pub struct Divided<T, R> {
    line: VecDeque<Waiting<T, R>>,
    bytes: usize,
}

impl<T, R> Default for Divided<T, R> {
    fn default() -> Self {
        Self { line: VecDeque::new(), bytes: 0 }
    }
}

/// One thing that waits for a turn with work for it.
struct Waiting<T, R> {
    thing: T,
    /// If it is a connection of this shard.
    sender: Option<ConnectionId>,
    /// Who is yet to be sent it, once some have been.
    left: Option<Vec<R>>,
    bytes: usize,
    counted: WaitingBytes,
}

impl<T, R> Divided<T, R> {
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Bytes of all that waits.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a thing of so many bytes for a later turn: for all, or for who is left.
    pub fn keep(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        (thing, bytes): (T, usize),
        (sender, left): (Option<ConnectionId>, Option<Vec<R>>),
    ) {
        let bytes = bytes + Self::bytes_of(left.as_ref());
        turn.spend(work::PACKED + work::copied(bytes));
        if let Some(sender) = sender {
            clients.message_kept(sender);
        }
        self.bytes += bytes;
        let counted = maps.count_waiting(size_of::<Waiting<T, R>>() + bytes);
        self.line.push_back(Waiting { thing, sender, left, bytes, counted });
    }

    /// Bytes that waiting receivers take.
    pub fn bytes_of(left: Option<&Vec<R>>) -> usize {
        left.map_or(0, |left| left.len() * size_of::<R>())
    }

    /// Goes on with what waits, as much as the turn has work for: the oldest has a share in any case. `send` sends a thing to
    /// those who are left, or to all if none has been sent it, until [`Turn::is_over`]; who is left then.
    pub fn go_on(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        mut send: impl FnMut(&mut Turn, &mut Clients, &T, Option<Vec<R>>) -> Vec<R>,
    ) {
        if self.line.is_empty() {
            return;
        }
        turn.begin_share_of(work::CONNECTION_MAX);
        while let Some(mut oldest) = self.line.pop_front() {
            let was_begun = oldest.left.is_some();
            let left = send(turn, clients, &oldest.thing, oldest.left.take());
            if !left.is_empty() {
                if !was_begun {
                    let more = Self::bytes_of(Some(&left));
                    oldest.bytes += more;
                    oldest.counted.add(more);
                    self.bytes += more;
                }
                oldest.left = Some(left);
                return self.line.push_front(oldest);
            }
            self.bytes -= oldest.bytes;
            if let Some(sender) = oldest.sender {
                clients.message_delivered(sender);
            }
            if turn.is_spent() {
                return;
            }
        }
    }
}

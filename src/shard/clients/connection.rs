//! One client: a slot of the shard's connection table.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::rate::Window;
use super::timers::Timer;
use crate::limits::{PARSE_PADDING_BYTES, RECEIVE_BUFFER_BYTES, UNREAD_BYTES_MAX};
use crate::mesh::{ConnectionId, ReplyTo, SubscriptionRef};
use crate::metrics::Refusal;
use crate::shard::outbox::Outbox;
use crate::shard::turn::Turn;
use crate::shard::{DialectIndex, Session};
use crate::wire::websocket::Reader;

/// Where a connection is in its life. It only moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Another shard has yet to say whether its address may have one more connection.
    Accepted,
    /// Its HTTP request is not complete.
    Handshake,
    /// Its HTTP request waits for another shard.
    Admission,
    /// WebSocket messages flow.
    Open,
    /// Left everything; what is queued goes out, then the transport is shut down.
    Flushing,
    /// Everything is out; waiting for the peer's end, at most until the timer.
    Lingering,
    /// The transport is being closed; only completions still come.
    Disconnected,
}

/// What keeps a connection's next message from being handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Nothing.
    No,
    /// It is in line.
    InLine,
    /// Something of its own has to end first: it is put in line by what ends it.
    OwnEnd,
    /// It has sent as much as it may for a while.
    Rate,
}

/// Bytes of the buffer of what has come and waits, unless it is small: one receive more than is kept before reading pauses, and what
/// the kernel may have taken in by then.
const UNREAD_CAPACITIES: [usize; 2] = {
    let paused = UNREAD_BYTES_MAX + RECEIVE_BUFFER_BYTES + PARSE_PADDING_BYTES;
    [paused, paused + RECEIVES_IN_A_ROW * RECEIVE_BUFFER_BYTES]
};
/// Receives of one connection that the kernel makes in a row (`MULTISHOT_MAX_RETRY` of `io_uring/net.c`).
const RECEIVES_IN_A_ROW: usize = 32;

/// See the module. Heap is owned only while something is half received, queued or subscribed.
#[derive(Debug)]
pub struct Connection {
    pub id: ConnectionId,
    pub phase: Phase,
    /// Of the peer, and from the upgrade on of the client, for whom the peer may be a proxy.
    pub address: IpAddr,
    /// What it speaks, once it is open, and what its dialect remembers of it.
    pub dialect: DialectIndex,
    pub session: Session,
    /// Whether the session may have changed since its bytes were counted.
    pub is_session_touched: bool,
    /// Why it was taken only to be turned away: answered once the handshake is done. A page is served all the same.
    pub refusal: Option<Refusal>,
    /// Counted at the shard that counts its address, which must hear when it is gone.
    pub is_of_address: bool,
    /// One of those that `--max-connections` counts; before, it is one of those that `--max-handshakes` counts.
    pub is_admitted: bool,
    pub reader: Reader,
    /// Its dialect wants to hear when everything is sent.
    pub wants_drained: bool,
    /// Its dialect has as many requests of it to answer as it keeps, and takes no further message until some are.
    pub takes_no_requests: bool,
    /// Its dialect is making an answer that comes before any further change of a map.
    pub holds_changes: bool,
    /// Received and not yet handled: the request head, or what came while reading was paused.
    pub unread: Vec<u8>,
    /// It is not read, because this shard or this connection has too much under way.
    pub paused: bool,
    /// What it waits for with its next message.
    pub waits: Waits,
    /// The peer has ended its side.
    pub ended: bool,
    pub outbox: Outbox,
    /// The number of the turn, in its low bits, that has handed to the kernel what is in flight.
    pub sent_in_turn: u32,
    /// The number of the last turn in which it had messages, in its low bits, and units of work they came to.
    pub worked_in_turn: u32,
    pub work_in_turn: u32,
    /// On the list of connections with something to flush.
    pub dirty: bool,
    /// On the list of connections whose frames wait for company.
    pub delayed: bool,
    /// On the list of those that hold much.
    pub is_debtor: bool,
    /// Something queued must not wait for company.
    pub urgent: bool,
    pub accepted_at_ms: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// When it last showed that it lives, or could not, and whether a ping went out since.
    pub heard_at_ms: u64,
    pub pinged: bool,
    /// Its place in the wheel of timers, which alone moves it.
    pub timer: Timer,
    /// When the current phase must be over, for phases that end.
    pub deadline_ms: u64,
    pub subscriptions: Vec<SubscriptionRef>,
    /// Slots of its watches of rooms, and how many of them are behind and catch up when the outbox has drained.
    pub watches: Vec<u32>,
    pub watches_behind: u32,
    /// Members it has set, which are removed when it is gone, and the bytes of their names and states.
    pub members: Vec<OwnMember>,
    pub members_bytes: u32,
    /// Requests of it that wait for other shards, bytes that they take wherever they wait, and bytes that their answers
    /// may take.
    pub requests_pending: u32,
    pub request_bytes: usize,
    pub owed_bytes: usize,
    /// Reads whose answers are too long to be made while others are owed, oldest first. They come next.
    pub long_reads: VecDeque<ReplyTo>,
    pub bad_messages: u32,
    /// Messages it may send in the current second and minute.
    pub second: Window,
    pub minute: Window,
    /// The last delivery with changes of this connection; such a writer is sent a frame without its own changes.
    pub wrote_in_delivery: u64,
}

impl Connection {
    pub fn new(id: ConnectionId, address: IpAddr, now_ms: u64, message_bytes_max: usize) -> Self {
        Self {
            id,
            phase: Phase::Handshake,
            address,
            dialect: 0,
            session: None,
            is_session_touched: false,
            refusal: None,
            is_of_address: false,
            is_admitted: false,
            reader: Reader::new(message_bytes_max),
            wants_drained: false,
            takes_no_requests: false,
            holds_changes: false,
            unread: Vec::new(),
            paused: false,
            waits: Waits::No,
            ended: false,
            outbox: Outbox::default(),
            sent_in_turn: 0,
            worked_in_turn: 0,
            work_in_turn: 0,
            dirty: false,
            delayed: false,
            is_debtor: false,
            urgent: false,
            accepted_at_ms: now_ms,
            received_bytes: 0,
            sent_bytes: 0,
            heard_at_ms: now_ms,
            pinged: false,
            timer: Timer::UNSET,
            deadline_ms: 0,
            subscriptions: Vec::new(),
            watches: Vec::new(),
            watches_behind: 0,
            members: Vec::new(),
            members_bytes: 0,
            requests_pending: 0,
            request_bytes: 0,
            owed_bytes: 0,
            long_reads: VecDeque::new(),
            bad_messages: 0,
            second: Window::default(),
            minute: Window::default(),
            wrote_in_delivery: 0,
        }
    }

    /// Units of work that its messages have come to in this turn, before those at hand.
    pub fn work_before(&self, turn: &Turn) -> u64 {
        if self.worked_in_turn == turn.number() { u64::from(self.work_in_turn) } else { 0 }
    }

    pub fn note_work(&mut self, turn: &Turn, units: u64) {
        (self.worked_in_turn, self.work_in_turn) = (turn.number(), u32::try_from(units).unwrap_or(u32::MAX));
    }

    /// Keeps what has come of an open connection until it can be handled. What is more than one receive has a buffer as large as
    /// it may become: to grow it step by step would copy it, and leave behind memory of each size.
    pub fn keep_unread(&mut self, bytes: &[u8]) {
        let wanted = self.unread.len() + bytes.len() + PARSE_PADDING_BYTES;
        if wanted > self.unread.capacity() {
            let is_small = wanted <= RECEIVE_BUFFER_BYTES + PARSE_PADDING_BYTES;
            let larger = UNREAD_CAPACITIES.into_iter().find(|&capacity| wanted <= capacity);
            let capacity = if is_small { wanted } else { larger.unwrap_or(2 * wanted) };
            self.unread.reserve_exact(capacity - self.unread.len());
        }
        self.unread.extend_from_slice(bytes);
    }

    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether what is in flight waits for the peer to take bytes: what the kernel has room for is sent by the next turn.
    pub fn waits_for_peer(&self, turn: &Turn) -> bool {
        self.outbox.is_sending() && turn.number().wrapping_sub(self.sent_in_turn) > 1
    }

    /// Whether it is this server that keeps the connection from being heard: it does not read it, and has nothing for it
    /// that the peer could show by taking that it lives.
    pub fn is_unheard(&self, turn: &Turn) -> bool {
        self.paused && !self.waits_for_peer(turn)
    }

    /// Whether frames may still be queued for it.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Accepted | Phase::Handshake | Phase::Admission | Phase::Open)
    }
}

/// A member of a room that a connection has set, and not removed since.
#[derive(Debug)]
pub struct OwnMember {
    /// Of room and name.
    pub hash: u64,
    pub room: Box<str>,
    pub member: Box<str>,
    /// Of the state that it has set last.
    pub state_bytes: u32,
}

impl OwnMember {
    /// What it counts towards what its connection may set: names and state.
    pub fn bytes(&self) -> usize {
        self.names_bytes() + self.state_bytes as usize
    }

    /// What it holds here, as the state is at the home of its room.
    pub fn names_bytes(&self) -> usize {
        self.room.len() + self.member.len()
    }
}

/// What an idle connection costs, beside its socket.
const _: () = assert!(size_of::<Connection>() <= 536, "an idle connection must stay small");

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn what_waits_is_kept_in_buffers_of_three_sizes() {
        let id = ConnectionId { index: 0, generation: 1 };
        let mut connection = Connection::new(id, IpAddr::V4(Ipv4Addr::LOCALHOST), 0, 1 << 20);
        let piece = [7; RECEIVE_BUFFER_BYTES];
        connection.keep_unread(&piece[..100]);
        assert_eq!(connection.unread.capacity(), 100 + PARSE_PADDING_BYTES);
        connection.unread.clear();
        let mut capacities = Vec::new();
        for _ in 0..=UNREAD_BYTES_MAX / RECEIVE_BUFFER_BYTES + RECEIVES_IN_A_ROW {
            connection.keep_unread(&piece);
            capacities.push(connection.unread.capacity());
        }
        capacities.dedup();
        let [paused, late] = UNREAD_CAPACITIES;
        assert_eq!(capacities, [RECEIVE_BUFFER_BYTES + PARSE_PADDING_BYTES, paused, late]);
    }
}

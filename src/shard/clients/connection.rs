//! One client: a slot of the shard's connection table.

use std::net::IpAddr;

use super::outbox::Outbox;
use super::rate::Window;
use crate::mesh::{ConnectionId, SubscriptionRef};
use crate::metrics::Refusal;
use crate::shard::{DialectIndex, Session};
use crate::wire::Close;
use crate::wire::websocket::Reader;

/// Where a connection is in its life. It only moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
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
    /// Why it was taken only to be turned away: answered once the handshake is done. A page is served all the same.
    pub refusal: Option<(Refusal, Close)>,
    /// Counted at the shard that admits its address, which must hear when it is gone.
    pub admitted: bool,
    pub reader: Reader,
    /// Its dialect wants to hear when everything is sent.
    pub wants_drained: bool,
    /// Its dialect has as many requests of it to answer as it keeps, and takes no further message until some are.
    pub takes_no_requests: bool,
    /// Received and not yet handled: the request head, or what came while reading was paused.
    pub unread: Vec<u8>,
    /// Reading was paused because this shard or this connection has too much under way.
    pub paused: bool,
    /// The peer has ended its side.
    pub ended: bool,
    pub outbox: Outbox,
    /// On the list of connections with something to flush.
    pub dirty: bool,
    /// On the list of connections whose frames wait for company.
    pub delayed: bool,
    /// Something queued must not wait for company.
    pub urgent: bool,
    pub accepted_at_ms: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// When something last arrived, and whether a ping went out since.
    pub heard_at_ms: u64,
    pub pinged: bool,
    /// The entry of the timer wheel that is this connection's; others are stale.
    pub timer_tick: u64,
    /// When the current phase must be over, for phases that end.
    pub deadline_ms: u64,
    pub subscriptions: Vec<SubscriptionRef>,
    /// Slots of its watches of rooms, and how many of them are behind and catch up when the outbox has drained.
    pub watches: Vec<u32>,
    pub watches_behind: u32,
    /// Members it has set, which are removed when it is gone.
    pub members: Vec<OwnMember>,
    /// Requests of it that wait for other shards.
    pub requests_pending: u32,
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
            refusal: None,
            admitted: false,
            reader: Reader::new(message_bytes_max),
            wants_drained: false,
            takes_no_requests: false,
            unread: Vec::new(),
            paused: false,
            ended: false,
            outbox: Outbox::default(),
            dirty: false,
            delayed: false,
            urgent: false,
            accepted_at_ms: now_ms,
            received_bytes: 0,
            sent_bytes: 0,
            heard_at_ms: now_ms,
            pinged: false,
            timer_tick: 0,
            deadline_ms: 0,
            subscriptions: Vec::new(),
            watches: Vec::new(),
            watches_behind: 0,
            members: Vec::new(),
            requests_pending: 0,
            bad_messages: 0,
            second: Window::default(),
            minute: Window::default(),
            wrote_in_delivery: 0,
        }
    }

    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether frames may still be queued for it.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Handshake | Phase::Admission | Phase::Open)
    }
}

/// A member of a room that a connection has set, and not removed since.
#[derive(Debug)]
pub struct OwnMember {
    /// Of room and name.
    pub hash: u64,
    pub room: Box<str>,
    pub member: Box<str>,
}

//! One client: a slot of the shard's connection table.

use std::net::IpAddr;
use std::sync::Arc;

use super::joined::JoinedChannels;
use super::layer::Layer;
use super::own_members::OwnMembers;
use super::own_queries::OwnQueries;
use super::rate::Window;
use super::seldom::Seldom;
use super::timers::Timer;
use super::unread::Unread;
use crate::auth::Principal;
use crate::hooks::Allowed;
use crate::mesh::{ConnectionId, MessageId, ReplyTo, ShardIndex, SubscriptionRef, TurnedAway};
use crate::shard::access::{Due, GrantId};
use crate::shard::budgets::Purse;
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

/// Where the directory has a connection of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    pub home: ShardIndex,
    pub place: u32,
}

/// How far a connection has been sent the direct messages of its user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receiving {
    /// Everything up to here it was sent, or told that it is lost.
    pub through: MessageId,
    /// It has been sent all there was, and takes what comes.
    pub is_current: bool,
    /// It has asked for what it lacks.
    pub is_asked: bool,
    /// Keys that it is to be sent before them and has not been.
    pub greetings: u32,
}

/// A connection as one of its user's.
#[derive(Debug, Default)]
pub struct OfUser {
    /// What its upgrade calls its session, for tokens that name none.
    pub named_session: Option<Box<str>>,
    /// Where the directory has it, once it is one.
    pub listed: Option<Listed>,
    /// What it hears of direct messages, once it has been told who it is.
    pub receiving: Option<Receiving>,
    /// What it pays with for its messages, where any rate is limited: also one of nobody.
    pub purse: Option<Box<Purse>>,
    /// What the application has given it, and with what reason it has turned it away.
    pub allowed: Option<Box<Allowed>>,
    pub denied: Option<Box<str>>,
}

/// As whom a connection was sent what it is to see first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcomed {
    No,
    Anonymous,
    Somebody,
}

/// Watches of rooms of a connection.
#[derive(Debug, Default)]
pub struct Watches {
    pub slots: Vec<u32>,
    /// How many of them are behind and catch up when the outbox has drained.
    pub behind: u32,
}

/// Rooms of `/v1` that a connection is in or hears of.
#[derive(Debug, Default)]
pub struct Stays {
    pub slots: Vec<u32>,
    /// How many of them are behind and catch up when the outbox has drained.
    pub behind: u32,
    /// Whether the members that it is are gone with it, and do not come back.
    pub are_final: bool,
    /// Bytes of names and states of these.
    pub bytes: usize,
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
    /// Whether the session may have changed since its bytes were counted.
    pub is_session_touched: bool,
    /// Why it was taken only to be turned away: answered once the handshake is done. A page is served all the same.
    pub refusal: Option<TurnedAway>,
    /// Counted at the shard that counts its address, which must hear when it is gone.
    pub is_of_address: bool,
    /// One of those that `--max-connections` counts; before, it is one of those that `--max-handshakes` counts.
    pub is_admitted: bool,
    pub reader: Reader,
    /// What stands before all that is here.
    pub layer: Layer,
    /// Its dialect wants to hear when everything is sent.
    pub wants_drained: bool,
    /// Its dialect has as many requests of it to answer as it keeps, and takes no further message until some are.
    pub takes_no_requests: bool,
    /// Its dialect is making an answer that comes before any further change of a map.
    pub holds_changes: bool,
    /// Operations of its last message are left for the next turn, and it takes no further message until they are done.
    pub has_unfinished: bool,
    /// Messages of it that some are yet to be sent; it takes no further one meanwhile, either.
    pub undelivered: u32,
    /// Received and not yet handled: the request head, or what came while reading was paused.
    pub unread: Unread,
    /// It is not read, because this shard or this connection has too much under way.
    pub paused: bool,
    /// What it waits for with its next message.
    pub waits: Waits,
    /// The peer has ended its side.
    pub ended: bool,
    /// It lets go of what it has, which takes a while, before it says goodbye; and its slot may be free then.
    pub is_leaving: bool,
    pub is_released: bool,
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
    /// What it may do; who it is, if it has said so; and what is due for that, and when.
    pub grant: GrantId,
    pub principal: Option<Arc<Principal>>,
    pub due: Due,
    pub due_ms: u64,
    /// A token of it is with the desk, and it takes no further message until that is believed or not.
    pub is_being_verified: bool,
    pub welcomed: Welcomed,
    /// As one of its user's, if it is one or may be, or as one that pays.
    pub of_user: Option<Box<OfUser>>,
    pub subscriptions: Vec<SubscriptionRef>,
    pub queries: OwnQueries,
    /// Its watches of rooms, as other dialects have them; `None`: it never had any.
    pub watches: Option<Box<Watches>>,
    /// Rooms of `/v1` that it is in or hears of; `None`: none.
    pub stays: Option<Box<Stays>>,
    /// Channels that it is in.
    pub joined: JoinedChannels,
    /// Members it has set, which are removed when it is gone.
    pub members: OwnMembers,
    /// Requests of it that wait for other shards, bytes that they take wherever they wait, and bytes that their answers
    /// may take.
    pub requests_pending: u32,
    pub request_bytes: usize,
    pub owed_bytes: usize,
    /// Reads whose answers are too long to be made while others are owed, oldest first. They come next.
    pub long_reads: Seldom<ReplyTo>,
    /// In line to be looked at, as there may be room for one of them.
    pub may_read_on: bool,
    pub bad_messages: u32,
    /// Where writers are slowed: when its next message may be handled, in milliseconds; 0: it never was.
    pub slowed_until_ms: u64,
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
            layer: Layer::Direct,
            wants_drained: false,
            takes_no_requests: false,
            holds_changes: false,
            has_unfinished: false,
            undelivered: 0,
            unread: Unread::default(),
            paused: false,
            waits: Waits::No,
            ended: false,
            is_leaving: false,
            is_released: false,
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
            grant: GrantId::NOTHING,
            principal: None,
            due: Due::Never,
            due_ms: u64::MAX,
            is_being_verified: false,
            welcomed: Welcomed::No,
            of_user: None,
            subscriptions: Vec::new(),
            queries: OwnQueries::default(),
            watches: None,
            stays: None,
            joined: JoinedChannels::default(),
            members: OwnMembers::default(),
            requests_pending: 0,
            request_bytes: 0,
            owed_bytes: 0,
            long_reads: Seldom::default(),
            may_read_on: false,
            bad_messages: 0,
            slowed_until_ms: 0,
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

    /// Whether something of its last message is left for the next turn.
    pub const fn is_unfinished(&self) -> bool {
        self.has_unfinished || self.undelivered > 0
    }

    pub fn purse(&self) -> Option<&Purse> {
        self.of_user.as_ref()?.purse.as_deref()
    }

    pub fn purse_mut(&mut self) -> Option<&mut Purse> {
        self.of_user.as_mut()?.purse.as_deref_mut()
    }

    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// When its next message may be handled, in microseconds, if its writes are slowed.
    pub fn slowed_until_us(&self, turn: &Turn) -> Option<u64> {
        (self.slowed_until_ms > turn.now.timer_ms()).then_some(self.slowed_until_ms * 1000)
    }

    /// Whether what is in flight waits for the peer to take bytes: what the kernel has room for is sent by the next turn.
    pub fn waits_for_peer(&self, turn: &Turn) -> bool {
        self.is_sending() && turn.number().wrapping_sub(self.sent_in_turn) > 1
    }

    /// Whether it is this server that keeps the connection from being heard: it does not read it, and has nothing for it
    /// that the peer could show by taking that it lives.
    pub fn is_unheard(&self, turn: &Turn) -> bool {
        self.paused && !self.waits_for_peer(turn)
    }

    /// Slots of its watches of rooms.
    pub fn watches(&self) -> &[u32] {
        self.watches.as_ref().map_or(&[], |watches| &watches.slots)
    }

    /// How many of these are behind.
    pub fn watches_behind(&self) -> u32 {
        self.watches.as_ref().map_or(0, |watches| watches.behind)
    }

    /// Takes note of one more that is behind, or of one less.
    pub fn note_watch_behind(&mut self, is_behind: bool) {
        let behind = &mut self.watches.get_or_insert_default().behind;
        *behind = if is_behind { *behind + 1 } else { *behind - 1 };
    }

    /// Whether it lacks direct messages and has not asked for them.
    pub fn lacks_directs(&self) -> bool {
        let receiving = self.of_user.as_ref().and_then(|of_user| of_user.receiving);
        receiving.is_some_and(|receiving| !receiving.is_current && !receiving.is_asked)
    }

    /// Whether it has something to let go of elsewhere when it goes.
    pub fn holds_anything(&self) -> bool {
        let has_stays = self.stays.as_ref().is_some_and(|stays| !stays.slots.is_empty());
        let has_members = !(self.watches().is_empty() && self.members.is_empty());
        has_stays
            || has_members
            || !(self.subscriptions.is_empty() && self.queries.is_empty() && self.joined.is_empty())
    }

    /// Whether frames may still be queued for it.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Accepted | Phase::Handshake | Phase::Admission | Phase::Open)
    }
}

/// What an idle connection costs, beside its socket.
const _: () = assert!(size_of::<Connection>() <= 568, "an idle connection must stay small");

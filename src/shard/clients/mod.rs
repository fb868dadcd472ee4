//! The connection table and what it takes to queue a frame: outboxes, buffers, and the list of those to flush.
//!
//! Invariant: a connection is on the dirty list exactly when something fills its outbox, no send is in flight
//! and its frames do not wait for company.

mod admission;
mod connection;
mod debts;
mod inspect;
mod joined;
mod layer;
mod leaving;
mod log;
mod own_members;
mod own_queries;
mod pauses;
mod paying;
mod rate;
mod seldom;
mod sessions;
mod telling;
mod timers;
mod unread;

use std::collections::VecDeque;

use admission::Admission;
use debts::Debts;
use layer::Secure;
use log::Endings;
use pauses::Pauses;
use sessions::Sessions;
use timers::Wheel;

pub use admission::{NoRoom, turned_away};
pub use connection::{Connection, Listed, OfUser, Phase, Receiving, Stays, Waits, Welcomed};
pub use layer::{Layer, Opened};
pub use leaving::{End, Held, Leaving};
pub use own_members::{MemberName, OwnMember};
pub use rate::Window;
pub use telling::Alike;
pub use unread::Unread;

use super::budgets::Budgets;
use super::caller::Caller;
use super::commons::Commons;
use super::outbox::BufferPool;
use super::slots::Slots;
use super::turn::Turn;
use super::{Command, Dialect, DialectIndex, Event, Now, Shared};
use crate::config::Coalesce;
use crate::limits::READ_ANSWER_BYTES_CEILING;
use crate::mesh::ConnectionId;
use crate::wire::{Close, Reject, Ticket};

type Table = Slots<Connection>;

/// See the module.
pub struct Clients {
    table: Table,
    dialects: &'static [&'static dyn Dialect],
    pool: BufferPool,
    dirty: Vec<ConnectionId>,
    /// Connections whose frames wait for company, in the order in which they are due.
    delayed: VecDeque<(u64, ConnectionId)>,
    coalesce: Coalesce,
    soft_bytes: usize,
    hard_bytes: usize,
    /// Connections found over the hard limit; they are closed once the loop that found them is over.
    slow: Vec<ConnectionId>,
    /// Connections whose peers are gone, and which are ended by turns with work for it.
    gone: VecDeque<(ConnectionId, End)>,
    /// Connections that let go of what they have, over turns.
    leaving: VecDeque<Leaving>,
    /// Connections whose dialect is to be told that all is sent.
    drained: Vec<ConnectionId>,
    commons: Commons,
    sessions: Sessions,
    next_generation: u32,
    pauses: Pauses,
    debts: Debts,
    /// Bytes of the names of members that connections have set.
    members_bytes: usize,
    timers: Wheel,
    endings: Endings,
    admission: Admission,
    budgets: Budgets,
    secure: Secure,
}

/// Dialects there may be; see [`crate::shard::Shared::dialects`].
pub const DIALECTS_MAX: usize = 5;

impl Clients {
    pub fn new(shared: &Shared, shards: usize, now: Now) -> Self {
        let config = &*shared.config;
        Self {
            table: Table::default(),
            dialects: shared.dialects,
            pool: BufferPool::default(),
            dirty: Vec::new(),
            delayed: VecDeque::new(),
            coalesce: config.coalesce,
            soft_bytes: config.outbox_soft_bytes,
            hard_bytes: config.outbox_hard_bytes,
            slow: Vec::new(),
            gone: VecDeque::new(),
            leaving: VecDeque::new(),
            drained: Vec::new(),
            commons: Commons::default(),
            sessions: Sessions::default(),
            next_generation: 0,
            pauses: Pauses::default(),
            debts: Debts::default(),
            members_bytes: 0,
            timers: Wheel::new(now.timer_ms()),
            endings: Endings::default(),
            admission: Admission::new(shared, shards, now),
            budgets: Budgets::new(config),
            secure: Secure::new(shared.tls.clone()),
        }
    }

    /// Goes on with the configuration of the turn.
    pub fn configure(&mut self, turn: &Turn) {
        let config = &*turn.config;
        self.coalesce = config.coalesce;
        self.soft_bytes = turn.account.soft_bytes(config.outbox_soft_bytes);
        self.hard_bytes = config.outbox_hard_bytes;
        self.admission.configure(config, turn.shards);
        self.budgets.configure(config);
    }

    pub fn insert(&mut self, make: impl FnOnce(ConnectionId) -> Connection) -> ConnectionId {
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let index = self.table.insert(|index| make(ConnectionId { index, generation }));
        ConnectionId { index, generation }
    }

    /// The connection, unless its slot has another tenant by now.
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.table.get(id.index).filter(|connection| connection.id == id)
    }

    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        tenant(&mut self.table, id)
    }

    /// The rooms of `/v1` of a connection, if it has any.
    pub fn stays_mut(&mut self, id: ConnectionId) -> Option<&mut Stays> {
        self.get_mut(id)?.stays.as_deref_mut()
    }

    /// The connection in a slot that is known to be taken, as by a subscription or a watch.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> &mut Connection {
        &mut self.table[index]
    }

    /// Who asks, when this connection does; `None` if it is gone.
    pub fn caller(&self, id: ConnectionId) -> Option<Caller> {
        self.get(id).map(|connection| Caller::new(id, connection.grant))
    }

    /// What a connection speaks; any if it is gone.
    pub fn dialect_of(&self, id: ConnectionId) -> &'static dyn Dialect {
        self.dialect(self.get(id).map_or(0, |connection| connection.dialect))
    }

    pub fn dialect(&self, index: DialectIndex) -> &'static dyn Dialect {
        self.dialects[usize::from(index)]
    }

    /// Slots there have been at once, in whole chunks: every index is below.
    pub fn slots(&self) -> u32 {
        self.table.slots()
    }

    /// Who is in a slot, and where it is in its life.
    pub fn in_slot(&self, index: u32) -> Option<(ConnectionId, Phase)> {
        self.table.get(index).map(|connection| (connection.id, connection.phase))
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.table.iter().map(|(_, connection)| connection)
    }

    /// Bytes that peers have yet to take.
    pub const fn waiting_bytes(&self) -> usize {
        self.pool.waiting_bytes()
    }

    /// Bytes of the names of members that connections have set.
    pub const fn members_bytes(&self) -> usize {
        self.members_bytes
    }

    /// Takes note of the names of a member that a connection has set.
    pub const fn member_set(&mut self, names_bytes: usize) {
        self.members_bytes += names_bytes;
    }

    /// Takes note that a connection no longer has a member with these names.
    pub const fn member_gone(&mut self, names_bytes: usize) {
        self.members_bytes -= names_bytes;
    }

    /// Bytes of memory that outboxes hold.
    pub const fn held_bytes(&self) -> usize {
        self.pool.held_bytes()
    }

    /// Has a dialect told that all is sent, if it wants to know and it is, by [`Self::next_drained`].
    pub fn check_drained(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get_mut(id)
            && connection.wants_drained
            && !connection.outbox.is_filling()
            && !connection.outbox.is_sending()
        {
            connection.wants_drained = false;
            self.drained.push(id);
        }
    }

    /// Whether any dialect is to be told that all is sent.
    pub fn has_drained(&self) -> bool {
        !self.drained.is_empty()
    }

    /// Whether any dialect has something to go on with.
    pub fn has_to_go_on(&self) -> bool {
        self.commons.has_to_go_on()
    }

    /// What dialects remember of all connections.
    pub fn commons(&mut self) -> &mut Commons {
        &mut self.commons
    }

    /// Has a connection closed as one that is over the hard limit.
    pub fn close_slow(&mut self, id: ConnectionId) {
        self.slow.push(id);
    }

    /// Takes a connection whose dialect is to be told that all is sent.
    pub fn next_drained(&mut self) -> Option<ConnectionId> {
        self.drained.pop()
    }

    /// Takes a connection that is over the hard limit, and must be closed.
    pub fn next_slow(&mut self) -> Option<ConnectionId> {
        self.slow.pop()
    }

    /// The kernel took `bytes` of what a connection has in flight; whether that was all, and `None` if it is gone.
    pub fn sent(&mut self, turn: &mut Turn, id: ConnectionId, bytes: usize) -> Option<bool> {
        let Self { table, secure, pool, .. } = self;
        let connection = tenant(table, id)?;
        connection.sent_bytes += bytes as u64;
        if connection.waits_for_peer(turn) {
            // There was no room before the peer took bytes, and so it lives.
            connection.heard_at_ms = turn.now.timer_ms();
            connection.pinged = false;
        }
        connection.sent_in_turn = turn.number();
        let Layer::Tls(secured) = &mut connection.layer else {
            return Some(connection.outbox.sent(bytes, pool));
        };
        let Some(plain) = Self::landed(secure, pool, secured, bytes) else { return Some(false) };
        if connection.outbox.sent(plain, pool) {
            return Some(true);
        }
        if Self::take_off(turn, secure, pool, connection) {
            return Some(false);
        }
        self.end_later(id, End::Failed);
        None
    }

    /// Whether the peer of the connection in a slot is over the soft limit, so that what can wait had better.
    #[inline]
    pub fn is_over_soft_limit(&self, index: u32) -> bool {
        self.table[index].outbox.bytes() > self.soft_bytes
    }

    /// Whether the connection in a slot takes frames. One that is leaving does not, though others still know of it.
    #[inline]
    pub fn takes_frames(&self, index: u32) -> bool {
        self.table[index].is_connected()
    }

    /// What a connection hears of direct messages, if it is open and does.
    pub fn receiving(&mut self, id: ConnectionId) -> Option<&mut Receiving> {
        let connection = self.get_mut(id).filter(|connection| connection.is_open())?;
        connection.of_user.as_mut()?.receiving.as_mut()
    }

    /// Whether changes of maps must not be queued for the connection in a slot, but be fetched later.
    #[inline]
    pub fn holds_changes(&self, index: u32) -> bool {
        self.table[index].holds_changes || self.is_over_soft_limit(index)
    }

    fn queued(&mut self, index: u32, now: Now) {
        let connection = &mut self.table[index];
        let id = connection.id;
        if connection.outbox.bytes() > self.hard_bytes {
            self.slow.push(id);
        }
        self.note_debt(index, now.timer_ms());
        self.mark(id, now);
    }

    /// Puts the connection on the list it belongs to, if it is on none.
    pub fn mark(&mut self, id: ConnectionId, now: Now) {
        let coalesce = self.coalesce;
        let Some(connection) = self.get_mut(id) else { return };
        if connection.dirty || connection.is_sending() || !connection.has_to_send() {
            return;
        }
        let waits = coalesce.delay_us > 0
            && !connection.urgent
            && connection.outbox.filling_bytes() < coalesce.bytes_max
            && (connection.outbox.messages() as usize) < coalesce.frames_max;
        if !waits {
            connection.dirty = true;
            self.dirty.push(id);
        } else if !connection.delayed {
            connection.delayed = true;
            self.delayed.push_back((now.monotonic_us + coalesce.delay_us, id));
        }
    }

    /// Starts one send for each dirty connection.
    pub fn flush(&mut self, turn: &mut Turn) {
        let now = turn.now;
        while let Some(&(due_us, id)) = self.delayed.front() {
            if due_us > now.monotonic_us {
                break;
            }
            self.delayed.pop_front();
            let Some(connection) = self.get_mut(id) else { continue };
            connection.delayed = false;
            if !connection.dirty && connection.has_to_send() && !connection.is_sending() {
                connection.dirty = true;
                self.dirty.push(id);
            }
        }
        for index in 0..self.dirty.len() {
            let id = self.dirty[index];
            let Self { table, secure, pool, .. } = self;
            let Some(connection) = tenant(table, id) else { continue };
            connection.dirty = false;
            if connection.has_to_send() && !connection.is_sending() && connection.phase != Phase::Disconnected
            {
                connection.urgent = false;
                connection.sent_in_turn = turn.number();
                if connection.takes_plaintext() {
                    turn.metrics.messages_sent += u64::from(connection.outbox.start_send());
                }
                if !Self::take_off(turn, secure, pool, connection) {
                    self.end_later(id, End::Failed);
                    continue;
                }
                turn.commands.push(Command::Send(id));
            }
        }
        self.dirty.clear();
    }

    /// When [`Self::flush`] has something to do at the latest, in microseconds of the monotonic clock.
    pub fn next_flush_us(&self) -> Option<u64> {
        self.delayed.front().map(|&(due_us, _)| due_us)
    }

    /// Refuses a request as a whole; the connection goes on.
    pub fn reject(&mut self, turn: &mut Turn, id: ConnectionId, ticket: Option<&Ticket>, reject: Reject) {
        turn.metrics.requests_rejected += 1;
        self.tell_urgent(id, turn.now, Event::Rejected { ticket, reject });
    }

    /// Refuses what is no message at all.
    ///
    /// # Errors
    /// Why the connection must end, once there were too many.
    pub fn bad_message(
        &mut self,
        turn: &mut Turn,
        id: ConnectionId,
        ticket: Option<&Ticket>,
        reject: Reject,
    ) -> Result<(), Close> {
        turn.metrics.bad_messages += 1;
        let Some(connection) = self.get_mut(id) else { return Ok(()) };
        connection.bad_messages += 1;
        let too_many = connection.bad_messages >= turn.config.bad_messages_max;
        self.reject(turn, id, ticket, reject);
        if too_many { Err(Close::InvalidData("too many messages that are not JSON")) } else { Ok(()) }
    }

    /// Bytes that the answers to one connection may take beyond what it is not read for: as many as leave its outbox
    /// below the hard limit, as long as it takes them.
    pub fn answer_bytes_max(&self) -> usize {
        self.hard_bytes.saturating_sub(self.soft_bytes).min(READ_ANSWER_BYTES_CEILING)
    }

    /// Whether the peer has taken enough for more to be asked for on its behalf.
    pub fn has_room(&self, id: ConnectionId) -> bool {
        self.free_bytes(id) > 0
    }

    /// Bytes that may be asked for on behalf of the peer: up to half of the soft limit, and nothing before an answer that is
    /// being made.
    pub fn free_bytes(&self, id: ConnectionId) -> usize {
        let connection = self.get(id).filter(|connection| !connection.holds_changes);
        connection.map_or(0, |connection| (self.soft_bytes / 2).saturating_sub(connection.outbox.bytes()))
    }
}

/// The connection, unless its slot has another tenant by now.
fn tenant(table: &mut Table, id: ConnectionId) -> Option<&mut Connection> {
    table.get_mut(id.index).filter(|connection| connection.id == id)
}

/// The same, unless it is gone or leaving: it takes nothing more.
fn connected(table: &mut Table, id: ConnectionId) -> Option<&mut Connection> {
    tenant(table, id).filter(|connection| connection.is_connected())
}

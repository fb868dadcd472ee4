//! The connection table and what it takes to queue a frame: outboxes, buffers, and the list of those to flush.
//!
//! Invariant: a connection is on the dirty list exactly when something fills its outbox, no send is in flight
//! and its frames do not wait for company.

pub mod admission;
pub mod buffer_pool;
pub mod connection;
pub mod log;
pub mod outbox;
pub mod pieces;
pub mod rate;
pub mod shared;
pub mod timers;

use std::collections::VecDeque;

use slab::Slab;

use crate::config::{Coalesce, Config};
use crate::mesh::ConnectionId;
use crate::metrics::Metrics;
use crate::shard::clients::buffer_pool::BufferPool;
use crate::shard::clients::connection::{Connection, Phase};
use crate::shard::clients::shared::{Frames, SharedFrames};
use crate::shard::{Change, Command, Dialect, Event, Now};

/// See the module.
pub struct Clients {
    pub table: Slab<Connection>,
    pub dialects: &'static [&'static dyn Dialect],
    pub pool: BufferPool,
    pub commands: Vec<Command>,
    dirty: Vec<ConnectionId>,
    /// Connections whose frames wait for company, in the order in which they are due.
    delayed: VecDeque<(u64, ConnectionId)>,
    coalesce: Coalesce,
    soft_bytes: usize,
    hard_bytes: usize,
    /// Connections found over the hard limit; they are closed once the loop that found them is over.
    pub slow: Vec<ConnectionId>,
    next_generation: u32,
}

/// Dialects there may be; see [`crate::shard::Shared::dialects`].
pub const DIALECTS_MAX: usize = 5;

/// What many connections are sent alike: frames for each dialect that any of them speaks, made once.
#[derive(Default)]
pub struct Alike([Option<SharedFrames>; DIALECTS_MAX]);

impl Clients {
    pub fn new(config: &Config, dialects: &'static [&'static dyn Dialect]) -> Self {
        Self {
            table: Slab::new(),
            dialects,
            pool: BufferPool::default(),
            commands: Vec::new(),
            dirty: Vec::new(),
            delayed: VecDeque::new(),
            coalesce: config.coalesce,
            soft_bytes: config.outbox_soft_bytes,
            hard_bytes: config.outbox_hard_bytes,
            slow: Vec::new(),
            next_generation: 0,
        }
    }

    pub fn insert(&mut self, make: impl FnOnce(ConnectionId) -> Connection) -> ConnectionId {
        self.next_generation = self.next_generation.wrapping_add(1);
        let entry = self.table.vacant_entry();
        let id = ConnectionId { index: entry.key() as u32, generation: self.next_generation };
        entry.insert(make(id));
        id
    }

    /// The connection, unless its slot has another tenant by now.
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.table.get(id.index as usize).filter(|connection| connection.id == id)
    }

    pub fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.table.get_mut(id.index as usize).filter(|connection| connection.id == id)
    }

    /// Appends one frame to the outbox of `id`. A connection that is gone or leaving takes nothing more.
    pub fn send(&mut self, id: ConnectionId, now: Now, write: impl FnOnce(&mut Vec<u8>)) {
        let connection = self.table.get_mut(id.index as usize).filter(|connection| connection.id == id);
        if let Some(connection) = connection.filter(|connection| connection.is_connected()) {
            connection.outbox.append(&mut self.pool, write);
            self.queued(id.index, now);
        }
    }

    /// Like [`Self::send`] for what must not wait for company: the hello, pong, auth and error of a dialect.
    pub fn send_urgent(&mut self, id: ConnectionId, now: Now, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(connection) = self.get_mut(id) {
            connection.urgent = true;
        }
        self.send(id, now, write);
    }

    /// Appends what is no message, and waits for no company: HTTP, a ping or a pong.
    pub fn send_uncounted(&mut self, id: ConnectionId, now: Now, write: impl FnOnce(&mut Vec<u8>)) {
        let connection = self.table.get_mut(id.index as usize).filter(|connection| connection.id == id);
        if let Some(connection) = connection.filter(|connection| connection.is_connected()) {
            connection.urgent = true;
            connection.outbox.append_uncounted(&mut self.pool, write);
            self.queued(id.index, now);
        }
    }

    /// Tells a connection of `event`, in the words of its dialect.
    pub fn tell(&mut self, id: ConnectionId, now: Now, event: Event<'_>) {
        let connection = self.table.get_mut(id.index as usize).filter(|connection| connection.id == id);
        if let Some(connection) = connection.filter(|connection| connection.is_connected()) {
            let dialect = self.dialects[usize::from(connection.dialect)];
            let session = &mut connection.session;
            connection.outbox.append(&mut self.pool, |out| dialect.event(event, session, now, out));
            self.queued(id.index, now);
        }
    }

    /// Tells a connection of a change that nobody else is told in the same way.
    pub fn tell_change(&mut self, id: ConnectionId, now: Now, change: Change<'_>) {
        let Some(connection) = self.table.get_mut(id.index as usize).filter(|found| found.id == id) else {
            return;
        };
        let dialect = self.dialects[usize::from(connection.dialect)];
        let session = &connection.session;
        connection.outbox.append(&mut self.pool, |out| dialect.change(change, session, out));
        self.queued(id.index, now);
    }

    /// Like [`Self::tell`] for what must not wait for company.
    pub fn tell_urgent(&mut self, id: ConnectionId, now: Now, event: Event<'_>) {
        if let Some(connection) = self.get_mut(id) {
            connection.urgent = true;
        }
        self.tell(id, now, event);
    }

    /// Queues for the connection in slot `index` what all that speak its dialect get, and `make` appends for the first
    /// of them.
    #[inline]
    pub fn send_alike(
        &mut self,
        alike: &mut Alike,
        index: u32,
        now: Now,
        make: impl FnOnce(&dyn Dialect, &mut Frames),
    ) {
        if self.make_alike(alike, index, make) {
            self.send_made(alike, index, now);
        }
    }

    /// Makes what all that speak the dialect of the connection in slot `index` get, if none of them was met before;
    /// whether that is anything.
    #[inline]
    pub fn make_alike(
        &mut self,
        alike: &mut Alike,
        index: u32,
        make: impl FnOnce(&dyn Dialect, &mut Frames),
    ) -> bool {
        let dialect = usize::from(self.table[index as usize].dialect);
        let made = &mut alike.0[dialect];
        let frames = made.get_or_insert_with(|| self.pool.share(|out| make(self.dialects[dialect], out)));
        !frames.bytes.is_empty()
    }

    /// Queues what [`Self::make_alike`] has made for connections like the one in slot `index`.
    #[inline]
    pub fn send_made(&mut self, alike: &Alike, index: u32, now: Now) {
        let connection = &mut self.table[index as usize];
        let dialect = usize::from(connection.dialect);
        if let Some(frames) = &alike.0[dialect] {
            let (outbox, session) = (&mut connection.outbox, &connection.session);
            let is_personal = frames.hole.is_some()
                && outbox.append_personal(&mut self.pool, frames, |copy| {
                    self.dialects[dialect].personalize(frames, session, copy)
                });
            if !is_personal {
                outbox.append_shared(&mut self.pool, frames);
            }
            self.queued(index, now);
        }
    }

    fn queued(&mut self, index: u32, now: Now) {
        let connection = &mut self.table[index as usize];
        let id = connection.id;
        if connection.outbox.bytes() > self.hard_bytes {
            self.slow.push(id);
        }
        self.mark(id, now);
    }

    /// Puts the connection on the list it belongs to, if it is on none.
    pub fn mark(&mut self, id: ConnectionId, now: Now) {
        let coalesce = self.coalesce;
        let Some(connection) = self.get_mut(id) else { return };
        if connection.dirty || connection.outbox.is_sending() || !connection.outbox.is_filling() {
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
    pub fn flush(&mut self, now: Now, metrics: &mut Metrics) {
        while let Some(&(due_us, id)) = self.delayed.front() {
            if due_us > now.monotonic_us {
                break;
            }
            self.delayed.pop_front();
            let Some(connection) = self.get_mut(id) else { continue };
            connection.delayed = false;
            if !connection.dirty && connection.outbox.is_filling() && !connection.outbox.is_sending() {
                connection.dirty = true;
                self.dirty.push(id);
            }
        }
        for index in 0..self.dirty.len() {
            let id = self.dirty[index];
            let Some(connection) = self.table.get_mut(id.index as usize).filter(|found| found.id == id)
            else {
                continue;
            };
            connection.dirty = false;
            if connection.outbox.is_filling()
                && !connection.outbox.is_sending()
                && connection.phase != Phase::Disconnected
            {
                connection.urgent = false;
                metrics.messages_sent += u64::from(connection.outbox.start_send());
                self.commands.push(Command::Send(id));
            }
        }
        self.dirty.clear();
    }

    /// When [`Self::flush`] has something to do at the latest, in microseconds of the monotonic clock.
    pub fn next_flush_us(&self) -> Option<u64> {
        self.delayed.front().map(|&(due_us, _)| due_us)
    }

    /// Whether the peer has taken enough for more to be asked for on its behalf.
    pub fn has_room(&self, id: ConnectionId) -> bool {
        self.get(id).is_some_and(|connection| connection.outbox.bytes() < self.soft_bytes / 2)
    }
}

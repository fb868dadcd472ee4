//! What connections are sent: frames of their own, what a dialect makes of an event or a change, and what many are sent
//! alike, which is made once.

use super::{Clients, DIALECTS_MAX, connected};
use crate::mesh::ConnectionId;
use crate::shard::caller::Caller;
use crate::shard::outbox::{Frames, SharedFrames};
use crate::shard::{Change, Dialect, Event, Now, SnapshotEnd};

/// What many connections are sent alike: frames for each dialect that any of them speaks, made once.
#[derive(Default)]
pub struct Alike([Option<SharedFrames>; DIALECTS_MAX]);

impl Clients {
    /// Appends one frame to the outbox of `id`. A connection that is gone or leaving takes nothing more.
    pub fn send(&mut self, id: ConnectionId, now: Now, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(connection) = connected(&mut self.table, id) {
            connection.outbox.append(&mut self.pool, write);
            self.queued(id.index, now);
        }
    }

    /// Appends a frame in the words of the dialect of `id`.
    pub fn send_as(
        &mut self,
        id: ConnectionId,
        now: Now,
        write: impl FnOnce(&'static dyn Dialect, &mut Vec<u8>),
    ) {
        let dialect = self.dialect_of(id);
        self.send(id, now, |out| write(dialect, out));
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
        if let Some(connection) = connected(&mut self.table, id) {
            connection.urgent = true;
            connection.outbox.append_uncounted(&mut self.pool, write);
            self.queued(id.index, now);
        }
    }

    /// Tells a connection of `event`, in the words of its dialect.
    pub fn tell(&mut self, id: ConnectionId, now: Now, event: Event<'_>) {
        let bytes = event.packed_bytes();
        self.tell_large(id, now, event, bytes + bytes / 8);
    }

    /// The same of what takes about so many bytes: there is room for them from the start, so that what is large does not grow
    /// by copying.
    pub fn tell_large(&mut self, id: ConnectionId, now: Now, event: Event<'_>, bytes: usize) {
        if let Some(connection) = connected(&mut self.table, id) {
            let dialect = self.dialects[usize::from(connection.dialect)];
            let session = &mut connection.session;
            let is_end = match event {
                Event::Snapshot { end, .. } => end != SnapshotEnd::More,
                Event::Rejected { .. } => true,
                _ => false,
            };
            connection.outbox.append(&mut self.pool, |out| {
                out.reserve(bytes);
                dialect.event(event, session, now, out);
            });
            if session.is_some() {
                self.sessions.touch(connection);
            }
            if is_end {
                self.answer(id, now);
            } else {
                self.queued(id.index, now);
            }
        }
    }

    /// Has a connection sent what its dialect answers by now.
    pub fn answer(&mut self, id: ConnectionId, now: Now) {
        if let Some(connection) = connected(&mut self.table, id) {
            let dialect = self.dialects[usize::from(connection.dialect)];
            let (session, commons) = (&mut connection.session, &mut self.commons);
            let answered = connection
                .outbox
                .append_parts(&mut self.pool, |parts| dialect.answer(session, commons, now, parts));
            connection.holds_changes = answered.holds_changes;
            if connection.session.is_some() {
                self.sessions.touch(connection);
            }
            self.drained.extend(answered.next.map(Caller::connection));
            self.queued(id.index, now);
        }
    }

    /// Tells a connection of a change that nobody else is told in the same way.
    pub fn tell_change(&mut self, id: ConnectionId, now: Now, change: Change<'_>) {
        let Some(connection) = connected(&mut self.table, id) else { return };
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
        let dialect = usize::from(self.table[index].dialect);
        let made = &mut alike.0[dialect];
        let frames = made.get_or_insert_with(|| self.pool.share(|out| make(self.dialects[dialect], out)));
        !frames.bytes.is_empty()
    }

    /// Queues what [`Self::make_alike`] has made for connections like the one in slot `index`.
    #[inline]
    pub fn send_made(&mut self, alike: &Alike, index: u32, now: Now) {
        let connection = &mut self.table[index];
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
}

//! A connection that hears of the messages of its user: what it takes of what is pushed, and what it asks for.

use std::sync::Arc;

use super::{Around, Directs, ask};
use crate::mesh::{ConnectionId, Direct, DirectRequest, Directs as Packed, FetchRequest, Fetched};
use crate::shard::clients::{Alike, Clients};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::shard::{DirectEvent, DirectMessage, Event};

/// A connection has said who it is: from now on it hears of the messages of its user, if its dialect has any.
pub fn begin(clients: &mut Clients, id: ConnectionId) {
    if !clients.dialect_of(id).hears_directs() {
        return;
    }
    if let Some(connection) = clients.get_mut(id)
        && let Some(of_user) = &mut connection.of_user
        && of_user.listed.is_some()
    {
        of_user.receiving.get_or_insert_default();
    }
}

impl Directs {
    /// Hands a message to those of these connections that are current; whether any has taken it. For whom the turn has no work it is not
    /// for now: they fetch it later.
    pub(super) fn push_here(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        connections: impl Iterator<Item = ConnectionId>,
        message: &Direct<'_>,
    ) -> bool {
        let (mut alike, mut is_taken) = (Alike::default(), false);
        for id in connections {
            turn.spend(work::PASSED_OVER);
            let is_slow = clients.get(id).is_none() || clients.is_over_soft_limit(id.index);
            let Some(receiving) = clients.receiving(id).filter(|receiving| receiving.is_current) else {
                continue;
            };
            if is_slow || turn.is_over() {
                receiving.is_current = false;
                turn.metrics.directs_delayed += 1;
                if !is_slow {
                    self.late.push_back(id);
                }
                continue;
            }
            turn.spend(work::receivers(1, message.data.len()));
            let before = std::mem::replace(&mut receiving.through, message.id);
            let is_later = before.epoch != message.id.epoch || before.offset < message.id.offset;
            debug_assert!(is_later, "each comes once");
            is_taken = true;
            turn.metrics.direct_deliveries += 1;
            let told = DirectMessage::of_user(message, false);
            clients.send_alike(&mut alike, id.index, turn.now, |dialect, out| {
                dialect.direct(told, &mut out.bytes);
            });
        }
        is_taken
    }

    /// Has connections fetch what turns had no work for, as many as this one has.
    pub fn fetch_late(&mut self, turn: &mut Turn, clients: &mut Clients) {
        while !turn.is_spent()
            && let Some(id) = self.late.pop_front()
        {
            turn.spend(work::FRAME);
            self.fetch_on(turn, clients, id);
        }
    }

    /// Whether there are such, so that the next turn must not wait for an event.
    pub fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Asks for what a connection lacks, if it has room for it and has not asked. Where something comes before, it is called again
    /// once that is sent.
    pub fn fetch_on(&mut self, turn: &mut Turn, clients: &mut Clients, id: ConnectionId) {
        let room = clients.free_bytes(id);
        let is_open = clients.get(id).is_some_and(|connection| connection.is_open());
        let Some(receiving) = clients.receiving(id) else { return };
        if receiving.is_current || receiving.is_asked || receiving.greetings > 0 || room == 0 || !is_open {
            return;
        }
        receiving.is_asked = true;
        let through = receiving.through;
        let Some(user) = clients.get(id).and_then(|connection| connection.principal.as_ref()) else { return };
        let user = Arc::clone(&user.identity.user);
        let home = turn.owner(turn.hasher.user(&user));
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let fetch = FetchRequest { by: turn.writer(id), user, through, room };
        if home == turn.index {
            self.fetches.push_back(fetch);
        } else {
            ask(turn, home, DirectRequest::Fetch(fetch));
        }
    }
}

/// What a connection has asked for has come.
pub fn fetched(around: &mut Around<'_>, (fetched, messages): (&Fetched, &[u8])) {
    let Around { turn, clients, .. } = around;
    let id = fetched.connection;
    let Some(receiving) = clients.receiving(id) else { return };
    receiving.is_asked = false;
    receiving.through = fetched.through;
    receiving.is_current = fetched.is_all;
    if fetched.dropped > 0 {
        let event = DirectEvent::Dropped { count: fetched.dropped };
        clients.tell(id, turn.now, Event::Direct { ticket: None, event });
    }
    turn.spend(work::encoded(messages.len()));
    let dialect = clients.dialect_of(id);
    for message in Packed(messages) {
        turn.metrics.direct_deliveries += 1;
        clients.send(id, turn.now, |out| dialect.direct(DirectMessage::of_user(&message, true), out));
    }
}

//! What is kept for a user, on its way to connections that lack it; and what the user has.

use std::sync::Arc;

use super::{Around, Directs, ask, deliver};
use crate::limits::CHUNK_BYTES;
use crate::mesh::{
    Answer, Direct, DirectAnswer, DirectRequest, FetchRequest, Fetched, Item, MessageId, ReplyTo, Span,
};
use crate::shard::caller::Asked;
use crate::shard::log::Entry;
use crate::shard::requests::DirectWait;
use crate::shard::work;

/// Fetches answered in one turn, unless they come to more than [`CHUNK_BYTES`] before, or to what a turn may do.
const FETCHES_PER_TURN_MAX: usize = 256;

impl Directs {
    /// A connection of another shard asks for what it lacks.
    pub fn fetch_asked(&mut self, fetch: FetchRequest) {
        self.fetches.push_back(fetch);
    }

    /// Answers connections with what they lack, as much as a turn may.
    pub fn answer_fetches(&mut self, around: &mut Around<'_>) {
        if self.fetches.is_empty() || around.turn.account.is_full() {
            return;
        }
        let (mut answers, mut bytes) = (0, 0);
        for _ in 0..self.fetches.len() {
            let is_over = answers > 0 && around.turn.is_spent();
            if answers == FETCHES_PER_TURN_MAX || bytes >= CHUNK_BYTES || is_over {
                return;
            }
            let Some(fetch) = self.fetches.pop_front() else { return };
            if around.turn.outgoing.is_waiting(fetch.by.shard) {
                self.fetches.push_back(fetch);
                continue;
            }
            bytes += self.answer_fetch(around, fetch);
            answers += 1;
        }
    }

    /// Answers one; the bytes that took.
    fn answer_fetch(&mut self, around: &mut Around<'_>, fetch: FetchRequest) -> usize {
        let slot = match self.open(around.turn, around.maps, &fetch.user) {
            Ok(slot) => slot,
            Err(map) => {
                self.park(around, map, (DirectRequest::Fetch(fetch), Vec::new()));
                return 0;
            }
        };
        let Around { turn, maps, .. } = around;
        let room = (fetch.room as usize).min(CHUNK_BYTES);
        let (mut packed, mut passed) = (Vec::new(), 0);
        let mailbox = &self.mailboxes[slot];
        let (mut through, mut is_all) = (mailbox.last(), true);
        let mut before = fetch.through;
        for (id, shown) in mailbox.after(fetch.through, turn.now.unix_ms) {
            if let Some(entry) = shown {
                if !packed.is_empty() && packed.len() + entry.data.len() > room {
                    (through, is_all) = (before, false);
                    break;
                }
                let Entry { time_ms, from, data, .. } = entry;
                Direct { id, time_ms: *time_ms, from, data }.pack(&mut packed);
            }
            (before, passed) = (id, passed + 1);
        }
        let dropped = mailbox.lost_after(fetch.through);
        turn.spend(work::FRAME + work::WALKED * passed + work::copied(packed.len()));
        // It may have been opened for this alone.
        self.change(turn, maps, slot, |_, _, _| {});
        let (bytes, connection) = (packed.len(), fetch.by.connection);
        let mut fetched =
            Fetched { connection, through, is_all, is_refused: false, dropped, messages: Span::default() };
        if fetch.by.shard == turn.index {
            deliver::fetched(around, (&fetched, &packed));
            self.fetch_on(around.turn, around.clients, connection);
        } else {
            let envelope = turn.outgoing.filling(fetch.by.shard);
            fetched.messages = Span::append(&mut envelope.bytes, &packed);
            let answer = Answer::Direct(Box::new(DirectAnswer::Fetched(fetched)));
            envelope.items.push(Item::Answer(answer));
        }
        bytes
    }

    /// The user of the caller has everything up to an offset.
    pub fn ack(&mut self, around: &mut Around<'_>, asked: Asked, (user, through): (&Arc<str>, MessageId)) {
        let Around { turn, clients, requests, .. } = around;
        // Who does not ask is not told.
        let reply = asked.ticket.map(|ticket| {
            let asked = (asked.caller.connection(), Some(ticket));
            requests.wait_for_direct(turn, clients, asked, DirectWait::Ack { through }, (1, 0))
        });
        let home = turn.owner(turn.hasher.user(user));
        if home == turn.index {
            return self.ack_asked(around, reply, (user, through));
        }
        let ack = DirectRequest::Ack { reply, user: Arc::clone(user), through };
        ask(turn, home, ack);
    }

    /// A connection of the user has everything up to an offset.
    pub fn ack_asked(
        &mut self,
        around: &mut Around<'_>,
        reply: Option<ReplyTo>,
        (user, through): (&str, MessageId),
    ) {
        let slot = match self.open(around.turn, around.maps, user) {
            Ok(slot) => slot,
            Err(map) => {
                let ack = DirectRequest::Ack { reply, user: user.into(), through };
                return self.park(around, map, (ack, Vec::new()));
            }
        };
        let Around { turn, maps, .. } = around;
        let removed =
            self.change(turn, maps, slot, |mailbox, turn, maps| mailbox.acknowledge(turn, maps, through));
        turn.spend(work::PASSED_OVER * removed);
        if let Some(reply) = reply {
            around.answer(reply, DirectAnswer::Acked { reply, outcome: Ok(()) });
        }
    }
}

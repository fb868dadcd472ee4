//! The small things a dialect asks of its shard; the large ones are `write`, `read`, `subscribe` and their like.

use super::{Caller, Commons, DialectIndex, Now, Session, Shard};
use crate::auth::Principal;
use crate::auth::rules::{Action, View};
use crate::config::Config;
use crate::crdt::Stamp;
use crate::wire::json::Parser;
use crate::wire::{Close, Reject, Ticket};

impl Shard {
    pub fn config(&self) -> &Config {
        &self.turn.config
    }

    /// The parser that all messages of this shard are parsed with.
    pub fn parser(&mut self) -> &mut Parser {
        &mut self.parser
    }

    /// See [`super::turn::Turn::clock_for_clients`].
    pub fn clock_now(&mut self) -> Stamp {
        self.turn.clock_for_clients()
    }

    /// Whether the connection's peer takes what it is sent.
    pub fn has_room(&self, caller: Caller) -> bool {
        self.clients.has_room(caller.connection())
    }

    /// Has [`super::Dialect::drained`] called once all that was queued for the connection is sent.
    pub fn call_when_drained(&mut self, caller: Caller) {
        if let Some(connection) = self.clients.get_mut(caller.connection()) {
            connection.wants_drained = true;
        }
    }

    /// What dialects remember of all connections of this shard.
    pub fn commons(&mut self) -> &mut Commons {
        self.clients.commons()
    }

    /// Has [`super::Dialect::answer`] asked again for a connection: what it waited for is there, or it waits no longer. Changes
    /// that have waited for the answer follow it.
    pub fn answer(&mut self, caller: Caller) {
        let Self { turn, clients, maps, feeds, .. } = self;
        clients.answer(caller.connection(), turn.now);
        feeds.walk_on(turn, clients, maps, caller.connection());
    }

    /// Bytes that messages which this dialect puts together from several may take while they are not complete, where one has
    /// at most so many.
    pub fn received_bytes_max(&self, message_bytes_max: usize) -> usize {
        self.turn.account.received_bytes_max(message_bytes_max)
    }

    /// Counts work that a dialect is doing, in the units of [`super::work`].
    pub fn spend(&mut self, units: u64) {
        self.turn.spend(units);
    }

    /// Closes a connection as one that is too slow for what it has asked for, while others wait.
    pub fn close_slow(&mut self, caller: Caller) {
        self.clients.close_slow(caller.connection());
    }

    /// Whether messages of the connection are handled, or wait, and it is not read, until this is called again.
    pub fn take_requests(&mut self, caller: Caller, takes: bool) {
        if let Some(connection) = self.clients.get_mut(caller.connection()) {
            connection.takes_no_requests = !takes;
            self.clients.something_ended(caller.connection());
        }
    }

    /// What the connection is called in logs.
    pub fn connection_name(&self, caller: Caller) -> String {
        self.turn.connection_name(caller.connection())
    }

    /// The time of this turn.
    pub fn now(&self) -> Now {
        self.turn.now
    }

    /// What the connection's dialect remembers of it; `None` if it is gone.
    pub fn session(&mut self, caller: Caller) -> Option<&mut Session> {
        self.clients.session(caller.connection())
    }

    /// What the connection speaks; any if it is gone.
    pub fn dialect_index(&self, caller: Caller) -> DialectIndex {
        self.clients.get(caller.connection()).map_or(0, |connection| connection.dialect)
    }

    /// From now on the connection speaks another dialect, with the same session.
    pub fn switch_dialect(&mut self, caller: Caller, dialect: DialectIndex) {
        if let Some(connection) = self.clients.get_mut(caller.connection()) {
            connection.dialect = dialect;
        }
    }

    /// Counts a request that a dialect has refused by itself.
    pub fn count_refusal(&mut self) {
        self.turn.metrics.requests_rejected += 1;
    }

    /// Queues the frames that `write` appends.
    pub fn send(&mut self, caller: Caller, write: impl FnOnce(&mut Vec<u8>)) {
        self.clients.send(caller.connection(), self.turn.now, write);
    }

    /// Like [`Self::send`] for what must not wait for company.
    pub fn send_urgent(&mut self, caller: Caller, write: impl FnOnce(&mut Vec<u8>)) {
        self.clients.send_urgent(caller.connection(), self.turn.now, write);
    }

    /// Refuses a request as a whole; the connection goes on.
    pub fn reject(&mut self, caller: Caller, ticket: Option<&Ticket>, reject: Reject) {
        self.clients.reject(&mut self.turn, caller.connection(), ticket, reject);
    }

    /// Refuses what is no message at all.
    ///
    /// # Errors
    /// Why the connection must end, once there were too many.
    pub fn bad_message(
        &mut self,
        caller: Caller,
        ticket: Option<&Ticket>,
        reject: Reject,
    ) -> Result<(), Close> {
        self.clients.bad_message(&mut self.turn, caller.connection(), ticket, reject)
    }

    /// Counts one message of so many bytes; when to try again if it is over a rate, which none is where those wait.
    pub fn over_message_rate(&mut self, caller: Caller, bytes: usize) -> Option<u32> {
        self.clients.over_message_rate(&mut self.turn, caller.connection(), bytes)
    }

    /// Whether tokens are looked at here.
    pub fn takes_tokens(&self) -> bool {
        self.access.takes_tokens()
    }

    /// Whether there are rules; if not, everybody may do what its token says, or everything.
    pub fn has_rules(&self) -> bool {
        self.access.standing().rules.is_some()
    }

    /// Who the caller is, if it has said so.
    pub fn principal(&self, caller: Caller) -> Option<&Principal> {
        self.clients.get(caller.connection())?.principal.as_deref()
    }

    /// The same connection with what it may do by now; `None` if it is gone.
    pub fn current(&self, caller: Caller) -> Option<Caller> {
        self.clients.caller(caller.connection())
    }

    /// Whether the caller may do anything of this kind with a map.
    pub fn may(&mut self, caller: Caller, action: Action, map: &str) -> bool {
        self.access.view(&mut self.turn, caller.grant(), action, map) != View::None
    }

    /// Whether the caller may be in a room, and know who is.
    pub fn may_be_in(&mut self, caller: Caller, room: &str) -> bool {
        self.access.may_be_in(&mut self.turn, caller.grant(), room)
    }

    /// Ends a connection because of its identity.
    pub fn end_unidentified(&mut self, caller: Caller) {
        self.disconnect(caller.connection(), Close::AuthRequired);
    }

    /// Whether the ack level `durable` can be reached.
    pub fn may_wait_for_disk(&self) -> bool {
        self.maps.may_wait_for_disk(&self.turn)
    }
}

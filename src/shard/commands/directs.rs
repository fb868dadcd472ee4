//! Direct messages, as clients send, acknowledge and refuse them. Only users have any: a connection that has not said who it is is refused.

use std::sync::Arc;

use crate::auth::rules::Action;
use crate::mesh::{Audience, MessageId, NotSent, Sent};
use crate::shard::access::GrantId;
use crate::shard::caller::{Asked, Caller};
use crate::shard::directs::{SendDirect, To};
use crate::shard::{DirectEvent, Event, Shard};
use crate::wire::{Reject, Ticket};

impl Shard {
    /// Sends a message to a user, or to many that are there; [`DirectEvent::Sent`] follows.
    pub fn send_direct(&mut self, caller: Caller, ticket: Option<Ticket>, send: &SendDirect<'_>) {
        let Some(from) = self.user_of(caller) else {
            return self.reject(caller, ticket.as_ref(), Reject::NoUser);
        };
        if !self.may_send(caller, send.to) {
            self.turn.metrics.directs_refused += 1;
            let event = DirectEvent::sent(Sent::Refused(NotSent::Forbidden));
            let event = Event::Direct { ticket: ticket.as_ref(), event };
            return self.clients.tell(caller.connection(), self.turn.now, event);
        }
        self.send_allowed(Asked { caller, ticket }, &from, send);
    }

    fn may_send(&mut self, caller: Caller, to: To<'_>) -> bool {
        let name = || match to {
            To::User(user) => format!("user:{user}"),
            To::Role(role) => format!("role:{role}"),
            To::All => "all".to_owned(),
        };
        let grant = caller.grant();
        grant == GrantId::EVERYTHING || self.access.may(&mut self.turn, grant, Action::Send, &name())
    }

    /// Sends what rules allow. What an application is asked before a message is sent comes in between: this is called once it has
    /// agreed, with the data that it wants to be sent.
    fn send_allowed(&mut self, asked: Asked, from: &Arc<str>, send: &SendDirect<'_>) {
        let (directs, directory, mut around) = self.directs_around();
        match send.to {
            To::User(to) => directs.send(&mut around, directory, asked, (from, to), send),
            To::Role(role) => {
                directs.announce(&mut around, asked, (from, Audience::Role(role.into())), send.data);
            }
            To::All => directs.announce(&mut around, asked, (from, Audience::All), send.data),
        }
    }

    /// Takes note that the user of the caller has everything up to a message; [`DirectEvent::Acked`] follows if it has a ticket.
    pub fn ack_directs(&mut self, caller: Caller, ticket: Option<Ticket>, through: MessageId) {
        let Some(user) = self.user_of(caller) else {
            return self.reject(caller, ticket.as_ref(), Reject::NoUser);
        };
        let (directs, _, mut around) = self.directs_around();
        directs.ack(&mut around, Asked { caller, ticket }, (&user, through));
    }

    /// Has the user of the caller block another, or no longer; [`DirectEvent::Blocked`] follows.
    pub fn block_user(&mut self, caller: Caller, ticket: Option<Ticket>, other: &str, is_blocked: bool) {
        const SELF: Reject = Reject::BadRequest("nobody blocks itself");
        let Some(user) = self.user_of(caller) else {
            return self.reject(caller, ticket.as_ref(), Reject::NoUser);
        };
        if *user == *other {
            return self.reject(caller, ticket.as_ref(), SELF);
        }
        let (directs, _, mut around) = self.directs_around();
        directs.block(&mut around, Asked { caller, ticket }, (&user, other), is_blocked);
    }

    fn user_of(&self, caller: Caller) -> Option<Arc<str>> {
        self.principal(caller).map(|principal| Arc::clone(&principal.identity.user))
    }
}

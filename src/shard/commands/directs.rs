//! Direct messages, as clients send, acknowledge and refuse them. Only users have any: a connection that has not said who it is is refused.

use std::sync::Arc;

use crate::auth::rules::Action;
use crate::hooks::Before;
use crate::mesh::{Audience, MessageId, NotSent, Sent};
use crate::shard::access::GrantId;
use crate::shard::caller::{Asked, Caller};
use crate::shard::directs::{SendDirect, To};
use crate::shard::questions::{Proposal, Proposed};
use crate::shard::{DirectEvent, Event, Shard};
use crate::wire::{Reject, Ticket};

impl Shard {
    /// Sends a message to a user, or to many that are there; [`DirectEvent::Sent`] follows, or [`DirectEvent::Denied`] where the
    /// application does not want it.
    pub fn send_direct(&mut self, caller: Caller, ticket: Option<Ticket>, send: &SendDirect<'_>) {
        let asked = Asked { caller, ticket };
        let &SendDirect { to, data, ttl_ms, is_durable } = send;
        match self.question_before(caller, Before::Send, || to.name()) {
            Some(question) if self.user_of(caller).is_some() && self.may_send(caller, to) => {
                let what = Proposal::Send { to: to.name().into(), ttl_ms, is_durable };
                self.propose(asked, question, Proposed { what, data: data.into() });
            }
            _ => self.send_agreed(asked, send),
        }
    }

    /// Sends a message if rules allow it. The application has nothing against it.
    pub(in crate::shard) fn send_agreed(&mut self, asked: Asked, send: &SendDirect<'_>) {
        let Some(from) = self.user_of(asked.caller) else {
            return self.reject(asked.caller, asked.ticket(), Reject::NoUser);
        };
        if !self.may_send(asked.caller, send.to) {
            self.turn.metrics.directs_refused += 1;
            let event = DirectEvent::sent(Sent::Refused(NotSent::Forbidden));
            let event = Event::Direct { ticket: asked.ticket(), event };
            return self.clients.tell(asked.connection(), self.turn.now, event);
        }
        let (directs, directory, mut around) = self.directs_around();
        match send.to {
            To::User(to) => directs.send(&mut around, directory, asked, (&from, to), send),
            To::Role(role) => {
                directs.announce(&mut around, asked, (&from, Audience::Role(role.into())), send.data);
            }
            To::All => directs.announce(&mut around, asked, (&from, Audience::All), send.data),
        }
    }

    fn may_send(&mut self, caller: Caller, to: To<'_>) -> bool {
        let grant = caller.grant();
        grant == GrantId::EVERYTHING || self.access.may(&mut self.turn, grant, Action::Send, &to.name())
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

//! Messages on which the application decides before they go on their way.
//!
//! ```text
//!  publish, send ──rules allow it──► question ──► nothing more of its connection is handled ──answer──► rules once more ──► on its way
//!                         └────── nobody is to be asked ──────────────────────────────────────────────────────────────────────┘
//! ```
//! Invariant: what the application has denied, or was not asked about in time, has gone nowhere.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::caller::{Asked, Caller};
use super::questions::{Proposal, Proposed, RETRY_AFTER_MS, Waiting};
use super::{DirectEvent, Event, Publish, SendDirect, Shard, To, work};
use crate::auth::Proof;
use crate::handover::Ask;
use crate::hooks::{Before, Question, Verdict};
use crate::mesh::ConnectionId;
use crate::wire::{Reject, Ticket};

/// The body of a question.
#[derive(Serialize)]
struct Body<'a> {
    question: &'static str,
    connection: String,
    time: u64,
    user: Option<&'a str>,
    roles: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    data: &'a RawValue,
}

impl Shard {
    /// What the application is to be asked before a message to `name` goes on its way, if anything; the name is looked at only where
    /// there is such a question. Who has shown an API key is the application.
    pub(super) fn question_before<'a>(
        &self,
        caller: Caller,
        before: Before,
        name: impl FnOnce() -> Cow<'a, str>,
    ) -> Option<Arc<Question>> {
        if !self.questions.is_connected() {
            return None;
        }
        let hooks = self.hooks()?;
        let question = match before {
            Before::Connect => &hooks.on_connect,
            Before::Publish => &hooks.on_publish,
            Before::Send => &hooks.on_send,
        };
        let question = question.as_ref().filter(|question| question.is_about(&name()))?;
        let is_own = self.principal(caller).is_some_and(|found| matches!(found.proof, Proof::Key(_)));
        (!is_own).then(|| Arc::clone(question))
    }

    /// Has the application decide on a message; its connection waits for that with the next.
    pub(super) fn propose(&mut self, asked: Asked, question: Arc<Question>, proposed: Proposed) {
        let id = asked.connection();
        let identity = self.principal(asked.caller).map(|principal| &principal.identity);
        let given = if identity.is_none() { self.given_roles(id) } else { Box::default() };
        let (channel, to) = match &proposed.what {
            Proposal::Publish { channel, .. } => (Some(&**channel), None),
            Proposal::Send { to, .. } => (None, Some(&**to)),
        };
        let body = Body {
            question: question.before.name(),
            connection: self.turn.connection_name(id),
            time: self.turn.now.unix_ms,
            user: identity.map(|identity| &*identity.user),
            roles: identity.map_or(&given, |identity| &identity.roles),
            channel,
            to,
            data: serde_json::from_slice(&proposed.data).expect("a dialect has parsed it"),
        };
        let body = serde_json::to_vec(&body).expect("all of it is JSON");
        self.turn.spend(work::copied(2 * body.len()) + work::FRAME);
        let Asked { ticket, .. } = asked;
        if !self.questions.has_room(body.len() + proposed.bytes()) {
            let reject = Reject::Overloaded { retry_after_ms: RETRY_AFTER_MS };
            return self.clients.reject(&mut self.turn, id, ticket.as_ref(), reject);
        }
        self.clients.message_kept(id);
        let ask = Ask { connection: id, serial: self.turn.next_serial(), question, body };
        self.questions.ask(&mut self.turn, ask, Waiting::Message { ticket, proposed });
    }

    /// The application has decided on a message.
    pub(super) fn decided(
        &mut self,
        id: ConnectionId,
        ticket: Option<Ticket>,
        Proposed { what, data }: Proposed,
        verdict: Verdict,
    ) {
        const TOO_LARGE: Reject =
            Reject::TooLarge("what the application puts in its place is larger than a value may be");
        self.clients.message_delivered(id);
        let Some(caller) = self.clients.caller(id) else { return };
        let data = match verdict {
            Verdict::Allow(allowed) => allowed.data.unwrap_or(data),
            Verdict::Deny { reason } => return self.deny(caller, ticket.as_ref(), &what, reason.as_deref()),
        };
        if data.len() > self.turn.config.value_bytes_max {
            return self.reject(caller, ticket.as_ref(), TOO_LARGE);
        }
        self.turn.spend(work::copied(data.len()));
        match what {
            Proposal::Publish { channel, how } => {
                let publish = Publish { channel: &channel, data: &data, how };
                self.publish_agreed(Asked { caller, ticket }, publish);
            }
            Proposal::Send { to, ttl_ms, is_durable } => {
                let to = To::of_name(&to).expect("it was made of one");
                self.send_agreed(
                    Asked { caller, ticket },
                    &SendDirect { to, data: &data, ttl_ms, is_durable },
                );
            }
        }
    }

    fn deny(&mut self, caller: Caller, ticket: Option<&Ticket>, what: &Proposal, reason: Option<&str>) {
        let event = match what {
            Proposal::Publish { .. } => Event::Denied { ticket, reason },
            Proposal::Send { .. } => {
                self.turn.metrics.directs_refused += 1;
                Event::Direct { ticket, event: DirectEvent::Denied { reason } }
            }
        };
        self.clients.tell_urgent(caller.connection(), self.turn.now, event);
    }
}

//! SyncKit, the dialect of `/ws` and of `docs/synckit.md`: documents, which are maps, for the clients of the SyncKit SDK.
//!
//! ```text
//! requests.rs      messages to commands               health.rs      the page /health
//! documents.rs     who is subscribed, and asks for states
//! collected.rs     states as they come, are made and answer
//! awareness.rs     who is there                       forgetting.rs  what is of no use is deleted
//! writes.rs        deltas and batches to operations   relay.rs       operations that are handed on and not kept
//! answers.rs       the answer to who asks for a state line.rs        who collects one, and what of them is shared
//! making.rs        a state that is being made         made.rs        a state as bytes for many
//! state.rs         what the entries of a document come to
//! parts.rs         the entries as they come
//! replies.rs       answers to one connection          conversation.rs  what is remembered of a client
//! document.rs      what of its documents              shown.rs        what it shows of its clients, counted
//! chunks.rs        messages in pieces                 unfinished.rs   what those of all connections take
//! compared.rs      which texts contain which, remembered
//! changes.rs       changes to deltas and batches      text.rs        states of texts
//! keys.rs          what keys of a map stand for       identity.rs    who may do what
//! message.rs       what clients say                   refusal.rs     the words of refusals
//! frame.rs         the bytes of a message         held.rs         what came before its client was somebody
//! ```
//!
//! Imports point down this line, which `tests/layers.rs` reads:
//!
//! order: mod → { requests, health } → { documents, collected, awareness, forgetting, writes, identity } → { answers, relay } →
//! replies → conversation → line → making → made → state → { document, compared, shown, changes } → { parts, chunks } →
//! unfinished → { text, keys, held } → message → refusal → frame

mod answers;
mod awareness;
mod changes;
mod chunks;
mod collected;
mod compared;
mod conversation;
mod document;
mod documents;
mod forgetting;
mod frame;
mod health;
mod held;
mod identity;
mod keys;
mod line;
mod made;
mod making;
mod message;
mod parts;
mod refusal;
mod relay;
mod replies;
mod requests;
mod shown;
mod state;
mod text;
mod unfinished;
mod writes;

use std::borrow::Cow;

use changes::Changes;
use conversation::Conversation;
use frame::{Code, Framing, write_message};
use line::Line;
use refusal::{Reason, Refusal};
use shown::Step;

use super::places::{SYNCKIT, SYNCKIT_TEXT};
use crate::config::{Config, DialectPath};
use crate::mesh::Entry;
use crate::shard::Caller;
use crate::shard::{
    self, About, Ack, Answered, Commons, Dialect, Event, Frames, Health, MemberChange, MessageKind, Now,
    Parts, Personal, Published, Session, Shard,
};
use crate::wire::{Close, Payload, Reject, Ticket};

/// Where it is spoken, unless a flag says otherwise: where SyncKit's clients look for it.
pub const PATH: DialectPath = DialectPath {
    path: Cow::Borrowed("/ws"),
    dialect: SYNCKIT,
    strict: None,
    subprotocol: None,
    health_path: Some("/health"),
    about: "a WebSocket for clients of SyncKit (see docs/synckit.md)",
};

/// See the module. A connection is answered in text frames if its first message came in one; it then has a dialect of its
/// own, so that its frames are shared with those of its kind only.
pub struct SyncKit {
    framing: Framing,
}

impl SyncKit {
    pub const BINARY: Self = Self { framing: Framing::Binary };
    pub const TEXT: Self = Self { framing: Framing::Text };
}

impl Dialect for SyncKit {
    fn name(&self) -> &'static str {
        "synckit"
    }

    fn opened(&self, _: &mut Shard, _: Caller) {}

    fn message(
        &self,
        shard: &mut Shard,
        caller: Caller,
        kind: MessageKind,
        payload: Payload<'_>,
    ) -> Result<(), Close> {
        if let Some(session) = shard.session(caller) {
            let conversation = Conversation::of(session);
            let is_first = !std::mem::replace(&mut conversation.has_spoken, true);
            if is_first && kind == MessageKind::Text {
                shard.switch_dialect(caller, SYNCKIT_TEXT);
            }
        }
        requests::forget_unfinished(shard);
        documents::look_at_line(shard);
        forgetting::forget(shard, caller);
        requests::handle(shard, caller, kind, payload);
        Ok(())
    }

    fn event(&self, event: Event<'_>, session: &mut Session, now: Now, out: &mut Vec<u8>) {
        let conversation = Conversation::of(session);
        match event {
            Event::Acked { ticket: Some(ticket), ack } => self.acked(conversation, ticket, ack, now, out),
            Event::Rejected { ticket: Some(ticket), reject } => {
                self.rejected(conversation, ticket, reject, now, out);
            }
            // What it ends is answered by `answer`.
            Event::Snapshot { map, entries, end, .. } => {
                collected::collected(conversation, self.framing, map, entries, end, now, out);
            }
            Event::Members { ticket, room, members } => {
                let is_implied =
                    ticket.is_some_and(|ticket| ticket.as_bytes() == [awareness::IMPLIED_TICKET]);
                if is_implied && members.clone().next().is_none() {
                    return;
                }
                let id = conversation.next_id(now.unix_ms);
                awareness::write_all(out, self.framing, id, room, members);
            }
            Event::Authenticated { ticket: Some(_), identity } => {
                let id = conversation.next_id(now.unix_ms);
                write_message(out, self.framing, Code::AuthSuccess, id, |fields| {
                    identity::write(Some(identity), fields);
                });
            }
            // Nothing else is asked for.
            Event::Acked { .. }
            | Event::Rejected { .. }
            | Event::Denied { .. }
            | Event::Authenticated { ticket: None, .. }
            | Event::Dismissed { .. }
            | Event::Expiring { .. }
            | Event::Welcome { .. }
            | Event::Entries { .. }
            | Event::Gathered { .. }
            | Event::MemberUpdated { .. }
            | Event::People { .. }
            | Event::List { .. }
            | Event::ListResumed { .. }
            | Event::ListEnded { .. }
            | Event::Digest { .. }
            | Event::Joined { .. }
            | Event::Placed { .. }
            | Event::History { .. }
            | Event::Gap { .. }
            | Event::Direct { .. } => {}
        }
    }

    fn answer(
        &self,
        session: &mut Session,
        commons: &mut Commons,
        now: Now,
        out: &mut Parts<'_>,
    ) -> Answered {
        collected::answer(Conversation::of(session), commons, self.framing, now, out)
    }

    fn go_on(&self, shard: &mut Shard) {
        collected::make_on(shard);
    }

    fn identified(&self, shard: &mut Shard, caller: Caller) {
        requests::handle_held(shard, caller);
    }

    fn forbidden(&self, shard: &mut Shard, caller: Caller, about: About<'_>) {
        about.end(shard, caller);
        let document = match about {
            About::Map(document) | About::Room(document) => document,
            // Nobody who speaks this is in a channel.
            About::Channel(_) => return,
        };
        if let About::Map(_) = about {
            documents::leave(shard, caller, document);
        }
        replies::refuse(shard, caller, Refusal::PermissionDenied { document });
    }

    fn closed(&self, session: &mut Session, commons: &mut Commons, caller: Caller) -> Option<Caller> {
        collected::closed(Conversation::of(session), commons, caller)
    }

    fn session_bytes(&self, session: &mut Session) -> (usize, usize) {
        if session.is_some() { Conversation::of(session).count_bytes() } else { (0, 0) }
    }

    /// Both dialects of this folder remember the same.
    fn commons_bytes(&self, commons: &Commons) -> usize {
        let is_it = self.framing == Framing::Binary;
        commons.begun::<Line>().filter(|_| is_it).map_or(0, Line::held_bytes)
    }

    fn drained(&self, shard: &mut Shard, caller: Caller) {
        documents::collect_next(shard, caller);
    }

    fn change(&self, change: shard::Change<'_>, session: &Session, out: &mut Vec<u8>) {
        let client = Conversation::begun(session).and_then(|known| known.clock_name.as_ref());
        Changes { framing: self.framing, document: change.map, client }.write(out, change.entries());
    }

    fn change_for_all(&self, change: shard::Change<'_>, out: &mut Frames) {
        let changes = Changes { framing: self.framing, document: change.map, client: None };
        changes.write_for_all(out, change.entries());
    }

    fn personalize(&self, frames: &Frames, session: &Session, out: &mut Personal<'_>) -> bool {
        let name = Conversation::begun(session).and_then(|known| known.clock_name.as_ref());
        let (Some(name), Some(hole)) = (name, frames.hole) else { return false };
        changes::personalize(self.framing, frames, hole, name, out);
        true
    }

    fn member(&self, change: MemberChange<'_>, out: &mut Vec<u8>) {
        awareness::write_one(out, self.framing, change);
    }

    fn published(&self, message: Published<'_>, out: &mut Vec<u8>) {
        if [SYNCKIT, SYNCKIT_TEXT].contains(&message.from) {
            relay::write(out, self.framing, message.now.unix_ms, message.map, message.body);
        }
    }

    /// Whoever writes a field gets it back, with the server's clock, and whoever writes to a set hears of that in its place
    /// among what others write: they may have overtaken each other. A text is merged, so its writer lacks nothing.
    fn echoes(&self, own: &Entry<'_>) -> bool {
        keys::Key::of(own.key) != keys::Key::Text
    }

    /// Twice of what is accepted, so that a message that is a little too large is refused in words.
    fn message_bytes_max(&self, config: &Config) -> usize {
        2 * requests::message_bytes_max(config)
    }

    fn health(&self, health: Health) -> Option<String> {
        Some(health::body(health))
    }

    fn close(&self, close: Close) -> Close {
        let said = |code, reason| Close::Said { code, reason };
        match close {
            Close::GoingAway { .. } => said(1001, "Server shutdown"),
            Close::TryAgainLater { .. } => said(1008, "Server at maximum capacity"),
            Close::TooManyOfUser { .. } => said(1008, "Too many connections of this user"),
            Close::TooManyOfAddress { .. } => said(1008, "Too many connections from your IP"),
            Close::HeartbeatTimeout => said(1008, "Heartbeat timeout"),
            Close::TooBig => said(1009, "Message too large"),
            Close::AuthRequired => said(1008, "Authentication required"),
            Close::AuthFailed => said(1008, "Authentication failed"),
            Close::PermissionDenied | Close::Denied => said(1008, "Permission denied"),
            close => close,
        }
    }
}

impl SyncKit {
    fn acked(
        &self,
        conversation: &mut Conversation,
        ticket: &Ticket,
        ack: Ack<'_>,
        now: Now,
        out: &mut Vec<u8>,
    ) {
        let Some((kind, reference, document)) = write_of(ticket) else { return };
        let rejected = ack.rejected().next().map(|(_, reject)| reject);
        if let Some(reject) = rejected.or(ack.timeout.then_some(Reject::Timeout)) {
            // Without an ack, which has no words for less than what was asked for, so that the client tries again or tells
            // its user.
            let (what, reason) = (requests::what_failed(kind), Reason::of(reject));
            let refusal = match reject {
                Reject::Forbidden => Refusal::PermissionDenied { document },
                _ => Refusal::Failed { what, document, reason },
            };
            return replies::write_refusal(conversation, self.framing, refusal, now, out);
        }
        let id = conversation.next_id(now.unix_ms);
        write_message(out, self.framing, Code::Ack, id, |fields| fields.json("messageId", reference));
    }

    fn rejected(
        &self,
        conversation: &mut Conversation,
        ticket: &Ticket,
        reject: Reject,
        now: Now,
        out: &mut Vec<u8>,
    ) {
        let Some((&kind, rest)) = ticket.as_bytes().split_first() else { return };
        let document = std::str::from_utf8(rest).unwrap_or_default();
        let refusal = match kind {
            identity::TICKET => {
                let id = conversation.next_id(now.unix_ms);
                return write_message(out, self.framing, Code::AuthError, id, |fields| {
                    fields.text("error", "Authentication failed");
                });
            }
            // By this dialect, which sees itself to those who wait for the state.
            documents::TICKET if reject == Reject::Cancelled => return,
            documents::TICKET => {
                return documents::failed(conversation, self.framing, document, reject, now, out);
            }
            awareness::WATCH_TICKET => Refusal::AwarenessSubscribe(Reason::of(reject)),
            awareness::UPDATE_TICKET => {
                if let Some(step) = Step::of(rest) {
                    conversation.shown.take_back(step);
                }
                Refusal::AwarenessUpdate(Reason::of(reject))
            }
            // Writes are acked or not, one by one.
            _ => return,
        };
        replies::write_refusal(conversation, self.framing, refusal, now, out);
    }
}

/// The kind of a write, what its ack names, and its document.
fn write_of(ticket: &Ticket) -> Option<(u8, &[u8], &str)> {
    let (&kind, rest) = ticket.as_bytes().split_first()?;
    let end = rest.iter().position(|&byte| byte == requests::TICKET_SEPARATOR)?;
    let (reference, document) = (&rest[..end], &rest[end + 1..]);
    Some((kind, reference, std::str::from_utf8(document).unwrap_or_default()))
}

//! Awareness: who is there, and where. A document's awareness is a room of the same name, each client a member.

use super::conversation::Conversation;
use super::frame::{Code, Framing, MessageId, write_message};
use super::message::{Fields, text, whole};
use super::refusal::{Reason, Refusal};
use crate::mesh::{Member, Members};
use crate::shard::Caller;
use crate::shard::{MemberChange, SetPresence, Shard};
use crate::wire::Ticket;
use crate::wire::json::{write_integer, write_string};

/// Tickets of a watch that was asked for, of one that was not, and of an update.
pub const WATCH_TICKET: u8 = b'w';
pub const IMPLIED_TICKET: u8 = b'i';
pub const UPDATE_TICKET: u8 = b'u';

const NOBODY: Refusal<'_> = Refusal::AwarenessUpdate(Reason::invalid("the clientId is missing"));

/// Sends who is there, and from then on whatever changes.
pub fn subscribe(shard: &mut Shard, caller: Caller, document: &str) {
    shard.watch_presence(caller, Some(Ticket::new(&[&[WATCH_TICKET]])), document);
}

/// The same for who subscribes to the document or says where it is, unless it has that already: the SDK asks once, and not
/// again after it has reconnected. Nothing is sent until somebody is there.
pub fn imply(shard: &mut Shard, caller: Caller, document: &str) {
    if !shard.watches_presence(caller, document) {
        shard.watch_presence(caller, Some(Ticket::new(&[&[IMPLIED_TICKET]])), document);
    }
}

/// Tells the others where a client is; a `state` of null, or none, that it has left.
///
/// # Errors
/// [`Refusal::AwarenessUpdate`] if nobody is named, or the connection has no room for more.
pub fn update<'a>(
    shard: &mut Shard,
    caller: Caller,
    document: &'a str,
    fields: &Fields<'a>,
) -> Result<(), Refusal<'a>> {
    let member = fields.client.and_then(text).ok_or(NOBODY)?;
    if let Some(session) = shard.session(caller) {
        Conversation::of(session).meet(member);
    }
    let clock = fields.clock.and_then(whole).unwrap_or(0);
    let mut state = Vec::new();
    if let Some(sent) = fields.state {
        fields.json(sent).write_canonical(&mut state);
    }
    let state = Some(&*state).filter(|state| !state.is_empty() && *state != b"null");
    let bytes_max = shard.config().synckit_awareness_bytes_max;
    let Some(session) = shard.session(caller) else { return Ok(()) };
    let step = Conversation::of(session).shown.take(document, member, state, bytes_max);
    let ticket = step.map_err(Refusal::AwarenessUpdate)?.ticket(UPDATE_TICKET);
    imply(shard, caller, document);
    shard.set_presence(caller, Some(ticket), SetPresence { room: document, member, state, clock });
    Ok(())
}

/// Appends the answer to a subscribe: everybody who is there.
pub fn write_all(out: &mut Vec<u8>, framing: Framing, id: MessageId, document: &str, members: Members<'_>) {
    write_message(out, framing, Code::AwarenessState, id, |fields| {
        fields.text("documentId", document);
        let out = fields.begin("states");
        out.push(b'[');
        for Member { name, state, clock } in members {
            if out.last() != Some(&b'[') {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"clientId\":");
            write_string(out, name);
            out.extend_from_slice(b",\"state\":");
            out.extend_from_slice(state);
            out.extend_from_slice(b",\"clock\":");
            write_integer(out, clock);
            out.push(b'}');
        }
        out.push(b']');
    });
}

/// Appends what became of one client.
pub fn write_one(out: &mut Vec<u8>, framing: Framing, change: MemberChange<'_>) {
    let serial = xxhash_rust::xxh3::xxh3_64_with_seed(change.member.as_bytes(), change.clock);
    let id = MessageId { unix_ms: change.now.unix_ms, serial };
    write_message(out, framing, Code::AwarenessUpdate, id, |fields| {
        fields.text("documentId", change.room);
        fields.text("clientId", change.member);
        fields.json("state", change.state.unwrap_or(b"null"));
        write_integer(fields.begin("clock"), change.clock);
    });
}

//! Documents: who is subscribed, and the whole state on request.
//!
//! A document is a map. Its state is asked for with `subscribe`, as the SDK does, or with `sync_request`; both subscribe. The
//! shard sends it in chunks, the dialect in one message, so chunks are collected until the last has come. Several requests
//! for one document that wait at the same time get the same answer.

use super::changes::Changes;
use super::conversation::Conversation;
use super::frame::Framing;
use super::refusal::Refusal;
use super::state;
use crate::crdt::Time;
use crate::mesh::{ConnectionId, Entries, Entry, EntryPacker, EntryState};
use crate::shard::{From, Now, Shard, SnapshotEnd, Subscribe};
use crate::wire::Ticket;

/// One document of a connection.
#[derive(Default)]
pub struct Document {
    stage: Stage,
    /// Requests for its state that have not been answered.
    pub(super) waiting: Vec<StateRequest>,
    /// [`Entries`] of its state, as far as they have come.
    pub(super) state: Vec<u8>,
    /// Bytes that its state, and all that is answered with it at one time, may have.
    pub(super) room: usize,
    /// When its state was last asked for.
    pub(super) asked: Time,
    /// Whether the client may know of fields that were removed since then: from an earlier subscription, or because it has
    /// written them itself. The state has no word of them.
    pub(super) knows_more: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The whole state is on its way.
    #[default]
    Collecting,
    /// The whole state is on its way, and of no use, as there is no room for it.
    Ignoring,
    /// The connection has written without having asked for anything; changes are told as they come.
    Recent,
    Live,
}

/// A request for the state of a document.
pub struct StateRequest {
    /// Its `id` as JSON, if it had one.
    pub id: Option<Ticket>,
    /// Whether the fields are sent one by one as well: the SDK reads them from nothing else. What names its requests reads
    /// the answer.
    pub wants_fields: bool,
    /// What is said when it fails.
    pub failure: &'static str,
}

/// Requests of one connection for one document that wait at the same time: each is answered with the whole state.
const REQUESTS_MAX: usize = 16;

/// The ticket of a subscription.
pub const TICKET: u8 = b's';

/// Subscribes to the document and answers with its state.
///
/// # Errors
/// [`Refusal::Failed`] if too many requests for it wait already.
pub fn ask<'a>(
    shard: &mut Shard,
    id: ConnectionId,
    document: &'a str,
    request: StateRequest,
) -> Result<(), Refusal<'a>> {
    // A state is asked for on behalf of a peer that has less than the soft limit waiting.
    let room = shard.config().outbox_hard_bytes - shard.config().outbox_soft_bytes;
    // No shard's clock is behind, so whatever is removed from now on has a later stamp.
    let asked = Time::new(shard.now().unix_ms, 0);
    let Some(session) = shard.session(id) else { return Ok(()) };
    let documents = &mut Conversation::of(session).documents;
    let knows_more = documents.contains_key(document);
    let entry = documents.entry_ref(document).or_default();
    if entry.waiting.len() == REQUESTS_MAX {
        return Err(Refusal::Failed { what: request.failure, document });
    }
    entry.waiting.push(request);
    if entry.stage == Stage::Collecting && entry.waiting.len() > 1 {
        return Ok(());
    }
    (entry.stage, entry.state, entry.room) = (Stage::Collecting, Vec::new(), room);
    (entry.asked, entry.knows_more) = (asked, knows_more);
    subscribe(shard, id, document, From::Everything);
    Ok(())
}

/// Subscribes who writes, so that what it writes comes back to it.
pub fn join(shard: &mut Shard, id: ConnectionId, document: &str) {
    let Some(session) = shard.session(id) else { return };
    let documents = &mut Conversation::of(session).documents;
    if let Some(known) = documents.get_mut(document) {
        known.knows_more |= known.stage == Stage::Collecting;
        return;
    }
    documents.insert(document.to_owned(), Document { stage: Stage::Recent, ..Document::default() });
    subscribe(shard, id, document, From::Recent);
}

fn subscribe(shard: &mut Shard, id: ConnectionId, map: &str, from: From) {
    let ticket = Ticket::new(&[&[TICKET], map.as_bytes()]);
    shard.subscribe(id, Some(ticket), Subscribe { map, from, filter: None, echo: true });
}

pub fn leave(shard: &mut Shard, id: ConnectionId, document: &str) {
    if let Some(session) = shard.session(id)
        && Conversation::of(session).documents.remove(document).is_some()
    {
        shard.unsubscribe(id, document);
    }
}

/// The document could not be subscribed to: who waits for it is told.
pub fn failed(conversation: &mut Conversation, framing: Framing, name: &str, now: Now, out: &mut Vec<u8>) {
    let waiting = conversation.documents.remove(name).map(|document| document.waiting);
    for request in waiting.iter().flatten() {
        state::refuse(conversation, framing, name, request, now, out);
    }
}

/// A chunk of the state has come.
pub fn collected(
    conversation: &mut Conversation,
    framing: Framing,
    name: &str,
    entries: Entries<'_>,
    end: SnapshotEnd,
    now: Now,
    out: &mut Vec<u8>,
) {
    let is_last = end != SnapshotEnd::More;
    let Some(document) = conversation.documents.get_mut(name) else { return };
    match document.stage {
        Stage::Collecting => document.collect(entries),
        Stage::Recent | Stage::Live => {
            let client = conversation.client.as_deref();
            Changes { framing, document: name, client }.write(out, entries);
        }
        Stage::Ignoring => {}
    }
    if document.stage == Stage::Collecting && (is_last || document.state.len() > document.room) {
        let whole = Document { stage: Stage::Ignoring, ..Document::default() };
        let whole = std::mem::replace(document, whole);
        state::answer_all(conversation, framing, name, &whole, now, out);
    }
    if is_last && let Some(document) = conversation.documents.get_mut(name) {
        document.stage = Stage::Live;
    }
}

impl Document {
    fn collect(&mut self, entries: Entries<'_>) {
        let mut packer = EntryPacker(&mut self.state);
        for Entry { key, state } in entries {
            if let EntryState::Value { at, value } = state {
                packer.value(key, &at, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{Node, Stamp};
    use crate::dialect::synckit::frame::clock_number;
    use crate::wire::Cursor;

    const ASKED: Time = Time::new(50, 0);

    /// What a client that names no request is told of a document with these keys: when each was changed, and its value.
    fn told(knows_more: bool, keys: &[(&str, Time, Option<&str>)]) -> String {
        let mut conversation = Conversation::default();
        let waiting = vec![StateRequest { id: None, wants_fields: true, failure: "" }];
        let document =
            Document { waiting, room: usize::MAX, asked: ASKED, knows_more, ..Document::default() };
        conversation.documents.insert("d".to_owned(), document);
        let mut packed = Vec::new();
        for &(key, time, value) in keys {
            let at = Stamp { time, node: Node::new(b"n").unwrap() };
            EntryPacker(&mut packed).value(key, &at, value.map(str::as_bytes));
        }
        let cursor = Cursor { epoch: 1, time: Time::ZERO };
        let end = SnapshotEnd::Last { cursor, resumed: false, reset: false };
        let mut out = Vec::new();
        let (now, entries) = (Now { unix_ms: 60, monotonic_us: 0 }, Entries::new(&packed));
        collected(&mut conversation, Framing::Text, "d", entries, end, now, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_state_has_the_clock_of_its_oldest_field() {
        let told = told(false, &[("old", Time::new(10, 3), Some("1")), ("new", Time::new(40, 0), Some("2"))]);
        let oldest = clock_number(Time::new(10, 3));
        let state = format!(r#""state":{{"old":1,"new":2}},"deltas":[],"clock":{{"server":{oldest}}}"#);
        assert!(told.contains(&state), "a later change with a clock between them must win: {told}");
    }

    #[test]
    fn removals_since_the_state_was_asked_for_are_told_to_who_knows_the_field() {
        let keys = [("before", Time::new(49, 9), None), ("since", ASKED, None)];
        let told_again = told(true, &keys);
        assert!(told_again.contains(r#""state":{}"#), "{told_again}");
        assert!(told_again.contains(r#""field":"since","value":{"__deleted":true}"#), "{told_again}");
        assert!(!told_again.contains("before"), "{told_again}");
        let told_first = told(false, &keys);
        assert!(!told_first.contains("__deleted"), "{told_first}");
    }
}

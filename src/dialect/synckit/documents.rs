//! Documents: who is subscribed, and the whole state on request.
//!
//! A document is a map. Its state is asked for with `subscribe`, as the SDK does, or with `sync_request`; both subscribe. The
//! shard sends it in chunks, the dialect in one message, so chunks are collected until the last has come. Several requests
//! for one document that wait at the same time get the same answer.

use hashbrown::HashMap;

use super::changes::{Changes, batch};
use super::conversation::Conversation;
use super::frame::{Code, Framing, write_message};
use super::keys::Key;
use super::text;
use crate::crdt::Time;
use crate::mesh::{ConnectionId, Entries, Entry, EntryPacker, EntryState};
use crate::shard::{From, Now, Shard, SnapshotEnd, Subscribe};
use crate::wire::Ticket;
use crate::wire::json::write_string;

/// One document of a connection.
#[derive(Default)]
pub struct Document {
    stage: Stage,
    /// Requests for its state that have not been answered.
    waiting: Vec<StateRequest>,
    /// [`Entries`] of its state, as far as they have come.
    state: Vec<u8>,
    /// When its state was last asked for.
    asked: Time,
    /// Whether the client may know of fields that were removed since then: from an earlier subscription, or because it has
    /// written them itself. The state has no word of them.
    knows_more: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The whole state is on its way.
    #[default]
    Collecting,
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
}

/// The ticket of a subscription.
pub const TICKET: u8 = b's';

/// Subscribes to the document and answers with its state.
pub fn ask(shard: &mut Shard, id: ConnectionId, document: &str, request: StateRequest) {
    // No shard's clock is behind, so whatever is removed from now on has a later stamp.
    let asked = Time::new(shard.now().unix_ms, 0);
    let Some(session) = shard.session(id) else { return };
    let documents = &mut Conversation::of(session).documents;
    let is_new = !documents.contains_key(document);
    let entry = documents.entry_ref(document).or_default();
    entry.waiting.push(request);
    if entry.stage == Stage::Collecting && entry.waiting.len() > 1 {
        return;
    }
    entry.stage = Stage::Collecting;
    entry.state = Vec::new();
    entry.asked = asked;
    entry.knows_more = !is_new;
    subscribe(shard, id, document, From::Everything);
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

/// The document could not be subscribed to: nobody waits for it any longer. How many did.
pub fn failed(conversation: &mut Conversation, document: &str) -> usize {
    conversation.documents.remove(document).map_or(0, |document| document.waiting.len())
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
    if document.stage != Stage::Collecting {
        Changes { framing, document: name, client: None }.write(out, entries);
        if is_last {
            document.stage = Stage::Live;
        }
        return;
    }
    let mut packer = EntryPacker(&mut document.state);
    for Entry { key, state } in entries {
        if let EntryState::Value { at, value } = state {
            packer.value(key, &at, value);
        }
    }
    if is_last {
        document.stage = Stage::Live;
        let waiting = std::mem::take(&mut document.waiting);
        let (asked, knows_more) = (document.asked, document.knows_more);
        let state = std::mem::take(&mut document.state);
        let state = State::of(&state);
        for request in &waiting {
            answer(conversation, framing, name, request, &state, now, out);
        }
        if waiting.iter().any(|request| request.wants_fields) {
            let changes = Changes { framing, document: name, client: conversation.client.as_deref() };
            changes.write(out, state.fields.iter().copied());
            let is_news = |entry: &Entry<'_>| knows_more && time_of(entry) >= asked;
            changes.write(out, state.removed.iter().copied().filter(is_news));
        }
        state.write_rest(conversation, framing, name, now, out);
    }
}

/// What a document holds, each key once.
#[derive(Default)]
struct State<'a> {
    fields: Vec<Entry<'a>>,
    /// The operations that brought the texts, newest first.
    texts: Vec<(Time, &'a [u8])>,
    elements: Vec<Entry<'a>>,
    /// Fields and elements that are no longer there.
    removed: Vec<Entry<'a>>,
    /// The oldest change among the fields.
    oldest: Option<Time>,
}

impl<'a> State<'a> {
    /// Of packed entries, the last of each key.
    fn of(packed: &'a [u8]) -> Self {
        let mut latest: HashMap<&str, Entry<'a>> = HashMap::new();
        for entry in Entries::new(packed) {
            latest.insert(entry.key, entry);
        }
        let mut state = Self::default();
        let mut cleared = Time::ZERO;
        for entry in latest.into_values() {
            let EntryState::Value { at, value } = entry.state else { continue };
            let Some(value) = value else {
                state.removed.push(entry);
                continue;
            };
            match Key::of(entry.key) {
                Key::Field(_) => {
                    state.oldest = Some(state.oldest.map_or(at.time, |oldest| oldest.min(at.time)));
                    state.fields.push(entry);
                }
                Key::Text => state.texts.push((at.time, value)),
                Key::Element(_) => state.elements.push(entry),
                Key::Cleared => cleared = at.time,
            }
        }
        state.elements.retain(|entry| time_of(entry) > cleared);
        // In the order in which they were written, as they would have come one by one.
        state.fields.sort_by_key(|entry| (time_of(entry), entry.key));
        state.elements.sort_by_key(|entry| (time_of(entry), entry.key));
        state.removed.sort_by_key(|entry| (time_of(entry), entry.key));
        state.texts.sort_by_key(|&text| std::cmp::Reverse(text));
        state
    }

    /// Appends texts and elements, which no answer has room for.
    fn write_rest(
        &self,
        conversation: &mut Conversation,
        framing: Framing,
        document: &str,
        now: Now,
        out: &mut Vec<u8>,
    ) {
        if !self.texts.is_empty() {
            let id = conversation.next_id(now.unix_ms);
            write_message(out, framing, Code::DeltaBatch, id, |fields| {
                batch(fields, document, true, |out| {
                    let mut separator = b"".as_slice();
                    for (_, operation) in &self.texts {
                        out.extend_from_slice(separator);
                        out.extend_from_slice(operation);
                        separator = b",";
                    }
                });
            });
        }
        Changes { framing, document, client: None }.write(out, self.elements.iter().copied());
    }
}

fn time_of(entry: &Entry<'_>) -> Time {
    match entry.state {
        EntryState::Value { at, .. } => at.time,
        EntryState::Tags { .. } | EntryState::Count(_) => Time::ZERO,
    }
}

/// Appends a `sync_response`.
fn answer(
    conversation: &mut Conversation,
    framing: Framing,
    document: &str,
    request: &StateRequest,
    state: &State<'_>,
    now: Now,
    out: &mut Vec<u8>,
) {
    let id = conversation.next_id(now.unix_ms);
    let client = conversation.client.as_deref();
    write_message(out, framing, Code::SyncResponse, id, |fields| {
        fields.json("requestId", request.id.as_ref().map_or(b"\"\"", |id| id.as_bytes()));
        fields.text("documentId", document);
        let out = fields.begin("state");
        out.push(b'{');
        for entry in &state.fields {
            if let EntryState::Value { value: Some(value), .. } = entry.state {
                if out.last() != Some(&b'{') {
                    out.push(b',');
                }
                write_string(out, entry.key);
                out.push(b':');
                out.extend_from_slice(value);
            }
        }
        out.push(b'}');
        fields.json("deltas", b"[]");
        // One clock for all fields, each of which may change with any clock above its own: the SDK ignores what is not
        // above the one it has. What is older there comes with a delta of its own.
        match state.oldest {
            Some(oldest) => fields.clock(oldest, client),
            None => fields.json("clock", b"{}"),
        }
        if let Some((time, operation)) = state.texts.first() {
            text::write_state(fields, operation, *time);
        }
    });
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
        let waiting = vec![StateRequest { id: None, wants_fields: true }];
        let document = Document { waiting, asked: ASKED, knows_more, ..Document::default() };
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

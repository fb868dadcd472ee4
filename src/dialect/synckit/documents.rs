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
use super::refusal::Refusal;
use super::text;
use crate::crdt::{Stamp, Time};
use crate::mesh::{Action, At, ConnectionId, Entries, Entry, EntryPacker, EntryState};
use crate::shard::{AckLevel, From, Now, Op, Ops, Shard, SnapshotEnd, Subscribe};
use crate::wire::json::write_string;
use crate::wire::{Reject, Ticket};

/// One document of a connection.
#[derive(Default)]
pub struct Document {
    stage: Stage,
    /// Requests for its state that have not been answered.
    waiting: Vec<StateRequest>,
    /// [`Entries`] of its state, as far as they have come.
    state: Vec<u8>,
    /// Bytes that its state, and all that is answered with it at one time, may have.
    room: usize,
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
/// Bytes around a field that is sent by itself, its names and clocks included.
const FIELD_BYTES: usize = 256;

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
    let Some(session) = shard.session(id) else { return Ok(()) };
    let entry = Conversation::of(session).documents.entry_ref(document).or_default();
    if entry.waiting.len() == REQUESTS_MAX {
        return Err(Refusal::Failed { what: request.failure, document });
    }
    entry.waiting.push(request);
    if entry.stage == Stage::Collecting && entry.waiting.len() > 1 {
        return Ok(());
    }
    (entry.stage, entry.state, entry.room) = (Stage::Collecting, Vec::new(), room);
    subscribe(shard, id, document, From::Everything);
    Ok(())
}

/// Subscribes who writes, so that what it writes comes back to it.
pub fn join(shard: &mut Shard, id: ConnectionId, document: &str) {
    let Some(session) = shard.session(id) else { return };
    let documents = &mut Conversation::of(session).documents;
    if documents.contains_key(document) {
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
        refuse(conversation, framing, name, request, now, out);
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
        answer_all(conversation, framing, name, &whole, now, out);
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

/// Answers everybody who waits for the state of `document`, as far as there is room: who is refused is still connected, and
/// who is sent more than there is room for would not be.
fn answer_all(
    conversation: &mut Conversation,
    framing: Framing,
    name: &str,
    document: &Document,
    now: Now,
    out: &mut Vec<u8>,
) {
    let state_bytes = document.state.len();
    let state = if state_bytes <= document.room { State::of(&document.state) } else { State::default() };
    let fields_bytes = state_bytes + state.fields.len() * (FIELD_BYTES + name.len());
    let (mut taken, mut sends_fields) = (state.rest_bytes(), false);
    for request in &document.waiting {
        let adds_fields = request.wants_fields && !sends_fields;
        let bytes = state_bytes + if adds_fields { fields_bytes } else { 0 };
        if taken + bytes > document.room {
            refuse(conversation, framing, name, request, now, out);
            continue;
        }
        taken += bytes;
        sends_fields |= adds_fields;
        answer(conversation, framing, name, request, &state, now, out);
    }
    if sends_fields {
        let client = conversation.client.as_deref();
        Changes { framing, document: name, client }.write(out, state.fields.iter().copied());
    }
    state.write_rest(conversation, framing, name, now, out);
    let to_forget = state.contained.iter().map(|&(key, at)| (name.to_owned(), key.to_owned(), at));
    conversation.to_forget.extend(to_forget);
}

/// Says that a request could not be answered.
fn refuse(
    conversation: &mut Conversation,
    framing: Framing,
    document: &str,
    request: &StateRequest,
    now: Now,
    out: &mut Vec<u8>,
) {
    let id = conversation.next_id(now.unix_ms);
    let refusal = Refusal::Failed { what: request.failure, document };
    write_message(out, framing, Code::Error, id, |fields| refusal.write_to(fields));
}

/// What a document holds, each key once.
#[derive(Default)]
struct State<'a> {
    fields: Vec<Entry<'a>>,
    /// The texts, newest first: none that another contains.
    texts: Vec<(&'a str, Stamp, &'a [u8])>,
    /// The texts that another contains.
    contained: Vec<(&'a str, Stamp)>,
    elements: Vec<Entry<'a>>,
    /// The latest change of a field.
    changed: Option<Time>,
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
            let EntryState::Value { at, value: Some(value) } = entry.state else { continue };
            match Key::of(entry.key) {
                Key::Field(_) => {
                    state.changed = state.changed.max(Some(at.time));
                    state.fields.push(entry);
                }
                Key::Text if text::is_operation(value) => state.texts.push((entry.key, at, value)),
                Key::Text => {}
                Key::Element(_) => state.elements.push(entry),
                Key::Cleared => cleared = at.time,
            }
        }
        state.elements.retain(|entry| time_of(entry) > cleared);
        // In the order in which they were written, as they would have come one by one.
        state.fields.sort_by_key(time_of);
        state.elements.sort_by_key(time_of);
        // Two shards may give the same stamp.
        state.texts.sort_by_key(|&(key, at, _)| (std::cmp::Reverse(at), key));
        state.drop_contained();
        state
    }

    fn drop_contained(&mut self) {
        let operations: Vec<&[u8]> = self.texts.iter().map(|&(_, _, operation)| operation).collect();
        let mut is_contained = text::contained(&operations).into_iter();
        let contained = &mut self.contained;
        self.texts.retain(|&(key, at, _)| {
            let is_contained = is_contained.next().unwrap_or(false);
            if is_contained {
                contained.push((key, at));
            }
            !is_contained
        });
    }

    /// Bytes of texts and elements.
    fn rest_bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(|(_, _, operation)| operation.len()).sum();
        texts + self.elements.iter().map(|element| element.key.len() + FIELD_BYTES).sum::<usize>()
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
                    for (_, _, operation) in &self.texts {
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

/// Deletes the texts that were found to be contained in others, exactly as they were found: one that its client has
/// written anew since then has a later stamp, which wins.
pub fn forget_contained(shard: &mut Shard, id: ConnectionId) {
    let Some(session) = shard.session(id) else { return };
    let to_forget = std::mem::take(&mut Conversation::of(session).to_forget);
    if !to_forget.is_empty() {
        shard.write(id, None, AckLevel::None, Deletions(to_forget.iter()));
    }
}

struct Deletions<'a>(std::slice::Iter<'a, (String, String, Stamp)>);

impl Ops for Deletions<'_> {
    fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.clone().map(|(document, key, _)| (document.as_str(), key.as_str()))
    }

    fn next<'a>(&'a mut self, _: &'a mut Vec<u8>) -> Option<Result<Op<'a>, Reject>> {
        let (document, key, at) = self.0.next()?;
        Some(Ok(Op { map: document, key, action: Action::Delete { at: At::Given(*at) } }))
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
        match state.changed {
            Some(changed) => fields.clock(changed, client),
            None => fields.json("clock", b"{}"),
        }
        if let Some((_, at, operation)) = state.texts.first() {
            text::write_state(fields, operation, at.time);
        }
    });
}

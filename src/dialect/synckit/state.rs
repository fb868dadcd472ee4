//! The state of a document, collected, and the answers made of it.

use hashbrown::HashMap;

use super::changes::{Changes, SetChange, SetStep, Told, batch};
use super::conversation::Conversation;
use super::document::{Document, StateRequest};
use super::frame::{Code, Framing, write_message};
use super::refusal::{Reason, Refusal};
use super::{replies, text};
use crate::crdt::{Stamp, Time};
use crate::limits::{KEY_BYTES_MAX, MAP_NAME_BYTES_MAX};
use crate::mesh::{Entries, Entry, EntryState};
use crate::shard::Now;
use crate::wire::json::write_string;

/// Bytes around a field that is sent by itself, its names and clocks included.
const FIELD_BYTES: usize = 256;

/// Removals that are told with a state, at most, of fields and of elements each: the latest. A client that was away may show
/// what was removed meanwhile; whether it was here before, it does not say, and what it never had it is told for nothing.
const REMOVED_TOLD_MAX: usize = 1_000;

/// Answers those for whom the state of `document` was collected, as far as there is room. Who has none alone is refused: who
/// is refused is still connected, and who is sent more than there is room for would not be. Others wait for the next state.
pub fn answer_all(
    conversation: &mut Conversation,
    framing: Framing,
    name: &str,
    document: &mut Document,
    now: Now,
    out: &mut Vec<u8>,
) {
    let state_bytes = document.state.len();
    let is_too_large = document.is_too_large();
    let state = if is_too_large { State::default() } else { State::of(&document.state) };
    let fields_bytes = state_bytes + state.fields.len() * (FIELD_BYTES + name.len());
    let (mut taken, mut sends_fields, mut is_answered) = (state.rest_bytes(), false, false);
    for _ in 0..document.answering {
        let Some(request) = document.waiting.pop_front() else { break };
        let adds_fields = request.wants_fields && !sends_fields;
        let bytes = state_bytes + if adds_fields { fields_bytes } else { 0 };
        let has_room = !is_too_large && taken + bytes <= document.room;
        if !has_room && is_answered && !is_too_large {
            document.waiting.push_front(request);
            break;
        }
        conversation.waiting_bytes -= request.bytes();
        if !has_room {
            let reason = Reason::too_large("the state of the document has no room", document.room);
            let reason = reason.flag("--outbox-hard-bytes");
            let refusal = Refusal::Failed { what: request.failure, document: name, reason };
            replies::write_refusal(conversation, framing, refusal, now, out);
            continue;
        }
        taken += bytes;
        is_answered = true;
        sends_fields |= adds_fields;
        answer(conversation, framing, name, &request, &state, now, out);
    }
    if sends_fields {
        let changes = Changes { framing, document: name, client: conversation.clock_name.as_ref() };
        changes.write(out, state.fields.iter().copied());
        let is_news = |entry: &Entry<'_>| document.knows_more && time_of(entry) >= document.told;
        let older = state.removed_fields.len().saturating_sub(removed_max(document.room - taken));
        let told = state.removed_fields.iter().enumerate();
        let told = told.filter(|&(place, entry)| place >= older || is_news(entry));
        changes.write(out, told.map(|(_, entry)| *entry));
    }
    if is_answered {
        state.write_rest(conversation, framing, name, removed_max(document.room - taken), now, out);
    }
    let to_forget = state.of_no_use.iter().map(|&(key, at)| (name.to_owned(), key.to_owned(), at));
    conversation.to_forget.extend(to_forget);
}

/// Removals that are told where `room` bytes are left: each is a key, of which only the latest are, and what is around it.
fn removed_max(room: usize) -> usize {
    REMOVED_TOLD_MAX.min(room / (2 * (FIELD_BYTES + MAP_NAME_BYTES_MAX + KEY_BYTES_MAX)))
}

/// What a document holds, each key once.
#[derive(Default)]
struct State<'a> {
    fields: Vec<Entry<'a>>,
    /// The texts, newest first: none that another contains.
    texts: Vec<(&'a str, Stamp, &'a [u8])>,
    /// Texts that another contains, and elements that were cleared.
    of_no_use: Vec<(&'a str, Stamp)>,
    /// Elements of a set.
    elements: Vec<SetStep<'a>>,
    /// Elements and fields that are no longer there, oldest change first.
    removed_elements: Vec<SetStep<'a>>,
    removed_fields: Vec<Entry<'a>>,
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
            match Told::of(entry) {
                Some(Told::Field { at, is_deleted: false, .. }) => {
                    state.oldest = Some(state.oldest.map_or(at.time, |oldest| oldest.min(at.time)));
                    state.fields.push(entry);
                }
                Some(Told::Field { .. }) => state.removed_fields.push(entry),
                Some(Told::Text { key, at, operation }) => state.texts.push((key, at, operation)),
                Some(Told::Set(step)) => match step.change {
                    SetChange::Add(_) => state.elements.push(step),
                    SetChange::Remove(_) => state.removed_elements.push(step),
                    SetChange::Clear => cleared = step.at.time,
                },
                None => {}
            }
        }
        // In the order in which they were written, as they would have come one by one.
        let by_time = |step: &SetStep<'a>| (step.at, step.key);
        state.elements.sort_by_key(by_time);
        let (of_no_use, removed) = (&mut state.of_no_use, &mut state.removed_elements);
        state.elements.retain(|step| {
            let is_there = step.at.time > cleared;
            if let (SetChange::Add(element), false) = (step.change, is_there) {
                of_no_use.push((step.key, step.at));
                removed.push(SetStep { change: SetChange::Remove(element), ..*step });
            }
            is_there
        });
        state.removed_elements.sort_by_key(by_time);
        state.fields.sort_by_key(|entry| (time_of(entry), entry.key));
        state.removed_fields.sort_by_key(|entry| (time_of(entry), entry.key));
        // Two shards may give the same stamp.
        state.texts.sort_by_key(|&(key, at, _)| (std::cmp::Reverse(at), key));
        state.drop_contained();
        state
    }

    fn drop_contained(&mut self) {
        let operations: Vec<&[u8]> = self.texts.iter().map(|&(_, _, operation)| operation).collect();
        let mut is_contained = text::contained(&operations).into_iter();
        let of_no_use = &mut self.of_no_use;
        self.texts.retain(|&(key, at, _)| {
            let is_contained = is_contained.next().unwrap_or(false);
            if is_contained {
                of_no_use.push((key, at));
            }
            !is_contained
        });
    }

    /// Bytes of texts and elements.
    fn rest_bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(|(_, _, operation)| operation.len()).sum();
        texts + self.elements.iter().map(|step| step.key.len() + FIELD_BYTES).sum::<usize>()
    }

    /// Appends texts, the latest elements that were removed, up to `removed_max`, and elements, which no answer has room for.
    fn write_rest(
        &self,
        conversation: &mut Conversation,
        framing: Framing,
        document: &str,
        removed_max: usize,
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
                        text::write_operation(out, operation);
                        separator = b",";
                    }
                });
            });
        }
        let older = self.removed_elements.len().saturating_sub(removed_max);
        let steps = self.removed_elements[older..].iter().chain(&self.elements).copied();
        Changes { framing, document, client: None }.write_set(out, steps);
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
    let client = conversation.clock_name.as_ref();
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
        if let Some((_, at, operation)) = state.texts.first() {
            text::write_state(fields, operation, at.time);
        }
    });
}

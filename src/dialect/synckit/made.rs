//! The state of a document, as bytes that all who are sent this version share: everything but the names of requests and of
//! readers.
//!
//! ```text
//! object   text          fields    removed fields   removed elements   rest
//! {…}      ,"textState"  deltas    the latest, oldest first            texts, elements
//! ```

use std::ops::Range;

use super::changes::{self, Changes};
use super::document::StateRequest;
use super::frame::{ClockName, Code, Fields, Framing, MessageId, begin_object, write_started};
use super::state::State;
use super::text;
use crate::crdt::{Stamp, Time};
use crate::mesh::{Entry, EntryState};
use crate::shard::{Frames, Parts, SharedFrames};
use crate::wire::json::write_string;

/// Removals that are told with a state, at most, of fields and of elements each: the latest. A client that was away may show
/// what was removed meanwhile; whether it was here before, it does not say, and what it never had it is told for nothing.
const REMOVED_TOLD_MAX: usize = 1_000;

/// See the module.
pub struct MadeState {
    framing: Framing,
    frames: SharedFrames,
    object: Range<usize>,
    text: Range<usize>,
    fields: Range<usize>,
    /// Where each of them begins, and the last ends.
    removed_fields: Vec<usize>,
    /// The newest of them, which is told to each with its name in the clock: it may be newer than all fields.
    newest_removed: Option<(String, Stamp)>,
    removed_elements: Vec<usize>,
    rest: Range<usize>,
    /// The oldest change among the fields.
    oldest: Option<Time>,
    /// The newest among the removed fields that are not told.
    pub removed_before: Option<Time>,
}

impl MadeState {
    pub fn of(state: &State<'_>, framing: Framing, document: &str) -> Self {
        let mut frames = Frames::default();
        let changes = Changes { framing, document, client: None };
        let object = appended(&mut frames, |frames| write_object(&mut frames.bytes, &state.fields));
        let text = appended(&mut frames, |frames| {
            if let Some((_, at, operation)) = state.texts.first() {
                text::write_state(&mut Fields::of(&mut frames.bytes), operation, at.time);
            }
        });
        let fields = appended(&mut frames, |frames| {
            changes.write_for_all(frames, state.fields.iter().copied());
        });
        let untold = state.removed_fields.len().saturating_sub(REMOVED_TOLD_MAX);
        let mut removed_fields = vec![frames.bytes.len()];
        for entry in &state.removed_fields[untold..] {
            changes.write(&mut frames.bytes, std::iter::once(*entry));
            removed_fields.push(frames.bytes.len());
        }
        let newest_removed = state.removed_fields.last().and_then(|entry| match entry.state {
            EntryState::Value { at, .. } => Some((entry.key.to_owned(), at)),
            EntryState::Tags { .. } | EntryState::Count(_) => None,
        });
        let mut removed_elements = vec![frames.bytes.len()];
        let older = state.removed_elements.len().saturating_sub(REMOVED_TOLD_MAX);
        for steps in state.removed_elements[older..].chunks(changes::SET_OPERATIONS_MAX) {
            changes.write_set(&mut frames.bytes, steps.iter().copied());
            removed_elements.push(frames.bytes.len());
        }
        let rest = appended(&mut frames, |frames| {
            for (key, at, operation) in &state.texts {
                changes.text(&mut frames.bytes, key, at, |out| text::write_operation(out, operation));
            }
            changes.write_set(&mut frames.bytes, state.elements.iter().copied());
        });
        let removed_before = untold.checked_sub(1).map(|last| time_of(&state.removed_fields[last]));
        let oldest = state.oldest;
        frames.bytes.shrink_to_fit();
        Self {
            framing,
            frames: SharedFrames::new(frames),
            object,
            text,
            fields,
            removed_fields,
            newest_removed,
            removed_elements,
            rest,
            oldest,
            removed_before,
        }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.frames.bytes.len()
    }

    /// Bytes of what goes with any answer, of an answer beside what is of its request alone, and of the fields one by one.
    pub fn rest_bytes(&self) -> usize {
        self.rest.len()
    }

    pub fn answer_bytes(&self) -> usize {
        self.object.len() + self.text.len()
    }

    pub fn fields_bytes(&self) -> usize {
        self.fields.len()
    }

    /// Appends a `sync_response`.
    pub fn answer(
        &self,
        document: &str,
        request: &StateRequest,
        client: Option<&ClockName>,
        id: MessageId,
        out: &mut Parts<'_>,
    ) {
        let mut before = Vec::new();
        let object = begin_object(&mut before, self.framing, Code::SyncResponse, id);
        let mut fields = Fields::of(&mut before);
        fields.json("requestId", request.id.as_ref().map_or(b"\"\"", |id| id.as_bytes()));
        fields.text("documentId", document);
        fields.begin("state");
        let mut between = Vec::new();
        let mut fields = Fields::of(&mut between);
        fields.json("deltas", b"[]");
        // One clock for all fields, each of which may change with any clock above its own: the SDK ignores what is not
        // above the one it has. What is older there comes with a delta of its own.
        match self.oldest {
            Some(oldest) => fields.clock(oldest, client),
            None => fields.json("clock", b"{}"),
        }
        let more = self.object.len() + between.len() + self.text.len() + b"}".len();
        out.own(|out| write_started(out, self.framing, &before, object, more));
        out.shared(&self.frames, self.object.clone());
        out.own(|out| out.extend_from_slice(&between));
        out.shared(&self.frames, self.text.clone());
        out.own(|out| out.push(b'}'));
    }

    /// Appends the fields one by one, the newest with the name of who reads it.
    pub fn write_fields(&self, client: Option<&ClockName>, out: &mut Parts<'_>) {
        let Range { start, end } = self.fields;
        let (Some(client), Some(hole)) = (client, self.frames.hole) else {
            return out.shared(&self.frames, start..end);
        };
        out.shared(&self.frames, start..hole.frame);
        out.own(|out| changes::write_to_hole(self.framing, &self.frames, hole, client, out));
        out.shared(&self.frames, hole.at..end);
    }

    /// Appends the latest removals of fields that so many bytes have room for; how many it takes.
    pub fn write_removed_fields(
        &self,
        document: &str,
        client: Option<&ClockName>,
        room: usize,
        out: &mut Parts<'_>,
    ) -> usize {
        let (Some(client), Some((key, at))) = (client, &self.newest_removed) else {
            return self.write_latest(&self.removed_fields, room, out);
        };
        let (_, older) = self.removed_fields.split_last().unwrap_or((&0, &[]));
        let changes = Changes { framing: self.framing, document, client: Some(client) };
        let newest = Entry { key, state: EntryState::Value { at: *at, value: None, expires_ms: 0 } };
        let mut own = Vec::new();
        changes.write(&mut own, std::iter::once(newest));
        if own.len() > room {
            return 0;
        }
        let taken = self.write_latest(older, room - own.len(), out) + own.len();
        out.own(|out| out.extend_from_slice(&own));
        taken
    }

    /// Appends the same of elements, and then texts and elements, for which there must be room beside.
    pub fn write_rest(&self, room: usize, out: &mut Parts<'_>) {
        self.write_latest(&self.removed_elements, room, out);
        out.shared(&self.frames, self.rest.clone());
    }

    fn write_latest(&self, starts: &[usize], room: usize, out: &mut Parts<'_>) -> usize {
        let end = starts.last().copied().unwrap_or(0);
        let start = starts.iter().copied().find(|&start| end - start <= room).unwrap_or(end);
        out.shared(&self.frames, start..end);
        end - start
    }
}

fn appended(frames: &mut Frames, append: impl FnOnce(&mut Frames)) -> Range<usize> {
    let start = frames.bytes.len();
    append(frames);
    start..frames.bytes.len()
}

fn write_object(out: &mut Vec<u8>, fields: &[Entry<'_>]) {
    out.push(b'{');
    let mut separator = b"".as_slice();
    for entry in fields {
        if let EntryState::Value { value: Some(value), .. } = entry.state {
            out.extend_from_slice(separator);
            write_string(out, entry.key);
            out.push(b':');
            out.extend_from_slice(value);
            separator = b",";
        }
    }
    out.push(b'}');
}

/// When a field, which is a value, was changed.
pub fn time_of(entry: &Entry<'_>) -> Time {
    match entry.state {
        EntryState::Value { at, .. } => at.time,
        EntryState::Tags { .. } | EntryState::Count(_) => Time::ZERO,
    }
}

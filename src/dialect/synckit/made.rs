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
use crate::crdt::{Stamp, Time};
use crate::mesh::{Entries, Entry, EntryState};
use crate::shard::{Frames, Parts, SharedFrames};

/// Removals that are told with a state, at most, of fields and of elements each: the latest. A client that was away may show
/// what was removed meanwhile; whether it was here before, it does not say, and what it never had it is told for nothing.
pub const REMOVED_TOLD_MAX: usize = 1_000;

/// See the module.
pub struct MadeState {
    framing: Framing,
    frames: SharedFrames,
    pub object: Range<usize>,
    pub text: Range<usize>,
    pub fields: Range<usize>,
    /// Where each of them begins, and the last ends.
    pub removed_fields: Vec<usize>,
    /// The newest of them, which is told to each with its name in the clock: it may be newer than all fields.
    pub newest_removed: Option<(String, Stamp)>,
    pub removed_elements: Vec<usize>,
    pub rest: Range<usize>,
    /// The oldest change among the fields.
    pub oldest: Option<Time>,
    /// The removed fields that not everybody is told of, packed, oldest first, and when the newest of them was removed.
    pub older_removed: Vec<u8>,
    pub removed_before: Option<Time>,
}

impl MadeState {
    /// Of nothing yet.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            frames: SharedFrames::default(),
            object: 0..0,
            text: 0..0,
            fields: 0..0,
            removed_fields: Vec::new(),
            newest_removed: None,
            removed_elements: Vec::new(),
            rest: 0..0,
            oldest: None,
            older_removed: Vec::new(),
            removed_before: None,
        }
    }

    /// The same in these bytes.
    pub fn with(self, frames: Frames) -> Self {
        Self { frames: SharedFrames::new(frames), ..self }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.frames.bytes.len() + self.older_removed.len()
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

    /// Appends older removals of fields than everybody is told of, which who knows more of the document has not been told of: from
    /// `told` on, the latest that so many bytes have room for; how many it takes.
    pub fn write_news(
        &self,
        document: &str,
        client: Option<&ClockName>,
        (told, room): (Time, usize),
        out: &mut Parts<'_>,
    ) -> usize {
        let changes = Changes { framing: self.framing, document, client };
        let mut news = Vec::new();
        let mut starts = vec![0];
        for entry in Entries::new(&self.older_removed).filter(|entry| time_of(entry) >= told) {
            changes.write(&mut news, std::iter::once(entry));
            starts.push(news.len());
        }
        let latest = latest(&starts, room);
        out.own(|out| out.extend_from_slice(&news[latest.clone()]));
        latest.len()
    }

    /// Appends the same of elements, and then texts and elements, for which there must be room beside.
    pub fn write_rest(&self, room: usize, out: &mut Parts<'_>) {
        self.write_latest(&self.removed_elements, room, out);
        out.shared(&self.frames, self.rest.clone());
    }

    fn write_latest(&self, starts: &[usize], room: usize, out: &mut Parts<'_>) -> usize {
        let latest = latest(starts, room);
        out.shared(&self.frames, latest.clone());
        latest.len()
    }
}

/// The last of what begins at each of these places, but for the last of them, where it ends: as much as there is room for.
fn latest(starts: &[usize], room: usize) -> Range<usize> {
    let end = starts.last().copied().unwrap_or(0);
    let start = starts.iter().copied().find(|&start| end - start <= room).unwrap_or(end);
    start..end
}

/// When a field, which is a value, was changed.
fn time_of(entry: &Entry<'_>) -> Time {
    match entry.state {
        EntryState::Value { at, .. } => at.time,
        EntryState::Tags { .. } | EntryState::Count(_) | EntryState::Gone => Time::ZERO,
    }
}

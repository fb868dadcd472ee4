//! A state that is being made, piece by piece, as much in a turn as its work allows.
//!
//! Invariant: what one step does is linear in one entry, one text or fifty elements, and is counted in units of work.

use std::mem;

use super::changes::{self, Changes, SetChange, SetStep, Told};
use super::compared::Compared;
use super::frame::{Fields, Framing};
use super::made::{MadeState, REMOVED_TOLD_MAX};
use super::parts::{Parts, Place};
use super::state::{State, text_of};
use super::text::{self, Comparison};
use crate::crdt::{Stamp, Time};
use crate::mesh::{EntryPacker, EntryState};
use crate::shard::{Frames, work};
use crate::wire::json::write_string;

/// Units of a message that tells of one field, beside its bytes.
const MESSAGE: u64 = work::CELL / 4;
/// Bytes of a message that tells of one field beside the names and the value, about.
const MESSAGE_BYTES: usize = 192;

/// See the module.
pub struct Making {
    framing: Framing,
    document: String,
    state: State,
    stage: Stage,
    /// How many of those that the stage is about are done.
    done: usize,
    /// The newest change among the fields so far.
    newest: Time,
    frames: Frames,
    made: MadeState,
}

/// What comes next.
enum Stage {
    Index,
    SortOut,
    /// The texts of this name are compared.
    Compare(u64, Box<Comparison>),
    Object,
    Text,
    Fields,
    RemovedFields,
    OlderFields,
    RemovedElements,
    Texts,
    Elements,
    Done,
}

impl Making {
    pub fn new(framing: Framing, document: &str, parts: Parts) -> Self {
        Self {
            framing,
            document: document.to_owned(),
            state: State::of(parts),
            stage: Stage::Index,
            done: 0,
            newest: Time::ZERO,
            frames: Frames::default(),
            made: MadeState::new(framing),
        }
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.state.bytes() + self.frames.bytes.len() + self.made.bytes()
    }

    /// Goes on for about so many units; how many it took.
    pub fn go_on(&mut self, compared: &mut Compared, units: u64) -> u64 {
        let mut spent = 0;
        while spent < units && !self.is_done() {
            spent += self.step(compared);
        }
        spent
    }

    pub const fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// What was made, and what was found to be of no use.
    pub fn finish(self) -> (MadeState, Vec<(String, Stamp)>) {
        let Self { state, frames, mut made, .. } = self;
        made.oldest = state.oldest;
        (made.with(frames), state.of_no_use)
    }

    fn step(&mut self, compared: &mut Compared) -> u64 {
        match self.stage {
            Stage::Index => match self.state.index_next() {
                Some(units) => units,
                None => self.begin(Stage::SortOut),
            },
            Stage::SortOut => match self.state.sort_out_next() {
                Some(units) => units,
                None => self.state.order_removed() + self.begin_comparing(compared),
            },
            Stage::Compare(..) => self.compare(compared),
            Stage::Object => self.write_object(),
            Stage::Text => self.write_text(),
            Stage::Fields => self.write_field(),
            Stage::OlderFields => self.pack_older(),
            Stage::RemovedFields => self.write_removed_field(),
            Stage::RemovedElements => self.write_removed_elements(),
            Stage::Texts => self.write_texts(),
            Stage::Elements => self.write_elements(),
            Stage::Done => 0,
        }
    }

    fn begin(&mut self, stage: Stage) -> u64 {
        (self.stage, self.done) = (stage, 0);
        0
    }

    fn begin_comparing(&mut self, compared: &mut Compared) -> u64 {
        let texts = self.state.texts.iter().filter_map(|packed| text_of(packed));
        let names: Vec<(&str, Stamp)> = texts.map(|(key, at, _)| (key, at)).collect();
        if names.len() < 2 {
            return self.begin_object();
        }
        let name = compared.name((&*self.document, names));
        match compared.get(name) {
            Some(contained) => self.compared(contained),
            None => self.begin(Stage::Compare(name, Box::default())),
        }
    }

    fn compare(&mut self, compared: &mut Compared) -> u64 {
        let Stage::Compare(name, comparison) = &mut self.stage else { return 0 };
        if let Some((.., operation)) = self.state.texts.get(self.done).and_then(|packed| text_of(packed)) {
            self.done += 1;
            // It is read, and then what is in it.
            return comparison.take(operation) + 2 * work::decoded(operation.len());
        }
        let contained = comparison.contained();
        compared.insert(*name, contained);
        self.compared(contained)
    }

    fn compared(&mut self, contained: u32) -> u64 {
        self.state.take_out_texts(contained);
        self.begin_object()
    }

    fn begin_object(&mut self) -> u64 {
        let State { fields, fields_bytes, .. } = &self.state;
        // What makes up most of it, so that it does not move as it grows.
        let around = MESSAGE_BYTES + self.document.len();
        self.frames.bytes.reserve_exact(2 * fields_bytes + (fields.len() + 1) * around);
        self.frames.bytes.push(b'{');
        self.begin(Stage::Object)
    }

    fn write_object(&mut self) -> u64 {
        let out = &mut self.frames.bytes;
        let Some(&place) = self.state.fields.get(self.done) else {
            out.push(b'}');
            self.made.object = 0..out.len();
            return self.begin(Stage::Text);
        };
        let entry = self.state.entry(place);
        let EntryState::Value { value: Some(value), .. } = entry.state else { return self.pass() };
        if self.done > 0 {
            out.push(b',');
        }
        write_string(out, entry.key);
        out.push(b':');
        out.extend_from_slice(value);
        self.done += 1;
        1 + work::encoded(entry.key.len() + value.len())
    }

    fn pass(&mut self) -> u64 {
        self.done += 1;
        1
    }

    /// The newest text.
    fn write_text(&mut self) -> u64 {
        let start = self.frames.bytes.len();
        let mut units = 0;
        if let Some((_, at, operation)) = self.state.texts.first().and_then(|packed| text_of(packed)) {
            text::write_state(&mut Fields::of(&mut self.frames.bytes), operation, at.time);
            units = work::decoded(operation.len()) + work::encoded(operation.len());
        }
        let end = self.frames.bytes.len();
        self.made.text = start..end;
        self.made.fields = end..end;
        units + self.begin(Stage::Fields)
    }

    fn write_field(&mut self) -> u64 {
        let Some(&place) = self.state.fields.get(self.done) else {
            self.made.removed_fields.push(self.frames.bytes.len());
            return self.begin(Stage::OlderFields);
        };
        let changes = Changes { framing: self.framing, document: &self.document, client: None };
        let entry = self.state.entry(place);
        changes.write_next_for_all(&mut self.frames, &mut self.newest, std::iter::once(entry));
        let from = mem::replace(&mut self.made.fields.end, self.frames.bytes.len());
        self.done += 1;
        MESSAGE + work::encoded(self.frames.bytes.len() - from)
    }

    /// Removals of fields that not everybody is told of are kept as they are.
    fn pack_older(&mut self) -> u64 {
        let older = self.state.removed_fields.len().saturating_sub(REMOVED_TOLD_MAX);
        let Some(&(time, place)) = self.state.removed_fields.get(self.done).filter(|_| self.done < older)
        else {
            self.stage = Stage::RemovedFields;
            return 0;
        };
        let entry = self.state.entry(place);
        if let EntryState::Value { at, .. } = entry.state {
            EntryPacker(&mut self.made.older_removed).value(entry.key, &at, None);
        }
        self.made.removed_before = Some(time);
        self.done += 1;
        MESSAGE
    }

    fn write_removed_field(&mut self) -> u64 {
        let Some(&(_, place)) = self.state.removed_fields.get(self.done) else {
            let start = self.frames.bytes.len();
            self.made.removed_elements.push(start);
            let older = self.state.removed_elements.len().saturating_sub(REMOVED_TOLD_MAX);
            (self.stage, self.done) = (Stage::RemovedElements, older);
            return 0;
        };
        let entry = self.state.entry(place);
        let changes = Changes { framing: self.framing, document: &self.document, client: None };
        changes.write(&mut self.frames.bytes, std::iter::once(entry));
        self.made.removed_fields.push(self.frames.bytes.len());
        if let EntryState::Value { at, .. } = entry.state {
            self.made.newest_removed = Some((entry.key.to_owned(), at));
        }
        self.done += 1;
        MESSAGE + work::encoded(entry.key.len())
    }

    fn write_removed_elements(&mut self) -> u64 {
        let removed = self.state.removed_elements.get(self.done..).unwrap_or_default();
        let places = removed.iter().take(changes::SET_OPERATIONS_MAX).map(|&(_, place)| place);
        let Some(units) = write_set(self, places.collect()) else {
            let end = self.frames.bytes.len();
            self.made.rest = end..end;
            return self.begin(Stage::Texts);
        };
        self.made.removed_elements.push(self.frames.bytes.len());
        units
    }

    fn write_texts(&mut self) -> u64 {
        let Some((key, at, operation)) = self.state.texts.get(self.done).and_then(|packed| text_of(packed))
        else {
            return self.begin(Stage::Elements);
        };
        let changes = Changes { framing: self.framing, document: &self.document, client: None };
        changes.text(&mut self.frames.bytes, key, &at, |out| text::write_operation(out, operation));
        self.done += 1;
        MESSAGE + work::decoded(operation.len()) + work::encoded(operation.len())
    }

    fn write_elements(&mut self) -> u64 {
        let elements = self.state.elements.get(self.done..).unwrap_or_default();
        let places = elements.iter().take(changes::SET_OPERATIONS_MAX).copied().collect();
        let units = write_set(self, places);
        self.made.rest.end = self.frames.bytes.len();
        units.unwrap_or_else(|| self.end())
    }

    /// What is kept counts by its length, and takes little more than that.
    fn end(&mut self) -> u64 {
        let bytes = &mut self.frames.bytes;
        let moves = bytes.capacity() > bytes.len() + bytes.len() / 8;
        if moves {
            bytes.shrink_to_fit();
        }
        let units = if moves { work::copied(bytes.len()) } else { 0 };
        units + self.begin(Stage::Done)
    }
}

/// Appends one message of these elements, which are gone unless they are there to the end; what that costs, and `None` if
/// there are none.
fn write_set(making: &mut Making, places: Vec<Place>) -> Option<u64> {
    if places.is_empty() {
        return None;
    }
    making.done += places.len();
    let is_rest = matches!(making.stage, Stage::Elements);
    let changes = Changes { framing: making.framing, document: &making.document, client: None };
    let state = &making.state;
    let steps = places.iter().filter_map(|&place| match Told::of(state.entry(place)) {
        Some(Told::Set(SetStep { change: SetChange::Add(element), key, at })) if !is_rest => {
            Some(SetStep { change: SetChange::Remove(element), key, at })
        }
        Some(Told::Set(step)) => Some(step),
        _ => None,
    });
    let before = making.frames.bytes.len();
    changes.write_set(&mut making.frames.bytes, steps);
    Some(MESSAGE * places.len() as u64 + work::decoded(making.frames.bytes.len() - before))
}

#[cfg(test)]
mod tests;

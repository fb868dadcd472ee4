//! What the server says, checked against what was asked.

use std::collections::btree_map::Entry;

use simd_json::OwnedValue;
use simd_json::prelude::*;

use super::fields::{DELETED, Fields, SERVER};
use super::message::{ACK, DELTA, DELTA_BATCH, ERROR, PONG, SUBSCRIBE, SYNC_RESPONSE, clock_of, decode};
use super::{Context, Kind, Request, SyncKit, Write, stamp_of};
use crate::replica::{Cell, Stamp};
use crate::scenario;
use crate::types::Sight;

impl SyncKit {
    /// Takes one message.
    pub fn handle(&mut self, is_text: bool, payload: Vec<u8>, context: &mut Context<'_>) {
        assert_eq!(is_text, self.is_text, "answered in the other framing");
        let (code, message) = decode(is_text, payload);
        match code {
            DELTA => self.handle_delta(&message, context),
            DELTA_BATCH => self.handle_batch(&message, map_of(&message, context)),
            SYNC_RESPONSE => self.handle_state(&message, context),
            ACK => {
                let id = message.get_str("messageId").expect("what is acknowledged");
                let write = self.writes.remove(id).unwrap_or_else(|| panic!("acknowledged twice: {message}"));
                self.acked(write, context);
            }
            ERROR => self.handle_error(&message, context),
            PONG => self.pings = self.pings.checked_sub(1).expect("a pong nobody asked for"),
            code => panic!("a message of type {code}: {message}"),
        }
        self.give_up_refused();
    }

    fn handle_delta(&mut self, message: &OwnedValue, context: &mut Context<'_>) {
        let map = map_of(message, context);
        let field = message.get_str("field").expect("a field").to_owned();
        let value = message.get("value").expect("a value").encode();
        assert_eq!(message.get_str("clientId"), Some(SERVER), "{message}");
        let entries = clock_of(message);
        let clock = entries.iter().map(|(_, count)| *count).max().expect("a clock is not empty");
        let is_known = |name: &String| name == SERVER || *name == self.name;
        assert!(entries.iter().all(|(name, count)| *count == clock && is_known(name)), "{message}");
        let is_deletion = value == DELETED;
        if let Some((before, known)) = self.told.get(&(map, field.clone())) {
            // An expired value keeps its stamp.
            let repeats = clock == *before && (value == *known || is_deletion);
            assert!(clock > *before || repeats, "{message} after clock {before} and {known}");
        }
        self.told.insert((map, field.clone()), (clock, value.clone()));
        self.hear_own(map, &field, clock, &value, context);
        // Before its state has come, what is on the way is of a subscription that is over.
        if let Some(document) = self.documents.get_mut(&map).filter(|document| document.is_live) {
            *document.heard.entry(field.clone()).or_default() += 1;
            document.see(&entries);
            if self.is_named {
                document.named_through = document.named_through.max(clock);
            }
            document.tell(&field, clock, value);
        }
    }

    /// Takes note of a write of its own that came back.
    fn hear_own(&mut self, map: usize, field: &str, clock: u64, value: &str, context: &mut Context<'_>) {
        let Some((_, rest)) = value.split_once(&self.mark) else { return };
        let number = rest.split('.').next().and_then(|number| number.parse().ok()).expect("a number");
        let before = self.own_heard.insert((map, field.to_owned()), number);
        assert!(
            before.is_none_or(|before| before <= number),
            "{field}: write {number} came after {before:?}"
        );
        let Entry::Occupied(mut own) = self.own.entry(number) else { return };
        own.get_mut().heard = Some((clock, value.to_owned()));
        if own.get().is_acked {
            own.remove();
            promise(map, field, stamp_of(clock), Some(value.to_owned()), context);
        }
    }

    /// The answer to a request for the state of a document.
    fn handle_state(&mut self, message: &OwnedValue, context: &Context<'_>) {
        let map = map_of(message, context);
        let request = self.requests.get_mut(&map).and_then(std::collections::VecDeque::pop_front);
        let request = request.unwrap_or_else(|| panic!("a state nobody asked for: {message}"));
        assert_eq!(message.get_str("requestId"), Some(request.id.as_deref().unwrap_or("")), "{message}");
        let state = message.get_object("state").expect("a state");
        if request.is_left {
            return;
        }
        let document = self.documents.get_mut(&map).expect("a document that was asked for");
        document.is_live = true;
        document.is_partial = false;
        document.unclear_removed.clear();
        if !self.is_sdk {
            document.fields = Fields::default();
            document.may_have_more = false;
        }
        if state.is_empty() {
            return;
        }
        let entries = clock_of(message);
        let clock = entries.iter().map(|(_, count)| *count).max().expect("a clock is not empty");
        document.see(&entries);
        for (field, value) in state {
            let value = value.encode();
            assert_ne!(value, DELETED, "a state has a deleted field: {message}");
            document.tell(field, clock, value);
        }
    }

    fn handle_error(&mut self, message: &OwnedValue, context: &mut Context<'_>) {
        match message.get_str("error").expect("what is wrong") {
            "Invalid message format" => {
                self.unreadable =
                    self.unreadable.checked_sub(1).expect("a message that can be read is refused");
            }
            error @ ("Subscribe failed" | "Sync request failed") => {
                let map = refused_map(message, context);
                let waiting = self.requests.entry(map).or_default();
                let is_subscribe = error == "Subscribe failed";
                let of_kind = |request: &Request| (request.code == SUBSCRIBE) == is_subscribe;
                let failed = waiting.iter().position(of_kind).and_then(|place| waiting.remove(place));
                if failed.expect("a request that was made").is_left {
                    return;
                }
                if waiting.is_empty() {
                    // A write that crossed this has subscribed it again.
                    self.unsubscribe(map, context);
                } else if let Some(document) = self.documents.get_mut(&map) {
                    document.is_live = false;
                    document.may_have_more = true;
                }
            }
            "Delta application failed" => self.refuse((refused_map(message, context), false)),
            "Delta batch application failed" => self.refuse((refused_map(message, context), true)),
            error => panic!("{error}: {message}"),
        }
    }

    fn refuse(&mut self, kind: Kind) {
        *self.refused.entry(kind).or_default() += 1;
    }

    /// Where as many writes were refused as are left, it was these.
    fn give_up_refused(&mut self) {
        let writes = &self.writes;
        let of_kind = |kind: Kind| writes.values().filter(move |write| write.kind == kind).count();
        let settled = self.refused.iter().filter(|&(&kind, &count)| {
            let left = of_kind(kind);
            assert!(count <= left, "more writes were refused than were sent");
            count == left
        });
        for kind in settled.map(|(&kind, _)| kind).collect::<Vec<_>>() {
            self.refused.remove(&kind);
            let (of_kind, rest) =
                std::mem::take(&mut self.writes).into_iter().partition(|(_, write)| write.kind == kind);
            self.writes = rest;
            let of_kind: std::collections::BTreeMap<_, _> = of_kind;
            of_kind.into_values().for_each(|write| self.mark_unclear(write));
        }
    }

    fn acked(&mut self, write: Write, context: &mut Context<'_>) {
        self.is_named = self.is_sdk;
        let map = write.kind.0;
        let is_durable = context.scenario.config.offers_durable;
        let left_at = match context.scenario.storage {
            // A type that is on a disk stays.
            Some(_) => Some(""),
            None => write.ops.first().map(|op| &op.field[..]),
        };
        let (asked_us, now_us) = (write.sent_us, context.now_us);
        context.oracle.saw_type(&Sight { map, map_type: "lww", asked_us, now_us, left_at }, is_durable);
        for op in write.ops {
            context.oracle.acked += 1;
            context.oracle.acked_synckit += 1;
            context.oracle.acked_durable += u64::from(is_durable);
            // Its stamp is above all that its client had seen; its value may be overwritten, or deleted, already.
            promise(map, &op.field, Stamp::of_clock(op.seen, scenario::NODE), None, context);
            let Entry::Occupied(mut own) = self.own.entry(op.number) else { continue };
            own.get_mut().is_acked = true;
            if own.get().heard.is_some()
                && let Some((clock, value)) = own.remove().heard
            {
                promise(map, &op.field, stamp_of(clock), Some(value), context);
            }
        }
    }
}

/// What was acknowledged: where maps are on disks, once it was there.
fn promise(map: usize, field: &str, at: Stamp, value: Option<String>, context: &mut Context<'_>) {
    let is_durable = context.scenario.config.offers_durable;
    if value.is_some() {
        context.oracle.saw_stamp(&at, is_durable);
    }
    context.oracle.acked(map, field, &Cell::Lww { at, value, expires_at: 0 }, is_durable);
}

fn map_of(message: &OwnedValue, context: &Context<'_>) -> usize {
    let name = message.get_str("documentId").expect("a document");
    context.scenario.maps.iter().position(|map| map.name == name).expect("a map of the scenario")
}

fn refused_map(message: &OwnedValue, context: &Context<'_>) -> usize {
    map_of(message.get("details").expect("details"), context)
}

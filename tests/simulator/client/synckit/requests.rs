//! What it asks for and writes, by chance.

use std::fmt::Write as _;

use super::fields::{DELETED, Version};
use super::message::{DELTA, DELTA_BATCH, PING, SUBSCRIBE, SYNC_REQUEST, UNSUBSCRIBE, encode};
use super::{Context, Document, Op, Own, Request, SyncKit, Write};
use crate::scenario::{Kind, Scenario};

/// A field to be written, and its value as JSON.
struct Change {
    field: String,
    number: u64,
    value: String,
}

impl SyncKit {
    /// Does something, by chance.
    pub fn act(&mut self, context: &mut Context<'_>) {
        if self.asked() > context.scenario.asked_max {
            return;
        }
        let map = context.random.below(context.scenario.maps.len());
        match context.random.below(100) {
            0..60 => self.write_some(context),
            60..80 => self.ask_some(map % context.scenario.maps_watched, context),
            80..86 => self.unsubscribe(map, context),
            86..92 => self.ping(context),
            92..94 => {
                self.unreadable += 1;
                self.outgoing.push(if self.is_text { b"{".to_vec() } else { b"\x99never".to_vec() });
            }
            _ => (0..context.random.below(10)).for_each(|_| self.write_some(context)),
        }
    }

    /// Takes up what it had on the connection before.
    pub fn resubscribe(&mut self, context: &mut Context<'_>) {
        for map in self.documents.keys().copied().collect::<Vec<_>>() {
            self.ask(map, context);
        }
    }

    pub fn ping(&mut self, context: &mut Context<'_>) {
        self.pings += 1;
        let id = self.id();
        self.send(PING, &format!(r#""id":"{id}""#), context);
    }

    fn ask_some(&mut self, map: usize, context: &mut Context<'_>) {
        if !self.documents.contains_key(&map) || context.random.per_mille(200) {
            self.ask(map, context);
        }
    }

    /// Asks for the state of a document, and to hear of it from then on.
    fn ask(&mut self, map: usize, context: &mut Context<'_>) {
        let asks_again = self.documents.contains_key(&map);
        let document = self.documents.entry(map).or_default();
        document.may_have_more |= asks_again;
        let code = context.random.pick(&[SUBSCRIBE, SYNC_REQUEST]);
        let id = (!self.is_sdk).then(|| self.id());
        let mut fields = document_id(map, context);
        if let Some(id) = &id {
            let _ = write!(fields, r#","id":"{id}""#);
        }
        self.requests.entry(map).or_default().push_back(Request { code, id, is_left: false });
        self.send(code, &fields, context);
    }

    /// Unsubscribes. Requests that wait for the state are answered nonetheless, if only with a refusal.
    pub(super) fn unsubscribe(&mut self, map: usize, context: &mut Context<'_>) {
        self.documents.remove(&map);
        self.left.insert(map);
        self.requests.entry(map).or_default().iter_mut().for_each(|request| request.is_left = true);
        let id = self.id();
        self.send(UNSUBSCRIBE, &format!(r#"{},"id":"{id}""#, document_id(map, context)), context);
    }

    fn write_some(&mut self, context: &mut Context<'_>) {
        let map = context.random.below(context.scenario.maps.len());
        if map >= context.scenario.maps_watched && !self.documents.contains_key(&map)
            || !self.may_write(map, context.scenario)
        {
            return;
        }
        if self.is_sdk && context.random.per_mille(200) {
            return self.write_set(map, context);
        }
        let count = if context.random.per_mille(600) {
            1
        } else {
            context.random.between(1, context.scenario.ops_max)
        };
        let changes = (0..count).map(|_| {
            let field = format!("k{}", context.random.below(context.scenario.keys));
            self.change(field, context)
        });
        let changes = changes.collect();
        self.write(map, changes, context);
    }

    /// Whether it can write to this map. Whoever writes is subscribed, without an answer: that must not fail, nor may
    /// deltas of an earlier subscription be on their way.
    pub fn may_write(&self, map: usize, scenario: &Scenario) -> bool {
        let may_join = scenario.subscribes_always() && !self.left.contains(&map);
        (may_join || self.documents.contains_key(&map))
            && matches!(scenario.maps[map].kind, Kind::Lww | Kind::Contested)
    }

    /// Writes one field with a value that it has never had.
    pub fn write_certainly(&mut self, map: usize, field: &str, context: &mut Context<'_>) {
        let (number, value) = self.unique(context);
        self.write(map, vec![Change { field: field.to_owned(), number, value }], context);
    }

    fn change(&mut self, field: String, context: &mut Context<'_>) -> Change {
        let (number, unique) = self.unique(context);
        let value = match context.random.below(20) {
            0..4 => DELETED.to_owned(),
            4..7 => "null".to_owned(),
            7..10 => format!(r#"{{"v":{unique}}}"#),
            _ => unique,
        };
        Change { field, number, value }
    }

    /// A value that names its writer, the connection and the write.
    fn unique(&mut self, context: &mut Context<'_>) -> (u64, String) {
        self.next_id += 1;
        let padding = context.random.below(context.scenario.padding_bytes + 1);
        (self.next_id, format!("\"{}{}.{}\"", self.mark, self.next_id, "x".repeat(padding)))
    }

    fn write(&mut self, map: usize, mut changes: Vec<Change>, context: &mut Context<'_>) {
        if self.requests.get(&map).is_some_and(|waiting| !waiting.is_empty())
            && let Some(document) = self.documents.get_mut(&map)
        {
            document.may_have_more = true;
        }
        let joins = Document { is_live: true, is_partial: true, ..Document::default() };
        self.documents.entry(map).or_insert(joins);
        let is_batch = context.random.per_mille(if self.is_sdk { 500 } else { 200 });
        if self.is_sdk && !is_batch {
            // The older SDK sends each field by itself.
            for change in changes {
                self.write_fields(map, is_batch, vec![change], context);
            }
            return;
        }
        if !is_batch {
            // An object has each name once.
            changes.sort_by(|a, b| a.field.cmp(&b.field));
            changes.dedup_by(|a, b| a.field == b.field);
        }
        self.write_fields(map, is_batch, changes, context);
    }

    /// Sends one message that writes these fields.
    fn write_fields(&mut self, map: usize, is_batch: bool, changes: Vec<Change>, context: &mut Context<'_>) {
        let id = self.id();
        let document = document_id(map, context);
        let (mut clock, mut seen) = self.some_clock(map, context);
        let (mut ops, mut operations, mut delta) = (Vec::new(), Vec::new(), Vec::new());
        for Change { field, number, value } in changes {
            if self.is_sdk {
                (clock, seen) = self.show(map, &field, &value);
            }
            operations.push(format!(
                r#""type":"set",{document},"field":"{field}","value":{value},"clock":{clock},"clientId":"{}""#,
                self.name
            ));
            delta.push(format!(r#""{field}":{value}"#));
            self.own.insert(number, Own::default());
            ops.push(Op { number, field, seen });
        }
        let named = format!(r#""id":"{id}""#);
        let (code, fields) = if is_batch {
            let operations = operations.join("},{");
            (DELTA_BATCH, format!(r#"{document},{named},"messageId":"{id}","deltas":[{{{operations}}}]"#))
        } else if self.is_sdk {
            (DELTA, format!(r#"{},"messageId":"{id}""#, operations.concat()))
        } else {
            let delta = delta.join(",");
            (DELTA, format!(r#"{document},{named},"delta":{{{delta}}},"vectorClock":{clock}"#))
        };
        if context.scenario.forgets_maps() {
            ops.iter().for_each(|op| context.oracle.may_vanish(map, &op.field));
        }
        let (kind, sent_us) = ((map, is_batch), context.now_us);
        self.writes.insert(id, Write { kind, sent_us, ops, added: Vec::new(), removed: Vec::new() });
        self.send(code, &fields, context);
    }

    /// A clock as a reader of answers sends it, and the largest number in it.
    fn some_clock(&self, map: usize, context: &mut Context<'_>) -> (String, u64) {
        let seen = context.random.pick(&[0, 1, self.documents[&map].seen()]);
        let clock = if seen == 0 { "{}".to_owned() } else { format!(r#"{{"{}":{seen}}}"#, self.name) };
        (clock, seen)
    }

    /// Shows a write at once, as the SDK does. The clock it is sent with, and the largest number in that.
    fn show(&mut self, map: usize, field: &str, value: &str) -> (String, u64) {
        let document = self.documents.entry(map).or_default();
        let count = document.clock.entry(self.name.clone()).or_default();
        *count += 1;
        let version = Version { clock: *count, client: self.name.clone(), value: value.to_owned() };
        document.fields.merge(field, version);
        let entries = document.clock.iter().map(|(name, count)| format!("{name:?}:{count}"));
        let entries: Vec<String> = entries.collect();
        (format!("{{{}}}", entries.join(",")), document.seen())
    }

    pub(super) fn id(&mut self) -> String {
        self.next_id += 1;
        format!("m{}", self.next_id)
    }

    pub(super) fn send(&mut self, code: u8, fields: &str, context: &Context<'_>) {
        self.outgoing.push(encode(self.is_text, code, fields, context.unix_ms));
    }
}

pub fn document_id(map: usize, context: &Context<'_>) -> String {
    format!(r#""documentId":"{}""#, context.scenario.maps[map].name)
}

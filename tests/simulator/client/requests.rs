//! What a client asks for, by chance.

use std::fmt::Write;

use super::op::{Op, OpKind};
use super::tie::TIE_KEY;
use super::watch::{Filter, Spec, Watch};
use super::{Asked, Client, Context, SyncKit};
use crate::frames::PING;
use crate::link::Link;

impl Client {
    /// Does something, by chance.
    pub fn act(&mut self, link: &mut Link, context: &mut Context<'_>) {
        if !self.is_open() || link.upstream_end.is_some() || self.asked() > context.scenario.asked_max {
            return;
        }
        if self.synckit.is_some() {
            return self.with_synckit(link, context, SyncKit::act);
        }
        if self.show_some(link, context) || self.write_letter(link, context) {
            return;
        }
        if context.random.per_mille(100) {
            return self.act_in_rooms(link, context);
        }
        if context.random.per_mille(40) {
            return self.ask_for_list(link, context);
        }
        let map = context.random.below(context.scenario.maps.len());
        match context.random.below(100) {
            0..40 => self.write_some(link, context),
            40..55 => self.talk(link, context),
            55..65 => self.read_some(map, link, context),
            65..69 => self.ping(link, context),
            69..72 => self.send_frame(link, context.random, PING, b"hello"),
            72..86 => self.subscribe_some(map % context.scenario.maps_watched, link, context),
            86..88 => self.change_its_mind(map % context.scenario.maps_watched, link, context),
            88..91 => self.unsubscribe(map, link, context),
            91..95 => self.digest(map, link, context),
            95 => self.send_text(
                link,
                context,
                if self.next_op.is_multiple_of(7) { "{" } else { r#"{"type":"ping"}"# },
            ),
            96 => {
                let id = self.ask(Asked::Ping);
                self.send_text(link, context, &format!(r#"{{"type":"dance","id":{id}}}"#));
            }
            97 => (0..context.random.below(40)).for_each(|_| self.read_some(map, link, context)),
            _ => (0..context.random.below(10)).for_each(|_| self.write_some(link, context)),
        }
    }

    pub(super) fn ask(&mut self, asked: Asked) -> u64 {
        self.next_id += 1;
        if let Asked::Subscribe { map } | Asked::Unsubscribe { map, .. } = asked {
            self.in_order.entry(map).or_default().push_back(self.next_id);
        }
        self.asked.insert(self.next_id, asked);
        self.next_id
    }

    pub fn ping(&mut self, link: &mut Link, context: &mut Context<'_>) {
        if self.synckit.is_some() {
            return self.with_synckit(link, context, SyncKit::ping);
        }
        let id = self.ask(Asked::Ping);
        self.send_text(link, context, &format!(r#"{{"type":"ping","id":{id}}}"#));
    }

    pub fn digest(&mut self, map: usize, link: &mut Link, context: &mut Context<'_>) {
        let id = self.ask(Asked::Digest { map });
        let name = &context.scenario.maps[map].name;
        self.send_text(link, context, &format!(r#"{{"type":"digest","id":{id},"map":"{name}"}}"#));
    }

    fn read_some(&mut self, map: usize, link: &mut Link, context: &mut Context<'_>) {
        let count = context.random.between(1, 4);
        let mut keys: Vec<String> = (0..count).map(|_| key(context)).collect();
        if context.random.per_mille(300) {
            keys.push(format!("{}{TIE_KEY}", key(context)));
        }
        keys.sort();
        keys.dedup();
        self.read_keys(map, keys, link, context);
    }

    pub fn read_keys(&mut self, map: usize, keys: Vec<String>, link: &mut Link, context: &mut Context<'_>) {
        let floor_of = |key: &String| {
            let is_shown = !self.cannot_see(key);
            is_shown.then(|| context.oracle.floor_of_key(map, key)).flatten()
        };
        let floor = keys.iter().map(floor_of).collect();
        let list: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        let id = self.ask(Asked::Read { map, keys, floor });
        let name = &context.scenario.maps[map].name;
        let keys = list.join(",");
        self.send_text(
            link,
            context,
            &format!(r#"{{"type":"read","id":{id},"map":"{name}","keys":[{keys}]}}"#),
        );
    }

    fn unsubscribe(&mut self, map: usize, link: &mut Link, context: &mut Context<'_>) {
        let watch = self.watches.get_mut(&map).map(|watch| {
            let last = watch.last_asked();
            last.is_leaving = true;
            last.id
        });
        self.kept.remove(&map);
        let id = self.ask(Asked::Unsubscribe { map, watch });
        let name = &context.scenario.maps[map].name;
        self.send_text(link, context, &format!(r#"{{"type":"unsubscribe","id":{id},"map":"{name}"}}"#));
    }

    /// Subscribes and unsubscribes in turns without waiting for any answer.
    fn change_its_mind(&mut self, map: usize, link: &mut Link, context: &mut Context<'_>) {
        for _ in 0..context.random.between(2, 6) {
            if context.random.per_mille(500) {
                self.subscribe_some(map, link, context);
            } else {
                self.unsubscribe(map, link, context);
            }
        }
    }

    fn subscribe_some(&mut self, map: usize, link: &mut Link, context: &mut Context<'_>) {
        let random = &mut *context.random;
        let live = self.watches.get(&map).filter(|watch| watch.is_live && !watch.is_leaving);
        let mut spec = Spec {
            filter: match random.below(6) {
                0 => Filter::Keys(
                    (0..3).map(|_| format!("k{}", random.below(context.scenario.keys))).collect(),
                ),
                1 => Filter::Prefix("k1".to_owned()),
                _ => Filter::All,
            },
            echo: context.scenario.forgets || random.per_mille(400),
            bare: random.per_mille(100),
            since: None,
        };
        // Now and then it goes on from where the subscription before it is.
        if let Some(watch) = live.filter(|watch| watch.next.is_none() && random.per_mille(300)) {
            spec.filter = watch.spec.filter.clone();
            spec.bare = watch.spec.bare;
            spec.since = watch.cursor.clone();
            if random.per_mille(300) {
                spec.filter = spec.filter.in_other_words();
            }
        } else if live.is_some() && random.per_mille(600) {
            return;
        }
        let must_reset = spec.since.is_none() && self.bring_wrong_cursor(map, &mut spec, context);
        self.subscribe(map, spec, link, context);
        if let Some(watch) = self.watches.get_mut(&map) {
            watch.last_asked().must_reset |= must_reset;
        }
    }

    /// Now and then has a subscription go on from a cursor that was given for another map, another filter, or by a
    /// server that knew of neither; whether it does. It must be told to start over.
    fn bring_wrong_cursor(&self, map: usize, spec: &mut Spec, context: &mut Context<'_>) -> bool {
        let random = &mut *context.random;
        if !random.per_mille(150) {
            return false;
        }
        let watches = self.watches.iter().filter(|(_, watch)| watch.is_live && watch.cursor.is_some());
        let watches: Vec<_> = watches.collect();
        if watches.is_empty() {
            return false;
        }
        let (&other, watch) = random.pick(&watches);
        let cursor = watch.cursor.clone().expect("it was just seen");
        let is_right = other == map && watch.spec.filter.is_same(&spec.filter);
        spec.since =
            if is_right { cursor.rsplit_once('.').map(|(start, _)| start.to_owned()) } else { Some(cursor) };
        true
    }

    /// Takes up what it watched on the connection before.
    pub(super) fn resubscribe(&mut self, link: &mut Link, context: &mut Context<'_>) {
        for (map, kept) in std::mem::take(&mut self.kept) {
            let mut spec = kept.spec.clone();
            spec.since = kept.cursor.clone();
            if context.random.per_mille(100) {
                spec.since = None;
                spec.bare = false;
            }
            // A cursor that is wrong for the filter it was brought with may be right for this one.
            if context.random.per_mille(50) && !kept.must_reset {
                spec.filter = Filter::Prefix("k".to_owned());
            }
            let must_reset = kept.must_reset || !spec.filter.is_same(&kept.spec.filter);
            self.subscribe(map, spec, link, context);
            if let Some(watch) = self.watches.get_mut(&map)
                && watch.spec.since.is_some()
            {
                watch.replica = kept.replica;
                watch.unclear.extend(kept.unclear);
                watch.haunted = kept.haunted;
                watch.cursor = kept.cursor;
                watch.is_excused = kept.is_excused;
                watch.must_reset = must_reset;
            }
        }
    }

    pub fn subscribe(&mut self, map: usize, spec: Spec, link: &mut Link, context: &mut Context<'_>) {
        let id = self.ask(Asked::Subscribe { map });
        let mut text =
            format!(r#"{{"type":"subscribe","id":{id},"map":"{}""#, context.scenario.maps[map].name);
        let _ = match &spec.filter {
            Filter::All => Ok(()),
            Filter::Keys(keys) => write!(text, r#","keys":{keys:?}"#),
            Filter::Prefix(prefix) => write!(text, r#","prefix":{prefix:?}"#),
        };
        if spec.echo {
            text.push_str(r#","echo":true"#);
        }
        if spec.bare {
            text.push_str(r#","snapshot":false"#);
        }
        if let Some(since) = &spec.since {
            let _ = write!(text, r#","since":"{since}""#);
        }
        text.push('}');
        let echo = spec.echo;
        let mut watch = Watch::new(id, spec, context.oracle.floor(map), context.now_us);
        watch.first_op = if watch.spec.since.is_some() { self.next_op } else { 0 };
        // What it does not hear of may come between the cursor or snapshot and the end of these.
        let writes = self.asked.values().filter_map(|asked| match asked {
            Asked::Write { ops, .. } if !echo => Some(ops),
            _ => None,
        });
        let opaque = writes.flatten().filter(|op| op.map == map && op.is_opaque());
        watch.unclear.extend(opaque.map(|op| op.key.clone()));
        match self.watches.get_mut(&map) {
            Some(mut last) => {
                while last.next.is_some() {
                    last = last.next.as_mut().expect("it was just seen");
                }
                last.next = Some(Box::new(watch));
            }
            None => drop(self.watches.insert(map, watch)),
        }
        self.send_text(link, context, &text);
    }

    fn write_some(&mut self, link: &mut Link, context: &mut Context<'_>) {
        let count = if context.random.per_mille(600) {
            1
        } else {
            context.random.between(1, context.scenario.ops_max)
        };
        let mut ops = Vec::new();
        for _ in 0..count {
            if let Some(op) = self.tie_op(context) {
                ops.push(op);
                continue;
            }
            let map = context.random.below(context.scenario.maps.len());
            let key = key(context);
            let kind = self.op_kind(map, &key, context);
            ops.push(self.op(map, key, kind, context));
        }
        let durable = r#","ack":"durable""#;
        let mut ack = context.random.pick(&["", "", "", r#","ack":"memory""#, durable, r#","ack":"none""#]);
        if context.scenario.storage.is_some() && context.random.per_mille(500) {
            ack = durable;
        }
        self.write(ops, ack, link, context);
    }

    pub fn write(&mut self, ops: Vec<Op>, ack: &str, link: &mut Link, context: &mut Context<'_>) {
        let mut list = String::new();
        for op in &ops {
            if !list.is_empty() {
                list.push(',');
            }
            if let OpKind::Increment { by } = op.kind {
                context.oracle.increment_sent(op.map, &op.key, by);
            }
            if context.scenario.forgets && op.brings_stamp_or_tag() {
                context.oracle.may_come_back(op.map, &op.key);
            }
            if context.scenario.forgets_maps() && op.may_end_something() {
                context.oracle.may_vanish(op.map, &op.key);
            }
            op.write_to(&mut list, &context.scenario.maps[op.map].name, &self.name);
            if op.is_opaque() {
                self.mark_unclear(op);
            }
        }
        let id = if ack.contains("none") {
            self.next_id += 1;
            self.unanswered.insert(self.next_id, ops.len());
            ops.into_iter().for_each(|op| self.unclear(op, context));
            self.next_id
        } else {
            let told = self.told.clone();
            self.ask(Asked::Write { ops, wants_durable: ack.contains("durable"), told })
        };
        self.send_text(link, context, &format!(r#"{{"type":"write","id":{id}{ack},"ops":[{list}]}}"#));
    }

    /// Notes that whoever does not hear of this operation does not know what is at its key.
    pub(super) fn mark_unclear(&mut self, op: &Op) {
        let mark = |watch: &mut Watch| {
            let mut next = Some(watch);
            while let Some(watch) = next {
                if !watch.spec.echo || op.number <= watch.first_op {
                    watch.unclear.insert(op.key.clone());
                }
                next = watch.next.as_deref_mut();
            }
        };
        self.watches.get_mut(&op.map).map(mark);
        self.kept.get_mut(&op.map).map(mark);
    }
}

pub(super) fn key(context: &mut Context<'_>) -> String {
    format!("k{}", context.random.below(context.scenario.keys))
}

//! What a client asks for, by chance.

use std::fmt::Write;

use super::watch::{Filter, Spec, Watch};
use super::{Asked, Client, Context};
use crate::frames::PING;
use crate::link::Link;
use crate::replica::{Cell, Stamp};
use crate::scenario::Kind;

#[derive(Clone, Debug)]
pub struct Op {
    pub map: usize,
    pub key: String,
    pub kind: OpKind,
    /// Milliseconds since 1970 when it was made, as the client's stamps count.
    made_ms: u64,
}

#[derive(Clone, Debug)]
pub enum OpKind {
    Set {
        value: String,
        at: Option<Stamp>,
        ttl_ms: Option<u64>,
    },
    Delete {
        at: Option<Stamp>,
    },
    Add {
        value: String,
        tag: Option<String>,
        at: Option<Stamp>,
    },
    RemoveTags {
        tags: Vec<String>,
    },
    /// With the tags that had been acknowledged for the value when it was made.
    RemoveValue {
        value: String,
        tags: Vec<String>,
    },
    Increment {
        by: i64,
    },
    Totals {
        totals: (i64, i64),
    },
}

impl OpKind {
    pub fn map_type(&self) -> &'static str {
        match self {
            Self::Set { .. } | Self::Delete { .. } => "lww",
            Self::Add { .. } | Self::RemoveTags { .. } | Self::RemoveValue { .. } => "or",
            Self::Increment { .. } | Self::Totals { .. } => "counter",
        }
    }
}

impl Op {
    pub fn has_stamp(&self) -> bool {
        matches!(self.kind, OpKind::Set { .. } | OpKind::Delete { .. } | OpKind::Add { .. })
    }

    pub fn own_stamp(&self) -> Option<&Stamp> {
        match &self.kind {
            OpKind::Set { at, .. } | OpKind::Delete { at } | OpKind::Add { at, .. } => at.as_ref(),
            _ => None,
        }
    }

    /// Whether its stamp may be too far ahead: the clock of a server is at most a step back behind its own.
    pub fn is_far_ahead(&self) -> bool {
        self.own_stamp().is_some_and(|at| at.millis > self.made_ms + 40_000)
    }

    /// The state it leaves behind at least, once it is acknowledged; `None` for what cannot be known.
    pub fn outcome(&self, stamp: Option<Stamp>) -> Option<Cell> {
        let or = |live: Option<(String, (Stamp, String))>, removed: &[String]| Cell::Or {
            live: live.into_iter().collect(),
            removed: removed.iter().cloned().collect(),
        };
        match &self.kind {
            OpKind::Set { value, .. } => Some(Cell::Lww { at: stamp?, value: Some(value.clone()) }),
            OpKind::Delete { .. } => Some(Cell::Lww { at: stamp?, value: None }),
            OpKind::Add { value, tag, .. } => {
                let stamp = stamp?;
                let tag = tag.clone().unwrap_or_else(|| stamp.text());
                Some(or(Some((tag, (stamp, value.clone()))), &[]))
            }
            OpKind::RemoveTags { tags } | OpKind::RemoveValue { tags, .. } => Some(or(None, tags)),
            OpKind::Increment { .. } | OpKind::Totals { .. } => None,
        }
    }

    /// Whether a client that does not hear its own changes cannot know what it did.
    fn is_opaque(&self) -> bool {
        matches!(self.kind, OpKind::RemoveValue { .. } | OpKind::Increment { .. } | OpKind::Totals { .. })
    }

    fn write_to(&self, out: &mut String, map: &str, client: &str) {
        let _ = write!(out, r#"{{"map":"{map}","key":"{}","op":"#, self.key);
        let _ = match &self.kind {
            OpKind::Set { value, ttl_ms, .. } => {
                let ttl = ttl_ms.map_or(String::new(), |ttl_ms| format!(r#","ttl_ms":{ttl_ms}"#));
                write!(out, r#""set","value":"{value}"{ttl}"#)
            }
            OpKind::Delete { .. } => write!(out, r#""delete""#),
            OpKind::Add { value, tag, .. } => {
                let tag = tag.as_ref().map_or(String::new(), |tag| format!(r#","tag":"{tag}""#));
                write!(out, r#""add","value":"{value}"{tag}"#)
            }
            OpKind::RemoveTags { tags } => {
                let tags: Vec<String> = tags.iter().map(|tag| format!("{tag:?}")).collect();
                write!(out, r#""remove","tags":[{}]"#, tags.join(","))
            }
            OpKind::RemoveValue { value, .. } => write!(out, r#""remove","value":"{value}""#),
            OpKind::Increment { by } => write!(out, r#""increment","by":{by}"#),
            OpKind::Totals { totals: (added, subtracted) } => {
                write!(out, r#""increment","replica":"{client}","added":{added},"subtracted":{subtracted}"#)
            }
        };
        if let Some(at) = self.own_stamp() {
            let _ = write!(out, r#","at":"{}""#, at.text());
        }
        out.push('}');
    }
}

impl Client {
    /// Does something, by chance.
    pub fn act(&mut self, link: &mut Link, context: &mut Context<'_>) {
        if !self.is_open() || link.upstream_end.is_some() || self.asked.len() > context.scenario.asked_max {
            return;
        }
        let map = context.random.below(context.scenario.maps.len());
        match context.random.below(100) {
            0..55 => self.write_some(link, context),
            55..65 => self.read_some(map, link, context),
            65..69 => self.ping(link, context),
            69..72 => self.send_frame(link, context.random, PING, b"hello"),
            72..88 => self.subscribe_some(map, link, context),
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

    fn ask(&mut self, asked: Asked) -> u64 {
        self.next_id += 1;
        self.asked.insert(self.next_id, asked);
        self.next_id
    }

    pub fn ping(&mut self, link: &mut Link, context: &mut Context<'_>) {
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
        keys.sort();
        keys.dedup();
        self.read_keys(map, keys, link, context);
    }

    pub fn read_keys(&mut self, map: usize, keys: Vec<String>, link: &mut Link, context: &mut Context<'_>) {
        let floor = keys.iter().map(|key| context.oracle.floor_of_key(map, key)).collect();
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
        // One at a time, so that it is clear what an answer is about.
        if let Some(watch) = self.watches.get_mut(&map) {
            if watch.next.is_some() || !watch.is_live || watch.is_leaving {
                return;
            }
            watch.is_leaving = true;
        }
        self.kept.remove(&map);
        let id = self.ask(Asked::Unsubscribe { map });
        let name = &context.scenario.maps[map].name;
        self.send_text(link, context, &format!(r#"{{"type":"unsubscribe","id":{id},"map":"{name}"}}"#));
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
        } else if live.is_some() && random.per_mille(600) {
            return;
        }
        self.subscribe(map, spec, link, context);
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
            self.subscribe(map, spec, link, context);
            if let Some(watch) = self.watches.get_mut(&map)
                && watch.spec.since.is_some()
            {
                watch.replica = kept.replica;
                watch.unclear.extend(kept.unclear);
                watch.cursor = kept.cursor;
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
        let mut watch = Watch::new(id, spec, context.oracle.floor(map));
        // What it does not hear of may come between the cursor or snapshot and the end of these.
        let writes = self.asked.values().filter_map(|asked| match asked {
            Asked::Write(ops) if !echo => Some(ops),
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
            let map = context.random.below(context.scenario.maps.len());
            let key = key(context);
            let kind = self.op_kind(map, &key, context);
            ops.push(Op { map, key, kind, made_ms: context.unix_ms });
        }
        let ack = context.random.pick(&[
            "",
            "",
            "",
            r#","ack":"memory""#,
            r#","ack":"durable""#,
            r#","ack":"none""#,
        ]);
        self.write(ops, ack, link, context);
    }

    pub fn write(&mut self, ops: Vec<Op>, ack: &str, link: &mut Link, context: &mut Context<'_>) {
        let mut list = String::new();
        for op in &ops {
            if !list.is_empty() {
                list.push(',');
            }
            op.write_to(&mut list, &context.scenario.maps[op.map].name, &self.name);
            if op.is_opaque() {
                self.mark_unclear(op.map, &op.key);
            }
        }
        let id = if ack.contains("none") {
            self.next_id += 1;
            self.unanswered.insert(self.next_id);
            ops.into_iter().for_each(|op| self.unclear(op, context));
            self.next_id
        } else {
            self.ask(Asked::Write(ops))
        };
        self.send_text(link, context, &format!(r#"{{"type":"write","id":{id}{ack},"ops":[{list}]}}"#));
    }

    /// Notes that whoever does not hear this client's changes does not know what is at `key`.
    pub(super) fn mark_unclear(&mut self, map: usize, key: &str) {
        let mark = |watch: &mut Watch| {
            let mut next = Some(watch);
            while let Some(watch) = next {
                if !watch.spec.echo {
                    watch.unclear.insert(key.to_owned());
                }
                next = watch.next.as_deref_mut();
            }
        };
        self.watches.get_mut(&map).map(mark);
        self.kept.get_mut(&map).map(mark);
    }

    fn op_kind(&mut self, map: usize, key: &str, context: &mut Context<'_>) -> OpKind {
        let kind = match context.scenario.maps[map].kind {
            Kind::Contested => context.random.pick(&[Kind::Lww, Kind::Or, Kind::Rising]),
            kind => kind,
        };
        match kind {
            Kind::Lww if context.random.per_mille(250) => OpKind::Delete { at: self.at(context) },
            Kind::Lww => OpKind::Set {
                value: self.value(context),
                at: self.at(context),
                ttl_ms: context.random.per_mille(100).then(|| context.random.between(1, 3000) as u64),
            },
            Kind::Or => self.or_kind(map, key, context),
            Kind::Counter | Kind::Rising | Kind::Contested => {
                if context.random.per_mille(300) {
                    let totals = self.totals.entry((map, key.to_owned())).or_default();
                    totals.0 += context.random.between(1, 9) as i64;
                    totals.1 += if kind == Kind::Rising { 0 } else { context.random.below(9) as i64 };
                    let totals = *totals;
                    context.oracle.totals_sent(map, key, self.index, totals);
                    return OpKind::Totals { totals };
                }
                let by = context.random.between(1, 9) as i64;
                OpKind::Increment {
                    by: if kind != Kind::Rising && context.random.per_mille(400) { -by } else { by },
                }
            }
        }
    }

    /// An operation that is certain to change something.
    pub fn certain_op(&mut self, map: usize, key: &str, kind: Kind, context: &mut Context<'_>) -> Op {
        let kind = match kind {
            // The owner's clock is past every stamp it has taken.
            Kind::Lww => OpKind::Set { value: self.value(context), at: None, ttl_ms: None },
            Kind::Or => OpKind::Add { value: self.value(context), tag: None, at: None },
            _ => OpKind::Increment { by: 1 },
        };
        Op { map, key: key.to_owned(), kind, made_ms: context.unix_ms }
    }

    fn or_kind(&mut self, map: usize, key: &str, context: &mut Context<'_>) -> OpKind {
        let known = self.replica(map).and_then(|replica| replica.cells.get(key).cloned());
        let live: Vec<(String, String)> = match known {
            Some(Cell::Or { live, .. }) => live.into_iter().map(|(tag, (_, value))| (tag, value)).collect(),
            _ => Vec::new(),
        };
        match context.random.below(10) {
            0..2 if !live.is_empty() => {
                let count = context.random.between(1, 3);
                OpKind::RemoveTags {
                    tags: (0..count).map(|_| live[context.random.below(live.len())].0.clone()).collect(),
                }
            }
            2 if !live.is_empty() => {
                let value = live[context.random.below(live.len())].1.clone();
                let tags = context.oracle.tags_of(map, key, &value);
                OpKind::RemoveValue { value, tags }
            }
            _ => {
                let own_tag = !context.scenario.forgets && context.random.per_mille(300);
                let value = self.value(context);
                let tag = own_tag.then(|| format!("{}-{}", self.name, self.next_op));
                OpKind::Add { value, tag, at: self.at(context) }
            }
        }
    }

    /// A value that names its writer, the connection and the operation.
    pub fn value(&mut self, context: &mut Context<'_>) -> String {
        self.next_op += 1;
        let padding = context.random.below(context.scenario.padding_bytes + 1);
        format!("{}.{}.{}.{}", self.name, self.connection, self.next_op, "x".repeat(padding))
    }

    /// A stamp of its own, now and then: from a clock that is right, behind, ahead, or far ahead.
    fn at(&mut self, context: &mut Context<'_>) -> Option<Stamp> {
        if context.scenario.forgets || !context.random.per_mille(300) {
            return None;
        }
        let millis = match context.random.below(20) {
            0..10 => context.unix_ms,
            10..15 => context.unix_ms - context.random.below(100_000) as u64,
            15..19 => context.unix_ms + context.random.below(10_000) as u64,
            _ => context.unix_ms + 200_000,
        };
        // Never the same stamp twice.
        self.last_at.1 += 1;
        Some(Stamp { millis, counter: self.last_at.1, node: self.name.clone() })
    }
}

fn key(context: &mut Context<'_>) -> String {
    format!("k{}", context.random.below(context.scenario.keys))
}

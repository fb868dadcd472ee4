//! The operations of a client: how they are made, by chance, what they look like, and what they leave behind.

use std::fmt::Write;

use super::{Client, Context};
use crate::replica::{COUNTERS, Cell, Stamp};
use crate::scenario::{CLIENTS_MAX, Kind};

/// The end of a value that has a time to live.
pub const ENDS: &str = ".ends";

/// Numbers and texts in the fields of values: few, so that much matches a query and stands alike in it.
pub const FIELD_NUMBERS: usize = 5;
pub const FIELD_KINDS: [&str; 4] = ["a", "ab", "b", "\u{fffd}"];

/// How a value begins that has fields: with who has written it, as the others do.
pub const FIELDS_START: &str = r#"{"by":""#;

/// The key of a counter that is deleted now and then.
const ZEROED_KEY: &str = "k0";

#[derive(Clone, Debug)]
pub struct Op {
    pub map: usize,
    pub key: String,
    pub kind: OpKind,
    /// Milliseconds since 1970 when it was made, as the client's stamps count, and when that was by the clock of the run.
    pub made_ms: u64,
    pub made_us: u64,
    /// Its place among all operations of its client.
    pub number: u64,
}

#[derive(Clone, Debug)]
pub enum OpKind {
    Set {
        /// As JSON text.
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
    /// A `delete`, with all tags that had been acknowledged when it was made.
    RemoveAll {
        tags: Vec<String>,
    },
    Increment {
        by: i64,
    },
    Totals {
        totals: (i64, i64),
    },
    /// A `delete` of a counter.
    Zero,
}

impl OpKind {
    pub fn map_type(&self) -> &'static str {
        match self {
            Self::Set { .. } | Self::Delete { .. } => "lww",
            Self::Add { .. }
            | Self::RemoveTags { .. }
            | Self::RemoveValue { .. }
            | Self::RemoveAll { .. } => "or",
            Self::Increment { .. } | Self::Totals { .. } | Self::Zero => "counter",
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

    pub fn brings_stamp_or_tag(&self) -> bool {
        self.own_stamp().is_some() || matches!(self.kind, OpKind::Add { tag: Some(_), .. })
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
            OpKind::Set { value, at, ttl_ms } => {
                // By a stamp of its own the client knows when the value ends; else it knows the least.
                let expires_at = at.as_ref().zip(*ttl_ms).map_or(0, |(at, ttl_ms)| at.millis + ttl_ms);
                Some(Cell::Lww { at: stamp?, value: Some(value.clone()), expires_at })
            }
            OpKind::Delete { .. } => Some(Cell::Lww { at: stamp?, value: None, expires_at: 0 }),
            OpKind::Add { value, tag, .. } => {
                let stamp = stamp?;
                let tag = tag.clone().unwrap_or_else(|| stamp.text());
                Some(or(Some((tag, (stamp, value.clone()))), &[]))
            }
            // Else nothing was acknowledged of what it removes, so that a crash may have taken it before.
            OpKind::RemoveTags { tags } | OpKind::RemoveValue { tags, .. } | OpKind::RemoveAll { tags } => {
                (!tags.is_empty()).then(|| or(None, tags))
            }
            OpKind::Increment { .. } | OpKind::Totals { .. } | OpKind::Zero => None,
        }
    }

    /// Whether something is left of its key once it is acknowledged, be it what remembers that something is gone.
    pub fn leaves_something(&self) -> bool {
        match &self.kind {
            OpKind::RemoveTags { tags } | OpKind::RemoveValue { tags, .. } | OpKind::RemoveAll { tags } => {
                !tags.is_empty()
            }
            OpKind::Zero => false,
            OpKind::Set { .. }
            | OpKind::Delete { .. }
            | OpKind::Add { .. }
            | OpKind::Increment { .. }
            | OpKind::Totals { .. } => true,
        }
    }

    /// Whether nothing may be left of its key after it, now or when a time is up.
    pub fn may_end_something(&self) -> bool {
        !matches!(
            self.kind,
            OpKind::Set { ttl_ms: None, .. }
                | OpKind::Add { .. }
                | OpKind::Increment { .. }
                | OpKind::Totals { .. }
                | OpKind::Zero
        )
    }

    /// Whether a client that does not hear its own changes cannot know what it did.
    pub fn is_opaque(&self) -> bool {
        matches!(
            self.kind,
            OpKind::RemoveValue { .. }
                | OpKind::RemoveAll { .. }
                | OpKind::Increment { .. }
                | OpKind::Totals { .. }
                | OpKind::Zero
        )
    }

    pub fn write_to(&self, out: &mut String, map: &str, client: &str) {
        let _ = write!(out, r#"{{"map":"{map}","key":"{}","op":"#, self.key);
        let _ = match &self.kind {
            OpKind::Set { value, ttl_ms, .. } => {
                let ttl = ttl_ms.map_or(String::new(), |ttl_ms| format!(r#","ttl_ms":{ttl_ms}"#));
                write!(out, r#""set","value":{value}{ttl}"#)
            }
            // Else it would be a deletion of a contested map, whatever its type.
            OpKind::Delete { at: None } => write!(out, r#""delete","map_type":"lww""#),
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
            OpKind::RemoveAll { .. } => write!(out, r#""delete","map_type":"or""#),
            OpKind::Zero => write!(out, r#""delete","map_type":"counter""#),
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
    pub(super) fn op(&mut self, map: usize, key: String, kind: OpKind, context: &Context<'_>) -> Op {
        self.next_op += 1;
        Op { map, key, kind, made_ms: context.unix_ms, made_us: context.now_us, number: self.next_op }
    }

    /// Notes the stamp the server gave an operation: on one key they are applied in the order they were sent.
    pub(super) fn note_given(&mut self, op: &Op, stamp: &Stamp) {
        let given = self.given.entry((op.map, op.key.clone())).or_default();
        let before = given.range(..op.number).next_back().is_none_or(|(_, before)| before < stamp);
        let after = given.range(op.number..).next().is_none_or(|(_, after)| after > stamp);
        assert!(before && after, "{op:?} was not applied in its turn: {stamp:?} among {given:?}");
        given.insert(op.number, stamp.clone());
    }

    pub(super) fn op_kind(&mut self, map: usize, key: &str, context: &mut Context<'_>) -> OpKind {
        let kind = match context.scenario.maps[map].kind {
            Kind::Contested => context.random.pick(&[Kind::Lww, Kind::Or, Kind::Rising]),
            kind => kind,
        };
        match kind {
            Kind::Lww if context.random.per_mille(250) => OpKind::Delete { at: self.at(context) },
            Kind::Lww if context.random.per_mille(100) => {
                OpKind::Set { value: "null".to_owned(), at: self.at(context), ttl_ms: None }
            }
            Kind::Lww => {
                let at = self.at(context);
                let ttl_ms = context.random.per_mille(100).then(|| context.random.between(1, 3000) as u64);
                let ends = if ttl_ms.is_some() { ENDS } else { "" };
                let text = format!("{}{ends}", self.value(context));
                OpKind::Set { value: fields(&text, context), at, ttl_ms }
            }
            Kind::Or => self.or_kind(map, key, context),
            // Of one key of them, as nobody can say what it counts from then on.
            Kind::Counter if key == ZEROED_KEY && context.random.per_mille(100) => {
                context.oracle.zero_sent(map, key);
                OpKind::Zero
            }
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
            Kind::Lww => OpKind::Set { value: format!("{:?}", self.value(context)), at: None, ttl_ms: None },
            Kind::Or => OpKind::Add { value: self.value(context), tag: None, at: None },
            _ => OpKind::Increment { by: 1 },
        };
        self.op(map, key.to_owned(), kind, context)
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
                let tags = context.oracle.tags_of(map, key, Some(&value));
                OpKind::RemoveValue { value, tags }
            }
            3 if context.random.per_mille(100) => {
                OpKind::RemoveAll { tags: context.oracle.tags_of(map, key, None) }
            }
            _ => {
                let own_tag = context.scenario.brings_stamps && context.random.per_mille(300);
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
        if !context.scenario.brings_stamps || !context.random.per_mille(300) {
            return None;
        }
        let millis = match context.random.below(20) {
            0..10 => context.unix_ms,
            10..15 => context.unix_ms - context.random.below(100_000) as u64,
            15..19 => context.unix_ms + context.random.below(10_000) as u64,
            _ => context.unix_ms + 200_000,
        };
        // No two stamps of clients have the same time and counter, as SyncKit's clients see nothing else of a stamp.
        let count = self.stamped.entry(millis).or_default();
        let counter = *count * CLIENTS_MAX as u64 + self.index as u64;
        if counter >= COUNTERS {
            // These are one and the same to SyncKit's clients.
            return None;
        }
        *count += 1;
        Some(Stamp { millis, counter, node: self.name.clone() })
    }
}

/// A value with that text, by itself or with fields beside it, which queries ask for; in canonical form.
fn fields(text: &str, context: &mut Context<'_>) -> String {
    let random = &mut *context.random;
    if random.below(3) == 0 {
        return format!("\"{text}\"");
    }
    let mut value = format!("{FIELDS_START}{text}\"");
    if random.per_mille(800) {
        write!(value, r#","kind":"{}""#, random.pick(&FIELD_KINDS)).expect("memory takes every write");
    }
    if random.per_mille(800) {
        write!(value, r#","n":{}"#, random.below(FIELD_NUMBERS)).expect("memory takes every write");
    }
    value + "}"
}

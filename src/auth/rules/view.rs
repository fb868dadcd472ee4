//! What one may do with a map, and what of its values: the part of a grant that is about them.
//!
//! Two connections whose views are equal are told the same, so they share a feed. A view is equal to another of the same rules,
//! as long as what those look at is the same.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use cel::common::value::Val;
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::condition::{Bound, Condition, Subject, val};
use super::fields::Fields;
use super::pattern::Pattern;
use super::{Rule, Rules};
use crate::limits::CONDITION_STEPS_MAX;

/// Units of work of one step of a condition.
const STEP: usize = 8;

/// One rule as it is for somebody.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its place in the file.
    pub(super) rule: usize,
    /// `None`: all keys.
    pub(super) keys: Option<Box<[Pattern]>>,
    pub(super) bound: Option<Arc<Bound>>,
}

impl Part {
    fn bound_text(&self) -> Option<&str> {
        self.bound.as_deref().map(Bound::text)
    }
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        (self.rule, &self.keys, self.bound_text()) == (other.rule, &other.keys, other.bound_text())
    }
}

impl Eq for Part {}

impl Hash for Part {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.rule, &self.keys, self.bound_text()).hash(state);
    }
}

/// What somebody may do in one way with one map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// With all keys, whatever their values.
    All,
    None,
    /// It depends.
    Parts(Arc<Parts>),
}

/// The rules that it depends on.
#[derive(Debug)]
pub struct Parts {
    rules: Arc<Rules>,
    list: Box<[Part]>,
    needs_values: bool,
}

impl PartialEq for Parts {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rules, &other.rules) && self.list == other.list
    }
}

impl Eq for Parts {}

impl Hash for Parts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.list.hash(state);
    }
}

/// One value that somebody asks about.
pub struct Facts<'a> {
    pub map: &'a str,
    pub key: &'a str,
    /// Canonical JSON that is written or read; of a removal, what it removes.
    pub value: Option<&'a [u8]>,
    /// What is there; of what is read, the same.
    pub current: Option<&'a [u8]>,
    /// As conditions have them, made when the first one asks.
    made: OnceCell<[Box<dyn Val>; 4]>,
}

impl<'a> Facts<'a> {
    pub const fn new(map: &'a str, key: &'a str, value: Option<&'a [u8]>, current: Option<&'a [u8]>) -> Self {
        Self { map, key, value, current, made: OnceCell::new() }
    }

    /// About a value that is read.
    pub const fn read(map: &'a str, key: &'a str, value: &'a [u8]) -> Self {
        Self::new(map, key, Some(value), Some(value))
    }

    /// The same where another value would be written.
    const fn with<'b>(&'b self, value: &'b [u8]) -> Facts<'b> {
        Facts::new(self.map, self.key, Some(value), self.current)
    }

    fn subject(&self) -> Subject<'_> {
        let json = |value: Option<&[u8]>| {
            value.and_then(|text| serde_json::from_slice(text).ok()).unwrap_or_default()
        };
        let [map, key, value, current] = self.made.get_or_init(|| {
            let [map, key] = [self.map, self.key].map(|name| val(&Value::from(name)));
            [map, key, val(&json(self.value)), val(&json(self.current))]
        });
        Subject { map: &**map, key: &**key, value: &**value, current: &**current }
    }

    /// Elements of lists and objects, at most.
    fn elements(&self) -> usize {
        let commas = |text: &[u8]| 1 + text.iter().filter(|&&byte| byte == b',').count();
        self.value.map_or(0, commas) + self.current.map_or(0, commas)
    }

    fn bytes(&self) -> usize {
        self.value.map_or(0, <[u8]>::len) + self.current.map_or(0, <[u8]>::len)
    }
}

/// What asking has cost, and how often there was no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Rules looked at, and nodes of conditions times elements of values.
    pub work: usize,
    /// Conditions that could not be evaluated.
    pub undecided: usize,
}

impl View {
    pub(super) fn of<'a>(rules: &Arc<Rules>, parts: impl Iterator<Item = &'a Part>) -> Self {
        let list: Box<[Part]> = parts.cloned().collect();
        let needs_values = list.iter().any(|part| {
            let rule = rules.rule(part.rule);
            rule.fields.is_some() || rule.when.as_ref().is_some_and(Condition::looks_at_values)
        });
        Self::Parts(Arc::new(Parts { rules: Arc::clone(rules), list, needs_values }))
    }

    /// What one who reads may see: `None`: nothing; of a map that may be seen, the parts that decide, or none of these for all.
    pub const fn seen(&self) -> Option<Option<&Arc<Parts>>> {
        match self {
            Self::All => Some(None),
            Self::None => None,
            Self::Parts(parts) => Some(Some(parts)),
        }
    }

    /// Which fields of a value the view has; `None`: it does not have the value.
    pub fn fields(&self, facts: &Facts<'_>, asked: &mut Asked) -> Option<Fields> {
        match self {
            Self::All => Some(Fields::every()),
            Self::None => None,
            Self::Parts(parts) => parts.fields(facts, asked),
        }
    }
}

impl Parts {
    /// Whether keys alone do not decide.
    pub const fn need_values(&self) -> bool {
        self.needs_values
    }

    /// Texts with exactly one of which each key begins that they allow anything of; `None` where it may be any key.
    pub fn key_beginnings(&self) -> Option<Vec<&str>> {
        let mut beginnings = Vec::new();
        for part in self.list.iter().filter(|part| !self.rules.rule(part.rule).is_deny) {
            for pattern in part.keys.as_ref()? {
                beginnings.push(pattern.beginning()?);
            }
        }
        beginnings.sort_unstable();
        beginnings.dedup_by(|next, last| next.starts_with(&**last));
        Some(beginnings)
    }

    /// The same for equal parts of the same file, after a start, too: who has seen something through others may lack some of it.
    pub fn digest(&self) -> u64 {
        let mut hasher = Xxh3::new();
        self.rules.digest.hash(&mut hasher);
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Whether they allow something of a key, as far as that alone decides.
    pub fn allow_key(&self, map: &str, key: &str, asked: &mut Asked) -> bool {
        self.fields(&Facts::new(map, key, None, None), asked).is_some()
    }

    /// Which fields of a value they allow; `None`: not the value at all.
    pub fn fields(&self, facts: &Facts<'_>, asked: &mut Asked) -> Option<Fields> {
        let mut allowed: Option<Fields> = None;
        let (denying, allowing): (Vec<_>, Vec<_>) = self
            .list
            .iter()
            .map(|part| (part, self.rules.rule(part.rule)))
            .partition(|(_, rule)| rule.is_deny);
        for (part, rule) in allowing {
            if holds(part, rule, facts, asked) == Some(true) {
                allowed.get_or_insert_with(Fields::none).allow(rule.fields.as_ref());
            }
        }
        let mut fields = allowed?;
        for (part, rule) in denying {
            // No answer denies.
            if holds(part, rule, facts, asked) != Some(false) {
                fields.deny(rule.fields.as_ref()?);
            }
        }
        Some(fields)
    }

    /// What a write of `facts.value` over what is there makes of it; `None` if it is forbidden. `facts.value` is there.
    ///
    /// Conditions are asked about what would be there afterwards, so that no field that may not change opens a door.
    pub fn written<'a>(&self, facts: &Facts<'a>, asked: &mut Asked) -> Option<Cow<'a, [u8]>> {
        let value = facts.value?;
        let mut allowed: Option<Fields> = None;
        for part in &self.list {
            let rule = self.rules.rule(part.rule);
            if rule.is_deny {
                continue;
            }
            let mut own = Fields::none();
            own.allow(rule.fields.as_ref());
            let Some(written) = own.written(value, facts.current) else { continue };
            if holds(part, rule, &facts.with(&written), asked) == Some(true) {
                allowed.get_or_insert_with(Fields::none).allow(rule.fields.as_ref());
            }
        }
        let mut fields = allowed?;
        // What is kept may make another value than the one that was asked about: until they agree. Fields become only fewer.
        for _ in 0..=self.list.len() {
            let written = fields.written(value, facts.current)?;
            let before = fields.clone();
            fields.narrow(&self.fields(&facts.with(&written), asked)?);
            if fields == before {
                return Some(written);
            }
        }
        None
    }
}

/// Whether a rule is about a value; `None` if its condition has no answer.
pub(super) fn holds(part: &Part, rule: &Rule, facts: &Facts<'_>, asked: &mut Asked) -> Option<bool> {
    asked.work += 1;
    if part.keys.as_ref().is_some_and(|keys| !keys.iter().any(|key| key.matches(facts.key))) {
        return Some(false);
    }
    let (Some(condition), Some(bound)) = (&rule.when, &part.bound) else { return Some(true) };
    let steps = condition.steps(if condition.looks_at_values() { facts.elements() } else { 0 });
    asked.work += STEP * steps.min(CONDITION_STEPS_MAX);
    asked.work += if condition.looks_at_values() { facts.bytes() } else { 0 };
    if steps > CONDITION_STEPS_MAX {
        asked.undecided += 1;
        return None;
    }
    let met = condition.is_met(bound, facts.subject());
    asked.undecided += usize::from(met.is_err());
    met.ok()
}

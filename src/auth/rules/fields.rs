//! Fields of values that are objects: which may be seen, and which may change.
//!
//! Values are canonical JSON, and what is made of them is, too: what stands at a field is copied as it is.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::wire::json::write_string;

/// Names of fields, as one rule has them.
pub type Names = Arc<BTreeSet<Box<str>>>;

/// Some fields of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Of all that are allowed; `None`: every one.
    allowed: Option<BTreeSet<Box<str>>>,
    denied: BTreeSet<Box<str>>,
}

type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

impl Fields {
    pub const fn every() -> Self {
        Self { allowed: None, denied: BTreeSet::new() }
    }

    pub const fn none() -> Self {
        Self { allowed: Some(BTreeSet::new()), denied: BTreeSet::new() }
    }

    /// Allows those, too; `None`: every one.
    pub fn allow(&mut self, names: Option<&Names>) {
        match names {
            None => self.allowed = None,
            Some(names) => {
                if let Some(allowed) = &mut self.allowed {
                    allowed.extend(names.iter().cloned());
                }
            }
        }
    }

    pub fn deny(&mut self, names: &Names) {
        self.denied.extend(names.iter().cloned());
    }

    /// Only those that are among `other`, too.
    pub fn narrow(&mut self, other: &Self) {
        self.denied.extend(other.denied.iter().cloned());
        match (&mut self.allowed, &other.allowed) {
            (_, None) => {}
            (Some(allowed), Some(other)) => allowed.retain(|name| other.contains(name)),
            (all @ None, Some(other)) => *all = Some(other.clone()),
        }
    }

    pub fn is_every(&self) -> bool {
        self.allowed.is_none() && self.denied.is_empty()
    }

    fn has(&self, name: &str) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.contains(name)) && !self.denied.contains(name)
    }

    /// What may be seen of a value; `None` if that is nothing of it, as of one that has no fields.
    pub fn seen<'a>(&self, value: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if self.is_every() {
            return Some(Cow::Borrowed(value));
        }
        let mut object = object(value)?;
        let all = object.len();
        object.retain(|name, _| self.has(name));
        match object.len() {
            0 => None,
            some if some == all => Some(Cow::Borrowed(value)),
            _ => Some(Cow::Owned(text(&object))),
        }
    }

    /// What a write of `value` over `current` makes of it: fields that may not change stay as they are. `None` if none that may
    /// change does, or if there would be no fields.
    pub fn written<'a>(&self, value: &'a [u8], current: Option<&[u8]>) -> Option<Cow<'a, [u8]>> {
        if self.is_every() {
            return Some(Cow::Borrowed(value));
        }
        let proposed = object(value)?;
        let current = current.and_then(object).unwrap_or_default();
        let differs = |name: &&Cow<'_, str>| {
            self.has(name)
                && proposed.get(*name).map(|raw| raw.get()) != current.get(*name).map(|raw| raw.get())
        };
        // Who writes what is there already changes nothing, and is told that it is done.
        let is_same = proposed.len() == current.len()
            && proposed.iter().all(|(name, raw)| current.get(name).is_some_and(|own| own.get() == raw.get()));
        if !is_same && !proposed.keys().chain(current.keys()).any(|name| differs(&name)) {
            return None;
        }
        let mut merged = Object::new();
        merged.extend(
            proposed.iter().filter(|(name, _)| self.has(name)).map(|(name, raw)| (name.clone(), *raw)),
        );
        merged.extend(
            current.iter().filter(|(name, _)| !self.has(name)).map(|(name, raw)| (name.clone(), *raw)),
        );
        Some(Cow::Owned(text(&merged)))
    }
}

fn object(value: &[u8]) -> Option<Object<'_>> {
    serde_json::from_slice(value).ok()
}

fn text(object: &Object<'_>) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (at, (name, raw)) in object.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_string(&mut out, name);
        out.push(b':');
        out.extend_from_slice(raw.get().as_bytes());
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Names {
        Arc::new(names.iter().map(|name| Box::from(*name)).collect())
    }

    fn only(allowed: &[&str]) -> Fields {
        let mut fields = Fields::none();
        fields.allow(Some(&names(allowed)));
        fields
    }

    fn seen(fields: &Fields, value: &str) -> Option<String> {
        fields.seen(value.as_bytes()).map(|seen| String::from_utf8(seen.into()).expect("JSON"))
    }

    fn written(fields: &Fields, value: &str, current: Option<&str>) -> Option<String> {
        let written = fields.written(value.as_bytes(), current.map(str::as_bytes))?;
        Some(String::from_utf8(written.into()).expect("JSON"))
    }

    #[test]
    fn only_allowed_fields_are_seen() {
        let fields = only(&["a", "é"]);
        assert_eq!(seen(&fields, r#"{"a":1,"b":2}"#).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(
            seen(&fields, r#"{"a":{"b":1.0e3},"é":"\n"}"#).as_deref(),
            Some(r#"{"a":{"b":1.0e3},"é":"\n"}"#)
        );
        for nothing in [r#"{"b":2}"#, "{}", "1", "null", "[]", r#""a""#] {
            assert_eq!(seen(&fields, nothing), None, "{nothing}");
        }
        let mut fields = Fields::every();
        assert_eq!(seen(&fields, "1").as_deref(), Some("1"));
        fields.deny(&names(&["a"]));
        assert_eq!(seen(&fields, r#"{"a":1,"b":2}"#).as_deref(), Some(r#"{"b":2}"#));
        assert_eq!((seen(&fields, r#"{"a":1}"#), seen(&fields, "1")), (None, None));
    }

    #[test]
    fn several_rules_add_up() {
        let mut fields = only(&["a"]);
        fields.allow(Some(&names(&["b", "c"])));
        fields.deny(&names(&["c"]));
        assert_eq!(seen(&fields, r#"{"a":1,"b":2,"c":3,"d":4}"#).as_deref(), Some(r#"{"a":1,"b":2}"#));
        fields.allow(None);
        assert_eq!(seen(&fields, r#"{"c":3,"d":4}"#).as_deref(), Some(r#"{"d":4}"#));
    }

    #[test]
    fn a_field_that_may_not_change_stays() {
        let fields = only(&["a"]);
        let current = Some(r#"{"a":1,"b":2}"#);
        for (value, expected) in [
            (r#"{"a":5,"b":9}"#, Some(r#"{"a":5,"b":2}"#)),
            (r#"{"a":5}"#, Some(r#"{"a":5,"b":2}"#)),
            (r#"{"b":2}"#, Some(r#"{"b":2}"#)),
            (r#"{"c":2}"#, Some(r#"{"b":2}"#)),
            (r#"{"a":1,"b":2}"#, Some(r#"{"a":1,"b":2}"#)),
            (r#"{"a":1,"b":9}"#, None),
            (r#"{"a":1}"#, None),
            ("7", None),
        ] {
            assert_eq!(written(&fields, value, current).as_deref(), expected, "{value}");
        }
        assert_eq!(written(&fields, r#"{"a":1,"b":2}"#, None).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(written(&fields, r#"{"b":2}"#, None), None);
        assert_eq!(written(&fields, r#"{"a":1}"#, Some("7")).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(written(&Fields::every(), "7", current).as_deref(), Some("7"));
    }
}

//! All that has ever been, and whether somebody may be told something, given that.

use std::collections::{BTreeMap, BTreeSet};

use crate::naive::{Doing, Rules, Who};
use crate::replica::Told;

/// What has ever been at a key: by map, key and tag.
pub type History = BTreeMap<(usize, String, String), BTreeSet<String>>;

pub fn is_gone(told: &Told) -> bool {
    matches!(told, Told::Value { value: None, .. } | Told::Count { count: None, .. } | Told::Removed { .. })
}

/// Whether somebody may be told that, given all that has ever been.
pub fn is_allowed(
    (rules, doing, who): (&Rules, Doing, Who),
    history: &History,
    map: usize,
    told: &Told,
) -> bool {
    let nothing = BTreeSet::new();
    let ever = |key: &String, tag: &str| history.get(&(map, key.clone(), tag.to_owned())).unwrap_or(&nothing);
    let seen = |key: &str, value: Option<&str>| rules.seen(doing, who, key, value);
    let is_of_keys = |key: &str| rules.are_about_keys(doing) && seen(key, None).is_some();
    let could_be_seen = |key: &String, tag: &str| {
        ever(key, tag).iter().any(|value| seen(key, Some(value)).is_some()) || is_of_keys(key)
    };
    let was_seen_as = |key: &String, tag: &str, told: &String| {
        ever(key, tag).iter().any(|value| seen(key, Some(value)).as_ref() == Some(told))
    };
    match told {
        Told::Value { key, value: Some(value), .. } => was_seen_as(key, "", value),
        Told::Count { key, count: Some(count) } => was_seen_as(key, "", count),
        Told::Tag { key, tag, value } => was_seen_as(key, tag, value),
        Told::Value { key, value: None, .. } | Told::Count { key, count: None } => could_be_seen(key, ""),
        Told::Removed { key, tag } => could_be_seen(key, tag),
    }
}

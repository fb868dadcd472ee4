//! `?strict=1`: what is probably a slip is told instead of ignored. For development: a request in which something is unknown
//! is refused as a whole.

use std::fmt::Write;

use simd_json::Node;

use crate::wire::json::{Elements, Members, Object};

/// A slip, as `error` tells it.
#[derive(Debug, PartialEq, Eq)]
pub struct Slip {
    pub code: &'static str,
    pub message: String,
}

/// Names, each with the fields it has beside those that all have.
type Kinds = &'static [(&'static str, &'static [&'static str])];

const REQUESTS: Kinds = &[
    ("ping", &[]),
    ("auth", &["token"]),
    ("write", &["ack", "ops"]),
    ("read", &["map", "keys"]),
    ("subscribe", &["map", "since", "keys", "prefix", "snapshot", "echo", "query"]),
    ("unsubscribe", &["map", "query"]),
    ("digest", &["map"]),
    ("presence.join", &["room", "state", "grace_ms"]),
    ("presence.watch", &["room"]),
    ("presence.update", &["room", "state"]),
    ("presence.leave", &["room"]),
    ("presence.list", &["room", "after", "limit"]),
    ("disconnect", &["user"]),
    ("join", &["channel", "since"]),
    ("leave", &["channel"]),
    ("publish", &["channel", "data", "ack", "echo"]),
    ("history", &["channel", "before", "limit"]),
    ("send", &["to", "data", "ttl_ms", "ack"]),
    ("direct.ack", &["through"]),
    ("block", &["user"]),
    ("unblock", &["user"]),
    ("client_error", &["message", "context"]),
];
const OPERATIONS: Kinds = &[
    ("set", &["value", "at", "ttl_ms"]),
    ("delete", &["at", "map_type"]),
    ("add", &["value", "tag", "at"]),
    ("remove", &["tags", "value"]),
    ("increment", &["by", "replica", "added", "subtracted"]),
];
const QUERY: &[&str] = &["where", "sort", "limit", "offset"];
const QUERIES: Kinds = &[("query", QUERY)];
const ACKS: Kinds = &[("none", &[]), ("memory", &[]), ("durable", &[]), ("replicated", &[])];

/// How alike two words must be for one to be meant by the other, as `clap` has it.
const LIKENESS_MIN: f64 = 0.7;
/// Characters of a client's own word that are repeated to it.
const WORD_CHARACTERS_MAX: usize = 64;

/// # Errors
/// The first slip in the message. What is wrong in other ways is not looked at.
pub fn check(object: &Object<'_>) -> Result<(), Slip> {
    let kind = known_word(object.members(), "type", REQUESTS, "", "unknown_type")?;
    let Some((kind, fields)) = kind else { return Ok(()) };
    check_names(object.members(), &["type", "id"], kind, fields, REQUESTS, "")?;
    if kind == "subscribe" {
        let query = object.members().filter(|(name, _)| *name == "query").last();
        let query = query.and_then(|(_, value)| Members::of(value));
        return query.map_or(Ok(()), |query| check_names(query, &[], "query", QUERY, QUERIES, " in query"));
    }
    if kind != "write" {
        return Ok(());
    }
    known_word(object.members(), "ack", ACKS, "", "bad_request")?;
    let operations = object.members().filter(|(name, _)| *name == "ops").last();
    let operations = operations.and_then(|(_, value)| Elements::of(value));
    for (index, element) in operations.into_iter().flatten().enumerate() {
        let Some(members) = Members::of(element) else { continue };
        let place = format!(" in operation {index}");
        if let Some((kind, fields)) = known_word(members, "op", OPERATIONS, &place, "bad_request")? {
            check_names(members, &["map", "key", "op"], kind, fields, OPERATIONS, &place)?;
        }
    }
    Ok(())
}

/// The word that is the last value of `field`; `None` if there is none, which is refused elsewhere.
fn known_word(
    mut members: Members<'_>,
    field: &str,
    kinds: Kinds,
    place: &str,
    code: &'static str,
) -> Result<Option<(&'static str, &'static [&'static str])>, Slip> {
    let value =
        members.by_ref().filter(|(name, _)| *name == field).last().and_then(|(_, value)| value.first());
    let Some(Node::String(word)) = value else { return Ok(None) };
    if let Some(known) = kinds.iter().find(|(name, _)| name == word) {
        return Ok(Some(*known));
    }
    let mut message = format!("unknown {field} {}{place}", quoted(word));
    suggest(&mut message, word, kinds.iter().map(|(name, _)| *name));
    Err(Slip { code, message })
}

/// That all have a meaning in a request or an operation of this `kind`.
fn check_names(
    members: Members<'_>,
    common: &'static [&'static str],
    kind: &str,
    fields: &'static [&'static str],
    kinds: Kinds,
    place: &str,
) -> Result<(), Slip> {
    for (name, _) in members {
        if common.contains(&name) || fields.contains(&name) {
            continue;
        }
        let is_known_elsewhere = kinds.iter().any(|(_, fields)| fields.contains(&name));
        let mut message = match is_known_elsewhere {
            true => format!("{} means nothing to {kind}{place}", quoted(name)),
            false => format!("unknown field {}{place}", quoted(name)),
        };
        if !is_known_elsewhere {
            suggest(&mut message, name, common.iter().chain(fields).copied());
        }
        return Err(Slip { code: "bad_request", message });
    }
    Ok(())
}

fn quoted(word: &str) -> String {
    let mut short: String = word.chars().take(WORD_CHARACTERS_MAX).collect();
    if short.len() < word.len() {
        short.push('…');
    }
    format!("\"{short}\"")
}

/// Appends which of `known` was probably meant.
fn suggest<'a>(message: &mut String, word: &str, known: impl Iterator<Item = &'a str>) {
    let word: String = word.chars().take(WORD_CHARACTERS_MAX).collect();
    let word = word.to_ascii_lowercase();
    let likeness = |known: &str| match strsim::damerau_levenshtein(&word, known) {
        // Two letters in the wrong order, which is much of a short word.
        0..=1 if word.len() > 1 => 1.0,
        _ => strsim::jaro_winkler(&word, known),
    };
    let nearest =
        known.map(|known| (likeness(known), known)).max_by(|left, right| left.0.total_cmp(&right.0));
    if let Some((_, nearest)) = nearest.filter(|(likeness, _)| *likeness > LIKENESS_MIN) {
        let written = write!(message, ", did you mean \"{nearest}\"?");
        debug_assert!(written.is_ok(), "memory takes every write");
    }
}

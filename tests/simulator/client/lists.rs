//! Queries as a client of `/v1` has them: a list each, every step of which must fit what is there, and which at rest is what the
//! query says of the whole map.

use std::collections::BTreeMap;
use std::mem;

use serde_json::{Value, json};
use simd_json::OwnedValue;
use simd_json::prelude::*;

use super::op::{FIELD_KINDS, FIELD_NUMBERS};
use super::{Asked, Client, Context};
use crate::link::Link;
use crate::naive_query;
use crate::random::Random;
use crate::replica::{Cell, Replica};

/// What a refusal may say.
const CODES: [&str; 7] =
    ["too_many_subscriptions", "timeout", "load_failed", "map_type", "overloaded", "cancelled", "too_large"];

/// More entries than any map has.
const RESULTS_MAX: usize = 10_000;

/// Lists by the requests that have asked for them, and those of the connection before.
#[derive(Debug, Default)]
pub struct Lists {
    lists: BTreeMap<u64, List>,
    kept: Vec<List>,
}

/// Entries that are shown: each key with the entry that told of it.
#[derive(Clone, Debug, Default)]
struct List {
    map: usize,
    query: Value,
    limit: usize,
    rows: Vec<(String, Cell)>,
    coming: Vec<(String, Cell)>,
    cursor: String,
    is_live: bool,
}

impl List {
    fn take(&mut self, kind: &str, message: &OwnedValue) {
        let entries = message.get_array("entries").expect("entries");
        let rank = |entry: &OwnedValue| entry.get_usize("rank").expect("a rank");
        if kind == "snapshot" && message.get_bool("resumed") == Some(true) {
            let gone = message.get_array("gone").expect("what is gone");
            let told: Vec<(String, Cell)> = entries.iter().map(Cell::of_entry).collect();
            let is_stale = |key: &String| {
                gone.iter().any(|gone| gone == key.as_str()) || told.iter().any(|(other, _)| other == key)
            };
            self.rows.retain(|(key, _)| !is_stale(key));
            for (entry, row) in entries.iter().zip(told) {
                self.rows.insert(rank(entry), row);
            }
            let count = message.get_usize("count").expect("a count");
            self.rows.truncate(count);
            assert_eq!(self.rows.len(), count, "{message}");
            self.is_live = true;
        } else if kind == "snapshot" {
            for entry in entries {
                assert_eq!(rank(entry), self.coming.len(), "{message}");
                self.coming.push(Cell::of_entry(entry));
            }
            if message.get_bool("more") == Some(true) {
                return;
            }
            self.rows = mem::take(&mut self.coming);
            self.is_live = true;
        } else {
            assert!(self.is_live, "a change of a list that is not there: {message}");
            entries.iter().for_each(|entry| self.step(entry, rank(entry)));
        }
        assert!(self.rows.len() <= self.limit, "{message}");
        self.cursor = message.get_str("cursor").expect("a cursor").to_owned();
    }

    fn step(&mut self, step: &OwnedValue, rank: usize) {
        let key = step.get_str("key").expect("a key");
        let at = self.rows.iter().position(|(other, _)| other == key);
        match (step.get_str("event").expect("an event"), at) {
            ("leave", Some(at)) if at == rank => drop(self.rows.remove(at)),
            ("enter", None) => self.rows.insert(rank, Cell::of_entry(step)),
            ("update", Some(at)) => {
                self.rows.remove(at);
                self.rows.insert(rank, Cell::of_entry(step));
            }
            (_, at) => panic!("{step} does not fit what is there: {at:?} of {:?}", self.rows),
        }
    }
}

impl Lists {
    pub fn count(&self) -> usize {
        self.lists.len()
    }

    /// The connection is gone; some of it may be taken up on the next.
    pub fn disconnected(&mut self) {
        let live = mem::take(&mut self.lists).into_values().filter(|list| list.is_live);
        self.kept = live.map(|list| List { is_live: false, coming: Vec::new(), ..list }).collect();
    }

    /// What was told may have been undone.
    pub fn server_crashed(&mut self) {
        self.kept.clear();
    }

    /// That each list is what its query shows of what the shards hold.
    pub fn check(&self, truth: &BTreeMap<usize, Replica>, sees: impl Fn(&str) -> bool, name: &str) {
        for (id, list) in &self.lists {
            assert!(list.is_live, "{name} never got list {id}");
            let cells = truth.get(&list.map).into_iter().flat_map(|replica| &replica.cells);
            let value_of = |cell: &Cell| match cell {
                Cell::Lww { value, .. } => {
                    value.as_ref().map(|text| serde_json::from_str(text).expect("a value is JSON"))
                }
                _ => panic!("{name} has a query of a map of another type"),
            };
            let there: BTreeMap<&str, (&Cell, Value)> = cells
                .filter(|(key, _)| sees(key))
                .filter_map(|(key, cell)| Some((key.as_str(), (cell, value_of(cell)?))))
                .collect();
            let entries = there.iter().map(|(key, (_, value))| (*key, value));
            let shown: Vec<_> = naive_query::shown(&list.query, entries, RESULTS_MAX)
                .into_iter()
                .map(|key| (key, there[key].0))
                .collect();
            let has: Vec<_> = list.rows.iter().map(|(key, cell)| (key.as_str(), cell)).collect();
            assert_eq!(has, shown, "list {id} of {name}: {} of map {}", list.query, list.map);
        }
    }
}

impl Client {
    /// Asks for a list, or ends one.
    pub(super) fn ask_for_list(&mut self, link: &mut Link, context: &mut Context<'_>) {
        if self.lists.count() >= 3 || context.random.per_mille(300) {
            let Some((&id, list)) = self.lists.lists.iter().next() else { return };
            let name = &context.scenario.maps[list.map].name;
            self.lists.lists.remove(&id);
            let ended = self.ask(Asked::EndList);
            let text = format!(r#"{{"type":"unsubscribe","id":{ended},"map":"{name}","query":{id}}}"#);
            return self.send_text(link, context, &text);
        }
        let map = context.random.below(context.scenario.maps_watched);
        let limit = context.random.between(1, 12);
        let offset = if context.random.per_mille(300) { context.random.between(1, 4) } else { 0 };
        let sort: &[&str] = context.random.pick(&[
            &[][..],
            &["none"],
            &["n"],
            &["-n", "kind"],
            &["kind", "-n"],
            &["-by"],
            &["kind", "n", "-by"],
        ]);
        let condition = condition(context.random, 2);
        let query = json!({ "where": condition, "sort": sort, "offset": offset, "limit": limit });
        self.ask_list(List { map, query, limit, ..List::default() }, link, context);
    }

    /// Takes up the lists of the connection before.
    pub(super) fn take_lists_up(&mut self, link: &mut Link, context: &mut Context<'_>) {
        for list in mem::take(&mut self.lists.kept) {
            self.ask_list(list, link, context);
        }
    }

    fn ask_list(&mut self, list: List, link: &mut Link, context: &mut Context<'_>) {
        let id = self.ask(Asked::List);
        let (name, query) = (&context.scenario.maps[list.map].name, list.query.clone());
        let since = match list.cursor.is_empty() {
            true => String::new(),
            false => format!(r#","since":"{}""#, list.cursor),
        };
        self.lists.lists.insert(id, list);
        let text = format!(r#"{{"type":"subscribe","id":{id},"map":"{name}","query":{query}{since}}}"#);
        self.send_text(link, context, &text);
    }

    /// Takes what is said about a query; whether it was.
    pub(super) fn hear_of_list(&mut self, kind: &str, message: &OwnedValue) -> bool {
        let id = message.get_u64("id");
        let Some(query) = message.get_u64("query") else {
            // It was refused.
            let Some(id) = id.filter(|id| matches!(self.asked.get(id), Some(Asked::List))) else {
                return false;
            };
            let code = message.get_str("code").expect("a refusal");
            assert!(CODES.contains(&code), "{message}");
            self.answered(id, message);
            self.lists.lists.remove(&id);
            return true;
        };
        if kind == "error" {
            assert!(CODES.contains(&message.get_str("code").expect("a code")), "{message}");
            self.lists.lists.remove(&query);
            return true;
        }
        if let Some(list) = self.lists.lists.get_mut(&query) {
            list.take(kind, message);
        }
        if id.is_some() && message.get_bool("more") == Some(false) {
            self.answered(query, message);
        }
        true
    }
}

/// A condition, by chance, on what values of clients have (`fields` in `op.rs`): some of them are texts, with no fields at all.
/// Conditions are in one another up to `depth` deep.
fn condition(random: &mut Random, depth: usize) -> Value {
    let inner = depth.saturating_sub(1);
    let n = random.below(FIELD_NUMBERS);
    let kind = random.pick(&FIELD_KINDS);
    match random.below(if depth > 0 { 12 } else { 8 }) {
        0 => json!({ "none": { "exists": false } }),
        1 => json!({ "n": n }),
        2 => json!({ "n": { (random.pick(&["lt", "le", "gt", "ge", "ne"])): n } }),
        3 => json!({ "kind": kind }),
        4 => json!({ "kind": { (random.pick(&["in", "nin"])): [kind, "b"] } }),
        5 => json!({ "kind": { "prefix": "a" }, "n": { "exists": random.per_mille(800) } }),
        6 => json!({ "n": { "ge": n, "lt": n + 2 } }),
        7 => json!({ "by": { "contains": format!(".{}", n + 1) } }),
        8 => json!({ "not": condition(random, inner) }),
        9 => json!({ "or": [condition(random, inner), condition(random, inner)] }),
        10 => json!({ "and": [condition(random, inner), condition(random, inner)] }),
        _ => json!({ "kind": kind, "or": [condition(random, inner), { "n": n }] }),
    }
}

//! `docs/vectors/queries.json`: what the order of values and the words of `where` and `sort` mean, for the server and for clients
//! that evaluate queries themselves.
//!
//! Method: the vectors are made here, by the naive reading of `docs/queries.md`, from a seed; the file must be these (set
//! `WRITE_VECTORS` to write it), and what the server compiles must say the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "naive_query/mod.rs"]
mod naive;

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use annulus::query::{Fields, Paths, Query, encode};
use annulus::wire::Payload;
use annulus::wire::json::{Parser, Value as Parsed};
use serde_json::{Value, json};

const RESULTS_MAX: usize = 10_000;

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/vectors/queries.json")
}

/// Each before all that follow.
fn ascending() -> Vec<Value> {
    let texts = [
        "null",
        "false",
        "true",
        "-1e308",
        "-2",
        "-1.5",
        "-1",
        "-0.5",
        "0",
        "5e-324",
        "0.5",
        "1",
        "1.5",
        "2",
        "10",
        "9007199254740992",
        "1e22",
        r#""""#,
        r#""\u0000""#,
        r#""\u0000a""#,
        r#""\u0001""#,
        r#""10""#,
        r#""9""#,
        r#""A""#,
        r#""B""#,
        r#""a""#,
        r#""a\u0000""#,
        r#""aa""#,
        r#""é""#,
        "\"\u{FFFD}\"",
        "\"\u{1F600}\"",
        "[]",
        "[null]",
        "[null,null]",
        "[1]",
        r#"[1,"a"]"#,
        "[2]",
        r#"["a"]"#,
        "[[]]",
        "[[],1]",
        "[{}]",
        "{}",
        r#"{"":1}"#,
        r#"{"a":1}"#,
        r#"{"a":1,"b":1}"#,
        r#"{"a":2}"#,
        r#"{"a":"x"}"#,
        r#"{"ab":0}"#,
        r#"{"b":0}"#,
        "{\"\u{FFFD}\":0}",
        "{\"\u{1F600}\":0}",
    ];
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// Pairs that are equal.
fn equal() -> Vec<[Value; 2]> {
    let texts = [
        ["9007199254740993", "9007199254740992"],
        ["1.0", "1"],
        ["-0", "0"],
        ["18446744073709551615", "18446744073709551616"],
        [r#"{"a":1,"b":[2.0]}"#, r#"{"b":[2],"a":1}"#],
        [r#""\u0061""#, r#""a""#],
    ];
    texts.iter().map(|pair| pair.map(|text| serde_json::from_str(text).unwrap())).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) % count as u64) as usize
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

fn values() -> Vec<Value> {
    let mut values: Vec<Value> = vec![json!(null), json!(7), json!("text"), json!([]), json!({})];
    let mut random = Random(1);
    let numbers = [json!(0), json!(1), json!(2), json!(2.5), json!(-1), json!("2"), json!(null), json!(true)];
    let texts = [
        json!("milk"),
        json!("mild"),
        json!("silk"),
        json!(""),
        json!("Milk"),
        json!(3),
        json!("\u{1F600}milk"),
    ];
    let tags =
        [json!([]), json!(["a"]), json!(["b", "a"]), json!([1, [2], {"x": 1}]), json!("a"), json!([null])];
    for _ in 0..35 {
        let mut value = serde_json::Map::new();
        for (name, choices) in [("priority", &numbers[..]), ("title", &texts), ("tags", &tags)] {
            if random.below(5) > 0 {
                value.insert(name.to_owned(), random.of(choices).clone());
            }
        }
        if random.below(3) > 0 {
            value.insert(
                "done".to_owned(),
                random.of(&[json!(true), json!(false), json!(null), json!(0)]).clone(),
            );
        }
        match random.below(4) {
            0 => {
                drop(value.insert(
                    "owner".to_owned(),
                    json!({"name": random.of(&texts), "age": random.of(&numbers)}),
                ))
            }
            1 => drop(value.insert(
                "owner".to_owned(),
                random.of(&[json!("me"), json!([{"name": "x"}]), json!({})]).clone(),
            )),
            _ => {}
        }
        values.push(Value::Object(value));
    }
    values
}

fn conditions() -> Vec<Value> {
    let mut conditions = vec![
        json!({}),
        json!({"and": []}),
        json!({"or": []}),
        json!({"not": {}}),
        json!({"done": false}),
        json!({"done": null}),
        json!({"done": {"ne": false}}),
        json!({"owner": {"eq": {}}}),
        json!({"owner.name": "milk", "done": {"exists": true}}),
        json!({"tags": {"contains": "a"}}),
        json!({"tags": {"contains": {"x": 1}}}),
        json!({"tags": {"contains": null}}),
        json!({"title": {"contains": "il"}}),
        json!({"title": {"contains": ""}}),
        json!({"title": {"prefix": "mil", "ne": "milk"}}),
        json!({"title": {"prefix": ""}}),
        json!({"title": {"gt": "milk"}}),
        json!({"priority": {"ge": 1, "lt": 2.5}}),
        json!({"priority": {"in": [2, "2", null]}}),
        json!({"priority": {"nin": []}}),
        json!({"not": {"priority": {"lt": 2}}}),
        json!({"or": [{"done": true}, {"and": [{"priority": {"gt": 0}}, {"not": {"title": {"exists": false}}}]}]}),
    ];
    let mut random = Random(2);
    for _ in 0..120 {
        conditions.push(condition(&mut random, 2));
    }
    conditions
}

fn condition(random: &mut Random, depth: usize) -> Value {
    if depth > 0 && random.below(3) == 0 {
        return match random.below(3) {
            0 => json!({"and": [condition(random, depth - 1), condition(random, depth - 1)]}),
            1 => json!({"or": [condition(random, depth - 1), condition(random, depth - 1)]}),
            _ => json!({"not": condition(random, depth - 1)}),
        };
    }
    let path =
        *random.of(&["priority", "title", "tags", "done", "owner", "owner.name", "owner.age", "nothing"]);
    let scalars =
        [json!(0), json!(2), json!(2.5), json!("milk"), json!("mild"), json!("2"), json!(true), json!(false)];
    let others = [json!(null), json!([]), json!(["a"]), json!({}), json!("a"), json!(1)];
    let any = |random: &mut Random| match random.below(2) {
        0 => random.of(&scalars).clone(),
        _ => random.of(&others).clone(),
    };
    let operator =
        *random.of(&["eq", "ne", "lt", "le", "gt", "ge", "in", "nin", "prefix", "contains", "exists"]);
    let said = match operator {
        "lt" | "le" | "gt" | "ge" => random.of(&scalars).clone(),
        "in" | "nin" => json!([any(random), any(random)]),
        "prefix" => json!(random.of(&["m", "mil", "milk", ""])),
        "exists" => json!(random.below(2) == 0),
        _ => any(random),
    };
    json!({path: {operator: said}})
}

fn sorts() -> Vec<Value> {
    vec![
        json!([]),
        json!(["priority"]),
        json!(["-priority"]),
        json!(["title", "-done"]),
        json!(["-tags", "priority"]),
        json!(["owner.name", "owner.age", "-title"]),
        json!(["nothing"]),
        json!(["owner", "-owner"]),
    ]
}

/// Queries that are refused, and with which code.
fn refused() -> Vec<(&'static str, Value)> {
    vec![
        ("bad_request", json!([])),
        ("bad_request", json!({"where": []})),
        ("bad_request", json!({"where": {"a": {}}})),
        ("bad_request", json!({"where": {"a": {"gte": 1}}})),
        ("bad_request", json!({"where": {"a": {"lt": null}}})),
        ("bad_request", json!({"where": {"a": {"in": 1}}})),
        ("bad_request", json!({"where": {"a": {"prefix": 1}}})),
        ("bad_request", json!({"where": {"a": {"exists": "yes"}}})),
        ("bad_request", json!({"where": {"and": {}}})),
        ("bad_request", json!({"where": {"a..b": 1}})),
        ("bad_request", json!({"sort": "a"})),
        ("bad_request", json!({"sort": ["-"]})),
        ("bad_request", json!({"limit": "1"})),
        ("value_invalid", json!({"limit": 0})),
        ("value_invalid", json!({"offset": -1})),
        ("too_large", json!({"limit": RESULTS_MAX + 1})),
        ("too_large", json!({"limit": RESULTS_MAX, "offset": 1})),
        ("too_large", json!({"where": {"a": {"in": (0..256).collect::<Vec<_>>()}}})),
        ("too_large", json!({"sort": ["a", "b", "c", "d", "e", "f", "g", "h", "i"]})),
    ]
}

fn vectors() -> Value {
    let values = values();
    let matched: Vec<Value> = conditions()
        .into_iter()
        .map(|condition| {
            let matching = values.iter().enumerate().filter(|(_, value)| naive::matches(&condition, value));
            json!({"where": condition, "matching": matching.map(|(place, _)| place).collect::<Vec<_>>()})
        })
        .collect();
    let keys: Vec<String> = (0..values.len()).map(|place| format!("k{place}")).collect();
    let sorted: Vec<Value> = sorts()
        .into_iter()
        .map(|sort| {
            let entries = keys.iter().map(String::as_str).zip(&values);
            let query = json!({"sort": sort});
            json!({"sort": sort, "keys": naive::shown(&query, entries, RESULTS_MAX)})
        })
        .collect();
    let refused: Vec<Value> =
        refused().into_iter().map(|(code, query)| json!({"code": code, "query": query})).collect();
    json!({
        "about": "See docs/queries.md. `ascending`: each value is before all that follow it; what is missing is before them. `equal`: pairs. \
                  `where`: the places in `values` of those that match. `sort`: the keys of all values, of which the first is \"k0\", in order. \
                  `refused`: queries, and the code of the error.",
        "ascending": ascending(),
        "equal": equal(),
        "values": values,
        "where": matched,
        "sort": sorted,
        "refused": refused,
    })
}

/// One vector a line.
fn written(vectors: &Value) -> String {
    let mut out = String::from("{\n");
    let fields = ["about", "ascending", "equal", "values", "where", "sort", "refused"];
    for (place, name) in fields.iter().enumerate() {
        let end = if place + 1 == fields.len() { "\n" } else { ",\n" };
        match &vectors[name] {
            Value::Array(list) => {
                let list: Vec<String> = list.iter().map(|one| format!("    {one}")).collect();
                out.push_str(&format!("  \"{name}\": [\n{}\n  ]{end}", list.join(",\n")));
            }
            text => out.push_str(&format!("  \"{name}\": {text}{end}")),
        }
    }
    out + "}\n"
}

#[test]
fn the_vectors_are_what_the_page_means() {
    let written = written(&vectors());
    if std::env::var_os("WRITE_VECTORS").is_some() {
        fs::write(page(), &written).unwrap();
    }
    assert_eq!(fs::read_to_string(page()).unwrap(), written, "run this test with WRITE_VECTORS=1");
}

/// A value as the server keeps it.
fn canonical(value: &Value) -> Vec<u8> {
    let mut text = format!("{{\"value\":{value}}}").into_bytes();
    let len = text.len();
    text.resize(len + annulus::limits::PARSE_PADDING_BYTES, 0);
    let object = Parser::new().parse(Payload::new(&mut text, len)).unwrap();
    let (_, nodes) = object.members().next().unwrap();
    let mut out = Vec::new();
    Parsed::new(nodes, object.scratch()).write_canonical(&mut out);
    out
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&canonical(value), &mut out);
    out
}

#[test]
fn the_server_orders_values_as_the_vectors_do() {
    let ascending = ascending();
    for (place, value) in ascending.iter().enumerate() {
        for (other_place, other) in ascending.iter().enumerate() {
            let order = place.cmp(&other_place);
            assert_eq!(naive::compare(Some(value), Some(other)), order, "{value}, {other}, naively");
            assert_eq!(encoded(value).cmp(&encoded(other)), order, "{value}, {other}");
        }
    }
    for [value, other] in equal() {
        assert_eq!(naive::compare(Some(&value), Some(&other)), Ordering::Equal, "{value}, {other}, naively");
        assert_eq!(encoded(&value), encoded(&other), "{value}, {other}");
    }
}

#[test]
fn the_server_finds_what_matches_and_puts_it_in_order() {
    let vectors = vectors();
    let values = vectors["values"].as_array().unwrap();
    for vector in vectors["where"].as_array().unwrap() {
        let found: Vec<usize> = (0..values.len())
            .filter(|&place| Compiled::of(&json!({"where": vector["where"]})).matches(&values[place]))
            .collect();
        assert_eq!(json!(found), vector["matching"], "{}", vector["where"]);
    }
    for vector in vectors["sort"].as_array().unwrap() {
        let mut compiled = Compiled::of(&json!({"sort": vector["sort"]}));
        let mut places: Vec<(Vec<u8>, String)> = values
            .iter()
            .enumerate()
            .map(|(place, value)| (compiled.place(&format!("k{place}"), value), format!("k{place}")))
            .collect();
        places.sort();
        let keys: Vec<String> = places.into_iter().map(|(_, key)| key).collect();
        assert_eq!(json!(keys), vector["sort"].as_array().map(|_| vector["keys"].clone()).unwrap());
    }
}

#[test]
fn the_server_refuses_what_the_vectors_say() {
    for (code, query) in refused() {
        let refusal = Query::parse(&canonical(&query), RESULTS_MAX).map(|_| ()).unwrap_err();
        assert_eq!(refusal.code(), code, "{query}");
    }
}

struct Compiled {
    query: Query,
    paths: Paths,
    slots: Vec<u32>,
    fields: Fields,
}

impl Compiled {
    fn of(query: &Value) -> Self {
        let query = Query::parse(&canonical(query), RESULTS_MAX).unwrap();
        let mut paths = Paths::default();
        let slots = query.paths().iter().map(|path| paths.enter(path)).collect();
        Self { query, paths, slots, fields: Fields::default() }
    }

    fn matches(&mut self, value: &Value) -> bool {
        self.paths.read(Some(&canonical(value)), &mut self.fields);
        self.query.matches(&self.fields, &self.slots)
    }

    fn place(&mut self, key: &str, value: &Value) -> Vec<u8> {
        self.paths.read(Some(&canonical(value)), &mut self.fields);
        let mut place = Vec::new();
        self.query.write_place(&self.fields, &self.slots, key.as_bytes(), &mut place);
        place
    }
}

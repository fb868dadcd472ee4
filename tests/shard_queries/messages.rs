//! What is said, message by message, and what is refused.

use serde_json::{Value, json};

use crate::lists::{Lists, connect, parsed};
use crate::world::{Client, World};

fn ask(world: &mut World, client: Client, text: &str) -> Vec<Value> {
    world.ask(client, text).iter().map(parsed).collect()
}

fn set(world: &mut World, client: Client, key: &str, value: &Value) {
    let text = format!(
        r#"{{"type":"write","ack":"none","ops":[{{"map":"m","key":"{key}","op":"set","value":{value}}}]}}"#
    );
    assert!(ask(world, client, &text).iter().all(|message| message["type"] == "change"));
}

#[test]
fn a_list_is_told_and_then_each_step_of_it() {
    for shards in 1..=3 {
        let mut world = World::in_memory(shards);
        let (writer, client) = (connect(&mut world, 0), connect(&mut world, shards - 1));
        for (key, n) in [("a", 3), ("b", 1), ("c", 2), ("d", 4)] {
            set(&mut world, writer, key, &json!({"n": n, "on": true}));
        }
        set(&mut world, writer, "e", &json!({"n": 0}));
        let subscribe = r#"{"type":"subscribe","id":"q","map":"m","query":{"where":{"on":true},"sort":["n"],"limit":2,"offset":1}}"#;
        let [snapshot] = &ask(&mut world, client, subscribe)[..] else { panic!("one answer") };
        assert_eq!(
            (&snapshot["id"], &snapshot["query"], &snapshot["more"]),
            (&json!("q"), &json!("q"), &json!(false))
        );
        let keys: Vec<&Value> =
            snapshot["entries"].as_array().unwrap().iter().map(|entry| &entry["key"]).collect();
        assert_eq!(keys, ["c", "a"]);
        let steps = |world: &mut World| -> Vec<String> {
            let told = world.received(client);
            let told = told.iter().map(parsed).flat_map(|told| told["entries"].as_array().unwrap().clone());
            told.map(|step| {
                let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
                format!("{} {} {} {}", text("event"), text("key"), step["rank"], step["value"]["n"])
            })
            .collect()
        };
        // b is no longer before the first, d takes its place at the end.
        set(&mut world, writer, "b", &json!({"n": 1}));
        assert_eq!(steps(&mut world), ["leave c 0 null", "enter d 1 4"]);
        set(&mut world, writer, "e", &json!({"n": 0, "on": true}));
        assert_eq!(steps(&mut world), ["leave d 1 null", "enter c 0 2"]);
        set(&mut world, writer, "c", &json!({"n": 9, "on": true}));
        assert_eq!(steps(&mut world), ["leave c 0 null", "enter d 1 4"]);
        set(&mut world, writer, "a", &json!({"n": 3.5, "on": true}));
        assert_eq!(steps(&mut world), ["update a 0 3.5"]);
        set(&mut world, writer, "a", &json!({"n": 5, "on": true}));
        assert_eq!(steps(&mut world), ["update a 1 5"]);
        set(&mut world, writer, "x", &json!({"n": 1}));
        assert!(steps(&mut world).is_empty(), "it does not match");
        let end = r#"{"type":"unsubscribe","id":5,"map":"m","query":"q"}"#;
        assert_eq!(ask(&mut world, client, end), [json!({"type":"unsubscribed","id":5,"map":"m"})]);
        set(&mut world, writer, "a", &json!({"n": 6, "on": true}));
        assert!(steps(&mut world).is_empty());
    }
}

#[test]
fn a_writer_sees_its_own_changes_and_beside_a_query_its_map_is_told_as_ever() {
    let mut world = World::in_memory(2);
    let client = connect(&mut world, 1);
    let mut lists = Lists::default();
    let text = lists.subscribe(1, "m", &json!({"sort": ["-n"]}));
    world.ask(client, r#"{"type":"subscribe","id":9,"map":"m"}"#);
    world.send(client, &text);
    world.settle();
    lists.take(&mut world, client);
    let text = r#"{"type":"write","id":2,"ops":[{"map":"m","key":"a","op":"set","value":{"n":1}}]}"#;
    world.ask(client, text).iter().for_each(|message| lists.take_one(&parsed(message)));
    assert_eq!(lists.lists[&1].rows.len(), 1);
    let types: Vec<&str> = lists.others.iter().map(|message| message["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["ack"], "its own change is told to the list alone: {:?}", lists.others);
    world.ask(client, r#"{"type":"unsubscribe","id":3,"map":"m"}"#);
    let other = connect(&mut world, 0);
    set(&mut world, other, "b", &json!({"n": 2}));
    lists.take(&mut world, client);
    assert_eq!(lists.lists[&1].rows[0].0, "b", "the query goes on without it");
}

#[test]
fn what_is_wrong_is_refused_field_by_field() {
    let mut world = World::in_memory(2);
    let client = connect(&mut world, 0);
    world.ask(
        client,
        r#"{"type":"write","ack":"none","ops":[{"map":"c","key":"k","op":"increment","by":1}]}"#,
    );
    for (code, rest) in [
        ("bad_request", r#""map":"m","query":[]"#),
        ("bad_request", r#""map":"m","query":{"where":{"a":{"gte":1}}}"#),
        ("bad_request", r#""map":"m","query":{"where":1}"#),
        ("bad_request", r#""map":"m","query":{"sort":{}}"#),
        ("bad_request", r#""map":"m","query":{"limit":"5"}"#),
        ("value_invalid", r#""map":"m","query":{"limit":0}"#),
        ("value_invalid", r#""map":"m","query":{"offset":-1}"#),
        ("too_large", r#""map":"m","query":{"limit":10001}"#),
        ("too_large", r#""map":"m","query":{"limit":9000,"offset":1001}"#),
        ("value_invalid", r#""map":"m","query":{"where":{"a":"\ud800"}}"#),
        ("bad_request", r#""map":"m","query":{},"snapshot":false"#),
        ("bad_request", r#""map":"m","query":{},"since":"yesterday""#),
        ("bad_request", r#""map":"m","query":{},"keys":["a"],"prefix":"b""#),
        ("bad_request", r#""query":{}"#),
        ("map_type", r#""map":"c","query":{}"#),
    ] {
        let told = ask(&mut world, client, &format!(r#"{{"type":"subscribe","id":7,{rest}}}"#));
        assert_eq!(told.len(), 1, "{rest}: {told:?}");
        assert_eq!((&told[0]["id"], &told[0]["code"]), (&json!(7), &json!(code)), "{rest}: {told:?}");
    }
    let told = ask(&mut world, client, r#"{"type":"subscribe","map":"m","query":{}}"#);
    assert_eq!(told[0]["code"], "bad_request", "without an id nobody could tell it from others");
    let told = ask(&mut world, client, r#"{"type":"unsubscribe","id":1,"map":"m","query":{}}"#);
    assert_eq!(told[0]["code"], "bad_request");
    let told = ask(&mut world, client, r#"{"type":"unsubscribe","id":1,"map":"m","query":77}"#);
    assert_eq!(told[0]["type"], "unsubscribed", "whether there is one or not");
    assert_eq!(world.metrics().subscriptions, 0);
}

#[test]
fn a_map_that_becomes_another_type_ends_its_queries() {
    for shards in 1..=3 {
        let mut world = World::in_memory(shards);
        let (client, writer) = (connect(&mut world, 0), connect(&mut world, shards - 1));
        let mut lists = Lists::default();
        for id in 1..=2 {
            let text = lists.subscribe(id, "m", &json!({"limit": id}));
            world.send(client, &text);
        }
        world.settle();
        lists.take(&mut world, client);
        world.ask(
            writer,
            r#"{"type":"write","ack":"none","ops":[{"map":"m","key":"k","op":"increment","by":1}]}"#,
        );
        lists.take(&mut world, client);
        let ended: Vec<&str> = lists.lists.values().filter_map(|list| list.ended.as_deref()).collect();
        assert_eq!(ended, ["map_type", "map_type"]);
        assert_eq!(world.metrics().subscriptions, 0);
    }
}

#[test]
fn a_request_that_is_overtaken_is_answered_before_the_other() {
    let mut world = World::in_memory(1);
    let client = connect(&mut world, 0);
    let subscribe = r#"{"type":"subscribe","id":1,"map":"m","query":{}}"#;
    world.send(client, subscribe);
    world.send(client, subscribe);
    world.send(client, r#"{"type":"unsubscribe","id":2,"map":"m","query":1}"#);
    world.settle();
    let told: Vec<Value> = world.received(client).iter().map(parsed).collect();
    let told: Vec<String> = told
        .iter()
        .map(|told| format!("{} {}", told["id"], told.get("code").unwrap_or(&told["type"])))
        .collect();
    assert_eq!(told, ["1 \"cancelled\"", "1 \"cancelled\"", "2 \"unsubscribed\""]);
}

#[test]
fn who_comes_back_is_told_the_difference() {
    for shards in 1..=3 {
        let mut world = World::in_memory(shards);
        let writer = connect(&mut world, 0);
        for n in 0..40 {
            set(&mut world, writer, &format!("k{n:02}"), &json!({"n": n, "on": true}));
        }
        let queries = [
            json!({"where": {"on": true}, "sort": ["n"]}),
            json!({"where": {"on": true}, "sort": ["-n"], "limit": 10}),
            json!({"where": {"on": true}, "sort": ["n"], "limit": 10, "offset": 2}),
        ];
        let mut lists = Lists::default();
        let client = connect(&mut world, shards - 1);
        for (id, query) in (0..).zip(&queries) {
            let text = lists.subscribe(id, "m", query);
            world.send(client, &text);
        }
        world.settle();
        lists.take(&mut world, client);
        world.close(client);
        world.settle();
        set(&mut world, writer, "k05", &json!({"n": 5}));
        set(&mut world, writer, "k07", &json!({"n": 70, "on": true}));
        set(&mut world, writer, "k99", &json!({"n": 50, "on": true}));
        let client = connect(&mut world, 0);
        for text in lists.come_back("m") {
            world.send(client, &text);
        }
        world.settle();
        let told: Vec<Value> = world.received(client).iter().map(parsed).collect();
        for message in &told {
            lists.take_one(message);
            if message["resumed"] == true {
                let entries = message["entries"].as_array().unwrap().len();
                assert!(entries <= 5, "{entries} entries of those that may be new: {message}");
            }
        }
        let entries = crate::lists::held(&mut world, writer, "m", false);
        lists.check(&entries, "after all");
        let resumed: Vec<usize> = lists.lists.values().map(|list| list.resumed).collect();
        assert_eq!(resumed, [1, 1, 0], "with an offset it is told all: {told:?}");
        let other = r#"{"type":"subscribe","id":7,"map":"m","query":{"sort":["n"]},"since":""#;
        let told = ask(&mut world, client, &format!("{other}{}\"}}", lists.lists[&0].cursor));
        assert_eq!(
            (&told[0]["reset"], &told[0]["resumed"]),
            (&json!(true), &json!(false)),
            "of another query"
        );
    }
}

//! What queries cost, and where it ends.

use annulus::config::QueryIndex;
use serde_json::{Value, json};

use crate::lists::{Lists, connect, held, parsed};
use crate::world::{Client, World};

/// Writes entries by thousands; `value` makes each.
pub fn fill(world: &mut World, client: Client, count: usize, value: impl Fn(usize) -> Value) {
    for first in (0..count).step_by(500) {
        let op = |n: usize| format!(r#"{{"map":"m","key":"k{n:06}","op":"set","value":{}}}"#, value(n));
        let ops: Vec<String> = (first..count.min(first + 500)).map(op).collect();
        world.send(client, &format!(r#"{{"type":"write","ack":"none","ops":[{}]}}"#, ops.join(",")));
        world.settle();
    }
    world.received(client);
}

fn set(world: &mut World, client: Client, key: &str, value: &Value) {
    let text = format!(
        r#"{{"type":"write","ack":"none","ops":[{{"map":"m","key":"{key}","op":"set","value":{value}}}]}}"#
    );
    world.send(client, &text);
}

/// Work of the turn in which a message is handled.
fn work_of(world: &mut World, client: Client, key: &str, value: &Value) -> u64 {
    set(world, client, key, value);
    world.turn();
    let work = world.nodes[client.shard].driven.shard.work();
    world.settle();
    work
}

#[test]
fn a_change_costs_those_who_look_at_what_has_changed_however_large_the_map_is() {
    let mut works = Vec::new();
    for count in [1_000, 8_000] {
        let mut world = World::in_memory(1);
        let (writer, client) = (connect(&mut world, 0), connect(&mut world, 0));
        fill(&mut world, writer, count, |n| json!({"n": n, "other": 0, "third": 0}));
        let mut lists = Lists::default();
        for id in 0..100_u64 {
            let text =
                lists.subscribe(id, "m", &json!({"where": {"n": {"ge": id}}, "sort": ["n"], "limit": 3}));
            world.send(client, &text);
        }
        world.settle();
        lists.take(&mut world, client);
        let last = format!("k{:06}", count - 1);
        let looked_at = work_of(&mut world, writer, &last, &json!({"n": count, "other": 0, "third": 0}));
        let not_looked_at = work_of(&mut world, writer, &last, &json!({"n": count, "other": 1, "third": 0}));
        lists.take(&mut world, client);
        let entries = held(&mut world, writer, "m", false);
        lists.check(&entries, "after both");
        assert!(looked_at > not_looked_at + 75, "{looked_at}, {not_looked_at}: 100 queries look at it");
        assert!(not_looked_at < 700, "{not_looked_at}: nobody looks at it");
        works.push(looked_at);
        // A list that is drained from its front is scanned again now and then, and its work has a bound.
        let scans = world.metrics().snapshot_entries;
        for n in 0..200 {
            set(&mut world, writer, &format!("k{n:06}"), &json!({"n": -1}));
            world.settle();
        }
        lists.take(&mut world, client);
        assert_eq!(world.metrics().snapshot_entries, scans, "nobody was told anew");
        let entries = held(&mut world, writer, "m", false);
        lists.check(&entries, "drained");
    }
    assert!(works[1] < works[0] + 100, "{works:?}: eight times as many entries");
}

/// Work until a query is answered, and nothing is left to do.
fn work_until_answered(world: &mut World, client: Client, text: &str) -> u64 {
    world.send(client, text);
    let mut work = 0;
    loop {
        world.turn();
        let driven = &world.nodes[client.shard].driven;
        work += driven.shard.work();
        if driven.is_idle() {
            break;
        }
    }
    work
}

#[test]
fn an_index_finds_what_comes_first_without_going_through_the_map() {
    const ENTRIES: usize = 8_000;
    let queries = [
        json!({"sort": ["-n"], "limit": 5}),
        json!({"sort": ["n"], "where": {"n": {"gt": 4_000}}, "limit": 5}),
        json!({"sort": ["owner"], "where": {"n": 70}, "limit": 5}),
        json!({"where": {"n": {"ge": 100, "lt": 103}}, "limit": 5}),
        json!({"sort": ["-n"], "where": {"n": {"in": [5, 7_000, 3]}}, "limit": 5}),
    ];
    let works = ["m:n", "another:n"].map(|index| {
        let mut world =
            World::in_memory_with(1, |config| config.query_indexes = vec![QueryIndex::parse(index).unwrap()]);
        let (writer, client) = (connect(&mut world, 0), connect(&mut world, 0));
        fill(&mut world, writer, ENTRIES, |n| json!({"n": n, "owner": n % 7}));
        let mut lists = Lists::default();
        // The first makes it; it stays although nobody asks.
        let text = lists.subscribe(0, "m", &json!({"where": {"owner": 9}}));
        world.send(client, &text);
        world.settle();
        world.send(client, r#"{"type":"unsubscribe","id":"end","map":"m","query":0}"#);
        world.settle();
        lists.take(&mut world, client);
        lists.lists.clear();
        for n in 0..50 {
            set(&mut world, writer, &format!("k{:06}", 71 * n), &json!({"n": n, "owner": 8}));
            set(&mut world, writer, &format!("k{:06}", 90 * n + 1), &json!(null));
        }
        world.settle();
        let works = queries.iter().zip(1..).map(|(query, id)| {
            let text = lists.subscribe(id, "m", query);
            work_until_answered(&mut world, client, &text)
        });
        let works: Vec<u64> = works.collect();
        lists.take(&mut world, client);
        let entries = held(&mut world, writer, "m", false);
        lists.check(&entries, index);
        works
    });
    for (with, without) in works[0].iter().zip(&works[1]) {
        assert!(*with < 30_000 && *without > 8 * with, "{works:?}");
    }
}

#[test]
fn a_change_is_looked_at_by_those_alone_who_need_the_value_that_is_there() {
    let mut works = Vec::new();
    for queries in [10, 1_000_u64] {
        let mut world = World::in_memory(1);
        let writer = connect(&mut world, 0);
        let owner = |n: u64| json!({"name": format!("u{n}")});
        fill(&mut world, writer, 4_000, |n| json!({"n": n, "owner": owner(n as u64 % queries)}));
        let mut clients: Vec<_> = (0..4).map(|_| (connect(&mut world, 0), Lists::default())).collect();
        for id in 0..queries {
            let (client, lists) = &mut clients[id as usize % 4];
            let condition = match id % 3 {
                0 => json!({"n": {"ge": 0}, "owner.name": {"in": [format!("u{id}"), "nobody"]}}),
                _ => json!({"n": {"ge": 0}, "owner.name": format!("u{id}")}),
            };
            let text = lists.subscribe(id, "m", &json!({"where": condition, "sort": ["n"], "limit": 3}));
            world.send(*client, &text);
        }
        world.settle();
        works.push([
            // One shows it, and goes on to; another begins to; nobody needs what it has then; it is new; it goes.
            work_of(&mut world, writer, "k000005", &json!({"n": 1, "owner": owner(5)})),
            work_of(&mut world, writer, "k000005", &json!({"n": 1, "owner": owner(4)})),
            work_of(&mut world, writer, "k000005", &json!({"n": 2, "owner": "nobody's"})),
            work_of(&mut world, writer, "new", &json!({"n": 3, "owner": owner(7)})),
            work_of(&mut world, writer, "new", &json!(null)),
        ]);
        let entries = held(&mut world, writer, "m", false);
        for (client, lists) in &mut clients {
            lists.take(&mut world, *client);
            lists.check(&entries, "after all");
        }
    }
    for (few, many) in works[0].iter().zip(&works[1]) {
        assert!(many < &(few + 20), "{works:?}: a hundred times as many queries");
    }
}

#[test]
fn a_scan_is_divided_over_turns_and_others_are_answered_meanwhile() {
    let mut world = World::in_memory(1);
    let (writer, client, other) = (connect(&mut world, 0), connect(&mut world, 0), connect(&mut world, 0));
    fill(&mut world, writer, 20_000, |n| json!({"n": n * 7919 % 20_000}));
    let mut lists = Lists::default();
    let text = lists.subscribe(1, "m", &json!({"where": {"n": {"ge": 100}}, "sort": ["n"], "limit": 50}));
    world.send(client, &text);
    let mut turns = 0;
    while lists.lists[&1].snapshots == 0 {
        world.send(other, r#"{"type":"ping","id":1}"#);
        world.turn();
        world.turn();
        let work = world.nodes[0].driven.shard.work();
        assert!(work < 250_000, "{work} in one turn");
        assert!(!world.received(other).is_empty(), "a ping is answered in its turn");
        lists.take(&mut world, client);
        turns += 2;
        assert!(turns < 200);
    }
    assert!(turns > 4, "{turns} turns");
    assert_eq!(lists.lists[&1].rows[0].1, json!({"n": 100}));
}

#[test]
fn a_query_that_joins_a_scan_sees_what_that_had_passed() {
    let mut world = World::in_memory(1);
    let (writer, client) = (connect(&mut world, 0), connect(&mut world, 0));
    fill(&mut world, writer, 20_000, |n| json!({"n": n}));
    let mut lists = Lists::default();
    let text = lists.subscribe(1, "m", &json!({"sort": ["-n"], "limit": 3}));
    world.send(client, &text);
    (0..2).for_each(|_| world.turn());
    let text = lists.subscribe(2, "m", &json!({"sort": ["n"], "limit": 3}));
    world.send(client, &text);
    world.turn();
    lists.take(&mut world, client);
    assert_eq!(lists.lists[&1].snapshots, 0, "the first scan is under way");
    world.settle();
    lists.take(&mut world, client);
    let entries = held(&mut world, writer, "m", false);
    lists.check(&entries, "both");
}

#[test]
fn equal_queries_are_looked_at_once_for_all_who_have_them() {
    let mut works = Vec::new();
    for clients in [1, 50] {
        let mut world = World::in_memory(1);
        let writer = connect(&mut world, 0);
        fill(&mut world, writer, 2_000, |n| json!({"n": n}));
        for _ in 0..clients {
            let client = connect(&mut world, 0);
            world.ask(client, r#"{"type":"subscribe","id":1,"map":"m","query":{"where":{"n":{"ge":0}},"sort":["n"],"limit":5}}"#);
        }
        works.push(work_of(&mut world, writer, "k000100", &json!({"n": 5000})));
    }
    assert!(works[1] < works[0] + 50 * 40, "{works:?}: one touch for each");
    assert!(works[1] >= works[0]);
}

#[test]
fn a_result_over_its_bytes_ends_the_query_and_says_so() {
    let mut world = World::in_memory(2);
    let (writer, client) = (connect(&mut world, 0), connect(&mut world, 1));
    let large = "v".repeat(200_000);
    let mut lists = Lists::default();
    let text = lists.subscribe(1, "m", &json!({"where": {"big": true}}));
    world.send(client, &text);
    world.settle();
    for n in 0..45 {
        set(&mut world, writer, &format!("k{n}"), &json!({"big": true, "text": large}));
        world.settle();
        lists.take(&mut world, client);
    }
    assert_eq!(lists.lists[&1].ended.as_deref(), Some("too_large"));
    let told: Vec<Value> = world
        .ask(client, r#"{"type":"subscribe","id":2,"map":"m","query":{"where":{"big":true}}}"#)
        .iter()
        .map(parsed)
        .collect();
    assert_eq!((&told[0]["id"], &told[0]["code"]), (&json!(2), &json!("too_large")));
    let told: Vec<Value> = world
        .ask(client, r#"{"type":"subscribe","id":3,"map":"m","query":{"where":{"big":true},"limit":10}}"#)
        .iter()
        .map(parsed)
        .collect();
    assert_eq!((&told[0]["type"], &told[0]["query"]), (&json!("snapshot"), &json!(3)));
    assert_eq!(world.metrics().slow_consumers, 0);
}

#[test]
fn a_connection_has_as_many_queries_as_it_may() {
    let mut world = World::in_memory(2);
    let client = connect(&mut world, 0);
    let subscribe =
        |id: usize| format!(r#"{{"type":"subscribe","id":{id},"map":"m","query":{{"limit":{}}}}}"#, id + 1);
    for id in 0..256 {
        assert_eq!(parsed(&world.answer(client, &subscribe(id)))["type"], "snapshot");
    }
    assert_eq!(parsed(&world.answer(client, &subscribe(256)))["code"], "too_many_subscriptions");
    assert_eq!(
        parsed(&world.answer(client, &subscribe(3)))["type"],
        "snapshot",
        "it takes the place of the first"
    );
    assert_eq!(world.metrics().subscriptions, 256);
    world.close(client);
    world.settle();
    assert_eq!(world.metrics().subscriptions, 0);
    assert_eq!(world.metrics().maps, 0, "nothing is left of a map that nobody has written to");
}

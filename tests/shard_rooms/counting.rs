//! Large rooms: their count is told instead of their members, and these are read a page at a time.

use annulus::shard::work;
use serde_json::{Value, json};

use crate::person::{ask, connect, members, told, world_with};
use crate::world::{Client, World};

const MAX: usize = 8;

fn small(shards: usize) -> World {
    world_with(shards, |config| config.presence.full_max = MAX)
}

fn join(world: &mut World, shard: usize, user: &str) -> (Client, Vec<Value>) {
    let client = connect(world, shard, user);
    let answer = ask(world, client, "{'type':'presence.join','id':1,'room':'doc','state':0}");
    (client, answer)
}

#[test]
fn past_some_members_the_count_is_told_and_below_them_everybody_again() {
    for shards in 1..=3 {
        let mut world = small(shards);
        let mut clients: Vec<Client> = Vec::new();
        for n in 0..MAX {
            let (client, answer) = join(&mut world, n % shards, &format!("u{n}"));
            assert_eq!(members(&answer[0], "members").len(), n + 1);
            clients.push(client);
        }
        clients.iter().for_each(|&client| drop(told(&mut world, client)));
        let (last, answer) = join(&mut world, 0, "last");
        assert_eq!(answer[0]["type"], "presence.state");
        assert_eq!((answer[0].get("members"), &answer[0]["count"]), (None, &json!(MAX + 1)));
        for &client in &clients {
            let news = told(&mut world, client);
            assert_eq!(news, [json!({"type": "presence.count", "room": "doc", "count": MAX + 1})]);
        }
        ask(&mut world, last, "{'type':'presence.update','room':'doc','state':5}");
        assert!(told(&mut world, clients[0]).is_empty(), "the count is the same");
        // A few less are not told by name yet, so that one who comes and goes does not cost everybody everything.
        for expected in [MAX, MAX - 1] {
            world.close(if expected == MAX { last } else { clients.pop().unwrap() });
            world.pass_ms(50);
            let news = told(&mut world, clients[0]);
            assert_eq!(news, [json!({"type": "presence.count", "room": "doc", "count": expected})]);
        }
        world.close(clients.pop().unwrap());
        world.pass_ms(50);
        for &client in &clients {
            let news = told(&mut world, client);
            let state = news.last().unwrap();
            assert_eq!((&state["type"], state.get("id")), (&json!("presence.state"), None));
            assert_eq!(members(state, "members").len(), MAX - 2);
        }
    }
}

/// The kernel sends to each once the turn has ended, and whoever is answered meanwhile waits for that.
#[test]
fn no_turn_tells_the_count_to_more_than_some_watchers() {
    const WATCHERS: usize = 3_000;
    let mut world = small(1);
    for n in 0..=MAX {
        join(&mut world, 0, &format!("u{n}"));
    }
    let watch = "{'type':'presence.watch','id':1,'room':'doc'}".replace('\'', "\"");
    let watchers: Vec<Client> = (0..WATCHERS).map(|_| world.connect(0, None, "/v1", "127.0.0.1")).collect();
    watchers.iter().for_each(|&watcher| world.send(watcher, &watch));
    world.settle();
    world.pass_ms(100);
    let late = connect(&mut world, 0, "late");
    world.send(late, &"{'type':'presence.join','id':1,'room':'doc'}".replace('\'', "\""));
    let first = world.metrics().presence_deliveries;
    let (mut before, mut turns) = (first, 0);
    while before < first + WATCHERS as u64 {
        world.turn();
        turns += 1;
        let told = world.metrics().presence_deliveries - before;
        assert!(told <= u64::from(work::RECEIVERS_MAX), "{told} in turn {turns}");
        before += told;
        assert!(turns < 100, "it is told");
    }
}

/// A shard that cannot tell as often as it might tells what is true when it does, and keeps nothing that no longer is.
#[test]
fn where_there_is_too_much_to_tell_counts_come_late_and_not_one_after_the_other() {
    const WATCHERS: usize = 2_000;
    const ROOMS: usize = 6;
    let mut world = small(1);
    let rooms: Vec<String> = (0..ROOMS).map(|room| format!("room-{room}")).collect();
    let say = |world: &mut World, client, what: &str, room: &str| {
        world.send(client, &json!({"type": what, "room": room}).to_string());
    };
    for n in 0..=MAX {
        let client = connect(&mut world, 0, &format!("u{n}"));
        rooms.iter().for_each(|room| say(&mut world, client, "presence.join", room));
    }
    let watchers: Vec<Client> = (0..WATCHERS).map(|_| world.connect(0, None, "/v1", "127.0.0.1")).collect();
    for &watcher in &watchers {
        rooms.iter().for_each(|room| say(&mut world, watcher, "presence.watch", room));
    }
    world.settle();
    world.pass_ms(1_000);
    let one = connect(&mut world, 0, "one");
    for turn in 0..200 {
        let what = if turn % 2 == 0 { "presence.join" } else { "presence.leave" };
        rooms.iter().for_each(|room| say(&mut world, one, what, room));
        world.wait_ms(60);
        world.turn();
    }
    let before = world.metrics().presence_deliveries;
    world.settle();
    world.pass_ms(1_000);
    let left = world.metrics().presence_deliveries - before;
    assert!(left <= 2 * (ROOMS * WATCHERS) as u64, "{left} are told of what was once");
    let last = told(&mut world, watchers[0]);
    for room in &rooms {
        let mut counts =
            last.iter().filter(|news| news["type"] == "presence.count" && news["room"] == **room);
        assert_eq!(counts.next_back().unwrap()["count"], MAX + 1);
    }
}

#[test]
fn a_list_is_read_a_page_at_a_time_and_has_everybody_once() {
    for shards in 1..=3 {
        let mut world = small(shards);
        let users: Vec<String> = (0..25).map(|n| format!("u{n:02}")).collect();
        let clients: Vec<Client> =
            users.iter().enumerate().map(|(n, user)| join(&mut world, n % shards, user).0).collect();
        clients.iter().for_each(|&client| drop(told(&mut world, client)));
        for shard in 0..shards {
            let reader = connect(&mut world, shard, "");
            let (mut after, mut found, mut pages) = (String::new(), Vec::new(), 0);
            loop {
                let message = format!(
                    "{{'type':'presence.list','id':{pages},'room':'doc','after':'{after}','limit':10}}"
                );
                let answer = ask(&mut world, reader, &message);
                assert_eq!((&answer[0]["type"], &answer[0]["id"]), (&json!("presence.list"), &json!(pages)));
                let names = answer[0]["members"].as_array().unwrap();
                found.extend(names.iter().map(|entry| entry["user"].as_str().unwrap().to_owned()));
                after = names.last().unwrap()["member"].as_str().unwrap().to_owned();
                pages += 1;
                if answer[0]["more"] == false {
                    break;
                }
            }
            assert_eq!((&found, pages), (&users, 3));
        }
        let reader = connect(&mut world, shards - 1, "");
        let empty = ask(&mut world, reader, "{'type':'presence.list','id':9,'room':'nobody'}");
        assert_eq!(
            empty,
            [json!({"type": "presence.list", "id": 9, "room": "nobody", "members": [], "more": false})]
        );
    }
}

#[test]
fn joining_and_leaving_cost_the_same_however_many_there_are() {
    let mut world = small(1);
    let mut costs = Vec::new();
    for n in 0..1_500 {
        let client = connect(&mut world, 0, &format!("u{n}"));
        world.send(client, r#"{"type":"presence.join","room":"doc"}"#);
        let mut cost = 0;
        world.turn();
        cost += world.nodes[0].driven.shard.work();
        costs.push(cost);
        world.settle();
    }
    // In turns in which nothing is due to be told.
    let least = |costs: &[u64]| *costs.iter().min().unwrap();
    let (few, many) = (least(&costs[20..100]), least(&costs[1_400..]));
    assert!(many < few + work::CELL, "{few} units at first, {many} at last");
}

#[test]
fn a_large_room_is_counted_the_less_often_the_larger_it_is() {
    let mut world = small(1);
    let clients: Vec<Client> = (0..1_000).map(|n| connect(&mut world, 0, &format!("u{n}"))).collect();
    for &client in &clients {
        world.send(client, r#"{"type":"presence.join","room":"doc"}"#);
    }
    world.settle();
    world.pass_ms(1_000);
    clients.iter().for_each(|&client| drop(told(&mut world, client)));
    let ticks = world.metrics().presence_ticks;
    let more: Vec<Client> = (0..20).map(|n| connect(&mut world, 0, &format!("more{n}"))).collect();
    for &client in &more {
        world.send(client, r#"{"type":"presence.join","room":"doc"}"#);
        world.pass_ms(50);
    }
    let told_times = world.metrics().presence_ticks - ticks;
    assert!((5..=11).contains(&told_times), "{told_times} times in a second");
    world.pass_ms(1_000);
    assert_eq!(told(&mut world, clients[7]).last().unwrap()["count"], 1_020);
}

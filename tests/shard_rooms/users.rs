//! A member is a user with its connections: when it comes, when it is away, and when it goes.

use serde_json::json;

use crate::person::{ask, connect, members, told, world};
use crate::world::{Client, World};

/// Somebody who watches a room without being in it, and has been told who is.
fn watcher(world: &mut World, room: &str) -> Client {
    let client = connect(world, 0, "");
    let answer = ask(world, client, &format!("{{'type':'presence.watch','id':1,'room':'{room}'}}"));
    assert_eq!(answer[0]["type"], "presence.state", "{answer:?}");
    client
}

/// What a watcher was told in one diff: who joined, was updated, left.
fn diff(world: &mut World, watcher: Client) -> (Vec<String>, Vec<String>, Vec<String>) {
    world.pass_ms(50);
    let news = told(world, watcher);
    assert!(news.len() == 1 && news[0]["type"] == "presence.diff", "{news:?}");
    let left = news[0]["left"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    (members(&news[0], "joined"), members(&news[0], "updated"), left.collect())
}

fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn several_tabs_are_one_member_that_comes_with_the_first_and_goes_with_the_last() {
    for shards in 1..=3 {
        let mut world = world(shards);
        let watcher = watcher(&mut world, "doc");
        let tabs = [0, shards - 1].map(|shard| connect(&mut world, shard, "ada"));
        let answer = ask(&mut world, tabs[0], "{'type':'presence.join','id':1,'room':'doc','state':{'x':1}}");
        assert_eq!(members(&answer[0], "members"), ["user:ada 1 {\"x\":1}"]);
        assert_eq!(
            (&answer[0]["id"], &answer[0]["member"], &answer[0]["count"]),
            (&json!(1), &json!("user:ada"), &json!(1))
        );
        assert_eq!(answer[0]["members"][0]["user"], "ada");
        assert_eq!(
            diff(&mut world, watcher),
            (vec!["user:ada 1 {\"x\":1}".to_owned()], nothing(), nothing())
        );
        let answer = ask(&mut world, tabs[1], "{'type':'presence.join','id':2,'room':'doc'}");
        assert_eq!(members(&answer[0], "members"), ["user:ada 2 {\"x\":1}"], "without a state it keeps that");
        assert_eq!(diff(&mut world, watcher).1, ["user:ada 2 {\"x\":1}"]);
        ask(&mut world, tabs[1], "{'type':'presence.update','room':'doc','state':[2]}");
        assert_eq!(diff(&mut world, watcher).1, ["user:ada 2 [2]"]);
        let left = ask(&mut world, tabs[0], "{'type':'presence.leave','id':3,'room':'doc'}");
        assert_eq!(left.last().unwrap(), &json!({"type": "presence.left", "id": 3, "room": "doc"}));
        assert_eq!(diff(&mut world, watcher).1, ["user:ada 1 [2]"]);
        world.fail(tabs[1]);
        assert_eq!(diff(&mut world, watcher), (nothing(), nothing(), vec!["user:ada".to_owned()]));
        let metrics = world.metrics();
        assert_eq!(
            (metrics.presence_user_members, metrics.presence_joined, metrics.presence_left),
            (0, 1, 1)
        );
    }
}

#[test]
fn a_connection_of_nobody_is_a_member_of_its_own() {
    let mut world = world(2);
    let clients = [0, 1].map(|shard| connect(&mut world, shard, ""));
    let names = clients.map(|client| {
        let answer = ask(&mut world, client, "{'type':'presence.join','id':1,'room':'doc','grace_ms':60000}");
        assert_eq!(answer[0]["members"][0]["user"], json!(null));
        answer[0]["member"].as_str().unwrap().to_owned()
    });
    assert!(names[0].starts_with("anon:0-") && names[1].starts_with("anon:1-"), "{names:?}");
    told(&mut world, clients[0]);
    world.fail(clients[1]);
    // It could not come back as the same.
    assert_eq!(diff(&mut world, clients[0]).2, [names[1].clone()]);
}

#[test]
fn who_drops_without_a_word_is_away_for_its_grace_and_may_come_back_unnoticed() {
    for shards in 1..=3 {
        let mut world = world(shards);
        let watcher = watcher(&mut world, "doc");
        let join = "{'type':'presence.join','id':1,'room':'doc','state':1,'grace_ms':10000}";
        let client = connect(&mut world, shards - 1, "ada");
        ask(&mut world, client, join);
        let since = told(&mut world, watcher)[0]["joined"][0]["since"].clone();
        world.fail(client);
        assert_eq!(diff(&mut world, watcher).1, ["user:ada 0 1?"]);
        world.pass_ms(9_000);
        let client = connect(&mut world, 0, "ada");
        ask(&mut world, client, "{'type':'presence.join','id':1,'room':'doc','grace_ms':10000}");
        let news = told(&mut world, watcher);
        assert_eq!(members(&news[0], "updated"), ["user:ada 1 1"], "neither left nor joined");
        assert_eq!(news[0]["updated"][0]["since"], since, "it was there all the time");
        world.pass_ms(20_000);
        assert!(told(&mut world, watcher).is_empty(), "the time of before means nothing any more");
        world.fail(client);
        assert_eq!(diff(&mut world, watcher).1, ["user:ada 0 1?"]);
        world.pass_ms(9_900);
        assert!(told(&mut world, watcher).is_empty());
        world.pass_ms(100);
        assert_eq!(diff(&mut world, watcher).2, ["user:ada"]);
        assert_eq!(world.metrics().presence_left, 1);
    }
}

#[test]
fn a_leave_a_close_and_a_dismissal_are_at_once_whatever_the_grace() {
    let mut world = world(2);
    let watcher = watcher(&mut world, "doc");
    for goes in [
        (|world: &mut World, client| world.send(client, r#"{"type":"presence.leave","room":"doc"}"#))
            as fn(&mut World, Client),
        |world, client| world.close(client),
        |world, _| {
            let other = connect(world, 0, "bob");
            let answer = ask(world, other, "{'type':'disconnect','id':1,'user':'ada'}");
            assert_eq!(answer[0]["type"], "disconnected", "{answer:?}");
        },
    ] {
        let client = connect(&mut world, 1, "ada");
        ask(&mut world, client, "{'type':'presence.join','id':1,'room':'doc','grace_ms':10000}");
        told(&mut world, watcher);
        goes(&mut world, client);
        assert_eq!(diff(&mut world, watcher).2, ["user:ada"]);
    }
}

#[test]
fn the_flag_gives_the_grace_of_who_says_nothing() {
    let mut world = crate::person::world_with(2, |config| config.presence.grace_ms = 1_000);
    let watcher = watcher(&mut world, "doc");
    let client = connect(&mut world, 1, "ada");
    ask(&mut world, client, "{'type':'presence.join','id':1,'room':'doc'}");
    told(&mut world, watcher);
    world.fail(client);
    assert_eq!(diff(&mut world, watcher).1, ["user:ada 0 null?"]);
    world.pass_ms(1_000);
    assert_eq!(diff(&mut world, watcher).2, ["user:ada"]);
}

#[test]
fn who_says_later_who_it_is_comes_as_that_when_it_joins_again() {
    let mut world = world(2);
    let watcher = watcher(&mut world, "doc");
    let client = connect(&mut world, 1, "");
    let answer = ask(&mut world, client, "{'type':'presence.join','id':1,'room':'doc','state':1}");
    let name = answer[0]["member"].as_str().unwrap().to_owned();
    told(&mut world, watcher);
    world.send(client, r#"{"type":"auth","token":"{'sub':'ada'}"}"#);
    world.pass_ms(100);
    assert!(told(&mut world, watcher).is_empty());
    ask(&mut world, client, "{'type':'presence.join','id':1,'room':'doc','state':2}");
    assert_eq!(diff(&mut world, watcher), (vec!["user:ada 1 2".to_owned()], nothing(), vec![name]));
}

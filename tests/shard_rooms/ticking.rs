//! How often a room is told of, and what of it.

use annulus::dialect;

use crate::person::{ask, connect, members, told, world};

const JOIN: &str = "{'type':'presence.join','id':1,'room':'doc','state':0}";

#[test]
fn changes_within_a_tick_are_told_as_one_and_only_the_last() {
    for shards in [1, 3] {
        let mut world = world(shards);
        let watcher = connect(&mut world, 0, "");
        ask(&mut world, watcher, "{'type':'presence.watch','id':1,'room':'doc'}");
        let clients: Vec<_> = ["ada", "bob", "cleo"]
            .iter()
            .enumerate()
            .map(|(n, user)| connect(&mut world, n % shards, user))
            .collect();
        ask(&mut world, clients[0], JOIN);
        told(&mut world, watcher);
        let ticks = world.metrics().presence_ticks;
        let update = |state: u32| format!(r#"{{"type":"presence.update","room":"doc","state":{state}}}"#);
        // The first change after a while is told at once; what follows waits for the tick.
        world.pass_ms(1_000);
        world.send(clients[0], &update(1));
        world.settle();
        assert_eq!(members(&told(&mut world, watcher)[0], "updated"), ["user:ada 1 1"]);
        for state in 2..10 {
            world.send(clients[0], &update(state));
            world.settle();
        }
        // Who joins and leaves within a tick was never there.
        world.send(clients[1], &JOIN.replace('\'', "\""));
        world.settle();
        world.send(clients[1], r#"{"type":"presence.leave","room":"doc"}"#);
        world.send(clients[2], &JOIN.replace('\'', "\""));
        world.settle();
        assert!(told(&mut world, watcher).is_empty(), "not before the tick");
        world.pass_ms(50);
        let news = told(&mut world, watcher);
        assert_eq!(news.len(), 1, "{news:?}");
        assert_eq!(members(&news[0], "updated"), ["user:ada 1 9"]);
        assert_eq!(members(&news[0], "joined"), ["user:cleo 1 0"]);
        assert_eq!((&news[0]["left"], &news[0]["count"]), (&serde_json::json!([]), &serde_json::json!(2)));
        assert_eq!(world.metrics().presence_ticks, ticks + 2);
        world.pass_ms(1_000);
        assert_eq!(world.metrics().presence_ticks, ticks + 2, "nothing new is nothing");
    }
}

#[test]
fn a_state_that_is_what_it_was_is_no_change() {
    let mut world = world(2);
    let client = connect(&mut world, 1, "ada");
    ask(&mut world, client, JOIN);
    let answer = ask(&mut world, client, "{'type':'presence.update','id':7,'room':'doc','state':0}");
    assert_eq!(answer.len(), 1);
    assert_eq!((&answer[0]["type"], &answer[0]["id"]), (&"presence.updated".into(), &7.into()));
}

#[test]
fn what_many_are_told_is_made_once_for_each_dialect() {
    let mut world = world(1);
    let clients: Vec<_> = (0..40).map(|n| connect(&mut world, 0, &format!("u{n}"))).collect();
    for &client in &clients {
        world.send(client, &JOIN.replace('\'', "\""));
    }
    world.settle();
    world.pass_ms(50);
    let before = world.metrics().outbox_held_bytes;
    let state = "s".repeat(4_000);
    clients.iter().for_each(|&client| world.stall(client, true));
    world.send(clients[0], &format!(r#"{{"type":"presence.update","room":"doc","state":"{state}"}}"#));
    world.settle();
    world.pass_ms(50);
    let held = world.metrics().outbox_held_bytes - before;
    assert!(held < 20_000, "{held} bytes for 40 that are told 4 000 bytes alike");
    assert!(dialect::ALL.len() > 1);
}

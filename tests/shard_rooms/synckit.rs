//! The awareness of a document and the room of that name are one: each sees the members of the other.

use serde_json::{Value, json};

use crate::person::{ask, connect, members, told, world};
use crate::world::{Client, World};

fn kit(world: &mut World, shard: usize) -> Client {
    let client = world.connect(shard, None, "/ws", "127.0.0.1");
    world.settle();
    world.texts(client);
    client
}

fn set(world: &mut World, client: Client, name: &str, state: &str, clock: u64) -> Vec<Value> {
    let message = format!(
        "{{'type':'awareness_update','id':'i','timestamp':1,'documentId':'doc','clientId':'{name}','state':{state},'clock':{clock}}}"
    );
    ask(world, client, &message)
}

fn watch(world: &mut World, client: Client) -> Vec<Value> {
    ask(world, client, "{'type':'awareness_subscribe','id':'i','timestamp':1,'documentId':'doc'}")
}

/// What a client of SyncKit was told of others: name and state.
fn updates(told: &[Value]) -> Vec<(String, Value)> {
    let update = |message: &Value| {
        (message["type"] == "awareness_update")
            .then(|| (message["clientId"].as_str().unwrap().to_owned(), message["state"].clone()))
    };
    told.iter().filter_map(update).collect()
}

#[test]
fn members_of_one_are_members_of_the_other() {
    for shards in 1..=3 {
        let mut world = world(shards);
        let (kit_early, user) = (kit(&mut world, 0), connect(&mut world, shards - 1, "ada"));
        set(&mut world, kit_early, "c1", "{'x':1}", 7);
        let answer = ask(&mut world, user, "{'type':'presence.join','id':1,'room':'doc','state':{'y':1}}");
        assert_eq!(members(&answer[0], "members"), ["client:c1 1 {\"x\":1}", "user:ada 1 {\"y\":1}"]);
        assert_eq!(answer[0]["count"], 2);
        // One that is there already and one that comes now see the user, with a clock that grows.
        let seen = told(&mut world, kit_early);
        assert_eq!(updates(&seen), [("user:ada".to_owned(), json!({"y": 1}))]);
        let clock = |told: &[Value]| told.last().unwrap()["clock"].as_u64().unwrap();
        let first = clock(&seen);
        let kit_late = kit(&mut world, shards - 1);
        let states = watch(&mut world, kit_late)[0]["states"].clone();
        let names: Vec<_> = states.as_array().unwrap().iter().map(|one| one["clientId"].clone()).collect();
        assert_eq!(names, ["c1", "user:ada"]);
        ask(&mut world, user, "{'type':'presence.update','room':'doc','state':2}");
        let seen = told(&mut world, kit_late);
        assert_eq!(updates(&seen), [("user:ada".to_owned(), json!(2))]);
        assert!(clock(&seen) > first);
        // And what these do is told to the user.
        told(&mut world, user);
        set(&mut world, kit_late, "c2", "3", 1);
        assert_eq!(members(&told(&mut world, user)[0], "joined"), ["client:c2 1 3"]);
        world.fail(kit_late);
        world.pass_ms(50);
        assert_eq!(told(&mut world, user)[0]["left"], json!(["client:c2"]));
        told(&mut world, kit_early);
        world.close(user);
        world.pass_ms(50);
        assert_eq!(updates(&told(&mut world, kit_early)), [("user:ada".to_owned(), json!(null))]);
        world.close(kit_early);
        world.pass_ms(100);
        let metrics = world.metrics();
        assert_eq!(
            (metrics.presence_members, metrics.presence_user_members, metrics.presence_bytes),
            (0, 0, 0)
        );
    }
}

#[test]
fn no_client_takes_the_name_of_a_user() {
    let mut world = world(1);
    let client = kit(&mut world, 0);
    for name in ["user:ada", "anon:0-1-2"] {
        let answer = set(&mut world, client, name, "1", 1);
        assert!(answer.iter().any(|message| message["type"] == "error"), "{answer:?}");
    }
    assert_eq!(world.metrics().presence_members, 0);
    set(&mut world, client, "user", "1", 1);
    assert_eq!(world.metrics().presence_members, 1);
}

#[test]
fn a_room_with_too_many_users_shows_clients_only_to_clients() {
    let mut world = crate::person::world_with(2, |config| config.presence.full_max = 4);
    let client = kit(&mut world, 0);
    set(&mut world, client, "c1", "1", 1);
    let users: Vec<_> = (0..6).map(|n| connect(&mut world, n % 2, &format!("u{n}"))).collect();
    for &user in &users {
        ask(&mut world, user, "{'type':'presence.join','id':1,'room':'doc'}");
    }
    let mut seen = std::collections::BTreeMap::new();
    seen.extend(updates(&told(&mut world, client)));
    assert!(seen.len() >= 3 && seen.values().all(Value::is_null), "{seen:?}");
    assert_eq!(told(&mut world, users[0]).last().unwrap()["count"], 7);
    users[2..].iter().for_each(|&user| world.close(user));
    world.pass_ms(100);
    seen.extend(updates(&told(&mut world, client)));
    let there: Vec<_> =
        seen.into_iter().filter(|(name, _)| ["user:u0", "user:u1"].contains(&&**name)).collect();
    assert_eq!(
        there,
        [("user:u0".to_owned(), json!(null)), ("user:u1".to_owned(), json!(null))]
            .map(|(name, _)| (name, json!(null)))
    );
}

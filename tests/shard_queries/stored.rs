//! Queries over maps that leave memory and come back, or do not come at all.

use serde_json::json;

use crate::disk::Disk;
use crate::histories::{query, value};
use crate::limits::fill;
use crate::lists::{Lists, connect, held};
use crate::random::Random;
use crate::world::World;

fn limited(shards: usize, disk: Disk) -> World {
    World::over(disk, shards, |config| config.memory_limit_bytes = 400_000 * shards)
}

#[test]
fn lists_stay_right_while_maps_are_evicted_and_loaded() {
    for (seed, shards) in (0..12).zip([1, 2, 3].into_iter().cycle()) {
        let mut random = Random::new(seed);
        let mut world = limited(shards, Disk::default());
        let (writer, client) = (connect(&mut world, 0), connect(&mut world, shards - 1));
        let mut lists = Lists::default();
        for round in 0..10 {
            let text = lists.subscribe(round, "m", &query(&mut random));
            world.send(client, &text);
            for _ in 0..20 {
                let key = random.below(80);
                let op = format!(r#"{{"map":"m","key":"k{key}","op":"set","value":{}}}"#, value(&mut random));
                world.send(writer, &format!(r#"{{"type":"write","ack":"none","ops":[{op}]}}"#));
                if random.below(4) == 0 {
                    world.turn();
                }
            }
            world.serve();
            // Other maps push it out of memory.
            for other in 0..6 {
                let large = "v".repeat(60_000);
                for n in 0..shards {
                    let op =
                        format!(r#"{{"map":"o{round}-{other}","key":"k{n}","op":"set","value":"{large}"}}"#);
                    world.send(writer, &format!(r#"{{"type":"write","ack":"none","ops":[{op}]}}"#));
                }
                world.serve();
                world.fold();
                world.pass_ms(200);
                world.serve();
            }
            lists.take(&mut world, client);
            let entries = held(&mut world, writer, "m", true);
            lists.take(&mut world, client);
            lists.check(&entries, &format!("seed {seed}, round {round}"));
        }
        assert!(world.metrics().loads > 3, "seed {seed}: {} loads", world.metrics().loads);
    }
}

#[test]
fn a_query_of_a_stored_map_waits_for_it_and_its_client_no_longer_than_others() {
    for shards in 1..=2 {
        let mut world = World::new(shards);
        let writer = connect(&mut world, 0);
        fill(&mut world, writer, 100, |n| json!({"n": n}));
        world.serve();
        let mut world = World::over(world.disk, shards, |_| {});
        let client = connect(&mut world, shards - 1);
        let mut lists = Lists::default();
        let text = lists.subscribe(1, "m", &json!({"sort": ["-n"], "limit": 3}));
        world.send(client, &text);
        world.settle();
        lists.take(&mut world, client);
        assert_eq!(lists.lists[&1].snapshots, 0, "it is not loaded");
        world.serve();
        lists.take(&mut world, client);
        let keys: Vec<&str> = lists.lists[&1].rows.iter().map(|(key, _)| &**key).collect();
        assert_eq!(keys, ["k000099", "k000098", "k000097"]);

        let mut world = World::over(world.disk, shards, |_| {});
        let client = connect(&mut world, 0);
        world.send(client, r#"{"type":"subscribe","id":1,"map":"m","query":{"limit":3}}"#);
        world.pass_ms(11_000);
        let told = world.received(client);
        assert_eq!(told.len(), 1, "{told:?}");
        let told = crate::lists::parsed(&told[0]);
        assert_eq!((&told["id"], &told["code"]), (&json!(1), &json!("timeout")));
        assert_eq!(world.metrics().subscriptions, 0);
        world.serve();
        let mut lists = Lists::default();
        let text = lists.subscribe(2, "m", &json!({"limit": 3}));
        world.send(client, &text);
        world.serve();
        lists.take(&mut world, client);
        assert_eq!(lists.lists[&2].rows.len(), 3, "it may try again");
    }
}

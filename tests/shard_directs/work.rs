//! What turns do for direct messages, in units of work.

use serde_json::{Value, json};

use annulus::shard::work;

use crate::disk::Disk;
use crate::shards::BEGIN;
use crate::world::{Client, World, numbers, say};

#[test]
fn a_message_to_a_user_with_thousands_of_connections_is_divided() {
    for home in 0..2 {
        let mut world = World::new(2, "", |_| {});
        let user = world.user_of(home, "u");
        let (ada, _) = world.open(0, "ada");
        let tabs: Vec<Client> = (0..3_000).map(|_| world.connect(1, &user)).collect();
        world.settle();
        tabs.iter().for_each(|&tab| drop(world.take(tab)));
        world.work_max = 0;
        let data = json!({"n": 1, "x": "x".repeat(10_000)});
        let text = json!({"type": "send", "id": 1, "to": format!("user:{user}"), "data": data}).to_string();
        assert_eq!(world.ask(ada, &text)[0]["status"], "delivered");
        assert!(world.work_max < work::TURN_MAX * 3 / 2, "{} units in one turn", world.work_max);
        assert!(world.metrics().directs_delayed > 1_000, "most fetch it");
        assert!(tabs.iter().all(|&tab| numbers(&world.take(tab)) == [1]), "each is sent it once");
        world.say(ada, &format!("user:{user}"), 2);
        assert!(tabs.iter().all(|&tab| numbers(&world.take(tab)) == [2]), "and the next");
    }
}

#[test]
fn a_full_queue_is_fetched_and_acknowledged_within_a_turn_each() {
    let mut world = World::over(Disk::default(), BEGIN, 2, |config| config.ack_timeout_ms = 60_000);
    let user = world.user_of(1, "u");
    let (ada, _) = world.open(0, "ada");
    for number in 0..1_000 {
        let text = say(&format!("user:{user}"), number).replace("}", r#","ack":"durable"}"#);
        world.send(ada, &text);
        if number % 100 == 0 {
            world.settle();
        }
    }
    world.settle();
    world.work_max = 0;
    let (client, told) = world.open(0, &user);
    assert_eq!(numbers(&told), (0..1_000).collect::<Vec<_>>());
    let last: &Value = told.last().unwrap();
    world.ask(client, &json!({"type": "direct.ack", "through": last["message"]}).to_string());
    assert_eq!(world.metrics().directs_queued, 0);
    assert!(world.work_max < work::TURN_MAX * 3 / 2, "{} units in one turn", world.work_max);
}

//! What outlasts the process.

use serde_json::json;

use crate::disk::Disk;
use crate::shards::BEGIN;
use crate::world::{World, numbers};

fn durable(to: &str, number: usize) -> String {
    json!({"type": "send", "id": number, "to": to, "data": number, "ack": "durable"}).to_string()
}

#[test]
fn what_is_durable_is_there_after_a_crash_and_in_order() {
    for shards in [1, 3] {
        let mut world = World::over(Disk::default(), BEGIN, shards, |_| {});
        let user = world.user_of(shards - 1, "u");
        let to = format!("user:{user}");
        let (ada, _) = world.open(0, "ada");
        for number in 0..5 {
            assert_eq!(world.ask(ada, &durable(&to, number))[0]["status"], "queued");
        }
        assert_eq!(world.say(ada, &to, 5)["status"], "queued", "kept in memory");
        let (client, told) = world.open(0, &user);
        assert_eq!(numbers(&told), [0, 1, 2, 3, 4, 5]);
        let ack = json!({"type": "direct.ack", "id": 1, "through": told[1]["message"]}).to_string();
        assert_eq!(world.ask(client, &ack)[0]["type"], "direct.acked");
        world.ask(client, r#"{"type":"block","user":"eve"}"#);

        let (disk, now) = world.kill();
        let mut world = World::over(disk, now, shards, |_| {});
        let (client, again) = world.open(0, &user);
        assert_eq!(numbers(&again), [2, 3, 4], "but for what is acknowledged, and what was not durable");
        assert_eq!(again[0]["message"], told[2]["message"], "under the same names");
        let (eve, _) = world.open(0, "eve");
        assert_eq!(world.say(eve, &to, 9)["reason"], "forbidden");
        assert_eq!(world.say(client, "user:eve", 9)["reason"], "blocked");
        let (ada, _) = world.open(0, "ada");
        let sent = world.ask(ada, &durable(&to, 6)).remove(0);
        assert_eq!(sent["status"], "delivered");
        let ack = json!({"type": "direct.ack", "id": 1, "through": told[5]["message"]}).to_string();
        world.ask(client, &ack);
        assert_eq!(numbers(&world.open(0, &user).1), [6], "what was undone is below what comes later");
    }
}

#[test]
fn what_is_kept_comes_as_soon_as_it_can_be_read() {
    for shards in [1, 2] {
        let mut world = World::over(Disk::default(), BEGIN, shards, |_| {});
        let user = world.user_of(shards - 1, "u");
        let (ada, _) = world.open(0, "ada");
        world.ask(ada, &durable(&format!("user:{user}"), 7));
        let (disk, now) = world.kill();
        let mut world = World::over(disk, now, shards, |_| {});
        world.disk_gives = false;
        let (first, told) = world.open(0, &user);
        assert!(numbers(&told).is_empty());
        let (second, told) = world.open(0, &user);
        assert!(numbers(&told).is_empty(), "nor who comes while nobody tries to read it");
        // Longer than any request waits.
        for _ in 0..60 {
            world.pass_ms(100);
        }
        assert!(numbers(&world.take(first)).is_empty() && numbers(&world.take(second)).is_empty());
        let (third, _) = world.open(0, &user);
        world.disk_gives = true;
        for _ in 0..12 {
            world.pass_ms(100);
        }
        for client in [first, second, third] {
            assert_eq!(numbers(&world.take(client)), [7], "with {shards} shards");
        }
    }
}

#[test]
fn a_sender_that_wants_it_waits_for_the_disk() {
    let mut world = World::over(Disk::default(), BEGIN, 2, |_| {});
    let user = world.user_of(1, "u");
    let (ada, _) = world.open(0, "ada");
    let (client, _) = world.open(0, &user);
    world.say(ada, &format!("user:{user}"), 0);
    world.disk_takes = false;
    assert!(world.ask(ada, &durable(&format!("user:{user}"), 1)).is_empty());
    assert_eq!(numbers(&world.take(client)), [0, 1], "whom it is for does not");
    world.disk_takes = true;
    world.settle();
    assert_eq!(world.take(ada)[0]["status"], "delivered");
    world.disk_takes = false;
    world.send(ada, &durable(&format!("user:{user}"), 2));
    world.pass_ms(1);
    world.pass_ms(6_000);
    let late = world.take(ada);
    assert_eq!((&late[0]["status"], &late[0]["timeout"]), (&json!("delivered"), &json!(true)));
}

#[test]
fn mailboxes_that_rest_are_found_again() {
    let mut world = World::over(Disk::default(), BEGIN, 2, |_| {});
    let user = world.user_of(1, "u");
    let to = format!("user:{user}");
    let (ada, _) = world.open(0, "ada");
    let (client, _) = world.open(0, &user);
    world.ask(client, r#"{"type":"block","user":"eve"}"#);
    world.ask(ada, &durable(&to, 1));
    let told = world.take(client);
    world.ask(client, &json!({"type": "direct.ack", "through": told[0]["message"]}).to_string());
    world.pass_ms(100_000);
    world.pass_ms(100_000);
    world.pass_ms(100_000);
    assert_eq!(world.metrics().direct_bytes, 0, "blocks are on the disk");
    let (eve, _) = world.open(0, "eve");
    assert_eq!(world.say(eve, &to, 9)["reason"], "forbidden");
    let sent = world.ask(ada, &durable(&to, 2)).remove(0);
    assert_eq!(sent["status"], "delivered", "whoever was there still is");
    assert_eq!(numbers(&world.take(client)), [2]);
}

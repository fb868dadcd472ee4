//! Channels of which everything is on disk: what is there after a restart, and what a crash undoes.

use annulus::config::Config;
use annulus::limits::OWN_PREFIX;
use simd_json::prelude::*;

use crate::disk::Disk;
use crate::world::{Client, World};

fn durable(config: &mut Config) {
    config.channel_history.is_durable = true;
    config.channel_history.messages = 10;
}

fn channel_of(world: &World, shard: usize) -> String {
    let own = format!("{OWN_PREFIX}channel:");
    world.map_of(shard, &format!("{own}chat:")).split_off(own.len())
}

fn publish(channel: &str, data: u32, ack: &str) -> String {
    format!(r#"{{"type":"publish","id":{data},"channel":"{channel}","data":{data},"ack":"{ack}"}}"#)
}

fn join(channel: &str) -> String {
    format!(r#"{{"type":"join","id":1,"channel":"{channel}"}}"#)
}

fn since(channel: &str, epoch: &str, offset: u64) -> String {
    let since = format!(r#"{{"epoch":"{epoch}","offset":{offset}}}"#);
    format!(r#"{{"type":"join","id":1,"channel":"{channel}","since":{since}}}"#)
}

/// Says it, serves the storage and returns what the client is told, in short.
fn say(world: &mut World, client: Client, text: &str) -> Vec<String> {
    world.send(client, text);
    world.serve();
    short(world, client)
}

fn short(world: &mut World, client: Client) -> Vec<String> {
    let messages = world.received(client).into_iter().filter(|message| message["type"] != "hello");
    let field = |message: &simd_json::OwnedValue, name: &str| {
        message.get(name).map(|value| format!(" {}", value.encode())).unwrap_or_default()
    };
    messages
        .map(|message| {
            let names = ["offset", "data", "recovered", "reason", "code", "timeout"];
            let fields: String = names.iter().map(|name| field(&message, name)).collect();
            format!("{}{fields}", message["type"].as_str().unwrap()).replace('"', "")
        })
        .collect()
}

fn epoch_of(world: &mut World, client: Client, channel: &str) -> String {
    world.send(client, &join(channel));
    world.serve();
    let told = world.received(client);
    told.iter().find_map(|message| message.get_str("epoch")).unwrap().to_owned()
}

/// A server over what is on the disk, with a client.
fn restarted(disk: Disk) -> (World, Client) {
    let mut world = World::over(disk, 2, durable);
    let client = world.connect(0);
    (world, client)
}

#[test]
fn history_epoch_and_offsets_are_there_after_a_restart() {
    for home in 0..2 {
        let mut world = World::with(2, durable);
        let channel = channel_of(&world, home);
        let client = world.connect(0);
        let epoch = epoch_of(&mut world, client, &channel);
        for n in 1..=5 {
            assert_eq!(say(&mut world, client, &publish(&channel, n, "memory")), [format!("published {n}")]);
        }
        let (mut world, client) = restarted(world.disk);
        let told = say(&mut world, client, &since(&channel, &epoch, 3));
        assert_eq!(told, ["message 4 4", "message 5 5", "joined 5 true"]);
        assert_eq!(epoch_of(&mut world, client, &channel), epoch);
        assert_eq!(say(&mut world, client, &since(&channel, &epoch, 5)), ["joined 5 true"]);
        let published = say(&mut world, client, &publish(&channel, 6, "durable"));
        let offset: u64 = published[0].strip_prefix("published ").unwrap().parse().unwrap();
        assert!(offset > 5);
        for n in 7..=20 {
            say(&mut world, client, &publish(&channel, n, "memory"));
        }
        let (mut world, client) = restarted(world.disk);
        assert_eq!(say(&mut world, client, &since(&channel, &epoch, offset)).len(), 1, "that is trimmed");
        let told = say(&mut world, client, &since(&channel, &epoch, offset + 10));
        assert_eq!((told.len(), &*told[4]), (5, &*format!("joined {} true", offset + 14)), "{told:?}");
    }
}

#[test]
fn what_a_crash_undoes_is_of_another_epoch_to_who_has_seen_it() {
    for home in 0..2 {
        let mut world = World::with(2, durable);
        let channel = channel_of(&world, home);
        let client = world.connect(0);
        let epoch = epoch_of(&mut world, client, &channel);
        for n in 1..=3 {
            say(&mut world, client, &publish(&channel, n, "memory"));
        }
        // Delivered, and never on the disk.
        for n in 4..=5 {
            world.send(client, &publish(&channel, n, "memory"));
            world.settle();
            assert_eq!(short(&mut world, client), [format!("published {n}")]);
        }
        let (mut world, client) = restarted(world.disk);
        for (offset, reason) in [(5, "false epoch"), (4, "false epoch"), (3, "true"), (2, "true")] {
            let told = say(&mut world, client, &since(&channel, &epoch, offset));
            assert!(told.last().unwrap().ends_with(reason), "since {offset}: {told:?}");
            assert_eq!(told.len(), if offset == 2 { 2 } else { 1 });
        }
        let published = say(&mut world, client, &publish(&channel, 6, "memory"));
        let offset: u64 = published[0].strip_prefix("published ").unwrap().parse().unwrap();
        assert!(offset > 5, "none is given twice");
        let told = say(&mut world, client, &since(&channel, &epoch, 3));
        assert_eq!(told, [format!("message {offset} 6"), format!("joined {offset} true")]);
    }
}

#[test]
fn a_durable_publish_is_answered_once_it_is_on_disk_and_members_are_told_before() {
    for home in 0..2 {
        let mut world = World::with(2, durable);
        let channel = channel_of(&world, home);
        let (sender, member) = (world.connect(0), world.connect(1));
        epoch_of(&mut world, member, &channel);
        say(&mut world, sender, &publish(&channel, 1, "memory"));
        short(&mut world, member);
        world.send(sender, &publish(&channel, 2, "durable"));
        world.settle();
        assert!(short(&mut world, sender).is_empty(), "it is not on disk");
        assert_eq!(short(&mut world, member), ["message 2 2"]);
        world.serve();
        assert_eq!(short(&mut world, sender), ["published 2"]);
        assert_eq!(world.metrics().durable_acks, 1);
        // A disk that does not answer in time.
        world.send(sender, &publish(&channel, 3, "durable"));
        world.settle();
        world.pass_ms(5_001);
        assert_eq!(short(&mut world, sender), ["published 3 true"]);
    }
}

#[test]
fn what_is_said_while_a_history_is_loaded_waits_in_order() {
    for home in 0..2 {
        let mut world = World::with(2, durable);
        let channel = channel_of(&world, home);
        let client = world.connect(0);
        let epoch = epoch_of(&mut world, client, &channel);
        say(&mut world, client, &publish(&channel, 1, "memory"));
        let (mut world, client) = restarted(world.disk);
        let member = world.connect(1);
        world.send(member, &since(&channel, &epoch, 0));
        (2..=6).for_each(|n| world.send(client, &publish(&channel, n, "memory")));
        world.settle();
        assert!(short(&mut world, client).is_empty() && short(&mut world, member).is_empty());
        world.serve();
        let said: Vec<_> = short(&mut world, member);
        let data: Vec<_> = said.iter().filter(|told| told.starts_with("message")).collect();
        let numbers: Vec<_> = data.iter().map(|told| told.rsplit(' ').next().unwrap()).collect();
        assert_eq!(numbers, ["1", "2", "3", "4", "5", "6"], "{said:?}");
        assert_eq!(short(&mut world, client).len(), 5);
    }
}

#[test]
fn a_history_that_cannot_be_loaded_is_refused_and_nothing_stays() {
    for home in 0..2 {
        let mut world = World::with(2, |config| {
            durable(config);
            config.ack_timeout_ms = 300;
        });
        let channel = channel_of(&world, home);
        let client = world.connect(0);
        world.send(client, &join(&channel));
        world.send(client, &publish(&channel, 1, "memory"));
        world.send(client, &format!(r#"{{"type":"history","id":1,"channel":"{channel}"}}"#));
        world.pass_ms(1_000);
        assert_eq!(short(&mut world, client), ["error timeout"; 3]);
        assert_eq!(world.metrics().channel_members, 0);
        world.serve();
        world.pass_ms(1_000);
        assert_eq!(say(&mut world, client, &join(&channel)), ["joined 0"]);
    }
}

#[test]
fn a_clear_drops_histories_and_offsets_go_on() {
    for home in 0..2 {
        let mut world = World::with(2, durable);
        let channel = channel_of(&world, home);
        let (sender, member) = (world.connect(0), world.connect(1));
        let epoch = epoch_of(&mut world, member, &channel);
        for n in 1..=3 {
            say(&mut world, sender, &publish(&channel, n, "memory"));
        }
        short(&mut world, member);
        let cleared = world.clear(1);
        world.serve();
        world.fold();
        world.settle();
        assert!(world.has_succeeded(cleared));
        assert_eq!(world.metrics().channel_messages, 0);
        assert_eq!(say(&mut world, sender, &publish(&channel, 4, "durable")), ["published 4"]);
        assert_eq!(short(&mut world, member), ["message 4 4"], "who is there stays");
        assert_eq!(say(&mut world, sender, &since(&channel, &epoch, 2)), ["joined 4 false trimmed"]);
        let (mut world, client) = restarted(world.disk);
        let told = say(&mut world, client, &since(&channel, &epoch, 3));
        assert_eq!(told[0], "message 4 4");
        assert!(told[1].ends_with(" true"), "{told:?}");
    }
}

#[test]
fn a_channel_of_which_nothing_is_left_leaves_nothing() {
    let mut world = World::with(1, |config| {
        durable(config);
        config.channel_history.ttl_ms = 1_000;
    });
    let client = world.connect(0);
    say(&mut world, client, &publish("a", 1, "durable"));
    assert_eq!(world.metrics().channels, 1);
    world.pass_ms(5_000);
    world.serve();
    assert_eq!([world.metrics().channels, world.metrics().channel_bytes], [0; 2]);
    let epoch = epoch_of(&mut world, client, "a");
    let (mut world, client) = restarted(world.disk);
    assert_ne!(epoch_of(&mut world, client, "a"), epoch, "the head is gone, so it is another");
}

//! Those who are slow, and much at once.

use annulus::shard::work;
use serde_json::json;

use crate::said::{ask, channel_of, history, join, leave, publish, short, told};
use crate::world::World;

#[test]
fn who_is_too_slow_is_told_what_it_missed_in_its_place_and_nobody_else_notices() {
    for home in 0..2 {
        let mut world = World::with(2, |config| config.outbox_soft_bytes = 10_000);
        let channel = channel_of(&world, home, "chat:");
        let (sender, slow, steady) = (world.connect(0), world.connect(1), world.connect(1));
        for client in [slow, steady] {
            ask(&mut world, client, &join(&channel));
        }
        world.stall(slow);
        let filler = "f".repeat(500);
        for n in 1..=50 {
            ask(&mut world, sender, &publish(&channel, &json!([n, filler])));
        }
        assert_eq!(told(&mut world, steady).len(), 50);
        world.resume(slow);
        world.settle();
        let messages = told(&mut world, slow);
        let sent = messages.len() as u64 - 1;
        assert!((5..50).contains(&sent));
        assert_eq!(short(&messages).last().unwrap(), &format!("gap {}-50", sent + 1));
        assert_eq!(world.metrics().channel_missed, 50 - sent);
        ask(&mut world, sender, &publish(&channel, &json!("next")));
        assert_eq!(short(&told(&mut world, slow)), ["message 51 \"next\""]);
        let missed = ask(&mut world, slow, &history(&channel, Some(51), 50 - sent));
        let offsets: Vec<_> = (sent + 1..=50).map(|offset| offset.to_string()).collect();
        assert_eq!(short(&missed), [format!("history {} more", offsets.join(","))]);
    }
}

#[test]
fn who_leaves_behind_is_told_what_it_missed_before() {
    let mut world = World::with(2, |config| config.outbox_soft_bytes = 4_000);
    let channel = channel_of(&world, 0, "chat:");
    let (sender, slow) = (world.connect(0), world.connect(1));
    ask(&mut world, slow, &join(&channel));
    world.stall(slow);
    for n in 1..=20 {
        ask(&mut world, sender, &publish(&channel, &json!([n, "f".repeat(500)])));
    }
    // It is read again once it has taken what it was sent.
    world.send(slow, &leave(&channel).to_string());
    world.settle();
    world.resume(slow);
    world.settle();
    let told = short(&told(&mut world, slow));
    assert!(told[told.len() - 2].starts_with("gap ") && told[told.len() - 1] == "left", "{told:?}");
}

#[test]
fn a_message_to_many_is_divided_over_turns_and_comes_in_order() {
    const MEMBERS: usize = 2_000;
    const MESSAGES: usize = 20;
    for home in 0..2 {
        let mut world = World::new(2);
        let channel = channel_of(&world, home, "chat:");
        let sender = world.connect(0);
        let members: Vec<_> = (0..MEMBERS).map(|_| world.connect(1)).collect();
        members.iter().for_each(|&member| world.send(member, &join(&channel).to_string()));
        world.settle();
        members.iter().for_each(|&member| drop(told(&mut world, member)));
        (0..MESSAGES).for_each(|n| world.send(sender, &publish(&channel, &json!(n)).to_string()));
        let one = work::receivers(MEMBERS, 2);
        assert!(MESSAGES as u64 * one > 5 * work::TURN_MAX);
        let mut turns = 0;
        while world.metrics().channel_deliveries < (MESSAGES * MEMBERS) as u64 {
            world.turn();
            turns += 1;
            let spent = world.nodes[1].shard.work();
            assert!(spent <= work::TURN_MAX + work::CONNECTION_MAX, "{spent} units in turn {turns}");
            assert!(turns < 1_000, "they are delivered");
        }
        world.settle();
        let expected: Vec<_> = (0..MESSAGES).map(|n| format!("message {} {n}", n + 1)).collect();
        for &member in &members {
            assert_eq!(short(&told(&mut world, member)), expected);
        }
        assert_eq!(world.metrics().waiting_request_bytes, 0);
    }
}

/// The kernel sends to each once the turn has ended, and whoever is answered meanwhile waits for that.
#[test]
fn no_turn_sends_a_message_to_more_than_some_members() {
    const MEMBERS: usize = 3_000;
    let mut world = World::new(1);
    let channel = channel_of(&world, 0, "chat:");
    let sender = world.connect(0);
    let members: Vec<_> = (0..MEMBERS).map(|_| world.connect(0)).collect();
    members.iter().for_each(|&member| world.send(member, &join(&channel).to_string()));
    world.settle();
    members.iter().for_each(|&member| drop(told(&mut world, member)));
    world.send(sender, &publish(&channel, &json!(1)).to_string());
    let (mut before, mut turns) = (0, 0);
    while before < MEMBERS as u64 {
        world.turn();
        turns += 1;
        let sent = world.metrics().channel_deliveries - before;
        assert!(sent <= u64::from(work::RECEIVERS_MAX), "{sent} in turn {turns}");
        before += sent;
        assert!(turns < 100, "it is delivered");
    }
}

#[test]
fn who_joins_while_messages_wait_is_sent_those_that_follow_its_answer() {
    let mut world = World::new(2);
    let channel = channel_of(&world, 1, "chat:");
    let sender = world.connect(0);
    let members: Vec<_> = (0..3_000).map(|_| world.connect(1)).collect();
    members.iter().for_each(|&member| world.send(member, &join(&channel).to_string()));
    world.settle();
    let late = world.connect(1);
    (0..5).for_each(|n| world.send(sender, &publish(&channel, &json!(n)).to_string()));
    world.turn();
    world.turn();
    world.send(late, &join(&channel).to_string());
    (5..10).for_each(|n| world.send(sender, &publish(&channel, &json!(n)).to_string()));
    world.settle();
    let told = told(&mut world, late);
    let joined = told[0]["offset"].as_u64().unwrap();
    let offsets: Vec<_> = told[1..].iter().map(|message| message["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, (joined + 1..=10).collect::<Vec<_>>());
}

#[test]
fn what_is_said_in_one_turn_is_sent_as_one() {
    for home in 0..2 {
        let mut world = World::new(2);
        let channel = channel_of(&world, home, "chat:");
        let members: Vec<_> = (0..10).map(|n| world.connect(n % 2)).collect();
        for &member in &members {
            ask(&mut world, member, &join(&channel));
        }
        let sender = world.connect(0);
        told(&mut world, sender);
        let before = world.metrics();
        (0..16).for_each(|n| world.send(sender, &publish(&channel, &json!(n)).to_string()));
        // One who is there says something, too, and is not sent that.
        world.send(members[0], &publish(&channel, &json!("own")).to_string());
        world.settle();
        let sent = world.metrics().messages_sent - before.messages_sent;
        assert!(
            sent <= 17 + 9 + 16,
            "{sent} messages were sent: 17 answers, one to nine of ten members, 16 to the other"
        );
        for (place, &member) in members.iter().enumerate() {
            let messages = told(&mut world, member);
            let count = messages.iter().filter(|message| message["type"] == "message").count();
            assert_eq!(count, if place == 0 { 16 } else { 17 });
        }
        assert_eq!(world.metrics().channel_deliveries, 16 + 9 * 17);
    }
}

/// Goal: an offset is never taken for one of another epoch. Method: a message waits behind what is for many, while the only member of
/// its channel leaves, so that the channel is gone, and joins it anew.
#[test]
fn what_waits_of_another_epoch_is_for_nobody() {
    let mut world = World::with(2, |config| config.channel_history.messages = 0);
    let [quiet, loud] = ["quiet:", "loud:"].map(|prefix| channel_of(&world, 0, prefix));
    let (sender, member) = (world.connect(0), world.connect(1));
    ask(&mut world, member, &join(&quiet));
    for _ in 0..3_000 {
        let listener = world.connect(1);
        world.send(listener, &join(&loud).to_string());
    }
    world.settle();
    (0..15).for_each(|_| world.send(sender, &publish(&loud, &json!("x".repeat(2_000))).to_string()));
    world.send(sender, &publish(&quiet, &json!("old")).to_string());
    (0..2).for_each(|_| world.turn());
    world.send(member, &leave(&quiet).to_string());
    (0..2).for_each(|_| world.turn());
    world.send(member, &join(&quiet).to_string());
    (0..2).for_each(|_| world.turn());
    assert!(world.metrics().waiting_request_bytes > 0, "it still waits");
    world.settle();
    assert_eq!(short(&told(&mut world, member)), ["left", "joined 0"]);
    ask(&mut world, sender, &publish(&quiet, &json!("new")));
    assert_eq!(short(&told(&mut world, member)), ["message 1 \"new\""]);
}

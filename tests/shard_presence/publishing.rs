//! Messages that nobody keeps.

use annulus::shard::work;

use crate::random::Random;
use crate::words::frames_made;
use crate::world::World;

#[test]
fn a_message_reaches_every_subscriber_but_its_sender_once() {
    for shards in 1..=3 {
        let mut world = World::new(shards);
        let map = world.name_of(shards - 1, "map");
        let clients: Vec<_> = (0..9).map(|n| world.connect(n % shards)).collect();
        let (subscribers, others) = clients.split_at(6);
        for &client in subscribers {
            world.ask(client, &format!("subscribe {map}"));
        }
        for &sender in &clients {
            world.send(sender, &format!("publish {map} hello"));
            world.settle();
            for &client in subscribers {
                let told = if client == sender { vec![] } else { vec![format!("published {map} 0 hello")] };
                assert_eq!(world.received(client), told);
            }
            assert!(others.iter().all(|&client| world.received(client).is_empty()));
        }
        let metrics = world.metrics();
        assert_eq!((metrics.publishes, metrics.publish_deliveries), (9, 6 * 5 + 3 * 6));
        assert_eq!(metrics.changes, 0);
    }
}

#[test]
fn messages_of_one_connection_keep_their_order_and_maps_are_apart() {
    let mut world = World::new(2);
    let clients = [world.connect(0), world.connect(1)];
    for client in clients {
        world.ask(client, "subscribe map");
        world.ask(client, "subscribe other");
    }
    for n in 0..1_000 {
        world.send(clients[0], &format!("publish map {n}"));
        if n % 100 == 0 {
            world.send(clients[0], "publish nobody x");
            world.turn();
        }
    }
    world.settle();
    let expected: Vec<_> = (0..1_000).map(|n| format!("published map 0 {n}")).collect();
    assert_eq!(world.received(clients[1]), expected);
}

#[test]
fn who_has_unsubscribed_or_gone_gets_nothing_more() {
    for shard in 0..2 {
        let mut world = World::new(2);
        let (sender, left, gone) = (world.connect(0), world.connect(shard), world.connect(shard));
        world.ask(left, "subscribe map");
        world.ask(gone, "subscribe map");
        world.ask(sender, "publish map 1");
        assert_eq!(world.ask(left, "unsubscribe map"), ["published map 0 1"]);
        world.fail(gone);
        world.settle();
        world.ask(sender, "publish map 2");
        assert!(world.received(left).is_empty());
        assert_eq!(world.metrics().publish_deliveries, 2);
    }
}

#[test]
fn a_subscriber_with_a_filter_gets_messages_too() {
    let mut world = World::new(2);
    let (sender, subscriber) = (world.connect(0), world.connect(1));
    world.ask(subscriber, "subscribe map prefix");
    world.ask(sender, "publish map x");
    assert_eq!(world.received(subscriber), ["published map 0 x"]);
}

#[test]
fn a_frame_is_made_once_for_each_dialect_and_one_that_does_not_understand_sends_none() {
    let mut world = World::new(2);
    let mut clients = Vec::new();
    for shard in [0, 1] {
        clients.extend((0..3).map(|_| (world.connect(shard), "")));
        clients.extend((0..3).map(|_| (world.connect_other(shard), "~")));
    }
    clients.iter().for_each(|&(client, _)| drop(world.ask(client, "subscribe map")));
    let before = world.metrics().messages_sent;
    frames_made();
    let (plain, marked) = (clients[0].0, clients[9].0);
    world.ask(plain, "publish map 0");
    world.ask(marked, "publish map 1");
    for &(client, mark) in &clients {
        // Messages are called what their senders' dialects are.
        let of_plain = (mark.is_empty() && client != plain).then(|| "published map 0 0".to_owned());
        let of_marked = (client != marked).then(|| format!("{mark}published map 1 1"));
        let told: Vec<_> = of_plain.into_iter().chain(of_marked).collect();
        assert_eq!(world.received(client), told);
    }
    assert_eq!(frames_made(), 8, "two messages, two shards, two dialects");
    assert_eq!(
        world.metrics().messages_sent - before,
        5 + 11,
        "nothing is sent where there is nothing to say"
    );
    assert_eq!(world.metrics().publish_deliveries, 5 + 11);
}

#[test]
fn a_subscriber_over_the_soft_limit_misses_messages_and_is_told_those_that_follow() {
    for shard in 0..2 {
        let mut world = World::with(2, |config| config.outbox_soft_bytes = 10_000);
        let (sender, slow) = (world.connect(0), world.connect(shard));
        world.ask(slow, "subscribe map");
        world.stall(slow);
        let filler = "f".repeat(1_000);
        (0..100).for_each(|_| drop(world.ask(sender, &format!("publish map {filler}"))));
        assert_eq!(world.metrics().publish_deliveries + world.metrics().publishes_missed, 100);
        assert!(world.metrics().publishes_missed > 80);
        world.resume(slow);
        world.settle();
        assert_eq!(world.received(slow).len() as u64, world.metrics().publish_deliveries);
        world.ask(sender, "publish map after");
        assert_eq!(world.received(slow), ["published map 0 after"]);
    }
}

#[test]
fn messages_of_another_shard_are_delivered_as_turns_have_work_for_them() {
    const SUBSCRIBERS: usize = 300;
    const MESSAGES: usize = 100;
    let mut world = World::new(2);
    let sender = world.connect(0);
    let subscribers: Vec<_> = (0..SUBSCRIBERS).map(|_| world.connect(1)).collect();
    subscribers.iter().for_each(|&subscriber| world.send(subscriber, "subscribe map"));
    world.settle();
    (0..MESSAGES).for_each(|n| world.send(sender, &format!("publish map {n}")));
    let one = work::receivers(SUBSCRIBERS, 2);
    let all = MESSAGES as u64 * one;
    assert!(all > 5 * work::TURN_MAX);
    let mut turns = 0;
    while world.metrics().publish_deliveries < (MESSAGES * SUBSCRIBERS) as u64 {
        world.turn();
        turns += 1;
        let spent = world.nodes[1].shard.work();
        let queued = MESSAGES as u64 * (work::PACKED + 1);
        assert!(spent <= work::TURN_MAX + one + queued, "{spent} units in turn {turns}");
        assert!(turns < 100, "they are delivered");
    }
    world.settle();
    let expected: Vec<_> = (0..MESSAGES).map(|n| format!("published map 0 {n}")).collect();
    for &subscriber in &subscribers {
        assert_eq!(world.received(subscriber), expected);
    }
    assert_eq!(world.metrics().waiting_request_bytes, 0);
}

/// Messages are numbered by their senders; whoever stays subscribed and reads gets each number exactly once.
#[test]
fn after_random_turns_every_steady_subscriber_has_every_message_once() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let shards = random.between(1, 3);
        let mut world = World::new(shards);
        let clients: Vec<_> = (0..6).map(|_| world.connect(random.below(shards))).collect();
        let (steady, fickle) = clients.split_at(4);
        steady.iter().for_each(|&client| drop(world.ask(client, "subscribe map")));
        let mut sent = vec![0; clients.len()];
        for _ in 0..300 {
            let who = random.below(clients.len());
            match random.below(10) {
                0..5 => {
                    world.send(clients[who], &format!("publish map {who}:{}", sent[who]));
                    sent[who] += 1;
                }
                5 => world.send(random.pick(fickle), "subscribe map"),
                6 => world.send(random.pick(fickle), "unsubscribe map"),
                7 => {
                    let shard = random.below(shards);
                    world.nodes[shard].is_stopped ^= true;
                }
                _ => world.turn(),
            }
        }
        world.nodes.iter_mut().for_each(|node| node.is_stopped = false);
        world.settle();
        for (who, &client) in steady.iter().enumerate() {
            let mut told = world.received(client);
            told.sort_unstable();
            let others = (0..clients.len()).filter(|&other| other != who);
            let mut expected: Vec<_> = others
                .flat_map(|other| (0..sent[other]).map(move |n| format!("published map 0 {other}:{n}")))
                .collect();
            expected.sort_unstable();
            assert_eq!(told, expected, "seed {seed}, client {who}");
        }
        for &client in fickle {
            let mut told = world.received(client);
            let count = told.len();
            told.sort_unstable();
            told.dedup();
            assert_eq!(told.len(), count, "seed {seed}: a message came twice");
        }
    }
}

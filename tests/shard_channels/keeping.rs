//! What is kept, for how long, and what that takes.

use serde_json::json;

use crate::said::{ask, channel_of, history, join, publish, short};
use crate::world::World;

#[test]
fn history_is_paged_from_the_end() {
    for home in 0..2 {
        let mut world = World::new(2);
        let channel = channel_of(&world, home, "chat:");
        let client = world.connect(1);
        assert_eq!(short(&ask(&mut world, client, &history(&channel, None, 5))), ["history "]);
        assert_eq!(world.metrics().channels, 0, "to ask makes none");
        for n in 1..=12 {
            ask(&mut world, client, &publish(&channel, &json!(n)));
        }
        for (before, limit, page) in [
            (None, 5, "history 8,9,10,11,12 more"),
            (Some(8), 5, "history 3,4,5,6,7 more"),
            (Some(3), 5, "history 1,2"),
            (Some(1), 5, "history "),
            (Some(1_000), 2, "history 11,12 more"),
            (None, 1_000, "history 1,2,3,4,5,6,7,8,9,10,11,12"),
        ] {
            assert_eq!(short(&ask(&mut world, client, &history(&channel, before, limit))), [page]);
        }
    }
}

#[test]
fn a_page_ends_where_it_is_large() {
    let mut world = World::new(2);
    let channel = channel_of(&world, 0, "chat:");
    let client = world.connect(1);
    for _ in 1..=5 {
        ask(&mut world, client, &publish(&channel, &json!("x".repeat(30_000))));
    }
    assert_eq!(short(&ask(&mut world, client, &history(&channel, None, 100))), ["history 4,5 more"]);
    ask(&mut world, client, &publish(&channel, &json!("x".repeat(200_000))));
    assert_eq!(short(&ask(&mut world, client, &history(&channel, None, 100))), ["history 6 more"]);
}

#[test]
fn the_oldest_go_by_count_by_bytes_and_by_time_and_then_the_channel() {
    let mut world = World::with(2, |config| {
        config.channel_history.messages = 10;
        config.channel_history.bytes = 10_000;
        config.channel_history.ttl_ms = 60_000;
    });
    let channel = channel_of(&world, 0, "chat:");
    let client = world.connect(1);
    for n in 1..=20 {
        ask(&mut world, client, &publish(&channel, &json!(n)));
    }
    assert_eq!(world.metrics().channel_messages, 10);
    for _ in 0..4 {
        ask(&mut world, client, &publish(&channel, &json!("x".repeat(3_000))));
    }
    assert_eq!(world.metrics().channel_messages, 3);
    assert!(world.metrics().channel_bytes < 11_000);
    ask(&mut world, client, &publish(&channel, &json!("x".repeat(11_000))));
    assert_eq!(
        short(&ask(&mut world, client, &history(&channel, None, 9))),
        ["history "],
        "it fits in no bound"
    );
    assert_eq!(world.metrics().channels, 0, "so nothing is left");
    ask(&mut world, client, &publish(&channel, &json!(1)));
    world.pass_ms(40_000);
    ask(&mut world, client, &publish(&channel, &json!(2)));
    world.pass_ms(22_000);
    assert_eq!(short(&ask(&mut world, client, &history(&channel, None, 9))), ["history 2"]);
    assert_eq!(world.metrics().channels, 1);
    world.pass_ms(50_000);
    let metrics = world.metrics();
    assert_eq!([metrics.channels, metrics.channel_messages, metrics.channel_bytes], [0; 3]);
}

#[test]
fn where_memory_is_used_up_a_channel_keeps_less_and_goes_on() {
    let mut world = World::with(1, |config| {
        config.memory_limit_bytes = 8 << 20;
        config.outbox_hard_bytes = 1 << 20;
        config.channel_history.messages = 100_000;
        config.channel_history.bytes = 64 << 20;
    });
    let (reader, sender) = (world.connect(0), world.connect(0));
    ask(&mut world, reader, &join("a"));
    for n in 0..400 {
        let channel = if n % 2 == 0 { "a" } else { "b" };
        let answer = ask(&mut world, sender, &publish(channel, &json!("x".repeat(10_000))));
        assert_eq!(short(&answer), [format!("published {}", n / 2 + 1)]);
    }
    assert!(world.metrics().channel_bytes <= 1 << 20, "a quarter of what clients may hold");
    assert!(world.metrics().channel_messages > 50);
    assert_eq!(world.metrics().channel_deliveries, 200);
}

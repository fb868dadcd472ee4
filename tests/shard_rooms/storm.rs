//! Thousands join one room at once, and go at once: no turn does more than it may, everybody has the right count soon, and nothing is
//! left.

use annulus::shard::work;
use serde_json::Value;

use crate::person::{connect, told, world_with};
use crate::world::{Client, World};

const MEMBERS: usize = 6_000;
/// What one turn may do: its bound, a share of each of those who have one whatever was done, and one message more.
const WORK_MAX: u64 = work::TURN_CEILING + 4 * work::CONNECTION_MAX;

/// Lets so many milliseconds pass, and says how much the busiest turn did.
fn run(world: &mut World, ms: u64) -> u64 {
    let (until_ms, mut most) = (world.now_ms() + ms, 0);
    while world.now_ms() < until_ms {
        world.turn();
        most = world.nodes.iter().map(|node| node.driven.shard.work()).fold(most, u64::max);
    }
    most
}

fn last_count(told: &[Value]) -> Option<u64> {
    told.iter().rev().find_map(|message| message["count"].as_u64())
}

#[test]
fn a_storm_of_joins_is_counted_soon_and_its_end_leaves_nothing() {
    let mut world = world_with(3, |config| {
        config.connections_max = 2 * MEMBERS;
        config.handshakes_max = 2 * MEMBERS;
    });
    let watcher = connect(&mut world, 0, "");
    world.send(watcher, r#"{"type":"presence.watch","id":1,"room":"hall"}"#);
    let clients: Vec<Client> = (0..MEMBERS)
        .map(|n| {
            let token = format!("{{'sub':'u{n}'}}");
            world.connect(n % 3, Some(&token), "/v1", "127.0.0.1")
        })
        .collect();
    world.settle();
    clients.iter().for_each(|&client| drop(told(&mut world, client)));
    told(&mut world, watcher);
    let before = world.metrics().presence_bytes;

    for &client in &clients {
        world.send(client, r#"{"type":"presence.join","id":1,"room":"hall","state":{"n":1}}"#);
    }
    let most = run(&mut world, 2_000);
    assert!(most <= WORK_MAX, "{most} units in a turn that joins");
    let mut messages = 0;
    for &client in &clients {
        let told = told(&mut world, client);
        assert_eq!(last_count(&told), Some(MEMBERS as u64));
        messages += told.len();
    }
    // Its answer, and a count each half a second or so, and at first some by name.
    assert!(messages <= 8 * MEMBERS, "{messages} messages for {MEMBERS}");
    world.settle();

    clients.iter().for_each(|&client| world.fail(client));
    let most = run(&mut world, 2_000);
    assert!(most <= WORK_MAX, "{most} units in a turn that ends many");
    let told = told(&mut world, watcher);
    assert_eq!(last_count(&told), Some(0));
    assert!(told.len() < 20, "{} messages of an end", told.len());
    let metrics = world.metrics();
    assert_eq!((metrics.presence_user_members, metrics.presence_bytes), (0, before));
}

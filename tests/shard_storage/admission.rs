//! Who may connect: what an address may have, and what those may keep who have yet to ask for anything.

use std::net::IpAddr;

use crate::world::{Client, World};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A client of that address which asks for a WebSocket, if it may stay.
fn open(world: &mut World, shard: usize, address: &str) -> Option<Client> {
    let before = world.metrics().connections;
    let client = world.accept(shard, ip(address));
    world.upgrade(client, "/v1");
    world.settle();
    (world.metrics().connections > before).then_some(client)
}

#[test]
fn addresses_of_one_ipv6_network_are_one_address_on_all_shards() {
    let mut world = World::with(2, |config| config.connections_per_ip_max = 2);
    let mut held = Vec::new();
    for (shard, address, is_admitted) in [
        (0, "2001:db8:1:2::1", true),
        (1, "2001:db8:1:2:ffff::1", true),
        (0, "2001:db8:1:2::3", false),
        (1, "2001:db8:1:3::3", true),
        (0, "192.0.2.1", true),
        (1, "::ffff:192.0.2.1", true),
        (0, "192.0.2.1", false),
        (1, "::ffff:192.0.2.2", true),
    ] {
        let client = open(&mut world, shard, address);
        assert_eq!(client.is_some(), is_admitted, "{address} at shard {shard}");
        held.extend(client);
    }
    // The place is given back under what it was taken as.
    world.close(held[1]);
    world.settle();
    assert!(open(&mut world, 0, "2001:db8:1:2::9").is_some());
    assert!(open(&mut world, 1, "2001:db8:1:2::8").is_none());
}

//! Who may connect: what an address may have, and what those may keep who have yet to ask for anything.

use std::net::IpAddr;

use annulus::limits::CLOSING_RESERVE;
use annulus::metrics::Refusal;

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

#[test]
fn silent_sockets_of_one_address_keep_no_other_out() {
    let mut world = World::with(2, |config| {
        config.connections_per_ip_max = 10;
        config.connections_max = 50;
    });
    for n in 0..600 {
        world.accept(n % 2, ip("192.0.2.1"));
        if n % 50 == 0 {
            world.settle();
        }
    }
    world.settle();
    for shard in 0..48 {
        assert!(open(&mut world, shard % 2, &format!("192.0.2.{}", shard + 2)).is_some());
    }
    // They are counted, and so there is no place for another of theirs.
    assert!(open(&mut world, 0, "192.0.2.1").is_none());
    assert_eq!(world.metrics().refusals(Refusal::PerIp), 1);
    assert_eq!(world.metrics().refusals(Refusal::Handshakes), 0);
}

#[test]
fn places_of_silent_sockets_come_back_however_they_end() {
    for shard in 0..2 {
        let mut world = World::with(2, |config| {
            config.connections_per_ip_max = 2;
            config.handshake_timeout_ms = 1_000;
        });
        let gone = world.accept(shard, ip("192.0.2.1"));
        // Before the shard that counts them has answered, and after.
        world.close(gone);
        let gone = world.accept(shard, ip("192.0.2.1"));
        world.settle();
        world.close(gone);
        let _late = world.accept(shard, ip("192.0.2.1"));
        let _later = world.accept(shard, ip("192.0.2.1"));
        world.settle();
        assert!(open(&mut world, 1, "192.0.2.1").is_none());
        world.pass_ms(1_200);
        assert_eq!(world.metrics().handshakes_refused, 2);
        assert!(open(&mut world, 0, "192.0.2.1").is_some());
        assert!(open(&mut world, 1, "192.0.2.1").is_some());
        assert!(open(&mut world, 0, "192.0.2.1").is_none());
    }
}

#[test]
fn what_came_before_the_address_was_counted_is_read_then() {
    let mut world = World::with(2, |config| config.connections_per_ip_max = 1);
    for n in 1..20 {
        let address = format!("192.0.2.{n}");
        for (shard, is_admitted) in [(0, true), (1, false)] {
            let client = world.accept(shard, ip(&address));
            world.upgrade(client, "/v1");
            world.settle();
            assert!(world.is_open(client), "if only to be told");
            assert_eq!(world.metrics().refusals(Refusal::PerIp), n - u64::from(is_admitted));
        }
    }
}

#[test]
fn connections_of_a_trusted_proxy_count_for_whom_it_names_and_not_before() {
    let mut world = World::with(2, |config| {
        config.connections_per_ip_max = 1;
        config.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    });
    for n in 0..40 {
        world.accept(n % 2, ip("10.0.0.1"));
    }
    world.settle();
    for (shard, named, is_admitted) in
        [(0, "192.0.2.1", true), (1, "192.0.2.1", false), (1, "192.0.2.2", true)]
    {
        let before = world.metrics().refusals(Refusal::PerIp);
        let client = world.accept(shard, ip("10.0.0.1"));
        world.upgrade(client, &format!("/v1 HTTP/1.1\r\nX-Forwarded-For: {named}\r\nX-Rest:"));
        world.settle();
        assert_eq!(world.metrics().refusals(Refusal::PerIp) == before, is_admitted, "{named}");
    }
}

#[test]
fn of_too_many_handshakes_the_oldest_end_and_whoever_asks_at_once_gets_in() {
    const HANDSHAKES: usize = 8;
    let mut world = World::with(1, |config| config.handshakes_max = HANDSHAKES);
    let mut silent = Vec::new();
    for n in 0..100 {
        silent.push(world.accept(0, ip(&format!("192.0.2.{n}"))));
        if n % 10 == 9 {
            assert!(open(&mut world, 0, "198.51.100.1").is_some(), "after {n} that are silent");
        }
        world.settle();
    }
    let metrics = world.metrics();
    assert_eq!(metrics.connections, 10);
    // The newest are those that are left; the last to get in had the place of one of them.
    let left = HANDSHAKES - 1;
    assert_eq!(metrics.refusals(Refusal::Handshakes), (100 - left) as u64);
    assert_eq!(metrics.sockets, (10 + left) as u64);
    for (n, &client) in silent.iter().enumerate() {
        world.upgrade(client, "/v1");
        world.settle();
        assert_eq!(world.is_open(client), n >= 100 - left, "{n}");
    }
}

#[test]
fn a_flood_of_sockets_in_one_turn_is_bounded() {
    let mut world = World::with(1, |config| config.handshakes_max = 8);
    let admitted = (0..5_000).filter(|_| world.try_accept(0, ip("192.0.2.1")).is_some()).count();
    assert_eq!(admitted, 8 + CLOSING_RESERVE, "those being closed, and no more");
    world.settle();
    assert_eq!(world.metrics().sockets, 8);
    assert!(open(&mut world, 0, "198.51.100.1").is_some());
}

#[test]
fn connections_over_the_total_are_told_and_handshakes_are_none() {
    let mut world = World::with(2, |config| config.connections_max = 3);
    for n in 0..20 {
        world.accept(n % 2, ip("192.0.2.1"));
    }
    for n in 0..3 {
        assert!(open(&mut world, n % 2, "192.0.2.1").is_some());
    }
    for n in 0..4 {
        assert!(open(&mut world, n % 2, "192.0.2.1").is_none());
    }
    assert_eq!(world.metrics().refusals(Refusal::Connections), 4);
}

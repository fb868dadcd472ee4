//! Feeds: subscribers with one filter share what a change costs, and leave nothing behind.

use crate::random::Random;
use crate::words::encoded;
use crate::world::{Client, World};

/// Subscribers of each kind: enough that a cost of each shows.
const SUBSCRIBERS: usize = 1_000;

#[test]
fn a_thousand_subscribers_with_one_filter_cost_one_encoding() {
    let filters = [
        vec!["prefix user:".to_owned()],
        vec!["keys user:1,user:2,x".to_owned(), "keys x,user:2,user:1,user:2".to_owned()],
    ];
    for filters in filters {
        for shards in 1..=2 {
            let mut world = World::new(shards);
            let writer = world.connect(0);
            let subscribers: Vec<Client> = (0..SUBSCRIBERS)
                .map(|n| subscribe(&mut world, n % shards, &filters[n % filters.len()]))
                .collect();
            encoded();
            world.ask(writer, "set m user:1 1");
            assert_eq!(encoded(), shards as u32, "once on each shard");
            for &client in &subscribers {
                assert_eq!(world.received(client), ["change m user:1=1"]);
            }
            world.ask(writer, "set m order:1 1");
            assert_eq!(encoded(), 0, "what passes no filter is not encoded");
            let all = world.connect(0);
            world.ask(all, "subscribe m");
            encoded();
            world.ask(writer, "set m user:2 2");
            assert_eq!(encoded(), shards as u32 + 1, "another filter is another feed");
            assert_eq!(world.metrics().subscriptions, SUBSCRIBERS as u64 + 1);
        }
    }
}

#[test]
fn each_dialect_encodes_for_itself() {
    let mut world = World::new(1);
    let writer = world.connect(0);
    let mut others = Vec::new();
    for _ in 0..10 {
        subscribe(&mut world, 0, "prefix a");
        others.push(world.connect_other(0));
        world.ask(others[others.len() - 1], "subscribe m prefix a");
    }
    encoded();
    world.ask(writer, "set m a 1");
    assert_eq!(encoded(), 2);
    assert!(others.iter().all(|&other| world.received(other).last().unwrap() == "~change m a=1"));
}

/// Goal: a feed, a map and the interest of other shards are there exactly as long as a subscriber is. Method: in any order
/// some unsubscribe, some subscribe to something else and some go; what remains hears of everything, once.
#[test]
fn leaving_in_any_order_leaves_nothing_behind() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let shards = 1 + random.below(3);
        let mut world = World::new(shards);
        let writer = world.connect(0);
        let filters = ["", "prefix a", "prefix ab", "keys ab,b", "keys b,ab"];
        let mut subscribers: Vec<(Client, usize)> = (0..60)
            .map(|n| (subscribe(&mut world, n % shards, filters[n % filters.len()]), n % filters.len()))
            .collect();
        while !subscribers.is_empty() {
            let place = random.below(subscribers.len());
            let (client, _) = subscribers[place];
            match random.below(4) {
                0 => world.fail(client),
                1 => {
                    let filter = random.below(filters.len());
                    world.ask(client, format!("subscribe m {}", filters[filter]).trim_end());
                    subscribers[place].1 = filter;
                    continue;
                }
                _ => world.send(client, "unsubscribe m"),
            }
            subscribers.swap_remove(place);
            world.settle();
            subscribers.iter().for_each(|&(client, _)| drop(world.received(client)));
            encoded();
            world.ask(writer, "set m abc 1");
            world.ask(writer, "set m b 2");
            let mut feeds = std::collections::BTreeSet::new();
            for &(client, filter) in &subscribers {
                let (hears_abc, hears_b) = (filter < 3, filter == 0 || filter > 2);
                let told = world.received(client);
                let hears = |text: &str| told.iter().any(|told| told == text);
                assert_eq!((hears("change m abc=1"), hears("change m b=2")), (hears_abc, hears_b), "{seed}");
                assert_eq!(told.len(), usize::from(hears_abc) + usize::from(hears_b), "{seed}");
                feeds.insert((client.shard, filter.min(3), hears_abc));
                if filter == 0 {
                    feeds.insert((client.shard, filter, false));
                }
            }
            assert_eq!(encoded() as usize, feeds.len(), "once for each feed, seed {seed}");
        }
        assert_eq!(world.metrics().subscriptions, 0);
        world.ask(writer, "set m abc 3");
        assert_eq!(encoded(), 0);
    }
}

/// Goal: names that nobody uses any more take no memory.
#[test]
fn the_last_to_leave_takes_the_map_along() {
    for (home, shards) in [(0, 1), (0, 2), (1, 2), (2, 3)] {
        let mut world = World::new(shards);
        let map = world.name_of(home, "empty");
        for round in 0..3 {
            let clients: Vec<Client> = (0..6).map(|n| world.connect(n % shards)).collect();
            for (n, &client) in clients.iter().enumerate() {
                world.ask(client, &format!("subscribe {map} prefix p{}", n / 2));
            }
            let metrics = world.metrics();
            assert!(metrics.resident_bytes > 0 && metrics.subscriptions == 6);
            for (n, &client) in clients.iter().enumerate() {
                if round == 2 && n % 2 == 0 {
                    world.fail(client);
                } else {
                    world.send(client, &format!("unsubscribe {map}"));
                }
                world.settle();
            }
            assert_eq!((world.metrics().resident_bytes, world.metrics().subscriptions), (0, 0));
        }
    }
}

fn subscribe(world: &mut World, shard: usize, filter: &str) -> Client {
    let client = world.connect(shard);
    world.ask(client, format!("subscribe m {filter}").trim_end());
    client
}

//! What connections, users and addresses may send, by simulated time.

use annulus::config::{AuthMode, RateLimit, Rates};
use annulus::metrics::{RateOf, Refusal};

use crate::world::{Client, World};

const PING: &str = r#"{"type":"ping","id":1}"#;
const MINUTE_MS: u64 = 60_000;

fn rates(text: &str) -> Rates {
    text.parse().unwrap()
}

fn user(name: &str, roles: &str) -> String {
    format!("{{'sub':'{name}','roles':'{roles}'}}")
}

/// Milliseconds to wait, if a message was refused for its rate.
fn refused_for_ms(texts: &[String]) -> Option<u64> {
    let text = texts.iter().find(|text| text.contains("rate_limited"))?;
    let answer: serde_json::Value = serde_json::from_str(text).unwrap();
    Some(answer["retry_after_ms"].as_u64().expect("every refusal says when to come back"))
}

/// How many of the messages that all send, one each `every_ms`, are handled in a minute.
fn handled_in_a_minute(world: &mut World, clients: &[Client], every_ms: u64, message: &str) -> u64 {
    let (mut handled, ends_ms) = (0, world.now_ms() + MINUTE_MS);
    while world.now_ms() < ends_ms {
        for &client in clients {
            handled += u64::from(refused_for_ms(&world.ask_once(client, message)).is_none());
        }
        world.pass_ms(every_ms);
    }
    handled
}

fn write_of(ops: usize) -> String {
    let op = r#"{"map":"m","key":"k","op":"set","value":1}"#;
    format!(r#"{{"type":"write","id":1,"ops":[{}]}}"#, vec![op; ops].join(","))
}

#[test]
fn a_connection_sends_its_burst_and_then_its_rate() {
    let mut world = World::with(1, "", |config| {
        config.auth = AuthMode::None;
        config.connection_rates = rates("messages_per_second=7,burst_seconds=3");
    });
    let client = world.connect(0, None, "/v1", "127.0.0.1");
    let other = world.connect(0, None, "/v1", "127.0.0.1");
    world.settle();
    (world.texts(client), world.texts(other)).0.clear();
    let burst = (0..100).take_while(|_| refused_for_ms(&world.ask_once(client, PING)).is_none()).count();
    assert_eq!(burst, 21);
    assert!(refused_for_ms(&world.ask_once(other, PING)).is_none(), "each has its own");
    let handled = handled_in_a_minute(&mut world, &[client], 20, PING);
    assert!((419..=421).contains(&handled), "{handled} in a minute");
    assert!(world.metrics().rate_limited(RateOf::Connection) > 1_000);
}

#[test]
fn who_waits_as_long_as_it_was_told_is_served() {
    let mut world = World::with(1, "", |config| {
        config.connection_rates = rates("messages_per_second=3,bytes_per_second=500,ops_per_second=40");
        config.user_rates = rates("messages_per_second=2,bytes_per_second=900");
        config.address_rates = rates("ops_per_second=30");
    });
    let (client, _) = world.open(0, &user("u", ""));
    let messages = [PING.to_owned(), write_of(1), write_of(100), write_of(20)];
    let mut refused = 0;
    for message in messages.iter().cycle().take(400) {
        if let Some(wait_ms) = refused_for_ms(&world.ask(client, message)) {
            refused += 1;
            assert!(wait_ms > 0);
            world.pass_ms(wait_ms);
            assert_eq!(refused_for_ms(&world.ask(client, message)), None, "after {wait_ms} ms");
        }
    }
    assert!(refused > 100, "only {refused} were refused");
}

#[test]
fn operations_and_bytes_count_as_many_as_there_are() {
    for (limit, message, each) in [
        ("ops_per_second=100", write_of(25), 25),
        ("bytes_per_second=100", format!(r#"{{"type":"ping","x":"{}"}}"#, "x".repeat(28)), 50),
        ("ops_per_second=100,messages_per_second=1000000", write_of(500), 500),
    ] {
        let mut world = World::with(1, "", |config| config.connection_rates = rates(limit));
        let (client, _) = world.open(0, &user("u", ""));
        let handled = handled_in_a_minute(&mut world, &[client], 50, &message) * each;
        // The burst, the rate, and what the last message had too much.
        assert!((6_000..=6_100 + each).contains(&handled), "{limit}: {handled} in a minute");
    }
}

#[test]
fn connections_of_one_user_share_what_it_may_send_on_one_shard() {
    let mut world = World::with(1, "", |config| config.user_rates = rates("messages_per_second=10"));
    let clients = [0, 1, 2].map(|_| world.open(0, &user("u", "")).0);
    let (other, _) = world.open(0, &user("v", ""));
    let handled = handled_in_a_minute(&mut world, &clients, 20, PING);
    assert!((609..=611).contains(&handled), "{handled} in a minute");
    assert!(world.metrics().rate_limited(RateOf::User) > 0);
    assert!(refused_for_ms(&world.ask(other, PING)).is_none());
}

#[test]
fn connections_of_one_user_on_several_shards_share_it_but_for_a_little() {
    for (shards, per_shard) in [(2, 1), (4, 1), (4, 3)] {
        let mut world = World::with(shards, "", |config| {
            config.user_rates = rates("messages_per_second=20,burst_seconds=2")
        });
        let clients: Vec<Client> =
            (0..shards * per_shard).map(|n| world.open(n % shards, &user("u", "")).0).collect();
        let handled = handled_in_a_minute(&mut world, &clients, 20, PING);
        // Burst and rate, and what the module says of the others: a burst each, and the rate for half a second.
        let (owed, most) = (40 + 1_200, (shards as u64 - 1) * (40 + 10));
        assert!((owed - 30..=owed + most).contains(&handled), "{shards} shards: {handled} of {owed}");
        // What was too much is owed: the next minute has the rate alone.
        let handled = handled_in_a_minute(&mut world, &clients, 20, PING);
        assert!((1_100..=1_200 + 40).contains(&handled), "{shards} shards: {handled} in the second minute");
    }
}

#[test]
fn one_connection_alone_has_all_its_user_may_send() {
    let mut world = World::with(4, "", |config| config.user_rates = rates("messages_per_second=20"));
    let clients: Vec<Client> = (0..4).map(|shard| world.open(shard, &user("u", "")).0).collect();
    let handled = handled_in_a_minute(&mut world, &clients[3..], 20, PING);
    assert!((1_190..=1_221).contains(&handled), "{handled} in a minute");
}

#[test]
fn nobody_gains_by_connecting_again() {
    let mut world =
        World::with(3, "", |config| config.user_rates = rates("messages_per_second=5,burst_seconds=10"));
    let (mut handled, began_ms) = (0, world.now_ms());
    for round in 0..120 {
        let (client, texts) = world.open(round % 3, &user("u", ""));
        assert!(texts.iter().any(|text| text.contains("authenticated")));
        for _ in 0..50 {
            handled += u64::from(refused_for_ms(&world.ask_once(client, PING)).is_none());
        }
        world.fail(client);
        world.pass_ms(495);
    }
    // The burst, the rate, and nothing of the other shards, as each hears what is owed as it takes a user on.
    let owed = 50 + (world.now_ms() - began_ms) * 5 / 1000;
    assert!((owed - 10..=owed + 2).contains(&handled), "{handled} of {owed}");
}

#[test]
fn addresses_share_what_they_may_send() {
    let mut world = World::with(2, "", |config| {
        config.auth = AuthMode::None;
        config.address_rates = rates("messages_per_second=10");
    });
    let at = |world: &mut World, shard, address: &str| world.connect(shard, None, "/v1", address);
    let clients = [at(&mut world, 0, "2001:db8:1:2::1"), at(&mut world, 1, "2001:db8:1:2::7")];
    let other = at(&mut world, 1, "2001:db8:1:3::7");
    world.settle();
    let handled = handled_in_a_minute(&mut world, &clients, 20, PING);
    assert!((600..=610 + 15).contains(&handled), "{handled} in a minute");
    assert!(world.metrics().rate_limited(RateOf::Address) > 0);
    assert!(refused_for_ms(&world.ask(other, PING)).is_none());
}

#[test]
fn new_connections_of_users_and_addresses_have_a_rate_too() {
    let mut world = World::with(2, "", |config| {
        config.user_rates = rates("connections_per_second=2,burst_seconds=2");
        config.address_rates = rates("connections_per_second=100");
    });
    let (mut taken, mut waited_ms) = (0, None);
    for n in 0..20 {
        let (_, texts) = world.open(n % 2, &user("u", ""));
        match texts[0].strip_prefix("close 1013 retry_after_ms=") {
            Some(ms) => waited_ms = Some(ms.parse::<u64>().unwrap()),
            None => taken += 1,
        }
    }
    assert_eq!((taken, world.metrics().refusals(Refusal::UserRate)), (4, 16));
    assert!(waited_ms.is_some_and(|ms| ms <= 500));
    world.pass_ms(waited_ms.unwrap());
    assert!(world.open(1, &user("u", "")).1[0].contains("hello"));
    assert!(world.open(1, &user("u", "")).1[0].contains("close 1013"));
    assert_eq!(world.metrics().refusals(Refusal::AddressRate), 0);

    let mut world = World::with(2, "", |config| config.address_rates = rates("connections_per_second=3"));
    for n in 0..10 {
        let client = world.connect(n % 2, None, "/v1", "192.0.2.1");
        world.settle();
        let text = world.texts(client).remove(0);
        assert!(
            if n < 3 { text.contains("hello") } else { text.starts_with("close 1013 retry_after_ms=") },
            "{n}: {text}"
        );
    }
    assert_eq!(world.metrics().refusals(Refusal::AddressRate), 7);
}

const RULES: &str = r#"
    [[role]]
    name = "member"
    [[role]]
    name = "staff"
    [[role]]
    name = "nobody"
    [[rule]]
    allow = ["all"]
    maps = ["**"]
    [limits.member]
    messages_per_second = 2
    [limits.staff]
    messages_per_second = 20
    burst_seconds = 2
"#;

/// Messages that a client may send at once.
fn burst(world: &mut World, client: Client) -> usize {
    (0..100).take_while(|_| refused_for_ms(&world.ask_once(client, PING)).is_none()).count()
}

#[test]
fn the_most_generous_of_the_roles_counts_and_new_rules_count_at_once() {
    let mut world = World::with(1, RULES, |config| config.user_rates = rates("messages_per_second=5"));
    for (who, roles, expected) in [
        ("a", "member", 2),
        ("b", "member staff", 40),
        ("c", "nobody", 5),
        ("d", "nobody member", 2),
        ("e", "", 5),
    ] {
        let (client, _) = world.open(0, &user(who, roles));
        assert_eq!(burst(&mut world, client), expected, "{roles}");
    }
    let (client, _) = world.open(0, &user("f", "member"));
    assert_eq!(burst(&mut world, client), 2);
    world.stand(&RULES.replace("messages_per_second = 2\n", "messages_per_second = 10\n"));
    world.pass_ms(2_000);
    assert_eq!(burst(&mut world, client), 10);
    world.stand(&RULES.replace("messages_per_second = 2\n", "messages_per_second = 0\n"));
    assert_eq!(burst(&mut world, client), 100, "no limit");
}

#[test]
fn where_those_over_their_rate_wait_nothing_is_refused_and_the_rate_is_the_same() {
    let mut world = World::with(1, "", |config| {
        config.rate_limit = RateLimit::Wait;
        config.user_rates = rates("messages_per_second=10");
    });
    let clients = [0, 1].map(|_| world.open(0, &user("u", "")).0);
    for client in clients {
        (0..400).for_each(|_| world.send(client, PING));
    }
    let (mut pongs, ends_ms) = (0, world.now_ms() + MINUTE_MS);
    while world.now_ms() < ends_ms {
        world.pass_ms(20);
        for client in clients {
            let texts = world.texts(client);
            assert!(texts.iter().all(|text| text.contains("pong")), "{texts:?}");
            pongs += texts.len();
        }
    }
    assert!((608..=612).contains(&pongs), "{pongs} in a minute");
    assert_eq!(world.metrics().rate_limited(RateOf::User), 0);
}

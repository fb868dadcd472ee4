//! How many connections a user may have, and what a new session does to those that are there.

use annulus::config::{AuthMode, Config, Sessions};
use annulus::metrics::Refusal;

use crate::world::{Client, World};

fn token(user: &str, session: &str) -> String {
    if session.is_empty() {
        format!("{{'sub':'{user}'}}")
    } else {
        format!("{{'sub':'{user}','session':'{session}'}}")
    }
}

fn auth(user: &str, session: &str) -> String {
    format!(r#"{{"type":"auth","id":7,"token":"{}"}}"#, token(user, session))
}

fn is_in(texts: &[String]) -> bool {
    texts.iter().any(|text| text.contains("authenticated"))
        && !texts.iter().any(|text| text.starts_with("close"))
}

fn policy(sessions: Sessions) -> impl FnOnce(&mut Config) {
    move |config| config.sessions = sessions
}

fn clients(world: &World, user: &str) -> Vec<Client> {
    world.listed(user).into_iter().map(|(client, _)| client).collect()
}

#[test]
fn a_user_has_as_many_connections_as_it_may_over_all_shards() {
    let mut world = World::with(3, "", |config| config.connections_per_user_max = 3);
    let user = world.user_of(1, "u");
    let mut held: Vec<Client> = Vec::new();
    for shard in 0..3 {
        let (client, texts) = world.open(shard, &token(&user, ""));
        assert!(is_in(&texts), "{texts:?}");
        held.push(client);
    }
    for shard in 0..3 {
        let (_, texts) = world.open(shard, &token(&user, ""));
        assert_eq!(texts.len(), 1, "not even a hello: {texts:?}");
        let wait_ms: u32 = texts[0].strip_prefix("close 1013 retry_after_ms=").unwrap().parse().unwrap();
        assert!((500..5_000).contains(&wait_ms));
    }
    assert!(is_in(&world.open(0, &token("other", "")).1));
    // Who is open already and says so is turned away in the same way.
    let late = world.connect(2, None, "/v1", "127.0.0.1");
    world.settle();
    world.texts(late);
    let texts = world.ask(late, &auth(&user, ""));
    assert!(texts.len() == 1 && texts[0].starts_with("close 1013 retry_after_ms="), "{texts:?}");
    assert_eq!(world.metrics().refusals(Refusal::PerUser), 4);
    world.fail(held[1]);
    world.settle();
    assert!(is_in(&world.open(2, &token(&user, "")).1), "its place is free");
    assert_eq!(world.listed(&user).len(), 3);
    // Renewing takes no place.
    assert!(is_in(&world.ask(held[0], &auth(&user, ""))));
    assert_eq!(world.listed(&user).len(), 3);
}

#[test]
fn a_new_session_takes_the_place_of_others_once_it_is_in() {
    let mut world = World::with(2, "", |config| {
        config.sessions = Sessions::Replace;
        config.connections_per_user_max = 2;
    });
    let user = world.user_of(0, "u");
    let (one, _) = world.open(0, &token(&user, "a"));
    let (two, _) = world.open(1, &token(&user, "a"));
    assert!(world.texts(one).is_empty(), "the same session appends");
    let (_, texts) = world.open(1, &token(&user, "a"));
    assert!(texts[0].starts_with("close 1013"), "it has as many as it may");

    // While the home of the user has yet to answer nobody goes.
    world.stop(0, true);
    let new = world.connect(1, Some(&token(&user, "b")), "/v1", "127.0.0.1");
    world.settle();
    assert!(world.texts(new).is_empty() && world.texts(two).is_empty());
    world.stop(0, false);
    world.settle();
    assert!(is_in(&world.texts(new)), "the others do not count");
    for old in [one, two] {
        assert_eq!(world.texts(old), ["close 4009 replaced by a newer session"]);
    }
    assert_eq!(world.listed(&user), [(new, Some("b".to_owned()))]);
    assert!(is_in(&world.open(0, &token("other", "c")).1) && world.texts(new).is_empty());
}

#[test]
fn what_is_sent_behind_a_token_waits_for_the_home_of_the_user() {
    let mut world = World::with(2, "", |_| {});
    let user = world.user_of(0, "u");
    let client = world.connect(1, None, "/v1", "127.0.0.1");
    world.settle();
    world.texts(client);
    world.stop(0, true);
    world.send(client, &auth(&user, ""));
    assert!(world.ask(client, r#"{"type":"ping","id":8}"#).is_empty());
    world.stop(0, false);
    world.settle();
    let texts = world.texts(client);
    assert!(texts[0].contains("authenticated") && texts[1].contains("pong"), "{texts:?}");
}

#[test]
fn one_that_does_not_come_to_be_open_ends_nobody() {
    let mut world = World::with(2, "", policy(Sessions::Replace));
    let user = world.user_of(0, "u");
    let (old, _) = world.open(1, &token(&user, "a"));
    world.stop(0, true);
    let new = world.connect(1, Some(&token(&user, "b")), "/v1", "127.0.0.1");
    world.settle();
    world.fail(new);
    world.settle();
    world.stop(0, false);
    world.settle();
    assert!(world.texts(old).is_empty());
    assert_eq!(world.listed(&user), [(old, Some("a".to_owned()))]);
}

#[test]
fn a_session_is_named_by_the_token_or_else_by_the_url() {
    let mut world = World::with(1, "", policy(Sessions::Replace));
    let open = |world: &mut World, session: &str, target: &str| {
        let client = world.connect(0, Some(&token("u", session)), target, "127.0.0.1");
        world.settle();
        (client, world.texts(client))
    };
    let (one, _) = open(&mut world, "", "/v1?session=tab%201");
    let (two, _) = open(&mut world, "tab 1", "/v1?session=ignored");
    assert_eq!(world.listed("u").len(), 2);
    assert!(world.texts(one).is_empty());
    let (three, _) = open(&mut world, "", "/v1");
    assert_eq!(clients(&world, "u"), [three], "without a name is a session, too");
    assert!(world.texts(two)[0].starts_with("close 4009"));
    let late = world.connect(0, None, "/v1?session=x", "127.0.0.1");
    world.settle();
    world.texts(late);
    assert!(is_in(&world.ask(late, &auth("u", ""))), "also for a token that comes later");
    assert_eq!(world.listed("u"), [(late, Some("x".to_owned()))]);
    // A connection stays of the session under which it came.
    assert!(is_in(&world.ask(late, &auth("u", "y"))));
    assert_eq!(world.listed("u"), [(late, Some("x".to_owned()))]);
}

#[test]
fn another_session_is_turned_away_where_one_is_there() {
    let mut world = World::with(2, "", policy(Sessions::Reject));
    let user = world.user_of(0, "u");
    let (one, texts) = world.open(1, &token(&user, "a"));
    assert!(is_in(&texts) && is_in(&world.open(0, &token(&user, "a")).1));
    for shard in 0..2 {
        let (_, texts) = world.open(shard, &token(&user, "b"));
        assert_eq!(texts, ["close 4003 another session of this user is connected"]);
    }
    let late = world.connect(1, None, "/v1", "127.0.0.1");
    world.settle();
    world.texts(late);
    assert!(world.ask(late, &auth(&user, "b"))[0].starts_with("close 4003"));
    assert_eq!(world.metrics().refusals(Refusal::Session), 3);
    assert!(world.texts(one).is_empty());
    clients(&world, &user).into_iter().for_each(|client| world.close(client));
    world.settle();
    assert!(is_in(&world.open(1, &token(&user, "b")).1));
}

#[test]
fn of_two_sessions_that_come_at_one_moment_one_stays() {
    for sessions in [Sessions::Replace, Sessions::Reject] {
        for lead in 0..12 {
            let mut world = World::with(3, "", policy(sessions));
            let user = world.user_of(2, "u");
            let tokens = [token(&user, "a"), token(&user, "b")];
            let first = world.connect(0, Some(&tokens[0]), "/v1", "127.0.0.1");
            (0..lead).for_each(|_| world.turn());
            let second = world.connect(1, Some(&tokens[1]), "/v1", "127.0.0.1");
            world.settle();
            let stay = [first, second].map(|client| {
                let texts = world.texts(client);
                let is_in = is_in(&texts);
                let code = if sessions == Sessions::Replace { "close 4009" } else { "close 4003" };
                assert!(is_in || texts.last().unwrap().starts_with(code), "{texts:?}");
                is_in
            });
            assert_ne!(stay[0], stay[1], "{sessions:?}, {lead} turns later");
            let stays = if stay[0] { first } else { second };
            assert_eq!(clients(&world, &user), [stays]);
        }
    }
}

#[test]
fn the_session_that_came_last_stays_whichever_opens_first() {
    let mut world = World::with(3, "", policy(Sessions::Replace));
    let user = world.user_of(2, "u");
    let enter = |world: &mut World, shard, session, listed| {
        let client = world.connect(shard, Some(&token(&user, session)), "/v1", "127.0.0.1");
        while world.listed(&user).len() < listed {
            world.turn();
        }
        world.stop(shard, true);
        client
    };
    let first = enter(&mut world, 0, "a", 1);
    let last = enter(&mut world, 1, "b", 2);
    world.stop(0, false);
    world.settle();
    assert!(is_in(&world.texts(first)), "it may stay while the other is not open");
    assert_eq!(world.listed(&user).len(), 2);
    world.stop(1, false);
    world.settle();
    assert!(is_in(&world.texts(last)));
    assert_eq!(world.texts(first), ["close 4009 replaced by a newer session"]);
    assert_eq!(clients(&world, &user), [last]);
}

#[test]
fn thousands_come_and_go_at_once() {
    let mut world = World::with(3, "", |_| {});
    let one = world.user_of(1, "u");
    let names: Vec<String> =
        (0..3_000).map(|n| if n % 2 == 0 { one.clone() } else { format!("other{}", n % 700) }).collect();
    let come = |world: &mut World| -> Vec<Client> {
        let connect =
            |(n, name): (usize, &String)| world.connect(n % 3, Some(&token(name, "")), "/v1", "127.0.0.1");
        names.iter().enumerate().map(connect).collect()
    };
    let mut there = come(&mut world);
    for _ in 0..2 {
        world.settle();
        assert_eq!((world.metrics().users, world.metrics().user_connections), (351, 3_000));
        assert_eq!(world.listed(&one).len(), 1_500);
        // All go, and as many come, in one turn.
        there.iter().for_each(|&client| world.fail(client));
        there = come(&mut world);
    }
    there.iter().for_each(|&client| world.fail(client));
    world.settle();
    assert_eq!((world.metrics().users, world.metrics().user_connections), (0, 0));
}

#[test]
fn who_leaves_while_the_mesh_is_full_is_not_forgotten() {
    let mut world = World::with(2, "", |_| {});
    let user = world.user_of(0, "u");
    let held: Vec<Client> = (0..200).map(|_| world.open(1, &token(&user, "")).0).collect();
    assert_eq!(world.listed(&user).len(), 200);
    world.stop(0, true);
    for (count, &client) in held.iter().enumerate() {
        if count % 2 == 0 {
            world.fail(client)
        } else {
            world.close(client)
        }
        if count % 3 == 0 {
            world.turn();
        }
    }
    world.settle();
    assert!(world.metrics().mesh_pending_envelopes > 0, "the mesh was not full");
    // Some come at the same time.
    let mut new: Vec<Client> =
        (0..3).map(|_| world.connect(1, Some(&token(&user, "")), "/v1", "127.0.0.1")).collect();
    world.settle();
    world.stop(0, false);
    world.settle();
    new.sort();
    assert_eq!(clients(&world, &user), new);
    assert_eq!((world.metrics().users, world.metrics().user_connections), (1, 3));
}

#[test]
fn where_nobody_is_asked_there_is_no_directory() {
    let mut world = World::with(2, "", |config| {
        config.auth = AuthMode::None;
        config.connections_per_user_max = 1;
        config.sessions = Sessions::Reject;
    });
    for shard in [0, 1, 0] {
        let (_, texts) = world.open(shard, &token("u", ""));
        assert!(texts.len() == 1 && texts[0].contains("hello"), "{texts:?}");
    }
    assert_eq!((world.metrics().users, world.metrics().envelopes_sent), (0, 0));
}

#[test]
fn who_is_anonymous_is_in_no_directory() {
    let mut world = World::with(2, "", |config| config.connections_per_user_max = 1);
    for shard in [0, 1, 0] {
        let client = world.connect(shard, None, "/v1", "127.0.0.1");
        world.settle();
        assert!(world.texts(client)[0].contains("hello"));
    }
    assert_eq!((world.metrics().users, world.metrics().envelopes_sent), (0, 0));
    let user = "anonymous";
    assert!(is_in(&world.open(0, &token(user, "")).1), "a token may name it all the same");
}

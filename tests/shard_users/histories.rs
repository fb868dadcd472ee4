//! Thousands come and go, in whatever order: what the directory has when nothing happens any more is who is there.

use std::collections::BTreeMap;

use annulus::config::Sessions;
use annulus::hooks::{Happened, Kind};

use crate::random::Random;
use crate::world::{Client, World};

const USERS: [&str; 6] = ["ada", "bob", "cleo", "dan", "eve", "fay"];
const SESSIONS: [&str; 3] = ["", "s1", "s2"];

const TOLD: &str = r#"
    [[rule]]
    allow = ["read"]
    maps = ["**"]
    [[hook]]
    events = ["connected", "disconnected"]
    url = "http://localhost/"
"#;

/// What the test knows of a client.
struct Known {
    client: Client,
    user: &'static str,
    session: &'static str,
    is_gone: bool,
    texts: Vec<String>,
}

impl Known {
    fn is_in(&self) -> bool {
        let is_closed = self.texts.iter().any(|text| text.starts_with("close"));
        !self.is_gone && !is_closed && self.texts.iter().any(|text| text.contains("authenticated"))
    }
}

fn run(seed: u64, sessions: Sessions, connections_max: usize) {
    let mut random = Random::new(seed);
    let shards = random.between(1, 4);
    let mut world = World::with(shards, TOLD, |config| {
        config.sessions = sessions;
        config.connections_per_user_max = connections_max;
    });
    let mut known: Vec<Known> = Vec::new();
    for _ in 0..random.between(200, 600) {
        match random.below(10) {
            0..5 => {
                let (user, session) = (random.pick(&USERS), random.pick(&SESSIONS));
                let token = if session.is_empty() {
                    format!("{{'sub':'{user}'}}")
                } else {
                    format!("{{'sub':'{user}','session':'{session}'}}")
                };
                let is_late = random.per_mille(300);
                let shown = Some(&*token).filter(|_| !is_late);
                let client = world.connect(random.below(shards), shown, "/v1", "127.0.0.1");
                if is_late {
                    world.send(client, &format!(r#"{{"type":"auth","token":"{token}"}}"#));
                }
                known.push(Known { client, user, session, is_gone: false, texts: Vec::new() });
            }
            5..8 if !known.is_empty() => {
                let at = random.below(known.len());
                let who = &mut known[at];
                if !who.is_gone {
                    who.is_gone = true;
                    if random.per_mille(500) { world.fail(who.client) } else { world.close(who.client) }
                }
            }
            8 => world.stop(random.below(shards), random.per_mille(500)),
            _ => (0..random.below(4)).for_each(|_| world.turn()),
        }
    }
    (0..shards).for_each(|shard| world.stop(shard, false));
    world.settle();
    for who in &mut known {
        who.texts = world.texts(who.client);
    }
    let mut expected: BTreeMap<&str, Vec<(Client, Option<String>)>> = BTreeMap::new();
    for who in known.iter().filter(|who| who.is_in()) {
        let session = (!who.session.is_empty()).then(|| who.session.to_owned());
        expected.entry(who.user).or_default().push((who.client, session));
    }
    for user in USERS {
        let mut there = expected.remove(user).unwrap_or_default();
        there.sort();
        assert_eq!(world.listed(user), there, "seed {seed}: {user}");
        assert!(connections_max == 0 || there.len() <= connections_max, "seed {seed}: {user}");
        let is_one = there.windows(2).all(|pair| pair[0].1 == pair[1].1);
        assert!(sessions == Sessions::Append || is_one, "seed {seed}: {user} has two sessions");
    }
    let count = |known: &[Known]| known.iter().filter(|who| who.is_in()).count() as u64;
    assert_eq!(world.metrics().user_connections, count(&known), "seed {seed}");
    let mut told = world.told();
    check_told(&world, &told, seed);
    known.iter().for_each(|who| world.fail(who.client));
    world.settle();
    told.extend(world.told());
    check_told(&world, &told, seed);
    let metrics = world.metrics();
    assert_eq!((metrics.users, metrics.user_connections), (0, 0), "seed {seed}: somebody is left behind");
    assert_eq!(metrics.connections, 0, "seed {seed}");
}

/// The application was told of each user's first connection and its last, in turns, as it is now.
fn check_told(world: &World, told: &[Happened], seed: u64) {
    for user in USERS {
        let of_user = told.iter().filter(|what| **what.name() == *user).map(Happened::kind);
        let mut is_there = false;
        for kind in of_user {
            let expected = if is_there { Kind::Disconnected } else { Kind::Connected };
            assert_eq!(kind, expected, "seed {seed}: {user}");
            is_there = !is_there;
        }
        assert_eq!(is_there, !world.listed(user).is_empty(), "seed {seed}: {user}");
    }
}

#[test]
fn the_directory_is_who_is_there() {
    let seeds = std::env::var("SEED").ok().map_or(0..60, |seed| {
        let seed: u64 = seed.parse().unwrap();
        seed..seed + 1
    });
    for seed in seeds {
        for sessions in [Sessions::Append, Sessions::Replace, Sessions::Reject] {
            run(seed, sessions, if seed % 2 == 0 { 0 } else { 4 });
        }
    }
}

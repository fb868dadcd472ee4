//! Views that change, and cursors of before.

use crate::host::{ALL, Host, auth, bare};
use crate::replica::Replica;

const RULES: &str = r#"
    [[rule]]
    allow = ["read"]
    maps = ["m"]
    keys = ["{claims.name}*"]
    [[rule]]
    allow = ["read"]
    maps = ["m"]
    when = "value.team == claims.team"
"#;
const U: &str = r#"{"sub":"r","name":"u"}"#;
const V: &str = r#"{"sub":"r","name":"v"}"#;
const W: &str = r#"{"sub":"r","name":"w","team":"a"}"#;
/// The same user, who may do everything.
const R: &str = r#"{"sub":"r","roles":["admin"]}"#;
const KEYS: &str = "[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nkeys = [\"{claims.name}*\"]\n";

fn cursor(said: &[String]) -> String {
    let mut replica = Replica::default();
    said.iter().for_each(|text| replica.take(text));
    replica.cursor.unwrap()
}

fn keys(replica: &Replica) -> Vec<String> {
    replica.visible().into_keys().map(|(key, _)| key).collect()
}

/// Rules by which everybody may read keys that begin so.
fn all_read(beginning: &str) -> String {
    format!("[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nkeys = [\"{beginning}*\"]\n")
}

#[test]
fn a_cursor_is_good_for_the_view_that_it_is_from() {
    let mut world = Host::new(2, KEYS);
    let writer = world.connect(0, ALL);
    world.done(writer, &["set m u1 1", "set m v1 1", "delete m u1", "set m u2 1"]);
    let reader = world.connect(1, U);
    let at = cursor(&world.ask(reader, "subscribe m"));
    world.done(writer, &["set m u1 2", "set m v2 2", "delete m u2"]);
    let ask = |world: &mut Host, token: &str, at: &str| {
        let client = world.connect(0, token);
        let said = world.ask(client, &format!("subscribe m since {at}"));
        let words = bare(said).join(" ");
        let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        words.retain(|word| !["snapshot", "m", "more", "last"].contains(&&**word));
        words.sort();
        words.join(" ")
    };
    assert_eq!(ask(&mut world, U, &at), "resumed u1=2 u2=");
    assert_eq!(ask(&mut world, V, &at), "reset v1=1 v2=2", "another view");
    assert!(ask(&mut world, ALL, &at).starts_with("reset "), "no view");
    world.stand(&format!("{KEYS}\n# another file\n"));
    assert!(ask(&mut world, U, &at).starts_with("reset "), "other rules");
    world.stand(RULES);
    let looking = world.connect(1, W);
    let looking = cursor(&world.ask(looking, "subscribe m"));
    assert!(ask(&mut world, W, &looking).starts_with("reset"), "what has left meanwhile is not known");
}

#[test]
fn another_view_is_told_anew_and_an_equal_one_is_nothing() {
    for shards in 1..=2 {
        let mut world = Host::new(shards, RULES);
        let writer = world.connect(0, ALL);
        world.done(writer, &["set m u1 1", "set m v1 1", r#"set m x {"team":"a"}"#]);
        let (reader, _) = world.subscriber(shards - 1, U, "echo yes");
        assert!(world.renew(reader, U).is_empty(), "it is the same");
        let same = r#"{"sub":"r","name":"u","since":"then"}"#;
        assert!(world.renew(reader, same).is_empty(), "no rule is about what is new");
        let mut replica = Replica::default();
        for (token, seen) in
            [(V, vec!["v1"]), (W, vec!["x"]), (R, vec!["u1", "v1", "x"]), (W, vec!["x"]), (U, vec!["u1"])]
        {
            world.renew(reader, token).iter().for_each(|text| replica.take(text));
            assert_eq!(keys(&replica), seen, "{token}");
        }
        assert_eq!(replica.resets, 5);
        world.done(writer, &["set m v1 2", "set m u1 2", r#"set m x {"team":"b"}"#]);
        assert_eq!(world.told(reader), ["change m u1=2"]);
        assert_eq!(world.metrics().subscriptions, 1);
        world.fail(reader);
        world.settle();
        assert_eq!(world.metrics().subscriptions, 0);
    }
}

#[test]
fn other_rules_are_another_view_or_none() {
    for shards in 1..=2 {
        let mut world = Host::new(shards, RULES);
        let writer = world.connect(0, ALL);
        world.done(writer, &["set m u1 1", "set m v1 1"]);
        let (reader, _) = world.subscriber(shards - 1, U, "");
        let mut replica = Replica::default();
        for seen in ["v", "u", "v"] {
            world.stand(&all_read(seen));
            world.settle();
            world.received(reader).iter().for_each(|text| replica.take(text));
            assert_eq!(keys(&replica), [format!("{seen}1")]);
        }
        assert_eq!(replica.resets, 3);
        world.stand(&all_read("v").replace("\"m\"", "\"other\""));
        world.settle();
        assert_eq!(world.told(reader), ["forbidden m"]);
        assert_eq!(world.metrics().subscriptions, 0);
        world.done(writer, &["set m v1 2"]);
        assert!(world.told(reader).is_empty());
        assert_eq!(world.ask(reader, "subscribe m"), ["rejected forbidden"]);
        assert_eq!(world.ask(reader, "read m v1"), ["rejected forbidden"]);
    }
}

/// Goal: owners go on to tell what changes take away when the one view that needs it is followed by another.
#[test]
fn what_leaves_is_told_to_the_only_one_whose_view_has_changed() {
    for shards in 1..=2 {
        let mut world = Host::new(shards, RULES);
        let writer = world.connect(0, ALL);
        let (reader, _) = world.subscriber(0, W, "");
        world.renew(reader, r#"{"sub":"r","name":"x","team":"b"}"#);
        let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
        for key in &keys {
            world.done(writer, &[&format!(r#"set m {key} {{"team":"b"}}"#), &format!("delete m {key}")]);
        }
        let gone = world.told(reader).iter().filter(|text| text.ends_with('=')).count();
        assert_eq!(gone, keys.len());
    }
}

/// Goal: not even what was asked for through the old view is told after it has changed, wherever that is. Method: the view is
/// changed, by another token or by other rules, after every number of turns since the client has subscribed. After it was told
/// that the token is believed, or after the turn in which the rules come into force, it is told nothing of before.
#[test]
fn nothing_is_told_through_a_view_that_is_no_more() {
    for (shards, turns, is_by_rules) in
        (1..=2).flat_map(|shards| (0..12).flat_map(move |turns| [false, true].map(|by| (shards, turns, by))))
    {
        let mut world = Host::new(shards, RULES);
        let writer = world.connect(0, ALL);
        let pad = "x".repeat(3_000);
        for n in 0..20 {
            world.done(writer, &[&format!(r#"set m u{n} "{pad}""#), &format!(r#"set m v{n} "{pad}""#)]);
        }
        let reader = world.connect(shards - 1, U);
        world.send(reader, "subscribe m");
        // It is subscribed before the rules are others, if only in the turn before.
        (0..turns + usize::from(is_by_rules)).for_each(|_| world.turn());
        let mut replica = Replica::default();
        world.received(reader).iter().for_each(|text| replica.take(text));
        world.nodes.iter().for_each(|node| assert!(!node.is_stopped));
        let told = if is_by_rules {
            world.stand(&all_read("v"));
            world.turn();
            world.received(reader).iter().for_each(|text| replica.take(text));
            world.settle();
            world.received(reader)
        } else {
            let mut told = world.ask(reader, &auth(V));
            let at = told.iter().position(|text| text == "authenticated").unwrap();
            told.drain(..=at).for_each(|text| replica.take(&text));
            told
        };
        for text in told {
            assert!(
                !text.contains(" u"),
                "{shards} after {turns} turns, by rules {is_by_rules}: {text:.100}"
            );
            replica.take(&text);
        }
        let seen = keys(&replica);
        assert!(seen.len() == 20 && seen.iter().all(|key| key.starts_with('v')), "{turns}: {seen:?}");
        assert!(replica.resets == 1 && replica.snapshots <= 2);
    }
}

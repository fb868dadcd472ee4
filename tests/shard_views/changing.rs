//! Views that change, and cursors of before.

use crate::grants::{ALL, bare, done, rule, subscriber, told};
use crate::replica::Replica;
use crate::world::World;

const RULES: &str = r#"
    [[rule]]
    allow = ["read"]
    maps = ["m"]
    keys = ["{user.id}*"]
    [[rule]]
    allow = ["read"]
    maps = ["m"]
    when = "value.team == claims.team"
"#;
const CLAIMS: [&str; 3] = [r#"{"sub":"u"}"#, r#"{"sub":"v"}"#, r#"{"sub":"w","team":"a"}"#];
const KEYS: &str = "[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nkeys = [\"{user.id}*\"]\n";

fn cursor(said: &[String]) -> String {
    let mut replica = Replica::default();
    said.iter().for_each(|text| replica.take(text));
    replica.cursor.unwrap()
}

#[test]
fn a_cursor_is_good_for_the_view_that_it_is_from() {
    rule(KEYS, &CLAIMS);
    let mut world = World::new(2);
    let writer = world.connect(0);
    done(&mut world, writer, &["set m u1 1", "set m v1 1", "delete m u1", "set m u2 1"]);
    let reader = world.connect(1);
    let at = cursor(&world.ask(reader, "1 subscribe m"));
    done(&mut world, writer, &["set m u1 2", "set m v2 2", "delete m u2"]);
    let ask = |world: &mut World, grant: usize, at: &str| {
        let client = world.connect(0);
        let said = world.ask(client, &format!("{grant} subscribe m since {at}"));
        let words = bare(said).join(" ");
        let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        words.retain(|word| !["snapshot", "m", "more", "last"].contains(&&**word));
        words.sort();
        words.join(" ")
    };
    assert_eq!(ask(&mut world, 1, &at), "resumed u1=2 u2=");
    assert_eq!(ask(&mut world, 2, &at), "reset v1=1 v2=2", "another view");
    assert!(ask(&mut world, ALL, &at).starts_with("reset "), "no view");
    rule(&format!("{KEYS}\n# another file\n"), &CLAIMS);
    assert!(ask(&mut world, 1, &at).starts_with("reset "), "other rules");
    rule(RULES, &CLAIMS);
    let looking = cursor(&world.ask(reader, "3 subscribe m"));
    assert!(ask(&mut world, 3, &looking).starts_with("reset"), "what has left meanwhile is not known");
}

#[test]
fn another_view_is_told_anew_and_an_equal_one_is_nothing() {
    rule(RULES, &CLAIMS);
    for shards in 1..=2 {
        let mut world = World::new(shards);
        let writer = world.connect(0);
        done(&mut world, writer, &["set m u1 1", "set m v1 1", r#"set m x {"team":"a"}"#]);
        let (reader, _) = subscriber(&mut world, shards - 1, 1, "echo yes");
        assert!(world.ask(reader, "1 view m").is_empty(), "it is the same");
        let mut replica = Replica::default();
        for (grant, keys) in
            [(2, vec!["v1"]), (3, vec!["x"]), (ALL, vec!["u1", "v1", "x"]), (3, vec!["x"]), (1, vec!["u1"])]
        {
            for text in world.ask(reader, &format!("{grant} view m")) {
                replica.take(&text);
            }
            let seen: Vec<_> = replica.visible().into_keys().map(|(key, _)| key).collect();
            assert_eq!(seen, keys, "{grant}");
        }
        assert_eq!(replica.resets, 5);
        done(&mut world, writer, &["set m v1 2", "set m u1 2", r#"set m x {"team":"b"}"#]);
        assert_eq!(told(&mut world, reader), ["change m u1=2"]);
        assert_eq!(world.metrics().subscriptions, 1);
        world.fail(reader);
        world.settle();
        assert_eq!(world.metrics().subscriptions, 0);
    }
}

/// Goal: owners go on to tell what changes take away when the one view that needs it is followed by another.
#[test]
fn what_leaves_is_told_to_the_only_one_whose_view_has_changed() {
    rule(RULES, &[CLAIMS[2], r#"{"sub":"x","team":"b"}"#]);
    for shards in 1..=2 {
        let mut world = World::new(shards);
        let writer = world.connect(0);
        let (reader, _) = subscriber(&mut world, 0, 1, "");
        world.ask(reader, "2 view m");
        let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
        for key in &keys {
            done(
                &mut world,
                writer,
                &[&format!(r#"set m {key} {{"team":"b"}}"#), &format!("delete m {key}")],
            );
        }
        let gone = told(&mut world, reader).iter().filter(|text| text.ends_with('=')).count();
        assert_eq!(gone, keys.len());
    }
}

/// Goal: not even what was asked for through the old view is told after it has changed, wherever that is. Method: the view is
/// changed after every number of turns since the client has subscribed.
#[test]
fn nothing_is_told_through_a_view_that_is_no_more() {
    rule(RULES, &CLAIMS);
    for shards in 1..=2 {
        for turns in 0..12 {
            let mut world = World::new(shards);
            let writer = world.connect(0);
            let pad = "x".repeat(3_000);
            for n in 0..20 {
                done(
                    &mut world,
                    writer,
                    &[&format!(r#"set m u{n} "{pad}""#), &format!(r#"set m v{n} "{pad}""#)],
                );
            }
            let reader = world.connect(shards - 1);
            world.send(reader, "1 subscribe m");
            (0..turns).for_each(|_| world.turn());
            let mut replica = Replica::default();
            world.received(reader).iter().for_each(|text| replica.take(text));
            world.nodes.iter().for_each(|node| assert!(!node.is_stopped));
            for text in world.ask(reader, "2 view m") {
                assert!(!text.contains(" u"), "after {turns} turns: {text:.100}");
                replica.take(&text);
            }
            let seen: Vec<_> = replica.visible().into_keys().map(|(key, _)| key).collect();
            assert!(seen.len() == 20 && seen.iter().all(|key| key.starts_with('v')), "{turns}: {seen:?}");
            assert!(replica.resets == 1 && replica.snapshots <= 2);
        }
    }
}

//! What subscribers are told of changes through views, and what that costs.

use crate::host::{ALL, Host, bare};
use crate::words::encoded;
use crate::world::Client;

const BY_TEAM: &str = r#"
    [[rule]]
    allow = ["read"]
    maps = ["m"]
    when = "value.team == claims.team"
"#;
const TEAMS: [&str; 2] = [r#"{"sub":"u","team":"a"}"#, r#"{"sub":"v","team":"b"}"#];

#[test]
fn a_view_of_keys_is_one_more_filter() {
    let rules = r#"
        [[rule]]
        allow = ["read"]
        maps = ["m"]
        keys = ["{user.id}:**", "all"]
        [[rule]]
        deny = ["read"]
        maps = ["m"]
        keys = ["**:secret"]
    "#;
    for shards in 1..=2 {
        let mut world = Host::new(shards, rules);
        let writer = world.connect(0, ALL);
        world.done(writer, &["set m u:1 1", "set m v:1 1", "set m u:gone 1", "delete m u:gone"]);
        let (u, first) = world.subscriber(shards - 1, r#"{"sub":"u"}"#, "");
        assert!(first.last().unwrap().starts_with("snapshot m last"), "{first:?}");
        let words: Vec<_> = first.iter().flat_map(|text| text.split(' ')).collect();
        assert!(words.contains(&"u:1=1") && words.contains(&"u:gone="), "removals too: {first:?}");
        assert!(!first.concat().contains("v:"), "{first:?}");
        let (v, _) = world.subscriber(0, r#"{"sub":"v"}"#, "prefix v");
        for text in ["set m u:2 2", "set m u:secret 2", "set m v:2 2", "set m all 3", "delete m u:1"] {
            world.done(writer, &[text]);
        }
        assert_eq!(world.told(u), ["change m u:2=2", "change m all=3", "change m u:1="]);
        assert_eq!(world.told(v), ["change m v:2=2"], "filter and view");
    }
}

/// Goal: what a change costs does not grow with how many others have views of other keys. Method: a thousand users with keys of
/// their own; work and encodings of one change are those of two users.
#[test]
fn views_of_other_keys_cost_a_change_nothing() {
    let rules = "[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nkeys = [\"{user.id}:**\"]\n";
    let claims: Vec<String> = (0..1000).map(|n| format!(r#"{{"sub":"u{n:04}"}}"#)).collect();
    let work = |users: usize| {
        let mut world = Host::new(1, rules);
        let writer = world.connect(0, ALL);
        let clients: Vec<Client> =
            claims[..users].iter().map(|claims| world.subscriber(0, claims, "").0).collect();
        encoded();
        world.done(writer, &["set m u0001:k 1"]);
        assert_eq!(encoded(), 1);
        let heard: Vec<_> = clients.iter().map(|&client| world.received(client).len()).collect();
        assert_eq!((heard.iter().sum::<usize>(), heard[1]), (1, 1));
        let before = world.work();
        world.done(writer, &["set m u0001:k 2"]);
        world.work() - before
    };
    assert_eq!(work(1000), work(2));
}

#[test]
fn what_enters_is_told_whole_and_what_leaves_as_gone() {
    for shards in 1..=2 {
        let mut world = Host::new(shards, BY_TEAM);
        let writer = world.connect(0, ALL);
        world.done(writer, &[r#"set m k0 {"team":"a"}"#, r#"set m k1 {"team":"b"}"#, "set m k2 7"]);
        let clients: Vec<Client> = (0..shards).map(|shard| world.subscriber(shard, TEAMS[0], "").0).collect();
        let (b, first) = world.subscriber(shards - 1, TEAMS[1], "");
        assert_eq!(first.last().unwrap(), r#"snapshot m last k1={"team":"b"}"#);
        for (text, a_hears, b_hears) in [
            (r#"set m k0 {"n":1,"team":"a"}"#, Some(r#"k0={"n":1,"team":"a"}"#), None),
            (r#"set m k0 {"n":2,"team":"b"}"#, Some("k0="), Some(r#"k0={"n":2,"team":"b"}"#)),
            (r#"set m k0 {"n":3,"team":"c"}"#, None, Some("k0=")),
            ("delete m k0", None, None),
            ("set m k0 8", None, None),
            (r#"set m k0 {"team":"a"}"#, Some(r#"k0={"team":"a"}"#), None),
            ("delete m k0", Some("k0="), None),
            ("delete m k2", None, None),
            ("delete m k1", None, Some("k1=")),
        ] {
            world.done(writer, &[text]);
            let change = |entry: Option<&str>| entry.map(|entry| format!("change m {entry}"));
            for &client in &clients {
                assert_eq!(world.told(client), Vec::from_iter(change(a_hears)), "{text}");
            }
            assert_eq!(world.told(b), Vec::from_iter(change(b_hears)), "{text}");
        }
    }
}

#[test]
fn fields_that_may_not_be_seen_are_left_out() {
    let rules = r#"
        [[rule]]
        allow = ["read"]
        maps = ["m"]
        fields = ["title", "done"]
        [[rule]]
        deny = ["read"]
        maps = ["m"]
        fields = ["done"]
        when = "value.done == true"
    "#;
    let mut world = Host::new(2, rules);
    let writer = world.connect(0, ALL);
    let (reader, _) = world.subscriber(1, TEAMS[0], "");
    for (text, hears) in [
        (r#"set m k {"done":false,"owner":"x","title":"t"}"#, Some(r#"k={"done":false,"title":"t"}"#)),
        (r#"set m k {"done":true,"owner":"x","title":"t"}"#, Some(r#"k={"title":"t"}"#)),
        (r#"set m k {"done":true,"owner":"x"}"#, Some("k=")),
        (r#"set m k {"done":true,"owner":"y"}"#, None),
        (r#"set m k {"owner":"y"}"#, None),
        ("set m k 1", None),
    ] {
        world.done(writer, &[text]);
        let hears = hears.map(|entry| format!("change m {entry}"));
        assert_eq!(world.told(reader), Vec::from_iter(hears), "{text}");
    }
}

/// A writer is not told of its own changes, but for what it cannot know: that it may not see what it has written.
#[test]
fn who_writes_what_it_may_not_see_is_told_what_it_may() {
    let rules = format!("{BY_TEAM}\n[[rule]]\nallow = [\"write\"]\nmaps = [\"m\"]\n");
    for shards in 1..=2 {
        let mut world = Host::new(shards, &rules);
        let (client, _) = world.subscriber(shards - 1, TEAMS[0], "");
        for (text, hears) in [
            (r#"set m k {"team":"a"}"#, None),
            (r#"set m k {"team":"b"}"#, Some("k=")),
            (r#"set m k {"team":"c"}"#, None),
            (r#"set m k {"team":"a"}"#, None),
            ("delete m k", None),
        ] {
            let said = bare(world.ask(client, text));
            assert_eq!(said, Vec::from_iter(hears.map(|entry| format!("change m {entry}"))), "{text}");
        }
    }
}

#[test]
fn of_sets_only_tags_of_values_that_may_be_seen_are_named() {
    for shards in 1..=2 {
        let mut world = Host::new(shards, BY_TEAM);
        let writer = world.connect(0, ALL);
        let (a, _) = world.subscriber(shards - 1, TEAMS[0], "");
        for (text, hears) in [
            (r#"add m s t1 {"team":"a"}"#, Some(r#"s+t1={"team":"a"}"#)),
            (r#"add m s t2 {"team":"b"}"#, None),
            (r#"add m s t3 {"team":"a"}"#, Some(r#"s+t3={"team":"a"}"#)),
            (r#"add m s t4 {"team":"b"}"#, None),
            (r#"add m s t5 {"n":1,"team":"a"}"#, Some(r#"s+t5={"n":1,"team":"a"}"#)),
            ("remove m s t2 t1 unknown", Some("s-t1")),
            ("remove m s unknown2", None),
            (r#"drop m s {"team":"a"}"#, Some("s-t3")),
            (r#"drop m s {"team":"b"}"#, None),
            (r#"add m s t6 {"team":"b"}"#, None),
            ("delete m s", Some("s-t5")),
        ] {
            world.done(writer, &[text]);
            let hears = hears.map(|entry| format!("change m {entry}"));
            assert_eq!(world.told(a), Vec::from_iter(hears), "{text}");
        }
        world.done(writer, &[r#"add m s u1 {"team":"a"}"#, r#"add m s u2 {"team":"b"}"#, "remove m s u9"]);
        let (_, first) = world.subscriber(0, TEAMS[0], "");
        let told: Vec<_> = first.iter().flat_map(|text| text.split(' ').skip(3)).collect();
        assert_eq!(told, [r#"s+u1={"team":"a"}"#], "nothing that was removed");
    }
}

#[test]
fn a_counter_is_seen_by_its_count() {
    let rules = "[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nwhen = \"value < 10\"\n";
    let mut world = Host::new(2, rules);
    let writer = world.connect(0, ALL);
    let (reader, _) = world.subscriber(1, TEAMS[0], "");
    for (by, hears) in [("4", Some("c=4")), ("6", Some("c=")), ("1", None), ("-5", Some("c=6"))] {
        world.done(writer, &[&format!("count m c {by}")]);
        let hears = hears.map(|entry| format!("change m {entry}"));
        assert_eq!(world.told(reader), Vec::from_iter(hears), "{by}");
    }
    world.done(writer, &["count m big 100"]);
    let (_, first) = world.subscriber(0, TEAMS[0], "");
    assert_eq!(first.iter().flat_map(|text| text.split(' ').skip(3)).collect::<Vec<_>>(), ["c=6"]);
}

#[test]
fn a_value_that_ends_is_told_to_those_who_could_see_it() {
    for shards in 1..=2 {
        let mut world = Host::new(shards, BY_TEAM);
        let writer = world.connect(0, ALL);
        let clients = TEAMS.map(|token| world.subscriber(shards - 1, token, "").0);
        world.done(writer, &[r#"set m k {"team":"a"} 1000"#, r#"set m h {"team":"c"} 1000"#]);
        world.pass_ms(1_100);
        assert_eq!(world.told(clients[0]), [r#"change m k={"team":"a"}"#, "change m k="]);
        assert!(world.told(clients[1]).is_empty());
    }
}

/// Goal: a change is looked at and encoded once for each view, however many have it.
#[test]
fn a_thousand_subscribers_in_ten_views_cost_ten_looks() {
    let claims: Vec<String> = (0..10).map(|n| format!(r#"{{"sub":"u","team":"{n}"}}"#)).collect();
    let rules =
        "[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nwhen = \"value.teams.contains(claims.team)\"\n";
    let value = r#"{"n":0,"teams":"0123456789"}"#;
    let work = |subscribers: usize| {
        let mut world = Host::new(1, rules);
        let writer = world.connect(0, ALL);
        let clients: Vec<Client> =
            (0..subscribers).map(|n| world.subscriber(0, &claims[n % 10], "").0).collect();
        world.done(writer, &["set m other 1", &format!("set m k {value}")]);
        for &client in &clients {
            assert_eq!(world.told(client), [format!("change m k={value}")]);
        }
        encoded();
        let before = world.work();
        world.done(writer, &[&format!("set m k {}", value.replace('0', "1"))]);
        assert_eq!(encoded(), subscribers.min(10) as u32);
        (world.work() - before) as i64
    };
    // Beside the touch of each receiver.
    let touched = |subscribers: i64| subscribers * annulus::shard::work::RECEIVER as i64;
    assert_eq!(work(1000) - touched(1000), work(10) - touched(10));
}

#[test]
fn nobody_needs_what_was_there_once_the_last_view_of_values_is_gone() {
    let mut world = Host::new(2, BY_TEAM);
    let writer = world.connect(0, ALL);
    let (plain, _) = world.subscriber(1, ALL, "");
    let value = format!(r#"{{"pad":"{}","team":"a"}}"#, "x".repeat(10_000));
    let set = format!("set m k {value}");
    let work_of = |world: &mut Host| {
        world.done(writer, &["set m k 1"]);
        let before = world.work();
        world.done(writer, &[&set]);
        world.done(writer, &["set m k 1"]);
        world.work() - before
    };
    let without = work_of(&mut world);
    let (a, _) = world.subscriber(1, TEAMS[0], "");
    assert!(work_of(&mut world) > without);
    world.ask(a, "subscribe m prefix other");
    assert!(work_of(&mut world) > without, "another feed has the same view");
    world.fail(a);
    world.settle();
    assert_eq!(work_of(&mut world), without);
    assert!(world.told(plain).len() > 6);
}

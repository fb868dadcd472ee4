//! What rules that look at values make of writes and reads, at the owner of the key.

use crate::host::{ALL, Host, bare};

const BY_TEAM: &str = r#"
    [[role]]
    name = "reader"
    [[rule]]
    allow = ["read", "write"]
    maps = ["m", "c"]
    when = "value.team == claims.team && (current == null || current.team == claims.team)"
    [[rule]]
    allow = ["read", "write"]
    maps = ["m"]
    keys = ["f:*"]
    fields = ["a", "b"]
    [[rule]]
    allow = ["write"]
    maps = ["count"]
    when = "value <= 5 && (current == null || current + value <= 10)"
    [[rule]]
    allow = ["read"]
    maps = ["**"]
    roles = ["reader"]
"#;
const A: &str = r#"{"sub":"u","team":"a","roles":[]}"#;
const B: &str = r#"{"sub":"v","team":"b","roles":["reader"]}"#;

/// Has one with that token say each of `said` and asserts that it is answered so: nothing, where it is done.
fn check(world: &mut Host, shard: usize, token: &str, said: &[(&str, &str)]) {
    let client = world.connect(shard, token);
    for (text, answer) in said {
        let answers = bare(world.ask(client, text));
        assert_eq!(answers.join(" | "), *answer, "{text}");
    }
}

fn world(shards: usize) -> Host {
    Host::new(shards, BY_TEAM)
}

const NO: &str = "rejected forbidden";

#[test]
fn what_is_written_and_what_is_there_decide() {
    for shards in 1..=2 {
        let mut world = world(shards);
        for shard in 0..shards {
            let k = format!("k{shard}");
            let (set_a, set_b) =
                (format!(r#"set m {k} {{"team":"a"}}"#), format!(r#"set m {k} {{"team":"b"}}"#));
            let (delete, set_1) = (format!("delete m {k}"), format!("set m {k} 1"));
            check(&mut world, shard, A, &[(&set_1, NO), (&set_b, NO), (&delete, NO), (&set_a, "")]);
            check(&mut world, shard, B, &[(&set_b, NO), (&set_a, NO), (&delete, NO)]);
            check(&mut world, shard, A, &[(&set_a, ""), (&delete, ""), (&delete, NO)]);
            check(
                &mut world,
                shard,
                B,
                &[(&set_b, ""), (&format!("read m {k}"), &format!("read m {k}={{\"team\":\"b\"}}"))],
            );
            check(&mut world, shard, A, &[(&set_a, NO), (&format!("read m {k}"), "read m")]);
        }
        assert!(world.metrics().rules_undecided > 0, "there is no team in 1");
    }
}

#[test]
fn a_value_that_has_ended_is_not_there() {
    let mut world = world(1);
    check(&mut world, 0, B, &[(r#"set m k {"team":"b"} 1000"#, "")]);
    check(&mut world, 0, A, &[(r#"set m k {"team":"a"}"#, NO)]);
    // The write is read before the end of the value is looked for.
    let client = world.connect(0, A);
    world.send(client, r#"set m k {"team":"a"}"#);
    world.pass_ms(1_001);
    assert!(world.received(client).is_empty());
}

#[test]
fn a_field_that_may_not_change_is_kept_and_its_writer_told() {
    for shards in 1..=2 {
        let mut world = world(shards);
        let admin = world.connect(0, ALL);
        world.done(admin, &[r#"set m f:1 {"a":1,"z":9}"#]);
        let writer = world.connect(shards - 1, A);
        world.ask(writer, "subscribe m");
        let said = bare(world.ask(writer, r#"set m f:1 {"a":2,"z":7}"#));
        assert_eq!(said, [r#"change m f:1={"a":2}"#], "it reads no more than it writes");
        check(&mut world, 0, ALL, &[("read m f:1", r#"read m f:1={"a":2,"z":9}"#)]);
        check(
            &mut world,
            0,
            A,
            &[(r#"set m f:1 {"a":2,"z":8}"#, NO), ("delete m f:1", NO), ("set m f:1 1", NO)],
        );
        let said = bare(world.ask(writer, r#"set m f:2 {"a":3}"#));
        assert_eq!(said, [""; 0], "all of that is what it wrote");
        check(&mut world, 0, A, &[("read m f:1,f:2", r#"read m f:1={"a":2} f:2={"a":3}"#)]);
    }
}

#[test]
fn a_value_is_not_longer_for_the_fields_that_are_kept() {
    let mut world = Host::with(1, BY_TEAM, |config| config.value_bytes_max = 100);
    let admin = world.connect(0, ALL);
    world.done(admin, &[&format!(r#"set m f:1 {{"a":1,"z":"{}"}}"#, "z".repeat(60))]);
    let long = format!(r#"set m f:1 {{"a":"{}"}}"#, "a".repeat(60));
    check(&mut world, 0, A, &[(&long, "rejected too_large"), (r#"set m f:1 {"a":"a"}"#, "")]);
}

#[test]
fn of_a_set_nothing_goes_that_may_not_go() {
    for shards in 1..=2 {
        let mut world = world(shards);
        let admin = world.connect(0, ALL);
        let both = [r#"add m s t1 {"team":"a"}"#, r#"add m s t2 {"team":"b"}"#, r#"add m s t3 {"team":"a"}"#];
        world.done(admin, &both);
        check(
            &mut world,
            shards - 1,
            A,
            &[
                ("delete m s", NO),
                ("remove m s t1 t2", NO),
                ("remove m s unknown", NO),
                (r#"drop m s {"team":"b"}"#, NO),
                (r#"drop m s {"team":"c"}"#, NO),
                (r#"add m s t4 {"team":"b"}"#, NO),
                (r#"add m s t5 {"team":"a"}"#, ""),
                ("remove m s t1", ""),
                (r#"drop m s {"team":"a"}"#, ""),
                ("read m s", "read m"),
            ],
        );
        check(&mut world, 0, B, &[("read m s", r#"read m s+t2={"team":"b"} s-t1 s-t3 s-t5"#)]);
    }
}

#[test]
fn an_increment_is_asked_about_what_it_adds_and_what_is_there() {
    for shards in 1..=2 {
        let mut world = world(shards);
        check(
            &mut world,
            shards - 1,
            A,
            &[
                ("count count c 6", NO),
                ("count count c 5", ""),
                ("count count c 5", ""),
                ("count count c 1", NO),
            ],
        );
        check(&mut world, 0, B, &[("read count c", "read count c=10")]);
        check(&mut world, 0, A, &[("count count c -3", ""), ("delete count c", NO)]);
    }
}

/// Goal: what rules cost counts, and a removal that they would have to look at too long is refused.
#[test]
fn a_removal_costs_no_more_than_it_may() {
    let mut world = world(1);
    let admin = world.connect(0, ALL);
    let pad = "x".repeat(2_000);
    (0..50).for_each(|n| world.done(admin, &[&format!(r#"add m s t{n} {{"pad":"{pad}","team":"a"}}"#)]));
    let before = world.work();
    check(&mut world, 0, A, &[("delete m s", "rejected too_large"), ("remove m s t1", "")]);
    let work = world.work() - before;
    assert!((25_000..60_000).contains(&work), "{work}");
}

/// Goal: an answer has as much room for what is shown as for what is there, and hidden values take none of it.
#[test]
fn a_read_is_as_long_as_what_it_shows() {
    let mut world = world(2);
    let admin = world.connect(0, ALL);
    let pad = "x".repeat(400_000);
    for n in 0..8 {
        world.done(admin, &[&format!(r#"set m k{n} {{"pad":"{pad}","team":"b"}}"#)]);
    }
    world.done(admin, &[r#"set m k8 {"team":"a"}"#]);
    let keys = "read m k0,k1,k2,k3,k4,k5,k6,k7,k8";
    check(&mut world, 1, B, &[(keys, "rejected too_large")]);
    check(&mut world, 1, A, &[(keys, r#"read m k8={"team":"a"}"#)]);
    let client = world.connect(1, B);
    let answer = bare(world.ask(client, "read m k1,k2,k3"));
    assert_eq!(answer[0].matches(&*pad).count(), 3, "it is asked for once more, with room for it");
    for n in 0..4 {
        world.done(admin, &[&format!(r#"set m k{n} {{"pad":"{pad}","team":"a"}}"#)]);
    }
    let client = world.connect(1, A);
    let answer = bare(world.ask(client, "read m k0,k1,k2,k3,k4,k5"));
    assert_eq!(answer[0].matches(&*pad).count(), 4, "also of those, and no more than may be seen");
}

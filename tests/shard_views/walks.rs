//! Views that look at values, of clients that are slow, or in the middle of a snapshot.

use std::collections::BTreeMap;

use crate::host::{ALL, Host, bare};
use crate::replica::Replica;
use crate::world::Client;

const SOFT_BYTES: usize = 64 << 10;
const KEYS: usize = 60;
const PAD_BYTES: usize = 3_000;
const READER: &str = r#"{"sub":"u","team":"a"}"#;

fn world(shards: usize) -> (Host, Client) {
    let rules = "[[rule]]\nallow = [\"read\"]\nmaps = [\"m\"]\nwhen = \"value.team == claims.team\"\n";
    let mut world = Host::with(shards, rules, |config| {
        (config.outbox_soft_bytes, config.outbox_hard_bytes) = (SOFT_BYTES, 16 * SOFT_BYTES);
    });
    let writer = world.connect(0, ALL);
    (world, writer)
}

fn value(team: &str, pad: usize) -> String {
    format!(r#"{{"pad":"{}","team":"{team}"}}"#, "x".repeat(pad))
}

fn set(world: &mut Host, writer: Client, key: &str, team: &str) {
    world.done(writer, &[&format!("set m {key} {}", value(team, PAD_BYTES))]);
}

/// Takes what the client has been sent, and nothing of a hidden key.
fn take(world: &mut Host, client: Client, replica: &mut Replica) -> Vec<String> {
    let told = world.received(client);
    for text in &told {
        if std::env::var("TELL").is_ok() {
            eprintln!("{} {:.60}", text.len(), text);
        }
        assert!(!text.contains("hidden") && !text.contains(r#""team":"b""#), "{text:.200}");
        replica.take(text);
    }
    told
}

/// Goal: whatever leaves and enters a view while its snapshot is told, the client ends with what it may see, and hears of no
/// key that it may never see. Method: a reader that takes what it is sent bit by bit, and a writer that meanwhile changes keys
/// that were told and that were not.
#[test]
fn what_leaves_while_a_snapshot_is_told_is_gone_at_its_end() {
    for shards in 1..=2 {
        for reader_shard in 0..shards {
            let (mut world, writer) = world(shards);
            for key in 0..KEYS {
                set(&mut world, writer, &format!("k{key:02}"), "a");
                set(&mut world, writer, &format!("hidden{key}"), "b");
            }
            let reader = world.connect(reader_shard, READER);
            world.stall(reader);
            world.send(reader, "subscribe m");
            world.settle();
            let (mut replica, mut rounds) = (Replica::default(), 0);
            while replica.snapshots == 0 {
                let key = rounds * 2 % KEYS;
                set(&mut world, writer, &format!("k{key:02}"), "b");
                set(&mut world, writer, &format!("k{:02}", (key + KEYS / 2) % KEYS), "b");
                set(&mut world, writer, &format!("hidden{key}"), "c");
                set(&mut world, writer, &format!("new{rounds}"), "a");
                world.done(writer, &[&format!("delete m k{:02}", (key + KEYS / 2 + 1) % KEYS)]);
                world.take_all(reader);
                world.settle();
                take(&mut world, reader, &mut replica);
                rounds += 1;
                assert!(rounds < 200);
            }
            world.resume(reader);
            world.settle();
            take(&mut world, reader, &mut replica);
            assert_eq!(replica.visible().len(), visible(&mut world, reader_shard).len());
            assert_eq!(replica.visible(), visible(&mut world, reader_shard), "{shards} shards");
            assert!(rounds > 3, "{rounds}");
        }
    }
}

/// What a new reader of the same view sees.
fn visible(world: &mut Host, shard: usize) -> BTreeMap<(String, String), String> {
    let client = world.connect(shard, READER);
    let mut replica = Replica::default();
    for text in world.ask(client, "subscribe m") {
        replica.take(&text);
    }
    replica.visible()
}

#[test]
fn who_was_too_slow_for_what_has_left_starts_over() {
    for shards in 1..=2 {
        let (mut world, writer) = world(shards);
        for key in 0..KEYS {
            set(&mut world, writer, &format!("k{key:02}"), "a");
        }
        let reader = world.connect(shards - 1, READER);
        world.send(reader, "subscribe m");
        world.settle();
        let mut replica = Replica::default();
        take(&mut world, reader, &mut replica);
        world.resume(reader);
        world.stall(reader);
        // Nothing leaves: it catches up.
        (0..KEYS).for_each(|key| set(&mut world, writer, &format!("n{key:02}"), "a"));
        assert!(world.metrics().conflations > 0);
        world.resume(reader);
        world.settle();
        take(&mut world, reader, &mut replica);
        assert_eq!((replica.visible().len(), replica.resets), (2 * KEYS, 0));
        // Something leaves: what is there is told anew.
        world.stall(reader);
        (0..KEYS).for_each(|key| set(&mut world, writer, &format!("n{key:02}"), "a"));
        (0..KEYS / 2).for_each(|key| set(&mut world, writer, &format!("k{key:02}"), "b"));
        set(&mut world, writer, "k00", "a");
        world.resume(reader);
        world.settle();
        take(&mut world, reader, &mut replica);
        assert!(replica.resets > 0);
        assert_eq!(replica.visible().len(), 2 * KEYS - KEYS / 2 + 1);
        assert_eq!(replica.visible(), visible(&mut world, shards - 1));
        // And it is live again.
        set(&mut world, writer, "k01", "a");
        assert_eq!(bare(world.received(reader)), [format!("change m k01={}", value("a", PAD_BYTES))]);
    }
}

/// Goal: of a set that is told in pieces no tag is named that was never in the view, live or removed, and none stays that has
/// left it. Method: as above; tags come and go in all rounds.
#[test]
fn of_a_large_set_no_tag_is_named_that_was_never_seen() {
    for shards in 1..=2 {
        let (mut world, writer) = world(shards);
        for tag in 0..KEYS {
            world.done(
                writer,
                &[
                    &format!("add m set k{tag} {}", value("a", PAD_BYTES)),
                    &format!("add m set hidden{tag} {}", value("b", PAD_BYTES)),
                ],
            );
        }
        (0..KEYS / 4).for_each(|tag| world.done(writer, &[&format!("remove m set hidden{tag}")]));
        let reader = world.connect(shards - 1, READER);
        world.stall(reader);
        world.send(reader, "subscribe m");
        world.settle();
        let (mut replica, mut rounds) = (Replica::default(), 0);
        while replica.snapshots == 0 {
            world.done(
                writer,
                &[
                    &format!("remove m set k{rounds} hidden{}", KEYS / 4 + rounds),
                    &format!("remove m set k{}", KEYS - rounds - 1),
                    &format!("add m set n{rounds} {}", value("a", PAD_BYTES)),
                    &format!("add m set hidden-{rounds} {}", value("b", PAD_BYTES)),
                ],
            );
            world.take_all(reader);
            world.settle();
            take(&mut world, reader, &mut replica);
            rounds += 1;
            assert!(rounds < KEYS / 2);
        }
        world.resume(reader);
        world.settle();
        take(&mut world, reader, &mut replica);
        assert_eq!(replica.visible().len(), KEYS - rounds);
        assert_eq!(replica.visible(), visible(&mut world, shards - 1));
    }
}

/// Goal: a map full of what a reader may not see keeps nobody from a turn. Method: chunks are counted of a map that one chunk would
/// go through if it were not for what it costs to look at its values, and so is the work of each turn.
#[test]
fn a_walk_that_shows_nothing_is_divided_by_what_it_looks_at() {
    let (mut world, writer) = world(1);
    (0..KEYS).for_each(|key| set(&mut world, writer, &format!("hidden{key}"), "b"));
    let (reader, chunks) = (world.connect(0, READER), world.metrics().chunks);
    world.send(reader, "subscribe m");
    let (mut work, mut most) = (world.work(), 0);
    while world.received(reader).is_empty() {
        world.turn();
        most = most.max(world.work() - work);
        work = world.work();
    }
    let chunks = world.metrics().chunks - chunks;
    assert!(chunks >= 10 && most < 3 * annulus::shard::work::TURN_MAX / 2, "{chunks} chunks, {most}");
}

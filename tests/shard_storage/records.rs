//! What is handed over, and in which order.

use annulus::handover::{Body, ToStorage};

use crate::disk::for_each_record;
use crate::world::World;

/// Numbers of the batches and texts of the records among `items`.
fn texts(items: &[ToStorage]) -> (Vec<u64>, Vec<String>) {
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            ToStorage::Records(batch) => {
                numbers.push(batch.number);
                for_each_record(batch, |record| {
                    assert!(record.applied <= batch.last_applied);
                    let kind = match record.body {
                        Body::Mark { .. } => "mark".to_owned(),
                        Body::Clear => "clear".to_owned(),
                        Body::Type(map_type) => format!("type {}", map_type.as_str()),
                        Body::Delta(delta) => {
                            format!("{delta:?}").split([' ', '{']).next().unwrap().to_owned()
                        }
                    };
                    texts.push(format!("{}/{} {kind}", record.map, String::from_utf8_lossy(record.key)));
                });
            }
            ToStorage::Typed { map, map_type } => texts.push(format!("{map} is {}", map_type.as_str())),
            ToStorage::Load { map } => texts.push(format!("load {map}")),
            ToStorage::LookUp(look_up) => texts.push(format!("look up in {}", look_up.map)),
            ToStorage::Checkpoint => texts.push("checkpoint".to_owned()),
            ToStorage::Evicted(_) => texts.push("evicted".to_owned()),
        }
    }
    (numbers, texts)
}

#[test]
fn every_accepted_change_is_handed_over_in_order_behind_its_type() {
    let mut world = World::new(1);
    let client = world.connect(0);
    world.send(
        client,
        r#"{"type":"write","id":1,"ops":[{"map":"a","key":"k","op":"set","value":1},{"map":"a","key":"k","op":"delete"},{"map":"a","key":"k","op":"set","value":1,"at":"5:0:old"},{"map":"b","key":"k","op":"add","value":1,"tag":"t"},{"map":"b","key":"k","op":"add","value":1,"tag":"u"},{"map":"b","key":"k","op":"remove","value":1},{"map":"c","key":"k","op":"increment","by":1}]}"#,
    );
    world.settle();
    assert_eq!(texts(&world.take(0)).1, ["load a", "load b", "load c"]);
    for map in ["a", "b", "c"] {
        for chunk in world.chunks(0, map) {
            world.push(0, annulus::handover::FromStorage::Chunk(chunk));
        }
    }
    world.settle();
    let (numbers, texts) = texts(&world.take(0));
    assert_eq!(numbers, [1], "one batch a turn");
    assert_eq!(
        texts,
        [
            "a is lww",
            "b is or",
            "c is counter",
            "a/ type lww",
            "a/k Lww",
            "a/k Lww",
            "b/ type or",
            "b/k OrAdd",
            "b/k OrAdd",
            "b/k OrRemove",
            "b/k OrRemove",
            "c/ type counter",
            "c/k Counter"
        ],
        "and nothing of the write that lost"
    );
}

#[test]
fn an_expiry_is_handed_over_as_a_tombstone() {
    for watched in [false, true] {
        let mut world = World::new(1);
        let client = world.connect(0);
        if watched {
            world.ask(client, r#"{"type":"subscribe","id":9,"map":"a"}"#);
        }
        world.ask(
            client,
            r#"{"type":"write","id":1,"ops":[{"map":"a","key":"k","op":"set","value":1,"ttl_ms":50}]}"#,
        );
        world.serve();
        world.pass_ms(60);
        let items = world.take(0);
        let mut ended = 0;
        for item in &items {
            let ToStorage::Records(batch) = item else { panic!("{item:?}") };
            for_each_record(batch, |record| {
                let Body::Delta(annulus::crdt::Delta::Lww { value: None, .. }) = record.body else {
                    panic!("{record:?}")
                };
                ended += 1;
            });
        }
        assert_eq!(ended, 1);
    }
}

#[test]
fn the_type_is_recorded_by_the_home_alone() {
    let mut world = World::new(2);
    let client = world.connect(0);
    let map = world.map_of(1, "m");
    let key = world.key_of(0, &map, 0);
    world.send(
        client,
        &format!(r#"{{"type":"write","id":1,"ops":[{{"map":"{map}","key":"{key}","op":"set","value":1}}]}}"#),
    );
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..10 {
        world.settle();
        for shard in [0, 1] {
            let items = world.take(shard);
            seen[shard].extend(texts(&items).1);
            for item in items {
                if let ToStorage::Load { map } = item {
                    for chunk in world.chunks(shard, &map) {
                        world.push(shard, annulus::handover::FromStorage::Chunk(chunk));
                    }
                }
            }
        }
    }
    assert_eq!(seen[0], [format!("load {map}"), format!("{map}/{key} Lww")]);
    assert_eq!(seen[1], [format!("load {map}"), format!("{map} is lww"), format!("{map}/ type lww")]);
}

#[test]
fn the_storage_is_woken_only_when_it_sleeps() {
    let mut world = World::new(1);
    let client = world.connect(0);
    world.ask(client, r#"{"type":"write","id":1,"ops":[{"map":"a","key":"k","op":"set","value":1}]}"#);
    world.serve();
    assert_eq!(world.nodes[0].storage_wakes, 0);
    world.progress.fall_asleep();
    world.settle();
    assert_eq!(world.nodes[0].storage_wakes, 0, "there is nothing for it");
    world.ask(client, r#"{"type":"write","id":2,"ops":[{"map":"a","key":"k","op":"set","value":2}]}"#);
    world.ask(client, r#"{"type":"write","id":3,"ops":[{"map":"a","key":"k","op":"set","value":3}]}"#);
    assert_eq!(world.nodes[0].storage_wakes, 1, "once it is awake it looks by itself");
}

#[test]
fn a_full_queue_loses_nothing_and_numbers_have_no_gap() {
    let mut world = World::new(1);
    let client = world.connect(0);
    world.ask(client, r#"{"type":"write","id":0,"ops":[{"map":"a","key":"k","op":"set","value":1}]}"#);
    world.serve();
    let (before, _) = (world.progress.shard(0).durable(), world.received(client));
    for id in 1..=200 {
        world.send(
            client,
            &format!(
                r#"{{"type":"write","id":{id},"ops":[{{"map":"a","key":"k{id}","op":"set","value":1}}]}}"#
            ),
        );
        world.turn();
    }
    assert_eq!(world.received(client).len(), 200, "memory-level writers do not notice");
    let mut all = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let (numbers, records) = texts(&world.take(0));
        all.0.extend(numbers);
        all.1.extend(records);
        world.settle();
    }
    let expected: Vec<u64> = (before + 1..).take(all.0.len()).collect();
    assert_eq!(all.0, expected);
    assert!(all.0.len() < 100, "what found a full queue went together: {} batches", all.0.len());
    let expected: Vec<String> = (1..=200).map(|id| format!("a/k{id} Lww")).collect();
    assert_eq!(all.1, expected);
}

#[test]
fn a_shard_exits_only_when_all_is_handed_over() {
    let mut world = World::with(1, |config| config.drain_ms = 1_000_000);
    let client = world.connect(0);
    world.ask(client, r#"{"type":"write","id":0,"ops":[{"map":"a","key":"k","op":"set","value":1}]}"#);
    world.serve();
    for id in 1..=100 {
        world.send(
            client,
            &format!(r#"{{"type":"write","id":{id},"ops":[{{"map":"a","key":"k","op":"set","value":1}}]}}"#),
        );
        world.turn();
    }
    world.nodes[0].driven.shard.drain();
    world.settle();
    assert!(!world.nodes[0].has_exited, "its queue is full");
    assert!(world.take(0).len() > 60);
    world.settle();
    assert!(world.nodes[0].has_exited);
    assert_eq!(texts(&world.take(0)).0.len(), 1);
    assert_eq!(world.metrics().changes, 101);
}

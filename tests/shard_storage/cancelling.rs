//! One final answer to each request, whatever overtakes it: another one, a clear, a map that does not come.

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::clearing::{client, is, keys, op};
use crate::world::{Client, World};

fn subscribe(id: u32) -> String {
    format!(r#"{{"type":"subscribe","id":{id},"map":"m"}}"#)
}

fn unsubscribe(id: u32) -> String {
    format!(r#"{{"type":"unsubscribe","id":{id},"map":"m"}}"#)
}

/// What each message is and which request it answers, all of them last words.
fn final_answers(messages: &[Value]) -> Vec<String> {
    let named = messages.iter().filter(|message| message.get("id").is_some() && !is(message, "more"));
    let what = |message: &Value| message.get_str("code").or(message.get_str("type")).unwrap().to_owned();
    named.map(|message| format!("{} {}", what(message), message["id"].as_u64().unwrap())).collect()
}

/// Has `client` send all in one turn, and returns what it is answered.
fn pipelined(world: &mut World, client: Client, messages: &[String]) -> Vec<Value> {
    messages.iter().for_each(|message| world.send(client, message));
    world.serve();
    world.received(client)
}

#[test]
fn what_takes_the_place_of_a_subscribe_has_it_answered_first() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        let reader = client(&mut world, shards - 1);
        world.serve();
        let answers = pipelined(&mut world, reader, &[subscribe(1), unsubscribe(2)]);
        assert_eq!(final_answers(&answers), ["cancelled 1", "unsubscribed 2"]);
        let all = [subscribe(3), subscribe(4), unsubscribe(5), unsubscribe(6), subscribe(7)];
        let answers = pipelined(&mut world, reader, &all);
        let all = ["cancelled 3", "cancelled 4", "unsubscribed 5", "unsubscribed 6", "snapshot 7"];
        assert_eq!(final_answers(&answers), all);
        // What has its answer is not cancelled.
        let answers = pipelined(&mut world, reader, &[subscribe(8)]);
        assert_eq!(final_answers(&answers), ["snapshot 8"]);
        let answers = pipelined(&mut world, reader, &[unsubscribe(9)]);
        assert_eq!(final_answers(&answers), ["unsubscribed 9"]);
        assert_eq!(world.metrics().subscriptions, 0);
    }
}

#[test]
fn a_subscribe_that_nobody_waits_for_is_cancelled_without_a_word() {
    let mut world = World::new(1);
    let reader = client(&mut world, 0);
    let subscribe = r#"{"type":"subscribe","map":"m"}"#.to_owned();
    let answers = pipelined(&mut world, reader, &[subscribe.clone(), unsubscribe(1), subscribe]);
    let types: Vec<_> = answers.iter().map(|answer| answer["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["unsubscribed", "snapshot"]);
}

// Of a large map, some chunks have been told when it is cut short; in whichever turn that is.
#[test]
fn a_snapshot_that_is_cut_short_has_one_last_word() {
    let value = format!(r#""{}""#, "x".repeat(20_000));
    for shards in [1, 2] {
        for turns in 0..10 {
            let mut world = World::in_memory(shards);
            let (writer, reader) = (client(&mut world, 0), client(&mut world, shards - 1));
            for n in 0..60 {
                let write = format!(
                    r#"{{"type":"write","id":1,"ops":[{{"map":"m","key":"k{n}","op":"set","value":{value}}}]}}"#
                );
                world.answer(writer, &write);
            }
            world.send(reader, &subscribe(1));
            (0..turns).for_each(|_| world.turn());
            world.send(reader, &unsubscribe(2));
            world.settle();
            let told = world.received(reader);
            let is_done = keys(&told).len() == 60;
            let first = if is_done { "snapshot 1" } else { "cancelled 1" };
            assert_eq!(final_answers(&told), [first, "unsubscribed 2"], "after {turns} turns");
            assert_eq!(told.last().unwrap()["type"], "unsubscribed", "nothing follows");
        }
    }
}

#[test]
fn a_subscribe_whose_map_does_not_come_is_answered_once_whatever_happens_first() {
    for shards in [1, 2] {
        let mut stored = World::new(shards);
        let writer = client(&mut stored, 0);
        stored.ask(writer, &op("m", "k", false));
        stored.serve();
        for replaced in [false, true] {
            let mut world = World::over(stored.disk.clone(), shards, |config| config.ack_timeout_ms = 500);
            let reader = client(&mut world, 0);
            world.send(reader, &subscribe(1));
            world.settle();
            assert_eq!(world.received(reader), [] as [Value; 0]);
            let mut told = if replaced { world.ask(reader, &subscribe(2)) } else { Vec::new() };
            (0..12).for_each(|_| world.pass_ms(100));
            told.extend(world.received(reader));
            let answers = if replaced { vec!["cancelled 1", "timeout 2"] } else { vec!["timeout 1"] };
            assert_eq!(final_answers(&told), answers);
            // What comes at last finds nobody.
            world.serve();
            assert_eq!(world.received(reader), [] as [Value; 0]);
        }
    }
}

#[test]
fn every_request_that_a_clear_meets_is_answered_once() {
    for turns in 0..12 {
        let mut world = World::in_memory(2);
        let (writer, reader) = (client(&mut world, 0), client(&mut world, 1));
        for n in 0..20 {
            world.answer(writer, &op("m", &format!("k{n}"), false));
        }
        let mut asked = Vec::new();
        let mut request = None;
        for turn in 0..20 {
            let id = 10 * (turn + 1);
            world.send(reader, &subscribe(id));
            world.send(reader, &format!(r#"{{"type":"digest","id":{},"map":"m"}}"#, id + 1));
            world.send(reader, &format!(r#"{{"type":"read","id":{},"map":"m","keys":["k0","k1"]}}"#, id + 2));
            world.send(reader, &op("m", "k", false).replace(r#""id":1"#, &format!(r#""id":{}"#, id + 3)));
            world.send(reader, &unsubscribe(id + 4));
            asked.extend(id..id + 5);
            if turn == turns {
                request = Some(world.clear(0));
            }
            world.turn();
        }
        world.settle();
        assert!(world.has_succeeded(request.unwrap()));
        let told = world.received(reader);
        let mut answered: Vec<u32> = final_answers(&told)
            .iter()
            .map(|answer| answer.split(' ').nth(1).unwrap().parse().unwrap())
            .collect();
        answered.sort_unstable();
        assert_eq!(answered, asked);
    }
}

// A subscriber that was behind when all maps were dropped is to start over; where that takes longer than anybody waits,
// nothing may be said that it has not asked for, and it stays subscribed.
#[test]
fn a_reset_that_nobody_has_asked_for_is_waited_for_however_long_it_takes() {
    let value = format!(r#""{}""#, "x".repeat(200_000));
    let mut world = World::with(2, |config| config.ack_timeout_ms = 500);
    let (writer, reader) = (client(&mut world, 0), client(&mut world, 1));
    for shard in 0..2 {
        world.send(writer, &op("m", &world.key_of(shard, "m", 0), false));
        world.serve();
    }
    pipelined(&mut world, reader, &[subscribe(1)]);
    // In one message, so that nothing is sent meanwhile and all but the first find the outbox full.
    let ops = (0..4).map(|n| format!(r#"{{"map":"m","key":"k{n}","op":"set","value":{value}}}"#));
    let ops = ops.collect::<Vec<_>>().join(",");
    world.send(writer, &format!(r#"{{"type":"write","id":1,"ops":[{ops}]}}"#));
    // It is read in one turn, and carried out in the next.
    (0..2).for_each(|_| world.turn());
    let request = world.clear(0);
    // One shard after the other is given what is stored, so that the walk has begun anew when the second does not come.
    for _ in 0..40 {
        world.serve_but_loads_of(1);
        world.fold();
        world.pass_ms(100);
    }
    assert!(world.has_succeeded(request) && world.metrics().conflations > 0);
    let told = world.received(reader);
    let errors = told.iter().filter(|message| message["type"] == "error").count();
    assert_eq!((errors, world.metrics().subscriptions), (0, 1));
    (0..30).for_each(|_| {
        world.serve();
        world.pass_ms(100);
    });
    let told = world.received(reader);
    assert!(told.iter().any(|message| is(message, "reset")), "{told:?}");
}

// Nobody wants the chunks any more. Method: more subscribes in one turn than requests may wait.
#[test]
fn who_subscribes_and_unsubscribes_without_end_has_no_chunks_made() {
    for shards in [1, 2] {
        let mut world = World::in_memory(shards);
        let reader = client(&mut world, 0);
        for id in 0..2_000 {
            world.send(reader, &if id % 2 == 0 { subscribe(id) } else { unsubscribe(id) });
        }
        world.settle();
        let told = world.received(reader);
        assert!(world.metrics().chunks <= 10, "{} chunks were made", world.metrics().chunks);
        let expected: Vec<String> = (0..2_000)
            .map(|id| format!("{} {id}", if id % 2 == 0 { "cancelled" } else { "unsubscribed" }))
            .collect();
        let answers = final_answers(&told);
        let is_expected = |(answer, expected): (&String, &String)| {
            // Where the rest is read in the next turn, a snapshot has time to come.
            answer == expected || *answer == expected.replace("cancelled", "snapshot")
        };
        assert!(answers.len() == 2_000 && answers.iter().zip(&expected).all(is_expected), "{answers:?}");
        assert!(!world.is_paused(reader));
    }
}

//! Who joins, and what it is told of what it missed.

use serde_json::json;

use crate::said::{ask, channel_of, epoch_of, join, join_since, leave, publish, short, told};
use crate::world::World;

#[test]
fn members_on_all_shards_are_sent_each_message_once_and_its_sender_only_with_echo() {
    for shards in 1..=3 {
        for home in 0..shards {
            let mut world = World::new(shards);
            let channel = channel_of(&world, home, "chat:");
            let members: Vec<_> = (0..6).map(|n| world.connect(n % shards)).collect();
            for &member in &members {
                assert_eq!(short(&ask(&mut world, member, &join(&channel))), ["joined 0"]);
            }
            let outsider = world.connect(0);
            let answer = ask(&mut world, members[1], &publish(&channel, &json!("a")));
            assert_eq!(short(&answer), ["published 1"]);
            let mut echoed = publish(&channel, &json!("b"));
            echoed["echo"] = json!(true);
            let answer = ask(&mut world, members[1], &echoed);
            assert_eq!(short(&answer).len(), 2, "it is sent its own");
            assert_eq!(
                short(&ask(&mut world, outsider, &publish(&channel, &json!({"c": 1})))),
                ["published 3"]
            );
            for (place, &member) in members.iter().enumerate() {
                let expected: &[&str] = match place {
                    1 => &["message 3 {\"c\":1}"],
                    _ => &["message 1 \"a\"", "message 2 \"b\"", "message 3 {\"c\":1}"],
                };
                assert_eq!(short(&told(&mut world, member)), expected, "{shards} shards, member {place}");
            }
            assert_eq!(world.metrics().channel_deliveries, 5 + 6 + 6);
            assert_eq!(world.metrics().channel_members, 6);
        }
    }
}

#[test]
fn who_comes_back_is_sent_what_it_missed_and_then_told_that_it_is_there() {
    for home in 0..2 {
        let mut world = World::new(2);
        let channel = channel_of(&world, home, "chat:");
        let (sender, reader) = (world.connect(0), world.connect(1));
        let epoch = epoch_of(&ask(&mut world, reader, &join(&channel)));
        for n in 1..=5 {
            ask(&mut world, sender, &publish(&channel, &json!(n)));
        }
        assert_eq!(told(&mut world, reader).len(), 5);
        world.fail(reader);
        world.settle();
        assert_eq!(world.metrics().channel_members, 0);
        for n in 6..=8 {
            ask(&mut world, sender, &publish(&channel, &json!(n)));
        }
        let again = world.connect(1);
        let answer = ask(&mut world, again, &join_since(&channel, &epoch, 4));
        let missed = ["message 5 5", "message 6 6", "message 7 7", "message 8 8", "joined 8 true"];
        assert_eq!(short(&answer), missed);
        assert_eq!(epoch_of(&answer), epoch);
        ask(&mut world, sender, &publish(&channel, &json!(9)));
        assert_eq!(short(&told(&mut world, again)), ["message 9 9"]);
        let current = ask(&mut world, sender, &join_since(&channel, &epoch, 9));
        assert_eq!(short(&current), ["joined 9 true"]);
    }
}

#[test]
fn who_cannot_be_given_all_is_told_why() {
    for home in 0..2 {
        let mut world = World::with(2, |config| config.channel_history.messages = 3);
        let channel = channel_of(&world, home, "chat:");
        let (sender, reader) = (world.connect(0), world.connect(1));
        let epoch = epoch_of(&ask(&mut world, sender, &join(&channel)));
        for n in 1..=5 {
            ask(&mut world, sender, &publish(&channel, &json!(n)));
        }
        for (epoch, offset, expected) in [
            (&*epoch, 1, vec!["joined 5 false trimmed"]),
            (&epoch, 2, vec!["message 3 3", "message 4 4", "message 5 5", "joined 5 true"]),
            (&epoch, 6, vec!["joined 5 false epoch"]),
            ("0123456789abcdef", 5, vec!["joined 5 false epoch"]),
            ("", 5, vec!["joined 5 false epoch"]),
        ] {
            let answer = ask(&mut world, reader, &join_since(&channel, epoch, offset));
            assert_eq!(short(&answer), expected, "since {offset} of {epoch}");
        }
    }
}

#[test]
fn a_channel_that_was_gone_has_another_epoch() {
    for home in 0..2 {
        let mut world = World::with(2, |config| config.channel_history.messages = 0);
        let channel = channel_of(&world, home, "chat:");
        let client = world.connect(1);
        let epoch = epoch_of(&ask(&mut world, client, &join(&channel)));
        assert_eq!(short(&ask(&mut world, client, &publish(&channel, &json!(1)))), ["published 1"]);
        assert_eq!(short(&ask(&mut world, client, &leave(&channel))), ["left"]);
        let answer = ask(&mut world, client, &join_since(&channel, &epoch, 1));
        assert_eq!(short(&answer), ["joined 0 false epoch"]);
        assert_ne!(epoch_of(&answer), epoch);
    }
}

#[test]
fn joining_once_more_begins_anew() {
    for home in 0..2 {
        let mut world = World::new(2);
        let channel = channel_of(&world, home, "chat:");
        let (sender, reader) = (world.connect(0), world.connect(1));
        let epoch = epoch_of(&ask(&mut world, reader, &join(&channel)));
        ask(&mut world, sender, &publish(&channel, &json!(1)));
        assert_eq!(told(&mut world, reader).len(), 1);
        assert_eq!(short(&ask(&mut world, reader, &join(&channel))), ["joined 1"]);
        assert_eq!(
            short(&ask(&mut world, reader, &join_since(&channel, &epoch, 0))),
            ["message 1 1", "joined 1 true"]
        );
        ask(&mut world, sender, &publish(&channel, &json!(2)));
        assert_eq!(short(&told(&mut world, reader)), ["message 2 2"], "once, as it is in it once");
        assert_eq!(world.metrics().channel_members, 1);
        // Where the first has no answer yet, it is cancelled.
        world.send(reader, &join(&channel).to_string());
        world.send(reader, &join(&channel).to_string());
        world.settle();
        let answers = short(&told(&mut world, reader));
        let expected: &[&str] =
            if home == 0 { &["error cancelled", "joined 2"] } else { &["joined 2", "joined 2"] };
        assert_eq!(answers, expected);
    }
}

#[test]
fn who_has_left_or_gone_is_sent_nothing_more_and_nothing_stays() {
    for home in 0..2 {
        let mut world = World::with(2, |config| config.channel_history.messages = 0);
        let channel = channel_of(&world, home, "chat:");
        let (sender, left, gone) = (world.connect(0), world.connect(1), world.connect(1));
        ask(&mut world, left, &join(&channel));
        ask(&mut world, gone, &join(&channel));
        assert_eq!(world.metrics().channels, 1);
        assert_eq!(short(&ask(&mut world, left, &leave(&channel))), ["left"]);
        assert_eq!(short(&ask(&mut world, left, &leave(&channel))), ["left"], "whether it was there or not");
        world.fail(gone);
        world.settle();
        ask(&mut world, sender, &publish(&channel, &json!(1)));
        assert!(told(&mut world, left).is_empty());
        let metrics = world.metrics();
        let kept =
            [metrics.channels, metrics.channel_members, metrics.channel_bytes, metrics.channel_deliveries];
        assert_eq!(kept, [0; 4]);
    }
}

#[test]
fn what_was_missed_comes_as_there_is_room_and_live_messages_after_it() {
    for home in 0..2 {
        let mut world = World::with(2, |config| {
            config.outbox_soft_bytes = 20_000;
            config.channel_history.messages = 1_000;
        });
        let channel = channel_of(&world, home, "chat:");
        let (sender, reader) = (world.connect(0), world.connect(1));
        let epoch = epoch_of(&ask(&mut world, reader, &join(&channel)));
        let filler = "f".repeat(300);
        for n in 1..=200 {
            ask(&mut world, sender, &publish(&channel, &json!([n, filler])));
        }
        ask(&mut world, reader, &leave(&channel));
        world.stall(reader);
        world.send(reader, &join_since(&channel, &epoch, 0).to_string());
        world.settle();
        let first = told(&mut world, reader).len();
        assert!((1..100).contains(&first), "{first} of 200 were sent to who takes none");
        for n in 201..=210 {
            ask(&mut world, sender, &publish(&channel, &json!([n, filler])));
        }
        world.resume(reader);
        world.settle();
        ask(&mut world, sender, &publish(&channel, &json!([211, filler])));
        let rest = told(&mut world, reader);
        let offsets: Vec<_> = rest.iter().map(|message| message["offset"].as_u64().unwrap()).collect();
        let expected: Vec<_> = (first as u64 + 1..=210).chain([210, 211]).collect();
        assert_eq!(offsets, expected, "all of them once, then joined, then what is live");
        assert_eq!(rest.len(), 210 - first + 2);
        assert_eq!(world.metrics().channel_missed, 0);
    }
}

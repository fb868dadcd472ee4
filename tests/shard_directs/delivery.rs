//! What a user is sent, with whatever connections.

use serde_json::{Value, json};

use crate::world::{World, numbers, say};

/// A user's acknowledgement of the last of these messages.
fn ack(messages: &[Value]) -> String {
    let last = messages.iter().rfind(|message| message["type"] == "direct").unwrap();
    json!({"type": "direct.ack", "id": 9, "through": last["message"]}).to_string()
}

#[test]
fn who_is_there_gets_it_at_once_in_every_tab_and_who_is_not_when_it_comes() {
    for shards in [1, 3] {
        for home in 0..shards {
            let mut world = World::new(shards, "", |_| {});
            let user = world.user_of(home, "u");
            let to = format!("user:{user}");
            let (ada, _) = world.open(0, "ada");
            let sent = world.say(ada, &to, 1);
            assert_eq!(
                (&sent["type"], &sent["status"], &sent["id"]),
                (&json!("sent"), &json!("queued"), &json!(1))
            );
            assert_eq!(world.say(ada, &to, 2)["status"], "queued");

            let (one, first) = world.open(shards - 1, &user);
            assert_eq!(numbers(&first), [1, 2]);
            assert!(first.iter().all(|message| message["queued"] == true && message["from"] == "ada"));
            assert_eq!(first[0]["message"], sent["message"]);
            let (two, second) = world.open(0, &user);
            assert_eq!(first, second, "each connection is sent what is not acknowledged");

            let sent = world.say(ada, &to, 3);
            assert_eq!(sent["status"], "delivered");
            let told = [one, two].map(|client| world.take(client));
            assert_eq!(told[0], told[1]);
            assert_eq!((numbers(&told[0]), &told[0][0]["queued"]), (vec![3], &json!(false)));
            assert!(told[0][0]["time"].as_u64().unwrap() >= first[1]["time"].as_u64().unwrap());

            let answers = world.ask(one, &ack(&first));
            assert_eq!((&answers[0]["type"], &answers[0]["id"]), (&json!("direct.acked"), &json!(9)));
            let (_, third) = world.open(0, &user);
            assert_eq!(
                (numbers(&third), &third[0]["queued"]),
                (vec![3], &json!(true)),
                "two are acknowledged"
            );
            assert!(
                world.ask(two, &ack(&third).replace(r#""id":9,"#, "")).is_empty(),
                "who asks for no answer has none"
            );
            assert!(world.open(0, &user).1.is_empty() && world.metrics().directs_queued == 0);
            assert!(world.ask(ada, r#"{"type":"ping"}"#).len() == 1, "and nothing came to who has sent it");
        }
    }
}

#[test]
fn users_may_write_to_themselves() {
    let mut world = World::new(2, "", |_| {});
    let [(one, _), (two, _)] = [0, 1].map(|shard| world.open(shard, "ada"));
    let told = world.ask(one, &say("user:ada", 1));
    assert_eq!((numbers(&told), told.len(), numbers(&world.take(two))), (vec![1], 2, vec![1]));
}

#[test]
fn a_slow_connection_is_sent_the_rest_in_order_once_it_has_drained() {
    for (shards, home) in [(1, 0), (2, 0), (2, 1)] {
        let mut world = World::new(shards, "", |config| config.outbox_soft_bytes = 128 << 10);
        let user = world.user_of(home, "u");
        let (ada, _) = world.open(0, "ada");
        let [(slow, _), (fast, _)] = [0, shards - 1].map(|shard| world.open(shard, &user));
        world.stall(slow);
        for number in 0..60 {
            let data = json!({"n": number, "x": "x".repeat(10_000)});
            let text = json!({"type": "send", "to": format!("user:{user}"), "data": data}).to_string();
            assert_eq!(world.ask(ada, &text)[0]["status"], "delivered", "to the other one");
        }
        assert!(world.take(slow).is_empty() && world.metrics().directs_delayed == 1);
        assert_eq!(numbers(&world.take(fast)), (0..60).collect::<Vec<_>>());
        world.go_on(slow);
        world.settle();
        let told = world.take(slow);
        assert_eq!(numbers(&told), (0..60).collect::<Vec<_>>());
        let queued: Vec<&Value> = told.iter().map(|message| &message["queued"]).collect();
        assert!(
            queued[0] == &json!(false)
                && queued[59] == &json!(true)
                && queued.is_sorted_by_key(|q| q.as_bool())
        );
        assert_eq!(world.say(ada, &format!("user:{user}"), 60)["status"], "delivered");
        assert_eq!(numbers(&world.take(slow)), [60], "it is as quick as any");
    }
}

#[test]
fn the_oldest_make_room_and_the_user_is_told_how_many() {
    let mut world = World::new(2, "", |config| config.direct.messages_max = 3);
    let user = world.user_of(1, "u");
    let (ada, _) = world.open(0, "ada");
    for number in 0..8 {
        world.say(ada, &format!("user:{user}"), number);
    }
    let (client, told) = world.open(0, &user);
    assert_eq!((&told[0], numbers(&told)), (&json!({"type": "queue.dropped", "count": 5}), vec![5, 6, 7]));
    world.say(ada, &format!("user:{user}"), 8);
    assert_eq!(numbers(&world.take(client)), [8], "it lacks nothing of what had to go for this");
    let (_, again) = world.open(1, &user);
    assert_eq!(again[0], json!({"type": "queue.dropped", "count": 6}), "nothing is acknowledged");
    world.ask(client, &ack(&told));
    let (_, again) = world.open(1, &user);
    assert_eq!((numbers(&again), again.len()), (vec![8], 1));
    assert_eq!(world.metrics().directs_dropped, 6);
}

#[test]
fn nothing_is_kept_for_longer_than_it_may() {
    let mut world = World::new(2, "", |config| config.direct.ttl_ms = 10_000);
    let user = world.user_of(1, "u");
    let (ada, _) = world.open(0, "ada");
    for (number, ttl) in [(1, ""), (2, r#","ttl_ms":1000"#), (3, r#","ttl_ms":1000000"#)] {
        let text = format!(r#"{{"type":"send","to":"user:{user}","data":{number}{ttl}}}"#);
        assert_eq!(world.ask(ada, &text)[0]["status"], "queued");
    }
    world.pass_ms(2_000);
    assert_eq!(numbers(&world.open(0, &user).1), [1, 3]);
    world.pass_ms(9_000);
    assert_eq!((world.metrics().directs_queued, world.metrics().directs_dropped), (0, 2));
    assert_eq!(world.open(0, &user).1, [json!({"type": "queue.dropped", "count": 2})]);
    world.pass_ms(10_000);
    assert!(world.open(0, &user).1.is_empty(), "that is not remembered for ever, either");
    world.pass_ms(70_000);
    assert_eq!(world.metrics().direct_bytes, 0);
}

#[test]
fn what_is_kept_counts_as_memory() {
    let mut world = World::new(1, "", |config| {
        config.memory_limit_bytes = 8 << 20;
        config.outbox_hard_bytes = 2 << 20;
    });
    let (ada, _) = world.open(0, "ada");
    let text = |user: usize| {
        json!({"type": "send", "to": format!("user:{user}"), "data": "x".repeat(100_000)}).to_string()
    };
    let refused = (0..100).find_map(|user| {
        let answer = world.ask(ada, &text(user)).remove(0);
        (answer["status"] == "refused").then_some((user, answer))
    });
    let (user, answer) = refused.expect("there is no room for all");
    assert!((5..=11).contains(&user) && answer["reason"] == "queue_full", "{user}: {answer}");
    let (client, told) = world.open(0, "0");
    world.ask(client, &ack(&told));
    assert_eq!(world.ask(ada, &text(user))[0]["status"], "queued", "there is room for another");
}

#[test]
fn a_clear_leaves_nothing_and_offsets_are_not_mistaken() {
    let mut world = World::new(2, "", |_| {});
    let user = world.user_of(1, "u");
    let to = format!("user:{user}");
    let (ada, _) = world.open(0, "ada");
    let (client, _) = world.open(0, &user);
    let before = world.say(ada, &to, 1);
    world.ask(client, &json!({"type": "block", "user": "eve"}).to_string());
    world.clear(0);
    assert_eq!((world.metrics().directs_queued, world.metrics().direct_bytes), (0, 0));
    world.take(client);
    assert_eq!(world.say(ada, &to, 2)["status"], "delivered");
    assert_eq!(numbers(&world.take(client)), [2], "whoever was there still is");
    let stale = json!({"type": "direct.ack", "through": before["message"]}).to_string();
    world.ask(client, &stale);
    assert_eq!(numbers(&world.open(1, &user).1), [2], "what was acknowledged is another one");
    let (eve, _) = world.open(0, "eve");
    assert_eq!(world.say(eve, &to, 3)["status"], "delivered");
}

#[test]
fn a_dialect_without_direct_messages_is_nobody_there() {
    let mut world = World::new(2, "", |_| {});
    let user = world.user_of(1, "u");
    let (ada, _) = world.open(0, "ada");
    let synckit = world.connect_with(0, Some(&format!("{{'sub':'{user}'}}")), "/ws");
    world.settle();
    assert_eq!(world.say(ada, &format!("user:{user}"), 1)["status"], "queued");
    assert!(world.take(synckit).is_empty());
    assert_eq!(numbers(&world.open(0, &user).1), [1]);
}

#[test]
fn who_says_late_who_it_is_is_sent_what_waits_then() {
    let mut world = World::new(2, "", |_| {});
    let (ada, _) = world.open(0, "ada");
    world.say(ada, "user:bob", 1);
    let late = world.connect_with(1, None, "/v1");
    world.settle();
    assert_eq!(world.take(late).len(), 1);
    let told = world.ask(late, r#"{"type":"auth","id":1,"token":"{'sub':'bob'}"}"#);
    assert_eq!((told[0]["type"].as_str(), numbers(&told)), (Some("authenticated"), vec![1]));
    let told = world.ask(late, r#"{"type":"auth","id":2,"token":"{'sub':'bob'}"}"#);
    assert_eq!(told.len(), 1, "renewing a token tells nothing again");
}

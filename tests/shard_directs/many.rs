//! Messages to all who are there, or to those of a role.

use serde_json::json;

use crate::world::{World, numbers, say};

const RULES: &str = r#"
    [[role]]
    name = "member"
    [[role]]
    name = "staff"
    [[rule]]
    allow = ["send"]
    maps = ["user:*"]
    [[rule]]
    allow = ["send"]
    maps = ["role:member", "all"]
    roles = ["staff"]
"#;

#[test]
fn all_who_are_there_and_of_a_role_are_sent_it_and_nobody_else() {
    for shards in [1, 3] {
        let mut world = World::new(shards, RULES, |_| {});
        let open = |world: &mut World, shard: usize, token: Option<&str>, path: &str| {
            let client = world.connect_with(shard % shards, token, path);
            world.settle();
            world.take(client);
            client
        };
        let staff = open(&mut world, 0, Some("{'sub':'s','roles':['staff']}"), "/v1");
        let other_tab = open(&mut world, 1, Some("{'sub':'s','roles':['staff']}"), "/v1");
        let members = [0, 1, 2].map(|shard| {
            open(&mut world, shard, Some(&format!("{{'sub':'m{shard}','roles':['member']}}")), "/v1")
        });
        let synckit = open(&mut world, 1, Some("{'sub':'m1','roles':['member']}"), "/ws");

        let told = world.ask(staff, &say("role:member", 1));
        assert_eq!(told, [json!({"type": "sent", "id": 1, "status": "delivered", "count": 3})]);
        for member in members {
            let told = world.take(member);
            assert_eq!((numbers(&told), &told[0]["to"]), (vec![1], &json!("role:member")));
            assert!(told[0]["message"].is_null() && told[0]["from"] == "s", "it is not kept: {told:?}");
        }
        assert!(world.take(other_tab).is_empty());

        let told = world.ask(staff, &say("all", 2));
        assert_eq!(told, [json!({"type": "sent", "id": 2, "status": "delivered", "count": 4})]);
        assert!(members.iter().chain([&other_tab]).all(|&client| numbers(&world.take(client)) == [2]));
        assert!(world.take(synckit).is_empty());
        assert_eq!(world.metrics().directs_queued, 0);

        for to in ["all", "role:member", "role:staff"] {
            let told = world.ask(members[0], &say(to, 3));
            assert_eq!(told, [json!({"type": "sent", "id": 3, "status": "refused", "reason": "forbidden"})]);
        }
        assert_eq!(world.say(members[0], "user:m1", 4)["status"], "delivered");
        members.into_iter().for_each(|member| world.fail(member));
        let told = world.ask(staff, &say("role:member", 5));
        assert_eq!(
            told,
            [json!({"type": "sent", "id": 5, "status": "refused", "reason": "absent", "count": 0})]
        );
    }
}

#[test]
fn it_is_divided_over_turns_and_who_is_slow_misses_it() {
    let mut world = World::new(2, "", |config| config.outbox_soft_bytes = 128 << 10);
    let (ada, _) = world.open(0, "ada");
    let clients: Vec<_> = (0..600).map(|n| world.connect(n % 2, &format!("u{n}"))).collect();
    world.settle();
    clients.iter().for_each(|&client| drop(world.take(client)));
    let data = json!({"n": 1, "x": "x".repeat(40_000)});
    let text = json!({"type": "send", "id": 1, "to": "all", "data": data}).to_string();
    world.send(ada, &text);
    world.turn();
    let reached = clients.iter().filter(|&&client| !world.take(client).is_empty()).count();
    assert!((1..300).contains(&reached), "{reached} in the first turn");
    world.settle();
    assert_eq!(world.take(ada)[0]["count"], 600);
    world.stall(clients[0]);
    for _ in 0..5 {
        world.ask(ada, &text);
    }
    assert_eq!(world.metrics().directs_missed, 1);
}

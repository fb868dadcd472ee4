//! Who has nothing to do with whom.

use serde_json::json;

use crate::world::{World, numbers};

fn block(user: &str) -> String {
    json!({"type": "block", "id": 1, "user": user}).to_string()
}

#[test]
fn neither_sees_the_others_messages_and_only_who_blocks_knows() {
    for (shards, homes) in [(1, [0, 0]), (2, [0, 1]), (2, [1, 1])] {
        let mut world = World::new(shards, "", |_| {});
        let [a, b] = [(homes[0], "a"), (homes[1], "b")].map(|(home, prefix)| world.user_of(home, prefix));
        let [(ada, _), (bob, _)] = [&a, &b].map(|user| world.open(shards - 1, user));
        world.say(bob, &format!("user:{a}"), 1);
        world.take(ada);
        let answer = world.ask(ada, &block(&b));
        assert_eq!(answer, [json!({"type": "blocked", "id": 1, "user": b})]);

        let refused = world.say(bob, &format!("user:{a}"), 2);
        assert_eq!((&refused["status"], &refused["reason"]), (&json!("refused"), &json!("forbidden")));
        assert!(refused["message"].is_null());
        let refused = world.say(ada, &format!("user:{b}"), 3);
        assert_eq!((&refused["status"], &refused["reason"]), (&json!("refused"), &json!("blocked")));
        assert!(world.take(ada).is_empty() && world.take(bob).is_empty());
        let (_, told) = world.open(0, &a);
        assert!(told.is_empty(), "not even what has come before: {told:?}");

        // Each for itself.
        world.ask(bob, &block(&a));
        assert_eq!(world.ask(ada, &block(&b).replace("block", "unblock"))[0]["type"], "unblocked");
        assert_eq!(world.say(bob, &format!("user:{a}"), 4)["reason"], "blocked");
        assert_eq!(world.say(ada, &format!("user:{b}"), 5)["reason"], "forbidden");
        world.ask(bob, &block(&a).replace("block", "unblock"));
        assert_eq!(world.say(bob, &format!("user:{a}"), 6)["status"], "delivered");
        assert_eq!(world.say(ada, &format!("user:{b}"), 7)["status"], "delivered");
        let (_, told) = world.open(0, &a);
        assert_eq!(numbers(&told), [1, 6], "what is kept is shown again");
    }
}

#[test]
fn one_user_blocks_so_many_and_the_others_home_forgets_what_is_refused() {
    let mut world = World::new(2, "", |_| {});
    let (ada, _) = world.open(0, "ada");
    for n in 0..1_000 {
        world.send(ada, &block(&format!("u{n}")));
        if n % 50 == 0 {
            world.settle();
        }
    }
    world.settle();
    assert!(world.take(ada).iter().all(|answer| answer["type"] == "blocked"));
    assert_eq!(world.ask(ada, &block("u7"))[0]["type"], "blocked", "it is already");
    assert_eq!(world.ask(ada, &block("eve"))[0]["code"], "too_large");
    let (eve, _) = world.open(1, "eve");
    assert_eq!(world.say(eve, "user:ada", 1)["status"], "delivered");
    assert_eq!(world.say(ada, "user:eve", 1)["status"], "delivered");
    assert_eq!(world.ask(ada, &block("u7").replace("block", "unblock"))[0]["type"], "unblocked");
    assert_eq!(world.ask(ada, &block("eve"))[0]["type"], "blocked");
}

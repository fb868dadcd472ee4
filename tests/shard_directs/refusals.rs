//! What is refused, and how.

use serde_json::json;

use crate::world::{World, say};

#[test]
fn who_is_nobody_in_particular_has_no_direct_messages() {
    let mut world = World::new(1, "", |_| {});
    let client = world.connect_with(0, None, "/v1");
    world.settle();
    world.take(client);
    for text in [
        say("user:ada", 1),
        say("all", 1),
        json!({"type": "direct.ack", "id": 1, "through": "0123456789abcdef-1"}).to_string(),
        json!({"type": "block", "id": 1, "user": "ada"}).to_string(),
        json!({"type": "unblock", "id": 1, "user": "ada"}).to_string(),
    ] {
        let answers = world.ask(client, &text);
        assert_eq!(
            (&answers[0]["code"], &answers[0]["id"], answers.len()),
            (&json!("auth_required"), &json!(1), 1)
        );
    }
}

#[test]
fn rules_say_who_may_send_to_whom() {
    let rules = "[[rule]]\nallow = [\"send\"]\nmaps = [\"user:friend*\"]";
    let mut world = World::new(2, rules, |_| {});
    let (ada, _) = world.open(0, "ada");
    assert_eq!(world.say(ada, "user:friend1", 1)["status"], "queued");
    let refused = world.say(ada, "user:foe", 2);
    assert_eq!(refused, json!({"type": "sent", "id": 2, "status": "refused", "reason": "forbidden"}));
    assert_eq!(world.metrics().directs_refused, 1);
}

#[test]
fn what_is_wrong_is_told() {
    let mut world = World::new(1, "", |config| {
        config.value_bytes_max = 100;
        config.direct.bytes_max = 160;
    });
    let (ada, _) = world.open(0, "ada");
    let long = "x".repeat(257);
    let send = |to: &str, rest: &str| format!(r#"{{"type":"send","id":1,"to":{to},"data":1{rest}}}"#);
    let user = |name: &str| send(&format!("\"user:{name}\""), "");
    for (text, code) in [
        (r#"{"type":"send","id":1,"data":1}"#.to_owned(), "bad_request"),
        (r#"{"type":"send","id":1,"to":"user:bob"}"#.to_owned(), "bad_request"),
        (send("7", ""), "bad_request"),
        (send("null", ""), "bad_request"),
        (send("\"bob\"", ""), "bad_request"),
        (send("\"users:bob\"", ""), "bad_request"),
        (send("\"all:\"", ""), "bad_request"),
        (user(""), "key_invalid"),
        (user("a\\nb"), "key_invalid"),
        (user(&long), "too_large"),
        (send("\"role:\"", ""), "key_invalid"),
        (send(&format!("\"role:{}\"", "x".repeat(65)), ""), "key_invalid"),
        (send("\"user:bob\"", r#","ack":"none""#), "bad_request"),
        (send("\"user:bob\"", r#","ack":"replicated""#), "bad_request"),
        (send("\"user:bob\"", r#","ttl_ms":0"#), "value_invalid"),
        (send("\"user:bob\"", r#","ttl_ms":"1""#), "bad_request"),
        (format!(r#"{{"type":"send","id":1,"to":"user:bob","data":"{}"}}"#, "x".repeat(99)), "too_large"),
        (r#"{"type":"direct.ack","id":1}"#.to_owned(), "bad_request"),
        (r#"{"type":"direct.ack","id":1,"through":7}"#.to_owned(), "bad_request"),
        (r#"{"type":"direct.ack","id":1,"through":""}"#.to_owned(), "value_invalid"),
        (r#"{"type":"direct.ack","id":1,"through":"0123456789abcdef"}"#.to_owned(), "value_invalid"),
        (r#"{"type":"direct.ack","id":1,"through":"0123456789abcdef-"}"#.to_owned(), "value_invalid"),
        (r#"{"type":"direct.ack","id":1,"through":"0123456789abcdef-+1"}"#.to_owned(), "value_invalid"),
        (r#"{"type":"direct.ack","id":1,"through":"+123456789abcdef-1"}"#.to_owned(), "value_invalid"),
        (
            r#"{"type":"direct.ack","id":1,"through":"0123456789abcdef-99999999999999999999"}"#.to_owned(),
            "value_invalid",
        ),
        (r#"{"type":"block","id":1}"#.to_owned(), "bad_request"),
        (r#"{"type":"block","id":1,"user":""}"#.to_owned(), "key_invalid"),
        (r#"{"type":"block","id":1,"user":"ada"}"#.to_owned(), "bad_request"),
        (r#"{"type":"unblock","id":1,"user":{}}"#.to_owned(), "bad_request"),
        (r#"{"type":"direct","id":1}"#.to_owned(), "unknown_type"),
    ] {
        let answers = world.ask(ada, &text);
        assert_eq!((&answers[0]["code"], answers.len()), (&json!(code), 1), "{text}: {answers:?}");
        assert_eq!(answers[0]["id"], 1);
    }
    let large = format!(r#"{{"type":"send","id":1,"to":"user:bob","data":"{}"}}"#, "x".repeat(98));
    let answer = world.ask(ada, &large);
    assert_eq!(answer, [json!({"type": "sent", "id": 1, "status": "refused", "reason": "too_large"})]);
    let unknown = r#"{"type":"direct.ack","id":1,"through":"0123456789abcdef-18446744073709551615"}"#;
    assert_eq!(world.ask(ada, unknown)[0]["type"], "direct.acked", "of what is not there nothing is known");
    assert_eq!(world.metrics().directs_queued, 0);
}

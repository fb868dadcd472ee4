//! What is refused, and that the connection goes on.

use serde_json::{Value, json};

use crate::said::{ask, join, leave, publish, short};
use crate::world::World;

#[test]
fn what_is_wrong_in_each_message_is_said() {
    let mut world = World::new(2);
    let client = world.connect(0);
    let long = "c".repeat(257);
    let wrong: Vec<(Value, &str)> = vec![
        (json!({"type": "join"}), "bad_request"),
        (json!({"type": "join", "channel": 7}), "bad_request"),
        (json!({"type": "join", "channel": ""}), "key_invalid"),
        (json!({"type": "join", "channel": "a\0"}), "key_invalid"),
        (json!({"type": "join", "channel": long}), "too_large"),
        (json!({"type": "join", "channel": "a", "since": 7}), "bad_request"),
        (json!({"type": "join", "channel": "a", "since": {"epoch": "e"}}), "bad_request"),
        (json!({"type": "join", "channel": "a", "since": {"offset": 1}}), "bad_request"),
        (json!({"type": "join", "channel": "a", "since": {"epoch": 1, "offset": 1}}), "bad_request"),
        (json!({"type": "join", "channel": "a", "since": {"epoch": "e", "offset": -1}}), "value_invalid"),
        (json!({"type": "join", "channel": "a", "since": {"epoch": "e", "offset": 1.5}}), "value_invalid"),
        (json!({"type": "leave"}), "bad_request"),
        (json!({"type": "leave", "channel": long}), "too_large"),
        (json!({"type": "publish", "channel": "a"}), "bad_request"),
        (json!({"type": "publish", "data": 1}), "bad_request"),
        (json!({"type": "publish", "channel": "", "data": 1}), "key_invalid"),
        (json!({"type": "publish", "channel": "a", "data": 1, "echo": "yes"}), "bad_request"),
        (json!({"type": "publish", "channel": "a", "data": 1, "ack": "none"}), "bad_request"),
        (json!({"type": "publish", "channel": "a", "data": 1, "ack": 7}), "bad_request"),
        (json!({"type": "publish", "channel": "a", "data": 1, "ack": "durable"}), "bad_request"),
        (publish("a", &json!("x".repeat(300_000))), "too_large"),
        (json!({"type": "history"}), "bad_request"),
        (json!({"type": "history", "channel": long}), "too_large"),
        (json!({"type": "history", "channel": "a", "before": 0}), "value_invalid"),
        (json!({"type": "history", "channel": "a", "before": "x"}), "bad_request"),
        (json!({"type": "history", "channel": "a", "limit": 0}), "value_invalid"),
        (json!({"type": "history", "channel": "a", "limit": 1001}), "value_invalid"),
    ];
    for (message, code) in wrong {
        assert_eq!(short(&ask(&mut world, client, &message)), [format!("error {code}")], "{message}");
    }
    let text = r#"{"type":"publish","id":1,"channel":"a","data":1e999}"#;
    world.send(client, text);
    world.settle();
    assert_eq!(short(&crate::said::told(&mut world, client)), ["error value_invalid"]);
    let metrics = world.metrics();
    assert_eq!([metrics.channels, metrics.channel_members, metrics.channel_publishes], [0; 3]);
    assert_eq!(short(&ask(&mut world, client, &publish("a", &Value::Null))), ["published 1"]);
    assert_eq!(short(&ask(&mut world, client, &join(&"c".repeat(256)))), ["joined 0"]);
}

#[test]
fn a_connection_is_in_so_many_channels() {
    let mut world = World::with(2, |config| config.subscriptions_max = 3);
    let client = world.connect(0);
    for channel in ["a", "b", "c"] {
        assert_eq!(short(&ask(&mut world, client, &join(channel))), ["joined 0"]);
    }
    assert_eq!(short(&ask(&mut world, client, &join("d"))), ["error too_many_subscriptions"]);
    assert_eq!(short(&ask(&mut world, client, &join("a"))), ["joined 0"], "it is in it already");
    ask(&mut world, client, &leave("b"));
    assert_eq!(short(&ask(&mut world, client, &join("d"))), ["joined 0"]);
    world.fail(client);
    world.settle();
    assert_eq!([world.metrics().channels, world.metrics().channel_members], [0; 2]);
}

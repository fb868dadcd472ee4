//! What is refused, and what becomes of rights that are lost.

use annulus::limits::MAP_NAME_BYTES_MAX;
use serde_json::json;

use crate::person::{ask, connect, told, world, world_with};
use crate::world::World;

#[test]
fn what_is_wrong_with_a_request_is_said_and_changes_nothing() {
    let mut world = world_with(2, |config| {
        config.subscriptions_max = 3;
        config.presence_bytes_max = 6_000;
    });
    let client = connect(&mut world, 0, "ada");
    let long = "r".repeat(MAP_NAME_BYTES_MAX + 1);
    let large = "s".repeat(4_095);
    for (message, code) in [
        ("{'type':'presence.join','id':1}".to_owned(), "bad_request"),
        ("{'type':'presence.join','id':1,'room':7}".to_owned(), "bad_request"),
        ("{'type':'presence.join','id':1,'room':''}".to_owned(), "key_invalid"),
        (format!("{{'type':'presence.watch','id':1,'room':'{long}'}}"), "too_large"),
        ("{'type':'presence.watch','id':1,'room':'a\\u0000'}".to_owned(), "key_invalid"),
        (format!("{{'type':'presence.join','id':1,'room':'a','state':'{large}'}}"), "too_large"),
        ("{'type':'presence.join','id':1,'room':'a','grace_ms':'1'}".to_owned(), "bad_request"),
        ("{'type':'presence.join','id':1,'room':'a','grace_ms':-1}".to_owned(), "value_invalid"),
        ("{'type':'presence.join','id':1,'room':'a','grace_ms':1.5}".to_owned(), "value_invalid"),
        ("{'type':'presence.join','id':1,'room':'a','grace_ms':300001}".to_owned(), "value_invalid"),
        ("{'type':'presence.join','id':1,'room':'a','state':1e999}".to_owned(), "value_invalid"),
        ("{'type':'presence.update','id':1,'room':'a','state':1}".to_owned(), "not_joined"),
        ("{'type':'presence.update','id':1,'room':'a'}".to_owned(), "bad_request"),
        ("{'type':'presence.leave','id':1}".to_owned(), "bad_request"),
        ("{'type':'presence.list','id':1,'room':''}".to_owned(), "key_invalid"),
        ("{'type':'presence.list','id':1,'room':'a','limit':0}".to_owned(), "value_invalid"),
        ("{'type':'presence.list','id':1,'room':'a','limit':1001}".to_owned(), "value_invalid"),
        ("{'type':'presence.list','id':1,'room':'a','after':1}".to_owned(), "bad_request"),
        (format!("{{'type':'presence.list','id':1,'room':'a','after':'{large}'}}"), "too_large"),
        ("{'type':'presence.nothing','id':1}".to_owned(), "unknown_type"),
    ] {
        let answer = ask(&mut world, client, &message);
        assert_eq!(answer.len(), 1, "{message}: {answer:?}");
        assert_eq!((&answer[0]["id"], &answer[0]["code"]), (&json!(1), &json!(code)), "{message}");
    }
    assert_eq!(world.metrics().presence_watches, 0);
    // Of all rooms together a connection has so many, and sets so many bytes.
    let half = "s".repeat(2_900);
    for room in ["a", "b"] {
        let answer = ask(
            &mut world,
            client,
            &format!("{{'type':'presence.join','id':1,'room':'{room}','state':'{half}'}}"),
        );
        assert_eq!(answer[0]["type"], "presence.state");
    }
    let update = format!("{{'type':'presence.update','id':2,'room':'a','state':'{}'}}", "s".repeat(3_200));
    assert_eq!(ask(&mut world, client, &update)[0]["code"], "too_large");
    assert_eq!(ask(&mut world, client, "{'type':'presence.watch','id':1,'room':'c'}")[0]["count"], 0);
    assert_eq!(
        ask(&mut world, client, "{'type':'presence.watch','id':1,'room':'d'}")[0]["code"],
        "too_many_subscriptions"
    );
    assert_eq!(
        ask(&mut world, client, "{'type':'presence.update','id':2,'room':'c','state':1}")[0]["code"],
        "not_joined"
    );
    assert_eq!(world.metrics().presence_user_members, 2);
}

#[test]
fn lost_rights_end_it_and_the_client_is_told() {
    let rules = |room: &str| format!("[[rule]]\nallow = [\"presence\"]\nmaps = [\"room:{room}\"]");
    let mut world = World::with(2, &rules("doc"), |_| {});
    let clients = ["ada", "bob"].map(|user| connect(&mut world, 1, user));
    for client in clients {
        let answer = ask(&mut world, client, "{'type':'presence.join','id':1,'room':'doc','grace_ms':60000}");
        assert_eq!(answer[0]["type"], "presence.state", "{answer:?}");
        let answer = ask(&mut world, client, "{'type':'presence.join','id':2,'room':'other'}");
        assert_eq!(answer.last().unwrap()["code"], "forbidden");
        told(&mut world, client);
    }
    world.stand(&rules("other"));
    world.pass_ms(100);
    for client in clients {
        let news = told(&mut world, client);
        let error = news.iter().find(|message| message["type"] == "error").unwrap();
        assert_eq!(
            (&error["room"], &error["code"], error.get("id")),
            (&json!("doc"), &json!("forbidden"), None)
        );
        let answer = ask(&mut world, client, "{'type':'presence.list','id':3,'room':'doc'}");
        assert_eq!(answer[0]["code"], "forbidden");
    }
    let metrics = world.metrics();
    assert_eq!(
        (metrics.presence_user_members, metrics.presence_watches),
        (0, 0),
        "at once, whatever the grace"
    );
}

#[test]
fn a_join_that_a_leave_overtakes_is_answered_once() {
    let mut world = world(3);
    for room in ["a", "b", "c", "d", "e"] {
        let client = connect(&mut world, 0, "ada");
        world.send(client, &format!(r#"{{"type":"presence.join","id":1,"room":"{room}"}}"#));
        world.send(client, &format!(r#"{{"type":"presence.leave","id":2,"room":"{room}"}}"#));
        world.send(client, &format!(r#"{{"type":"presence.join","id":3,"room":"{room}"}}"#));
        world.settle();
        world.pass_ms(50);
        let mut ids: Vec<_> =
            told(&mut world, client).iter().filter_map(|told| told["id"].as_u64()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2, 3]);
        let answer = ask(&mut world, client, &format!("{{'type':'presence.list','id':4,'room':'{room}'}}"));
        assert_eq!(answer[0]["members"][0]["connections"], 1);
        world.close(client);
        world.settle();
    }
    assert_eq!(world.metrics().presence_user_members, 0);
}

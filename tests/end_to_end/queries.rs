//! Queries over real sockets and cores.

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::server::TestServer;

fn subscribe(rest: &str) -> String {
    format!(r#"{{"type":"subscribe","map":"board"{rest}}}"#)
}

/// Keys in their order, after the steps of a change.
fn take(list: &mut Vec<String>, message: &Value) {
    for step in message["entries"].as_array().unwrap() {
        let (key, rank) = (step["key"].as_str().unwrap(), step["rank"].as_usize().unwrap());
        if step["event"] != "enter" {
            list.retain(|other| other != key);
        }
        if step["event"] != "leave" {
            list.insert(rank, key.to_owned());
        }
    }
}

/// Goal: clients of all cores see one list, and the last state of it is the right one. Method: one writes on each core at once.
#[test]
fn clients_of_all_cores_end_with_the_same_list() {
    let server = TestServer::start();
    let mut clients = Client::on_every_shard(server.address, 2);
    let query = r#","query":{"where":{"n":{"lt":1000}},"sort":["-n"],"limit":5}"#;
    let mut lists: Vec<Vec<String>> = Vec::new();
    for client in &mut clients {
        let snapshot = client.ask(&subscribe(query));
        assert!(snapshot["type"] == "snapshot" && snapshot["query"] == snapshot["id"], "{snapshot}");
        lists.push(Vec::new());
    }
    for n in 0..200 {
        let writer = &mut clients[n % 2];
        writer.write(&set("board", &format!("k{:02}", n % 40), format!(r#"{{"n":{}}}"#, n * 7 % 1100)));
    }
    let mut last: Vec<(usize, String)> =
        (160..200).map(|n| (n * 7 % 1100, format!("k{:02}", n % 40))).collect();
    last.retain(|(n, _)| *n < 1000);
    last.sort_by(|left, right| right.cmp(left));
    let expected: Vec<String> = last.into_iter().take(5).map(|(_, key)| key).collect();
    for (client, list) in clients.iter_mut().zip(&mut lists) {
        while *list != expected {
            let message = client.event();
            assert_eq!(message["type"], "change", "{message}");
            take(list, &message);
        }
    }
}

#[test]
fn what_is_wrong_with_a_query_is_said_and_the_connection_goes_on() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    client.write(r#"{"map":"board-count","key":"k","op":"increment","by":1}"#);
    let deep = format!("{}{{}}{}", r#"{"not":"#.repeat(20), "}".repeat(20));
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(9000));
    for (code, rest) in [
        ("bad_request", r#","query":7"#.to_owned()),
        ("bad_request", r#","query":{"where":[1]}"#.to_owned()),
        ("bad_request", r#","query":{"where":{"a":{"near":1}}}"#.to_owned()),
        ("bad_request", r#","query":{"where":{"a.":1}}"#.to_owned()),
        ("bad_request", r#","query":{"sort":[{"a":1}]}"#.to_owned()),
        ("bad_request", r#","query":{"limit":[]}"#.to_owned()),
        ("bad_request", r#","query":{},"snapshot":false"#.to_owned()),
        ("value_invalid", r#","query":{"limit":-1}"#.to_owned()),
        ("value_invalid", r#","query":{"offset":0.5}"#.to_owned()),
        ("too_large", r#","query":{"limit":100000}"#.to_owned()),
        ("too_large", format!(r#","query":{{"where":{deep}}}"#)),
        ("too_large", format!(r#","query":{{"where":{long}}}"#)),
    ] {
        assert_eq!(client.error(&subscribe(&rest)), code, "{rest}");
    }
    let refused = client.error(r#"{"type":"subscribe","map":"board-count","query":{}}"#);
    assert_eq!(refused, "map_type");
    assert_eq!(client.ask(&subscribe(r#","query":{"limit":1}"#))["type"], "snapshot");
    let mut strict = Client::connect_to(server.address, "/v1?strict=1");
    let told = strict.ask(&subscribe(r#","query":{"were":{}}"#));
    let message = told["message"].as_str().unwrap();
    assert!(told["code"] == "bad_request" && message.contains("did you mean \"where\"?"), "{told}");
    assert_eq!(strict.ask(&subscribe(r#","query":{"where":{}}"#))["type"], "snapshot");
}

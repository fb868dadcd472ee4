//! `?strict=1`: slips are told, and nothing else changes.

use simd_json::json;
use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::server::TestServer;

#[test]
fn a_slip_refuses_its_request_and_names_what_was_meant() {
    let server = TestServer::start();
    let mut client = Client::connect_to(server.address, "/v1?strict=1");
    assert_eq!(client.hello["strict"], true);
    let write =
        |op: &str| format!(r#"{{"type":"write","ops":[{},{{"map":"m","key":"k",{op}}}]}}"#, set("m", "k", 1));
    for (request, code, message) in [
        (
            write(r#""op":"set","value":1,"ttl":5"#),
            "bad_request",
            r#"unknown field "ttl" in operation 1, did you mean "ttl_ms"?"#,
        ),
        (
            write(r#""op":"set","val":1"#),
            "bad_request",
            r#"unknown field "val" in operation 1, did you mean "value"?"#,
        ),
        (
            write(r#""op":"set","value":1,"colour":null"#),
            "bad_request",
            r#"unknown field "colour" in operation 1"#,
        ),
        (
            write(r#""op":"delete","ttl_ms":5"#),
            "bad_request",
            r#""ttl_ms" means nothing to delete in operation 1"#,
        ),
        (
            write(r#""op":"Set","value":1"#),
            "bad_request",
            r#"unknown op "Set" in operation 1, did you mean "set"?"#,
        ),
        (
            write(r#""op":"set","value":1,"kye":"\ud800""#),
            "bad_request",
            r#"unknown field "kye" in operation 1, did you mean "key"?"#,
        ),
        (
            r#"{"type":"write","ack":"durabel","ops":[]}"#.to_owned(),
            "bad_request",
            r#"unknown ack "durabel", did you mean "durable"?"#,
        ),
        (
            r#"{"type":"subscrib","map":"m"}"#.to_owned(),
            "unknown_type",
            r#"unknown type "subscrib", did you mean "subscribe"?"#,
        ),
        (
            r#"{"type":"subscribe","map":"m","sinse":null}"#.to_owned(),
            "bad_request",
            r#"unknown field "sinse", did you mean "since"?"#,
        ),
        (r#"{"type":"ping","map":"m"}"#.to_owned(), "bad_request", r#""map" means nothing to ping"#),
        (r#"{"type":"ping","":1}"#.to_owned(), "bad_request", r#"unknown field """#),
    ] {
        let error = client.ask(&request);
        assert_eq!(
            (error["type"].as_str(), error["code"].as_str(), error["message"].as_str()),
            (Some("error"), Some(code), Some(message)),
            "{request}"
        );
    }
    let long = client.ask(&format!(r#"{{"type":"ping","{}":1}}"#, "é".repeat(1_000)));
    assert_eq!(long["message"], format!("unknown field \"{}…\"", "é".repeat(64)));
    assert!(client.read("m", "k").is_none(), "nothing of a request with a slip is carried out");
    assert_eq!(server.metric("annulus_requests_rejected_total"), 12.0);
}

#[test]
fn what_has_no_slip_goes_as_ever() {
    let server = TestServer::start();
    let [mut strict, mut lenient] =
        [Client::connect_to(server.address, "/v1?strict=1"), Client::connect(server.address)];
    assert!(lenient.hello.get("strict").is_none());
    let snapshot =
        strict.subscribe(r#""map":"m","since":null,"keys":null,"prefix":null,"snapshot":true,"echo":false"#);
    assert!(snapshot.entries.is_empty());
    let every_field = r#"{"map":"m","key":"a","op":"set","value":{"any":"thing"},"at":null,"ttl_ms":60000},
        {"map":"m","key":"b","op":"delete","at":null},{"map":"o","key":"k","op":"add","value":1,"tag":"t","at":null},
        {"map":"o","key":"k","op":"remove","tags":["t"]},{"map":"o","key":"k","op":"remove","value":1},
        {"map":"c","key":"k","op":"increment","by":1},
        {"map":"c","key":"k","op":"increment","replica":"r","added":1,"subtracted":0}"#;
    assert_eq!(strict.write(every_field).len(), 7);
    lenient.ask(&format!(r#"{{"type":"write","colour":"red","ops":[{}]}}"#, set("m", "c", 1)));
    assert_eq!(strict.change("m")[0]["key"], "c", "it hears of what the others do");
    let ack = strict.ask(&format!(
        r#"{{"type":"write","ops":[{},{}]}}"#,
        set("m", "d", 1),
        set("m", "e", r#""\ud800""#)
    ));
    assert_eq!((&ack["applied"], &ack["rejected"][0]["code"]), (&json!(1), &json!("value_invalid")));
    // What is wrong without it, is wrong in the same way.
    assert_eq!(strict.rejected(r#"{"map":"m","key":"","op":"delete"}"#), "key_invalid");
    assert_eq!(strict.rejected("7"), "bad_request");
    assert_eq!(strict.error(r#"{"type":7}"#), "bad_request");
    assert_eq!(strict.error(r#"{"type":"read","map":"m"}"#), "bad_request");
    for request in
        [r#"{"type":"ping"}"#, r#"{"type":"digest","map":"m"}"#, r#"{"type":"unsubscribe","map":"m"}"#]
    {
        assert_ne!(strict.ask(request)["type"], "error", "{request}");
    }
}

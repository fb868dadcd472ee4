//! What holds for every message: canonical values, exact numbers, fragments, and fields that are left out.

use simd_json::json;
use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::raw::{Raw, TEXT, masked};
use crate::server::TestServer;

#[test]
fn values_come_back_in_their_canonical_form() {
    let server = TestServer::start();
    let mut raw = Raw::open(server.address);
    for (sent, canonical) in [
        (r#"{ "b" : 1.0, "a" : [ 1e3 , -0 ] , "b" : 2 }"#, r#"{"a":[1000,0],"b":2}"#),
        ("9007199254740993", "9007199254740993"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1e21", "1e+21"),
        ("0.000001", "0.000001"),
        (r#""\u00e9\u0001\/""#, "\"é\\u0001/\""),
        ("null", "null"),
    ] {
        let ops = set("m", "k", sent);
        raw.send_text(format!(r#"{{"type":"write","ack":"none","ops":[{ops}]}}"#).as_bytes());
        raw.send_text(br#"{"type":"read","map":"m","keys":["k"]}"#);
        let entries = raw.text();
        assert!(entries.contains(&format!(r#""value":{canonical},"at":"#)), "{sent}: {entries}");
    }
}

#[test]
fn names_may_be_any_text() {
    let server = TestServer::start();
    let [mut one, mut other] = Client::pair(server.address);
    for name in ["ü", "日本", "a b", "\\\"quoted\\\"", "a\\\\b", "\\ud83d\\ude00", "\\u0001"] {
        let stamps = one.write(&set(name, name, 1));
        let entry = other.ask(&format!(r#"{{"type":"read","map":"{name}","keys":["{name}"]}}"#));
        assert_eq!(entry["entries"][0]["at"], stamps[0], "{name}");
    }
}

#[test]
fn a_message_may_come_in_fragments_with_pings_between() {
    let server = TestServer::start();
    let mut raw = Raw::open(server.address);
    let message = br#"{"type":"ping","id":"in pieces"}"#;
    for (index, octet) in message.iter().enumerate() {
        let opcode = if index == 0 { TEXT } else { 0 };
        let fin = if index == message.len() - 1 { 0x80 } else { 0 };
        raw.send(&masked(fin | opcode, &[*octet]));
        if index == 10 {
            raw.send(&masked(0x89, b"are you there"));
        }
    }
    assert_eq!(raw.frame(), Some((0xA, b"are you there".to_vec())));
    assert!(raw.text().starts_with(r#"{"type":"pong","id":"in pieces","#));
}

#[test]
fn fields_that_are_null_or_unknown_are_as_if_left_out() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    let ack = client.ask(
        r#"{"type":"write","ack":null,"colour":"red","ops":[
            {"map":"m","key":"k","op":"set","value":null,"at":null,"ttl_ms":null,"colour":{}}]}"#,
    );
    assert_eq!((&ack["level"], &ack["applied"]), (&json!("memory"), &json!(1)));
    let snapshot =
        client.subscribe(r#""map":"m","since":null,"keys":null,"prefix":null,"snapshot":null,"echo":null"#);
    assert_eq!(snapshot.keys(), ["k"]);
    client.send(r#"{"type":"ping","id":null}"#);
    assert!(client.receive().get("id").is_none());
}

#[test]
fn a_write_without_an_id_is_acknowledged_without_one() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    client.send(&format!(r#"{{"type":"write","ops":[{}]}}"#, set("m", "k", 1)));
    let ack = client.receive();
    assert_eq!((&ack["type"], ack.get("id")), (&json!("ack"), None));
}

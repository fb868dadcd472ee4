//! Values that are JSON and that no value can hold, and messages that are no JSON: who is answered, and what is lost.

use std::collections::BTreeMap;

use simd_json::OwnedValue as Value;
use simd_json::json;
use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::raw::Raw;
use crate::server::TestServer;

const HALF: &str = r#""\ud83d""#;

#[test]
fn one_bad_value_rejects_its_operation_and_the_others_apply() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    let bad_ops = [
        (set("m", "bad", HALF), "value_invalid", "half a surrogate pair"),
        (set("m", "bad", "1e400"), "value_invalid", "beyond a double"),
        (set("m", "bad", r#"{"a":["\udc00"]}"#), "value_invalid", "half a surrogate pair"),
        (set("m", "bad", &deep), "value_invalid", "64 deep"),
        (set("m", r"a\ud800", 1), "key_invalid", "half a surrogate pair"),
        (set(r"\ud800", "bad", 1), "key_invalid", "half a surrogate pair"),
        (
            r#"{"map":"c","key":"bad","op":"increment","by":-1e999}"#.to_owned(),
            "value_invalid",
            "beyond a double",
        ),
        (
            r#"{"map":"m","key":"bad","op":"delete","unknown":1e999}"#.to_owned(),
            "value_invalid",
            "beyond a double",
        ),
        (
            r#"{"map":"o","key":"bad","op":"remove","tags":["\ud800"]}"#.to_owned(),
            "value_invalid",
            "surrogate",
        ),
    ];
    for (index, (bad, code, text)) in bad_ops.iter().enumerate() {
        let (first, last) = (set("m", "first\\n", index), set("m", "last", r#""\"\ud83d\ude00""#));
        let request = format!(r#"{{"type":"write","ops":[{first},{bad},{last}]}}"#);
        let ack = client.ask(&request);
        assert_eq!((&ack["type"], &ack["applied"]), (&json!("ack"), &json!(2)), "{ack}");
        let rejected = ack["rejected"].as_array().unwrap();
        assert_eq!((rejected.len(), &rejected[0]["index"]), (1, &json!(1)), "{ack}");
        assert_eq!(rejected[0]["code"], *code, "{ack}");
        let message = rejected[0]["message"].as_str().unwrap();
        assert!(message.contains(text), "{message}");
        // `ask` puts an `id` of one or more digits in front: the place is that in what was sent.
        let sent = format!("{{\"id\":{},{}", ack["id"], &request[1..]);
        let place: usize = message.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(
            [r"\ud", r"\udc", "1e400", "-1e999", "1e999", "["].iter().any(|at| sent[place..].starts_with(at))
        );
        assert_eq!(client.read("m", "first\\n").unwrap()["value"], index);
        assert_eq!(client.read("m", "last").unwrap()["value"], "\"😀");
        assert!(client.read("m", "bad").is_none());
    }
}

#[test]
fn other_requests_with_a_bad_value_are_refused_as_a_whole_with_their_id() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    for (request, code) in [
        (r#"{"type":"read","map":"m","keys":["a","\ud800"]}"#, "key_invalid"),
        (r#"{"type":"read","map":"\udfff","keys":["a"]}"#, "key_invalid"),
        (r#"{"type":"subscribe","map":"m","prefix":"\ud800"}"#, "key_invalid"),
        (r#"{"type":"subscribe","map":"m","keys":["\ud800"]}"#, "key_invalid"),
        (r#"{"type":"subscribe","map":"m","since":"\ud800"}"#, "value_invalid"),
        (r#"{"type":"unsubscribe","map":"\ud800"}"#, "key_invalid"),
        (r#"{"type":"digest","map":"\ud800"}"#, "key_invalid"),
        (r#"{"type":"ping","unknown":1e400}"#, "value_invalid"),
        (r#"{"type":"ping","ops":[1e400]}"#, "value_invalid"),
        (r#"{"type":"\ud800"}"#, "value_invalid"),
        (r#"{"type":"auth","token":"\ud800"}"#, "value_invalid"),
        (r#"{"type":"presence.join","room":"\ud800"}"#, "key_invalid"),
        (r#"{"type":"presence.join","room":"r","state":["\ud800"]}"#, "value_invalid"),
        (r#"{"type":"write","ack":"\ud800","ops":[]}"#, "value_invalid"),
        (r#"{"type":"write","\ud800":1,"ops":[]}"#, "value_invalid"),
        (r#"{"type":"write","ops":{"a":1e400}}"#, "value_invalid"),
    ] {
        assert_eq!(client.error(request), code, "{request}");
    }
}

#[test]
fn an_id_that_cannot_be_held_is_refused_without_one() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    for id in [HALF, "1e400"] {
        client.send(&format!(r#"{{"type":"ping","id":{id}}}"#));
        let error = client.receive();
        assert_eq!((&error["code"], error.get("id")), (&json!("value_invalid"), None), "{error}");
    }
}

#[test]
fn bad_values_are_no_bad_messages_however_many() {
    let server = TestServer::with(|config| config.bad_messages_max = 3);
    let mut client = Client::connect(server.address);
    for _ in 0..20 {
        assert_eq!(client.rejected(&set("m", "k", HALF)), "value_invalid");
    }
    assert_eq!(server.metric("annulus_bad_messages_total"), 0.0);
}

#[test]
fn what_is_no_json_is_answered_with_the_id_before_the_fault_and_counted() {
    let server = TestServer::with(|config| config.bad_messages_max = 3);
    let mut raw = Raw::open(server.address);
    raw.send_text(br#"{"id":"a\n","type":"ping",}"#);
    let message = "a name in double quotes is expected, at byte 26";
    assert_eq!(
        raw.text(),
        format!(r#"{{"type":"error","id":"a\n","code":"bad_json","message":"{message}"}}"#)
    );
    raw.send_text(br#"{"type":"ping",,"id":"a"}"#);
    assert!(raw.text().starts_with(r#"{"type":"error","code":"bad_json","#));
    raw.send_text(b"no");
    assert!(raw.text().starts_with(r#"{"type":"error","code":"bad_json","#));
    assert_eq!(raw.close_code(), Some(1007));
}

#[test]
fn a_rejected_value_is_told_where_no_ack_was_asked_for() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    let (good, bad) = (set("m", "k", 1), set("m", "k", HALF));
    let error = client.ask(&format!(r#"{{"type":"write","ack":"none","ops":[{good},{bad}]}}"#));
    assert_eq!(error["code"], "value_invalid", "{error}");
    assert_eq!(client.read("m", "k").unwrap()["value"], 1);
}

/// Method: writes of random values with one of them changed to something else. Either the answer is an ack, and everything
/// but what it rejects is there; or it is an error that names the request, and nothing of it is there.
#[test]
fn a_write_with_one_value_changed_loses_nothing_else() {
    let server = TestServer::with(|config| config.bad_messages_max = u32::MAX);
    let mut client = Client::connect(server.address);
    let mut random = Random(u64::from(std::process::id()));
    println!("seed {}", random.0);
    const VALUES: [&str; 6] =
        ["1", r#""a\"\\\n""#, r#"{"b":[1,{}],"a\u0041":"\ud83d\ude00"}"#, "null", "-0.5e-3", r#""""#];
    const CHANGED: [&str; 12] = [
        r#""\ud800""#,
        r#"["\udc00x"]"#,
        "1e309",
        "[[-1e999]]",
        r#"{"\ud800":1}"#,
        "01",
        "nul",
        r#""\x""#,
        "[1",
        r#"{"a"}"#,
        "\"\t\"",
        "2",
    ];
    let (mut acks, mut errors) = (0, 0);
    for round in 0..400 {
        let count = 1 + random.below(5);
        let changed = random.below(count);
        let values: Vec<_> = (0..count)
            .map(|index| if index == changed { CHANGED[random.below(12)] } else { VALUES[random.below(6)] })
            .collect();
        let ops: Vec<_> =
            (0..count).map(|index| set("m", &format!("{round}-{index}"), values[index])).collect();
        let answer = client.ask(&format!(r#"{{"type":"write","ops":[{}]}}"#, ops.join(",")));
        let keys: Vec<_> = (0..count).map(|index| format!("\"{round}-{index}\"")).collect();
        let read = client.ask(&format!(r#"{{"type":"read","map":"m","keys":[{}]}}"#, keys.join(",")));
        let entries: BTreeMap<String, Value> = crate::client::by_key(read["entries"].as_array().unwrap());
        if answer["type"] == "error" {
            errors += 1;
            assert_eq!((answer["code"].as_str(), entries.len()), (Some("bad_json"), 0), "{answer} {ops:?}");
            continue;
        }
        acks += 1;
        let rejected = answer.get("rejected").and_then(Value::as_array).map_or(0, Vec::len);
        assert_eq!(answer["applied"], count - rejected, "{answer}");
        assert_eq!(entries.len(), count - rejected, "{answer} {ops:?}");
        for index in (0..count).filter(|&index| index != changed || rejected == 0) {
            let expected = simd_json::to_owned_value(&mut values[index].as_bytes().to_vec()).unwrap();
            assert_eq!(entries[&format!("{round}-{index}")]["value"], expected, "{ops:?}");
        }
        assert!(rejected == 0 || answer["rejected"][0]["index"] == changed, "{answer}");
    }
    assert!(acks > 50 && errors > 50, "{acks} {errors}");
}

struct Random(u64);

impl Random {
    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

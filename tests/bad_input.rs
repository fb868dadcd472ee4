//! Peers that break the rules, over real sockets: each gets the documented error or close code, and the server
//! goes on serving somebody else.
//!
//! Random tests print their seed; `ANNULUS_SEED=<n>` runs one again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests wait for a real server in real time")]

#[allow(dead_code, reason = "shared with the end-to-end tests")]
#[path = "end_to_end/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the end-to-end tests")]
#[path = "end_to_end/raw.rs"]
mod raw;
#[allow(dead_code, reason = "shared with the end-to-end tests")]
#[path = "end_to_end/server.rs"]
mod server;

use client::{Client, set};
use raw::{Raw, TEXT, masked};
use server::TestServer;
use simd_json::prelude::*;

/// A server, and a client that must be served whatever others do.
struct Scene {
    server: TestServer,
    witness: Client,
    written: u32,
}

impl Scene {
    fn new() -> Self {
        let server = TestServer::with(|config| config.message_bytes_max = 1 << 20);
        let mut witness = Client::connect(server.address);
        witness.subscribe(r#""map":"witnessed","echo":true"#);
        Self { server, witness, written: 0 }
    }

    fn peer(&self) -> Raw {
        Raw::open(self.server.address)
    }

    /// Writes, and is told of it.
    fn goes_on(&mut self) {
        self.written += 1;
        self.witness.write(&set("witnessed", "k", self.written));
        assert_eq!(self.witness.change("witnessed")[0]["value"], self.written);
    }
}

/// The code of the `error` a peer is answered with.
fn error_code(answer: &str) -> String {
    let error = simd_json::to_owned_value(&mut answer.as_bytes().to_vec()).unwrap();
    assert_eq!(error["type"], "error", "{answer}");
    assert!(!error["message"].as_str().unwrap().is_empty());
    error["code"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_no_json_object_is_bad_json_and_the_connection_stays() {
    let mut scene = Scene::new();
    for text in [
        "",
        " ",
        "nonsense",
        "7",
        "null",
        "\"type\"",
        "[]",
        r#"[{"type":"ping"}]"#,
        "{",
        r#"{"type":"ping""#,
        r#"{"type":"ping",}"#,
        r#"{"type":"ping"}{"type":"ping"}"#,
        r#"{type:"ping"}"#,
        r#"{'type':'ping'}"#,
        r#"{"type":"ping","x":01}"#,
        r#"{"type":"ping","x":NaN}"#,
        r#"{"type":"ping","x":"\x"}"#,
        "{\"type\":\"ping\",\"x\":\"\n\"}",
    ] {
        let mut peer = scene.peer();
        peer.send_text(text.as_bytes());
        assert_eq!(error_code(&peer.text()), "bad_json", "{text:?}");
        peer.send_text(br#"{"type":"ping","id":1}"#);
        assert!(peer.text().starts_with(r#"{"type":"pong","id":1,"#), "{text:?}");
        scene.goes_on();
    }
}

#[test]
fn json_nests_64_deep_and_not_65() {
    let mut scene = Scene::new();
    let nested = |depth: usize, open: &str, close: &str| {
        // The message itself is the first level.
        let (open, close) = (open.repeat(depth - 1), close.repeat(depth - 1));
        format!(r#"{{"type":"ping","x":{open}1{close}}}"#)
    };
    for (open, close) in [("[", "]"), (r#"{"x":"#, "}")] {
        let mut peer = scene.peer();
        peer.send_text(nested(64, open, close).as_bytes());
        assert!(peer.text().starts_with(r#"{"type":"pong","#));
        peer.send_text(nested(65, open, close).as_bytes());
        assert_eq!(error_code(&peer.text()), "value_invalid");
        peer.send_text(nested(100_000, open, close).as_bytes());
        assert_eq!(error_code(&peer.text()), "value_invalid");
        peer.send_text("[".repeat(1 << 20).as_bytes());
        assert_eq!(error_code(&peer.text()), "bad_json");
        scene.goes_on();
    }
}

#[test]
fn ten_bad_messages_close_with_1007() {
    let mut scene = Scene::new();
    let mut peer = scene.peer();
    for _ in 0..9 {
        peer.send_text(b"nonsense");
        assert_eq!(error_code(&peer.text()), "bad_json");
        // Good ones in between do not make up for them, and errors of other kinds do not count.
        peer.send_text(br#"{"type":"nonsense"}"#);
        assert_eq!(error_code(&peer.text()), "unknown_type");
    }
    peer.send_text(b"nonsense");
    assert_eq!(error_code(&peer.text()), "bad_json");
    assert_eq!(peer.close_code(), Some(1007));
    scene.goes_on();
}

#[test]
fn text_that_is_not_utf8_closes_with_1007() {
    let mut scene = Scene::new();
    for payload in
        [&b"\xFF"[..], b"{\"type\":\"ping\",\"x\":\"\xC3\x28\"}", b"\xED\xA0\x80", b"{\"type\":\"\xF0\x9F"]
    {
        let mut peer = scene.peer();
        peer.send_text(payload);
        assert_eq!(peer.close_code(), Some(1007), "{payload:02X?}");
        scene.goes_on();
    }
    // In an unfinished message, at the octet that cannot be right.
    let mut peer = scene.peer();
    peer.send(&masked(TEXT, b"{\"type\":\"\xC0"));
    assert_eq!(peer.close_code(), Some(1007));
    scene.goes_on();
}

#[test]
fn unknown_types_and_wrong_fields_are_refused_with_the_id_they_came_with() {
    let mut scene = Scene::new();
    let mut peer = scene.peer();
    for (fields, code) in [
        (r#""type":"nonsense""#, "unknown_type"),
        (r#""type":"PING""#, "unknown_type"),
        (r#""type":"presence.join","room":"r""#, "unknown_type"),
        (r#""type":"auth","token":"t""#, "auth_unavailable"),
        (r#""type":"auth""#, "bad_request"),
        (r#""type":7"#, "bad_request"),
        (r#""type":null"#, "bad_request"),
        (r#""typ":"ping""#, "bad_request"),
        (r#""type":"write""#, "bad_request"),
        (r#""type":"write","ops":{}"#, "bad_request"),
        (r#""type":"write","ops":[],"ack":"forever""#, "bad_request"),
        (r#""type":"write","ops":[],"ack":1"#, "bad_request"),
        (r#""type":"read","map":"m""#, "bad_request"),
        (r#""type":"read","map":"m","keys":"k""#, "bad_request"),
        (r#""type":"read","map":"m","keys":[7]"#, "bad_request"),
        (r#""type":"read","map":"m","keys":[""]"#, "key_invalid"),
        (r#""type":"read","keys":["k"]"#, "bad_request"),
        (r#""type":"read","map":"","keys":["k"]"#, "key_invalid"),
        (r#""type":"subscribe","map":["m"]"#, "bad_request"),
        (r#""type":"subscribe","map":"m","keys":{}"#, "bad_request"),
        (r#""type":"subscribe","map":"m","prefix":7"#, "bad_request"),
        (r#""type":"subscribe","map":"m","snapshot":"yes""#, "bad_request"),
        (r#""type":"subscribe","map":"m","echo":1"#, "bad_request"),
        (r#""type":"subscribe","map":"m","since":"now""#, "bad_request"),
        (r#""type":"unsubscribe""#, "bad_request"),
        (r#""type":"digest","map":null"#, "bad_request"),
        (r#""type":"send","to":"u1","data":1"#, "bad_request"),
        (r#""type":"send","to":"user:","data":1"#, "key_invalid"),
        (r#""type":"send","to":"user:u1""#, "bad_request"),
        (r#""type":"send","to":"user:u1","data":1,"ttl_ms":-1"#, "value_invalid"),
        (r#""type":"send","to":"user:u1","data":1"#, "auth_required"),
        (r#""type":"direct.ack","through":"now""#, "value_invalid"),
        (r#""type":"block","user":7"#, "bad_request"),
        (r#""type":"unblock""#, "bad_request"),
    ] {
        peer.send_text(format!(r#"{{"id":"x",{fields}}}"#).as_bytes());
        let answer = peer.text();
        assert_eq!(error_code(&answer), code, "{fields}");
        assert!(answer.contains(r#""id":"x""#), "{answer}");
    }
    for id in ["true", "[]", "{}", &format!("\"{}\"", "x".repeat(65))] {
        peer.send_text(format!(r#"{{"type":"ping","id":{id}}}"#).as_bytes());
        let answer = peer.text();
        assert_eq!(error_code(&answer), "bad_request", "{id}");
        assert!(!answer.contains(r#""id""#), "{answer}");
    }
    scene.goes_on();
}

#[test]
fn huge_numbers_are_values_and_wrong_everywhere_else() {
    let mut scene = Scene::new();
    let mut peer = scene.peer();
    for number in ["1e308", "-1e308", "123456789012345678901234567890", "1e-400", "0.1e1"] {
        for (field, op) in [("by", "increment"), ("ttl_ms", "set")] {
            let op =
                format!(r#"{{"map":"n{op}","key":"k","op":"{op}","value":{number},"{field}":{number}}}"#);
            peer.send_text(format!(r#"{{"type":"write","ops":[{op}]}}"#).as_bytes());
            let answer = peer.text();
            let is_whole = ["0.1e1", "1e-400"].contains(&number);
            // 1e-400 is 0 to a double: no time to live, and an increment.
            let is_taken = is_whole && !(number == "1e-400" && field == "ttl_ms");
            assert_eq!(answer.contains(r#""applied":1"#), is_taken, "{op}: {answer}");
            assert_eq!(answer.contains(r#""code":"value_invalid""#), !is_taken, "{op}: {answer}");
        }
        peer.send_text(format!(r#"{{"type":"ping","id":{number}}}"#).as_bytes());
        assert!(peer.text().starts_with(r#"{"type":"pong","id":"#));
    }
    // Digits without end are one number, and it is out of range.
    peer.send_text(format!(r#"{{"type":"ping","x":{}}}"#, "9".repeat(100_000)).as_bytes());
    assert_eq!(error_code(&peer.text()), "value_invalid");
    scene.goes_on();
}

#[test]
fn frames_that_break_the_rules_close_with_their_code() {
    let mut scene = Scene::new();
    let huge = [&[0x81, 0xFF][..], &(1_u64 << 62).to_be_bytes(), &[0; 4]].concat();
    for (frame, code) in [
        (vec![0x81, 0x02, b'h', b'i'], 1002),
        (masked(0xC1, b"{}"), 1002),
        (masked(0x83, b"{}"), 1002),
        (masked(0x80, b"{}"), 1002),
        (masked(0x09, b""), 1002),
        (masked(0x89, &[0; 126]), 1002),
        (masked(0x88, &[3]), 1002),
        (masked(0x88, &1005_u16.to_be_bytes()), 1002),
        (masked(0x82, b"{}"), 1003),
        (masked(0x81, &vec![b' '; (1 << 20) + 1]), 1009),
        (huge, 1009),
    ] {
        let mut peer = scene.peer();
        peer.send(&frame);
        assert_eq!(peer.close_code(), Some(code), "{:02X?}", &frame[..frame.len().min(16)]);
        scene.goes_on();
    }
}

#[test]
fn a_frame_cut_off_anywhere_is_forgotten_with_its_peer() {
    let mut scene = Scene::new();
    let frame = masked(0x81, set("m", "k", 1).as_bytes());
    for cut in 1..frame.len() {
        let mut peer = scene.peer();
        peer.send(&frame[..cut]);
        drop(peer);
    }
    scene.goes_on();
    scene.server.await_metric("annulus_closes_total{code=\"1006\"}", (frame.len() - 1) as f64);
    assert_eq!(scene.server.metric("annulus_messages_received_total"), 2.0, "what the witness sent");
}

#[test]
fn random_octets_end_in_a_documented_close_or_are_waited_for() {
    let mut scene = Scene::new();
    let mut random = Random::seeded();
    for _ in 0..200 {
        let mut peer = scene.peer();
        let len = 1 + random.below(2_000);
        let octets: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        peer.send(&octets);
        peer.end();
        if let Some(code) = peer.close_code() {
            assert!([1000, 1002, 1003, 1007, 1009].contains(&code) || code >= 3000, "{code}");
        }
    }
    scene.goes_on();
}

#[test]
fn random_octets_in_right_frames_are_bad_json_or_bad_utf8() {
    let mut scene = Scene::new();
    let mut random = Random::seeded();
    for round in 0..200 {
        let mut peer = scene.peer();
        let len = random.below(300);
        // Every other one is ASCII, so that it gets as far as the parser.
        let octets: Vec<u8> = (0..len)
            .map(|_| if round % 2 == 0 { random.next() as u8 } else { 0x20 + random.below(95) as u8 })
            .collect();
        peer.send_text(&octets);
        match peer.frame().expect("an answer") {
            (TEXT, answer) => assert_eq!(error_code(std::str::from_utf8(&answer).unwrap()), "bad_json"),
            (raw::CLOSE, reason) => assert_eq!(reason[..2], 1007_u16.to_be_bytes()),
            other => panic!("{other:?}"),
        }
    }
    scene.goes_on();
}

// Right messages with one octet changed: never silence, never a dead server.
#[test]
fn damaged_requests_are_each_answered() {
    let mut scene = Scene::new();
    let mut random = Random::seeded();
    let requests = [
        r#"{"type":"write","id":1,"ops":[{"map":"m","key":"k","op":"set","value":{"a":[1,2.5,"x"]},"at":"1:0:c"}]}"#,
        r#"{"type":"write","id":1,"ops":[{"map":"o","key":"k","op":"add","value":"v","tag":"t"}]}"#,
        r#"{"type":"read","id":1,"map":"m","keys":["k","l"]}"#,
        r#"{"type":"subscribe","id":1,"map":"m","prefix":"k","echo":true}"#,
        r#"{"type":"digest","id":1,"map":"m"}"#,
    ];
    for _ in 0..400 {
        let request = requests[random.below(requests.len() as u64) as usize];
        let mut octets = request.as_bytes().to_vec();
        let place = random.below(octets.len() as u64) as usize;
        octets[place] = random.next() as u8;
        let mut peer = scene.peer();
        peer.send_text(&octets);
        match peer.frame().unwrap_or_else(|| panic!("no answer to {}", String::from_utf8_lossy(&octets))) {
            (TEXT, _) => {}
            (raw::CLOSE, reason) => assert_eq!(reason[..2], 1007_u16.to_be_bytes()),
            other => panic!("{other:?}"),
        }
    }
    scene.goes_on();
}

/// SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let seed = match std::env::var("ANNULUS_SEED") {
            Ok(seed) => seed.parse().expect("ANNULUS_SEED is a number"),
            Err(_) => getrandom::u64().unwrap(),
        };
        println!("ANNULUS_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

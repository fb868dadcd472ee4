//! What flags change: where the dialect is served, how much may be said, and where documents are kept.

use std::borrow::Cow;
use std::net::TcpStream;

use annulus::config::{DialectPath, Fsync};
use annulus::dialect::synckit;
use simd_json::prelude::*;

use crate::on_one_and_two_with;
use crate::peer::{MODES, Mode, Peer, json};
use crate::server::{Directory, TestServer, exchange, get, two_cores};

/// The first line of the answer to an upgrade at `path`.
fn upgrade(server: &TestServer, path: &str) -> String {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: close, Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    exchange(server.address, &request).lines().next().unwrap().to_owned()
}

#[test]
fn without_the_dialect_its_paths_are_not_found() {
    let server = TestServer::with(|config| config.dialects = vec![DialectPath::NATIVE]);
    assert_eq!(upgrade(&server, "/ws"), "HTTP/1.1 404 Not Found");
    for path in ["/ws", "/health"] {
        assert!(get(server.address, path).starts_with("HTTP/1.1 404 "), "{path}");
    }
}

#[test]
fn it_is_served_at_another_path_where_told_so() {
    let kit = DialectPath { path: Cow::Borrowed("/kit"), ..synckit::PATH };
    let server = TestServer::with(|config| config.dialects = vec![DialectPath::NATIVE, kit]);
    assert_eq!(upgrade(&server, "/ws"), "HTTP/1.1 404 Not Found");
    let stream = TcpStream::connect(server.address).unwrap();
    let (mut socket, response) = tungstenite::client("ws://test/kit", stream).unwrap();
    assert!(response.headers().get("sec-websocket-protocol").is_none());
    socket.send(tungstenite::Message::binary(crate::peer::frame(0x30, "{}"))).unwrap();
    assert_eq!(socket.read().unwrap().into_data()[0], 0x31);
}

#[test]
fn too_many_messages_are_dropped_and_pings_still_answered() {
    on_one_and_two_with(
        |config| config.messages_per_minute_max = 6,
        |server| {
            for (mode, document) in MODES.into_iter().zip(["binary", "text", "json"]) {
                let mut peer = Peer::speaking(server.address, mode);
                peer.subscribe(document);
                peer.set(document, "f", "1");
                peer.deltas(1);
                // Acks and pings count, too.
                peer.say("ack", r#""messageId":"m""#);
                peer.is_silent();
                peer.say("ack", r#""messageId":"m""#);
                peer.set(document, "f", "2");
                peer.deltas(1);
                for (kind, fields) in [
                    ("delta", r#""delta":{"f":3}"#),
                    ("sync_request", r#""id":"i""#),
                    ("ack", r#""messageId":"m""#),
                ] {
                    peer.say(kind, &format!(r#""documentId":"{document}",{fields}"#));
                    let expected = Some(json(r#"{"code":"RATE_LIMIT_EXCEEDED"}"#));
                    assert_eq!(peer.refused(), ("Too many messages. Please slow down.".to_owned(), expected));
                    peer.is_silent();
                }
                let mut other = Peer::connect(server.address);
                assert_eq!(
                    other.sync(document)["state"],
                    json(r#"{"f":2}"#),
                    "what was refused was not done"
                );
            }
        },
    );
}

#[test]
fn a_message_in_pieces_counts_as_many_messages_as_it_has_pieces() {
    on_one_and_two_with(
        |config| config.messages_per_minute_max = 1,
        |server| {
            let mut peer = Peer::connect(server.address);
            let message = crate::peer::frame(0x12, r#"{"id":"i","documentId":"d"}"#);
            let data = data_encoding::BASE64.encode(&message);
            peer.say(
                "delta_batch_chunk",
                &format!(r#""chunkId":"c","totalChunks":1,"chunkIndex":0,"data":"{data}""#),
            );
            assert_eq!(peer.body("sync_response")["requestId"], "i");
        },
    );
}

#[test]
fn documents_outlive_the_server_on_disk_and_acks_are_durable() {
    for shards in [1, 2] {
        let directory = Directory::new();
        let start = || {
            TestServer::on_disk(directory.path(), two_cores()[..shards].to_vec(), |storage| {
                storage.fsync = Fsync::Always;
            })
        };
        let server = start();
        let mut peer = Peer::speaking(server.address, Mode::Binary);
        peer.subscribe("kept");
        peer.write("kept", r#""delta":{"a":{"b":[null]},"n":null,"gone":1}"#);
        peer.set("kept", "gone", r#"{"__deleted":true}"#);
        let last = (0..4).map(|_| peer.delta().clock).max().unwrap();
        peer.batch("kept", r#"{"type":"text-state","state":"A","clientId":"ann","clock":{"ann":1}}"#);
        peer.batch("kept", r#"{"type":"text-state","state":"B","clientId":"bob","clock":{"bob":1}}"#);
        peer.batch(
            "kept",
            r#"{"type":"set","operation":"add","value":"x"},{"type":"set","operation":"add","value":"y"}"#,
        );
        peer.batch("kept", r#"{"type":"set","operation":"remove","value":"x"}"#);
        assert_eq!(server.metric("annulus_durable_acks_total"), 6.0);
        server.stop();
        drop(peer);

        let server = start();
        let mut peer = Peer::connect(server.address);
        let answer = peer.subscribe("kept");
        assert_eq!(answer["state"], json(r#"{"a":{"b":[null]},"n":null}"#));
        // Which of two shards' stamps in one millisecond is the newer one is open.
        assert!(["A", "B"].contains(&answer["textState"].as_str().unwrap()));
        assert_eq!(peer.deltas(3), [r#"a={"b":[null]}"#, r#"gone={"__deleted":true}"#, "n=null"]);
        let batches: Vec<_> = peer.rest().into_iter().map(|heard| heard.body["deltas"].clone()).collect();
        let [removed, first, second, added] = &*batches else { panic!("{batches:?}") };
        let mut states = [first, second].map(|texts| texts[0]["state"].as_str().unwrap());
        states.sort_unstable();
        assert_eq!(states, ["A", "B"]);
        let steps = [removed, added].map(|steps| (&steps[0]["operation"], &steps[0]["value"]));
        assert_eq!(steps, [(&"remove".into(), &"x".into()), (&"add".into(), &"y".into())]);
        for field in ["a", "gone", "new"] {
            peer.set("kept", field, "1");
            assert!(peer.delta().clock > last, "clocks go on growing after a restart");
        }
    }
}

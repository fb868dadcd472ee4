//! SyncKit's clients and native ones on the same maps.

use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::on_one_and_two;
use crate::peer::{Peer, json};

fn failed() -> (String, Option<simd_json::OwnedValue>) {
    (
        "Delta application failed".to_owned(),
        Some(json(
            r#"{"documentId":"other","code":"map_type","reason":"the map holds another type, fixed by its first write"}"#,
        )),
    )
}

#[test]
fn each_sees_what_the_other_writes_at_once() {
    on_one_and_two(|server| {
        let mut native = Client::connect(server.address);
        native.subscribe(r#""map":"shared""#);
        let mut peer = Peer::connect(server.address);
        peer.subscribe("shared");
        for value in ["1", "null", r#"{"a":[1,{"b":null}]}"#, r#""é""#, r#"{"__deleted":true,"x":1}"#] {
            native.write(&set("shared", "theirs", value));
            assert_eq!(peer.delta().value, json(value));
            peer.set("shared", "ours", value);
            assert_eq!(native.change("shared")[0]["value"], json(value));
            assert_eq!(peer.delta().field, "ours");
        }
        native.write(r#"{"map":"shared","key":"theirs","op":"delete"}"#);
        assert_eq!(peer.deltas(1), [r#"theirs={"__deleted":true}"#]);
        peer.set("shared", "ours", r#"{"__deleted":true}"#);
        let change = native.change("shared");
        assert_eq!((&change[0]["key"], &change[0]["deleted"]), (&"ours".into(), &true.into()));
        assert_eq!((native.digest("shared").0, peer.sync("shared")["state"].clone()), (0, json("{}")));

        // The one who deletes, and the one who writes to what was deleted.
        native.write(&set("shared", "ours", 2));
        peer.set("shared", "theirs", "2");
        assert_eq!(native.change("shared")[0]["value"], 2);
        assert_eq!(peer.sync("shared")["state"], json(r#"{"ours":2,"theirs":2}"#));
    });
}

#[test]
fn a_native_set_with_a_time_to_live_is_deleted_when_it_ends() {
    on_one_and_two(|server| {
        let mut native = Client::connect(server.address);
        let mut peer = Peer::connect(server.address);
        peer.subscribe("short");
        native.write(r#"{"map":"short","key":"f","op":"set","value":1,"ttl_ms":50}"#);
        assert_eq!(peer.deltas(1), ["f=1"]);
        assert_eq!(peer.deltas(1), [r#"f={"__deleted":true}"#]);
        assert_eq!(peer.sync("short")["state"], json("{}"));
    });
}

#[test]
fn maps_of_other_types_are_empty_documents_that_cannot_be_written() {
    on_one_and_two(|server| {
        let add = r#"{"map":"other","key":"f","op":"add","value":"x"}"#;
        let increment = r#"{"map":"other","key":"f","op":"increment","by":1}"#;
        for operation in [add, increment] {
            let server = crate::server::TestServer::on(
                crate::server::two_cores()[..if operation == add { 1 } else { 2 }].to_vec(),
                |_| {},
            );
            let mut native = Client::connect(server.address);
            native.write(operation);
            let mut peer = Peer::connect(server.address);
            assert_eq!(peer.subscribe("other")["state"], json("{}"));
            for field in ["f", "g"] {
                peer.say("delta", &format!(r#""id":"i","documentId":"other","delta":{{"{field}":1}}"#));
                assert_eq!(peer.refused(), failed());
                peer.say(
                    "delta",
                    &format!(r#""documentId":"other","delta":{{"{field}":{{"__deleted":true}}}}"#),
                );
                assert_eq!(peer.refused(), failed());
            }
            for operation in [
                r#"{"type":"text-state","state":"S","clientId":"c"}"#,
                r#"{"type":"set","operation":"add","value":1}"#,
                r#"{"type":"set","operation":"clear"}"#,
            ] {
                peer.say("delta_batch", &format!(r#""documentId":"other","deltas":[{operation}]"#));
                assert_eq!(peer.refused().0, "Delta batch application failed");
            }
            native.write(operation);
            native.read("other", "f").unwrap();
            assert_eq!(peer.sync("other")["state"], json("{}"));
            peer.is_silent();
        }
        let mut native = Client::connect(server.address);
        let mut peer = Peer::connect(server.address);
        peer.set("other", "f", "1");
        assert_eq!(native.rejected(add), "map_type");
        assert_eq!(native.rejected(increment), "map_type");
        assert_eq!(peer.deltas(1), ["f=1"]);
    });
}

#[test]
fn what_native_clients_write_under_reserved_names_breaks_no_frame() {
    on_one_and_two(|server| {
        let mut native = Client::connect(server.address);
        let mut peer = Peer::connect(server.address);
        peer.subscribe("odd");
        let keys = [
            "__synckit:text:c",
            "__synckit:text:",
            "__synckit:set:{",
            "__synckit:set:",
            r#"__synckit:set:1,\"x\":2"#,
            r#"__synckit:set:{\"a\":1}"#,
            "__synckit:set:1}]}",
            "__synckit:set:cleared",
            "__synckit:cleared",
        ];
        let values = ["7", "null", r#"{"type":7}"#, r#"{"type":"text-state","state":7}"#, "[]", r#""S""#];
        for key in keys {
            for value in values {
                native.write(&set("odd", key, value));
            }
            native.write(&format!(r#"{{"map":"odd","key":"{key}","op":"delete"}}"#));
            native.write(&set("odd", key, 1));
        }
        native.write(&set("odd", "__synckit:else", 1));
        native.write(&set("odd", "", 1).replace(r#""key":"""#, r#""key":"last""#));
        // Every frame on the way is read strictly.
        while peer.delta().field != "last" {}
        peer.rest();
        let mut joiner = Peer::connect(server.address);
        let answer = joiner.subscribe("odd");
        assert_eq!(answer["state"]["last"], 1);
        for heard in joiner.rest().iter().filter(|heard| heard.kind == "delta_batch") {
            let operations = heard.body["deltas"].as_array().unwrap();
            assert!(operations.iter().all(|operation| operation.is_object()), "{heard:?}");
        }
    });
}

//! Values that are JSON and that nothing here can hold: their operation is left out and told, the rest is applied.

use simd_json::prelude::*;

use crate::client::Client;
use crate::on_one_and_two;
use crate::peer::{MODES, Peer};

#[test]
fn an_operation_that_cannot_be_held_is_told_and_the_rest_of_its_message_applies() {
    on_one_and_two(|server| {
        for mode in MODES {
            for (index, (kind, fields, error, code, reason, field)) in [
                (
                    "delta_batch",
                    r#""deltas":[{"field":"a","value":"\"\n"},{"field":"b","value":"\ud83d"},{"field":"c","value":3}]"#,
                    "Delta batch application failed",
                    "value_invalid",
                    "half a surrogate pair is no text",
                    Some("b"),
                ),
                (
                    "delta_batch",
                    r#""deltas":[{"field":"a","value":"\"\n"},{"field":"b\udc00","value":2},{"field":"c","value":3}]"#,
                    "Delta batch application failed",
                    "key_invalid",
                    "half a surrogate pair is no text",
                    None,
                ),
                (
                    "delta_batch",
                    r#""deltas":[{"field":"a","value":"\"\n"},{"type":"counter","by":1e999},{"field":"c","value":3}]"#,
                    "Delta batch application failed",
                    "value_invalid",
                    "the number is beyond a double",
                    None,
                ),
                (
                    "delta",
                    r#""delta":{"a":"\"\n","b":[1e400],"c":3}"#,
                    "Delta application failed",
                    "value_invalid",
                    "the number is beyond a double",
                    Some("b"),
                ),
            ]
            .into_iter()
            .enumerate()
            {
                let document = format!("d-{index}-{mode:?}");
                let mut peer = Peer::speaking(server.address, mode);
                peer.say(kind, &format!(r#""documentId":"{document}","messageId":"m",{fields}"#));
                let (said, details) = peer.refused();
                let details = details.unwrap();
                assert_eq!(said, error, "{fields}");
                assert_eq!((details["code"].as_str(), details["reason"].as_str()), (Some(code), Some(reason)));
                assert_eq!(details.get_str("field"), field, "{details}");
                assert!(details["byte"].as_u64().unwrap() > 10 && details["documentId"] == document.as_str());
                let mut native = Client::connect(server.address);
                assert_eq!(native.read(&document, "a").unwrap()["value"], "\"\n", "{fields}");
                assert_eq!(native.read(&document, "c").unwrap()["value"], 3, "{fields}");
                assert!(native.read(&document, "b").is_none());
            }
        }
    });
}

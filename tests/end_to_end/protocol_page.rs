//! `docs/protocol.md` against the server: its conversations are held, and its tables leave nothing out.

use std::fs;
use std::path::Path;

use simd_json::OwnedValue as Value;
use simd_json::prelude::*;

use crate::client::Client;
use crate::server::TestServer;

/// Fields whose values are the same in every run.
const SAME_IN_EVERY_RUN: [&str; 18] = [
    "type",
    "id",
    "protocol",
    "auth",
    "code",
    "message",
    "level",
    "applied",
    "index",
    "map",
    "map_type",
    "more",
    "resumed",
    "reset",
    "channel",
    "offset",
    "recovered",
    "reason",
];

#[test]
fn every_conversation_of_the_page_goes_as_it_says() {
    let page = file("docs/protocol.md");
    let server = TestServer::start();
    let mut other = Client::connect(server.address);
    let mut client = Client::connect(server.address);
    let mut steps = 0;
    let mut blocks = page.split("```").skip(1).step_by(2);
    for line in blocks.by_ref().flat_map(str::lines).filter(|line| !line.is_empty()) {
        let (arrow, text) = line.split_once(' ').expect("an arrow and a message");
        match arrow {
            "→" => client.send(text),
            "⇒" => {
                other.send(text);
                let answer = other.receive();
                assert!(answer["type"] == "ack" || answer["type"] == "published", "{answer}");
            }
            "←" => {
                let expected =
                    simd_json::to_owned_value(&mut text.as_bytes().to_vec()).expect("the page has JSON");
                let mut received =
                    if expected["type"] == "hello" { client.hello.clone() } else { client.receive() };
                // How many chunks a snapshot has depends on which keys lie on which shard.
                while received.get("more") == Some(&Value::from(true)) {
                    received = client.receive();
                }
                assert_alike(&expected, &received, line);
            }
            _ => panic!("{line}"),
        }
        steps += 1;
    }
    assert!(steps > 25, "only {steps} steps were found");
}

/// The same fields in objects, the same kind of elements in lists, the same values where they cannot differ.
fn assert_alike(expected: &Value, received: &Value, line: &str) {
    match (expected, received) {
        (Value::Object(expected), Value::Object(received)) => {
            let names = |object: &simd_json::owned::Object| {
                let mut names: Vec<String> = object.keys().cloned().collect();
                names.sort_unstable();
                names
            };
            assert_eq!(names(expected), names(received), "{line}");
            for (name, value) in expected.iter() {
                if SAME_IN_EVERY_RUN.contains(&&name[..]) {
                    assert_eq!(value, &received[name], "{name} in {line}");
                } else if name != "value" {
                    assert_alike(value, &received[name], line);
                }
            }
        }
        (Value::Array(expected), Value::Array(received)) => {
            // Entries come in any order, and those of a snapshot are shortened on the page.
            for (expected, received) in expected.iter().zip(received.iter()) {
                let is_entry = expected.get("key").is_some();
                if !is_entry || expected.get("key") == received.get("key") {
                    assert_alike(expected, received, line);
                }
            }
        }
        (expected, received) => assert_eq!(expected.value_type(), received.value_type(), "{line}"),
    }
}

#[test]
fn every_code_the_server_knows_is_in_its_table() {
    let page = file("docs/protocol.md");
    let source = file("src/wire/reject.rs");
    let codes = quoted_after(&source, "pub const fn code", "=> \"");
    assert!(codes.len() > 10, "{codes:?}");
    for code in codes {
        assert!(page.contains(&format!("\n| `{code}` |")), "{code} is not in the table of errors");
    }
    let source = file("src/wire/close.rs");
    let closes: Vec<&str> = source
        .lines()
        .filter_map(|line| line.split_once("=> ")?.1.strip_suffix(','))
        .filter(|code| code.len() == 4 && code.bytes().all(|octet| octet.is_ascii_digit()))
        // Never on the wire.
        .filter(|code| !["1005", "1006"].contains(code))
        .collect();
    assert!(closes.len() > 10, "{closes:?}");
    for code in closes {
        assert!(page.contains(&format!("\n| {code} |")), "{code} is not in the table of close codes");
    }
}

#[test]
fn every_flag_the_page_names_exists() {
    let flags = file("docs/flags.md");
    let page = file("docs/protocol.md");
    for (place, _) in page.match_indices("`--") {
        let name: String =
            page[place + 1..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
        assert!(flags.contains(&format!("`{name}")), "{name} is no flag");
    }
}

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the file is there")
}

/// What stands in quotes behind `mark`, from `start` on, to the end of the function.
fn quoted_after<'a>(source: &'a str, start: &str, mark: &str) -> Vec<&'a str> {
    let body = source.split_once(start).expect("the function is there").1;
    let body = body.split_once("\n    }\n").expect("its end is there").0;
    body.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap_or_default()).collect()
}

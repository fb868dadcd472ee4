//! Every command that takes a caller, and every message of both dialects, tried with a right and without. The lists are held
//! against the sources, so that what is added has to be added here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use annulus::config::AuthMode;
use data_encoding::BASE64;

use crate::host::Host;

const RULES: &str = "[[rule]]\nallow = [\"all\"]\nmaps = [\"open\", \"open:**\", \"room:open\", \"channel:open\", \"user:open\"]";
const USER: &str = "{'sub':'u'}";
const FORBIDDEN: [&str; 2] = ["\"forbidden\"", "Permission denied"];

/// Type of the message or `op` of the operation, and the message, in which a map is called MAP.
const NATIVE: [(&str, &str); 18] = [
    ("join", r#"{"type":"join","id":1,"channel":"MAP"}"#),
    ("publish", r#"{"type":"publish","id":1,"channel":"MAP","data":1}"#),
    ("history", r#"{"type":"history","id":1,"channel":"MAP"}"#),
    ("read", r#"{"type":"read","id":1,"map":"MAP","keys":["k"]}"#),
    ("subscribe", r#"{"type":"subscribe","id":1,"map":"MAP"}"#),
    ("subscribe", r#"{"type":"subscribe","id":1,"map":"MAP","query":{}}"#),
    ("digest", r#"{"type":"digest","id":1,"map":"MAP"}"#),
    ("disconnect", r#"{"type":"disconnect","id":1,"user":"MAP"}"#),
    ("set", r#"{"type":"write","id":1,"ops":[{"op":"set","map":"MAP","key":"k","value":1}]}"#),
    ("delete", r#"{"type":"write","id":1,"ops":[{"op":"delete","map":"MAP","key":"k"}]}"#),
    ("add", r#"{"type":"write","id":1,"ops":[{"op":"add","map":"MAP:or","key":"k","value":1,"tag":"t"}]}"#),
    ("remove", r#"{"type":"write","id":1,"ops":[{"op":"remove","map":"MAP:or","key":"k","tags":["t"]}]}"#),
    ("increment", r#"{"type":"write","id":1,"ops":[{"op":"increment","map":"MAP:count","key":"k","by":1}]}"#),
    ("presence.join", r#"{"type":"presence.join","id":1,"room":"MAP","state":1}"#),
    ("presence.watch", r#"{"type":"presence.watch","id":1,"room":"MAP"}"#),
    ("presence.update", r#"{"type":"presence.update","id":1,"room":"MAP","state":1}"#),
    ("presence.list", r#"{"type":"presence.list","id":1,"room":"MAP"}"#),
    ("send", r#"{"type":"send","id":1,"to":"user:MAP","data":1}"#),
];
/// Those that ask for nothing, or are tried by their operations.
const NATIVE_FREE: [&str; 10] = [
    "write",
    "ping",
    "client_error",
    "unsubscribe",
    "auth",
    "leave",
    "direct.ack",
    "block",
    "unblock",
    "presence.leave",
];

const SYNCKIT: [(&str, &str); 9] = [
    ("Subscribe", r#"{"type":"subscribe","id":"i","timestamp":1,"documentId":"MAP"}"#),
    ("SyncRequest", r#"{"type":"sync_request","id":"i","timestamp":1,"documentId":"MAP"}"#),
    ("SyncStep1", r#"{"type":"sync_step1","id":"i","timestamp":1,"documentId":"MAP"}"#),
    ("Delta", r#"{"type":"delta","id":"i","timestamp":1,"documentId":"MAP","delta":{"a":1},"clientId":"c"}"#),
    (
        "DeltaBatch",
        r#"{"type":"delta_batch","id":"i","timestamp":1,"documentId":"MAP","deltas":[{"type":"counter","operation":"increment","value":3,"clientId":"c"}]}"#,
    ),
    (
        "Chunk",
        r#"{"type":"delta_batch_chunk","id":"i","timestamp":1,"chunkId":"c","totalChunks":1,"chunkIndex":0,"data":"DELTA"}"#,
    ),
    ("AwarenessSubscribe", r#"{"type":"awareness_subscribe","id":"i","timestamp":1,"documentId":"MAP"}"#),
    (
        "AwarenessUpdate",
        r#"{"type":"awareness_update","id":"i","timestamp":1,"documentId":"MAP","clientId":"c","state":{},"clock":1}"#,
    ),
    ("Unsubscribe", r#"{"type":"unsubscribe","id":"i","timestamp":1,"documentId":"MAP"}"#),
];
const SYNCKIT_FREE: [&str; 3] = ["Auth", "Ping", "Nothing"];

/// Commands, and the messages above that come to them; those without end something of the caller's own, or say what it has.
const COMMANDS: [(&str, &[&str]); 26] = [
    ("join_channel", &["join"]),
    ("publish_in_channel", &["publish"]),
    ("channel_history", &["history"]),
    ("leave_channel", &[]),
    ("subscribe_query", &["subscribe"]),
    ("unsubscribe_query", &[]),
    ("write", &["set", "delete", "add", "remove", "increment", "Delta", "Chunk"]),
    ("read", &["read"]),
    ("digest", &["digest"]),
    ("dismiss", &["disconnect"]),
    ("subscribe", &["subscribe", "Subscribe", "SyncRequest"]),
    ("publish", &["DeltaBatch"]),
    ("watch_presence", &["AwarenessSubscribe"]),
    ("set_presence", &["AwarenessUpdate"]),
    ("join_room", &["presence.join"]),
    ("watch_room", &["presence.watch"]),
    ("update_member", &["presence.update"]),
    ("list_room", &["presence.list"]),
    ("leave_room", &[]),
    ("send_direct", &["send"]),
    ("ack_directs", &[]),
    ("block_user", &[]),
    ("unsubscribe", &[]),
    ("unwatch_presence", &[]),
    ("watches_presence", &[]),
    ("told_through", &[]),
];

/// What a message in pieces is put together to.
fn delta(map: &str) -> String {
    let found = SYNCKIT.iter().find(|(name, _)| *name == "Delta");
    found.map(|(_, message)| message.replace("MAP", map)).unwrap()
}

fn source(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)).unwrap()
}

/// What stands between `before` and `after` in lines of a source, from the line that has `from` to the next that has `to`.
fn names(file: &str, (from, to): (&str, &str), (before, after): (&str, &str)) -> BTreeSet<String> {
    let text = source(file);
    let lines = text.lines().skip_while(|line| !line.contains(from)).skip(1);
    let lines = lines.take_while(|line| *line != to);
    let name = |line: &str| {
        let line = line.trim_start().strip_prefix(before).filter(|line| !line.starts_with("//"))?;
        line.split_once(after).map(|(name, _)| name.to_owned())
    };
    lines.filter_map(name).collect()
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn nothing_is_left_out() {
    let quoted = ("b\"", "\" =>");
    let mut types = names("dialect/native/message/request.rs", ("type is missing", "}"), quoted);
    types.extend(names("dialect/native/message/op.rs", ("b\"subtracted\"", "nowhere"), quoted));
    assert_eq!(types, set(NATIVE.map(|(name, _)| name).into_iter().chain(NATIVE_FREE)));
    let said = names("dialect/synckit/message.rs", ("pub enum Said", "}"), ("", ","));
    assert_eq!(said, set(SYNCKIT.map(|(name, _)| name).into_iter().chain(SYNCKIT_FREE)));
    let text = ["mod", "presence", "channels", "directs"]
        .map(|file| source(&format!("shard/commands/{file}.rs")))
        .concat();
    let commands = text.split("pub fn ").skip(1).filter(|function| {
        function.split(" {\n").next().is_some_and(|signature| signature.contains("caller: Caller"))
    });
    let commands: BTreeSet<String> =
        commands.map(|function| function.split(['<', '(']).next().unwrap().to_owned()).collect();
    assert_eq!(commands, set(COMMANDS.map(|(name, _)| name)));
    let tried = set(NATIVE.iter().chain(&SYNCKIT).map(|(name, _)| *name));
    assert!(COMMANDS.iter().flat_map(|(_, by)| *by).all(|message| tried.contains(*message)));
}

#[test]
fn each_message_needs_its_right() {
    for (path, messages) in [("/v1", &NATIVE[..]), ("/ws", &SYNCKIT[..])] {
        for (name, message) in messages {
            let mut host = Host::new(AuthMode::Required, RULES);
            for (map, is_allowed) in [("open", true), ("shut", false)] {
                let (id, _) = host.open_at(path, Some(USER));
                let text =
                    message.replace("MAP", map).replace("DELTA", &BASE64.encode(delta(map).as_bytes()));
                let answers = host.ask(id, &text).concat();
                let is_refused = FORBIDDEN.iter().any(|word| answers.contains(word));
                assert_eq!(is_refused, !is_allowed, "{name} of {map}: {answers}");
                assert!(name == &"Unsubscribe" || !answers.is_empty(), "{name} of {map} is answered");
            }
        }
    }
}

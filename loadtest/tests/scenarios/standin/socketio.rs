//! Socket.IO for the stand-in, by translation: what a client says becomes a message of protocol v1, and what the hub
//! answers becomes packets.

use simd_json::OwnedValue;
use simd_json::prelude::*;

/// Path of the upgrade.
pub const PATH: &str = "/socket.io/";

/// What the client said, as protocol v1 has it.
pub fn request(packet: &str) -> String {
    if packet == "40" {
        return r#"{"type":"connect","id":0}"#.to_owned();
    }
    let event = packet.strip_prefix("42").expect("the load sends events");
    let (id, arguments) = event.split_at(event.find('[').expect("an event has arguments"));
    let arguments: OwnedValue =
        simd_json::to_owned_value(&mut arguments.as_bytes().to_vec()).expect("the load sends JSON");
    let channel = || arguments[1].as_str().expect("it names a channel");
    match arguments[0].as_str() {
        Some("probe") => format!(r#"{{"type":"ping","id":{id}}}"#),
        Some("join") => format!(r#"{{"type":"join","id":{id},"channel":"{}"}}"#, channel()),
        Some("publish") => format!(
            r#"{{"type":"publish","id":{id},"channel":"{}","data":{}}}"#,
            channel(),
            arguments[2].encode()
        ),
        other => panic!("the load sends no {other:?}"),
    }
}

/// What the hub answers, as a packet.
pub fn answer(text: &str) -> String {
    let answer = simd_json::to_owned_value(&mut text.as_bytes().to_vec()).expect("the hub sends JSON");
    match (answer.get_str("type"), answer.get_u64("id")) {
        (Some("hello"), _) => r#"0{"sid":"x"}"#.to_owned(),
        (Some("connected"), _) => r#"40{"sid":"y"}"#.to_owned(),
        (Some("message"), _) => format!(r#"42["message",{text}]"#),
        (_, Some(id)) => format!("43{id}[{text}]"),
        _ => panic!("the hub answers Socket.IO no {text}"),
    }
}

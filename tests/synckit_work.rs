//! What SyncKit's clients cost a turn, in units of work: states of any size are made over turns, and what is put together from
//! pieces counts.
//!
//! Method: one shard without sockets (`synckit_frames/host.rs`), and the units of each of its turns. No time is measured.

#[allow(dead_code, reason = "shared with the tests of frames")]
#[path = "synckit_frames/host.rs"]
mod host;

use annulus::dialect::synckit::PATH;
use annulus::mesh::ConnectionId;
use annulus::shard::work;
use host::{Host, TEXT};

/// A turn goes over its bound by what it has begun: a chunk of a walk, a step of a state.
const OVER: u64 = 2 * work::CONNECTION_MAX;

fn say(host: &mut Host, id: ConnectionId, kind: &str, fields: &str) -> Vec<(u8, Vec<u8>)> {
    let message = format!(r#"{{"type":"{kind}","id":"i","timestamp":1,{fields}}}"#);
    host.send(id, TEXT, message.as_bytes())
}

/// A host with a document `d` of so many fields of so many bytes, and who has written it.
fn host_with_document(fields: usize, value_bytes: usize) -> (Host, ConnectionId) {
    let mut host = Host::at(PATH, "/ws");
    let writer = host.open();
    let value = "x".repeat(value_bytes);
    for n in 0..fields {
        say(&mut host, writer, "delta", &format!(r#""documentId":"d","field":"f{n}","value":"{value}""#));
    }
    say(&mut host, writer, "unsubscribe", r#""documentId":"d""#);
    host.work = Some(Vec::new());
    (host, writer)
}

/// The same, and who has asked for that document while it waits for changes of another.
fn host_with_reader_under_way() -> (Host, ConnectionId, ConnectionId) {
    let (mut host, writer) = host_with_document(100, 40_000);
    let reader = host.open();
    say(&mut host, reader, "subscribe", r#""documentId":"other""#);
    host.receive(reader, TEXT, br#"{"type":"subscribe","id":"r","timestamp":1,"documentId":"d"}"#);
    (host, writer, reader)
}

/// Units of all turns since this was asked last, and of the one with most.
fn spent(host: &mut Host) -> (u64, u64) {
    let work = host.work.replace(Vec::new()).unwrap_or_default();
    (work.iter().sum(), work.iter().copied().max().unwrap_or(0))
}

fn texts(frames: Vec<(u8, Vec<u8>)>) -> Vec<String> {
    frames.into_iter().map(|(_, payload)| String::from_utf8(payload).expect("JSON")).collect()
}

#[test]
fn a_state_of_megabytes_is_made_over_turns_and_once() {
    const FIELDS: usize = 100;
    const VALUE_BYTES: usize = 40_000;
    let (mut host, _) = host_with_document(FIELDS, VALUE_BYTES);
    let reader = host.open();
    spent(&mut host);
    let told = texts(say(&mut host, reader, "subscribe", r#""documentId":"d""#));
    assert_eq!(told.len(), 1 + FIELDS, "the state, and each field");
    assert!(told[0].starts_with(r#"{"type":"sync_response""#));
    let (all, most) = spent(&mut host);
    let walked = work::encoded(FIELDS * VALUE_BYTES) + work::copied(FIELDS * VALUE_BYTES);
    let made = 2 * work::encoded(FIELDS * VALUE_BYTES);
    assert!(all > walked + made, "what is made is counted: {all}");
    assert!(most <= work::TURN_MAX + OVER, "{most} units in one turn");
    // Another is sent the same bytes: they are collected, and not made again.
    let other = host.open();
    spent(&mut host);
    say(&mut host, other, "subscribe", r#""documentId":"d""#);
    let (all, _) = spent(&mut host);
    assert!(all < walked + made / 2, "{all}");
}

#[test]
fn a_document_of_many_small_fields_is_made_over_turns() {
    const FIELDS: usize = 60_000;
    let mut host = Host::at(PATH, "/ws");
    let (writer, reader) = (host.open(), host.open());
    for start in (0..FIELDS).step_by(5_000) {
        let fields: Vec<String> = (start..start + 5_000).map(|n| format!(r#""f{n}":1"#)).collect();
        let fields = fields.join(",");
        say(&mut host, writer, "delta", &format!(r#""documentId":"d","delta":{{{fields}}}"#));
    }
    host.work = Some(Vec::new());
    let told = say(&mut host, reader, "subscribe", r#""documentId":"d""#);
    assert_eq!(told.len(), 1 + FIELDS);
    let (_, most) = spent(&mut host);
    // A chunk of small cells is large by itself.
    assert!(most <= work::TURN_MAX + OVER + 4_096 * work::CELL, "{most} units in one turn");
}

#[test]
fn what_changes_while_a_state_is_made_is_told_after_it() {
    let (mut host, writer, reader) = host_with_reader_under_way();
    // While it is collected and made others write, to this document and to another.
    for n in 0..200 {
        let message = format!(
            r#"{{"type":"delta","id":"w","timestamp":1,"documentId":"{}","field":"f{}","value":{n}}}"#,
            ["d", "other"][n % 2],
            n / 20
        );
        host.receive(writer, TEXT, message.as_bytes());
    }
    host.finish();
    let told = texts(host.take_frames(reader));
    let state = told.iter().position(|text| {
        text.starts_with(r#"{"type":"sync_response""#) && text.contains(r#""requestId":"r""#)
    });
    let state = state.expect("it is answered");
    let of_document =
        |text: &&String| text.contains(r#""documentId":"d""#) && text.contains(r#""type":"delta""#);
    assert_eq!(told[..state].iter().filter(of_document).count(), 0, "no change comes before the state");
    // Whatever was told last of each field is what was written last.
    for field in 0..10 {
        let named = format!(r#""field":"f{field}","#);
        let last = told.iter().rev().find(|text| of_document(text) && text.contains(&named)).expect("told");
        let written = field * 20 + 18;
        assert!(last.ends_with(&format!(r#""value":{written}}}"#)), "f{field}: {}", &last[last.len() - 40..]);
    }
}

#[test]
fn who_leaves_while_its_state_is_made_hears_of_other_documents_again() {
    let (mut host, writer, reader) = host_with_reader_under_way();
    // Turns in which it has been collected, and is being made.
    for _ in 0..12 {
        host.receive(writer, TEXT, br#"{"type":"ping","id":"p","timestamp":1}"#);
    }
    host.receive(reader, TEXT, br#"{"type":"unsubscribe","id":"u","timestamp":1,"documentId":"d"}"#);
    host.finish();
    let told = texts(host.take_frames(reader));
    assert!(told.iter().any(|text| text.contains(r#""code":"cancelled""#)), "{:.200?}", told);
    say(&mut host, writer, "delta", r#""documentId":"other","field":"f","value":1"#);
    let told = texts(host.take_frames(reader));
    assert_eq!(told.len(), 1, "{told:?}");
    spent(&mut host);
    host.finish();
    assert_eq!(spent(&mut host).0, 0, "what nobody waits for is not made");
}

#[test]
fn texts_are_compared_over_turns() {
    const TEXTS: usize = 30;
    let mut host = Host::at(PATH, "/ws");
    let (writer, reader) = (host.open(), host.open());
    for client in 0..TEXTS {
        let id = format!(r#"{{\"client_id\":\"c{client}\",\"clock\":1,\"offset\":0}}"#);
        let text = "x".repeat(120_000);
        let block = format!(r#"[{id},{{\"id\":{id},\"text\":\"{text}\",\"deleted\":false}}]"#);
        let state = format!(r#"{{\"blocks\":[{block}]}}"#);
        let operation = format!(r#"{{"type":"text-state","clientId":"c{client}","state":"{state}"}}"#);
        say(&mut host, writer, "delta_batch", &format!(r#""documentId":"d","deltas":[{operation}]"#));
    }
    host.work = Some(Vec::new());
    let told = say(&mut host, reader, "subscribe", r#""documentId":"d""#);
    assert_eq!(told.len(), 1 + TEXTS);
    let (all, most) = spent(&mut host);
    assert!(all > 2 * work::decoded(TEXTS * 120_000), "what is compared is counted: {all}");
    assert!(most <= work::TURN_MAX + 2 * OVER, "{most} units in one turn");
}

/// Subscribers that one turn has no work for.
const MANY: usize = 8_000;

/// A host in which many subscribe to a document, and one more who writes to it.
fn host_with_many_readers() -> (Host, ConnectionId, Vec<ConnectionId>) {
    let mut host = Host::with(PATH, "/ws", |config| config.accepts_per_second_max = 0);
    let mut subscriber = || {
        let id = host.open();
        say(&mut host, id, "subscribe", r#""documentId":"d""#);
        id
    };
    let writer = subscriber();
    let readers = (0..MANY).map(|_| subscriber()).collect();
    host.work = Some(Vec::new());
    (host, writer, readers)
}

/// A message that the server passes on to all who subscribe, and that nobody keeps.
fn increment(host: &mut Host, id: ConnectionId, by: usize) {
    let operation = format!(r#"{{"type":"counter","operation":"increment","value":{by}}}"#);
    let message =
        format!(r#"{{"type":"delta_batch","id":"i","timestamp":1,"documentId":"d","deltas":[{operation}]}}"#);
    host.receive(id, TEXT, message.as_bytes());
}

/// By how much a client was told to increment.
fn increments(host: &mut Host, id: ConnectionId) -> Vec<usize> {
    let told = texts(host.take_frames(id));
    let by = |text: &String| {
        let (_, value) = text.split_once(r#""operation":"increment""#)?.1.split_once(r#""value":"#)?;
        value.split(|other: char| !other.is_ascii_digit()).next()?.parse().ok()
    };
    told.iter().filter_map(by).collect()
}

#[test]
fn messages_to_thousands_are_sent_over_turns_in_order() {
    const MESSAGES: usize = 5;
    let (mut host, writer, readers) = host_with_many_readers();
    for by in 1..=MESSAGES {
        increment(&mut host, writer, by);
        let told = host.metrics();
        let under_way = told.publishes * MANY as u64 - told.publish_deliveries;
        assert!(
            under_way <= MANY as u64,
            "the sender waits until all have been sent its message: {under_way}"
        );
        assert!(told.waiting_request_bytes < 16 * MANY as u64);
    }
    host.finish();
    let (all, most) = spent(&mut host);
    assert!(all > MESSAGES as u64 * MANY as u64 * work::RECEIVER, "each receiver is counted: {all}");
    assert!(most <= work::TURN_MAX + OVER, "{most} units in one turn");
    assert_eq!(host.metrics().waiting_request_bytes, 0);
    let expected: Vec<usize> = (1..=MESSAGES).collect();
    for id in readers {
        assert_eq!(increments(&mut host, id), expected);
    }
}

/// Goal: whoever comes and goes while a message is under way, those who stay are sent it once. Method: one goes that was sent
/// it, and one that was not, another comes, and then the sender is gone.
#[test]
fn a_message_under_way_reaches_who_stays_once() {
    let (mut host, writer, readers) = host_with_many_readers();
    increment(&mut host, writer, 1);
    let unsubscribe = br#"{"type":"unsubscribe","id":"u","timestamp":1,"documentId":"d"}"#;
    let leavers = [readers[0], readers[MANY / 2]];
    leavers.iter().for_each(|&id| host.receive(id, TEXT, unsubscribe));
    let newcomer = host.open();
    host.drop(writer);
    let told: Vec<usize> = leavers.iter().map(|&id| increments(&mut host, id).len()).collect();
    assert_eq!(told, [1, 0]);
    for id in readers.into_iter().filter(|id| !leavers.contains(id)) {
        assert_eq!(increments(&mut host, id), [1]);
    }
    assert!(increments(&mut host, newcomer).is_empty());
    assert_eq!(host.metrics().waiting_request_bytes, 0);
}

/// A piece of a message, with so many bytes of base64.
fn piece(name: &str, count: usize, index: usize, base64: &str) -> String {
    format!(r#""chunkId":"{name}","totalChunks":{count},"chunkIndex":{index},"data":"{base64}""#)
}

#[test]
fn a_message_that_its_last_piece_completes_counts_whole() {
    let mut host = Host::at(PATH, "/ws");
    let id = host.open();
    let base64 = "eHh4".repeat(400_000);
    // JSON in a binary message: it begins with a brace, and what follows is no JSON. It is read all the same.
    say(&mut host, id, "delta_batch_chunk", &piece("m", 3, 1, &base64));
    say(&mut host, id, "delta_batch_chunk", &piece("m", 3, 0, "e30K"));
    host.work = Some(Vec::new());
    let told = texts(say(&mut host, id, "delta_batch_chunk", &piece("m", 3, 2, "")));
    assert!(told[0].contains("Invalid message format"), "{told:?}");
    let (all, _) = spent(&mut host);
    assert!(all > work::decoded(1_200_000), "{all}");
}

//! What one shard keeps for SyncKit's clients, in bytes: whatever they send, and however little they read.
//!
//! Method: one shard without sockets (`synckit_frames/host.rs`), and an allocator that counts what this thread has.

#[allow(dead_code, reason = "bytes are counted here")]
mod counting_allocator;
#[allow(dead_code, reason = "shared with the tests of frames")]
#[path = "synckit_frames/host.rs"]
mod host;

use annulus::config::Config;
use annulus::dialect::synckit::PATH;
use annulus::mesh::ConnectionId;
use counting_allocator::bytes;
use host::{Host, TEXT};

/// Bytes of a document's name.
const NAME_BYTES: usize = 200;

/// Bytes that a document takes beside copies of its name, at most.
const DOCUMENT_BYTES: usize = 900;

/// A shard whose answers are not kept here, and a connection.
fn host(change: impl FnOnce(&mut Config)) -> (Host, ConnectionId) {
    let mut host = Host::with(PATH, "/ws", change);
    let id = host.open();
    host.keeps = false;
    (host, id)
}

fn say(host: &mut Host, id: ConnectionId, kind: &str, fields: &str) {
    let message = format!(r#"{{"type":"{kind}","id":"i","timestamp":1,{fields}}}"#);
    host.send(id, TEXT, message.as_bytes());
}

/// Says each of these to documents of long names; how many bytes are kept afterwards.
fn kept_of(documents: usize, messages: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> usize {
    let (mut host, id) = host(change);
    let before = bytes();
    for n in 0..documents {
        for (kind, fields) in messages {
            say(&mut host, id, kind, &format!(r#""documentId":"{n:0>NAME_BYTES$}"{fields}"#));
        }
    }
    (bytes() - before) as usize
}

const WRITE: (&str, &str) = ("delta", r#","field":"f","value":1"#);

#[test]
fn what_names_of_documents_take_has_a_bound() {
    const BYTES_MAX: usize = 1 << 20;
    for kind in ["subscribe", "sync_request", "awareness_subscribe"] {
        let kept = kept_of(10_000, &[(kind, "")], |config| config.synckit_subscription_bytes_max = BYTES_MAX);
        assert!(kept <= BYTES_MAX + (256 << 10), "{kind}: {kept}");
    }
    // The same by default, for ten thousand names of any length.
    let kept = kept_of(10_000, &[("subscribe", "")], |_| {});
    assert!(kept <= Config::default().synckit_subscription_bytes_max, "{kept}");
}

#[test]
fn a_write_to_one_document_too_many_is_refused_before_it_is_kept() {
    let limited = |config: &mut Config| config.subscriptions_max = 100;
    let [few, many] = [100, 5_000].map(|documents| kept_of(documents, &[WRITE], limited));
    assert!(many <= few + few / 4, "{few} became {many}");
    let left = kept_of(5_000, &[("subscribe", ""), ("unsubscribe", "")], limited);
    assert!(left <= few, "who leaves may come again: {left}");
}

/// Says where a client is, in as many documents, each state of so many bytes.
fn show(host: &mut Host, id: ConnectionId, documents: usize, state_bytes: usize) {
    let state = "x".repeat(state_bytes);
    for n in 0..documents {
        let fields = format!(r#""documentId":"{n}","clientId":"c{n}","state":"{state}","clock":1"#);
        say(host, id, "awareness_update", &fields);
    }
}

#[test]
fn what_a_connection_shows_of_itself_has_a_bound() {
    const BYTES_MAX: usize = 512 << 10;
    assert_eq!(Config::default().synckit_awareness_bytes_max, BYTES_MAX);
    let mut host = Host::new();
    let [id, other] = [host.open(), host.open()];
    host.keeps = false;
    let before = bytes();
    // 60 MiB of states, and what the documents take by themselves.
    show(&mut host, id, 1_000, 60 << 10);
    let kept = (bytes() - before) as usize;
    assert!(kept <= BYTES_MAX + 1_000 * 1_500, "{kept}");
    // Another connection has room of its own.
    show(&mut host, other, 1_000, 60 << 10);
    assert!((bytes() - before) as usize <= 2 * (BYTES_MAX + 1_000 * 1_500));
    // The last says nothing more, and nothing is left of it.
    for id in [id, other] {
        host.drop(id);
    }
    let left = (bytes() - before) as usize;
    assert!(left <= 512 << 10, "{left}");
}

/// A host with a document of this many fields, each of 100 000 bytes.
fn host_with_document(fields: usize) -> Host {
    let mut host = Host::new();
    let writer = host.open();
    for n in 0..fields {
        write(&mut host, writer, n, "x");
    }
    host.take_frames(writer);
    say(&mut host, writer, "unsubscribe", r#""documentId":"large""#);
    host
}

fn write(host: &mut Host, writer: ConnectionId, field: usize, fill: &str) {
    let value = fill.repeat(100_000);
    say(host, writer, "delta", &format!(r#""documentId":"large","field":"f{field}","value":"{value}""#));
}

fn asks(host: &mut Host, id: ConnectionId) {
    say(host, id, "subscribe", r#""documentId":"large""#);
}

/// How many states the connection has been sent.
fn answers(host: &mut Host, id: ConnectionId) -> usize {
    let is_state = |payload: &[u8]| payload.starts_with(br#"{"type":"sync_response""#);
    host.take_frames(id).iter().filter(|(_, payload)| is_state(payload)).count()
}

#[test]
fn one_state_lies_in_the_outboxes_of_all_who_are_sent_it() {
    let mut host = host_with_document(50);
    let readers: Vec<ConnectionId> = (0..150).map(|_| host.open()).collect();
    host.is_stalled = true;
    let before = bytes();
    readers.iter().for_each(|&id| asks(&mut host, id));
    let kept = (bytes() - before) as usize;
    // Of 5 MB, once whole and once field by field.
    assert!(kept < 15 << 20, "{kept}");
    host.go_on();
    for &id in &readers {
        assert_eq!(answers(&mut host, id), 1);
    }
    // It is kept for a while for who asks next.
    let left = (bytes() - before) as usize;
    assert!(left < 12 << 20, "{left}");
}

#[test]
fn however_many_versions_are_asked_for_few_are_kept_and_all_are_answered() {
    let mut host = host_with_document(50);
    // Nobody is sent so much of what others write that it is not read any more.
    let [readers, writers] = [(); 2].map(|()| (0..40).map(|_| host.open()).collect::<Vec<_>>());
    host.is_stalled = true;
    let before = bytes();
    for (n, (&reader, &writer)) in readers.iter().zip(&writers).enumerate() {
        asks(&mut host, reader);
        // 10 MB for each, if each had its own.
        write(&mut host, writer, n, "y");
    }
    let kept = (bytes() - before) as usize;
    assert!(kept < 128 << 20, "{kept}");
    host.go_on();
    for &id in &readers {
        assert_eq!(answers(&mut host, id), 1);
    }
    // What the writers were sent lies in this test.
    writers.iter().for_each(|&id| drop(host.take_frames(id)));
    let left = (bytes() - before) as usize;
    assert!(left < 32 << 20, "{left}");
}

#[test]
fn who_does_not_read_its_state_while_others_wait_must_go() {
    let mut host = host_with_document(50);
    let other = host.open();
    let [readers, writers] = [(); 2].map(|()| (0..12).map(|_| host.open()).collect::<Vec<_>>());
    host.is_stalled = true;
    for (n, (&reader, &writer)) in readers.iter().zip(&writers).enumerate() {
        asks(&mut host, reader);
        write(&mut host, writer, n, "y");
    }
    host.is_stalled = false;
    let last = *readers.last().expect("some");
    assert_eq!(answers(&mut host, last), 0, "it waits in line");
    host.pass(29_000);
    say(&mut host, other, "ping", r#""n":1"#);
    assert_eq!(answers(&mut host, last), 0);
    host.pass(2_000);
    for _ in 0..10 {
        say(&mut host, other, "ping", r#""n":2"#);
    }
    assert_eq!(answers(&mut host, last), 1, "who was slow has gone");
}

#[test]
fn half_of_a_message_is_forgotten_after_a_while_though_its_client_is_silent() {
    let mut host = Host::new();
    let [id, other] = [host.open(), host.open()];
    host.keeps = false;
    say(&mut host, other, "ping", r#""n":1"#);
    let before = bytes();
    let data = "AAAA".repeat(450_000);
    say(
        &mut host,
        id,
        "delta_batch_chunk",
        &format!(r#""chunkId":"c","totalChunks":2,"chunkIndex":0,"data":"{data}""#),
    );
    drop(data);
    assert!(bytes() - before > 1_000_000);
    host.pass(31_000);
    say(&mut host, other, "ping", r#""n":2"#);
    let left = bytes() - before;
    assert!(left < 100_000, "{left}");
}

#[test]
fn what_all_connections_have_in_pieces_has_one_bound() {
    const BYTES_MAX: usize = 16 << 20;
    let mut host = Host::new();
    let (honest, other) = (host.open(), host.open());
    let floods: Vec<ConnectionId> = (0..50).map(|_| host.open()).collect();
    let piece = |count: usize, index: usize, base64: &str| {
        format!(r#""chunkId":"c","totalChunks":{count},"chunkIndex":{index},"data":"{base64}""#)
    };
    say(&mut host, other, "ping", r#""n":1"#);
    let before = bytes();
    // {"type":"ping","id":"i","timestamp":1}
    let ping = "eyJ0eXBlIjoicGluZyIsImlkIjoiaSIsInRpbWVzdGFtcCI6MX0=";
    say(&mut host, honest, "delta_batch_chunk", &piece(2, 0, ping));
    let base64 = "AAAA".repeat(150_000);
    for index in 0..4 {
        for &id in &floods {
            say(&mut host, id, "delta_batch_chunk", &piece(1_000, index, &base64));
        }
    }
    // 90 MB in all.
    let kept = (bytes() - before) as usize;
    assert!(kept < BYTES_MAX + (2 << 20), "{kept}");
    let counted = host.metrics().session_bytes as usize;
    assert!(counted.abs_diff(kept) < 4 << 20, "{counted} are in the account, {kept} are kept");
    let told = |host: &mut Host, id| {
        let frames = host.take_frames(id).into_iter();
        frames.map(|(_, payload)| String::from_utf8(payload).expect("JSON")).collect::<Vec<_>>()
    };
    let dropped = floods.iter().flat_map(|&id| told(&mut host, id)).collect::<Vec<_>>();
    assert!(!dropped.is_empty() && dropped.iter().all(|text| text.contains(r#""code":"overloaded""#)));
    assert!(told(&mut host, honest).is_empty(), "who holds little loses nothing");
    let rest = format!(r#"{{"type":"delta_batch_chunk","id":"i","timestamp":1,{}}}"#, piece(2, 1, ""));
    let answer = host.send(honest, TEXT, rest.as_bytes()).remove(0).1;
    assert!(answer.starts_with(br#"{"type":"pong""#), "its message is whole");
    for id in floods {
        host.drop(id);
    }
    let left = bytes() - before;
    assert!(left < 1 << 20, "{left}");
    assert!(host.metrics().session_bytes < 10_000);
}

#[test]
fn a_piece_that_is_refused_costs_nobody_its_messages() {
    const VICTIMS: usize = 9;
    let mut host = Host::new();
    let victims: Vec<ConnectionId> = (0..VICTIMS).map(|_| host.open()).collect();
    let piece = |name: &str, count: usize, index: usize, base64: &str| {
        let of = format!(r#""chunkId":"{name}","totalChunks":{count},"chunkIndex":{index}"#);
        format!(r#"{{"type":"delta_batch_chunk","id":"i","timestamp":1,{of},"data":"{base64}"}}"#)
    };
    let send = |host: &mut Host, id, piece: &str| host.send(id, TEXT, piece.as_bytes());
    // 16 MB of the 16 MiB that there are.
    let base64 = "AAAA".repeat(300_000);
    for &id in &victims {
        (0..2).for_each(|index| assert!(send(&mut host, id, &piece("c", 3, index, &base64)).is_empty()));
    }
    for (names, refused) in
        [(&["a"][..], piece("a", 3, 1, &base64)), (&["a", "b", "c", "d"], piece("e", 2, 0, &base64))]
    {
        let id = host.open();
        names.iter().for_each(|name| assert!(send(&mut host, id, &piece(name, 2, 0, "")).is_empty()));
        let told = send(&mut host, id, &refused).remove(0).1;
        assert!(String::from_utf8_lossy(&told).contains("Invalid message format"));
        host.drop(id);
        assert!(victims.iter().all(|&id| host.take_frames(id).is_empty()), "{names:?}");
    }
}

#[test]
fn messages_in_pieces_that_come_and_go_leave_nothing_behind() {
    let (mut host, id) = host(|_| {});
    let piece = |index: usize| format!(r#""chunkId":"c","totalChunks":2,"chunkIndex":{index},"data":"""#);
    let complete = |host: &mut Host| {
        (0..2).for_each(|index| say(host, id, "delta_batch_chunk", &piece(index)));
    };
    (0..100).for_each(|_| complete(&mut host));
    let before = bytes();
    (0..10_000).for_each(|_| complete(&mut host));
    let left = bytes() - before;
    assert!(left < 16 << 10, "{left}");
}

#[test]
fn a_document_takes_little_beside_its_name() {
    let kept = kept_of(5_000, &[("subscribe", "")], |_| {});
    assert!(kept < 5_000 * (DOCUMENT_BYTES + 3 * NAME_BYTES), "{} bytes each", kept / 5_000);
}

#[test]
fn what_is_remembered_of_connections_is_in_the_account() {
    let (mut host, id) = host(|_| {});
    assert_eq!(host.metrics().session_bytes, 0, "who says nothing has no session");
    say(&mut host, id, "ping", r#""n":1"#);
    let idle = host.metrics().session_bytes;
    for n in 0..100 {
        say(&mut host, id, "subscribe", &format!(r#""documentId":"{n:0>NAME_BYTES$}""#));
    }
    let counted = host.metrics().session_bytes - idle;
    assert!((150_000..300_000).contains(&counted), "{counted}");
    for n in 0..100 {
        say(&mut host, id, "unsubscribe", &format!(r#""documentId":"{n:0>NAME_BYTES$}""#));
    }
    assert_eq!(host.metrics().session_bytes, idle);
    host.drop(id);
    assert_eq!(host.metrics().session_bytes, 0);
}

/// Goal: what an answer frees is in the account no longer, though its connection takes and says nothing more. Method: a request
/// with a short and one with a long id wait for a state that takes turns to make.
#[test]
fn a_request_that_was_answered_is_counted_no_longer() {
    let mut host = host_with_document(50);
    let writer = host.open();
    let [short, long] = [2, 200].map(|id_bytes| {
        let id = host.open();
        write(&mut host, writer, 0, &"y".repeat(id_bytes));
        let before = host.metrics().session_bytes;
        host.is_stalled = true;
        let request_id = "i".repeat(id_bytes);
        let fields = r#""timestamp":1,"documentId":"large""#;
        let message = format!(r#"{{"type":"subscribe","id":"{request_id}",{fields}}}"#);
        host.send(id, TEXT, message.as_bytes());
        let counted = host.metrics().session_bytes - before;
        host.go_on();
        assert_eq!(answers(&mut host, id), 1);
        counted
    });
    assert_eq!(short, long);
}

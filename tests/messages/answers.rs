//! A golden line for each answer and event, and that each parses back to what was put in.

use annulus::crdt::{MapType, Time};
use annulus::dialect::native::encode::*;
use annulus::dialect::native::message::RequestId;
use annulus::mesh::{
    Crowd, Gathered, History, Message, MessageId, NotSent, People, Person, Recovery, Said, Sent, pack_name,
};
use annulus::shard::AckLevel;
use annulus::shard::{ChannelMessage, DirectAudience, DirectEvent, DirectMessage, SnapshotEnd};
use annulus::wire::json::{Fault, What};
use annulus::wire::{Cursor, Reject, Scope, Ticket};
use simd_json::OwnedValue;
use simd_json::prelude::*;

use super::stamp;

const CURSOR: Cursor = Cursor { epoch: 0x0123_4567_89ab_cdef, time: Time::new(1, 2), scope: Scope::UNKNOWN };
const CURSOR_TEXT: &str = "0123456789abcdef.65538.0000000000000000";

/// What `write` appends, which must be `golden`, be JSON, and leave what was there before.
#[track_caller]
fn expect(golden: &str, write: impl FnOnce(&mut Vec<u8>)) -> OwnedValue {
    let mut out = b"[".to_vec();
    write(&mut out);
    assert_eq!(out.remove(0), b'[');
    assert_eq!(String::from_utf8_lossy(&out), golden);
    simd_json::to_owned_value(&mut out).unwrap()
}

fn id(text: &str) -> Ticket {
    RequestId::Text(text).to_ticket()
}

#[test]
fn pong_tells_the_time() {
    let at = stamp("1700000000000:3:n-1");
    expect(r#"{"type":"pong","time":"1700000000000:3:n-1"}"#, |out| {
        annulus::dialect::native::encode::pong(out, None, &at)
    });
    let parsed = expect(r#"{"type":"pong","id":"a\"","time":"1700000000000:3:n-1"}"#, |out| {
        annulus::dialect::native::encode::pong(out, Some(&id("a\"")), &at)
    });
    assert_eq!(parsed["id"], "a\"");
}

#[test]
fn hello_names_the_rules() {
    let at = stamp("1:0:n");
    let greeting = Hello {
        protocol: 1,
        connection: "0-7-1",
        node: "n\"",
        time: &at,
        auth: "none",
        acks: &["none", "memory"],
        heartbeat_ms: 20_000,
        tombstone_retention_ms: 60_000,
        strict: false,
        features: &["presence", "channels"],
        limits: Limits { message_bytes: 1_048_576, subscriptions: 1_000 },
    };
    expect(
        r#"{"type":"hello","protocol":1,"connection":"0-7-1","node":"n\"","time":"1:0:n","auth":"none","acks":["none","memory"],"heartbeat_ms":20000,"tombstone_retention_ms":60000,"features":["presence","channels"],"limits":{"message_bytes":1048576,"subscriptions":1000}}"#,
        |out| hello(out, &greeting),
    );
}

#[test]
fn entries_of_every_map_type() {
    let at = stamp("5:65535:z");
    expect(r#"{"key":"a\\\u0001é","value":{"b":[1,null]},"at":"5:65535:z"}"#, |out| {
        entry_lww(out, "a\\\u{1}é", &at, Some(br#"{"b":[1,null]}"#), 0)
    });
    expect(r#"{"key":"k","deleted":true,"at":"5:65535:z"}"#, |out| entry_lww(out, "k", &at, None, 0));

    expect(r#"{"key":"k","value":1,"at":"5:65535:z","expires_at":1700000000000}"#, |out| {
        entry_lww(out, "k", &at, Some(b"1"), 1_700_000_000_000)
    });

    let later = stamp("6:0:z");
    let values: [(&str, &[u8], _); 2] = [("t\"", b"1", at), ("u", b"[]", later)];
    expect(
        r#"{"key":"k","values":[{"tag":"t\"","value":1,"at":"5:65535:z"},{"tag":"u","value":[],"at":"6:0:z"}],"removed":["v","\n"]}"#,
        |out| entry_or(out, "k", values.into_iter(), ["v", "\n"].into_iter()),
    );
    expect(r#"{"key":"k","values":[],"removed":[]}"#, |out| {
        entry_or(out, "k", std::iter::empty(), std::iter::empty())
    });

    expect(r#"{"key":"k","count":-9223372036854775808}"#, |out| entry_counter(out, "k", i64::MIN));
    expect(r#"{"key":"k","count":0}"#, |out| entry_counter(out, "k", 0_i128));
}

#[test]
fn direct_messages_say_whom_they_are_from_and_whether_they_have_waited() {
    let of_user = Some(MessageId { epoch: 0x0f, offset: 42 });
    let message = |id, audience, is_queued| DirectMessage {
        id,
        audience,
        from: "u\"1",
        data: br#"{"text":"x"}"#,
        time_ms: 1_700_000_000_123,
        is_queued,
    };
    let rest = r#""from":"u\"1","data":{"text":"x"},"time":1700000000123"#;
    for (audience, id, is_queued, golden) in [
        (
            DirectAudience::User,
            of_user,
            true,
            format!(r#""message":"000000000000000f-42",{rest},"queued":true"#),
        ),
        (DirectAudience::All, None, false, format!(r#""to":"all",{rest},"queued":false"#)),
        (DirectAudience::Role("a\"b"), None, false, format!(r#""to":"role:a\"b",{rest},"queued":false"#)),
    ] {
        let golden = format!(r#"{{"type":"direct",{golden}}}"#);
        expect(&golden, |out| direct(out, message(id, audience, is_queued)));
    }
}

#[test]
fn what_becomes_of_a_direct_message_is_told_with_its_name_or_a_reason() {
    let id = MessageId { epoch: u64::MAX, offset: 7 };
    let (delivered, queued) = (Sent::Delivered { id }, Sent::Queued { id });
    let sent = |sent, count, timeout| DirectEvent::Sent { sent, count, timeout };
    let named = r#""id":8,"message":"ffffffffffffffff-7""#;
    for (event, golden) in [
        (sent(delivered, None, false), format!(r#"{{"type":"sent",{named},"status":"delivered"}}"#)),
        (sent(queued, None, true), format!(r#"{{"type":"sent",{named},"status":"queued","timeout":true}}"#)),
        (
            sent(delivered, Some(3), false),
            r#"{"type":"sent","id":8,"status":"delivered","count":3}"#.to_owned(),
        ),
        (
            sent(Sent::Refused(NotSent::QueueFull), None, false),
            r#"{"type":"sent","id":8,"status":"refused","reason":"queue_full"}"#.to_owned(),
        ),
        (
            DirectEvent::Acked { through: id },
            r#"{"type":"direct.acked","id":8,"through":"ffffffffffffffff-7"}"#.to_owned(),
        ),
        (
            DirectEvent::Blocked { user: "é\n", is_blocked: true },
            r#"{"type":"blocked","id":8,"user":"é\n"}"#.to_owned(),
        ),
        (
            DirectEvent::Blocked { user: "u", is_blocked: false },
            r#"{"type":"unblocked","id":8,"user":"u"}"#.to_owned(),
        ),
    ] {
        expect(&golden, |out| direct_event(out, Some(&Ticket::new(&[b"8"])), event));
    }
    expect(r#"{"type":"queue.dropped","count":3}"#, |out| {
        direct_event(out, None, DirectEvent::Dropped { count: 3 });
    });
}

#[test]
fn change_carries_entries_and_a_cursor() {
    let at = stamp("1:0:n");
    let mut golden = r#"{"type":"change","map":"m\"","entries":["#.to_owned();
    golden += r#"{"key":"[","value":"[","at":"1:0:n"},{"key":"b","deleted":true,"at":"1:0:n"},{"key":"c","count":1}"#;
    golden += &format!(r#"],"cursor":"{CURSOR_TEXT}"}}"#);
    let parsed = expect(&golden, |out| {
        change_start(out, "m\"");
        separate_entries(out);
        entry_lww(out, "[", &at, Some(b"\"[\""), 0);
        separate_entries(out);
        entry_lww(out, "b", &at, None, 0);
        separate_entries(out);
        entry_counter(out, "c", 1);
        change_end(out, CURSOR);
    });
    assert_eq!(parsed["entries"].as_array().unwrap().len(), 3);
    assert_eq!(Cursor::parse(parsed["cursor"].as_str().unwrap()), Some(CURSOR));
}

#[test]
fn snapshot_ends_with_more_or_with_a_cursor() {
    expect(r#"{"type":"snapshot","id":"i","map":"m","map_type":"or","entries":[],"more":true}"#, |out| {
        snapshot_start(out, Some(&id("i")), "m", Some(MapType::Or));
        snapshot_end(out, SnapshotEnd::More);
    });
    for (resumed, reset) in [(false, false), (true, false), (false, true)] {
        let golden = format!(
            r#"{{"type":"snapshot","map":"m","entries":[{{"key":"k","count":2}}],"more":false,"cursor":"{CURSOR_TEXT}","resumed":{resumed},"reset":{reset}}}"#
        );
        expect(&golden, |out| {
            snapshot_start(out, None, "m", None);
            separate_entries(out);
            entry_counter(out, "k", 2);
            snapshot_end(out, SnapshotEnd::Last { cursor: CURSOR, resumed, reset });
        });
    }
}

#[test]
fn a_read_is_answered_with_entries() {
    expect(r#"{"type":"entries","id":"i","map":"m","entries":[{"key":"k","count":2}]}"#, |out| {
        entries_start(out, Some(&id("i")), "m");
        separate_entries(out);
        entry_counter(out, "k", 2);
        entries_end(out);
    });
    expect(r#"{"type":"entries","map":"m","entries":[]}"#, |out| {
        entries_start(out, None, "m");
        entries_end(out);
    });
}

#[test]
fn ack_leaves_out_what_did_not_happen() {
    let at = stamp("1:0:n");
    let good = Ack { level: AckLevel::Memory, applied: 2, timeout: false };
    expect(r#"{"type":"ack","id":"7","level":"memory","applied":2,"stamps":["1:0:n","1:0:n"]}"#, |out| {
        ack(out, Some(&id("7")), good, [Some(at), Some(at)].into_iter(), std::iter::empty())
    });

    let bad = Ack { level: AckLevel::None, applied: 1, timeout: true };
    let rejected = [(0, Reject::Forbidden), (2, Reject::Overloaded { retry_after_ms: 50 })];
    let parsed = expect(
        r#"{"type":"ack","level":"none","applied":1,"stamps":[null,"1:0:n",null],"rejected":[{"index":0,"code":"forbidden","message":"not allowed for this identity"},{"index":2,"code":"overloaded","message":"the server is busy, send it again later","retry_after_ms":50}],"timeout":true}"#,
        |out| ack(out, None, bad, [None, Some(at), None].into_iter(), rejected.into_iter()),
    );
    assert_eq!(parsed["rejected"].as_array().unwrap().len(), 2);

    let empty = Ack { level: AckLevel::Durable, applied: 0, timeout: false };
    expect(r#"{"type":"ack","level":"durable","applied":0,"stamps":[]}"#, |out| {
        ack(out, None, empty, std::iter::empty(), std::iter::empty())
    });
}

#[test]
fn digest_and_unsubscribed_name_their_map() {
    expect(r#"{"type":"digest","id":"4","map":"m\n","entries":12,"hash":"000000000000beef"}"#, |out| {
        digest(out, Some(&id("4")), "m\n", 12, 0xbeef)
    });
    expect(r#"{"type":"unsubscribed","id":"3","map":"m"}"#, |out| unsubscribed(out, Some(&id("3")), "m"));
}

#[test]
fn error_says_when_to_try_again() {
    expect(
        r#"{"type":"error","id":"1","code":"rate_limited","message":"too many messages, this one was not handled","retry_after_ms":1000}"#,
        |out| error(out, Some(&id("1")), Reject::RateLimited { retry_after_ms: 1000 }),
    );
    let fault = Fault { what: What::HalfSurrogatePair, byte: 17 };
    for (reject, code) in [(Reject::BadJson(fault), "bad_json"), (Reject::KeyFault(fault), "key_invalid")] {
        expect(
            &format!(
                r#"{{"type":"error","id":"1","code":"{code}","message":"half a surrogate pair is no text, at byte 17"}}"#
            ),
            |out| error(out, Some(&id("1")), reject),
        );
    }
    for reject in [Reject::UnknownType, Reject::BadRequest("a \"b\" \\ c"), Reject::Timeout] {
        let mut out = Vec::new();
        error(&mut out, None, reject);
        let parsed = simd_json::to_owned_value(&mut out).unwrap();
        assert_eq!(parsed["type"], "error");
        assert_eq!(parsed["code"], reject.code());
        assert_eq!(parsed["message"], reject.message());
        assert!(parsed.get("retry_after_ms").is_none() && parsed.get("id").is_none());
    }
}

#[test]
fn who_is_in_a_room() {
    let people = [
        Person { name: "user:a\"", state: b"{}", since_ms: 7, connections: 2, is_away: false },
        Person { name: "anon:0-1-2", state: b"null", since_ms: 8, connections: 0, is_away: true },
    ];
    let mut packed = Vec::new();
    people.iter().for_each(|person| person.pack(&mut packed));
    let list = r#"[{"member":"user:a\"","user":"a\"","connections":2,"state":{},"since":7,"away":false},{"member":"anon:0-1-2","user":null,"connections":0,"state":null,"since":8,"away":true}]"#;
    let all = Gathered { count: 2, crowd: Crowd::All(&*packed) };
    expect(
        &format!(
            r#"{{"type":"presence.state","id":"i","room":"r","member":"user:b","members":{list},"count":2}}"#
        ),
        |out| room_state(out, Some(&id("i")), ("r", Some("user:b")), all),
    );
    expect(&format!(r#"{{"type":"presence.state","room":"r","members":{list},"count":2}}"#), |out| {
        room_news(out, "r", all)
    });
    let mut names = Vec::new();
    ["user:c", "client:\n"].iter().for_each(|name| pack_name(name, &mut names));
    let diff = Crowd::Diff { joined: &*packed, updated: &[], left: &*names };
    expect(
        &format!(
            r#"{{"type":"presence.diff","room":"r","joined":{list},"updated":[],"left":["user:c","client:\n"],"count":9}}"#
        ),
        |out| room_news(out, "r", Gathered { count: 9, crowd: diff }),
    );
    let count = Gathered { count: 50_000, crowd: Crowd::Count };
    expect(r#"{"type":"presence.count","room":"r","count":50000}"#, |out| room_news(out, "r", count));
    expect(r#"{"type":"presence.state","id":"i","room":"r","count":50000}"#, |out| {
        room_state(out, Some(&id("i")), ("r", None), count)
    });
    expect(&format!(r#"{{"type":"presence.list","room":"r","members":{list},"more":true}}"#), |out| {
        room_list(out, None, "r", People(&packed), true)
    });
    expect(r#"{"type":"presence.left","id":"i","room":"r"}"#, |out| room_left(out, Some(&id("i")), "r"));
    expect(r#"{"type":"presence.updated","id":"i","room":"r"}"#, |out| {
        member_updated(out, Some(&id("i")), "r")
    });
    expect(
        r#"{"type":"error","room":"r","code":"forbidden","message":"not allowed for this identity"}"#,
        |out| error_about(out, ("room", "r"), Reject::Forbidden),
    );
}

#[test]
fn what_is_said_in_channels() {
    let said = Said { from: "a\"", data: b"{\"x\":1}" };
    let nobody = Said { from: "", data: b"null" };
    let messages =
        [Message { offset: 7, time_ms: 8, said }, Message { offset: 9, time_ms: 10, said: nobody }];
    let text = r#""offset":7,"from":"a\"","data":{"x":1},"time":8}"#;
    expect(&format!(r#"{{"type":"message","channel":"c\n",{text}"#), |out| {
        channel_message(out, ChannelMessage::of("c\n", messages[0]))
    });
    expect(r#"{"type":"message","channel":"c","offset":9,"data":null,"time":10}"#, |out| {
        channel_message(out, ChannelMessage::of("c", messages[1]))
    });
    let mut packed = Vec::new();
    messages.iter().for_each(|message| message.pack(&mut packed));
    let page = History { epoch: Some(255), messages: &*packed, more: true };
    let list = format!(r#"[{{{text},{{"offset":9,"data":null,"time":10}}]"#);
    expect(
        &format!(
            r#"{{"type":"history","id":"i","channel":"c","epoch":"00000000000000ff","messages":{list},"more":true}}"#
        ),
        |out| history(out, Some(&id("i")), "c", page),
    );
    let nothing = History { epoch: None, messages: &[][..], more: false };
    expect(r#"{"type":"history","channel":"c","messages":[],"more":false}"#, |out| {
        history(out, None, "c", nothing)
    });
    for (recovery, rest) in [
        (Recovery::NotAsked, ""),
        (Recovery::Whole, r#","recovered":true"#),
        (Recovery::Epoch, r#","recovered":false,"reason":"epoch""#),
        (Recovery::Trimmed, r#","recovered":false,"reason":"trimmed""#),
    ] {
        let epoch = r#""epoch":"0123456789abcdef","offset":7"#;
        expect(&format!(r#"{{"type":"joined","id":"i","channel":"c",{epoch}{rest}}}"#), |out| {
            joined(out, Some(&id("i")), "c", (0x0123_4567_89ab_cdef, 7), recovery)
        });
    }
    expect(r#"{"type":"published","id":"i","channel":"c","offset":7}"#, |out| {
        published(out, Some(&id("i")), "c", 7, false)
    });
    expect(r#"{"type":"published","channel":"c","offset":7,"timeout":true}"#, |out| {
        published(out, None, "c", 7, true)
    });
    expect(r#"{"type":"left","id":"i","channel":"c"}"#, |out| left(out, Some(&id("i")), "c"));
    expect(r#"{"type":"gap","channel":"c","from":3,"to":9}"#, |out| gap(out, "c", 3, 9));
    expect(
        r#"{"type":"error","channel":"c","code":"forbidden","message":"not allowed for this identity"}"#,
        |out| error_about(out, ("channel", "c"), Reject::Forbidden),
    );
}

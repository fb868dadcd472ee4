//! One `write` is divided: its operations go on in turn after turn, in order, whatever happens meanwhile.

use annulus::mesh::ConnectionId;
use annulus::shard::work;

use crate::client_frames::text_frame;
use crate::host::Host;

/// Tags that a key may hold, and that a removal may name.
const TAGS: usize = 16_384;
const OPS: usize = 1_000;
/// What one operation costs at most, which is done as a whole: to put 16 384 tags in order and remove them.
const OPERATION_MAX: u64 = 2 * work::TURN_MAX;

#[test]
fn a_megabyte_of_the_costliest_operations_is_done_a_share_a_turn() {
    let by_value = |_| r#"{"map":"m","key":"full","op":"remove","value":-1}"#.to_owned();
    let value = "x".repeat(900);
    let set = |n| format!(r#"{{"map":"l","key":"k{n}","op":"set","value":"{value}"}}"#);
    let add = |n| format!(r#"{{"map":"m","key":"add","op":"add","value":"{value}{n}"}}"#);
    let remove = |n: usize| removal(&format!("k{n}"), (0..TAGS).rev());
    // Every other tag of a full key, and as many that it does not have, in no order.
    let scattered = |n: usize| removal(&format!("s{n}"), (0..TAGS).map(|tag| tag * 7919 % TAGS));
    costs_a_share_a_turn("removals by value", (0..OPS).map(by_value).collect());
    costs_a_share_a_turn("sets", (0..OPS).map(set).collect());
    costs_a_share_a_turn("adds", (0..OPS).map(add).collect());
    costs_a_share_a_turn("removals", (0..10).map(remove).collect());
    costs_a_share_a_turn("removals in no order", (0..10).map(scattered).collect());
}

/// Has one client write this, beside another that pings in each turn.
fn costs_a_share_a_turn(what: &str, ops: Vec<String>) {
    let mut host = Host::new(|_| {});
    let (writer, victim) = (host.open(), host.open());
    fill_key(&mut host, writer);
    let message = write(7, &ops);
    let ping = text_frame(br#"{"type":"ping"}"#);
    // What the writer sends behind it is answered behind it.
    host.receive(writer, &[message.as_slice(), &ping].concat());
    let mut answers = Vec::new();
    let mut turns = 0;
    while answers.len() < 2 {
        host.receive(victim, &ping);
        host.turn();
        turns += 1;
        assert_eq!(
            host.texts(victim).len(),
            1,
            "{what}: a ping is answered in its turn, beside turn {turns}"
        );
        let read = if turns == 1 { work::decoded(message.len()) + work::PACKED * OPS as u64 } else { 0 };
        let most = read + work::copied(message.len()) + 2 * work::CONNECTION_MAX + OPERATION_MAX;
        assert!(host.work() <= most, "{what}: {} units in turn {turns}", host.work());
        answers.extend(host.texts(writer));
        assert!(turns < 5_000, "{what}: the write ends");
    }
    assert!(turns > 2, "{what}: divided into {turns} turns");
    assert!(answers[0].contains(r#""type":"ack","id":7"#), "{what}: {:.200}", answers[0]);
    assert!(!answers[0].contains("rejected"), "{what}: {:.200}", answers[0]);
    assert!(answers[1].contains("pong"), "{what}");
}

#[test]
fn small_writes_are_carried_out_in_their_turn_beside_a_write_that_is_divided() {
    let mut host = Host::new(|_| {});
    let (writer, victim) = (host.open(), host.open());
    fill_key(&mut host, writer);
    host.receive(writer, &write(1, &vec![BY_VALUE.to_owned(); OPS]));
    for _ in 0..20 {
        host.receive(victim, &write(2, &[SET_ONE.to_owned()]));
        host.turn();
        assert_eq!(host.acks(victim), 1);
        assert_eq!(host.acks(writer), 0);
    }
}

#[test]
fn what_is_small_and_causes_much_waits_once_a_turn_has_done_twice_what_it_may() {
    const CLIENTS: usize = 100;
    let mut host = Host::new(|_| {});
    let clients: Vec<ConnectionId> = (0..CLIENTS).map(|_| host.open()).collect();
    fill_key(&mut host, clients[0]);
    clients.iter().for_each(|&client| host.receive(client, &write(1, &[BY_VALUE.to_owned()])));
    let (most, turns) = host.settle();
    assert!(most <= work::TURN_CEILING + work::CONNECTION_MAX, "{most} units in one of {turns} turns");
    assert!(clients.iter().all(|&client| host.acks(client) == 1));
}

#[test]
fn writes_that_are_divided_take_turns() {
    let mut host = Host::new(|_| {});
    let writers = [host.open(), host.open(), host.open()];
    fill_key(&mut host, writers[0]);
    for (place, &writer) in writers.iter().enumerate() {
        // The first has far more to do.
        let ops = if place == 0 { OPS } else { 40 };
        host.receive(writer, &write(1, &vec![BY_VALUE.to_owned(); ops]));
    }
    let mut acks = [0; 3];
    for _ in 0..100 {
        host.turn();
        for (acks, &writer) in acks.iter_mut().zip(&writers) {
            *acks += host.acks(writer);
        }
    }
    assert_eq!(acks, [0, 1, 1], "a hundred turns are enough for the small ones, and not for the large one");
}

#[test]
fn operations_on_one_key_keep_their_order_over_turns() {
    let mut host = Host::new(|_| {});
    let writer = host.open();
    let set = |n| format!(r#"{{"map":"l","key":"k{}","op":"set","value":{n}}}"#, n % 3);
    let ops: Vec<String> = (0..OPS).map(set).collect();
    let read = text_frame(br#"{"type":"read","id":9,"map":"l","keys":["k0","k1","k2"]}"#);
    host.receive(writer, &[write(1, &ops), write(2, &[SET_ONE.to_owned()]), read].concat());
    let (_, turns) = host.settle();
    assert!(turns > 2, "divided into {turns} turns");
    let texts = host.texts(writer);
    assert_eq!(texts.len(), 3, "two acks and the entries");
    for value in [r#""key":"k0","value":999"#, r#""key":"k1","value":"one""#, r#""key":"k2","value":998"#] {
        assert!(texts[2].contains(value), "{value} in {}", texts[2]);
    }
}

#[test]
fn who_has_said_all_there_is_to_say_gets_its_ack_before_the_end() {
    let mut host = Host::new(|_| {});
    let writer = host.open();
    host.receive(writer, &write(1, &sets()));
    host.turn();
    host.end(writer);
    host.settle();
    assert_eq!(host.acks(writer), 1);
    assert!(host.has_ended(writer), "then it ends");
}

#[test]
fn what_was_taken_is_carried_out_although_its_connection_is_gone() {
    let mut host = Host::new(|_| {});
    let (writer, reader) = (host.open(), host.open());
    host.receive(writer, &write(1, &sets()));
    host.turn();
    let before = live_keys(&mut host, reader);
    assert!(before < OPS, "all {before} were done in one turn");
    host.reset(writer);
    host.settle();
    assert_eq!(live_keys(&mut host, reader), OPS);
    assert_eq!(host.waiting_bytes(), 0, "nothing waits any more");
}

#[test]
fn what_is_left_counts_as_waiting_and_may_be_given_up() {
    let mut host = Host::new(|config| config.ack_timeout_ms = 1);
    let writer = host.open();
    fill_key(&mut host, writer);
    host.receive(writer, &write(1, &vec![BY_VALUE.to_owned(); OPS]));
    host.turn();
    let waiting = host.waiting_bytes();
    assert!(waiting > OPS * 64 && waiting < OPS * 512, "{waiting} bytes wait");
    let (_, turns) = host.settle();
    assert!(turns < 100, "nobody waits for the rest any more: {turns} turns");
    let texts = host.texts(writer);
    assert!(texts.len() == 1 && texts[0].contains(r#""timeout":true"#), "{texts:.300?}");
    assert_eq!(host.waiting_bytes(), 0);
}

const BY_VALUE: &str = r#"{"map":"m","key":"full","op":"remove","value":-1}"#;
const SET_ONE: &str = r#"{"map":"l","key":"k1","op":"set","value":"one"}"#;

/// A thousand keys.
fn sets() -> Vec<String> {
    (0..OPS).map(|n| format!(r#"{{"map":"l","key":"k{n}","op":"set","value":{n}}}"#)).collect()
}

/// How many of the keys of [`sets`] there are.
fn live_keys(host: &mut Host, reader: ConnectionId) -> usize {
    host.receive(reader, &text_frame(br#"{"type":"digest","id":1,"map":"l"}"#));
    host.turn();
    let text = host.texts(reader).pop().unwrap();
    let (_, entries) = text.split_once(r#""entries":"#).unwrap();
    entries.split([',', '}']).next().unwrap().parse().unwrap()
}

/// Has the key `full` hold as many tags as a key may.
fn fill_key(host: &mut Host, writer: ConnectionId) {
    let add = |n: usize| format!(r#"{{"map":"m","key":"full","op":"add","value":{n},"tag":"{}"}}"#, tag(n));
    for from in (0..TAGS).step_by(OPS) {
        let ops: Vec<String> = (from..TAGS.min(from + OPS)).map(add).collect();
        host.receive(writer, &write(1, &ops));
        host.settle();
    }
    host.texts(writer);
}

fn removal(key: &str, tags: impl Iterator<Item = usize>) -> String {
    let tags: Vec<String> = tags.map(tag).collect();
    format!(r#"{{"map":"m","key":"{key}","op":"remove","tags":["{}"]}}"#, tags.join(r#"",""#))
}

/// Three characters, so that a megabyte has room for many, in the order of their numbers.
fn tag(n: usize) -> String {
    let digit = |place: u32| char::from_digit((n / 32_usize.pow(place) % 32) as u32, 32).unwrap();
    [digit(2), digit(1), digit(0)].into_iter().collect()
}

fn write(id: usize, ops: &[String]) -> Vec<u8> {
    text_frame(format!(r#"{{"type":"write","id":{id},"ops":[{}]}}"#, ops.join(",")).as_bytes())
}

//! Keys of or maps and counters that are written without end, and deleted.

use annulus::limits::TAGS_PER_KEY_MAX;
use annulus::mesh::ConnectionId;
use annulus::shard::work;

use crate::client_frames::text_frame;
use crate::host::Host;

const OPS: usize = 1_000;

fn write(host: &mut Host, client: ConnectionId, ops: &[String]) -> (String, u64) {
    let message = format!(r#"{{"type":"write","id":1,"ops":[{}]}}"#, ops.join(","));
    host.receive(client, &text_frame(message.as_bytes()));
    let (most, _) = host.settle();
    let ack = host.texts(client).into_iter().find(|text| text.contains(r#""type":"ack""#));
    (ack.expect("a write is acknowledged"), most)
}

fn read(host: &mut Host, client: ConnectionId, map: &str) -> String {
    let message = format!(r#"{{"type":"read","id":1,"map":"{map}","keys":["k"]}}"#);
    host.receive(client, &text_frame(message.as_bytes()));
    host.settle();
    host.texts(client).pop().unwrap()
}

fn op(map: &str, op: &str) -> String {
    format!(r#"{{"map":"{map}","key":"k",{op}}}"#)
}

#[test]
fn a_hundred_thousand_adds_and_removes_of_one_key_are_taken_within_the_retention() {
    let mut host = Host::new(|_| {});
    let writer = host.open();
    write(&mut host, writer, &[op("m", r#""op":"add","value":"stays","tag":"stays""#)]);
    for from in (0..100_000).step_by(OPS / 2) {
        let tags = (from..from + OPS / 2).map(|n: usize| format!("{:06}", n * 7919 % 100_000));
        let ops = tags.flat_map(|tag| {
            let add = format!(r#""op":"add","value":1,"tag":"{tag}""#);
            [op("m", &add), op("m", &format!(r#""op":"remove","tags":["{tag}"]"#))]
        });
        let (ack, most) = write(&mut host, writer, &ops.collect::<Vec<_>>());
        assert!(ack.contains(r#""applied":1000"#) && !ack.contains("rejected"), "{from}: {ack:.300}");
        assert!(most <= work::TURN_CEILING + work::CONNECTION_MAX, "{from}: {most} units in one turn");
    }
    let entry = read(&mut host, writer, "m");
    assert!(entry.contains(r#""tag":"stays""#) && entry.matches(r#""at":"#).count() == 1, "{entry:.300}");
}

#[test]
fn a_delete_removes_all_tags_of_a_key_and_takes_a_counter_to_zero() {
    let mut host = Host::new(|_| {});
    let (writer, reader) = (host.open(), host.open());
    for map in ["or", "counter"] {
        host.receive(reader, &text_frame(format!(r#"{{"type":"subscribe","map":"{map}"}}"#).as_bytes()));
    }
    let add = |tag| op("or", &format!(r#""op":"add","value":1,"tag":"{tag}""#));
    let totals = |added, subtracted| {
        op("counter", &format!(r#""op":"increment","replica":"r","added":{added},"subtracted":{subtracted}"#))
    };
    write(
        &mut host,
        writer,
        &[add("a"), add("b"), totals(9, 2), op("counter", r#""op":"increment","by":-3"#)],
    );
    host.settle();
    host.texts(reader);
    let delete = [op("or", r#""op":"delete""#), op("counter", r#""op":"delete","map_type":"counter""#)];
    let (ack, _) = write(&mut host, writer, &delete);
    assert!(ack.contains(r#""applied":2,"stamps":[null,null]"#), "{ack}");
    let told = host.texts(reader).concat();
    assert!(told.contains(r#""key":"k","values":[],"removed":["a","b"]"#), "one entry: {told}");
    assert!(told.contains(r#""key":"k","count":0"#), "{told}");
    // There is nothing left of both, and a second one changes nothing.
    write(&mut host, writer, &delete);
    assert!(host.texts(reader).is_empty(), "nobody is told");
    // What a replica counts from now on counts, and what it had counted before does not.
    write(&mut host, writer, &[totals(9, 2), totals(10, 4), add("a"), add("c")]);
    assert!(read(&mut host, writer, "counter").contains(r#""count":-1"#));
    let entry = read(&mut host, writer, "or");
    assert!(entry.contains(r#""tag":"c""#) && !entry.contains(r#""tag":"a""#), "{entry}");
}

#[test]
fn a_delete_is_of_the_type_it_names_and_with_a_stamp_of_an_lww_map() {
    let mut host = Host::new(|_| {});
    let writer = host.open();
    let (ack, _) = write(&mut host, writer, &[op("new", r#""op":"delete","map_type":"or""#)]);
    assert!(ack.contains(r#""applied":1"#), "{ack}");
    write(&mut host, writer, &[op("new", r#""op":"add","value":1"#)]);
    for refused in [r#""op":"delete","at":"1:0:x""#, r#""op":"delete","map_type":"counter""#] {
        let (ack, _) = write(&mut host, writer, &[op("new", refused)]);
        assert!(ack.contains(r#""code":"map_type""#), "{ack}");
    }
    assert!(read(&mut host, writer, "new").contains(r#""value":1"#));
}

// A removal that lacks room is planned, refused, and planned again once older removals are forgotten.
#[test]
fn a_removal_that_lacks_room_counts_twice() {
    const NEW: usize = 1_000;
    let remove = |host: &mut Host, writer, prefix: &str, tags: std::ops::Range<usize>| {
        let tags: Vec<String> = tags.map(|n| format!(r#""{prefix}{n:05}""#)).collect();
        let ops = [op("m", &format!(r#""op":"remove","tags":[{}]"#, tags.join(",")))];
        let (ack, most) = write(host, writer, &ops);
        assert!(ack.contains(r#""applied":1"#), "{ack:.300}");
        most
    };
    // The older half is forgotten, so that both remember the same in the end.
    let [crowded, roomy] = [0, TAGS_PER_KEY_MAX / 2].map(|first| {
        let mut host = Host::new(|_| {});
        let writer = host.open();
        for from in (first..TAGS_PER_KEY_MAX).step_by(512) {
            remove(&mut host, writer, "old", from..from + 512);
        }
        remove(&mut host, writer, "new", 0..NEW)
    });
    let more = work::TAG * (TAGS_PER_KEY_MAX + NEW) as u64;
    assert!(crowded >= roomy + more, "{crowded} units, {roomy} where there is room");
}

//! Clocks: one integer under `server`, which grows with every change of a field and exceeds what its writer has seen.

use std::time::{SystemTime, UNIX_EPOCH};

use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::on_one_and_two;
use crate::peer::{Delta, MODES, Peer, clock_of, json};

/// A name that makes a header longer.
const LONG: &str = "a-name-of-more-than-a-hundred-and-twenty-five-bytes:a-name-of-more-than-a-hundred-and-twenty-five-bytes:1234567890";

/// Clock numbers of one millisecond.
const OF_MS: u64 = 4096;

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[test]
fn clocks_grow_with_every_change_of_a_field_whoever_makes_it() {
    on_one_and_two(|server| {
        let mut writers = [(); 3].map(|()| Peer::connect(server.address));
        let mut native = Client::connect(server.address);
        let mut reader = Peer::connect(server.address);
        reader.subscribe("grows");
        let mut last = 0;
        for n in 0..40 {
            match n % 4 {
                3 => drop(native.write(&set("grows", "f", n))),
                writer => {
                    writers[writer].write("grows", &format!(r#""field":"f","value":{n},"clock":{{"c":{n}}}"#))
                }
            }
            let delta = reader.delta();
            assert_eq!((delta.value, delta.also.len()), (json(&n.to_string()), 0));
            assert!(delta.clock > last && delta.clock < 1 << 53, "{} after {last}", delta.clock);
            last = delta.clock;
        }
    });
}

#[test]
fn a_clock_exceeds_what_the_writer_has_seen_where_that_is_near_the_present() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        peer.subscribe("seen");
        let ahead = |ms: u64| (now_ms() + ms) * OF_MS;
        let mut last = 0;
        for seen in [0, 1, ahead(0), ahead(20_000), ahead(30_000) + OF_MS - 1, ahead(40_000) + 7] {
            for clock in ["clock", "vectorClock"] {
                peer.write("seen", &format!(r#""field":"f","value":1,"{clock}":{{"a":1,"b":{seen},"c":2}}"#));
                let delta = peer.delta();
                assert!(delta.clock > seen && delta.clock > last, "{} after {seen} and {last}", delta.clock);
                last = delta.clock;
            }
        }
        // What nobody can have seen does not move the clock.
        for seen in
            ["9007199254740991", "1e300", "-5", "1.5", "\"7\"", "null", "{}", "[8]", "18446744073709551615"]
        {
            peer.write("seen", &format!(r#""delta":{{"f":1}},"vectorClock":{{"a":{seen}}}"#));
            let delta = peer.delta();
            assert!(delta.clock > last && delta.clock < ahead(3_600_000), "{} with {seen}", delta.clock);
            last = delta.clock;
        }
        for clock in ["7", "null", "[]", "\"x\""] {
            peer.write("seen", &format!(r#""field":"f","value":1,"clock":{clock}"#));
            assert!(peer.delta().clock > last, "{clock}");
        }
    });
}

#[test]
fn clocks_grow_when_many_writes_come_in_one_millisecond() {
    const WRITES: u64 = 9_000;
    on_one_and_two(|server| {
        let [mut writer, mut reader] = [(); 2].map(|()| Peer::connect(server.address));
        reader.subscribe("burst");
        let operations: Vec<String> =
            (0..WRITES).map(|n| format!(r#"{{"type":"set","field":"f","value":{n}}}"#)).collect();
        writer.batch("burst", &operations.join(","));
        for peer in [&mut reader, &mut writer] {
            let mut last: Option<Delta> = None;
            while last.as_ref().is_none_or(|last| last.value != WRITES - 1) {
                let delta = peer.delta();
                if let Some(last) = last {
                    assert!(delta.clock > last.clock, "{delta:?} after {last:?}");
                }
                last = Some(delta);
            }
        }
        writer.set("burst", "f", "-1");
        assert_eq!(reader.delta().value, json("-1"));
    });
}

#[test]
fn a_write_wins_over_a_native_stamp_in_the_near_future() {
    on_one_and_two(|server| {
        let mut native = Client::connect(server.address);
        let mut peer = Peer::connect(server.address);
        peer.subscribe("future");
        for (counter, ahead_ms) in [(0, 30_000), (5, 35_000), (4095, 40_000), (65_535, 45_000)] {
            let millis = now_ms() + ahead_ms;
            let stamp = format!("{millis}:{counter}:phone");
            native.write(&format!(
                r#"{{"map":"future","key":"f","op":"set","value":"theirs","at":"{stamp}"}}"#
            ));
            let theirs = peer.delta();
            assert_eq!(
                (theirs.value, theirs.clock),
                (json("\"theirs\""), millis * OF_MS + counter.min(4095))
            );
            peer.set("future", "f", "\"ours\"");
            let ours = peer.delta();
            assert_eq!(ours.value, json("\"ours\""));
            assert!(ours.clock > theirs.clock);
            assert_eq!(native.read("future", "f").unwrap()["value"], "ours");
        }
    });
}

#[test]
fn a_state_has_the_clock_of_its_oldest_field_and_each_field_its_own() {
    on_one_and_two(|server| {
        let mut writer = Peer::connect(server.address);
        writer.subscribe("each");
        for field in ["a", "b", "c", "a"] {
            writer.set("each", field, "1");
        }
        let mut live: Vec<Delta> = (0..4).map(|_| writer.delta()).collect();
        live.remove(0);
        let mut joiner = Peer::connect(server.address);
        let answer = joiner.subscribe("each");
        let oldest = live.iter().map(|delta| delta.clock).min().unwrap();
        assert_eq!(clock_of(&answer["clock"]), (oldest, Vec::new()));
        let by_field = |mut deltas: Vec<Delta>| {
            deltas.sort_by(|a, b| a.field.cmp(&b.field));
            deltas.into_iter().map(|delta| (delta.field, delta.clock)).collect::<Vec<_>>()
        };
        let told = (0..3).map(|_| joiner.delta()).collect();
        assert_eq!(by_field(told), by_field(live));
        joiner.is_silent();
    });
}

#[test]
fn whoever_reads_a_clock_and_has_a_name_finds_it_there() {
    on_one_and_two(|server| {
        let mut native = Client::connect(server.address);
        let mut peers = MODES.map(|mode| Peer::speaking(server.address, mode));
        let [mut nameless, mut aware] = [(); 2].map(|()| Peer::connect(server.address));
        Peer::watch_all(
            "names",
            &mut peers.iter_mut().chain([&mut nameless, &mut aware]).collect::<Vec<_>>(),
        );
        aware.say("awareness_update", r#""documentId":"elsewhere","clientId":"aware","state":1,"clock":1"#);
        aware.sync("names");
        let mut named: Vec<[String; 1]> = Vec::new();
        for writer in 0..MODES.len() {
            // Names that make headers of every length, and one that JSON writes otherwise.
            let name = ["c", LONG, r#"c \"2\""#][writer];
            let fields = format!(r#""field":"f","value":{writer},"clock":{{"c":1}},"clientId":"{name}""#);
            peers[writer].write("names", &fields);
            named.push([name.replace('\\', "")]);
            for (reader, peer) in peers.iter_mut().enumerate() {
                let delta = peer.delta();
                assert_eq!(delta.value, writer);
                assert_eq!(&delta.also[..], named.get(reader).map_or(&[][..], |name| name));
            }
            assert_eq!(nameless.delta().also, [""; 0]);
            assert_eq!(aware.delta().also, ["aware"]);
        }
        // Whoever writes, and however large it is.
        let large = "x".repeat(100_000);
        for value in ["7", &format!("\"{large}\"")] {
            native.write(&format!(r#"{{"map":"names","key":"f","op":"set","value":{value}}}"#));
            for (reader, peer) in peers.iter_mut().enumerate() {
                let delta = peer.delta();
                assert_eq!(delta.value.encode(), value);
                assert_eq!(delta.also, named[reader]);
            }
            assert_eq!(nameless.delta().also, [""; 0]);
            assert_eq!(aware.delta().also, ["aware"]);
        }
    });
}

#[test]
fn of_many_changes_at_once_the_newest_names_its_reader() {
    on_one_and_two(|server| {
        let [mut writer, mut reader] = [(); 2].map(|()| Peer::connect(server.address));
        Peer::watch_all("many", &mut [&mut writer, &mut reader]);
        for (peer, name) in [(&mut writer, "w"), (&mut reader, "r")] {
            peer.write("many", &format!(r#""field":"f","value":0,"clientId":"{name}""#));
        }
        writer.deltas(2);
        reader.deltas(2);
        let operations: Vec<String> = (0..200)
            .map(|n| format!(r#"{{"type":"set","field":"f{n}","value":{n},"clientId":"w"}}"#))
            .collect();
        writer.batch("many", &operations.join(","));
        for (peer, name) in [(&mut writer, "w"), (&mut reader, "r")] {
            let deltas: Vec<Delta> = (0..200).map(|_| peer.delta()).collect();
            let named: Vec<&Delta> = deltas.iter().filter(|delta| delta.also == [name]).collect();
            let newest = deltas.iter().map(|delta| delta.clock).max();
            assert_eq!(named.iter().map(|delta| delta.clock).max(), newest);
            assert!(
                named.len() < 100 && deltas.iter().all(|delta| delta.also.is_empty() || delta.also == [name])
            );
        }
    });
}

#[test]
fn the_latest_name_counts_and_the_servers_own_adds_nothing() {
    on_one_and_two(|server| {
        let mut peer = Peer::connect(server.address);
        peer.write("names", r#""field":"f","value":1,"clock":{"c-1":1},"clientId":"c-1""#);
        assert_eq!(peer.delta().also, ["c-1"]);
        let answer = peer.subscribe("names");
        assert_eq!(clock_of(&answer["clock"]).1, ["c-1"]);
        assert_eq!(peer.delta().also, ["c-1"]);
        peer.batch("names", r#"{"type":"set","field":"f","value":2,"clientId":"c-2"}"#);
        assert_eq!(peer.delta().also, ["c-2"]);
        peer.say("awareness_update", r#""documentId":"d","clientId":"w","state":1,"clock":1"#);
        peer.write("names", r#""field":"f","value":3"#);
        assert_eq!(peer.delta().also, ["c-2"], "what it writes counts for more than where it is");
        peer.write("names", r#""field":"f","value":3,"clientId":"server""#);
        assert_eq!(peer.delta().also, [""; 0]);
        peer.write("names", r#""field":"f","value":4,"clientId":7"#);
        assert_eq!(peer.delta().also, [""; 0]);
    });
}

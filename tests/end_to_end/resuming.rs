//! Cursors: what a client that was away gets when it comes back.

use std::thread;
use std::time::Duration;

use simd_json::json;
use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::server::TestServer;

/// Longer than the clocks of two shards can lie apart, so that a cursor covers all that was written before.
const APART: Duration = Duration::from_millis(300);

#[test]
fn a_client_that_comes_back_gets_what_is_new_and_nothing_else() {
    let server = TestServer::start();
    let mut writer = Client::connect(server.address);
    let all: Vec<String> = (0..200).map(|n| set("m", &format!("k{n}"), n)).collect();
    writer.write(&all.join(","));
    thread::sleep(APART);
    let mut reader = Client::connect(server.address);
    let cursor = reader.subscribe(r#""map":"m""#).cursor().to_owned();
    reader.leave();

    writer.write(&[set("m", "k7", 700), set("m", "new", 1)].join(","));
    writer.write(r#"{"map":"m","key":"k9","op":"delete"}"#);
    for mut reader in Client::on_every_shard(server.address, 4) {
        let snapshot = reader.subscribe(&format!(r#""map":"m","since":"{cursor}""#));
        assert_eq!(snapshot.keys(), ["k7", "k9", "new"]);
        assert_eq!(snapshot.by_key()["k9"]["deleted"], true);
        assert_eq!((&snapshot.end["resumed"], &snapshot.end["reset"]), (&json!(true), &json!(false)));
    }
}

#[test]
fn the_cursor_of_a_change_resumes_too() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    reader.subscribe(r#""map":"m""#);
    let mut cursor = String::new();
    for n in 0..20 {
        thread::sleep(Duration::from_millis(20));
        writer.write(&set("m", &format!("k{n}"), n));
        cursor = reader.event()["cursor"].as_str().unwrap().to_owned();
    }
    reader.leave();
    let mut late = Client::connect(server.address);
    let again = late.subscribe(&format!(r#""map":"m","since":"{cursor}""#));
    // At least once: the last may come again, the first ones may not, and nothing is missing.
    assert!(!again.keys().contains(&"k0".to_owned()), "{:?}", again.keys());
    writer.write(&set("m", "after", 1));
    assert_eq!(late.change("m")[0]["key"], "after");
}

#[test]
fn no_change_is_missed_by_a_client_that_resumes_while_others_write() {
    let server = TestServer::start();
    let address = server.address;
    let writer = thread::spawn(move || {
        let mut writer = Client::connect(address);
        for n in 0..600 {
            writer.write(&set("m", &format!("k{}", n % 50), n));
        }
    });
    let mut state = std::collections::BTreeMap::new();
    let mut since = String::new();
    let mut resumed = 0;
    while !writer.is_finished() {
        let mut reader = Client::connect(address);
        let snapshot = reader.subscribe(&format!(r#""map":"m"{since}"#));
        resumed += usize::from(snapshot.end["resumed"] == true);
        state.extend(snapshot.by_key());
        since = format!(r#","since":"{}""#, snapshot.cursor());
        for event in reader.take_events() {
            let entries = event["entries"].as_array().unwrap().clone();
            state.extend(entries.into_iter().map(|entry| (entry["key"].as_str().unwrap().to_owned(), entry)));
            since = format!(r#","since":"{}""#, event["cursor"].as_str().unwrap());
        }
        reader.leave();
    }
    writer.join().unwrap();
    assert!(resumed > 2, "it resumed {resumed} times");
    let mut last = Client::connect(address);
    state.extend(last.subscribe(&format!(r#""map":"m"{since}"#)).by_key());
    assert_eq!(state, Client::connect(address).subscribe(r#""map":"m""#).by_key());
}

#[test]
fn a_cursor_of_another_data_set_gets_a_reset_and_everything() {
    let earlier = TestServer::start();
    let cursor = Client::connect(earlier.address).subscribe(r#""map":"m""#).cursor().to_owned();
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    writer.write(&(0..10).map(|n| set("m", &format!("k{n}"), n)).collect::<Vec<_>>().join(","));
    let snapshot = reader.subscribe(&format!(r#""map":"m","since":"{cursor}""#));
    assert_eq!((&snapshot.end["resumed"], &snapshot.end["reset"]), (&json!(false), &json!(true)));
    assert_eq!(snapshot.entries.len(), 10);
}

#[test]
fn a_cursor_older_than_a_forgotten_removal_gets_a_reset() {
    let server = TestServer::with(|config| {
        config.tombstone_retention_ms = 200;
        config.clock_drift_max_ms = 100;
    });
    let [mut writer, mut reader] = Client::pair(server.address);
    writer.write(&[set("m", "gone", 1), set("m", "stays", 1)].join(","));
    thread::sleep(APART);
    let cursor = reader.subscribe(r#""map":"m""#).cursor().to_owned();
    writer.write(r#"{"map":"m","key":"gone","op":"delete"}"#);
    server.await_metric("annulus_pruned_total", 1.0);
    assert!(writer.read("m", "gone").is_none(), "the removal is forgotten");
    let snapshot = reader.subscribe(&format!(r#""map":"m","since":"{cursor}""#));
    assert_eq!((&snapshot.end["resumed"], &snapshot.end["reset"]), (&json!(false), &json!(true)));
    assert_eq!(snapshot.keys(), ["stays"]);
}

#[test]
fn a_cursor_is_good_for_the_map_and_the_filter_it_was_given_for() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    for map in ["m", "n"] {
        writer.write(&["a1", "a2", "b1"].map(|key| set(map, key, 1)).join(","));
    }
    thread::sleep(APART);
    let all = r#""map":"m""#;
    let prefix = r#""map":"m","prefix":"a""#;
    let keys = r#""map":"m","keys":["a1","b1"]"#;
    let groups = [
        vec![all, r#""map":"m","prefix":"""#, r#""map":"m","echo":true"#],
        vec![prefix, r#""map":"m","prefix":"a","echo":true"#],
        vec![r#""map":"m","prefix":"a1""#],
        vec![keys, r#""map":"m","keys":["b1","a1","b1"]"#],
        vec![r#""map":"m","keys":["a1"]"#],
        vec![r#""map":"m","keys":[]"#],
        vec![r#""map":"n""#],
        vec![r#""map":"n","prefix":"a""#],
    ];
    for given in &groups {
        for &fields in given {
            let cursor = reader.subscribe(fields).cursor().to_owned();
            let earlier = cursor.rsplit_once('.').unwrap().0;
            for asked in &groups {
                for &again in asked {
                    let snapshot = reader.subscribe(&format!(r#"{again},"since":"{cursor}""#));
                    let (end, is_same) = (&snapshot.end, given == asked);
                    let answer = (end["resumed"] == true, end["reset"] == true);
                    assert_eq!(answer, (is_same, !is_same), "{again} with the cursor of {fields}");
                    // Everything there is, or what is new.
                    let everything = if is_same { vec![] } else { reader.subscribe(again).keys() };
                    assert_eq!(snapshot.keys(), everything, "{again} with the cursor of {fields}");
                }
            }
            // As builds before this one gave them.
            let snapshot = reader.subscribe(&format!(r#"{fields},"since":"{earlier}""#));
            assert_eq!(snapshot.end["reset"], true, "{fields} since {earlier}");
        }
    }
}

#[test]
fn changes_carry_cursors_of_their_own_subscription() {
    let server = TestServer::start();
    let [mut writer, mut reader] = Client::pair(server.address);
    for fields in [r#""map":"m""#, r#""map":"m","prefix":"k""#, r#""map":"m","keys":["k"]"#] {
        let first = reader.subscribe(fields).cursor().to_owned();
        writer.write(&set("m", "k", 1));
        let change = reader.event();
        let scope = |cursor: &str| cursor.rsplit_once('.').unwrap().1.to_owned();
        assert_eq!(scope(change["cursor"].as_str().unwrap()), scope(&first), "{fields}: {change}");
    }
}

#[test]
fn what_is_no_cursor_is_a_bad_request() {
    let server = TestServer::start();
    let mut client = Client::connect(server.address);
    for since in [
        r#""""#,
        r#""now""#,
        r#""0123456789abcdef""#,
        r#""0123456789ABCDEF.1""#,
        r#""0123456789abcdef.1.1""#,
        "7",
        "true",
    ] {
        let request = format!(r#"{{"type":"subscribe","map":"m","since":{since}}}"#);
        assert_eq!(client.error(&request), "bad_request", "{since}");
    }
    let from_the_start = client.subscribe(r#""map":"m","since":null"#);
    assert_eq!(from_the_start.end["reset"], false);
}

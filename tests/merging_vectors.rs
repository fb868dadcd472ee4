//! `tests/vectors/merging.json` is what the server's CRDTs make of random histories; clients are held against it
//! (`clients/js/client/test/vectors.test.ts`).
//!
//! The file is made from fixed seeds, and this test holds that it is what the CRDTs make today. After a change that is
//! meant, `ANNULUS_WRITE_VECTORS=1 cargo test --test merging_vectors` writes it anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "other tests take more of it")]
mod crdt_histories;

use std::fs;
use std::path::Path;

use annulus::crdt::{MapType, Stamp};
use crdt_histories::{Change, Random, Replica, What, history};

/// Histories of each type.
const HISTORIES: u64 = 12;
const CHANGES: usize = 60;

#[test]
fn the_vectors_are_what_the_crdts_make_of_their_histories() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/merging.json");
    let made = vectors();
    if std::env::var_os("ANNULUS_WRITE_VECTORS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == made, "{} is of other CRDTs", path.display());
}

fn vectors() -> String {
    let mut histories = Vec::new();
    for map_type in [MapType::Lww, MapType::Or] {
        for seed in 0..HISTORIES {
            histories.push(history_of(map_type, seed));
        }
    }
    let about = "Entries as a client is told them, in any order and any number of times, and the state that all of \
                 them make, removals included. Made by tests/merging_vectors.rs. See docs/protocol.md, Merging.";
    format!("{{\"about\":\"{about}\",\"histories\":[\n{}\n]}}\n", histories.join(",\n"))
}

fn history_of(map_type: MapType, seed: u64) -> String {
    let history = history(&mut Random::from(seed), map_type, CHANGES);
    let mut replica = Replica::new(map_type);
    replica.merge_all(&history);
    let told: Vec<String> = history.iter().map(|change| entry(std::slice::from_ref(change))).collect();
    let state: Vec<String> = replica.entries().values().map(|parts| entry(parts)).collect();
    format!(
        "{{\"map_type\":\"{}\",\"seed\":{seed},\"told\":[\n{}\n],\"state\":[\n{}\n]}}",
        map_type.as_str(),
        told.join(",\n"),
        state.join(",\n")
    )
}

/// Changes of one key as the entry that tells them.
fn entry(parts: &[Change]) -> String {
    let key = text(&parts[0].key);
    if let What::Lww { at, value, expires_ms } = &parts[0].what {
        let what = match value {
            None => "\"deleted\":true".to_owned(),
            Some(value) if *expires_ms == 0 => format!("\"value\":{}", text(value)),
            Some(value) => format!("\"value\":{},\"expires_at\":{expires_ms}", text(value)),
        };
        return format!("{{\"key\":\"{key}\",{what},\"at\":\"{}\"}}", stamp(at));
    }
    let (mut values, mut removed) = (Vec::new(), Vec::new());
    for part in parts {
        match &part.what {
            What::OrAdd { tag, value, at } => values.push(format!(
                "{{\"tag\":\"{tag}\",\"value\":{},\"at\":\"{}\"}}",
                text(value),
                stamp(at)
            )),
            What::OrRemove { tag } => removed.push(format!("\"{tag}\"")),
            other => panic!("{other:?} is of no map that has vectors"),
        }
    }
    values.sort();
    removed.sort();
    format!("{{\"key\":\"{key}\",\"values\":[{}],\"removed\":[{}]}}", values.join(","), removed.join(","))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn stamp(at: &Stamp) -> String {
    let mut out = Vec::new();
    at.write_to(&mut out);
    String::from_utf8(out).unwrap()
}

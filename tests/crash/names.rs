//! Power cuts right behind the first ack in another segment, whose name may be all that is not on the disk yet: a spare file
//! that was renamed has nothing else to bring there, and in a busy life somebody syncs something a moment later.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use simd_json::prelude::*;

use crate::client::Client;
use crate::power::PowerDisk;
use crate::server::{Flags, Server};

/// Segments up to the cut, at the most: enough for spare files, fewer than make folds.
const SEGMENTS: usize = 4;
const CUTS: usize = 8;
const WRITES_MAX: u64 = 10_000;
/// A few hundred of them are a segment.
const VALUE_BYTES: usize = 3_000;

/// Whether nothing was lost; says so. The machine allows it.
pub fn run() -> bool {
    (0..CUTS).all(|cut| {
        let root = std::env::temp_dir().join(format!("annulus-names-{}", std::process::id()));
        let lost = lost_by_a_cut(&root, 2 + cut % (SEGMENTS - 1));
        fs::remove_dir_all(&root).unwrap();
        if let Some((acked, found)) = lost {
            eprintln!("a power cut behind the first ack in a segment: {acked} was acked, {found} is there");
        }
        lost.is_none()
    })
}

/// Writes one key again and again until it is in so many further segments. What was acked, and what is there, if that is less.
fn lost_by_a_cut(root: &Path, segments: usize) -> Option<(u64, u64)> {
    let disk = PowerDisk::new(root).unwrap();
    let (server, address) = start(root, &disk);
    let mut client = Client::connect(address).unwrap_or_else(|_| panic!("{}", server.log_text()));
    let (mut acked, mut changes, mut before) = (0, 0, BTreeSet::new());
    while changes < segments && acked < WRITES_MAX {
        let value = format!("\"{} {}\"", acked + 1, "x".repeat(VALUE_BYTES));
        let op = format!(r#"{{"map":"m","key":"k","op":"set","value":{value}}}"#);
        let ack = client.ask(&format!(r#"{{"type":"write","ack":"durable","ops":[{op}]}}"#)).unwrap();
        assert_eq!(ack["level"], "durable", "{ack}");
        acked += 1;
        let now = files(&disk.data_dir());
        let has = |files: &BTreeSet<String>, what: fn(&str) -> bool| files.iter().any(|name| what(name));
        let [new, gone] = [&now - &before, &before - &now];
        // Not one that grows.
        let is_reused = has(&gone, |name| name.starts_with("spare") && !name.ends_with(".new"));
        changes += usize::from(is_reused && has(&new, |name| name.ends_with(".log")));
        before = now;
    }
    disk.cut().unwrap();
    drop(server);
    disk.restore().unwrap();
    let (server, address) = start(root, &disk);
    let mut client = Client::connect(address).unwrap_or_else(|_| panic!("{}", server.log_text()));
    let read = client.ask(r#"{"type":"read","map":"m","keys":["k"]}"#).unwrap();
    let value = read["entries"].as_array().and_then(|entries| entries.first()?["value"].as_str());
    let found = value.map_or(0, |value| value.split(' ').next().unwrap().parse().unwrap());
    server.kill();
    (found < acked).then_some((acked, found))
}

fn start(root: &Path, disk: &PowerDisk) -> (Server, SocketAddr) {
    let data_dir = disk.data_dir().display().to_string();
    let storage =
        ["--storage", "disk", "--data-dir", &data_dir, "--segment-bytes", "1MiB", "--disk-reserve", "1MiB"];
    let flags = Flags { cores: "0".to_owned(), storage: storage.map(str::to_owned).into() };
    let mut server = Server::start(&flags, &root.join("server.log"));
    let address = server.address();
    (server, address)
}

fn files(data_dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(data_dir.join("journal")).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

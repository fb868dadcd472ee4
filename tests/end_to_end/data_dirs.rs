//! A data directory that is copied, locked, or taken away from under its server.

use std::fs;
use std::path::Path;

use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::process::{Running, annulus, failure};
use crate::server::{Directory, await_that};

/// Copies the files of a data directory, as `cp -r` does.
fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy_files(&entry.path(), &target),
            kind if kind.is_file() => drop(fs::copy(entry.path(), target).unwrap()),
            // The socket.
            _ => {}
        }
    }
}

fn back_up(directory: &Path, copy: &Path) {
    let flags = ["backup", copy.to_str().unwrap(), "--data-dir", directory.to_str().unwrap()];
    assert!(annulus(&flags).status().unwrap().success());
}

/// Writes durably and reads the counter `c` of the map `counters`.
fn increment(client: &mut Client) -> u64 {
    let op = r#"{"map":"counters","key":"c","op":"increment","by":1}"#;
    let ack = client.ask(&format!(r#"{{"type":"write","ack":"durable","ops":[{op}]}}"#));
    assert_eq!(ack["level"], "durable");
    client.read("counters", "c").unwrap()["count"].as_u64().unwrap()
}

/// Goal: a client that has seen what a copy never had starts over there, and no slot of a counter counts two histories.
/// Method: the original goes on after it was copied, by `backup`, and by a copy of its files after a kill.
#[test]
fn a_copy_of_a_data_directory_goes_on_with_a_history_of_its_own() {
    for (is_backup, chosen) in [(true, false), (false, false), (true, true)] {
        let (directory, copy) = (Directory::new(), Directory::new());
        let flags: &[&str] = if chosen { &["--node", "chosen"] } else { &[] };
        let server = Running::on_disk(directory.path(), flags);
        let mut client = Client::connect(server.address);
        let node = client.hello["node"].as_str().unwrap().to_owned();
        client.write(&set("m", "k", 1));
        assert_eq!(increment(&mut client), 1);
        let mut server = Some(server);
        if is_backup {
            back_up(directory.path(), copy.path());
        } else {
            server.take().unwrap().kill();
            copy_files(directory.path(), copy.path());
        }
        let server = server.unwrap_or_else(|| Running::on_disk(directory.path(), flags));
        let mut client = Client::connect(server.address);
        client.write(&set("m", "lost", 1));
        assert_eq!(increment(&mut client), 2);
        let cursor = client.subscribe(r#""map":"m""#).cursor().to_owned();
        let resumes = format!(r#""map":"m","since":"{cursor}""#);
        drop(client);
        server.stop();

        // The same directory is the same history.
        let server = Running::on_disk(directory.path(), flags);
        let mut client = Client::connect(server.address);
        assert_eq!(client.hello["node"], *node);
        assert_eq!(client.subscribe(&resumes).end["resumed"], true);
        drop(client);
        server.stop();

        let mut names = Vec::new();
        for start in 0..2 {
            let server = Running::on_disk(copy.path(), flags);
            assert_eq!(server.said(&["this data directory is a copy"]), start == 0);
            let mut client = Client::connect(server.address);
            let again = client.subscribe(&resumes);
            assert_eq!((&again.end["resumed"], &again.end["reset"]), (&false.into(), &true.into()));
            assert_eq!(again.keys(), ["k"]);
            assert_eq!(increment(&mut client), 2 + start);
            names.push(client.hello["node"].as_str().unwrap().to_owned());
            drop(client);
            server.stop();
        }
        assert_eq!(names[0], names[1], "a copy is one once");
        assert!(names[0].starts_with(&format!("{node}.")), "{names:?}, of {node}");
        let export = annulus(&["export", "--data-dir", copy.path().to_str().unwrap()]).output().unwrap();
        let lines = String::from_utf8(export.stdout).unwrap();
        let slot = |node: &str, added: u64| {
            format!(r#"{{"replica":"{node}","added":{added},"subtracted":0,"counted":"#)
        };
        assert!(lines.contains(&slot(&node, 1)) && lines.contains(&slot(&names[0], 2)), "{lines}");
    }
}

/// Goal: a start that ended before it was through makes no copy of a directory. Method: of a new one the file is gone that is
/// written last.
#[test]
fn a_first_start_that_ended_early_is_no_copy() {
    let directory = Directory::new();
    let server = Running::on_disk(directory.path(), &[]);
    let node = Client::connect(server.address).hello["node"].as_str().unwrap().to_owned();
    server.kill();
    fs::remove_file(directory.path().join("TIMELINE")).unwrap();
    let server = Running::on_disk(directory.path(), &[]);
    assert!(!server.said(&["this data directory is a copy"]));
    assert_eq!(Client::connect(server.address).hello["node"], *node);
    server.stop();
}

/// Goal: nothing is acknowledged as durable that the next start will not find. Method: the directory goes away in each way
/// under a server that has an open segment; the next write is never acked.
#[test]
fn a_data_directory_that_is_taken_away_ends_the_process_before_the_next_ack() {
    let takes: [fn(&Path); 3] = [
        |path| fs::remove_dir_all(path).unwrap(),
        |path| fs::rename(path, path.with_extension("moved")).unwrap(),
        |path| fs::rename(path.join("journal"), path.join("journal.old")).unwrap(),
    ];
    for take in takes {
        let directory = Directory::new();
        let mut server = Running::on_disk(directory.path(), &[]);
        let mut client = Client::connect(server.address);
        assert_eq!(increment(&mut client), 1);
        take(directory.path());
        client.send(&format!(r#"{{"type":"write","ack":"durable","ops":[{}]}}"#, set("m", "k", 2)));
        assert!(client.is_cut_off(), "it was acked");
        assert_eq!(server.exit_code(), Some(1));
        await_that("its last words", || server.said(&["removed, moved or replaced"]));
        let _ = fs::remove_dir_all(directory.path().with_extension("moved"));
    }
}

/// Goal: no segment is deleted whose changes are in a base that nobody will find. Method: the base is replaced under a server
/// that folds often.
#[test]
fn a_base_that_is_taken_away_ends_the_process_and_the_journal_stays() {
    let directory = Directory::new();
    let mut server = Running::on_disk(directory.path(), &["--checkpoint-interval-ms", "200"]);
    let base = directory.path().join("base.redb");
    fs::rename(&base, directory.path().join("base.moved")).unwrap();
    let mut client = Client::connect(server.address);
    assert_eq!(increment(&mut client), 1);
    assert_eq!(server.exit_code(), Some(1));
    await_that("its last words", || server.said(&["base.redb", "removed, moved or replaced"]));
    fs::rename(directory.path().join("base.moved"), &base).unwrap();
    let server = Running::on_disk(directory.path(), &[]);
    assert_eq!(increment(&mut Client::connect(server.address)), 2);
    server.stop();
}

#[test]
fn a_second_server_is_refused_though_the_lock_file_is_gone() {
    let directory = Directory::new();
    let server = Running::on_disk(directory.path(), &[]);
    fs::remove_file(directory.path().join("LOCK")).unwrap();
    let (code, line) =
        failure(&["--listen", "127.0.0.1:0", "--data-dir", directory.path().to_str().unwrap()]);
    assert!(code == Some(1) && line.contains("is in use by another process"), "{line}");
    server.stop();
}

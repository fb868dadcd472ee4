//! Data on disk: what an ack promises, what a restart keeps, what damage does, and how a running server is copied.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use annulus::config::Fsync;
use simd_json::OwnedValue as Value;
use simd_json::json;
use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::process::{Running, annulus, failure};
use crate::server::{Directory, TestServer, await_that, two_cores};

/// Writes with `ack: durable`; every operation must have been applied and synced.
fn write_durable(client: &mut Client, ops: &str) {
    let ack = client.ask(&format!(r#"{{"type":"write","ack":"durable","ops":[{ops}]}}"#));
    assert_eq!((&ack["type"], &ack["level"]), (&json!("ack"), &json!("durable")), "{ack}");
    assert!(ack.get("rejected").is_none() && ack.get("timeout").is_none(), "{ack}");
}

fn numbered(map: &str, keys: std::ops::Range<usize>) -> String {
    keys.map(|n| set(map, &format!("k{n}"), n)).collect::<Vec<_>>().join(",")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a name of this test")
}

fn one_core() -> Vec<usize> {
    two_cores()[..1].to_vec()
}

#[test]
fn a_durable_ack_says_so_on_either_shard() {
    let directory = Directory::new();
    let server = TestServer::on_disk(directory.path(), two_cores(), |_| {});
    for mut client in Client::pair(server.address) {
        assert_eq!(client.hello["acks"], json!(["none", "memory", "durable"]));
        write_durable(&mut client, &numbered("m", 0..20));
    }
    assert!(server.metric("annulus_sync_seconds_count") >= 2.0);
    assert_eq!(server.metric("annulus_journal_pending_bytes"), 0.0);
    server.stop();
}

#[test]
fn a_sync_from_time_to_time_makes_durable_too_and_without_any_it_is_not_offered() {
    let directory = Directory::new();
    let server = TestServer::on_disk(directory.path(), two_cores(), |storage| {
        storage.fsync = Fsync::Interval { ms: 50 };
    });
    write_durable(&mut Client::connect(server.address), &numbered("m", 0..20));
    server.stop();

    let server = TestServer::on_disk(directory.path(), two_cores(), |storage| storage.fsync = Fsync::Never);
    let mut client = Client::connect(server.address);
    assert_eq!(client.hello["acks"], json!(["none", "memory"]));
    let ack = client.ask(&format!(r#"{{"type":"write","ack":"durable","ops":[{}]}}"#, set("m", "k", 1)));
    assert_eq!(ack["level"], "memory", "{ack}");
    server.stop();
}

#[test]
fn a_restart_keeps_the_data_and_cursors_resume() {
    let directory = Directory::new();
    let server = TestServer::on_disk(directory.path(), two_cores(), |_| {});
    let mut writer = Client::connect(server.address);
    write_durable(&mut writer, &numbered("m", 0..200));
    write_durable(&mut writer, r#"{"map":"m","key":"k3","op":"delete"}"#);
    // Longer than the clocks of two shards can lie apart, so that the cursor covers all of it.
    thread::sleep(Duration::from_millis(300));
    let cursor = writer.subscribe(r#""map":"m""#).cursor().to_owned();
    write_durable(&mut writer, &[set("m", "k7", 700), set("m", "new", 1)].join(","));
    let digest = writer.digest("m");
    drop(writer);
    server.stop();

    let server = TestServer::on_disk(directory.path(), two_cores(), |_| {});
    for mut reader in Client::pair(server.address) {
        assert_eq!(reader.digest("m"), digest);
        let rest = reader.subscribe(&format!(r#""map":"m","since":"{cursor}""#));
        assert_eq!((&rest.end["resumed"], &rest.end["reset"]), (&json!(true), &json!(false)));
        assert_eq!(rest.keys(), ["k7", "new"]);
        assert!(reader.read("m", "k3").unwrap()["deleted"].as_bool().unwrap());
    }
    server.stop();
}

#[test]
fn what_is_written_after_a_restart_is_newer_than_everything_before() {
    let directory = Directory::new();
    let stamps = [0, 1].map(|round| {
        let server = TestServer::on_disk(directory.path(), two_cores(), |_| {});
        let mut writer = Client::connect(server.address);
        let stamp = writer.write(&set("m", "k", round))[0].as_str().unwrap().to_owned();
        assert_eq!(writer.read("m", "k").unwrap()["value"], round);
        server.stop();
        let mut parts = stamp.split(':');
        let mut number = || parts.next().unwrap().parse::<u64>().unwrap();
        ((number(), number()), parts.next().unwrap().to_owned())
    });
    assert!(stamps[1].0 > stamps[0].0, "{stamps:?}");
    assert_eq!(stamps[0].1, stamps[1].1, "the node keeps its name");
}

#[test]
fn another_number_of_cores_changes_nothing() {
    let directory = Directory::new();
    let mut expected = Value::null();
    for (round, cores) in [one_core(), two_cores(), one_core()].into_iter().enumerate() {
        let server = TestServer::on_disk(directory.path(), cores, |_| {});
        let mut client = Client::connect(server.address);
        if round > 0 {
            let digests = json!([client.digest("lww"), client.digest("or"), client.digest("counter")]);
            assert_eq!(digests, expected, "round {round}");
        }
        let mut ops = vec![numbered("lww", round * 100..round * 100 + 100)];
        for n in 0..50 {
            ops.push(format!(r#"{{"map":"or","key":"k{n}","op":"add","value":{round}}}"#));
            ops.push(format!(r#"{{"map":"counter","key":"k{n}","op":"increment","by":{n}}}"#));
        }
        write_durable(&mut client, &ops.join(","));
        expected = json!([client.digest("lww"), client.digest("or"), client.digest("counter")]);
        server.stop();
    }
}

#[test]
fn the_type_of_a_map_survives() {
    let directory = Directory::new();
    let server = TestServer::on_disk(directory.path(), two_cores(), |_| {});
    let increment = r#"{"map":"c","key":"k","op":"increment","by":5}"#;
    write_durable(&mut Client::connect(server.address), increment);
    server.stop();
    let server = TestServer::on_disk(directory.path(), two_cores(), |_| {});
    for (n, mut client) in Client::pair(server.address).into_iter().enumerate() {
        // A key that was never there, on whichever shard.
        assert_eq!(client.rejected(&set("c", &format!("new{n}"), 1)), "map_type");
        assert_eq!(client.read("c", "k").unwrap()["count"], 5);
    }
    server.stop();
}

#[test]
fn what_is_folded_is_read_from_the_base_and_its_segments_are_gone() {
    let directory = Directory::new();
    let open =
        || TestServer::on_disk(directory.path(), two_cores(), |storage| storage.checkpoint_interval_ms = 50);
    let server = open();
    let mut client = Client::connect(server.address);
    for round in 0..3 {
        write_durable(&mut client, &numbered("m", round * 500..round * 500 + 500));
        server.await_metric("annulus_checkpoints_total", f64::from(round as u32 + 1));
    }
    await_that("the last segment to be deleted", || {
        fs::read_dir(directory.path().join("journal")).unwrap().count() == 0
    });
    let digest = client.digest("m");
    drop(client);
    server.stop();
    let server = open();
    assert_eq!(Client::connect(server.address).digest("m"), digest);
    assert!(server.metric("annulus_map_loads_total") > 0.0);
    server.stop();
}

#[test]
fn a_second_server_is_told_who_holds_the_directory() {
    let directory = Directory::new();
    let first = Running::on_disk(directory.path(), &[]);
    let (code, line) = failure(&["--listen", "127.0.0.1:0", "--data-dir", text(directory.path())]);
    assert_eq!(code, Some(1));
    assert!(line.contains(&format!("listens on {}", first.address)) && line.contains("--data-dir"), "{line}");
    first.stop();
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_else() {
    let directory = Directory::new();
    let server = TestServer::on_disk(directory.path(), two_cores(), |storage| {
        storage.disk_reserve_bytes = u64::MAX;
    });
    let mut client = Client::connect(server.address);
    assert_eq!(client.rejected(&set("m", "k", 1)), "read_only");
    assert!(client.read("m", "k").is_none());
    assert!(client.subscribe(r#""map":"m""#).entries.is_empty());
    assert_eq!(server.metric("annulus_read_only"), 1.0);
    let health = crate::server::get(server.address, "/healthz");
    for part in ["storage disk, read_only\n", "journal_pending_bytes 0\n", "sync_p99_us ", "segments 0\n"] {
        assert!(health.contains(part), "{part:?} is not in {health}");
    }
    server.stop();
}

#[test]
fn a_killed_server_has_lost_nothing_that_it_acknowledged() {
    let directory = Directory::new();
    let mut written = 0;
    for _ in 0..3 {
        let server = Running::on_disk(directory.path(), &["--segment-bytes", "1MiB"]);
        let mut client = Client::connect(server.address);
        for n in 0..written {
            assert_eq!(
                client.read("m", &format!("k{n}")).map(|entry| entry["value"].clone()),
                Some(n.into())
            );
        }
        for _ in 0..30 {
            write_durable(&mut client, &set("m", &format!("k{written}"), written));
            written += 1;
        }
        server.kill();
    }
}

#[test]
fn a_torn_tail_is_cut_off_and_reported_with_its_size() {
    let directory = Directory::new();
    let server = Running::on_disk(directory.path(), &[]);
    write_durable(&mut Client::connect(server.address), &set("m", "k", 1));
    server.kill();
    let segment = directory.segment();
    let whole = fs::metadata(&segment).unwrap().len();
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&[7; 1234], whole).unwrap();

    let server = Running::on_disk(directory.path(), &[]);
    assert!(server.said(&["1234 bytes", &format!("byte {whole}"), "cut off"]));
    assert_eq!(Client::connect(server.address).read("m", "k").unwrap()["value"], 1);
    assert_eq!(fs::metadata(&segment).map_or(whole, |metadata| metadata.len()), whole);
    server.stop();
}

#[test]
fn damage_in_the_middle_is_refused_and_salvaged_only_if_asked() {
    let directory = Directory::new();
    let server = Running::on_disk(directory.path(), &[]);
    let mut client = Client::connect(server.address);
    for n in 0..50 {
        write_durable(&mut client, &set("m", &format!("k{n}"), n));
    }
    server.kill();
    let segment = directory.segment();
    let middle = fs::metadata(&segment).unwrap().len() / 2;
    let file = OpenOptions::new().read(true).write(true).open(&segment).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[!byte[0]], middle).unwrap();

    let flags = ["--listen", "127.0.0.1:0", "--data-dir", text(directory.path())];
    let (code, line) = failure(&flags);
    assert_eq!(code, Some(1));
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(line.contains(name) && line.contains("byte ") && line.contains("--salvage"), "{line}");

    let server = Running::on_disk(directory.path(), &["--salvage"]);
    assert!(server.said(&["salvaged", name, "are lost"]));
    let mut client = Client::connect(server.address);
    let kept = client.subscribe(r#""map":"m""#).entries.len();
    assert!((48..50).contains(&kept), "{kept} of 50 are left after one byte was hit");
    server.stop();
}

#[test]
fn a_backup_of_a_running_server_is_a_data_directory_of_its_own() {
    let (directory, copy) = (Directory::new(), Directory::new());
    let server = Running::on_disk(directory.path(), &["--checkpoint-interval-ms", "200"]);
    let mut client = Client::connect(server.address);
    write_durable(&mut client, &numbered("m", 0..900));
    let digest = client.digest("m");
    let flags = ["backup", text(copy.path()), "--data-dir", text(directory.path())];
    let output = annulus(&flags).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // What comes later is not in it.
    write_durable(&mut client, &numbered("m", 900..1000));
    let refused = annulus(&flags).output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "the copy is not overwritten");
    drop(client);
    server.stop();

    let server = Running::on_disk(copy.path(), &[]);
    assert_eq!(Client::connect(server.address).digest("m"), digest);
    server.stop();
}

#[test]
fn a_server_without_a_disk_leaves_no_file() {
    let directory = Directory::new();
    fs::create_dir(directory.path()).unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--storage", "memory"];
    let mut server = annulus(&flags).current_dir(directory.path()).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_journal_that_cannot_be_written_ends_the_process() {
    let directory = Directory::new();
    let mut server = Running::on_disk(directory.path(), &[]);
    let mut client = Client::connect(server.address);
    assert!(client.read("m", "k").is_none());
    fs::remove_dir(directory.path().join("journal")).unwrap();
    client.send(&format!(r#"{{"type":"write","ack":"durable","ops":[{}]}}"#, set("m", "k", 1)));
    assert_eq!(server.exit_code(), Some(1));
    await_that("its last words", || {
        server.said(&["the journal cannot be written", "cannot create journal/"])
    });
}

/// Runs a command on a data directory, which must succeed; what it prints.
fn task(arguments: &[&str]) -> String {
    let output = annulus(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_exported_imports_into_the_same_maps_and_verifies_with_the_same_digests() {
    let (directory, other) = (Directory::new(), Directory::new());
    let server = Running::on_disk(directory.path(), &[]);
    let mut client = Client::connect(server.address);
    write_durable(&mut client, &numbered("lww", 0..300));
    write_durable(&mut client, r#"{"map":"lww","key":"k7","op":"delete"}"#);
    write_durable(&mut client, r#"{"map":"or","key":"k","op":"add","value":{"a":[1,null]}}"#);
    write_durable(&mut client, r#"{"map":"counter","key":"k","op":"increment","by":-3}"#);
    let maps = ["counter", "lww", "or"];
    let digests = maps.map(|map| client.digest(map));
    drop(client);
    server.stop();

    let file = other.path().with_extension("jsonl");
    task(&["export", "--data-dir", text(directory.path()), "--output", text(&file)]);
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 302);
    let only = task(&["export", "--data-dir", text(directory.path()), "--map", "or"]);
    assert_eq!(only.lines().count(), 1);
    for _ in 0..2 {
        task(&["import", text(&file), "--data-dir", text(other.path())]);
    }
    fs::remove_file(&file).unwrap();
    for path in [directory.path(), other.path()] {
        let verified = task(&["verify", text(path)]);
        for (map, (_, hash)) in maps.iter().zip(&digests) {
            assert!(
                verified.lines().any(|line| line.contains(map) && line.contains(hash.as_str())),
                "{map} {hash} is not in\n{verified}"
            );
        }
    }
    let server = Running::on_disk(other.path(), &[]);
    let mut client = Client::connect(server.address);
    assert_eq!(maps.map(|map| client.digest(map)), digests);
    server.stop();
}

#[test]
fn a_damaged_directory_does_not_verify() {
    let directory = Directory::new();
    let server = Running::on_disk(directory.path(), &[]);
    for n in 0..20 {
        write_durable(&mut Client::connect(server.address), &set("m", &format!("k{n}"), n));
    }
    server.kill();
    task(&["verify", text(directory.path())]);
    let segment = directory.segment();
    let middle = fs::metadata(&segment).unwrap().len() / 2;
    OpenOptions::new().write(true).open(&segment).unwrap().write_all_at(&[0xAA; 3], middle).unwrap();
    let output = annulus(&["verify", text(directory.path())]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("damaged: "), "{output:?}");
}

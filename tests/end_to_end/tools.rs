//! The commands on a data directory beside `serve`: what rights they need, what they leave, and what they refuse.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::process::{Running, annulus};
use crate::server::{Directory, await_that};

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a name of this test")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the command as a user who is not root; `None`, and a word about it, where this test cannot.
fn without_privileges(arguments: &[&str]) -> Option<Output> {
    let program = env!("CARGO_BIN_EXE_annulus");
    if !rustix::process::geteuid().is_root() {
        return Some(annulus(arguments).output().expect("cargo has built the command"));
    }
    let as_nobody = |arguments: &[&str]| {
        let flags = ["--reuid=65534", "--regid=65534", "--clear-groups", program];
        Command::new("setpriv").args(flags).args(arguments).env_clear().output()
    };
    match as_nobody(&["--version"]) {
        Ok(output) if output.status.success() => Some(as_nobody(arguments).expect("it has just run")),
        _ => {
            println!("skipped: setpriv cannot run {program} as nobody");
            None
        }
    }
}

/// Gives everything below `path` the rights that `mode` makes of what it has.
pub fn change_modes(path: &Path, mode: impl Fn(u32) -> u32 + Copy) {
    let metadata = fs::metadata(path).unwrap();
    if metadata.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| change_modes(&entry.unwrap().path(), mode));
    }
    fs::set_permissions(path, Permissions::from_mode(mode(metadata.permissions().mode()))).unwrap();
}

/// Every file below `path`, with its content; the socket that a killed server leaves has none.
fn content(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else if path.is_file() {
            found.push((text(&path).to_owned(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Goal: who may only read a directory can check and export it. Method: the command runs without the right to write
/// anything there, on a directory as a killed server leaves it and on one without the file of the lock.
#[test]
fn verify_and_export_need_no_right_to_write() {
    let directory = Directory::new();
    let server = Running::on_disk(directory.path(), &[]);
    let mut client = Client::connect(server.address);
    client.write(&set("m", "k", 1));
    let ack = client.ask(&format!(r#"{{"type":"write","ack":"durable","ops":[{}]}}"#, set("m", "l", 2)));
    assert_eq!(ack["level"], "durable");
    server.kill();
    for has_lock in [true, false] {
        if !has_lock {
            fs::remove_file(directory.path().join("LOCK")).unwrap();
        }
        let readable = |mode: u32| (mode | 0o444 | ((mode & 0o100) >> 3) | ((mode & 0o100) >> 6)) & !0o222;
        change_modes(directory.path(), readable);
        let before = content(directory.path());
        let ran =
            [&["verify", text(directory.path())][..], &["export", "--data-dir", text(directory.path())]]
                .map(without_privileges);
        let after = content(directory.path());
        change_modes(directory.path(), |mode| mode | 0o200);
        let [Some(verified), Some(exported)] = ran else { return };
        assert!(verified.status.success(), "{}", stderr(&verified));
        assert!(String::from_utf8_lossy(&verified.stdout).contains("everything verifies"));
        assert!(exported.status.success(), "{}", stderr(&exported));
        assert_eq!(String::from_utf8_lossy(&exported.stdout).lines().count(), 2);
        assert!(before == after, "nothing is changed and nothing is made");
    }
}

#[test]
fn what_cannot_be_read_is_named_with_what_to_do() {
    let directory = Directory::new();
    fs::create_dir(directory.path()).unwrap();
    let (missing, file) = (directory.path().join("missing"), directory.path().join("file"));
    fs::write(&file, "no directory").unwrap();
    let format = directory.path().join("FORMAT");
    for (path, problem) in [
        (missing.as_path(), "is not there; name the data directory with --data-dir".to_owned()),
        (&file, format!("{}: not a directory", file.display())),
        (directory.path(), format!("{} is not there; is this the right directory?", format.display())),
    ] {
        for arguments in [&["verify"][..], &["export"], &["backup", "/nowhere/at/all"]] {
            let output = annulus(&[arguments, &["--data-dir", text(path)]].concat()).output().unwrap();
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{arguments:?} {said}");
            assert!(said.starts_with("annulus: ") && said.contains(&problem), "{arguments:?}: {said}");
            assert_eq!((said.lines().count(), output.stdout.len()), (1, 0), "{arguments:?}: {said}");
        }
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is made there");
    fs::write(&format, "annulus-data 99\n").unwrap();
    for arguments in [&["verify"][..], &["export"], &["backup", "/nowhere/at/all"], &["import"]] {
        let flags = ["--data-dir", text(directory.path())];
        let output = annulus(&[arguments, &flags].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("has format version 99"), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_server_in_the_way_is_named_with_what_to_do_instead() {
    let directory = Directory::new();
    let server = Running::on_disk(directory.path(), &[]);
    let flags = ["--data-dir", text(directory.path())];
    for (command, instead) in
        [("verify", "take an `annulus backup` and verify that"), ("import", "stop the server first")]
    {
        let output = annulus(&[&[command][..], &flags].concat()).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("listens on {}", server.address)) && said.contains(instead), "{said}");
    }
    server.stop();
}

/// Runs a command that must succeed; its lines on stdout, and its last line on stderr.
pub fn task(arguments: &[&str]) -> (Vec<String>, String) {
    let output = annulus(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    let mut lines: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    (lines, stderr(&output).lines().last().unwrap_or_default().to_owned())
}

/// Writes of every kind, all durable: 2 + 1 keys of `lww`, 2 + 1 of `or`, 2 of `counter`, and tombstones.
pub fn write_everything(client: &mut Client) {
    let ops = [
        &set("lww", "kept", r#"{"a":[1,null,"\u20ac"]}"#),
        &set("lww", "also", "2"),
        r#"{"map":"lww","key":"ended","op":"set","value":1,"ttl_ms":1}"#,
        &set("lww", "deleted", "1"),
        r#"{"map":"or","key":"kept","op":"add","value":{"b":1}}"#,
        r#"{"map":"or","key":"kept","op":"add","value":2,"tag":"t1"}"#,
        r#"{"map":"or","key":"deleted","op":"add","value":3,"tag":"t2"}"#,
        r#"{"map":"counter","key":"up","op":"increment","by":5}"#,
        r#"{"map":"counter","key":"down","op":"increment","by":-3}"#,
    ];
    let more = [
        r#"{"map":"lww","key":"deleted","op":"delete"}"#,
        r#"{"map":"or","key":"kept","op":"remove","tags":["t1"]}"#,
        r#"{"map":"or","key":"deleted","op":"remove","tags":["t2"]}"#,
    ];
    for ops in [ops.join(","), more.join(",")] {
        let ack = client.ask(&format!(r#"{{"type":"write","ack":"durable","ops":[{ops}]}}"#));
        assert_eq!(ack["level"], "durable", "{ack}");
        assert!(ack.get("rejected").is_none(), "{ack}");
    }
    thread::sleep(Duration::from_millis(20));
}

/// Goal: one data set is counted in one way and is the same wherever it goes. Method: partly folded, it is copied,
/// checked, exported from the running server, from the stopped one and from the copy, and imported.
#[test]
fn every_command_counts_the_same_and_brings_the_same_along() {
    const COUNTS: &str = "3 maps, 5 keys, 3 tombstones";
    let [directory, copy, later, other] = [(); 4].map(|()| Directory::new());
    let server = Running::on_disk(directory.path(), &[]);
    let mut client = Client::connect(server.address);
    write_everything(&mut client);
    let data = ["--data-dir", text(directory.path())];

    let (lines, exported) = task(&[&["export"], &data[..]].concat());
    assert_eq!(lines.len(), 8, "{lines:?}");
    assert!(exported.starts_with(&format!("{COUNTS}; ")), "{exported}");
    let (_, copied) = task(&[&["backup", text(copy.path())], &data[..]].concat());
    assert!(copied.starts_with(&format!("{COUNTS}; ")), "{copied}");
    drop(client);
    server.kill();

    assert_eq!(task(&[&["export"], &data[..]].concat()), (lines.clone(), exported.clone()));
    let (_, copied_later) = task(&[&["backup", text(later.path())], &data[..]].concat());
    assert!(copied_later.starts_with(COUNTS), "{copied_later}");
    let file = other.path().with_extension("jsonl");
    for directory in [copy.path(), later.path()] {
        let output = ["--data-dir", text(directory), "--output", text(&file)];
        let (_, report) = task(&[&["export"], &output[..]].concat());
        assert_eq!(report, exported);
    }
    let (_, imported) = task(&["import", text(&file), "--data-dir", text(other.path())]);
    assert_eq!(imported, format!("{COUNTS} in 8 lines; 8 keys changed"));
    fs::remove_file(&file).unwrap();

    let verified = [directory.path(), copy.path(), later.path(), other.path()].map(|path| {
        let (lines, _) = task(&["verify", text(path)]);
        assert!(lines.iter().any(|line| line == COUNTS), "{lines:?}");
        lines.into_iter().filter(|line| line.contains("digest")).collect::<Vec<_>>()
    });
    assert_eq!(verified[0].len(), 3);
    assert!(verified.iter().all(|digests| *digests == verified[0]), "{verified:?}");
    assert_eq!(task(&["export", "--data-dir", text(other.path())]), (lines, exported));
}

/// Goal: an export beside a running server is one moment, with everything acked as durable before. Method: a client
/// writes one key after the other while exports run; each has all that was acked before, and no hole.
#[test]
fn an_export_beside_a_running_server_has_all_durable_writes_of_one_moment() {
    let directory = Directory::new();
    let server =
        Running::on_disk(directory.path(), &["--segment-bytes", "1MiB", "--checkpoint-interval-ms", "100"]);
    let (acked, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut counts = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(server.address);
            let pad = "x".repeat(2_000);
            for number in 1.. {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                let ops = set("m", &format!("n{number}"), format!("\"{pad}\""));
                let ack = client.ask(&format!(r#"{{"type":"write","ack":"durable","ops":[{ops}]}}"#));
                assert_eq!(ack["level"], "durable", "{ack}");
                acked.store(number, Ordering::SeqCst);
            }
        });
        for _ in 0..15 {
            let before = acked.load(Ordering::SeqCst);
            let output = annulus(&["export", "--data-dir", text(directory.path())]).output();
            counts.push((before, output, acked.load(Ordering::SeqCst)));
            thread::sleep(Duration::from_millis(20));
        }
        // Nothing above may panic, as the scope waits for the client.
        is_over.store(true, Ordering::SeqCst);
    });
    for (before, output, after) in counts {
        let output = output.unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let mut keys: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(number_of).collect();
        keys.sort_unstable();
        // The writes of one client come one after the other, so those of one moment have no hole.
        assert_eq!(keys, (1..=keys.len() as u64).collect::<Vec<_>>());
        assert!((before..=after + 1).contains(&(keys.len() as u64)), "{before} to {after}: {}", keys.len());
    }
    server.stop();
}

/// The number in the key of a line.
fn number_of(line: &str) -> u64 {
    let key = line.split(r#""key":"n"#).nth(1).and_then(|rest| rest.split('"').next());
    key.and_then(|number| number.parse().ok()).expect("the keys of this test are numbers")
}

#[test]
fn an_export_that_fails_leaves_no_file_and_the_one_before() {
    let directory = Directory::new();
    let server = Running::on_disk(directory.path(), &[]);
    let folder = Directory::new();
    fs::create_dir(folder.path()).unwrap();
    let file = folder.path().join("all.jsonl");
    fs::write(&file, "of before").unwrap();
    let flags = ["export", "--data-dir", text(directory.path()), "--output", text(&file)];
    let output = annulus(&[&flags[..], &["--map", "nothing"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no map \"nothing\" in "), "{}", stderr(&output));
    assert_eq!(content(folder.path()), [(text(&file).to_owned(), b"of before".to_vec())]);

    Client::connect(server.address).write(&set("m", "k", 1));
    task(&flags);
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 1);
    // What is no file is written to, and stays what it is.
    let device = folder.path().join("device");
    std::os::unix::fs::symlink("/dev/null", &device).unwrap();
    task(&["export", "--data-dir", text(directory.path()), "--output", text(&device)]);
    assert_eq!(fs::read_link(&device).unwrap(), Path::new("/dev/null"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    server.stop();
}

/// Goal: who stops reading an export does the server no harm. Method: a reader takes a little of it and goes.
#[test]
fn an_export_that_nobody_takes_to_the_end_does_no_harm() {
    let directory = Directory::new();
    let server = Running::on_disk(directory.path(), &[]);
    let mut client = Client::connect(server.address);
    let value = format!(r#""{}""#, "x".repeat(100_000));
    for key in 0..40 {
        client.write(&set("m", &format!("k{key}"), &value));
    }
    let mut export = annulus(&["export", "--data-dir", text(directory.path())])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut some = [0; 1000];
    std::io::Read::read_exact(export.stdout.as_mut().unwrap(), &mut some).unwrap();
    export.kill().unwrap();
    export.wait().unwrap();
    await_that("the word about it", || server.said(&["an export is not complete"]));
    client.write(&set("m", "k", 1));
    assert_eq!(task(&["export", "--data-dir", text(directory.path())]).0.len(), 41);
    server.stop();
}

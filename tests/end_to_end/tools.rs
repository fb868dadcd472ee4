//! The commands on a data directory beside `serve`: what rights they need, what they leave, and what they refuse.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::client::{Client, set};
use crate::process::{Running, annulus};
use crate::server::Directory;

fn text(path: &Path) -> &str {
    path.to_str().expect("a name of this test")
}

fn stderr(output: &Output) -> String {
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
fn change_modes(path: &Path, mode: impl Fn(u32) -> u32 + Copy) {
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

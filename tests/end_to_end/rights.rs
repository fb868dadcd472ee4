//! Whose the files are: who may read what is stored, and what is not taken for a data directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::client::{Client, set};
use crate::process::{Running, annulus, failure};
use crate::server::{Directory, await_that};
use crate::tools::{change_modes, stderr, task, text, write_everything};

/// Modes of everything below `path`, and of itself.
fn modes(path: &Path) -> Vec<(String, u32)> {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mut found = vec![(text(path).to_owned(), metadata.permissions().mode() & 0o777)];
    if metadata.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| found.extend(modes(&entry.unwrap().path())));
    }
    found
}

/// Goal: what is stored has the rights that were asked for, whatever the umask says. Method: everything that makes files
/// makes some, with the rights of the owner alone and with those of a group that may read.
#[test]
fn what_is_stored_is_for_its_owner_or_for_whom_data_mode_names() {
    for (flag, files, folders) in [(&[][..], 0o600, 0o700), (&["--data-mode", "0640"][..], 0o640, 0o750)] {
        let [directory, copy, other, redated] = [(); 4].map(|()| Directory::new());
        let server = Running::on_disk(directory.path(), flag);
        let mut client = Client::connect(server.address);
        write_everything(&mut client);
        let file = other.path().with_extension("jsonl");
        let data = [flag, &["--data-dir", text(directory.path())]].concat();
        task(&[&["backup", text(copy.path())], &data[..]].concat());
        client.write(&set("m", "k", 1));
        task(&[&["export", "--output", text(&file)], &data[..]].concat());
        task(&[flag, &["import", text(&file), "--data-dir", text(other.path())]].concat());
        let from_copy = ["clock", "--set-back", text(redated.path()), "--data-dir", text(copy.path())];
        task(&[flag, &from_copy].concat());
        let made = [directory.path(), copy.path(), other.path(), redated.path(), &file];
        let mut found = made.map(modes).concat();
        server.stop();
        found.extend(modes(directory.path()));
        fs::remove_file(&file).unwrap();
        assert!(found.iter().any(|(path, _)| path.ends_with("control.sock")), "{found:?}");
        for (path, mode) in found {
            let is_folder = path.ends_with("/journal")
                || [&directory, &copy, &other, &redated].iter().any(|of| text(of.path()) == path);
            assert_eq!(mode, if is_folder { folders } else { files }, "{path} {mode:o}");
        }
    }
}

#[test]
fn data_that_others_may_read_is_left_so_and_said_at_start() {
    let directory = Directory::new();
    Running::on_disk(directory.path(), &[]).stop();
    change_modes(directory.path(), |mode| mode | 0o044 | ((mode & 0o100) >> 3) | ((mode & 0o100) >> 6));
    let server = Running::on_disk(directory.path(), &[]);
    await_that("the warning", || server.said(&["base.redb has mode 644", "chmod -R u=rwX,go= "]));
    server.stop();
    assert_eq!(modes(&directory.path().join("base.redb"))[0].1, 0o644);
    let doctor = annulus(&["doctor", "--listen", "127.0.0.1:0", "--data-dir", text(directory.path())])
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(
        report.lines().any(|line| line.starts_with("warn  data mode") && line.contains("chmod")),
        "{report}"
    );
}

/// Goal: a directory of somebody else is refused, with the name of what is in it, and left as it is; one that a first
/// start has half made, or that is the root of a file system, is fine.
#[test]
fn a_directory_of_somebody_else_is_refused_and_left_alone() {
    let directory = Directory::new();
    fs::create_dir(directory.path()).unwrap();
    let foreign = directory.path().join("passwd");
    fs::write(&foreign, "root").unwrap();
    let data = ["--data-dir", text(directory.path())];
    let said = format!("{} is not of annulus", foreign.display());
    let (code, line) = failure(&[&data[..], &["--listen", "127.0.0.1:0"]].concat());
    assert!(code == Some(1) && line.contains(&said), "{line}");
    let imported = annulus(&[&["import", "/dev/null"], &data[..]].concat()).output().unwrap();
    assert!(imported.status.code() == Some(1) && stderr(&imported).contains(&said), "{}", stderr(&imported));
    let doctor = annulus(&[&["doctor", "--listen", "127.0.0.1:0"], &data[..]].concat()).output().unwrap();
    assert!(String::from_utf8_lossy(&doctor.stdout).contains(&said) && doctor.status.code() == Some(1));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is made there");

    fs::remove_file(&foreign).unwrap();
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    fs::create_dir(directory.path().join("journal")).unwrap();
    fs::write(directory.path().join("LOCK"), "process 1").unwrap();
    fs::write(directory.path().join("FORMAT.tmp"), "annulus-d").unwrap();
    Running::on_disk(directory.path(), &[]).stop();

    let copy = Directory::new();
    fs::create_dir_all(copy.path().join("lost+found")).unwrap();
    task(&[&["backup", text(copy.path())], &data[..]].concat());
    let again = annulus(&[&["backup", text(copy.path())], &data[..]].concat()).output().unwrap();
    assert!(
        again.status.code() == Some(1) && stderr(&again).contains("is there already"),
        "{}",
        stderr(&again)
    );
}

/// Goal: a server in a directory whose path is longer than that of a socket can be asked as any other. Method: one byte
/// less than too long, the first that is, and far beyond.
#[test]
fn a_server_in_a_deep_directory_is_reached() {
    for bytes in [94, 95, 400] {
        let [top, copy] = [(); 2].map(|()| Directory::new());
        let name = |length: usize| "d".repeat(length);
        let mut directory = top.path().to_owned();
        while directory.as_os_str().len() + 102 < bytes {
            directory.push(name(100));
        }
        directory.push(name(bytes - directory.as_os_str().len() - 1));
        assert_eq!(directory.as_os_str().len(), bytes);
        let server = Running::on_disk(&directory, &[]);
        let mut client = Client::connect(server.address);
        client.write(&set("m", "k", 1));
        let data = ["--data-dir", text(&directory)];
        let (lines, report) = task(&[&["export"], &data[..]].concat());
        assert!(lines.len() == 1, "{bytes}: {lines:?} {report}");
        task(&[&["backup", text(copy.path())], &data[..]].concat());
        let socket = directory.join("control.sock");
        assert_eq!(modes(&socket), [(text(&socket).to_owned(), 0o600)]);
        server.stop();
        assert!(!socket.exists(), "nothing is left of it");
    }
}

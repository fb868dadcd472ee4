//! A user who may lock little memory, to which some kernels count rings. It takes root to become one, and `setpriv` and
//! `prlimit`; without them there is nothing to see, which is said.

use std::process::{Command, Output};

use crate::process::Running;

/// A user that nothing else runs as, as the limit is on all processes of one.
const USER: &str = "--reuid=64873";

/// `annulus` as a user who may lock so much.
fn poor(kib: usize) -> Command {
    let mut command = Command::new("prlimit");
    let limit = format!("--memlock={0}:{0}", kib << 10);
    command.args([&limit, "setpriv", USER, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
    command
}

fn run(kib: usize, arguments: &[&str]) -> Output {
    let cores = crate::server::two_cores();
    poor(kib)
        .arg(env!("CARGO_BIN_EXE_annulus"))
        .args(arguments)
        .args(["--cores", &format!("{},{}", cores[0], cores[1])])
        .output()
        .unwrap()
}

/// Whether such users can be had here and the kernel counts rings to them.
fn can_be_poor() -> bool {
    let runs = rustix::process::geteuid().is_root()
        && poor(8 << 10)
            .args([env!("CARGO_BIN_EXE_annulus"), "--version"])
            .output()
            .is_ok_and(|o| o.status.success());
    if !runs {
        eprintln!("skipped: only root with setpriv, prlimit and a binary that all may run can show this");
        return false;
    }
    let doctor = run(600, &["doctor", "--storage", "memory", "--listen", "127.0.0.1:0"]);
    let counts = !String::from_utf8_lossy(&doctor.stdout).contains("ok    locked memory");
    if !counts {
        eprintln!("skipped: this kernel does not count rings as locked memory");
    }
    counts
}

#[test]
fn rings_shrink_where_little_memory_may_be_locked_and_what_to_raise_is_told() {
    if !can_be_poor() {
        return;
    }
    // Two full rings fit, though the probe had one a moment ago.
    let server = Running::by(poor(1_200));
    assert!(!server.said(&["smaller rings"]));
    server.stop();

    let server = Running::by(poor(700));
    crate::server::await_that("the warning", || {
        server.said(&["1 of 2 shards", "smaller rings", "LimitMEMLOCK=3M"])
    });
    crate::client::Client::pair(server.address);
    server.stop();

    let doctor = run(700, &["doctor", "--storage", "memory", "--listen", "127.0.0.1:0"]);
    let report = String::from_utf8(doctor.stdout).unwrap();
    let line = report.lines().find(|line| line.contains("locked memory")).unwrap();
    assert!(line.starts_with("warn") && line.contains("1 of 2") && line.contains("memlock 3072"), "{line}");

    let failed = run(64, &["--storage", "memory", "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8(failed.stderr).unwrap();
    let last = said.lines().last().unwrap();
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(
        last.contains("1080 KiB") && last.contains("64 KiB") && last.contains("LimitMEMLOCK=3M"),
        "{said}"
    );
}

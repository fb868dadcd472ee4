//! The units of systemd: what its own tool says of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::fleet::Client;
use crate::manager::{Manager, two_cores};

fn systemd_analyze(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("ops"))
        .env("SYSTEMD_COLORS", "0")
        .output()
        .unwrap_or_else(|error| panic!("systemd-analyze: {error}; scripts/setup installs it"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn the_service_is_exposed_to_2_0_at_most() {
    let limit = ["security", "--offline=true", "--no-pager", "--threshold=20", "annulus.service"];
    let (is_fine, said) = systemd_analyze(&limit);
    assert!(is_fine && said.contains("Overall exposure level for annulus.service"), "{said}");
}

/// The names of the calls that a filter lets pass.
fn calls_of(set: &str) -> Vec<String> {
    let (is_fine, said) = systemd_analyze(&["syscall-filter", "--no-pager", set]);
    assert!(is_fine, "{said}");
    let words = said.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    words.filter(|word| *word != set).map(str::to_owned).collect()
}

/// What the lines of the unit let pass in their order, as systemd.exec(5) has it.
fn allowed() -> BTreeSet<String> {
    let unit =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/annulus.service")).unwrap();
    let mut allowed = BTreeSet::new();
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (is_denied, words) = line.strip_prefix('~').map_or((false, line), |rest| (true, rest));
        let mut open: Vec<String> = words.split(' ').map(str::to_owned).collect();
        while let Some(word) = open.pop() {
            if word.starts_with('@') {
                open.extend(calls_of(&word));
            } else if is_denied {
                allowed.remove(&word);
            } else {
                allowed.insert(word);
            }
        }
    }
    allowed
}

/// A program for the kernel (seccomp(2)) that answers every call that is not allowed as the unit does, with EPERM.
fn filter(allowed: &BTreeSet<String>) -> Vec<libc::sock_filter> {
    let header = std::fs::read_to_string("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
        .expect("the numbers of the calls, which come with a compiler of C");
    let numbers = header.lines().filter_map(|line| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        allowed.contains(name).then(|| number.trim().parse::<u32>().unwrap())
    });
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let answer = |k| step(libc::BPF_RET | libc::BPF_K, 0, 0, k);
    // The number of the call is at the beginning of what the program sees.
    let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for number in numbers {
        program.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number));
        program.push(answer(libc::SECCOMP_RET_ALLOW));
    }
    program.push(answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    program
}

/// What comes of a server under this filter that is started, written to, reloaded, upgraded and stopped.
fn live(filter: Vec<libc::sock_filter>) -> Result<(), String> {
    let mut manager = Manager::new();
    manager.filter = filter;
    let data_dir = manager.data_dir();
    let arguments =
        ["--listen", "127.0.0.1:0", "--cores", two_cores(), "--auth", "optional", "--data-dir", &data_dir];
    manager.spawn(&arguments);
    let mut ended = None;
    manager.await_that("a start, or an end", || {
        ended = manager.ended();
        ended.is_some() || manager.count("READY=1") == 1
    });
    if ended.is_some() {
        return Err(manager.log());
    }
    let address = manager.ready(0);
    for life in 2..4 {
        let mut client = Client::connect(address).unwrap().unwrap();
        let op = r#"{"map":"m","key":"k","op":"set","value":1}"#;
        client.send(format!(r#"{{"type":"write","id":2,"ack":"durable","ops":[{op}]}}"#)).unwrap();
        assert_eq!(client.receive().unwrap()["level"], "durable");
        drop(client);
        manager.signal(Signal::HUP);
        manager.await_that("a reload", || manager.count("READY=1") == 2 * life - 2);
        let lines = manager.lines().len();
        let upgrade = ["--data-dir", &data_dir, "upgrade"];
        let done = Command::new(env!("CARGO_BIN_EXE_annulus")).args(upgrade).output().unwrap();
        assert!(done.status.success(), "{done:?}\n{}", manager.log());
        manager.ready(lines);
    }
    manager.stop();
    Ok(())
}

#[test]
fn a_server_lives_with_what_the_unit_lets_it_call_and_not_with_less() {
    let mut allowed = allowed();
    assert!(allowed.len() > 100 && !allowed.contains("mount") && !allowed.contains("ptrace"), "{allowed:?}");
    live(filter(&allowed)).unwrap();
    for call in ["io_uring_setup", "sched_setaffinity"] {
        assert!(allowed.remove(call));
        let log = live(filter(&allowed)).expect_err(call);
        let said = log.lines().last().unwrap_or_default();
        assert!(said.starts_with("annulus: "), "{call}: {log}");
        allowed.insert(call.to_owned());
    }
}

//! `annulus upgrade`: another program in the place of the running one, under load.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::fleet::{Client, Fleet, check};
use crate::manager::{Manager, one_core, two_cores};

/// Clients of the test under load; `CLIENTS=5000 cargo test --release --test operations under_load -- --nocapture` is for a
/// machine that has nothing else to do.
fn clients() -> usize {
    std::env::var("CLIENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(200)
}

fn upgrade(data_dir: &str, more: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annulus"));
    command.env_clear().args(["--data-dir", data_dir, "upgrade"]).args(more);
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.success(), String::from_utf8(stderr).unwrap())
}

#[test]
fn an_upgrade_under_load_refuses_nobody_and_loses_nothing() {
    let mut manager = Manager::new();
    let data_dir = manager.data_dir();
    // With the name of the action among the arguments, and a value that reads like it.
    let arguments = ["--node", "serve", "serve", "--listen", "127.0.0.1:0", "--cores", two_cores()];
    let arguments = [&arguments[..], &["--drain-ms", "1000", "--data-dir", &data_dir]].concat();
    let address = manager.start(&arguments);
    let clients = clients();
    let fleet = Fleet::start(address, clients);
    let other = manager.folder.path().join("annulus-2");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_annulus"), &other).unwrap();
    for more in [&[][..], &["--binary", other.to_str().unwrap()]] {
        let acked = fleet.counts.acked.load(Ordering::Relaxed);
        manager.await_that("writes", || fleet.counts.acked.load(Ordering::Relaxed) > acked + clients * 3);
        let (lines, process_id) = (manager.lines().len(), manager.process_id());
        let (is_done, said) = upgrade(&data_dir, more);
        assert!(is_done, "{said}\n{}", manager.log());
        assert!(said.contains(&format!("process {process_id}, serves; nobody was accepted for ")), "{said}");
        assert_eq!(manager.ready(lines), address, "the same port");
        eprintln!("{said}");
    }
    thread::sleep(Duration::from_millis(1500));
    let counts = std::sync::Arc::clone(&fleet.counts);
    let known = fleet.end();
    eprintln!("{counts:?}");
    assert_eq!(counts.refused.load(Ordering::Relaxed), 0, "{counts:?}");
    assert_eq!(counts.cut.load(Ordering::Relaxed), 0, "{counts:?}");
    assert_eq!(counts.reset.load(Ordering::Relaxed), 0, "{counts:?}");
    assert!(counts.sent_away.load(Ordering::Relaxed) >= 2 * clients, "{counts:?}");
    check(&known);
    assert_eq!(manager.count("RELOADING=1"), 2);
    assert_eq!(manager.log().matches("can serve these settings; draining").count(), 2);
    manager.stop();
}

#[test]
fn a_program_that_cannot_serve_is_refused_and_the_server_serves_on() {
    let mut manager = Manager::new();
    let data_dir = manager.data_dir();
    let address = manager.start(&["--listen", "127.0.0.1:0", "--cores", one_core(), "--data-dir", &data_dir]);
    let mut client = Client::connect(address).unwrap().unwrap();
    for (program, part) in [
        ("/not/there", "No such file"),
        ("/bin/false", "/bin/false cannot take over"),
        // It does not know what it is asked.
        ("/bin/true", "/bin/true is no annulus"),
    ] {
        let (is_done, said) = upgrade(&data_dir, &["--binary", program]);
        assert!(!is_done && said.contains(part) && said.contains("serves on"), "{said}");
    }
    client.send(r#"{"type":"subscribe","id":1,"map":"m"}"#.to_owned()).unwrap();
    client.receive().unwrap();
    manager.stop();
}

// It was there when it was asked.
#[test]
fn where_the_next_program_cannot_be_started_the_old_one_is_again() {
    let mut manager = Manager::new();
    let data_dir = manager.data_dir();
    let address = manager.start(&["--listen", "127.0.0.1:0", "--cores", one_core(), "--data-dir", &data_dir]);
    let program = manager.folder.path().join("annulus-9");
    let script = "#!/bin/sh\necho annulus 9\ncase \"$*\" in *--check) rm \"$0\";; esac\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let lines = manager.lines().len();
    let (is_done, said) = upgrade(&data_dir, &["--binary", program.to_str().unwrap()]);
    assert!(is_done && said.contains("annulus-9, annulus 9, can serve"), "{said}\n{}", manager.log());
    assert_eq!(manager.ready(lines), address, "the same port");
    assert!(manager.log().contains("annulus-9 cannot be started: No such file"), "{}", manager.log());
    assert!(Client::connect(address).unwrap().is_ok());
    manager.stop();
}

#[test]
fn a_next_program_that_ends_is_told_of() {
    let mut manager = Manager::new();
    let data_dir = manager.data_dir();
    manager.start(&["--listen", "127.0.0.1:0", "--cores", one_core(), "--data-dir", &data_dir]);
    let program = manager.folder.path().join("annulus-9");
    std::fs::write(
        &program,
        "#!/bin/sh\necho annulus 9\ncase \"$*\" in *-dir*--check|--version) ;; *) exit 3;; esac\n",
    )
    .unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let upgrading = thread::spawn(move || upgrade(&data_dir, &["--binary", program.to_str().unwrap()]));
    assert_eq!(manager.exit_code(), Some(3));
    let (is_done, said) = upgrading.join().unwrap();
    assert!(!is_done && said.contains("the next one does not serve"), "{said}");
}

#[test]
fn without_a_server_that_keeps_anything_it_says_so() {
    let manager = Manager::new();
    let data_dir = manager.data_dir();
    let (is_done, said) = upgrade(&data_dir, &[]);
    assert!(!is_done && said.contains("is not there"), "{said}");
    std::fs::create_dir(&data_dir).unwrap();
    let (is_done, said) = upgrade(&data_dir, &[]);
    assert!(!is_done && said.contains("--storage memory keeps nothing"), "{said}");
}

//! `WATCHDOG=1` comes while every thread makes turns, and stops when one does not.
#![allow(unsafe_code, reason = "one thread of the server is stopped, which takes ptrace")]

use std::thread;
use std::time::Duration;

use crate::manager::{Manager, one_core, two_cores};

/// The thread of this process with this name.
fn thread_named(process_id: u32, name: &str) -> i32 {
    let tasks = std::fs::read_dir(format!("/proc/{process_id}/task")).unwrap();
    let is_it = |path: &std::path::Path| {
        std::fs::read_to_string(path.join("comm")).unwrap_or_default().trim() == name
    };
    let found = tasks.map(|task| task.unwrap().path()).find(|path| is_it(path)).expect(name);
    found.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

fn ptrace(request: libc::c_uint, thread: i32) {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: these requests (PTRACE_SEIZE, INTERRUPT, DETACH) take no address and write nothing here.
    let outcome = unsafe { libc::ptrace(request, thread, nothing, nothing) };
    assert!(outcome == 0, "ptrace {request}: {}", std::io::Error::last_os_error());
}

#[test]
fn a_thread_that_hangs_keeps_the_manager_from_hearing_that_all_are_alive() {
    let mut manager = Manager::new();
    manager.variables.push(("WATCHDOG_USEC".to_owned(), "1000000".to_owned()));
    let data_dir = manager.data_dir();
    manager.start(&["--listen", "127.0.0.1:0", "--cores", two_cores(), "--data-dir", &data_dir]);
    assert_eq!(manager.count("WATCHDOG_USEC=1000000"), 1);
    manager.await_that("signs of life", || manager.count("WATCHDOG=1") >= 3);
    for (name, told) in
        [("shard-1", "shard 1 makes no turn"), ("service", "the service thread makes no turn")]
    {
        let stopped = thread_named(manager.process_id(), name);
        ptrace(libc::PTRACE_SEIZE, stopped);
        ptrace(libc::PTRACE_INTERRUPT, stopped);
        manager.await_that(told, || manager.log().contains(told));
        // Those that were under way have come by now.
        let before = manager.count("WATCHDOG=1");
        thread::sleep(Duration::from_secs(1));
        assert_eq!(manager.count("WATCHDOG=1"), before, "{name} hangs");
        // It stops first, as whoever traces has to wait for.
        // SAFETY: with no place for its status there is nothing it writes.
        unsafe { libc::waitpid(stopped, std::ptr::null_mut(), libc::__WALL) };
        ptrace(libc::PTRACE_DETACH, stopped);
        manager.await_that("signs of life again", || manager.count("WATCHDOG=1") > before);
    }
    manager.stop();
}

#[test]
fn nobody_is_told_who_does_not_ask() {
    let mut manager = Manager::new();
    manager.start(&["--listen", "127.0.0.1:0", "--cores", one_core(), "--storage", "memory"]);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(manager.count("WATCHDOG=1"), 0);
    manager.stop();
}

//! The stand-in as a process of its own, for scenarios that start and end servers: the test program itself, told by
//! its environment to be one, behind a script that takes a server's arguments.
#![allow(unsafe_code, reason = "catching a signal is unsafe; the blocks below say why it is sound")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::hub::Hub;
use super::{Fault, start_at};

/// The test that [`serve`]s.
const TEST: &str = "serves_as_a_process_when_told_to";
const ARGUMENTS: &str = "STANDIN_ARGUMENTS";
/// What it does wrong, by the name it has here.
pub const FAULT: &str = "STANDIN_FAULT";
/// No test takes longer; what a broken one leaves behind is gone after that.
const LIFE: Duration = Duration::from_secs(60);

/// When one that is to fail in the middle does: its clients are connected by then.
const SOON: Duration = Duration::from_millis(900);

/// A folder for data directories, with the script that stands for the server's program; gone with its test.
pub struct Folder {
    pub path: PathBuf,
    pub program: PathBuf,
}

impl Folder {
    /// `name`: different in each test.
    pub fn create(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadtest-servers-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("nobody else has that name");
        let program = path.join("annulus");
        let own = std::env::current_exe().expect("a test program knows itself");
        let script =
            format!("#!/bin/sh\n{ARGUMENTS}=\"$*\" exec {} --ignored --exact {TEST}\n", own.display());
        fs::write(&program, script).expect("the folder is ours");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the file is ours");
        Self { path, program }
    }

    pub fn files(&self) -> usize {
        fs::read_dir(&self.path).map_or(0, Iterator::count)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Serves until it is told to stop, or until its fault ends or freezes it; returns at once when nobody has asked for it.
pub fn serve() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let value = |flag: &str| {
        let place = words.iter().position(|&word| word == flag).expect("a server is told so");
        words[place + 1]
    };
    let fault = match std::env::var(FAULT).as_deref() {
        Ok("ForgetOnStart") => Fault::ForgetOnStart,
        Ok("DamageOnStart") => Fault::DamageOnStart,
        Ok("EndBadly") => Fault::EndBadly,
        Ok("LosePong") => Fault::LosePong(20),
        _ => Fault::None,
    };
    let end = if fault == Fault::EndBadly { end_badly } else { end_well };
    // SAFETY: the handler does nothing but end the process, which is allowed at any moment.
    unsafe { libc::signal(libc::SIGTERM, end as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    let hub = Hub::new(fault).stored_in(&Path::new(value("--data-dir")).join("writes"));
    start_at(value("--listen"), hub);
    match std::env::var(FAULT).as_deref() {
        Ok("EndSoon") => thread::sleep(SOON),
        Ok("FreezeSoon") => {
            thread::sleep(SOON);
            // SAFETY: it stops the process until somebody continues or kills it.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
        _ => thread::sleep(LIFE),
    }
}

extern "C" fn end_well(_: libc::c_int) {
    // SAFETY: it ends the process without running anything else.
    unsafe { libc::_exit(0) }
}

extern "C" fn end_badly(_: libc::c_int) {
    // SAFETY: as above.
    unsafe { libc::_exit(3) }
}

//! As much of a service manager as the server talks to.
#![allow(unsafe_code, reason = "descriptors are put where sd_listen_fds(3) says, between fork and exec")]

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use annulus::io::host;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Two cores that this process may use; where there is one, it carries both shards.
pub fn two_cores() -> &'static str {
    static CORES: LazyLock<String> = LazyLock::new(|| {
        let allowed = host::allowed_cores();
        format!("{},{}", allowed[0], allowed.get(1).unwrap_or(&allowed[0]))
    });
    &CORES
}

/// The first of them.
pub fn one_core() -> &'static str {
    two_cores().split(',').next().unwrap()
}

/// A folder of one test, removed at its end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("annulus-operations-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// See the module.
pub struct Manager {
    pub folder: Folder,
    told: Arc<Mutex<Told>>,
    /// What servers may call; empty: everything.
    pub filter: Vec<libc::sock_filter>,
    /// Variables that servers are started with.
    pub variables: Vec<(String, String)>,
    child: Option<Child>,
}

#[derive(Default)]
struct Told {
    lines: Vec<String>,
    /// Listeners by their names, each in the order of their coming.
    kept: Vec<(String, OwnedFd)>,
}

impl Manager {
    pub fn new() -> Self {
        let folder = Folder::new();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let told: Arc<Mutex<Told>> = Arc::default();
        let hears = Arc::clone(&told);
        thread::spawn(move || while hear(&socket, &hears) {});
        let variables = vec![("NOTIFY_SOCKET".to_owned(), path.to_str().unwrap().to_owned())];
        Self { folder, told, filter: Vec::new(), variables, child: None }
    }

    pub fn data_dir(&self) -> String {
        self.folder.path().join("data").to_str().unwrap().to_owned()
    }

    /// Puts a listener into what is kept, as a socket unit does.
    pub fn keep(&self, name: &str, listener: OwnedFd) {
        self.told.lock().unwrap().kept.push((name.to_owned(), listener));
    }

    pub fn count_kept(&self) -> usize {
        self.told.lock().unwrap().kept.len()
    }

    /// Starts the server with everything that is kept, and waits until it says that it is ready. Where it serves.
    pub fn start(&mut self, arguments: &[&str]) -> SocketAddr {
        let from = self.lines().len();
        self.spawn(arguments);
        self.await_that("READY=1, or an end", || {
            self.ended().is_some() || self.lines()[from..].iter().any(|line| line == "READY=1")
        });
        assert!(self.ended().is_none(), "it ends: {}", self.log());
        self.ready(from)
    }

    /// The same without waiting.
    pub fn spawn(&mut self, arguments: &[&str]) {
        let told = self.told.lock().unwrap();
        let names: Vec<&str> = told.kept.iter().map(|(name, _)| name.as_str()).collect();
        // Beyond where they are to be.
        let high = 3 + names.len() as RawFd;
        let aside: Vec<OwnedFd> = told
            .kept
            .iter()
            .map(|(_, listener)| rustix::io::fcntl_dupfd_cloexec(listener, high).unwrap())
            .collect();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        // The shell knows its own number, which becomes that of the server.
        let script = format!(
            "export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={} WATCHDOG_PID=$$; exec \"$0\" \"$@\"",
            names.len(),
            names.join(":")
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_annulus")]).args(arguments);
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stderr(Stdio::from(log)).stdin(Stdio::null());
        let numbers: Vec<RawFd> = aside.iter().map(AsRawFd::as_raw_fd).collect();
        let filter = self.filter.clone();
        let place = move || {
            filter_calls(&filter)?;
            for (number, at) in numbers.iter().zip(3..) {
                // SAFETY: dup2 may be called between fork and exec, and what it replaces is of the child alone.
                if unsafe { libc::dup2(*number, at) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: it calls nothing but dup2 and prctl.
        unsafe { command.pre_exec(place) };
        drop(told);
        self.child = Some(command.spawn().unwrap());
    }

    /// Waits for the next `READY=1` behind so many lines; where it serves.
    pub fn ready(&self, from: usize) -> SocketAddr {
        let mut address = None;
        self.await_that("READY=1", || {
            let lines = self.lines();
            let mut behind = lines.iter().skip(from).skip_while(|line| *line != "READY=1");
            let status = behind.find_map(|line| line.strip_prefix("STATUS=")?.split_once(" serves on "));
            address = status.map(|(_, rest)| rest.split([',', ' ']).next().unwrap().parse().unwrap());
            address.is_some()
        });
        address.unwrap()
    }

    /// Everything it was told.
    pub fn lines(&self) -> Vec<String> {
        self.told.lock().unwrap().lines.clone()
    }

    pub fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|told| *told == line).count()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn process_id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    pub fn ended(&self) -> Option<()> {
        let process = Pid::from_child(self.child.as_ref().unwrap());
        let options = rustix::process::WaitIdOptions::EXITED
            | rustix::process::WaitIdOptions::NOHANG
            | rustix::process::WaitIdOptions::NOWAIT;
        let state = rustix::process::waitid(rustix::process::WaitId::Pid(process), options).unwrap();
        state.map(drop)
    }

    /// Waits for the end of the server.
    pub fn exit_code(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let mut ended = None;
        self.await_that("the end of the server", || {
            ended = child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap().code()
    }

    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.exit_code(), Some(0), "{}", self.log());
    }

    /// Looks again and again until `holds`.
    pub fn await_that(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(
                began.elapsed() < PATIENCE,
                "waited too long for: {what}\n{}\n{:?}",
                self.log(),
                self.lines()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Lets this process call from here on what `filter` lets pass.
fn filter_calls(filter: &[libc::sock_filter]) -> std::io::Result<()> {
    if filter.is_empty() {
        return Ok(());
    }
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the program is there until the call returns, and the kernel checks what it does.
    let outcome = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    if outcome == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Takes in one message, and the listeners that come with it.
fn hear(socket: &UnixDatagram, told: &Mutex<Told>) -> bool {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut pieces = [IoSliceMut::new(&mut bytes)];
    let Ok(received) = recvmsg(socket, &mut pieces, &mut ancillary, RecvFlags::CMSG_CLOEXEC) else {
        return false;
    };
    let came: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        })
        .flatten()
        .collect();
    let text = String::from_utf8_lossy(&bytes[..received.bytes]).into_owned();
    let mut told = told.lock().unwrap();
    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored").to_owned();
    if text.lines().any(|line| line == "FDSTORE=1") {
        // As systemd does with a descriptor that it has already.
        let new = came.into_iter().filter(|one| !told.kept.iter().any(|(_, other)| is_same(one, other)));
        let new: Vec<OwnedFd> = new.collect();
        told.kept.extend(new.into_iter().map(|listener| (name.clone(), listener)));
    }
    if text.lines().any(|line| line == "FDSTOREREMOVE=1") {
        told.kept.retain(|(kept, _)| *kept != name);
    }
    told.lines.extend(text.lines().map(str::to_owned));
    true
}

fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let inode = |fd| rustix::fs::fstat(fd).unwrap().st_ino;
    inode(one) == inode(other)
}

//! `control.sock`: what a command on the same host asks of the running server. One request, a line of JSON; lines of
//! JSON back, of which the last has `done` or `error`.
//!
//! ```text
//! → {"backup":"/absolute/directory"}  or  {"export":["map",…]}  or  {"upgrade":"/absolute/program"}  or  "version"
//! ← {"progress":"…"}  and  {"lines":1234}, behind which so many bytes of an export follow, …
//! ← {"done":"…"}  or  {"error":"…"}
//! ```
//!
//! Both have everything folded first that was handed over so far, and read one moment of the base then, so no shard
//! and no ack waits for them. They run on a thread that yields to all others. Where the disk has no room to fold, they
//! read the journal, too.
//!
//! Only who may write the files of the data directory may connect: the socket has `--data-mode`. Another program is started for
//! the user of the server and for root alone, as it may do what the server may.

use std::convert::Infallible;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::journal::{Roll, Rolled};
use super::parts::Parts;
use super::segments::Awaited;
use super::{supervisor, upgrade};
use crate::io::host;
use crate::storage::backup::{self, CopyOptions};
use crate::storage::export::{self, ExportOptions};
use crate::storage::{StorageError, Unfolded};

/// The name of the socket in a data directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// Bytes of a request: room for some thousand names of maps.
const REQUEST_BYTES_MAX: u64 = 1 << 20;
/// How long it waits for one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it waits for who takes an export. Until that one is done, the base keeps all it had and grows.
const TAKEN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long it waits for the checkpoint, which yields to everything, before that one must hurry.
const FOLD_PATIENCE: Duration = Duration::from_secs(5);
/// Between two lines that say how far it is.
const SAID_EVERY_NS: u64 = 1_000_000_000;

const ENDING: &str = "the server is ending";

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A copy of everything that was handed over to the journal so far, into a directory that is empty or not there.
    Backup(PathBuf),
    /// The same as lines, of these maps or of all if none is named.
    Export(Vec<String>),
    /// This program in the place of the server, or the one that it was started from where it is `null`. The connection ends once
    /// the server has drained.
    Upgrade(Option<PathBuf>),
    /// Which version serves, and as which process.
    Version,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Progress(String),
    /// So many bytes of an export follow this line.
    Lines(usize),
    Done(String),
    Error(String),
}

/// Bytes that the path of a socket can have (unix(7)), without the 0 behind it.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Binds or connects the control socket of a data directory with `act`.
///
/// # Errors
/// As [`in_directory`].
pub fn at_socket<T>(data_dir: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    in_directory(data_dir, CONTROL_SOCKET, act)
}

/// Binds or connects a socket in a data directory with `act`, however deep that lies: a longer path goes over a descriptor of the
/// directory.
///
/// # Errors
/// Those of `act`, and of opening the directory.
pub fn in_directory<T>(
    data_dir: &Path,
    name: &str,
    act: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let path = data_dir.join(name);
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return act(&path);
    }
    let directory = File::open(data_dir)?;
    act(&Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name))
}

/// The listening socket, which is removed when this is dropped.
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    parts: Arc<Parts>,
}

impl Socket {
    /// Listens in the data directory. Without the socket everything works but backup and export, so a failure is
    /// only said in the log.
    pub(super) fn open(parts: &Arc<Parts>) -> Option<Self> {
        let path = parts.config.data_dir.join(CONTROL_SOCKET);
        // Of a server that was killed: the lock on the directory says that there is none now.
        let _ = fs::remove_file(&path);
        let open = || {
            let listener = at_socket(&parts.config.data_dir, |path| UnixListener::bind(path))?;
            let mode = parts.config.data_mode.of_files();
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(listener)
        };
        match open() {
            Ok(listener) => Some(Self { listener, path, parts: Arc::clone(parts) }),
            Err(error) => {
                let path = path.display();
                tracing::warn!(
                    "no {path}, so `annulus backup` and `export` cannot reach this server: {error}"
                );
                None
            }
        }
    }

    /// Answers until the runtime ends. `rolls` reaches the writer of the journal.
    pub(super) async fn serve(self, rolls: mpsc::UnboundedSender<Roll>) {
        let listener = self.listener.try_clone().and_then(tokio::net::UnixListener::from_std);
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!("nobody listens at {}: {error}", self.path.display());
                return;
            }
        };
        loop {
            let accepted = listener.accept().await.and_then(|(stream, _)| stream.into_std());
            let (parts, rolls) = (Arc::clone(&self.parts), rolls.clone());
            // A thread for each, as files are copied for as long as it takes.
            let answered = accepted.and_then(|stream| {
                let conversation = Conversation { stream, parts, rolls };
                thread::Builder::new().name("control".to_owned()).spawn(move || conversation.run())
            });
            if let Err(error) = answered {
                tracing::warn!("a request at {} is not answered: {error}", self.path.display());
                // Whatever is short now, such as descriptors, may be there again later.
                tokio::time::sleep(REQUEST_TIMEOUT).await;
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// One connection.
struct Conversation {
    stream: UnixStream,
    parts: Arc<Parts>,
    rolls: mpsc::UnboundedSender<Roll>,
}

impl Conversation {
    fn run(&self) {
        if let Err(error) = host::yield_to_all() {
            tracing::warn!("a copy cannot lower its priority, so shards may notice it: {error}");
        }
        let answer = match self.request() {
            Ok(request) => self.answer(&request).unwrap_or_else(Answer::Error),
            Err(problem) => Answer::Error(problem.to_string()),
        };
        self.say(&answer);
    }

    /// Reads a line.
    fn request(&self) -> io::Result<Request> {
        self.stream.set_nonblocking(false)?;
        self.stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
        // Who has asked may have stopped, and segments are kept for as long as this lasts.
        self.stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
        let mut line = Vec::new();
        BufReader::new((&self.stream).take(REQUEST_BYTES_MAX)).read_until(b'\n', &mut line)?;
        let explain = |error| format!("that is no request, write {{\"backup\":\"/directory\"}}: {error}");
        simd_json::from_slice(&mut line).map_err(|error| io::Error::other(explain(error)))
    }

    fn say(&self, answer: &Answer) {
        // Who has asked may be gone, which changes nothing.
        let _ = self.send(answer);
    }

    fn send(&self, answer: &Answer) -> io::Result<()> {
        let mut line = simd_json::to_vec(answer).map_err(io::Error::other)?;
        line.push(b'\n');
        (&self.stream).write_all(&line)
    }

    /// The last line, or what is wrong.
    fn answer(&self, request: &Request) -> Result<Answer, String> {
        if let Request::Backup(target) = request
            && !target.is_absolute()
        {
            return Err(format!("{} is no absolute path", target.display()));
        }
        let done = match request {
            Request::Backup(target) => {
                let is_folded = self.fold_everything()?;
                self.backup(target, is_folded)
            }
            Request::Export(maps) => {
                let is_folded = self.fold_everything()?;
                self.export(maps, is_folded)
            }
            Request::Upgrade(program) => match self.upgrade(program.clone())? {},
            Request::Version => return Ok(Answer::Done(upgrade::this_version())),
        };
        done.map(Answer::Done).map_err(|error| error.to_string())
    }

    /// Brings everything into the base that the shards have handed over so far. `false`: the disk has no room for that,
    /// so some of it is in the journal.
    fn fold_everything(&self) -> Result<bool, String> {
        let (done, is_done) = oneshot::channel();
        let rolled = self.rolls.send(Roll { done }).ok().and_then(|()| is_done.blocking_recv().ok());
        let Parts { segments, room, .. } = &*self.parts;
        match rolled {
            Some(Rolled::WithoutRoom) => Ok(false),
            Some(Rolled::Complete) => {
                match segments.await_folded(FOLD_PATIENCE, &|| room.is_base_waiting()) {
                    Awaited::Folded => Ok(true),
                    Awaited::LacksRoom => Ok(false),
                    Awaited::Ending => Err(ENDING.to_owned()),
                }
            }
            None => Err(ENDING.to_owned()),
        }
    }

    fn backup(&self, target: &Path, is_folded: bool) -> Result<String, StorageError> {
        let Parts { base, disk, clock, progress, config, .. } = &*self.parts;
        let options = CopyOptions { now_ms: clock.now().unix_ms, mode: config.data_mode };
        let copied = if is_folded {
            backup::copy(base, disk, target, options, &mut self.now_and_then())?
        } else {
            let _reading = self.parts.spares.reading();
            self.unfolded().copy(target, options, &mut self.now_and_then())?
        };
        progress.metrics().backups.add(1);
        tracing::info!("backup taken into {}: {copied}", target.display());
        Ok(copied.to_string())
    }

    fn export(&self, maps: &[String], is_folded: bool) -> Result<String, StorageError> {
        let Parts { base, disk, clock, .. } = &*self.parts;
        let options = ExportOptions { maps, now_ms: clock.now().unix_ms };
        let taken = self.stream.set_write_timeout(Some(TAKEN_TIMEOUT));
        taken.map_err(StorageError::io("limit the time of", "the export"))?;
        let mut said = self.now_and_then();
        let exported = if is_folded {
            export::export_folded(base, disk.root(), options, Lines(self), &mut said)
        } else {
            let _reading = self.parts.spares.reading();
            self.unfolded().export(disk.root(), options, Lines(self), &mut said)
        };
        match exported {
            Ok(exported) => {
                tracing::info!("exported: {exported}");
                Ok(exported.to_string())
            }
            Err(error) => {
                // Who has asked for it may be gone, or not listening.
                tracing::warn!("an export is not complete: {error}");
                Err(error)
            }
        }
    }

    /// Has another program take over, once it is known that it can.
    fn upgrade(&self, program: Option<PathBuf>) -> Result<Infallible, String> {
        let own = rustix::process::getuid();
        let asks = rustix::net::sockopt::socket_peercred(&self.stream).map_err(|error| error.to_string())?;
        if asks.uid != own && !asks.uid.is_root() {
            return Err("only the user of the server, and root, may upgrade it".to_owned());
        }
        let program = match program.or_else(upgrade::started_from) {
            Some(program) => program,
            None => return Err("it is not known where this program is; name it with --binary".to_owned()),
        };
        let version = upgrade::check(&program)?;
        let said = format!("{}, {version}, can serve these settings; draining", program.display());
        let announce = || {
            supervisor::upgrades();
            tracing::info!("an upgrade: {said}");
            self.say(&Answer::Progress(said.clone()));
        };
        self.parts.drains.upgrade(program, announce).map_err(str::to_owned)?;
        // Who has asked sees the end of this connection when this process becomes the next program, or ends.
        loop {
            thread::park();
        }
    }

    fn unfolded(&self) -> Unfolded<'_> {
        let Parts { base, disk, format, .. } = &*self.parts;
        Unfolded { base, disk, epoch: format.epoch }
    }

    /// Says how far it is, but not all the time.
    fn now_and_then<T: fmt::Display>(&self) -> impl FnMut(&T) {
        let clock = self.parts.clock.clone();
        let mut said_ns = clock.elapsed_ns();
        move |so_far| {
            if clock.elapsed_ns() - said_ns >= SAID_EVERY_NS {
                said_ns = clock.elapsed_ns();
                self.say(&Answer::Progress(format!("so far: {so_far}")));
            }
        }
    }
}

/// What is written here reaches who has asked for an export.
struct Lines<'a>(&'a Conversation);

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written =
            self.0.send(&Answer::Lines(bytes.len())).and_then(|()| (&self.0.stream).write_all(bytes));
        match written {
            Ok(()) => Ok(bytes.len()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let seconds = TAKEN_TIMEOUT.as_secs();
                Err(io::Error::other(format!("nobody has taken anything of it for {seconds} seconds")))
            }
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! `control.sock`: what a command on the same host asks of the running server. One request, a line of JSON; lines of
//! JSON back, of which the last has `done` or `error`.
//!
//! ```text
//! → {"backup":"/absolute/directory"}
//! ← {"progress":"…"} …
//! ← {"done":"…"}  or  {"error":"…"}
//! ```
//!
//! Only the user of the server may connect: the socket has mode 0600.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint;
use super::journal::Roll;
use super::store::Parts;
use crate::storage::backup::{self, Copied};

/// The name of the socket in a data directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// Bytes of a request.
const REQUEST_BYTES_MAX: u64 = 8 << 10;
/// How long it waits for one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two lines that say how far it is.
const SAID_EVERY_NS: u64 = 1_000_000_000;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A copy of everything that was handed over to the journal so far, into a directory that is empty or not there.
    Backup(PathBuf),
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Progress(String),
    Done(String),
    Error(String),
}

/// The listening socket, which is removed when this is dropped.
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    parts: Arc<Parts>,
}

impl Socket {
    /// Listens in the data directory. Without the socket everything works but `annulus backup`, so a failure is
    /// only said in the log.
    pub(super) fn open(parts: &Arc<Parts>) -> Option<Self> {
        let path = parts.config.data_dir.join(CONTROL_SOCKET);
        // Of a server that was killed: the lock on the directory says that there is none now.
        let _ = fs::remove_file(&path);
        let open = || {
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            Ok::<_, io::Error>(listener)
        };
        match open() {
            Ok(listener) => Some(Self { listener, path, parts: Arc::clone(parts) }),
            Err(error) => {
                let path = path.display();
                tracing::warn!("no {path}, so `annulus backup` cannot reach this server: {error}");
                None
            }
        }
    }

    /// Answers until the runtime ends. `rolls` reaches the writer of the journal.
    pub(super) async fn serve(self, rolls: mpsc::UnboundedSender<Roll>) {
        loop {
            let accepted = self.listener.accept().await.and_then(|(stream, _)| stream.into_std());
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
        let answer = match self.request() {
            Ok(Request::Backup(target)) => self.backup(&target),
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
        let mut line = simd_json::to_vec(answer).expect("a text has a JSON form");
        line.push(b'\n');
        // Who has asked may be gone, which changes nothing.
        let _ = (&self.stream).write_all(&line);
    }

    fn backup(&self, target: &Path) -> Answer {
        if !target.is_absolute() {
            return Answer::Error(format!("{} is no absolute path", target.display()));
        }
        let (done, is_done) = oneshot::channel();
        if self.rolls.send(Roll { done }).is_err() || is_done.blocking_recv().is_err() {
            return Answer::Error("the server is ending".to_owned());
        }
        let Parts { base, disk, segments, clock, .. } = &*self.parts;
        let metrics = self.parts.progress.metrics();
        let kept = Kept { names: segments.keep(), parts: &self.parts };
        let mut said_ns = clock.elapsed_ns();
        let mut progress = |copied: &Copied| {
            if clock.elapsed_ns() - said_ns >= SAID_EVERY_NS {
                said_ns = clock.elapsed_ns();
                self.say(&Answer::Progress(format!("so far: {copied}")));
            }
        };
        match backup::copy(base, disk, &kept.names, target, &mut progress) {
            Ok(copied) => {
                metrics.backups.add(1);
                tracing::info!("backup taken into {}: {copied}", target.display());
                Answer::Done(copied.to_string())
            }
            Err(error) => Answer::Error(error.to_string()),
        }
    }
}

/// Segments that are not deleted while this lives.
struct Kept<'a> {
    names: Vec<String>,
    parts: &'a Parts,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        checkpoint::delete(self.parts, &self.parts.segments.release());
    }
}

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
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_uring::net::{UnixListener, UnixStream};

use super::checkpoint;
use super::journal::Roll;
use super::store::Parts;

/// The name of the socket in a data directory.
pub const CONTROL_SOCKET: &str = "control.sock";
/// Bytes of a request.
const REQUEST_BYTES_MAX: usize = 8 << 10;

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
            Ok::<_, std::io::Error>(listener)
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
            match self.listener.accept().await {
                Ok(stream) => {
                    let conversation =
                        Conversation { stream, parts: Arc::clone(&self.parts), rolls: rolls.clone() };
                    tokio_uring::spawn(conversation.run());
                }
                Err(error) => {
                    tracing::warn!("{} takes no more requests: {error}", self.path.display());
                    return;
                }
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
    async fn run(self) {
        let answer = match self.request().await {
            Ok(Request::Backup(target)) => self.backup(target).await,
            Err(problem) => Answer::Error(problem),
        };
        self.say(&answer).await;
    }

    /// Reads a line.
    async fn request(&self) -> Result<Request, String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let (read, buffer) = self.stream.read(vec![0; REQUEST_BYTES_MAX]).await;
            let count = read.map_err(|error| error.to_string())?;
            line.extend_from_slice(&buffer[..count]);
            if count == 0 || line.len() > REQUEST_BYTES_MAX {
                return Err(format!("a request is one line of at most {REQUEST_BYTES_MAX} bytes"));
            }
        }
        let request: Request = simd_json::from_slice(&mut line)
            .map_err(|error| format!("that is no request, write {{\"backup\":\"/directory\"}}: {error}"))?;
        Ok(request)
    }

    async fn say(&self, answer: &Answer) {
        let mut line = simd_json::to_vec(answer).expect("a text has a JSON form");
        line.push(b'\n');
        // Who has asked may be gone, which changes nothing.
        let _ = self.stream.write_all(line).await;
    }

    async fn backup(&self, target: PathBuf) -> Answer {
        if !target.is_absolute() {
            return Answer::Error(format!("{} is no absolute path", target.display()));
        }
        let (done, is_done) = oneshot::channel();
        let ended = || Answer::Error("the server is ending".to_owned());
        if self.rolls.send(Roll { done }).is_err() || is_done.await.is_err() {
            return ended();
        }
        let (said, mut hears) = mpsc::unbounded_channel();
        let parts = Arc::clone(&self.parts);
        let shown = target.display().to_string();
        let copy =
            thread::Builder::new().name("backup".to_owned()).spawn(move || copy(&parts, &target, &said));
        if let Err(error) = copy {
            return Answer::Error(format!("no thread for the copy: {error}"));
        }
        while let Some(answer) = hears.recv().await {
            match answer {
                Answer::Progress(_) => self.say(&answer).await,
                Answer::Done(_) => {
                    self.parts.progress.metrics().backups.add(1);
                    tracing::info!("backup taken into {shown}");
                    return answer;
                }
                Answer::Error(_) => return answer,
            }
        }
        ended()
    }
}

/// Copies on a thread of its own, as files are read and written for as long as it takes.
fn copy(parts: &Parts, target: &Path, said: &mpsc::UnboundedSender<Answer>) {
    let kept = Kept { segments: parts.segments.keep(), parts };
    let progress = |text: &str| {
        let _ = said.send(Answer::Progress(text.to_owned()));
    };
    let copied: Result<String, String> =
        Err(format!("not wired yet {:?} {}", kept.segments, target.display()));
    progress("");
    drop(kept);
    let answer = match copied {
        Ok(report) => Answer::Done(report.to_string()),
        Err(error) => Answer::Error(error.to_string()),
    };
    let _ = said.send(answer);
}

/// Segments that are not deleted while this lives.
struct Kept<'a> {
    segments: Vec<String>,
    parts: &'a Parts,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        checkpoint::delete(self.parts, &self.parts.segments.release());
    }
}

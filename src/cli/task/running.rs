//! Asks the running server of a data directory, over its control socket.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::{TaskError, say, say_progress};
use crate::service::{Answer, CONTROL_SOCKET, Request, at_socket};
use crate::storage::StorageError;

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A connection to the server of a data directory.
pub(super) struct Server(UnixStream);

/// Why there is none. Usually no server runs; if one does all the same, this is what is in the way.
pub(super) struct Unreached {
    socket: PathBuf,
    error: io::Error,
}

impl Server {
    pub fn connect(data_dir: &Path) -> Result<Self, Unreached> {
        let connected = at_socket(data_dir, |path| UnixStream::connect(path));
        connected.map(Self).map_err(|error| Unreached { socket: data_dir.join(CONTROL_SOCKET), error })
    }

    /// Sends the request and listens until the last line, which is the report. Lines of an export go to `out`.
    pub fn ask(self, request: &Request, out: &mut dyn Write) -> Result<String, TaskError> {
        let broken =
            |error: io::Error| TaskError::Server(format!("nothing more, as the connection broke: {error}"));
        let mut line = simd_json::to_vec(request).map_err(|error| broken(io::Error::other(error)))?;
        line.push(b'\n');
        (&self.0).write_all(&line).map_err(broken)?;
        let mut answers = BufReader::with_capacity(BUFFER_BYTES, self.0);
        loop {
            line.clear();
            if answers.read_until(b'\n', &mut line).map_err(broken)? == 0 {
                let ended = "nothing more, as it has ended or given up before all was done; its log says why";
                return Err(TaskError::Server(ended.to_owned()));
            }
            let answer = simd_json::from_slice(&mut line).map_err(|error| broken(io::Error::other(error)))?;
            match answer {
                Answer::Progress(text) => say_progress(&text),
                Answer::Lines(bytes) => copy(&mut answers, bytes, out)?,
                Answer::Done(report) => return Ok(report),
                Answer::Error(problem) => return Err(TaskError::Server(problem)),
            }
        }
    }
}

impl Server {
    /// The server itself, where it can be seen from here.
    pub fn process(&self) -> Option<Pid> {
        rustix::net::sockopt::socket_peercred(&self.0).ok().map(|server| server.pid)
    }

    /// Sends the request, says what is answered, and waits until the server ends the connection.
    pub fn ask_until_gone(self, request: &Request) -> Result<(), TaskError> {
        let broken =
            |error: io::Error| TaskError::Server(format!("nothing more, as the connection broke: {error}"));
        let mut line = simd_json::to_vec(request).map_err(|error| broken(io::Error::other(error)))?;
        line.push(b'\n');
        (&self.0).write_all(&line).map_err(broken)?;
        let mut answers = BufReader::new(self.0);
        loop {
            line.clear();
            if answers.read_until(b'\n', &mut line).map_err(broken)? == 0 {
                return Ok(());
            }
            match simd_json::from_slice(&mut line).map_err(|error| broken(io::Error::other(error)))? {
                Answer::Error(problem) => return Err(TaskError::Server(problem)),
                Answer::Progress(text) | Answer::Done(text) => say(&text),
                Answer::Lines(_) => {}
            }
        }
    }
}

/// Copies so many bytes.
fn copy(from: &mut impl BufRead, bytes: usize, to: &mut dyn Write) -> Result<(), TaskError> {
    let mut left = from.take(bytes as u64);
    while left.limit() > 0 {
        let piece = left.fill_buf().map_err(|error| TaskError::Server(format!("half of a line: {error}")))?;
        if piece.is_empty() {
            return Err(TaskError::Server("half of a line, and no more".to_owned()));
        }
        to.write_all(piece).map_err(StorageError::io("write", "the export"))?;
        let count = piece.len();
        left.consume(count);
    }
    Ok(())
}

impl Unreached {
    /// For `map_err` of what is done without a server.
    pub fn explain(self) -> impl FnOnce(StorageError) -> TaskError {
        move |failed| match failed {
            StorageError::InUse { directory, holder } => {
                let Self { socket, error } = self;
                let advice = match error.kind() {
                    ErrorKind::PermissionDenied => "run this as the user of the server",
                    _ => "try again once it serves, or see its log",
                };
                TaskError::Unreached { directory, holder, socket, error, advice }
            }
            failed => TaskError::Storage(failed),
        }
    }
}

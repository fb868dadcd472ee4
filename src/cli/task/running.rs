//! Asks the running server of a data directory, over its control socket.

use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::{TaskError, say, say_progress};
use crate::service::{CONTROL_SOCKET, Heard, NoReport, Request, at_socket, converse_over};
use crate::storage::StorageError;

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
        let mut hear = |heard: Heard<'_>| match heard {
            Heard::Progress(text) => {
                say_progress(text);
                Ok(())
            }
            Heard::Bytes(bytes) => out.write_all(bytes),
        };
        converse_over(self.0, request, &mut hear).map_err(|error| match error {
            NoReport::Heard(error) => StorageError::io("write", "the export")(error).into(),
            error => TaskError::Server(error.to_string()),
        })
    }
}

impl Server {
    /// The server itself, where it can be seen from here.
    pub fn process(&self) -> Option<Pid> {
        rustix::net::sockopt::socket_peercred(&self.0).ok().map(|server| server.pid)
    }

    /// Sends the request, says what is answered, and waits until the server ends the connection.
    pub fn ask_until_gone(self, request: &Request) -> Result<(), TaskError> {
        let mut hear = |heard: Heard<'_>| {
            if let Heard::Progress(text) = heard {
                say(text);
            }
            Ok(())
        };
        match converse_over(self.0, request, &mut hear) {
            Ok(report) => say(&report),
            Err(NoReport::Ended) => {}
            Err(error) => return Err(TaskError::Server(error.to_string())),
        }
        Ok(())
    }
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

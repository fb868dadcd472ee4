//! `annulus backup`: asks the running server for a copy; without one copies the directory itself.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{TaskError, check_there, now_and_then, say};
use crate::service::{Answer, CONTROL_SOCKET, Request};
use crate::storage::backup;

/// Copies and says what was copied.
pub(super) fn run(data_dir: &Path, target: &Path) -> Result<String, TaskError> {
    // The server has a current directory of its own.
    let target = std::path::absolute(target).map_err(|error| TaskError::file(target, error))?;
    check_there(data_dir)?;
    let socket = data_dir.join(CONTROL_SOCKET);
    match UnixStream::connect(&socket) {
        Ok(stream) => {
            ask(&stream, &Request::Backup(target)).map_err(|error| TaskError::file(&socket, error))?
        }
        // No server, or one that was killed.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            let copied = backup::copy_stopped(data_dir, &target, &mut now_and_then());
            Ok(copied.map_err(TaskError::in_use("stop that first"))?.to_string())
        }
        Err(error) => Err(TaskError::file(&socket, error)),
    }
}

/// Sends the request and listens until the last line.
fn ask(stream: &UnixStream, request: &Request) -> std::io::Result<Result<String, TaskError>> {
    let mut line = simd_json::to_vec(request).map_err(std::io::Error::other)?;
    line.push(b'\n');
    (&*stream).write_all(&line)?;
    for line in BufReader::new(stream).lines() {
        let answer = simd_json::from_slice(&mut line?.into_bytes()).map_err(std::io::Error::other)?;
        match answer {
            Answer::Progress(text) => say(&text),
            Answer::Done(report) => return Ok(Ok(report)),
            Answer::Error(problem) => return Ok(Err(TaskError::Server(problem))),
        }
    }
    Ok(Err(TaskError::Server("it ended before the copy was complete".to_owned())))
}

//! `annulus backup`: asks the running server for a copy; without one copies the directory itself.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{TaskError, now_and_then, say};
use crate::mesh::KeyHasher;
use crate::service::{Answer, CONTROL_SOCKET, Request};
use crate::storage::{Base, Disk, Format, HostDisk, JOURNAL_FOLDER, Lock, StorageError, backup};

/// What redb may hold in memory while a copy is made.
const CACHE_BYTES: usize = 8 << 20;

/// Copies and says what was copied.
pub(super) fn run(data_dir: &Path, target: &Path) -> Result<String, TaskError> {
    // The server has a current directory of its own.
    let target = std::path::absolute(target).map_err(|error| TaskError::file(target, error))?;
    if !data_dir.is_dir() {
        return Err(TaskError::NoData(data_dir.to_owned()));
    }
    let socket = data_dir.join(CONTROL_SOCKET);
    match UnixStream::connect(&socket) {
        Ok(stream) => {
            ask(&stream, &Request::Backup(target)).map_err(|error| TaskError::file(&socket, error))?
        }
        // No server, or one that was killed.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            Ok(copy(data_dir, &target)?)
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

fn copy(data_dir: &Path, target: &Path) -> Result<String, StorageError> {
    let _lock = Lock::take(data_dir, &format!("process {}, which copies it", std::process::id()))?;
    let disk = HostDisk::new(data_dir).map_err(StorageError::io("open", data_dir.display().to_string()))?;
    let format = Format::load(&disk)?;
    let base = Base::open(&disk, KeyHasher::new(format.secret), CACHE_BYTES)?;
    let names = disk.list(JOURNAL_FOLDER).map_err(StorageError::io("list", JOURNAL_FOLDER))?;
    let segments: Vec<String> = names.iter().map(|name| format!("{JOURNAL_FOLDER}/{name}")).collect();
    backup::copy(&base, &disk, &segments, target, &mut now_and_then()).map(|copied| copied.to_string())
}

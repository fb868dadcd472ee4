//! The other end of `control.sock`: asks the running server of a data directory, and hears what it says.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::control::{Answer, Request, at_socket};

/// What comes before the end of an answer.
pub enum Heard<'a> {
    /// How far it is.
    Progress(&'a str),
    /// Some of an export.
    Bytes(&'a [u8]),
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum NoReport {
    /// No server listens there, or it may not be asked.
    #[error("{0}")]
    Unreached(io::Error),
    #[error("nothing more, as the connection broke: {0}")]
    Broken(io::Error),
    #[error("nothing more, as it has ended or given up before all was done; its log says why")]
    Ended,
    #[error("half of a line, and no more")]
    HalfOfALine,
    /// What the server has said.
    #[error("{0}")]
    Said(String),
    /// Whoever hears it has failed.
    #[error("{0}")]
    Heard(io::Error),
}

/// Bytes of an answer that are read at once.
const READ_BYTES: usize = 256 << 10;

/// Asks the running server of a data directory, and listens until the last line, which is the report.
///
/// # Errors
/// [`NoReport`].
pub fn converse(
    data_dir: &Path,
    request: &Request,
    hear: &mut dyn FnMut(Heard<'_>) -> io::Result<()>,
) -> Result<String, NoReport> {
    let stream = at_socket(data_dir, |path| UnixStream::connect(path)).map_err(NoReport::Unreached)?;
    converse_over(stream, request, hear)
}

/// The same over a connection that is there.
///
/// # Errors
/// As [`converse`].
pub fn converse_over(
    stream: UnixStream,
    request: &Request,
    hear: &mut dyn FnMut(Heard<'_>) -> io::Result<()>,
) -> Result<String, NoReport> {
    let other = |error| NoReport::Broken(io::Error::other(error));
    let mut line = simd_json::to_vec(request).map_err(other)?;
    line.push(b'\n');
    (&stream).write_all(&line).map_err(NoReport::Broken)?;
    let mut answers = BufReader::with_capacity(READ_BYTES, stream);
    loop {
        line.clear();
        if answers.read_until(b'\n', &mut line).map_err(NoReport::Broken)? == 0 {
            return Err(NoReport::Ended);
        }
        match simd_json::from_slice(&mut line).map_err(other)? {
            Answer::Progress(text) => hear(Heard::Progress(&text)).map_err(NoReport::Heard)?,
            Answer::Lines(bytes) => {
                let mut left = (&mut answers).take(bytes as u64);
                while left.limit() > 0 {
                    let piece = left.fill_buf().map_err(NoReport::Broken)?;
                    if piece.is_empty() {
                        return Err(NoReport::HalfOfALine);
                    }
                    hear(Heard::Bytes(piece)).map_err(NoReport::Heard)?;
                    let count = piece.len();
                    left.consume(count);
                }
            }
            Answer::Done(report) => return Ok(report),
            Answer::Error(problem) => return Err(NoReport::Said(problem)),
        }
    }
}

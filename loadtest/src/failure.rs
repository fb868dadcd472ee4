//! Why a run fails. Each variant names what a reader does next; the text says which value or connection it was.

use std::fmt;

#[derive(Debug)]
pub enum Failure {
    /// The server never sent something it owed: a bug of the server.
    Lost(String),
    /// The server sent something twice that is sent once: a bug of the server.
    Duplicated(String),
    /// The server broke an order it promises: a bug of the server.
    OutOfOrder(String),
    /// The server sent something that nobody wrote, or that is no protocol: a bug of the server.
    Wrong(String),
    /// The server refused a request: a limit to raise, or a bug.
    Refused(String),
    /// The server answered at a weaker level than was asked: what it promises of a crash is less than what was wanted.
    Weaker(String),
    /// The server closed a connection it should have kept.
    Closed(String),
    /// Nothing came in time.
    Timeout(String),
    /// Everything was answered, but not as the target has it.
    Missed(String),
    /// The run could not be set up: an address, a file, a process.
    Setup(String),
    /// A system call of ours failed.
    Io(std::io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(what) => write!(out, "LOST: {what}"),
            Self::Duplicated(what) => write!(out, "DUPLICATED: {what}"),
            Self::OutOfOrder(what) => write!(out, "OUT OF ORDER: {what}"),
            Self::Wrong(what) => write!(out, "WRONG: {what}"),
            Self::Refused(what) => write!(out, "REFUSED: {what}"),
            Self::Weaker(what) => write!(out, "WEAKER ACK: {what}"),
            Self::Closed(what) => write!(out, "CLOSED: {what}"),
            Self::Timeout(what) => write!(out, "TIMEOUT: {what}"),
            Self::Missed(what) => write!(out, "MISSED: {what}"),
            Self::Setup(what) => write!(out, "cannot run: {what}"),
            Self::Io(error) => write!(out, "a system call of the load generator failed: {error}"),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// A message for the eyes: its beginning, with what is not text replaced.
pub fn excerpt(message: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 300;
    let shown = &message[..message.len().min(SHOWN_BYTES_MAX)];
    let more = if shown.len() < message.len() { "…" } else { "" };
    format!("{}{more}", String::from_utf8_lossy(shown))
}

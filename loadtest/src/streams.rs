//! What is said to people. A terminal that is gone or a disk that is full must not end a measurement.

use std::io::{self, ErrorKind, Write};

/// Says `text` on stderr, if it takes it.
pub fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Prints `text`, the result, on stdout. A reader that has seen enough is no error.
///
/// # Errors
/// If it cannot be written.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

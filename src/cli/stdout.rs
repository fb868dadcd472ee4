//! What a command prints: to stdout, whose reader may have seen enough.
//!
//! Invariant: a reader that is gone, such as `head`, is no error, but ends what is said to it; everything else that keeps a
//! text from being written is one, as half a text looks like a whole one.

use std::io::{self, ErrorKind, Write};

/// Prints all of `text`.
///
/// # Errors
/// If it cannot be written, and not for want of a reader.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = Stdout::default();
    let printed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    if stdout.reader_is_gone { Ok(()) } else { printed }
}

/// Prints a page of clap, in colours where there is a terminal.
///
/// # Errors
/// As [`print`].
pub fn print_page(page: &clap::Error) -> io::Result<()> {
    match page.print().and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Stdout, which remembers whether its reader is gone.
#[derive(Debug, Default)]
pub(super) struct Stdout {
    pub reader_is_gone: bool,
}

impl Stdout {
    fn noting<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        self.reader_is_gone |= outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe);
        outcome
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = io::stdout().write(bytes);
        self.noting(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = io::stdout().flush();
        self.noting(flushed)
    }
}

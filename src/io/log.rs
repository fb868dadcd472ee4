//! The log's way to stderr: a queue, and a thread that writes what is in it.
//!
//! Invariant: whoever logs neither waits for stderr nor fails with it, as a shard that waits keeps all its clients
//! waiting. Where the reader of a pipe has stopped, what goes beyond [`LOG_QUEUE_BYTES_MAX`] is dropped; where nothing can
//! be written, as on a full disk or after the reader has gone, all of it. What was dropped is counted, and said once
//! lines get through again.
//!
//! Before [`start`], as in commands that do not serve, lines are written where they are said.

use std::io::{self, ErrorKind, Write};
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use crate::limits::LOG_QUEUE_BYTES_MAX;

/// How long an end waits for the lines that are still in the queue.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);
/// Before the next try at a stderr that somebody has made non-blocking and that is full.
const RETRY_AFTER: Duration = Duration::from_millis(10);

static QUEUE: OnceLock<Queue> = OnceLock::new();

struct Queue {
    items: Sender<Item>,
    /// Bytes of the lines in it.
    bytes: AtomicUsize,
    /// Lines that were dropped and not told of yet.
    lost: AtomicU64,
}

enum Item {
    Line(Vec<u8>),
    /// Everything said before this has been written, or was lost.
    Flush(SyncSender<()>),
}

/// Has the log follow another filter.
type Reload = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

static RELOAD: OnceLock<Reload> = OnceLock::new();

/// How the log follows another filter, once it is started.
pub fn set_reload(reload: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) {
    let _ = RELOAD.set(Box::new(reload));
}

/// Logs what `filter` says from now on.
///
/// # Errors
/// It is no filter, or there is no log.
pub fn follow(filter: &str) -> Result<(), String> {
    RELOAD.get().map_or_else(|| Err("the log cannot be changed here".to_owned()), |reload| reload(filter))
}

/// Starts the thread; from here on nobody waits for stderr.
///
/// # Errors
/// If there is no thread to be had.
pub fn start() -> io::Result<()> {
    let (items, to_write) = mpsc::channel();
    let queue = Queue { items, bytes: AtomicUsize::new(0), lost: AtomicU64::new(0) };
    if QUEUE.set(queue).is_ok() {
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&to_write))?;
    }
    Ok(())
}

/// Says `text`, which brings its own line ends.
pub fn say(text: &str) {
    match QUEUE.get() {
        Some(queue) => queue.offer(text.as_bytes()),
        // There is nobody to tell of a failure.
        None => drop(write(text.as_bytes())),
    }
}

/// Waits until everything said so far is written, but not for a reader that has stopped.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        let (done, is_done) = mpsc::sync_channel(1);
        if queue.items.send(Item::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Ends the process, after what was said last.
pub fn exit(code: i32) -> ! {
    flush();
    process::exit(code);
}

/// Takes the lines of the log, one whole line a write.
pub struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match QUEUE.get() {
            Some(queue) => queue.offer(line),
            None => drop(write(line)),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    fn offer(&self, line: &[u8]) {
        let bytes = self.bytes.fetch_add(line.len(), Ordering::Relaxed);
        if bytes + line.len() > LOG_QUEUE_BYTES_MAX {
            self.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        } else {
            // The thread that takes them lives as long as the process.
            let _ = self.items.send(Item::Line(line.to_vec()));
        }
    }
}

/// The thread.
fn write_all(items: &Receiver<Item>) {
    let Some(queue) = QUEUE.get() else { return };
    for item in items {
        match item {
            Item::Line(line) => {
                let written = write(&line);
                let left = queue.bytes.fetch_sub(line.len(), Ordering::Relaxed) - line.len();
                if written.is_err() {
                    queue.lost.fetch_add(1, Ordering::Relaxed);
                } else if left == 0 {
                    tell_of_lost(queue);
                }
            }
            // Who has asked may have waited long enough.
            Item::Flush(done) => drop(done.send(())),
        }
    }
}

fn tell_of_lost(queue: &Queue) {
    let lost = queue.lost.swap(0, Ordering::Relaxed);
    if lost > 0 {
        tracing::warn!("{lost} lines of the log are lost: stderr did not take them, or not fast enough");
    }
}

fn write(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match io::stderr().write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Whoever shares it with us has made it so, such as a parent process for its own loop.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_AFTER),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_nobody_waits() {
        let (items, to_write) = mpsc::channel();
        let queue = Queue { items, bytes: AtomicUsize::new(0), lost: AtomicU64::new(0) };
        let line = vec![b'x'; LOG_QUEUE_BYTES_MAX / 2];
        (0..5).for_each(|_| queue.offer(&line));
        assert_eq!((to_write.try_iter().count(), queue.lost.load(Ordering::Relaxed)), (2, 3));
        assert_eq!(queue.bytes.load(Ordering::Relaxed), LOG_QUEUE_BYTES_MAX);
    }
}

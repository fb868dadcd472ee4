//! The last lines of the log that somebody should see, for whoever runs the server: warnings, errors and changes by an administrator.
//!
//! Invariant: whoever logs neither waits nor fails: a line that finds [`QUEUED_MAX`] others is dropped, and counted.

use std::fmt::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Clock;

/// The target of what an administrator has changed, which is kept whatever its level.
pub const AUDIT: &str = "annulus::audit";
/// Lines that wait to be taken.
const QUEUED_MAX: usize = 1024;
/// Bytes of a message, past which it is cut.
const MESSAGE_BYTES_MAX: usize = 2 << 10;

static QUEUE: OnceLock<Queue> = OnceLock::new();

struct Queue {
    lines: Sender<Line>,
    queued: AtomicUsize,
    lost: AtomicU64,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    pub unix_ms: u64,
    pub level: &'static str,
    pub target: String,
    pub message: String,
}

/// Where lines are taken.
#[derive(Debug)]
pub struct Lines(Receiver<Line>);

/// Begins to keep lines; `None`: somebody takes them already.
pub fn begin() -> Option<Lines> {
    let (lines, taken) = mpsc::channel();
    let queue = Queue { lines, queued: AtomicUsize::new(0), lost: AtomicU64::new(0) };
    QUEUE.set(queue).is_ok().then_some(Lines(taken))
}

impl Lines {
    /// The next line.
    pub fn take(&self) -> Option<Line> {
        let line = self.0.try_recv().ok()?;
        if let Some(queue) = QUEUE.get() {
            queue.queued.fetch_sub(1, Ordering::Relaxed);
        }
        Some(line)
    }

    /// Lines that found no room, since this was asked before.
    pub fn take_lost(&self) -> u64 {
        QUEUE.get().map_or(0, |queue| queue.lost.swap(0, Ordering::Relaxed))
    }
}

/// What hands lines on.
#[derive(Debug)]
pub struct Recent;

impl<S: Subscriber> Layer<S> for Recent {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(queue) = QUEUE.get() else { return };
        let of = event.metadata();
        if *of.level() > Level::WARN && of.target() != AUDIT {
            return;
        }
        if queue.queued.fetch_add(1, Ordering::Relaxed) >= QUEUED_MAX {
            queue.queued.fetch_sub(1, Ordering::Relaxed);
            queue.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut said = Said::default();
        event.record(&mut said);
        let level = match *of.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            _ => "info",
        };
        let unix_ms = Clock::start().now().unix_ms;
        let line = Line { unix_ms, level, target: of.target().to_owned(), message: said.text() };
        // It is gone only when the server ends.
        let _ = queue.lines.send(line);
    }
}

#[derive(Default)]
struct Said {
    message: String,
    fields: String,
}

impl Said {
    fn text(mut self) -> String {
        self.message += &self.fields;
        if self.message.len() > MESSAGE_BYTES_MAX {
            let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&end| self.message.is_char_boundary(end));
            self.message.truncate(end.unwrap_or(0));
            self.message.push('…');
        }
        self.message
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

//! One target: events that it hears of, in their order, and the task that delivers them.
//!
//! Invariant: what is in line is delivered, or a dead letter, before it leaves it. A batch is tried again as it is, with the same
//! events, before the next one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use super::batch::Encoded;
use super::dead_letters::DeadLetters;
use super::way::{Sender, Way};
use crate::hooks::{Hook, Kind};
use crate::limits::{HOOK_BATCH_BYTES_MAX, HOOK_BATCH_EVENTS_MAX, HOOK_BATCH_MS, HOOK_TARGET_BYTES_MAX};
use crate::metrics::HookMetrics;

/// The pause after the first attempt that fails, which doubles with each, and the longest.
const PAUSE_MS: u64 = 250;
const PAUSE_MS_MAX: u64 = 30_000;
/// The shortest time between two lines about events that are buried.
const SAID_EVERY: Duration = Duration::from_secs(1);

/// What all targets use.
pub struct Common {
    pub sender: Sender,
    pub dead_letters: DeadLetters,
    pub metrics: Arc<HookMetrics>,
    /// The server ends: nothing is waited for.
    pub is_ending: Cell<bool>,
    pub ends: Notify,
}

/// See the module.
pub struct Target {
    hook: Arc<Hook>,
    way: RefCell<Way>,
    line: RefCell<VecDeque<Rc<Encoded>>>,
    bytes: Cell<usize>,
    /// What found the line too long, in this pass.
    beyond: RefCell<Vec<Rc<Encoded>>>,
    has_more: Notify,
    /// No rule names it any more.
    is_retired: Cell<bool>,
    /// Whether the last attempt has failed.
    is_failing: Cell<bool>,
    /// When it may be said again that events are buried.
    silent_until: Cell<Option<Instant>>,
}

impl Target {
    pub fn new(hook: Arc<Hook>, way: Way) -> Self {
        Self {
            hook,
            way: RefCell::new(way),
            line: RefCell::default(),
            bytes: Cell::default(),
            beyond: RefCell::default(),
            has_more: Notify::new(),
            is_retired: Cell::new(false),
            is_failing: Cell::new(false),
            silent_until: Cell::new(None),
        }
    }

    /// Whether it is the one of this hook, there.
    pub fn is(&self, hook: &Hook, way: &Way) -> bool {
        !self.is_retired.get() && *self.hook == *hook && self.way.borrow().leads_to(way)
    }

    /// From now on its messages are signed with another secret.
    pub fn set_way(&self, way: Way) {
        *self.way.borrow_mut() = way;
    }

    /// It hears of nothing more, and ends once it has delivered what it has.
    pub fn retire(&self) {
        self.is_retired.set(true);
        self.has_more.notify_one();
    }

    pub fn is_done(&self) -> bool {
        self.is_retired.get() && self.line.borrow().is_empty()
    }

    pub fn wants(&self, kind: Kind, name: &str) -> bool {
        !self.is_retired.get() && self.hook.wants(kind, name)
    }

    /// Puts an event in line.
    pub fn push(&self, event: &Rc<Encoded>) {
        let bytes = self.bytes.get() + event.bytes();
        if bytes > HOOK_TARGET_BYTES_MAX {
            return self.beyond.borrow_mut().push(Rc::clone(event));
        }
        self.bytes.set(bytes);
        self.line.borrow_mut().push_back(Rc::clone(event));
        self.has_more.notify_one();
    }

    /// Buries what found the line too long.
    pub fn end_pass(&self, common: &Common) {
        let beyond = std::mem::take(&mut *self.beyond.borrow_mut());
        self.bury(common, &beyond, "more events wait for it than may");
    }

    /// Events that wait, bytes of them, and when the oldest has happened.
    pub fn waiting(&self) -> (usize, usize, Option<u64>) {
        let line = self.line.borrow();
        (line.len(), self.bytes.get(), line.front().map(|event| event.unix_ms))
    }

    /// Delivers what is in line, until it is retired.
    pub async fn run(self: Rc<Self>, common: Rc<Common>) {
        while let Some(batch) = self.next_batch(&common).await {
            self.deliver(&common, &batch).await;
            let mut line = self.line.borrow_mut();
            // The end of the server may have buried them meanwhile.
            let count = batch.len().min(line.len());
            for event in line.drain(..count) {
                self.bytes.set(self.bytes.get() - event.bytes());
            }
        }
    }

    /// Waits for as many events as go at once, or for some and a moment.
    async fn next_batch(&self, common: &Common) -> Option<Vec<Rc<Encoded>>> {
        while self.line.borrow().is_empty() {
            if self.is_retired.get() {
                return None;
            }
            self.has_more.notified().await;
        }
        let until = Instant::now() + Duration::from_millis(HOOK_BATCH_MS);
        let is_enough = || self.line.borrow().len() >= HOOK_BATCH_EVENTS_MAX || common.is_ending.get();
        while !is_enough() && timeout_at(until, self.has_more.notified()).await.is_ok() {}
        let mut bytes = 0;
        let fits = |event: &&Rc<Encoded>| {
            bytes += event.json.len();
            bytes <= HOOK_BATCH_BYTES_MAX
        };
        let line = self.line.borrow();
        let mut batch: Vec<_> = line.iter().take(HOOK_BATCH_EVENTS_MAX).take_while(fits).cloned().collect();
        if batch.is_empty() {
            batch.extend(line.front().cloned());
        }
        Some(batch)
    }

    async fn deliver(&self, common: &Common, batch: &[Rc<Encoded>]) {
        let mut pause_ms = PAUSE_MS;
        for attempt in 1.. {
            let way = self.way.borrow().clone();
            common.metrics.requests.add(1);
            let problem = match common.sender.send(&way, batch).await {
                Ok(()) => {
                    common.metrics.delivered.add(batch.len() as u64);
                    if self.is_failing.replace(false) {
                        tracing::info!("hook {}: it takes events again", way.name());
                    }
                    return;
                }
                Err(problem) => problem,
            };
            common.metrics.failures.add(1);
            if !self.is_failing.replace(true) {
                tracing::warn!("hook {}: {problem}; it is tried again", way.name());
            }
            if attempt >= self.hook.attempts || common.is_ending.get() {
                return self.bury(common, batch, &problem);
            }
            let pause = sleep(jittered(pause_ms));
            let ends = common.ends.notified();
            if !common.is_ending.get() {
                tokio::select! { () = pause => {}, () = ends => {} }
            }
            pause_ms = (2 * pause_ms).min(PAUSE_MS_MAX);
        }
    }

    /// Buries all that waits.
    pub fn bury_all(&self, common: &Common) {
        let left: Vec<_> = self.line.borrow_mut().drain(..).collect();
        self.bytes.set(0);
        for batch in left.chunks(HOOK_BATCH_EVENTS_MAX) {
            self.bury(common, batch, "the server ends");
        }
    }

    fn bury(&self, common: &Common, events: &[Rc<Encoded>], problem: &str) {
        if events.is_empty() {
            return;
        }
        let way = self.way.borrow();
        let outcome = common.dead_letters.put(&way, events);
        let counted = if outcome.is_ok() { &common.metrics.dead_letters } else { &common.metrics.lost };
        counted.add(events.len() as u64);
        let now = Instant::now();
        if self.silent_until.get().is_some_and(|until| now < until) {
            return;
        }
        self.silent_until.set(Some(now + SAID_EVERY));
        let (name, count) = (way.name(), events.len());
        match outcome {
            Ok(()) => tracing::error!("hook {name}: {problem}; {count} events are dead letters"),
            Err(why) => tracing::error!("hook {name}: {problem}; {count} events are lost, as {why}"),
        }
    }
}

/// Between half of a time and all of it, so that not all come back at once.
fn jittered(ms: u64) -> Duration {
    let random = getrandom::u64().unwrap_or(0);
    Duration::from_millis(ms / 2 + random % (ms / 2 + 1))
}

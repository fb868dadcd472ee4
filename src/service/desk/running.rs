//! The thread of the desk.

use std::sync::Arc;
use std::time::Duration;

use super::files::Files;
use super::jwks::Jwks;
use super::queues::{Judged, Left, Queues};
use crate::auth::{Desk, Refused, TokenError};
use crate::io::{Clock, Control, host};
use crate::metrics::DeskMetrics;
use crate::service::handle::Handle;
use crate::service::watching::Watch;

/// Passes over the shards between two looks at anything else, and until shards are woken: some milliseconds of the
/// most expensive signatures.
const PASSES: usize = 8;
/// How long it waits for a shard to take answers.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(1);
/// The shortest time between two looks at the files, however often they change.
const LOOK_PAUSE_MS: u64 = 50;

pub(super) struct Running {
    pub handle: Handle,
    pub watch: Watch,
    pub files: Files,
    pub jwks: Option<Jwks>,
    pub desk: Desk,
    pub queues: Queues,
    pub controls: Vec<Control>,
    pub clock: Clock,
    pub metrics: Arc<DeskMetrics>,
    pub revalidate_ms: u64,
}

/// When what is done, in milliseconds since the start.
struct Times {
    looked_ms: u64,
    /// Somebody has changed a file since.
    is_look_wanted: bool,
    revalidate_ms: u64,
}

impl Running {
    pub fn run(mut self) {
        if let Err(error) = host::yield_to_shards() {
            tracing::warn!("the desk cannot lower its priority, so shards may notice it: {error}");
        }
        let mut times = Times {
            looked_ms: 0,
            is_look_wanted: false,
            revalidate_ms: self.now_ms().saturating_add(self.revalidate_ms),
        };
        while !self.handle.is_stopping() {
            let standing = self.desk.standing().clone();
            self.look_around(&mut times);
            if !Arc::ptr_eq(&standing, self.desk.standing()) {
                self.metrics.standings.add(1);
                self.queues.send_standing(self.desk.standing());
            }
            let left = self.serve();
            self.count();
            self.queues.take_told(|shard| self.controls[shard].wake());
            match left {
                Left::More => {}
                Left::NoRoom => drop(self.handle.wait(&self.watch, Some(NO_ROOM_PAUSE))),
                Left::Nothing => drop(self.handle.wait(&self.watch, self.pause(&times))),
            }
        }
    }

    /// Answers some of what has come.
    fn serve(&mut self) -> Left {
        let Self { desk, jwks, clock, queues, metrics, .. } = self;
        for _ in 0..PASSES {
            let left = queues.pass(|credential, may_wait| {
                let now = clock.now();
                let (verifications, began_ns) = (desk.counts().verifications, clock.elapsed_ns());
                let outcome = desk.believe(credential, now.unix_ms);
                if desk.counts().verifications > verifications {
                    metrics.record_verification(clock.elapsed_ns() - began_ns);
                }
                let is_unknown = matches!(outcome, Err(Refused::Token(TokenError::UnknownKey)));
                let now_ms = now.monotonic_us / 1000;
                match jwks.as_mut().filter(|_| is_unknown && may_wait).map(|jwks| jwks.may_bring(now_ms)) {
                    Some(true) => Judged::Later,
                    _ => Judged::Said(outcome),
                }
            });
            if left != Left::More {
                return left;
            }
        }
        Left::More
    }

    /// Tells who looks at the metrics.
    fn count(&self) {
        let counts = self.desk.counts();
        self.metrics.hits.set(counts.hits);
        for (told, count) in self.metrics.refused.iter().zip(counts.refused) {
            told.set(count);
        }
        self.metrics.believed_bytes.set(self.desk.believed_bytes() as u64);
    }

    /// Reads what has changed, or may have.
    fn look_around(&mut self, times: &mut Times) {
        let now_ms = self.now_ms();
        if self.handle.take_reload() {
            tracing::info!("SIGHUP: rules, keys, API keys and revocations are read again");
            self.files.reload(&mut self.desk, &self.metrics);
            self.fetch(now_ms);
        }
        times.is_look_wanted |= self.watch.take();
        if now_ms >= times.revalidate_ms {
            times.revalidate_ms = now_ms.saturating_add(self.revalidate_ms);
            times.is_look_wanted = true;
            self.fetch(now_ms);
        }
        if times.is_look_wanted && now_ms >= times.looked_ms + LOOK_PAUSE_MS {
            (times.is_look_wanted, times.looked_ms) = (false, now_ms);
            self.files.look(&mut self.desk, &self.metrics);
        }
        self.take_fetched(now_ms);
    }

    fn fetch(&mut self, now_ms: u64) {
        if let Some(jwks) = &mut self.jwks {
            jwks.begin(now_ms);
        }
    }

    /// What a fetch has brought, if one has ended; else begins the one that is due.
    fn take_fetched(&mut self, now_ms: u64) {
        let Self { jwks: Some(jwks), desk, files, queues, clock, metrics, .. } = self else { return };
        jwks.begin_due(now_ms);
        let Some(fetched) = jwks.take() else { return };
        let has_keys = fetched.is_some_and(|set| files.take_fetched(set, desk));
        jwks.judged(has_keys);
        metrics.jwks_fetches.add(1);
        metrics.jwks_failures.add(u64::from(!has_keys));
        queues.release(|credential| desk.believe(credential, clock.now().unix_ms));
    }

    /// How long nothing has to be done, if nobody raises the event.
    fn pause(&self, times: &Times) -> Option<Duration> {
        let look_ms = times.is_look_wanted.then_some(times.looked_ms + LOOK_PAUSE_MS);
        let fetch_ms = self.jwks.as_ref().and_then(Jwks::due_ms);
        let due_ms = [look_ms, fetch_ms].into_iter().flatten().fold(times.revalidate_ms, u64::min);
        // A millisecond more, as the clock is cut to whole ones.
        Some(Duration::from_millis(due_ms.saturating_sub(self.now_ms()) + 1))
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().monotonic_us / 1000
    }
}

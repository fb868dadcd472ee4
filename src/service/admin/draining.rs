//! The end of the server, after a countdown that may be stopped.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::answer::Answer;
use super::fields::{bad, conflict, said};
use super::shards::{Shards, other};
use crate::handover::inspection::{Finding, Inquiry};
use crate::io::{Clock, Control, Signal};

/// The longest countdown.
const IN_MS_MAX: u64 = 3_600_000;

/// What `POST /admin/drain` is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    pub in_ms: Option<u64>,
    cancel: Option<bool>,
}

#[derive(Serialize)]
struct Shown {
    phase: &'static str,
    left_ms: Option<u64>,
    connections: u64,
}

#[derive(Default)]
struct State {
    /// When it is over, in milliseconds of the monotonic clock, and what stops it.
    countdown: Option<(u64, AbortHandle)>,
    /// When the shards were told.
    told_ms: Option<u64>,
}

/// See the module.
pub struct Draining {
    controls: Vec<Control>,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

impl Draining {
    pub fn new(controls: Vec<Control>, clock: Clock) -> Self {
        Self { controls, clock, state: Arc::default() }
    }

    /// Whether the shards were told to end, by whoever.
    pub fn is_told(&self) -> bool {
        self.controls.iter().any(|control| control.signal() == Signal::Drain)
    }

    /// Begins or stops a countdown.
    ///
    /// # Errors
    /// It makes no sense, or comes too late.
    pub async fn change(&self, drain: &Drain) -> Result<(), super::answer::Refusal> {
        let mut state = self.state.lock().await;
        if self.is_told() {
            return Err(conflict("the server is ending already"));
        }
        match drain {
            Drain { in_ms: None, cancel: Some(true) } => {
                let (_, countdown) =
                    state.countdown.take().ok_or_else(|| conflict("there is no countdown to stop"))?;
                countdown.abort();
            }
            Drain { in_ms: Some(in_ms), cancel: None } if *in_ms <= IN_MS_MAX => {
                if let Some((_, before)) = state.countdown.take() {
                    before.abort();
                }
                let (controls, in_ms) = (self.controls.clone(), *in_ms);
                let (shared, clock) = (Arc::clone(&self.state), self.clock.clone());
                let countdown = tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(in_ms)).await;
                    let mut state = shared.lock().await;
                    (state.countdown, state.told_ms) = (None, Some(clock.now().timer_ms()));
                    controls.iter().for_each(Control::drain);
                });
                let until_ms = self.clock.now().timer_ms() + in_ms;
                state.countdown = Some((until_ms, countdown.abort_handle()));
            }
            _ => {
                return Err(bad("bad_request", "say in_ms, from 0 to 3600000, or \"cancel\":true"));
            }
        }
        Ok(())
    }

    /// `GET /admin/drain`, of a server that drains for so long.
    pub async fn page(&self, shards: &Shards, lead_ms: u64, drain_ms: u64) -> Answer {
        let mut connections = 0;
        for finding in shards.ask_all(|| Inquiry::Metrics).await? {
            let Finding::Metrics(metrics) = finding else { return Err(other()) };
            connections += metrics.connections;
        }
        let state = self.state.lock().await;
        let now_ms = self.clock.now().timer_ms();
        let left = |until_ms: u64| Some(until_ms.saturating_sub(now_ms));
        let (phase, left_ms) = match (&state.countdown, state.told_ms) {
            (_, Some(told_ms)) if now_ms < told_ms + lead_ms => ("lead", left(told_ms + lead_ms)),
            (_, Some(told_ms)) => ("closing", left(told_ms + lead_ms + drain_ms)),
            // By a signal, and nobody has noted when.
            (_, None) if self.is_told() => ("closing", None),
            (Some((until_ms, _)), None) => ("countdown", left(*until_ms)),
            (None, None) => ("serving", None),
        };
        said(&Shown { phase, left_ms, connections })
    }
}

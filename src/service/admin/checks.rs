//! Looks at everything, on demand and once an hour (`shard/checking.rs`).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;

use super::answer::{Answer, Refusal};
use super::fields::{conflict, said};
use super::shards::Shards;
use crate::handover::inspection::{Checked, Finding, Inquiry};
use crate::io::Clock;
use crate::metrics::AdminMetrics;

/// Between two that nobody has asked for.
const EVERY: Duration = Duration::from_secs(3_600);
/// How long one may take: some seconds, and much longer only where shards have no work left for it.
const PATIENCE: Duration = Duration::from_secs(600);
/// Problems that are told.
const PROBLEMS_MAX: usize = 20;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    pub is_running: bool,
    started_unix_ms: Option<u64>,
    ended_unix_ms: Option<u64>,
    looked_at: u64,
    /// `None`: none has ended.
    pub violations: Option<u64>,
    problems: Vec<String>,
    /// Why there is no result.
    error: Option<String>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Checks {
    shards: Shards,
    metrics: Arc<AdminMetrics>,
    clock: Clock,
    outcome: Arc<Mutex<Outcome>>,
}

impl Checks {
    /// Begins with the first that comes of itself, in an hour.
    pub fn start(shards: Shards, metrics: Arc<AdminMetrics>, clock: Clock) -> Self {
        let checks = Self { shards, metrics, clock, outcome: Arc::default() };
        let hourly = checks.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                // One that somebody has asked for counts.
                let _ = hourly.begin().await;
            }
        });
        checks
    }

    /// What the last one has found, or how far it is.
    pub async fn outcome(&self) -> Outcome {
        self.outcome.lock().await.clone()
    }

    /// `GET /admin/check`.
    pub async fn page(&self) -> Answer {
        said(&self.outcome().await)
    }

    /// Begins one.
    ///
    /// # Errors
    /// One is under way.
    pub async fn begin(&self) -> Result<(), Refusal> {
        let mut outcome = self.outcome.lock().await;
        if outcome.is_running {
            return Err(conflict("a check is under way"));
        }
        outcome.is_running = true;
        (outcome.started_unix_ms, outcome.ended_unix_ms) = (Some(self.clock.now().unix_ms), None);
        let checks = self.clone();
        tokio::spawn(async move { checks.run().await });
        Ok(())
    }

    async fn run(&self) {
        let asking =
            (0..self.shards.count()).map(|shard| self.shards.ask_for(shard, Inquiry::Check, PATIENCE));
        let (mut sum, mut error) = (Checked::default(), None);
        for (shard, answered) in futures_util::future::join_all(asking).await.into_iter().enumerate() {
            match answered.map(|answered| answered.finding) {
                Ok(Finding::Checked(checked)) => {
                    sum.looked_at += checked.looked_at;
                    sum.violations += checked.violations;
                    sum.problems
                        .extend(checked.problems.iter().map(|problem| format!("shard {shard}: {problem}")));
                }
                Ok(_) => {}
                Err(refusal) => error = Some(refusal.message),
            }
        }
        sum.problems.truncate(PROBLEMS_MAX);
        let mut outcome = self.outcome.lock().await;
        outcome.is_running = false;
        outcome.ended_unix_ms = Some(self.clock.now().unix_ms);
        self.metrics.checks.add(1);
        if error.is_none() {
            self.metrics.check_violations.set(sum.violations);
        }
        outcome.looked_at = sum.looked_at;
        outcome.violations = error.is_none().then_some(sum.violations);
        (outcome.problems, outcome.error) = (sum.problems, error);
    }
}

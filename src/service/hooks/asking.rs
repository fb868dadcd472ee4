//! One question to the application.

use std::cell::Cell;
use std::sync::Arc;

use super::http::{Http, without_query};
use crate::hooks::{Otherwise, Question, Verdict};
use crate::io::Clock;
use crate::metrics::HookMetrics;

/// The shortest time between two lines about questions without an answer.
const SAID_EVERY_MS: u64 = 1_000;

/// Who asks.
pub struct Asking {
    http: Http,
    clock: Clock,
    metrics: Arc<HookMetrics>,
    said_ms: Cell<u64>,
}

impl Asking {
    pub const fn new(http: Http, clock: Clock, metrics: Arc<HookMetrics>) -> Self {
        Self { http, clock, metrics, said_ms: Cell::new(0) }
    }

    /// What the application says, or what is to be done where it says nothing.
    pub async fn ask(&self, question: &Question, secret: Option<&[u8]>, body: Vec<u8>) -> Verdict {
        let now_ms = self.clock.now().unix_ms;
        let answer = self.http.post(&question.endpoint, secret, now_ms, body).await;
        let verdict = match answer {
            Ok(body) => {
                Verdict::read(&body, question.before, &question.roles).map_err(|error| error.to_string())
            }
            Err(failure) => Err(failure.to_string()),
        };
        match verdict {
            Ok(verdict @ Verdict::Allow(_)) => {
                self.metrics.questions_allowed.add(1);
                verdict
            }
            Ok(verdict @ Verdict::Deny { .. }) => {
                self.metrics.questions_denied.add(1);
                verdict
            }
            Err(problem) => {
                self.metrics.questions_unanswered.add(1);
                self.say(question, &problem);
                match question.otherwise {
                    Otherwise::Allow => Verdict::Allow(Box::default()),
                    Otherwise::Deny => {
                        Verdict::Deny { reason: Some("the application does not answer".into()) }
                    }
                }
            }
        }
    }

    fn say(&self, question: &Question, problem: &str) {
        let now_ms = self.clock.now().monotonic_us / 1000;
        if now_ms < self.said_ms.get() {
            return;
        }
        self.said_ms.set(now_ms + SAID_EVERY_MS);
        let done = match question.otherwise {
            Otherwise::Allow => "it is allowed",
            Otherwise::Deny => "it is denied",
        };
        tracing::warn!("question to {}: {problem}; {done}", without_query(&question.endpoint.url));
    }
}

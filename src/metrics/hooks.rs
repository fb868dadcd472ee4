//! What the thread of the hooks counts: written by it, read by the shard that renders the page.

use super::exposition::{Exposition, Kind};
use super::{Counter, Gauge};

/// One for the whole process.
#[derive(Debug, Default)]
pub struct HookMetrics {
    pub delivered: Counter,
    pub requests: Counter,
    pub failures: Counter,
    pub dead_letters: Counter,
    /// Events that were lost after all, as there is no file for dead letters, or no room in it.
    pub lost: Counter,
    /// Events that wait, bytes of them, and when the oldest has happened; 0: none.
    pub waiting: Gauge,
    pub waiting_bytes: Gauge,
    pub oldest_unix_ms: Gauge,
    pub questions_allowed: Counter,
    pub questions_denied: Counter,
    pub questions_unanswered: Counter,
}

impl HookMetrics {
    /// Appends everything in the Prometheus text format.
    pub fn render(&self, now_unix_ms: u64, out: &mut String) {
        let mut page = Exposition::new(out);
        for (name, help, counter) in [
            ("annulus_hooks_delivered_total", "Events delivered, once for each target.", &self.delivered),
            ("annulus_hooks_requests_total", "Attempts to deliver a batch of events.", &self.requests),
            ("annulus_hooks_failures_total", "Those of them that failed.", &self.failures),
            (
                "annulus_hooks_dead_letters_total",
                "Events written to --hooks-dead-letters.",
                &self.dead_letters,
            ),
            (
                "annulus_hooks_lost_total",
                "Events that could not be delivered and not be written either.",
                &self.lost,
            ),
        ] {
            page.family(name, Kind::Counter, help);
            page.value(counter.value());
        }
        let help = "Questions to the application, by what came of them.";
        page.family("annulus_questions_total", Kind::Counter, help);
        for (outcome, counter) in [
            ("allowed", &self.questions_allowed),
            ("denied", &self.questions_denied),
            ("unanswered", &self.questions_unanswered),
        ] {
            page.labelled(format_args!("outcome=\"{outcome}\""), counter.value());
        }
        page.family("annulus_hooks_waiting", Kind::Gauge, "Events that wait to be delivered.");
        page.value(self.waiting.value());
        page.family("annulus_hooks_waiting_bytes", Kind::Gauge, "Bytes of them.");
        page.value(self.waiting_bytes.value());
        let help = "Seconds since the oldest of them has happened; 0: none waits.";
        page.family("annulus_hooks_lag_seconds", Kind::Gauge, help);
        let lag_ms = match self.oldest_unix_ms.value() {
            0 => 0,
            oldest_ms => now_unix_ms.saturating_sub(oldest_ms),
        };
        page.value(lag_ms as f64 / 1000.0);
    }
}

//! What the admin thread counts about the server as a whole.

use super::exposition::{Exposition, Kind};
use super::storage::{Counter, Gauge};

/// One for the whole process.
#[derive(Debug, Default)]
pub struct AdminMetrics {
    pub checks: Counter,
    pub check_violations: Gauge,
    /// 1 while the process has more memory than `--memory-soft`.
    pub memory_soft_exceeded: Gauge,
    /// The longest that a shard let a question wait in the last second, in microseconds.
    pub lag_us: Gauge,
    pub requests_refused: Counter,
}

impl AdminMetrics {
    /// Appends everything in the Prometheus text format.
    pub fn render(&self, out: &mut String) {
        let mut page = Exposition::new(out);
        let help = "Checks of everything that have ended.";
        page.family("annulus_checks_total", Kind::Counter, help);
        page.value(self.checks.value());
        let help = "What the last check has found that must not be.";
        page.family("annulus_check_violations", Kind::Gauge, help);
        page.value(self.check_violations.value());
        let help = "Whether the process has more memory than --memory-soft.";
        page.family("annulus_memory_soft_exceeded", Kind::Gauge, help);
        page.value(self.memory_soft_exceeded.value());
        let help = "The longest that the event loop of a shard let the admin thread wait in the last second.";
        page.family("annulus_loop_lag_seconds", Kind::Gauge, help);
        page.value(self.lag_us.value() as f64 / 1e6);
        let help =
            "Requests to the admin API that were refused: too many, of another origin, or not allowed.";
        page.family("annulus_admin_refused_total", Kind::Counter, help);
        page.value(self.requests_refused.value());
    }
}

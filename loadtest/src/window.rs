//! A measured window: what the server and the load used between its two ends, and the figures made of it.

use crate::clock::{now_ns, seconds, thread_cpu_ns};
use crate::cpu::{CpuTime, Subject};
use crate::fleet::Target;
use crate::polling::idle_ns;
use crate::report::figures::Figures;
use crate::server::metrics::{self, Sends};
use crate::tally::Tally;

/// Whose cost is measured along, and how.
#[derive(Clone)]
pub struct Meter {
    pub subject: Option<Subject>,
    /// Where `/metrics` may be.
    pub metrics: Option<Target>,
    pub progress: bool,
}

/// The readings at the beginning of a window.
pub struct OpenWindow {
    sends: Option<Sends>,
    cpu: Option<CpuTime>,
    load_cpu_ns: u64,
    start_ns: u64,
}

/// What the measured window brought.
pub struct Window {
    pub operations: u64,
    pub ns: u64,
    /// Of the thread that opened and closed it.
    pub load_cpu_ns: u64,
    cpu: Option<CpuTime>,
    resident_bytes: Option<u64>,
    sends: Option<Sends>,
    /// Whether the server was asked for them in vain.
    sends_unknown: bool,
}

impl Meter {
    /// Costs of the load only: for a thread beside the one that meters the server.
    pub fn of_the_load_only() -> Self {
        Self { subject: None, metrics: None, progress: false }
    }

    pub fn open_window(&self) -> OpenWindow {
        // The scrapes are outside the window: they cost the server and hold up the load.
        let sends = self.scrape();
        let cpu = self.cpu_time();
        OpenWindow { sends, cpu, load_cpu_ns: busy_ns(), start_ns: now_ns() }
    }

    fn scrape(&self) -> Option<Sends> {
        self.metrics.as_ref().and_then(metrics::scrape)
    }

    fn cpu_time(&self) -> Option<CpuTime> {
        self.subject.and_then(|subject| subject.cpu_time().ok())
    }
}

impl OpenWindow {
    /// `operations`: how many were done since it was opened.
    pub fn close(self, meter: &Meter, operations: u64) -> Window {
        let ns = now_ns() - self.start_ns;
        let load_cpu_ns = busy_ns().saturating_sub(self.load_cpu_ns);
        let cpu = self.cpu.zip(meter.cpu_time()).map(|(before, after)| after.since(before));
        let sends = self.sends.zip(meter.scrape()).map(|(before, after)| after.since(before));
        let resident_bytes = meter.subject.and_then(Subject::resident_bytes);
        let sends_unknown = meter.metrics.is_some() && sends.is_none();
        Window { operations, ns, load_cpu_ns, cpu, resident_bytes, sends, sends_unknown }
    }
}

/// CPU time this thread has used for more than to look for work.
fn busy_ns() -> u64 {
    thread_cpu_ns().saturating_sub(idle_ns())
}

impl Window {
    /// The figures of a load that is counted and timed; `latency` in nanoseconds.
    pub fn figures(&self, tally: &Tally) -> Figures {
        let mut figures = Figures::default();
        figures.set("throughput_per_second", self.operations as f64 / seconds(self.ns));
        figures.set("operations", self.operations as f64);
        figures.set("errors", 0.0);
        figures.set_latency("latency", &tally.latency_ns);
        self.set_costs(&mut figures);
        if self.sends_unknown {
            figures.set("sends_unknown", 1.0);
        }
        figures
    }

    /// Sets what an operation cost the server and the load.
    pub fn set_costs(&self, figures: &mut Figures) {
        figures.set("load_cpu_percent", self.load_cpu_percent());
        if let Some(bytes) = self.resident_bytes {
            figures.set("server_rss_mib", bytes as f64 / f64::from(1 << 20));
        }
        if let Some(sends) = self.sends.filter(|sends| sends.sends > 0.0) {
            figures.set("messages_per_send", sends.messages / sends.sends);
            figures.set("deliveries_per_send", sends.deliveries / sends.sends);
        }
        if let Some(cpu) = self.cpu.filter(|cpu| cpu.total_ns > 0 && self.operations > 0) {
            let (total, operations) = (cpu.total_ns as f64, self.operations as f64);
            figures.set("server_cpu_percent", 100.0 * total / self.ns as f64);
            figures.set("operations_per_cpu_second", operations / (total / 1e9));
            figures.set("server_cpu_us_per_operation", total / 1e3 / operations);
            if cpu.children_ns > 0 {
                figures.set("server_children_cpu_percent", 100.0 * cpu.children_ns as f64 / self.ns as f64);
            }
            if let Some(user_ns) = cpu.user_ns_if_known() {
                figures.set("server_user_us_per_operation", user_ns as f64 / 1e3 / operations);
            }
        }
    }

    pub fn load_cpu_percent(&self) -> f64 {
        100.0 * self.load_cpu_ns as f64 / self.ns as f64
    }
}

//! What the kernel knows of the process, under the names that all programs have for it in Prometheus.

use super::exposition::{Exposition, Kind};

/// Read for one scrape. What cannot be read is `None` and left out of the page.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessMetrics {
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub open_files: Option<u64>,
    /// `u64::MAX`: no limit.
    pub open_files_max: Option<u64>,
    /// Since the Unix epoch.
    pub started_seconds: Option<f64>,
}

impl ProcessMetrics {
    /// Appends what is known in the Prometheus text format.
    pub fn render(&self, out: &mut String) {
        let mut page = Exposition::new(out);
        let cpu_help = "Seconds of CPU time, of user and system together.";
        let started_help = "When the process started, in seconds since the Unix epoch.";
        let (bytes, files) = (|bytes: u64| bytes as f64, |files: u64| files as f64);
        for (name, kind, help, value) in [
            ("process_cpu_seconds_total", Kind::Counter, cpu_help, self.cpu_seconds),
            (
                "process_resident_memory_bytes",
                Kind::Gauge,
                "Bytes of memory in use.",
                self.resident_bytes.map(bytes),
            ),
            ("process_open_fds", Kind::Gauge, "File descriptors open.", self.open_files.map(files)),
            (
                "process_max_fds",
                Kind::Gauge,
                "File descriptors that may be open.",
                self.open_files_max.map(files),
            ),
            ("process_start_time_seconds", Kind::Gauge, started_help, self.started_seconds),
        ] {
            if let Some(value) = value {
                page.family(name, kind, help);
                page.value(value);
            }
        }
    }
}

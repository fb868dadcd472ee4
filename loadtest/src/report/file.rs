//! The JSON file of `--json`: everything the page says and more, for programs that compare runs.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::figures::Summary;
use crate::failure::Failure;

#[derive(Serialize)]
pub struct ReportFile<'a> {
    pub machine: Machine,
    pub command: String,
    pub results: &'a [Summary],
    /// Why the run failed; absent when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    pub kernel: String,
    pub cores: usize,
}

impl Machine {
    pub fn this(cores: usize) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name").and_then(|rest| rest.split_once(':')))
            .map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        Self { processor, kernel, cores }
    }
}

impl ReportFile<'_> {
    /// # Errors
    /// [`Failure::Setup`] when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let refuse =
            |error: &dyn std::fmt::Display| Failure::Setup(format!("--json {}: {error}", path.display()));
        let text = simd_json::serde::to_string_pretty(self).map_err(|error| refuse(&error))?;
        fs::write(path, text + "\n").map_err(|error| refuse(&error))
    }
}

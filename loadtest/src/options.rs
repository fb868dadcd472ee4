//! What every scenario may be told: which server, for how long, on which cores, and where the figures go.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::disk::data_dir::PARENT_DEFAULT;
use crate::server::warm_memory::parse_size;

#[derive(Clone, Debug, Args)]
pub struct Options {
    #[command(flatten, next_help_heading = "Which server")]
    pub server: ServerOptions,

    #[command(flatten, next_help_heading = "How long")]
    pub duration: DurationOptions,

    #[command(flatten, next_help_heading = "Cores")]
    pub cores: CoreOptions,

    #[command(flatten, next_help_heading = "Report")]
    pub report: ReportOptions,
}

/// Where a started server keeps its maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StorageKind {
    Memory,
    Disk,
}

#[derive(Clone, Debug, Args)]
pub struct ServerOptions {
    /// Measure the server at this address instead of starting one [such as ws://127.0.0.1:9000/v1]; its path is that of
    /// the native dialect, SyncKit is spoken at /ws
    #[arg(long, global = true)]
    pub url: Option<String>,
    /// Process of that server, for its CPU and memory [default: who listens on the port]
    #[arg(long, global = true)]
    pub server_pid: Option<u32>,
    /// Server to start [default: the annulus beside this program, built if missing]
    #[arg(long, global = true, conflicts_with = "url")]
    pub server_bin: Option<PathBuf>,
    /// Further arguments of the started server, separated by spaces
    #[arg(long, global = true, default_value = "", allow_hyphen_values = true, conflicts_with = "url")]
    pub server_args: String,
    /// File of tokens, one a line, that connections show in turn with their upgrade [default: they show none]
    ///
    /// What the server must know to believe them goes into --server-args: --auth required --jwt-secret-file …
    #[arg(long, global = true, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Speak TLS with a started server, which is given a certificate made for this
    #[arg(long, global = true, conflicts_with = "url")]
    pub tls: bool,
    /// File of certificates, one of which has signed that of the server of a wss:// --url
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    pub tls_ca: Option<PathBuf>,
    /// Believe any certificate of the server of a wss:// --url
    #[arg(long, global = true, requires = "url", conflicts_with = "tls_ca")]
    pub tls_insecure: bool,
    /// Shake hands anew each time that a client comes back, instead of showing the ticket that it was given
    #[arg(long, global = true)]
    pub tls_no_tickets: bool,
    /// Where the started server keeps its maps [default: disk if the scenario needs it, otherwise memory]
    #[arg(long, global = true, value_name = "KIND", conflicts_with = "url")]
    pub storage: Option<StorageKind>,
    /// Folder in which the data directory of a started server is made, and removed after the run
    #[arg(long, global = true, value_name = "DIR", default_value = PARENT_DEFAULT)]
    pub data_parent: PathBuf,
    /// Folder on the disk that is measured before durable writes [default: the server's data directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub disk_probe: Option<PathBuf>,
    /// Before each run, touch and free this much memory, such as 3GiB [default: none]
    ///
    /// The host of a virtual machine backs a page when it is first touched, which is slow and would be charged to a
    /// server that grows. Once touched, pages are fast to hand out again: use it before `write`, with about what the
    /// server will need.
    #[arg(long, global = true, value_name = "SIZE", conflicts_with = "url", value_parser = parse_size)]
    pub warm_memory: Option<usize>,
}

#[derive(Clone, Debug, Args)]
pub struct DurationOptions {
    /// Seconds that are measured
    #[arg(long, global = true, default_value_t = 5.0, value_parser = positive)]
    pub seconds: f64,
    /// Seconds of load before that
    #[arg(long, global = true, default_value_t = 1.0, value_parser = positive)]
    pub warmup: f64,
    /// Times each scenario runs; the page shows medians
    #[arg(long, global = true, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Seconds without any progress after which something counts as lost
    #[arg(long, global = true, default_value_t = 10.0, value_parser = positive)]
    pub timeout: f64,
}

#[derive(Clone, Debug, Args)]
pub struct CoreOptions {
    /// Core of the load thread [default: the last this process may use]
    #[arg(long, global = true)]
    pub load_core: Option<usize>,
    /// Core of the started server and of the floor [default: where the server is pinned, or the first]
    #[arg(long, global = true)]
    pub server_core: Option<usize>,
    /// Let the load thread sleep when nothing has come, instead of polling on its core; the server then pays for
    /// waking it
    #[arg(long, global = true)]
    pub load_sleeps: bool,
    /// Do not run the floor after each scenario
    #[arg(long, global = true)]
    pub no_floor: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ReportOptions {
    /// Write all figures to this file, too
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Show progress once a second [default: if stderr is a terminal]
    #[arg(long, global = true)]
    pub progress: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(seconds),
        _ => Err("a number of seconds, not negative".to_owned()),
    }
}

//! Where maps are kept, and how long what is removed from them is remembered.

use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum, value_parser};
use serde::{Serialize, Serializer};

use super::HOUR_MS;
use crate::cli::values::parse_data_mode;
use crate::config::{Bytes, Span};
use crate::config::{Config, DataMode};
use crate::limits;

/// Where the data is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum Storage {
    /// In --data-dir, and as far as it is used in memory
    Disk,
    /// In memory only: a restart empties it
    Memory,
}

/// When the journal is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum FsyncMode {
    /// After every group of writes; `durable` acks wait for it
    Always,
    /// Every --fsync-interval-ms; `durable` acks wait for it
    Interval,
    /// When the kernel likes; `durable` acks are not offered
    Never,
}

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Data")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct Data {
    /// Where maps are kept
    ///
    /// On disk they survive restarts and may be more than the memory holds; in memory there is no file at all.
    #[arg(long, env = "ANNULUS_STORAGE", value_name = "KIND", value_enum, default_value = "disk")]
    pub storage: Storage,

    /// The directory of the data; made if it is not there
    ///
    /// One server at a time uses it, and it must be on a local disk: `annulus doctor` measures how fast it syncs.
    #[arg(long, env = "ANNULUS_DATA_DIR", value_name = "DIR", default_value = "./annulus-data")]
    #[serde(serialize_with = "as_text")]
    pub data_dir: PathBuf,

    /// Who may read and write the files of the data, such as 0640 for a group that may read
    ///
    /// Of what is made from now on, backups and exports to a file included; folders may be entered by whoever may read. What
    /// is there keeps its mode. Who may write the files may ask the server for backups and exports.
    #[arg(long, env = "ANNULUS_DATA_MODE", value_name = "MODE", default_value = "0600", value_parser = parse_data_mode)]
    #[serde(serialize_with = "as_octal")]
    pub data_mode: DataMode,

    /// When what was written is synced to the disk
    ///
    /// With `interval` a power cut takes what was acknowledged as `memory` since the last sync, with `never` what
    /// the kernel had not written; a crash of the server alone takes nothing that was written.
    #[arg(long, env = "ANNULUS_FSYNC", value_name = "WHEN", value_enum, default_value = "always")]
    pub fsync: FsyncMode,

    /// Milliseconds between two syncs with --fsync interval
    ///
    /// A `durable` ack waits for up to this long; keep it below --ack-timeout-ms.
    #[arg(long, env = "ANNULUS_FSYNC_INTERVAL_MS", value_name = "MS", default_value_t = 1_000)]
    #[arg(value_parser = value_parser!(u64).range(1..=HOUR_MS))]
    pub fsync_interval_ms: u64,

    /// Bytes at which a segment of the journal ends and is folded into the base
    ///
    /// Larger ones are folded more cheaply, as more changes of one key become one; smaller ones are read faster
    /// after a crash. With --fsync always up to eight files take so much of the disk before anything is in them, where four
    /// times as much is free.
    #[arg(long, env = "ANNULUS_SEGMENT_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(limits::SEGMENT_BYTES_DEFAULT))]
    pub segment_bytes: Bytes,

    /// Bytes of the journal that may wait to be folded into the base; 0: no limit
    ///
    /// From half of it on clients that write are read more slowly, the more the nearer it comes, so that what comes is no
    /// more than what is folded. Four segments at the least. Bounds what a start has to read, and what the disk has to hold.
    #[arg(long, env = "ANNULUS_JOURNAL_MAX_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(limits::JOURNAL_BYTES_MAX_DEFAULT))]
    pub journal_max_bytes: Bytes,

    /// Milliseconds after which changes are folded into the base even if their segment is not full
    ///
    /// Bounds what a start has to read, and for how long a map that is not used stays in memory.
    #[arg(long, env = "ANNULUS_CHECKPOINT_INTERVAL_MS", value_name = "MS", default_value_t = 60_000)]
    #[arg(value_parser = value_parser!(u64).range(1..=24 * HOUR_MS))]
    pub checkpoint_interval_ms: u64,

    /// Bytes of memory for maps and for what is held for clients; 0: no limit [default: half of the memory]
    ///
    /// Past it the least recently used maps leave memory, to be loaded again when they are used, and what would grow is
    /// refused with overloaded; with --storage memory the latter alone. What waits for clients may take half of it. Half of
    /// what this host or its cgroup has leaves room for queues and the kernel's own copy of the files.
    #[arg(long, env = "ANNULUS_MEMORY_LIMIT", value_name = "SIZE")]
    pub memory_limit: Option<Bytes>,

    /// Bytes of memory of the process past which the log warns, and annulus_memory_soft_exceeded is 1; 0: never
    ///
    /// For an alert before the kernel ends the process. Nothing else is done about it: --memory-limit is what evicts and refuses.
    #[arg(long, env = "ANNULUS_MEMORY_SOFT", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().memory_soft_bytes))]
    pub memory_soft: Bytes,

    /// Free bytes of the disk below which writes are refused with read_only
    ///
    /// What is left lets the server fold and stop in order; it takes writes again by itself once there is room.
    #[arg(long, env = "ANNULUS_DISK_RESERVE", value_name = "SIZE", default_value_t = Bytes(256 << 20))]
    pub disk_reserve: Bytes,

    /// The core of the thread that writes the journal [default: any]
    ///
    /// Where it shares a core with a shard, both wait for each other.
    #[arg(long, env = "ANNULUS_SERVICE_CORE", value_name = "CORE")]
    pub service_core: Option<usize>,

    /// Start over damage in the journal, with everything that still verifies
    ///
    /// Says what is lost. Without it the server refuses to start, as a backup may have more.
    #[arg(long, env = "ANNULUS_SALVAGE", value_parser = BoolishValueParser::new())]
    pub salvage: bool,

    /// Serve POST /_test/clear, which drops all maps; for test suites
    ///
    /// Never where data matters: whoever reaches the port can use it, but for pages of origins that are not in
    /// --allowed-origins.
    #[arg(long, env = "ANNULUS_ENABLE_TEST_RESET", value_parser = BoolishValueParser::new())]
    pub enable_test_reset: bool,

    /// Milliseconds a client's stamp may be ahead of this server; further is rejected with clock_drift
    ///
    /// Clients with a wrong clock would otherwise win over everybody until the time they claim. Stamps are held
    /// against the wall clock at its furthest, never against each other; `hello` tells a time that is taken.
    #[arg(long, env = "ANNULUS_MAX_CLOCK_DRIFT_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(0..=24 * HOUR_MS), default_value_t = Config::default().clock_drift_max_ms)]
    pub max_clock_drift_ms: u64,

    /// How long a removal is remembered, such as 30d, 12h or 10m
    ///
    /// A client that was offline for longer may bring back what was removed meanwhile.
    #[arg(long, env = "ANNULUS_TOMBSTONE_RETENTION", value_name = "SPAN")]
    #[arg(default_value_t = Span { ms: Config::default().tombstone_retention_ms })]
    pub tombstone_retention: Span,

    /// Milliseconds a request waits for its ack level or for other shards
    ///
    /// Then it is answered with the level that was reached and "timeout": true.
    #[arg(long, env = "ANNULUS_ACK_TIMEOUT_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(1..=HOUR_MS), default_value_t = Config::default().ack_timeout_ms)]
    pub ack_timeout_ms: u64,
}

/// A mode as people write it.
fn as_octal<S: Serializer>(mode: &DataMode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{:04o}", mode.of_files()))
}

/// A path as JSON: what is no UTF-8 in it cannot be shown.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

//! Every flag, defined once: the definition feeds the parser, the environment variables, `--help`,
//! `annulus config` and `docs/flags.md`.
//!
//! Invariant: each flag has a variable `ANNULUS_<NAME>` and a topic; a test walks the command and holds that.
//! Defaults are those of [`Config::default`], so that tests and the command start from the same server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::builder::{BoolishValueParser, RangedU64ValueParser};
use clap::{Args, Parser, ValueEnum, value_parser};
use serde::{Serialize, Serializer};

use super::action::Action;
use super::cores::CoreList;
use super::quantity::{Bytes, Span};
use super::values::{parse_listen, parse_log_level, parse_node, parse_origin};
use crate::config::Config;
use crate::limits;

/// A real-time sync server: CRDT maps over WebSocket on pinned io_uring shards.
///
/// `annulus` alone serves on 127.0.0.1:9000. Every flag can be set by its environment variable as well; the
/// command line wins.
#[derive(Debug, Parser)]
#[command(name = "annulus", version, max_term_width = 110)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub action: Option<Action>,
    #[command(flatten)]
    pub flags: Flags,
}

/// All settings, by topic. Serialized, the keys are the names of the flags.
#[derive(Debug, Args, Serialize)]
pub(super) struct Flags {
    #[command(flatten)]
    #[serde(flatten)]
    pub listening: Listening,
    #[command(flatten)]
    #[serde(flatten)]
    pub connections: Connections,
    #[command(flatten)]
    #[serde(flatten)]
    pub delivery: Delivery,
    #[command(flatten)]
    #[serde(flatten)]
    pub data: Data,
    #[command(flatten)]
    #[serde(flatten)]
    pub stopping: Stopping,
    #[command(flatten)]
    #[serde(flatten)]
    pub logs: Logs,
}

/// A whole number of at least one, for what makes no sense without any.
fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=u64::from(u32::MAX))
}

/// An hour in milliseconds: the longest any timeout may be, as a longer one is a slip of the unit.
const HOUR_MS: u64 = 3_600_000;

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Listening")]
#[serde(rename_all = "kebab-case")]
pub(super) struct Listening {
    /// Address and port to listen on; may be repeated
    ///
    /// Every shard listens on each of them and the kernel spreads the clients. Only this machine can connect
    /// by default; 0.0.0.0:9000 or [::]:9000 opens the server to the network.
    #[arg(long, env = "ANNULUS_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',')]
    #[arg(value_parser = parse_listen, default_values_t = Config::default().listen)]
    pub listen: Vec<SocketAddr>,

    /// Cores to run on, one shard each, such as 0-3,6 [default: all this process may use]
    ///
    /// Leave out the cores that serve the network card's interrupts or other programs.
    #[arg(long, env = "ANNULUS_CORES", value_name = "LIST")]
    pub cores: Option<CoreList>,

    /// Connections the kernel keeps waiting to be accepted, of each listener
    ///
    /// Absorbs a storm of reconnects; the kernel caps it at net.core.somaxconn.
    #[arg(long, env = "ANNULUS_BACKLOG", value_name = "COUNT")]
    #[arg(value_parser = value_parser!(i32).range(1..=65_535), default_value_t = Config::default().backlog)]
    pub backlog: i32,

    /// Name of this node in its stamps, 1 to 40 ASCII characters without " \ : [default: n- and 8 hex digits]
    ///
    /// Two nodes that write the same data need different names, as the name breaks ties between stamps.
    #[arg(long, env = "ANNULUS_NODE", value_name = "NAME", value_parser = parse_node)]
    pub node: Option<String>,
}

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Connections")]
#[serde(rename_all = "kebab-case")]
pub(super) struct Connections {
    /// Connections of the whole process; more are answered with 1013
    ///
    /// Each needs a file descriptor: `annulus doctor` compares it with the limit of open files.
    #[arg(long, env = "ANNULUS_MAX_CONNECTIONS", value_name = "COUNT")]
    #[arg(value_parser = at_least_one(), default_value_t = Config::default().connections_max)]
    pub max_connections: usize,

    /// Connections of one client address, over all shards; 0: no limit
    ///
    /// Leave it off behind a proxy, where all clients share one address.
    #[arg(long, env = "ANNULUS_MAX_CONNECTIONS_PER_IP", value_name = "COUNT")]
    #[arg(default_value_t = Config::default().connections_per_ip_max)]
    pub max_connections_per_ip: usize,

    /// Connections accepted each second by the whole process; 0: no limit
    ///
    /// Past it clients are told when to come back, so that a storm does not starve those who are connected.
    #[arg(long, env = "ANNULUS_ACCEPT_RATE", value_name = "PER_SECOND")]
    #[arg(default_value_t = Config::default().accepts_per_second_max)]
    pub accept_rate: u32,

    /// Milliseconds from accept to the end of the WebSocket handshake
    ///
    /// A peer that connects and says nothing holds a slot no longer than this.
    #[arg(long, env = "ANNULUS_HANDSHAKE_TIMEOUT_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(1..=HOUR_MS))]
    #[arg(default_value_t = Config::default().handshake_timeout_ms)]
    pub handshake_timeout_ms: u64,

    /// Milliseconds of silence after which a connection is closed; it is pinged at half of it
    ///
    /// Keep it below the idle timeout of proxies on the way, often 60 000.
    #[arg(long, env = "ANNULUS_HEARTBEAT_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(100..=HOUR_MS), default_value_t = Config::default().heartbeat_ms)]
    pub heartbeat_ms: u64,

    /// Bytes of one message; a longer one closes its connection with 1009
    ///
    /// A message is held whole while it arrives, so this bounds what a slow sender makes the server hold.
    #[arg(long, env = "ANNULUS_MAX_MESSAGE_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().message_bytes_max))]
    pub max_message_bytes: Bytes,

    /// Bytes of one value, as compact JSON; a larger one is rejected with too_large
    ///
    /// A value is sent whole to every subscriber whenever it changes.
    #[arg(long, env = "ANNULUS_MAX_VALUE_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().value_bytes_max))]
    pub max_value_bytes: Bytes,

    /// Subscriptions of one connection
    ///
    /// Each costs a little memory on every shard.
    #[arg(long, env = "ANNULUS_MAX_SUBSCRIPTIONS", value_name = "COUNT")]
    #[arg(value_parser = at_least_one(), default_value_t = Config::default().subscriptions_max)]
    pub max_subscriptions: usize,

    /// Messages one connection may send each second; 0: no limit
    ///
    /// Holds back a client gone wild before it costs the others.
    #[arg(long, env = "ANNULUS_MAX_MESSAGES_PER_SECOND", value_name = "COUNT")]
    #[arg(default_value_t = Config::default().messages_per_second_max)]
    pub max_messages_per_second: u32,

    /// Messages that are not JSON objects before a connection is closed with 1007
    ///
    /// A few are told what is wrong with them; a peer that speaks something else is not listened to for ever.
    #[arg(long, env = "ANNULUS_MAX_BAD_MESSAGES", value_name = "COUNT")]
    #[arg(value_parser = value_parser!(u32).range(1..), default_value_t = Config::default().bad_messages_max)]
    pub max_bad_messages: u32,

    /// Origins whose pages may connect, such as https://app.example; may be repeated [default: any]
    ///
    /// Browsers send the origin of the page; another one is answered with 403.
    #[arg(long, env = "ANNULUS_ALLOWED_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    #[arg(value_parser = parse_origin)]
    pub allowed_origins: Vec<String>,

    /// Serve GET /v1/echo, which returns every message; for conformance suites
    ///
    /// Off by default, as it lets anybody make the server send.
    #[arg(long, env = "ANNULUS_ENABLE_ECHO", value_parser = BoolishValueParser::new())]
    pub enable_echo: bool,
}

/// A named choice of the three coalescing flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Preset {
    /// Every turn sends what it has
    LowLatency,
    /// A frame waits up to a millisecond for company
    Balanced,
    /// A frame waits up to ten milliseconds for company
    HighThroughput,
}

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Delivery")]
#[serde(rename_all = "kebab-case")]
pub(super) struct Delivery {
    /// What the three coalesce flags are set to; each of them overrides its part
    ///
    /// Fewer, larger sends cost less CPU per message and make each message wait.
    #[arg(long, env = "ANNULUS_PRESET", value_name = "NAME", value_enum, default_value = "low-latency")]
    pub preset: Preset,

    /// Microseconds a frame may wait for company; 0: the end of the turn [default: of the preset]
    ///
    /// Adds to the latency of every message, at most a second.
    #[arg(long, env = "ANNULUS_COALESCE_DELAY_US", value_name = "US")]
    #[arg(value_parser = value_parser!(u64).range(0..=1_000_000))]
    pub coalesce_delay_us: Option<u64>,

    /// Bytes at which a connection is sent to without further waiting [default: of the preset]
    ///
    /// Bounds what waiting costs in memory.
    #[arg(long, env = "ANNULUS_COALESCE_MAX_BYTES", value_name = "SIZE")]
    pub coalesce_max_bytes: Option<Bytes>,

    /// Frames at which a connection is sent to without further waiting [default: of the preset]
    ///
    /// Past some number, company saves nothing more.
    #[arg(long, env = "ANNULUS_COALESCE_MAX_FRAMES", value_name = "COUNT", value_parser = at_least_one())]
    pub coalesce_max_frames: Option<usize>,

    /// Bytes waiting for one connection past which it gets latest states instead of every change
    ///
    /// At least 128KiB, two chunks of a snapshot.
    #[arg(long, env = "ANNULUS_OUTBOX_SOFT_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().outbox_soft_bytes))]
    pub outbox_soft_bytes: Bytes,

    /// Bytes waiting for one connection past which it is closed with 4008
    ///
    /// Room for the soft limit and the largest message at least; 16 messages mean that one burst never closes
    /// a healthy peer.
    #[arg(long, env = "ANNULUS_OUTBOX_HARD_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().outbox_hard_bytes))]
    pub outbox_hard_bytes: Bytes,
}

/// Where the data is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Storage {
    /// In --data-dir, and as far as it is used in memory
    Disk,
    /// In memory only: a restart empties it
    Memory,
}

/// When the journal is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FsyncMode {
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
pub(super) struct Data {
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
    /// after a crash.
    #[arg(long, env = "ANNULUS_SEGMENT_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(limits::SEGMENT_BYTES_DEFAULT))]
    pub segment_bytes: Bytes,

    /// Milliseconds after which changes are folded into the base even if their segment is not full
    ///
    /// Bounds what a start has to read, and for how long a map that is not used stays in memory.
    #[arg(long, env = "ANNULUS_CHECKPOINT_INTERVAL_MS", value_name = "MS", default_value_t = 60_000)]
    #[arg(value_parser = value_parser!(u64).range(1..=24 * HOUR_MS))]
    pub checkpoint_interval_ms: u64,

    /// Bytes of maps in memory past which the least recently used leave it; 0: no limit
    /// [default: half of the memory]
    ///
    /// They are loaded again when they are used. Half of what this host or its cgroup has leaves room for
    /// connections, queues and the kernel's own copy of the files.
    #[arg(long, env = "ANNULUS_MEMORY_LIMIT", value_name = "SIZE")]
    pub memory_limit: Option<Bytes>,

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

    /// Milliseconds a client's stamp may be ahead of this server; further is rejected with clock_drift
    ///
    /// Clients with a wrong clock would otherwise win over everybody until the time they claim.
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

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Stopping")]
#[serde(rename_all = "kebab-case")]
pub(super) struct Stopping {
    /// Milliseconds over which connections are closed when the server is told to stop
    ///
    /// Spreads the clients' return over time; a second signal stops at once.
    #[arg(long, env = "ANNULUS_DRAIN_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(0..=HOUR_MS), default_value_t = Config::default().drain_ms)]
    pub drain_ms: u64,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One line of text an event, and a banner at the start
    Human,
    /// One JSON object an event
    Json,
}

#[derive(Clone, Debug, Args, Serialize)]
#[command(next_help_heading = "Logs")]
#[serde(rename_all = "kebab-case")]
pub(super) struct Logs {
    /// How log lines look; they go to stderr
    ///
    /// `json` is for collectors of logs.
    #[arg(long, env = "ANNULUS_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value = "human")]
    pub log_format: LogFormat,

    /// What is logged: off, error, warn, info, debug or trace, or by module as in info,annulus::io=debug
    ///
    /// `debug` says why single connections end; `trace` is for developers and slow.
    #[arg(long, env = "ANNULUS_LOG_LEVEL", value_name = "FILTER", default_value = "info")]
    #[arg(value_parser = parse_log_level)]
    pub log_level: String,
}

/// A path as JSON: what is no UTF-8 in it cannot be shown.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

//! What a user may tune, as the core sees it. `cli/flags` fills it, one flag a field.

mod allowed_origin;
mod built_page;
mod channels;
mod direct;
mod hooks;
mod identity;
mod origin;
mod presence;
mod quantity;
mod query_index;
mod rates;

pub use allowed_origin::AllowedOrigin;
pub use built_page::BuiltPage;
pub use channels::ChannelBounds;
pub use direct::DirectConfig;
pub use hooks::{HooksConfig, NatsConfig};
pub use identity::{IdentityConfig, Secret};
pub use origin::{BadOrigin, Origin};
pub use presence::Presence;
pub use quantity::{Bytes, Span};
pub use query_index::QueryIndex;
pub use rates::{BadRates, Rates};

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::limits;

/// Settings every shard has a copy of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses every shard listens on without TLS.
    pub listen: Vec<SocketAddr>,
    /// Addresses every shard listens on with TLS.
    pub tls_listen: Vec<SocketAddr>,
    /// Whether a plain request at one of these is told where the same is with TLS.
    pub http_redirect: bool,
    /// Length of the accept queue of each listener.
    pub backlog: i32,
    /// Name of this node in stamps, at most [`limits::NODE_BYTES_MAX`] bytes.
    pub node: String,

    /// Connections of the whole process; spread evenly over its shards.
    pub connections_max: usize,
    /// Connections of one client address, over all shards; 0: no limit.
    pub connections_per_ip_max: usize,
    /// Connections of one user, over all shards; 0: no limit.
    pub connections_per_user_max: usize,
    /// What a connection does to those of its user that are there already.
    pub sessions: Sessions,
    /// Rates of each connection, of each user whose roles have none of their own, and of each client address.
    pub connection_rates: Rates,
    pub user_rates: Rates,
    pub address_rates: Rates,
    /// Connections of the whole process that have yet to open their WebSocket; spread evenly over its shards.
    pub handshakes_max: usize,
    /// Bits of an IPv6 address by which connections of it are counted; from 1 to 128.
    pub ipv6_prefix: u8,
    /// Proxies that are believed who their clients are.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether these begin their connections with a header of the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// Connections accepted each second by the whole process; 0: no limit.
    pub accepts_per_second_max: u32,
    /// Time from accept to the end of the WebSocket handshake.
    pub handshake_timeout_ms: u64,
    /// Bytes of the header block of a request.
    pub header_bytes_max: usize,
    /// Silence after which a connection is closed; it is pinged at half of it.
    pub heartbeat_ms: u64,
    /// Bytes of one message.
    pub message_bytes_max: usize,
    /// Bytes of one value, as canonical JSON.
    pub value_bytes_max: usize,
    /// Bytes of one value that a client of SyncKit writes, as canonical JSON.
    pub synckit_value_bytes_max: usize,
    /// Bytes of all that is kept of the documents that one SyncKit connection has subscribed to, their states aside.
    pub synckit_subscription_bytes_max: usize,
    /// Bytes of the states, and names, of the clients that one SyncKit connection shows.
    pub synckit_awareness_bytes_max: usize,
    /// Bytes that the tags and values of one or key may take, or the slots of one counter, with what each takes beside.
    pub cell_bytes_max: usize,
    /// Subscriptions of one connection.
    pub subscriptions_max: usize,
    /// Entries that a query shows, with those before the first.
    pub query_results_max: usize,
    /// Fields of maps of which an index is kept for queries.
    pub query_indexes: Vec<QueryIndex>,
    /// Messages one connection may send each second; 0: no limit.
    pub messages_per_second_max: u32,
    /// Messages one connection may send each minute; 0: no limit.
    pub messages_per_minute_max: u32,
    /// What becomes of a message over one of these two.
    pub rate_limit: RateLimit,
    /// Messages that are not JSON objects before a connection is closed with 1007.
    pub bad_messages_max: u32,
    /// Origins that may connect; empty: any.
    pub allowed_origins: Vec<AllowedOrigin>,
    /// Whether clients say who they are.
    pub auth: AuthMode,
    /// Where tokens are required: time from the open WebSocket to one that is believed.
    pub auth_timeout_ms: u64,
    /// Paths at which a WebSocket opens, and what is spoken there.
    pub dialects: Vec<DialectPath>,
    /// What browsers get of `/`; `None`: the text that everybody else gets.
    pub front_page: Option<BuiltPage>,
    /// Whether `POST /_test/clear` exists, which drops all maps.
    pub test_reset: bool,

    /// When queued frames are handed to the kernel.
    pub coalesce: Coalesce,
    /// Bytes waiting for one connection past which its subscriptions are conflated.
    pub outbox_soft_bytes: usize,
    /// Bytes waiting for one connection past which it is closed with 4008.
    pub outbox_hard_bytes: usize,

    /// Bytes a peer must take each second of what waits for it while clients hold too much memory, or it is closed with
    /// 4008; 0: as slowly as it likes.
    pub drain_bytes_per_second_min: usize,
    /// Bytes of names and states of the members that one connection has set.
    pub presence_bytes_max: usize,
    /// What is kept of direct messages.
    pub direct: DirectConfig,

    /// Presence over `/v1`.
    pub presence: Presence,
    /// What channels keep of which no rule says otherwise.
    pub channel_history: ChannelBounds,

    /// How far ahead of the server a client's stamp may be.
    pub clock_drift_max_ms: u64,
    /// How long a removal is remembered, so that late writers cannot undo it.
    pub tombstone_retention_ms: u64,
    /// How long a request waits for its ack level or for other shards.
    pub ack_timeout_ms: u64,
    /// How long the server serves on when it is told to stop, and says so to who asks how it is.
    pub drain_lead_ms: u64,
    /// Over how long connections are closed when the server stops.
    pub drain_ms: u64,
    /// Connections that are closed at once then, over all shards, and the next as many an interval later; 0: all.
    pub drain_batch: usize,
    /// How long that is.
    pub drain_interval_ms: u64,
    /// Bytes of memory for maps and for what is held for clients, over all shards; 0: no limit. Past it cold maps are
    /// evicted, if there is a storage, and growth is refused.
    pub memory_limit_bytes: usize,
    /// Whether the ack level `durable` can be reached.
    pub offers_durable: bool,
    /// Milliseconds of a turn past which the log says what it did; 0: never.
    pub slow_turn_ms: u64,
    /// Bytes of memory of the process past which it is said that there are that many; 0: never.
    pub memory_soft_bytes: usize,
}

/// A path at which a WebSocket opens, and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialectPath {
    pub path: Cow<'static, str>,
    /// The place of the dialect among all this server speaks.
    pub dialect: u8,
    /// What is spoken there with `?strict=1`; `None`: the same.
    pub strict: Option<u8>,
    /// The subprotocol of its WebSockets, which a client that offers any must offer; `None`: it may offer what it likes.
    pub subprotocol: Option<&'static str>,
    /// Path of the page that says in this dialect's own form how the server is.
    pub health_path: Option<&'static str>,
    /// What it is, for people who ask for `/`.
    pub about: &'static str,
}

impl DialectPath {
    /// The protocol of `docs/protocol.md`.
    pub const NATIVE: Self = Self {
        path: Cow::Borrowed("/v1"),
        dialect: 0,
        strict: Some(4),
        subprotocol: Some("annulus.v1"),
        health_path: None,
        about: "the WebSocket, protocol v1 (see docs/protocol.md)",
    };
}

/// Where and how maps are kept on disk.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    pub data_dir: PathBuf,
    pub fsync: Fsync,
    /// Bytes at which a segment of the journal ends.
    pub segment_bytes: usize,
    /// Bytes of the journal that may wait to be folded; writers are slowed before. 0: no limit.
    pub journal_bytes_max: u64,
    /// Longest time between two checkpoints while there is something to fold.
    pub checkpoint_interval_ms: u64,
    /// Free bytes of the disk below which writes are refused.
    pub disk_reserve_bytes: u64,
    /// Start over damage in the middle of the journal, with everything that verifies.
    pub salvage: bool,
    /// Who else may read what is stored.
    pub data_mode: DataMode,
    /// The core of the service thread; `None`: any.
    pub service_core: Option<usize>,
}

/// By what TLS is spoken. Files are read at the start and whenever they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates and their keys; the first is for clients that ask for no name that is known. One at least.
    pub pairs: Vec<(PathBuf, PathBuf)>,
    /// Certificates that those of clients must be signed by; `None`: clients need none.
    pub client_ca: Option<PathBuf>,
}

/// Whether connections of trusted proxies begin with a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// No header is looked for.
    Off,
    /// They may.
    Accept,
    /// They must.
    Require,
}

/// Whether clients say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Nobody is asked, and no token is taken.
    None,
    /// Who shows no token is anonymous.
    Optional,
    Required,
}

impl AuthMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// What a connection does to those of its user that are there already. Which session it is of it says itself; those that do
/// not say are of one, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// Nothing.
    Append,
    /// It ends those of other sessions, once it is open.
    Replace,
    /// It is turned away while there are any of another session.
    Reject,
}

/// What becomes of a message that is one too many in its second or minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimit {
    /// It is refused.
    Refuse,
    /// It waits, with all that its connection sends after it, until the second or minute is over.
    Wait,
}

/// Who may read and write what is stored, as the permission bits of its files. Its folders may be entered by whoever
/// may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataMode(u32);

impl DataMode {
    /// Nobody but the owner, who can always do both.
    pub const OWNER: Self = Self(0o600);

    /// `None` unless the owner may read and write, others may not write, and nothing may be executed.
    pub const fn new(bits: u32) -> Option<Self> {
        if bits & 0o600 == 0o600 && bits & !0o664 == 0 { Some(Self(bits)) } else { None }
    }

    pub const fn of_files(self) -> u32 {
        self.0
    }

    pub const fn of_folders(self) -> u32 {
        self.0 | ((self.0 & 0o444) >> 2)
    }
}

impl Default for DataMode {
    fn default() -> Self {
        Self::OWNER
    }
}

/// When what was written is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// After every group.
    Always,
    /// After this many milliseconds, if anything was written.
    Interval { ms: u64 },
    /// When the kernel likes.
    Never,
}

/// When queued frames are handed to the kernel: at the end of the turn, or later while all three allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coalesce {
    /// Longest time a frame waits for company; 0: the end of the turn.
    pub delay_us: u64,
    /// Bytes at which a connection is flushed without waiting.
    pub bytes_max: usize,
    /// Frames at which a connection is flushed without waiting.
    pub frames_max: usize,
}

impl Coalesce {
    /// Every turn flushes: the shortest latency, and what `--preset low-latency` means.
    pub const LOW_LATENCY: Self = Self { delay_us: 0, bytes_max: 64 << 10, frames_max: 64 };
    /// A millisecond of company: `--preset balanced`.
    pub const BALANCED: Self = Self { delay_us: 1_000, bytes_max: 64 << 10, frames_max: 256 };
    /// Ten milliseconds of company: `--preset high-throughput`.
    pub const HIGH_THROUGHPUT: Self = Self { delay_us: 10_000, bytes_max: 256 << 10, frames_max: 4096 };
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 9000))],
            tls_listen: Vec::new(),
            http_redirect: false,
            backlog: 4096,
            node: "annulus".to_owned(),
            connections_max: 100_000,
            connections_per_ip_max: 0,
            connections_per_user_max: 0,
            sessions: Sessions::Append,
            connection_rates: Rates::default(),
            user_rates: Rates::default(),
            address_rates: Rates::default(),
            handshakes_max: limits::HANDSHAKES_DEFAULT,
            ipv6_prefix: 64,
            trusted_proxies: Vec::new(),
            proxy_protocol: ProxyProtocol::Off,
            accepts_per_second_max: 20_000,
            handshake_timeout_ms: 10_000,
            header_bytes_max: limits::HEADER_BYTES_DEFAULT,
            heartbeat_ms: 20_000,
            message_bytes_max: limits::MESSAGE_BYTES_DEFAULT,
            value_bytes_max: 256 << 10,
            synckit_value_bytes_max: 2_000_000,
            synckit_subscription_bytes_max: 16 << 20,
            synckit_awareness_bytes_max: 512 << 10,
            cell_bytes_max: limits::CELL_BYTES_DEFAULT,
            subscriptions_max: 10_000,
            query_results_max: 10_000,
            query_indexes: Vec::new(),
            messages_per_second_max: 0,
            messages_per_minute_max: 0,
            rate_limit: RateLimit::Refuse,
            bad_messages_max: 10,
            allowed_origins: Vec::new(),
            auth: AuthMode::None,
            auth_timeout_ms: 5_000,
            dialects: vec![DialectPath::NATIVE],
            front_page: None,
            test_reset: false,
            coalesce: Coalesce::LOW_LATENCY,
            outbox_soft_bytes: limits::OUTBOX_SOFT_BYTES_DEFAULT,
            outbox_hard_bytes: limits::OUTBOX_HARD_BYTES_DEFAULT,
            drain_bytes_per_second_min: 4 << 10,
            presence_bytes_max: 512 << 10,
            presence: Presence::default(),
            channel_history: ChannelBounds::default(),
            direct: DirectConfig::default(),
            clock_drift_max_ms: 60_000,
            tombstone_retention_ms: 30 * 24 * 3_600_000,
            ack_timeout_ms: 5_000,
            drain_lead_ms: 0,
            drain_ms: 5_000,
            drain_batch: 0,
            drain_interval_ms: 100,
            memory_limit_bytes: 0,
            offers_durable: false,
            slow_turn_ms: 50,
            memory_soft_bytes: 0,
        }
    }
}

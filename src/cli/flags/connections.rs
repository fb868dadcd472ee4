//! Who may connect, and how much of everything one connection may have.

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum, value_parser};
use serde::Serialize;

use super::{HEARTBEAT_MS, HOUR_MS, at_least_one};
use crate::cli::networks::NetworkList;
use crate::cli::values::parse_origin;
use crate::config::Bytes;
use crate::config::{AllowedOrigin, Config, QueryIndex, Rates};

/// What becomes of a message over the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum RateLimitPolicy {
    /// It is refused with rate_limited, its id and when to try again
    Refuse,
    /// The connection is not read until it may go on
    Wait,
}

/// What a connection does to those of its user that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum SessionsPolicy {
    /// Nothing
    Append,
    /// Once it is open, it ends those of other sessions, with 4009
    Replace,
    /// It is turned away with 4003 while there are any of another session
    Reject,
}

/// Whether connections of trusted proxies begin with a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum ProxyHeaders {
    /// No header is looked for
    Off,
    /// They may; one that does not is taken as it is
    Accept,
    /// They must; one that does not is answered with 400
    Require,
}

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Connections")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct Connections {
    /// Connections of the whole process; more are answered with 1013
    ///
    /// Each needs a file descriptor: `annulus doctor` compares it with the limit of open files.
    #[arg(long, env = "ANNULUS_MAX_CONNECTIONS", value_name = "COUNT")]
    #[arg(value_parser = at_least_one(), default_value_t = Config::default().connections_max)]
    pub max_connections: usize,

    /// Connections of one client address, over all shards; 0: no limit
    ///
    /// Behind a proxy all clients share one address, unless the proxy is named in --trusted-proxies.
    #[arg(long, env = "ANNULUS_MAX_CONNECTIONS_PER_IP", value_name = "COUNT")]
    #[arg(default_value_t = Config::default().connections_per_ip_max)]
    pub max_connections_per_ip: usize,

    /// Connections of one user who has said who it is, over all shards; 0: no limit
    ///
    /// One more is answered with 1013. With --sessions replace only those of its own session count, as the others make room.
    #[arg(long, env = "ANNULUS_MAX_CONNECTIONS_PER_USER", value_name = "COUNT")]
    #[arg(default_value_t = Config::default().connections_per_user_max)]
    pub max_connections_per_user: usize,

    /// What a connection does to those of its user that are there already
    ///
    /// Which session it is of says the claim `session` of its token, or else `?session=` of its URL. Those that say neither are of
    /// one session, too.
    #[arg(long, env = "ANNULUS_SESSIONS", value_name = "POLICY", value_enum, default_value = "append")]
    pub sessions: SessionsPolicy,

    /// Connections that have yet to open their WebSocket, beside --max-connections
    ///
    /// Past it the one that was accepted first is closed: who connects and says nothing keeps nobody out, as whoever asks at
    /// once is done before its turn comes. Each may make the server hold --max-header-bytes.
    #[arg(long, env = "ANNULUS_MAX_HANDSHAKES", value_name = "COUNT")]
    #[arg(value_parser = at_least_one(), default_value_t = Config::default().handshakes_max)]
    pub max_handshakes: usize,

    /// Bits of an IPv6 address that --max-connections-per-ip counts as one address
    ///
    /// A network of 64 is the least that a customer has, and has 2^64 addresses in it; some have 56 or 48. An IPv4 address
    /// counts whole, also as ::ffff:192.0.2.1.
    #[arg(long, env = "ANNULUS_IPV6_PREFIX", value_name = "BITS")]
    #[arg(value_parser = value_parser!(u8).range(1..=128), default_value_t = Config::default().ipv6_prefix)]
    pub ipv6_prefix: u8,

    /// Proxies that are believed who their clients are, such as 127.0.0.1,10.0.0.0/8 [default: none]
    ///
    /// Of a connection from one of them the client is the last in X-Forwarded-For, or else in Forwarded, that is not one of them,
    /// or else X-Real-IP. From anybody else all are ignored, as anybody can write them. See also --proxy-protocol.
    #[arg(long, env = "ANNULUS_TRUSTED_PROXIES", value_name = "LIST")]
    pub trusted_proxies: Option<NetworkList>,

    /// Whether connections of --trusted-proxies begin with a header of the PROXY protocol, version 1 or 2
    ///
    /// It comes before TLS, and the client that it names is believed. Of all others none is taken. With accept a proxy that passes
    /// bytes on and sends no header lets its clients write one: use require unless all of them send it or speak HTTP.
    #[arg(long, env = "ANNULUS_PROXY_PROTOCOL", value_name = "MODE", value_enum, default_value = "off")]
    pub proxy_protocol: ProxyHeaders,

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

    /// Bytes of the header block of a request; a larger one is answered with 431
    ///
    /// From 1KiB to 64KiB, and at most 128 lines. Cookies are most of it. A handshake under way may make the server hold
    /// as much, for no longer than --handshake-timeout-ms.
    #[arg(long, env = "ANNULUS_MAX_HEADER_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().header_bytes_max))]
    pub max_header_bytes: Bytes,

    /// Milliseconds of silence after which a connection is closed; it is pinged at half of it
    ///
    /// Keep it below the idle timeout of proxies on the way, often 60 000.
    #[arg(long, env = "ANNULUS_HEARTBEAT_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(HEARTBEAT_MS), default_value_t = Config::default().heartbeat_ms)]
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

    /// Bytes that the tags of one or key may take, or the slots of one counter; what would add to them is rejected with too_large
    ///
    /// Each tag counts with its value and 88 bytes, a removed tag with 24, a slot with 56. A key is sent whole to whoever
    /// subscribes, so it must fit between --outbox-soft-bytes and --outbox-hard-bytes. What is stored already may be
    /// larger, and may shrink.
    #[arg(long, env = "ANNULUS_MAX_CELL_BYTES", value_name = "SIZE")]
    #[arg(default_value_t = Bytes(Config::default().cell_bytes_max))]
    pub max_cell_bytes: Bytes,

    /// Subscriptions of one connection
    ///
    /// Each takes up to 4 KiB, with what a map of its own takes, so that a connection that uses all takes 40 MB.
    #[arg(long, env = "ANNULUS_MAX_SUBSCRIPTIONS", value_name = "COUNT")]
    #[arg(value_parser = at_least_one(), default_value_t = Config::default().subscriptions_max)]
    pub max_subscriptions: usize,

    /// Entries that a query shows, with its offset
    ///
    /// The shard of its subscribers keeps as many of each other shard, and each shard some more than that of its own.
    #[arg(long, env = "ANNULUS_MAX_QUERY_RESULTS", value_name = "COUNT")]
    #[arg(value_parser = at_least_one(), default_value_t = Config::default().query_results_max)]
    pub max_query_results: usize,

    /// Field of maps of which an index is kept for queries, such as tasks:due or list-*:owner.name; may be repeated
    ///
    /// With it the first result of a query that is sorted by the field first, or that needs values of it, is found without going
    /// through the map. Each takes some 100 bytes an entry from the first query of a map on, for each view of it, and each change
    /// of the field a little more. A star at the end of the map stands for all that begin so.
    #[arg(long, env = "ANNULUS_INDEX", value_name = "MAP:FIELD", value_delimiter = ',')]
    #[arg(value_parser = QueryIndex::parse)]
    pub index: Vec<QueryIndex>,

    /// Messages one connection may send each second; 0: no limit
    ///
    /// Holds back a client gone wild before it costs the others.
    #[arg(long, env = "ANNULUS_MAX_MESSAGES_PER_SECOND", value_name = "COUNT")]
    #[arg(default_value_t = Config::default().messages_per_second_max)]
    pub max_messages_per_second: u32,

    /// Messages one connection may send each minute; 0: no limit
    ///
    /// Beside --max-messages-per-second: a burst may be short and large, and the average still low.
    #[arg(long, env = "ANNULUS_MAX_MESSAGES_PER_MINUTE", value_name = "COUNT")]
    #[arg(default_value_t = Config::default().messages_per_minute_max)]
    pub max_messages_per_minute: u32,

    /// What becomes of a message over one of these two, or over other rates
    ///
    /// With wait nothing is lost and nothing is refused: what a client sends too fast stays in its socket. Its pings and its close
    /// wait there too, up to a minute with a limit for each minute.
    #[arg(
        long,
        env = "ANNULUS_RATE_LIMIT_POLICY",
        value_name = "POLICY",
        value_enum,
        default_value = "refuse"
    )]
    pub rate_limit_policy: RateLimitPolicy,

    /// Rates of each connection, such as messages_per_second=50,ops_per_second=500,burst_seconds=5 [default: none]
    ///
    /// Of messages_per_second, ops_per_second (operations of writes) and bytes_per_second (of messages), each with a bucket of its
    /// own: who was silent for burst_seconds (1) may send what the rate allows in that time at once. Over it a message is
    /// refused, or waits, as --rate-limit-policy says.
    #[arg(
        long,
        env = "ANNULUS_CONNECTION_RATES",
        value_name = "RATES",
        default_value_t,
        hide_default_value = true
    )]
    pub connection_rates: Rates,

    /// Rates of each user who has said who it is, with all its connections [default: none]
    ///
    /// As --connection-rates, and connections_per_second: one more is answered with 1013. What [limits.ROLE] in the rules file says
    /// of its roles counts instead.
    #[arg(
        long,
        env = "ANNULUS_USER_RATES",
        value_name = "RATES",
        default_value_t,
        hide_default_value = true
    )]
    pub user_rates: Rates,

    /// Rates of each client address, with all its connections [default: none]
    ///
    /// As --user-rates. Addresses count as for --max-connections-per-ip.
    #[arg(
        long,
        env = "ANNULUS_ADDRESS_RATES",
        value_name = "RATES",
        default_value_t,
        hide_default_value = true
    )]
    pub address_rates: Rates,

    /// Messages that are not JSON objects before a connection is closed with 1007
    ///
    /// A few are told what is wrong with them; a peer that speaks something else is not listened to for ever. JSON with values
    /// that cannot be held, such as 1e400, does not count.
    #[arg(long, env = "ANNULUS_MAX_BAD_MESSAGES", value_name = "COUNT")]
    #[arg(value_parser = value_parser!(u32).range(1..), default_value_t = Config::default().bad_messages_max)]
    pub max_bad_messages: u32,

    /// Origins whose pages may connect, such as https://app.example; may be repeated [default: any]
    ///
    /// Browsers send the origin of the page; another one is answered with 403, and so is `null` unless it is named. Case,
    /// the default port of the scheme and a slash at the end do not matter. https://*.example.org is every host below that domain,
    /// one label or more, and not the domain itself. What is no browser sends none and may connect. The page of this server is a page
    /// like any other: where its origin is missing here, it says so.
    #[arg(long, env = "ANNULUS_ALLOWED_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    #[arg(value_parser = parse_origin)]
    pub allowed_origins: Vec<Option<AllowedOrigin>>,

    /// Serve GET /v1/echo, which returns every message; for conformance suites
    ///
    /// Off by default, as it lets anybody make the server send.
    #[arg(long, env = "ANNULUS_ENABLE_ECHO", value_parser = BoolishValueParser::new())]
    pub enable_echo: bool,
}

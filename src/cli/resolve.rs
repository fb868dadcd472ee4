//! From flags to settings: fills what depends on other flags or on the host, then checks each against the others.
//!
//! Invariant: a [`Serve`] that leaves here can be served; nothing below checks a flag again.

use std::net::SocketAddr;

use super::checks::{
    check_cores, check_identity, check_listen, check_memory, check_outbox, check_sizes, check_storage,
    check_times, check_tls,
};
use super::cores::CoreList;
use super::error::ConfigError;
use super::flags::{Data, Flags, FsyncMode, Preset, ProxyHeaders, RateLimitPolicy, SessionsPolicy, Storage};
use super::front_page::front_page;
use super::listen::Listen;
use super::serve::{LogSettings, Serve};
use crate::config::{
    Bytes, Coalesce, Config, DialectPath, Fsync, ProxyProtocol, RateLimit, Sessions, StorageConfig,
};
use crate::dialect::echo;
use crate::io::host;
use crate::limits;

/// Fills the flags that were left open: preset, node name, cores and memory limit.
///
/// # Errors
/// [`ConfigError::NoRandomness`] when a node name is to be made and the kernel gives no bytes.
pub(super) fn fill(flags: &mut Flags, allowed_cores: &[usize]) -> Result<(), ConfigError> {
    let delivery = &mut flags.delivery;
    let preset = match delivery.preset {
        Preset::LowLatency => Coalesce::LOW_LATENCY,
        Preset::Balanced => Coalesce::BALANCED,
        Preset::HighThroughput => Coalesce::HIGH_THROUGHPUT,
    };
    delivery.coalesce_delay_us.get_or_insert(preset.delay_us);
    delivery.coalesce_max_bytes.get_or_insert(Bytes(preset.bytes_max));
    delivery.coalesce_max_frames.get_or_insert(preset.frames_max);

    let listening = &mut flags.listening;
    if listening.node.is_none() {
        listening.node = Some(fresh_node().map_err(|_| ConfigError::NoRandomness)?);
    }
    // A machine larger than one process may use runs on its first cores unless told which.
    let default_cores = || CoreList(allowed_cores.iter().copied().take(limits::SHARDS_MAX).collect());
    listening.cores.get_or_insert_with(default_cores);
    // Whole mebibytes, as a number that people read.
    let half_of_memory = || Bytes(((host::memory_bytes() / 2) >> 20) << 20);
    flags.data.memory_limit.get_or_insert_with(half_of_memory);
    flags.connections.trusted_proxies.get_or_insert_default();
    flags.connections.allowed_origins.retain(Option::is_some);
    Ok(())
}

/// A name for a node that was given none.
///
/// # Errors
/// When the kernel gives no random bytes.
pub(super) fn fresh_node() -> Result<String, getrandom::Error> {
    Ok(format!("n-{:08x}", getrandom::u32()?))
}

/// Turns filled flags into settings. `node_is_chosen`: the name of the node was there before they were filled.
///
/// # Errors
/// The first rule between flags, limits and host that does not hold.
pub(super) fn settings(
    flags: &Flags,
    node_is_chosen: bool,
    allowed_cores: &[usize],
) -> Result<Serve, ConfigError> {
    let listen = (addresses(&flags.listening.listen)?, addresses(&flags.tls.tls_listen)?);
    let mut serve = unchecked(flags, listen, node_is_chosen);
    check_cores(&serve.cores, allowed_cores)?;
    check_listen(&serve.config)?;
    check_tls(flags)?;
    check_sizes(&serve.config)?;
    check_outbox(&serve.config)?;
    check_times(&serve.config)?;
    check_memory(&serve)?;
    check_identity(&flags.identity, &mut serve)?;
    if let Some(storage) = &serve.storage {
        check_storage(storage, allowed_cores)?;
    }
    let (connections, cores) = (serve.config.connections_max, serve.cores.len());
    if connections < cores {
        return Err(ConfigError::ConnectionsTooFew { connections, cores });
    }
    Ok(serve)
}

fn addresses(listen: &[Listen]) -> Result<Vec<SocketAddr>, ConfigError> {
    let mut addresses = Vec::new();
    for listen in listen {
        let found = listen.resolve();
        addresses.extend(found.map_err(|error| ConfigError::ListenUnknown {
            listen: listen.to_string(),
            problem: error.to_string(),
        })?);
    }
    Ok(addresses)
}

fn unchecked(
    flags: &Flags,
    (listen, tls_listen): (Vec<SocketAddr>, Vec<SocketAddr>),
    node_is_chosen: bool,
) -> Serve {
    let Flags {
        listening,
        tls,
        connections,
        identity,
        hooks,
        delivery,
        channels,
        direct,
        synckit,
        presence,
        data,
        stopping,
        logs,
        file: _,
    } = flags;
    let low_latency = Coalesce::LOW_LATENCY;
    let storage = storage_config(data);
    let config = Config {
        listen,
        tls_listen,
        http_redirect: tls.http_redirect,
        backlog: listening.backlog,
        node: listening.node.clone().unwrap_or_default(),
        connections_max: connections.max_connections,
        connections_per_ip_max: connections.max_connections_per_ip,
        connections_per_user_max: connections.max_connections_per_user,
        sessions: match connections.sessions {
            SessionsPolicy::Append => Sessions::Append,
            SessionsPolicy::Replace => Sessions::Replace,
            SessionsPolicy::Reject => Sessions::Reject,
        },
        connection_rates: connections.connection_rates,
        user_rates: connections.user_rates,
        address_rates: connections.address_rates,
        handshakes_max: connections.max_handshakes,
        ipv6_prefix: connections.ipv6_prefix,
        trusted_proxies: connections.trusted_proxies.clone().unwrap_or_default().0,
        proxy_protocol: match connections.proxy_protocol {
            ProxyHeaders::Off => ProxyProtocol::Off,
            ProxyHeaders::Accept => ProxyProtocol::Accept,
            ProxyHeaders::Require => ProxyProtocol::Require,
        },
        accepts_per_second_max: connections.accept_rate,
        handshake_timeout_ms: connections.handshake_timeout_ms,
        header_bytes_max: connections.max_header_bytes.0,
        heartbeat_ms: connections.heartbeat_ms,
        message_bytes_max: connections.max_message_bytes.0,
        value_bytes_max: connections.max_value_bytes.0,
        cell_bytes_max: connections.max_cell_bytes.0,
        synckit_value_bytes_max: synckit.synckit_max_value_bytes.0,
        synckit_subscription_bytes_max: synckit.synckit_max_subscription_bytes.0,
        synckit_awareness_bytes_max: synckit.synckit_max_awareness_bytes.0,
        subscriptions_max: connections.max_subscriptions,
        query_results_max: connections.max_query_results,
        query_indexes: connections.index.clone(),
        messages_per_second_max: connections.max_messages_per_second,
        messages_per_minute_max: connections.max_messages_per_minute,
        rate_limit: match connections.rate_limit_policy {
            RateLimitPolicy::Refuse => RateLimit::Refuse,
            RateLimitPolicy::Wait => RateLimit::Wait,
        },
        bad_messages_max: connections.max_bad_messages,
        allowed_origins: connections.allowed_origins.iter().flatten().cloned().collect(),
        auth: identity.auth.mode(),
        auth_timeout_ms: identity.auth_timeout_ms,
        dialects: [
            Some(DialectPath::NATIVE),
            synckit.dialect(),
            connections.enable_echo.then_some(echo::PATH),
        ]
        .into_iter()
        .flatten()
        .collect(),
        front_page: if listening.no_page || identity.rules.is_some() { None } else { front_page() },
        test_reset: data.enable_test_reset,
        coalesce: Coalesce {
            delay_us: delivery.coalesce_delay_us.unwrap_or(low_latency.delay_us),
            bytes_max: delivery.coalesce_max_bytes.map_or(low_latency.bytes_max, |bytes| bytes.0),
            frames_max: delivery.coalesce_max_frames.unwrap_or(low_latency.frames_max),
        },
        outbox_soft_bytes: delivery.outbox_soft_bytes.0,
        outbox_hard_bytes: delivery.outbox_hard_bytes.0,
        drain_bytes_per_second_min: delivery.min_drain_bytes_per_second.0,
        presence_bytes_max: delivery.max_presence_bytes.0,
        presence: presence.config(),
        channel_history: channels.bounds(),
        direct: direct.config(),
        clock_drift_max_ms: data.max_clock_drift_ms,
        tombstone_retention_ms: data.tombstone_retention.ms,
        ack_timeout_ms: data.ack_timeout_ms,
        drain_lead_ms: stopping.drain_lead_ms,
        drain_ms: stopping.drain_ms,
        drain_batch: stopping.drain_batch,
        drain_interval_ms: stopping.drain_interval_ms,
        memory_limit_bytes: data.memory_limit.map_or(0, |bytes| bytes.0),
        offers_durable: storage.as_ref().is_some_and(|storage| storage.fsync != Fsync::Never),
        slow_turn_ms: logs.slow_turn_ms,
        memory_soft_bytes: data.memory_soft.0,
    };
    let cores = listening.cores.as_ref().map_or_else(Vec::new, |list| list.0.clone());
    let log = LogSettings { format: logs.log_format, filter: logs.log_level.clone() };
    let identity = identity.config(storage.as_ref().map(|storage| &*storage.data_dir));
    let (inherited, remarks, cautions) = Default::default();
    let (admin, hooks, tls) = (listening.admin_listen, hooks.config(), tls.config());
    Serve {
        config,
        cores,
        storage,
        identity,
        tls,
        hooks,
        admin,
        // Until it is known.
        listen_is_chosen: true,
        is_open: flags.identity.allow_anonymous,
        node_is_chosen,
        inherited,
        remarks,
        cautions,
        log,
        from_flags: None,
    }
}

fn storage_config(data: &Data) -> Option<StorageConfig> {
    (data.storage == Storage::Disk).then(|| StorageConfig {
        data_dir: data.data_dir.clone(),
        fsync: match data.fsync {
            FsyncMode::Always => Fsync::Always,
            FsyncMode::Interval => Fsync::Interval { ms: data.fsync_interval_ms },
            FsyncMode::Never => Fsync::Never,
        },
        segment_bytes: data.segment_bytes.0,
        journal_bytes_max: data.journal_max_bytes.0 as u64,
        checkpoint_interval_ms: data.checkpoint_interval_ms,
        disk_reserve_bytes: data.disk_reserve.0 as u64,
        salvage: data.salvage,
        data_mode: data.data_mode,
        service_core: data.service_core,
    })
}

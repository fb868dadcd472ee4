//! From flags to settings: fills what depends on other flags or on the host, then checks each against the others.
//!
//! Invariant: a [`Serve`] that leaves here can be served; nothing below checks a flag again.

use std::net::SocketAddr;

use super::cores::CoreList;
use super::error::ConfigError;
use super::flags::{
    Auth, Data, Flags, FsyncMode, Identity, LogFormat, Preset, ProxyHeaders, RateLimitPolicy, SessionsPolicy,
    Storage,
};
use super::front_page::front_page;
use super::inherited;
use super::listen::Listen;
use crate::auth::Keys;
use crate::config::{
    AuthMode, Coalesce, Config, DialectPath, Fsync, HooksConfig, IdentityConfig, ProxyProtocol, RateLimit,
    Sessions, StorageConfig, TlsConfig,
};
use crate::config::{Bytes, Span};
use crate::dialect::echo;
use crate::io::host;
use crate::limits;
use crate::service::admin::FromFlags;
use crate::service::{certificates, desk};

/// Everything `annulus serve` needs to know.
#[derive(Clone, Debug)]
pub struct Serve {
    /// What every shard has a copy of.
    pub config: Config,
    /// Cores to run on, one shard each, ascending.
    pub cores: Vec<usize>,
    /// Where and how maps are kept on disk; `None`: in memory only.
    pub storage: Option<StorageConfig>,
    /// By what clients say who they are, and what they may do; `None`: nobody is asked, and everybody may do everything.
    pub identity: Option<IdentityConfig>,
    /// By what TLS is spoken; `None`: it is spoken nowhere.
    pub tls: Option<TlsConfig>,
    /// How the application is told and asked.
    pub hooks: HooksConfig,
    /// Where the HTTP API for backends listens, if there is one.
    pub admin: Option<SocketAddr>,
    /// Whether anybody has said where to listen.
    pub listen_is_chosen: bool,
    /// Whether everybody may do everything beyond this machine, where nobody is asked who they are.
    pub is_open: bool,
    /// Whether `--node` names this node. Otherwise the name that a data directory has is used.
    pub node_is_chosen: bool,
    /// Variables of SyncKit's servers that counted.
    pub inherited: Vec<&'static str>,
    /// Variables that look as if they should count and do not, a sentence each.
    pub remarks: Vec<String>,
    /// What is open to others and need not be, a sentence each.
    pub cautions: Vec<String>,
    /// How and what to log.
    pub log: LogSettings,
    /// What was said, and how to read it again with something else.
    pub from_flags: Option<FromFlags>,
}

impl Serve {
    /// Serves where a socket unit listens for this server, too, and nowhere else if nobody has said where to listen.
    ///
    /// # Errors
    /// [`ConfigError::OpenToAll`]
    pub fn serve_at(&mut self, inherited: impl Iterator<Item = SocketAddr>) -> Result<(), ConfigError> {
        let mut found: Vec<SocketAddr> = Vec::new();
        for address in inherited {
            if !found.contains(&address) {
                found.push(address);
            }
        }
        let listen = &mut self.config.listen;
        if !found.is_empty() && !self.listen_is_chosen {
            listen.clear();
        }
        found.retain(|address| !listen.contains(address));
        listen.extend(found);
        let open = listen.iter().find(|address| !address.ip().is_loopback());
        match open {
            Some(&listen) if self.config.auth == AuthMode::None && !self.is_open => {
                Err(ConfigError::OpenToAll { flag: "a socket unit's", listen })
            }
            _ => Ok(()),
        }
    }

    /// Where `--listen` comes from, if it may surprise whoever reads that it cannot be used.
    pub fn origin_of_listen(&self) -> Option<String> {
        let of_listen = [inherited::HOST.name, inherited::PORT.name].into_iter();
        let names: Vec<&str> = of_listen.filter(|name| self.inherited.contains(name)).collect();
        (!names.is_empty()).then(|| format!("; it comes from the environment, from {}", names.join(" and ")))
    }

    /// What whoever starts this should think over.
    pub fn warnings(&self) -> Vec<&str> {
        let has = |variable: &inherited::Variable| self.inherited.contains(&variable.name);
        let database = match self.storage {
            Some(_) => "DATABASE_URL is not used: maps are kept in --data-dir",
            None => "DATABASE_URL is not used: maps are kept in memory, or with --storage disk in --data-dir",
        };
        let redis = "REDIS_URL is not used: one process serves all cores, and there is nobody to tell";
        let reset = "--enable-test-reset: whoever reaches this port can drop all maps with POST /_test/clear";
        let nobody = "--max-connections-per-user, --sessions and --user-rates mean nothing with --auth none";
        let config = &self.config;
        let is_about_users = config.connections_per_user_max > 0
            || config.sessions != Sessions::Append
            || !config.user_rates.are_none();
        let all = [
            (config.auth == AuthMode::None && is_about_users, nobody),
            (has(&inherited::DATABASE_URL), database),
            (has(&inherited::REDIS_URL), redis),
            (self.config.test_reset, reset),
        ];
        let warnings = all.into_iter().filter_map(|(applies, warning)| applies.then_some(warning));
        warnings.chain(self.remarks.iter().chain(&self.cautions).map(String::as_str)).collect()
    }
}

/// How and what to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    pub format: LogFormat,
    /// A filter in the syntax of `tracing-subscriber`, already checked.
    pub filter: String,
}

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

fn check_cores(cores: &[usize], allowed: &[usize]) -> Result<(), ConfigError> {
    if let Some(&core) = cores.iter().find(|core| !allowed.contains(core)) {
        return Err(ConfigError::CoreUnknown { core, allowed: CoreList(allowed.to_vec()) });
    }
    if cores.len() > limits::SHARDS_MAX {
        return Err(ConfigError::CoresTooMany { count: cores.len(), max: limits::SHARDS_MAX });
    }
    Ok(())
}

/// Port 0 asks for any free port, and so may be asked for twice.
fn check_listen(config: &Config) -> Result<(), ConfigError> {
    for listen in [&config.listen, &config.tls_listen] {
        for (index, address) in listen.iter().enumerate() {
            if address.port() != 0 && listen[..index].contains(address) {
                return Err(ConfigError::ListenTwice(*address));
            }
        }
    }
    let is_both = |address: &&SocketAddr| address.port() != 0 && config.listen.contains(address);
    config.tls_listen.iter().find(is_both).map_or(Ok(()), |&address| Err(ConfigError::ListenBoth(address)))
}

fn check_tls(Flags { tls, connections, .. }: &Flags) -> Result<(), ConfigError> {
    let (certificates, keys) = (tls.tls_cert.len(), tls.tls_key.len());
    if certificates != keys {
        return Err(ConfigError::TlsPairs { certificates, keys });
    }
    let is_spoken = !tls.tls_listen.is_empty();
    if is_spoken && certificates == 0 {
        return Err(ConfigError::TlsWithoutCertificate);
    }
    let needs = [
        ("--tls-cert", certificates > 0),
        ("--tls-client-ca", tls.tls_client_ca.is_some()),
        ("--http-redirect", tls.http_redirect),
    ];
    if let Some((flag, _)) = needs.into_iter().find(|(_, is_set)| *is_set && !is_spoken) {
        return Err(ConfigError::TlsNowhere { flag });
    }
    let has_proxies = connections.trusted_proxies.as_ref().is_some_and(|list| !list.0.is_empty());
    if connections.proxy_protocol != ProxyHeaders::Off && !has_proxies {
        return Err(ConfigError::ProxyProtocolOfNobody);
    }
    Ok(())
}

/// The smallest `--max-message-bytes`: below it not even the longest map name, key and a stamp fit.
const MESSAGE_BYTES_MIN: usize = 1 << 10;
const _: () = assert!(MESSAGE_BYTES_MIN >= limits::KEY_BYTES_MAX + limits::MAP_NAME_BYTES_MAX + 128);

fn check_sizes(config: &Config) -> Result<(), ConfigError> {
    let (given, min, max) = (
        Bytes(config.header_bytes_max),
        Bytes(limits::HEADER_BYTES_MIN),
        Bytes(limits::HEADER_BYTES_CEILING),
    );
    if !(min..=max).contains(&given) {
        return Err(ConfigError::HeaderBytes { given, min, max });
    }
    let message = Bytes(config.message_bytes_max);
    if !(MESSAGE_BYTES_MIN..=limits::MESSAGE_BYTES_CEILING).contains(&message.0) {
        let (min, max) = (Bytes(MESSAGE_BYTES_MIN), Bytes(limits::MESSAGE_BYTES_CEILING));
        return Err(ConfigError::MessageBytes { given: message, min, max });
    }
    let value = Bytes(config.value_bytes_max);
    if value > message {
        return Err(ConfigError::ValueOverMessage { value, message });
    }
    Ok(())
}

fn check_outbox(config: &Config) -> Result<(), ConfigError> {
    let (soft, hard) = (Bytes(config.outbox_soft_bytes), Bytes(config.outbox_hard_bytes));
    // The next chunk of a snapshot is asked for only when there is room, which there would never be.
    let soft_min = Bytes(2 * limits::CHUNK_BYTES);
    if soft < soft_min {
        return Err(ConfigError::OutboxSoftTooSmall { given: soft, min: soft_min });
    }
    // A peer just below the soft limit may be sent one more message and must survive it.
    let message = Bytes(config.message_bytes_max);
    let min = Bytes(soft.0.saturating_add(message.0));
    if hard < min {
        return Err(ConfigError::OutboxHardTooSmall { hard, soft, message, min });
    }
    // A peer just below the soft limit may be sent a whole key, and must survive that, too.
    let room = Bytes((hard.0 - soft.0).min(limits::CELL_BYTES_CEILING));
    let cell = Bytes(config.cell_bytes_max);
    if cell > room {
        return Err(ConfigError::CellOverOutbox { cell, hard, soft, room });
    }
    let given = Bytes(config.coalesce.bytes_max);
    if given.0 == 0 || given > soft {
        return Err(ConfigError::CoalesceBytes { given, soft });
    }
    Ok(())
}

fn check_times(config: &Config) -> Result<(), ConfigError> {
    let (delay_us, heartbeat_ms) = (config.coalesce.delay_us, config.heartbeat_ms);
    if delay_us > heartbeat_ms * 1_000 / 2 {
        return Err(ConfigError::CoalesceOverHeartbeat { delay_us, heartbeat_ms });
    }
    let (retention, drift_ms) = (Span { ms: config.tombstone_retention_ms }, config.clock_drift_max_ms);
    if retention.ms < drift_ms {
        return Err(ConfigError::RetentionTooShort { retention, drift_ms, min: Span { ms: drift_ms } });
    }
    Ok(())
}

fn check_memory(serve: &Serve) -> Result<(), ConfigError> {
    let (given, cores) = (Bytes(serve.config.memory_limit_bytes), serve.cores.len());
    let min = Bytes(cores * limits::SHARD_MEMORY_BYTES_MIN);
    if given.0 != 0 && given < min {
        return Err(ConfigError::MemoryLimitTooSmall { given, cores, min });
    }
    Ok(())
}

fn check_identity(flags: &Identity, serve: &mut Serve) -> Result<(), ConfigError> {
    let has_api_keys =
        |identity: &IdentityConfig| identity.api_keys.as_ref().is_some_and(|path| path.exists());
    if flags.auth == Auth::Required && !flags.has_keys() && !serve.identity.as_ref().is_some_and(has_api_keys)
    {
        return Err(ConfigError::NoKeys);
    }
    if let Some(secret) = &flags.secret {
        Keys::default().add_secret(secret.0.as_bytes()).map_err(ConfigError::Secret)?;
    }
    // Where clients need a certificate somebody has said who may connect.
    let asks_nobody = serve.tls.as_ref().is_some_and(|tls| tls.client_ca.is_none());
    let with_tls =
        serve.config.tls_listen.iter().filter(|_| asks_nobody).map(|listen| ("--tls-listen", listen));
    let all = serve.config.listen.iter().map(|listen| ("--listen", listen)).chain(with_tls);
    let open = all.into_iter().find(|(_, address)| !address.ip().is_loopback());
    if let Some((flag, &listen)) = open.filter(|_| flags.auth == Auth::None) {
        if !flags.allow_anonymous {
            return Err(ConfigError::OpenToAll { flag, listen });
        }
        let what = match flags.rules {
            Some(_) => "do what --rules lets `anonymous` do",
            None => "read, write and remove everything",
        };
        serve.cautions.push(format!("--allow-anonymous: everybody who reaches {listen} may {what}"));
    }
    let admin = serve.admin.filter(|address| !address.ip().is_loopback());
    if let Some(listen) = admin.filter(|_| flags.auth == Auth::None) {
        return Err(ConfigError::AdminOpenToAll { listen });
    }
    serve.cautions.extend(serve.identity.as_ref().and_then(desk::open_to_others));
    serve.cautions.extend(serve.tls.iter().flat_map(certificates::open_to_others));
    Ok(())
}

fn check_storage(storage: &StorageConfig, allowed_cores: &[usize]) -> Result<(), ConfigError> {
    let given = Bytes(storage.segment_bytes);
    if !(limits::SEGMENT_BYTES_MIN..=limits::SEGMENT_BYTES_CEILING).contains(&given.0) {
        let (min, max) = (Bytes(limits::SEGMENT_BYTES_MIN), Bytes(limits::SEGMENT_BYTES_CEILING));
        return Err(ConfigError::SegmentBytes { given, min, max });
    }
    if let Some(core) = storage.service_core.filter(|core| !allowed_cores.contains(core)) {
        return Err(ConfigError::ServiceCoreUnknown { core, allowed: CoreList(allowed_cores.to_vec()) });
    }
    Ok(())
}

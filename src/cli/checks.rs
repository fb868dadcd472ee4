//! Settings held against each other and against the host, before anything is opened.

use std::net::SocketAddr;

use super::cores::CoreList;
use super::error::ConfigError;
use super::flags::{Auth, Flags, Identity, ProxyHeaders};
use super::serve::Serve;
use crate::auth::Keys;
use crate::config::{Bytes, Config, IdentityConfig, Span, StorageConfig};
use crate::limits;
use crate::service::{certificates, desk};

pub(super) fn check_cores(cores: &[usize], allowed: &[usize]) -> Result<(), ConfigError> {
    if let Some(&core) = cores.iter().find(|core| !allowed.contains(core)) {
        return Err(ConfigError::CoreUnknown { core, allowed: CoreList(allowed.to_vec()) });
    }
    if cores.len() > limits::SHARDS_MAX {
        return Err(ConfigError::CoresTooMany { count: cores.len(), max: limits::SHARDS_MAX });
    }
    Ok(())
}

/// Port 0 asks for any free port, and so may be asked for twice.
pub(super) fn check_listen(config: &Config) -> Result<(), ConfigError> {
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

pub(super) fn check_tls(Flags { tls, connections, .. }: &Flags) -> Result<(), ConfigError> {
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

pub(super) fn check_sizes(config: &Config) -> Result<(), ConfigError> {
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

pub(super) fn check_outbox(config: &Config) -> Result<(), ConfigError> {
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

pub(super) fn check_times(config: &Config) -> Result<(), ConfigError> {
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

pub(super) fn check_memory(serve: &Serve) -> Result<(), ConfigError> {
    let (given, cores) = (Bytes(serve.config.memory_limit_bytes), serve.cores.len());
    let min = Bytes(cores * limits::SHARD_MEMORY_BYTES_MIN);
    if given.0 != 0 && given < min {
        return Err(ConfigError::MemoryLimitTooSmall { given, cores, min });
    }
    Ok(())
}

pub(super) fn check_identity(flags: &Identity, serve: &mut Serve) -> Result<(), ConfigError> {
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

pub(super) fn check_storage(storage: &StorageConfig, allowed_cores: &[usize]) -> Result<(), ConfigError> {
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

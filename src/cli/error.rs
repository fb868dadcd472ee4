//! Why the command does not start: one line that says what is wrong and what to do. Exit code 2.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::cores::CoreList;
use super::synonyms::flag_meant;
use crate::config::{Bytes, Span};
use crate::service::certificates::CertificatesError;

/// A configuration that cannot be served. Print it behind `annulus: ` and exit with code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// What the parser of the command line refused, in one line.
    #[error("{0}")]
    Usage(String),
    /// Something in the file of `--config`, or that it cannot be read; `place` is its path, and the line behind a colon.
    #[error("{place}: {problem}")]
    File { place: String, problem: String },
    #[error(
        "core {core} does not exist or is not allowed to this process; use cores out of {allowed} in --cores"
    )]
    CoreUnknown { core: usize, allowed: CoreList },
    #[error("{count} cores are more shards than one process has; list at most {max} in --cores")]
    CoresTooMany { count: usize, max: usize },
    #[error(
        "--tls-cert names {certificates} files and --tls-key {keys}; name a key for each certificate, in the same order"
    )]
    TlsPairs { certificates: usize, keys: usize },
    #[error("--tls-listen has no certificate; set --tls-cert and --tls-key")]
    TlsWithoutCertificate,
    #[error(
        "{flag} is of no use without --tls-listen; say where TLS is spoken, such as --tls-listen 0.0.0.0:443"
    )]
    TlsNowhere { flag: &'static str },
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    #[error(
        "--proxy-protocol takes headers from --trusted-proxies only, and there are none; name the proxies, such as \
         127.0.0.1,10.0.0.0/8"
    )]
    ProxyProtocolOfNobody,
    #[error("--listen and --tls-listen both name {0}; name it once, for TLS or without")]
    ListenBoth(std::net::SocketAddr),
    #[error("--listen names {0} twice; name each address once, every shard listens on it anyway")]
    ListenTwice(std::net::SocketAddr),
    #[error("--listen {listen} cannot be looked up: {problem}; write a name or an address of this host")]
    ListenUnknown { listen: String, problem: String },
    #[error(
        "--max-connections {connections} leaves some of the {cores} shards without any; raise it to at least \
         {cores}, or list fewer --cores"
    )]
    ConnectionsTooFew { connections: usize, cores: usize },
    #[error("--max-header-bytes {given} is out of bounds; choose from {min} to {max}")]
    HeaderBytes { given: Bytes, min: Bytes, max: Bytes },
    #[error("--max-message-bytes {given} is out of bounds; choose from {min} to {max}")]
    MessageBytes { given: Bytes, min: Bytes, max: Bytes },
    #[error(
        "--max-value-bytes {value} does not fit into --max-message-bytes {message}; make values smaller or \
         messages larger"
    )]
    ValueOverMessage { value: Bytes, message: Bytes },
    #[error(
        "--outbox-soft-bytes {given} holds less than two chunks of a snapshot; raise it to at least {min}"
    )]
    OutboxSoftTooSmall { given: Bytes, min: Bytes },
    #[error(
        "--outbox-hard-bytes {hard} has no room for --outbox-soft-bytes {soft} and one message of \
         --max-message-bytes {message}; raise it to at least {min}, better to 16 messages"
    )]
    OutboxHardTooSmall { hard: Bytes, soft: Bytes, message: Bytes, min: Bytes },
    #[error(
        "--max-cell-bytes {cell} does not fit between --outbox-soft-bytes {soft} and --outbox-hard-bytes {hard}; \
         lower it to at most {room}, or raise the hard limit"
    )]
    CellOverOutbox { cell: Bytes, hard: Bytes, soft: Bytes, room: Bytes },
    #[error("--coalesce-max-bytes {given} is out of bounds; choose from 1 to --outbox-soft-bytes {soft}")]
    CoalesceBytes { given: Bytes, soft: Bytes },
    #[error(
        "--coalesce-delay-us {delay_us} lets a ping wait beyond half of --heartbeat-ms {heartbeat_ms}; lower \
         the delay or raise the heartbeat"
    )]
    CoalesceOverHeartbeat { delay_us: u64, heartbeat_ms: u64 },
    #[error(
        "--tombstone-retention {retention} is shorter than --max-clock-drift-ms {drift_ms}, so a removal could \
         be forgotten before its own time; raise it to at least {min}"
    )]
    RetentionTooShort { retention: Span, drift_ms: u64, min: Span },
    #[error("--segment-bytes {given} is out of bounds; choose from {min} to {max}")]
    SegmentBytes { given: Bytes, min: Bytes, max: Bytes },
    #[error(
        "--memory-limit {given} is too little for {cores} shards; raise it to at least {min}, or to 0 for no limit"
    )]
    MemoryLimitTooSmall { given: Bytes, cores: usize, min: Bytes },
    #[error(
        "core {core} does not exist or is not allowed to this process; use one out of {allowed} in --service-core"
    )]
    ServiceCoreUnknown { core: usize, allowed: CoreList },
    #[error("invalid value '{value}' for {name}; write {rule}")]
    Variable { name: &'static str, value: String, rule: String },
    #[error(
        "--auth required has nothing to verify tokens with; set --jwt-secret-file, --jwt-public-key-file, --jwks-file or \
         --jwks-url, or make an API key with `annulus key create`"
    )]
    NoKeys,
    #[error(
        "{flag} {listen} lets in more than this machine, and --auth none asks nobody who they are; set --auth required \
         and keys (docs/identity.md), or say --allow-anonymous, with which everybody may read and write everything"
    )]
    OpenToAll { flag: &'static str, listen: std::net::SocketAddr },
    #[error(
        "--admin-listen {listen} lets in more than this machine, and --auth none asks nobody for an API key; set --auth \
         optional or required, or listen on 127.0.0.1"
    )]
    AdminOpenToAll { listen: std::net::SocketAddr },
    #[error("JWT_SECRET: {0}; unset it or set --no-synckit where the variable is another program's")]
    Secret(crate::auth::KeyError),
    #[error("{0}; see docs/identity.md")]
    Identity(#[from] crate::service::desk::DeskError),
    #[error("the kernel gives no random bytes for a node name; choose one with --node")]
    NoRandomness,
}

impl ConfigError {
    /// One line out of clap's page of text: its first sentence, its tip, and where the flag may also come from.
    pub(super) fn from_usage(error: &clap::Error, command: &clap::Command) -> Self {
        let text = error.render().to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default();
        let mut line = first.strip_prefix("error: ").unwrap_or(first).to_owned();
        if let Some((flag, shown)) = flag_and_variable(error, command) {
            line = line.replace(&format!("'{flag}'"), &shown);
        }
        let synonym = synonym(error);
        if let Some(flag) = synonym {
            line = format!("{line}; did you mean --{flag}? See `annulus --help`");
        }
        let is_page_end = |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more");
        for detail in lines.take_while(is_page_end) {
            if synonym.is_some() {
                break;
            }
            let detail = detail.trim_start_matches("tip: ").trim_matches(['[', ']']);
            line = format!("{line}; {}", detail.replace("possible values: ", "use one of "));
        }
        if !line.contains("; ") {
            line.push_str("; see `annulus --help`");
        }
        Self::Usage(line.replace(|c: char| c.is_control(), " "))
    }
}

/// The flag that whoever wrote an unknown one may have meant, where it is called otherwise elsewhere.
fn synonym(error: &clap::Error) -> Option<&'static str> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(unknown)) if error.kind() == ErrorKind::UnknownArgument => {
            flag_meant(unknown.strip_prefix("--")?)
        }
        _ => None,
    }
}

/// The flag a parse error is about, as clap writes it, and how we write it: with its variable, as the value
/// may have come from there.
fn flag_and_variable(error: &clap::Error, command: &clap::Command) -> Option<(String, String)> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let long = flag.strip_prefix("--")?.split(' ').next()?;
    let arg = command.get_arguments().find(|arg| arg.get_long() == Some(long))?;
    let variable = arg.get_env()?.to_str()?;
    Some((flag.clone(), format!("--{long} or {variable}")))
}

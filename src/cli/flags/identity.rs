//! Who clients are, and what they may do.

use std::path::{Path, PathBuf};

use clap::builder::{BoolishValueParser, NonEmptyStringValueParser};
use clap::{Args, ValueEnum, value_parser};
use serde::{Serialize, Serializer};

use super::HOUR_MS;
use crate::cli::values::parse_jwks_url;
use crate::config::{AuthMode, Config, IdentityConfig, Secret};

/// Whether clients say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum Auth {
    /// Nobody is asked, and no token is taken
    None,
    /// Who shows no token is `anonymous`, with the role of that name
    Optional,
    /// Who shows no token within --auth-timeout-ms is closed with 4001
    Required,
}

impl Auth {
    pub const fn mode(self) -> AuthMode {
        match self {
            Self::None => AuthMode::None,
            Self::Optional => AuthMode::Optional,
            Self::Required => AuthMode::Required,
        }
    }
}

#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Identity")]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) struct Identity {
    /// Whether clients say who they are, with a token or an API key
    ///
    /// See docs/identity.md. What they may do then is said by --rules; without it everybody who is let in may do everything.
    #[arg(long, env = "ANNULUS_AUTH", value_name = "MODE", value_enum, default_value = "none")]
    pub auth: Auth,

    /// Listen beyond this machine with --auth none
    ///
    /// Everybody who reaches the port may then read, write and remove everything, as far as --rules lets `anonymous`. Without
    /// this flag such a server does not start.
    #[arg(long, env = "ANNULUS_ALLOW_ANONYMOUS", value_parser = BoolishValueParser::new())]
    pub allow_anonymous: bool,

    /// A file with the secret that tokens are signed with: HS256, HS384, HS512; at least 32 bytes
    ///
    /// Made by `openssl rand -base64 48 > secret`. A line's end behind it is no part of it.
    #[arg(long, env = "ANNULUS_JWT_SECRET_FILE", value_name = "FILE")]
    #[serde(serialize_with = "text_of_one")]
    pub jwt_secret_file: Option<PathBuf>,

    /// A file with a public key that tokens are signed for, as PEM: RSA, P-256, P-384 or Ed25519; may be repeated
    ///
    /// For RS256 to RS512, PS256 to PS512, ES256, ES384, EdDSA. Two at a time let keys be exchanged without a gap.
    #[arg(long, env = "ANNULUS_JWT_PUBLIC_KEY_FILE", value_name = "FILE", value_delimiter = ',')]
    #[serde(serialize_with = "texts")]
    pub jwt_public_key_file: Vec<PathBuf>,

    /// A file with a JSON Web Key Set
    ///
    /// Its public keys that are for signatures are taken, others and secrets are passed over.
    #[arg(long, env = "ANNULUS_JWKS_FILE", value_name = "FILE")]
    #[serde(serialize_with = "text_of_one")]
    pub jwks_file: Option<PathBuf>,

    /// Where to fetch a JSON Web Key Set: an https URL, or an http one of this host
    ///
    /// Fetched at the start, every --auth-revalidate-ms, and for a token of a key that is not known, but not more often than
    /// once a minute for that. While the source is away, what was fetched last counts. Certificates are checked with those
    /// that this host trusts; SSL_CERT_FILE names others.
    #[arg(long, env = "ANNULUS_JWKS_URL", value_name = "URL", value_parser = parse_jwks_url)]
    pub jwks_url: Option<String>,

    /// What `iss` of every token has to be [default: anything]
    ///
    /// Set it where several systems sign with the same keys.
    #[arg(long, env = "ANNULUS_JWT_ISSUER", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub jwt_issuer: Option<String>,

    /// What has to be in `aud` of every token [default: no `aud` at all]
    ///
    /// A token that is for somebody in particular is not taken where this names nobody.
    #[arg(long, env = "ANNULUS_JWT_AUDIENCE", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub jwt_audience: Option<String>,

    /// Milliseconds by which the clock of who signs tokens may differ from that of the server
    ///
    /// A token counts so much longer than `exp`, and so much earlier than `nbf`.
    #[arg(long, env = "ANNULUS_JWT_LEEWAY_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(0..=HOUR_MS), default_value_t = IdentityConfig::default().leeway_ms)]
    pub jwt_leeway_ms: u64,

    /// Take tokens without `exp`
    ///
    /// Such a token lets in whoever finds it, until it is revoked. API keys are made for what runs for long.
    #[arg(long, env = "ANNULUS_JWT_ALLOW_NO_EXPIRY", value_parser = BoolishValueParser::new())]
    pub jwt_allow_no_expiry: bool,

    /// The claim that has the roles, or the path to it, such as realm_access.roles
    ///
    /// A list of texts, or one text with spaces between them. A claim whose whole name has points in it is found as well.
    #[arg(long, env = "ANNULUS_JWT_ROLES_CLAIM", value_name = "NAME", default_value_t = IdentityConfig::default().roles_claim.into())]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub jwt_roles_claim: String,

    /// A file with the rules that say who may do what [default: everybody may do everything]
    ///
    /// With it nothing is allowed that no rule allows. `annulus rules check` says whether it can be used; it is read again
    /// at SIGHUP.
    #[arg(long, env = "ANNULUS_RULES", value_name = "FILE")]
    #[serde(serialize_with = "text_of_one")]
    pub rules: Option<PathBuf>,

    /// The file of API keys, which `annulus key` changes [default: api-keys in --data-dir]
    ///
    /// Changes count at once. It has the SHA-256 of each key, from which no key can be made.
    #[arg(long, env = "ANNULUS_API_KEYS", value_name = "FILE")]
    #[serde(serialize_with = "text_of_one")]
    pub api_keys: Option<PathBuf>,

    /// The file of what is revoked, which `annulus revoke` changes [default: revoked in --data-dir]
    ///
    /// Changes count at once, for those who are connected, too.
    #[arg(long, env = "ANNULUS_REVOKED", value_name = "FILE")]
    #[serde(serialize_with = "text_of_one")]
    pub revoked: Option<PathBuf>,

    /// Milliseconds in which a client has to say who it is with --auth required
    ///
    /// From the open WebSocket to a token that is believed; then it is closed with 4001.
    #[arg(long, env = "ANNULUS_AUTH_TIMEOUT_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(1..=HOUR_MS), default_value_t = Config::default().auth_timeout_ms)]
    pub auth_timeout_ms: u64,

    /// Milliseconds between two looks at --api-keys, --revoked and --jwks-url though nobody says that they have changed
    ///
    /// File systems of other hosts do not say so.
    #[arg(long, env = "ANNULUS_AUTH_REVALIDATE_MS", value_name = "MS")]
    #[arg(value_parser = value_parser!(u64).range(1_000..=24 * HOUR_MS), default_value_t = IdentityConfig::default().revalidate_ms)]
    pub auth_revalidate_ms: u64,

    /// What tokens are signed with, from a variable of SyncKit's servers.
    #[arg(skip)]
    #[serde(skip)]
    pub secret: Option<Secret>,
}

/// Names of the files that are in a data directory unless they are said to be elsewhere.
const API_KEYS: &str = "api-keys";
const REVOKED: &str = "revoked";

impl Identity {
    pub fn api_keys_in(&self, data_dir: &Path) -> PathBuf {
        self.api_keys.clone().unwrap_or_else(|| data_dir.join(API_KEYS))
    }

    pub fn revoked_in(&self, data_dir: &Path) -> PathBuf {
        self.revoked.clone().unwrap_or_else(|| data_dir.join(REVOKED))
    }

    /// What the desk needs, where there has to be one. `data_dir`: of a server that keeps data.
    pub fn config(&self, data_dir: Option<&Path>) -> Option<IdentityConfig> {
        if self.auth == Auth::None && self.rules.is_none() {
            return None;
        }
        let name = |name: &Option<String>| name.as_deref().map(Box::from);
        Some(IdentityConfig {
            secret_file: self.jwt_secret_file.clone(),
            secret: self.secret.clone(),
            public_key_files: self.jwt_public_key_file.clone(),
            jwks_file: self.jwks_file.clone(),
            jwks_url: self.jwks_url.clone(),
            issuer: name(&self.jwt_issuer),
            audience: name(&self.jwt_audience),
            leeway_ms: self.jwt_leeway_ms,
            allow_no_expiry: self.jwt_allow_no_expiry,
            roles_claim: self.jwt_roles_claim.as_str().into(),
            rules: self.rules.clone(),
            api_keys: self.api_keys.clone().or_else(|| Some(self.api_keys_in(data_dir?))),
            revoked: self.revoked.clone().or_else(|| Some(self.revoked_in(data_dir?))),
            revalidate_ms: self.auth_revalidate_ms,
        })
    }

    /// Whether it names anything that tokens can be verified with.
    pub const fn has_keys(&self) -> bool {
        self.jwt_secret_file.is_some()
            || self.secret.is_some()
            || !self.jwt_public_key_file.is_empty()
            || self.jwks_file.is_some()
            || self.jwks_url.is_some()
    }
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
pub(super) fn text_of_one<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.display().to_string()).serialize(serializer)
}

pub(super) fn texts<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.display().to_string()))
}

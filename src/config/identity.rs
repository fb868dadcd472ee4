//! By what clients say who they are, and where it is kept.

use std::fmt;
use std::path::PathBuf;

/// See the module. Files are read by the desk, which keeps the paths to look again.
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    pub secret_file: Option<PathBuf>,
    pub secret: Option<Secret>,
    pub public_key_files: Vec<PathBuf>,
    pub jwks_file: Option<PathBuf>,
    /// An `https` URL, or an `http` one of this host.
    pub jwks_url: Option<String>,
    /// What `iss` and `aud` of a token have to say.
    pub issuer: Option<Box<str>>,
    pub audience: Option<Box<str>>,
    /// By how much clocks may differ.
    pub leeway_ms: u64,
    pub allow_no_expiry: bool,
    /// The claim that has the roles.
    pub roles_claim: Box<str>,
    /// `None`: everybody may do everything.
    pub rules: Option<PathBuf>,
    /// Files that need not be there; `None`: there are no API keys, and nothing is revoked.
    pub api_keys: Option<PathBuf>,
    pub revoked: Option<PathBuf>,
    /// How often files and keys are looked at though nobody has said that they changed.
    pub revalidate_ms: u64,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            secret_file: None,
            secret: None,
            public_key_files: Vec::new(),
            jwks_file: None,
            jwks_url: None,
            issuer: None,
            audience: None,
            leeway_ms: 1_000,
            allow_no_expiry: false,
            roles_claim: "roles".into(),
            rules: None,
            api_keys: None,
            revoked: None,
            revalidate_ms: 300_000,
        }
    }
}

/// A secret that is in no file.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Box<str>);

// It is in no log.
impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

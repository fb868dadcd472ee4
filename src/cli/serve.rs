//! What `annulus serve` needs to know, once flags, variables and the file have said all they have to say.

use std::net::SocketAddr;

use super::error::ConfigError;
use super::flags::LogFormat;
use super::inherited;
use crate::config::{AuthMode, Config, HooksConfig, IdentityConfig, Sessions, StorageConfig, TlsConfig};
use crate::service::admin::FromFlags;

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

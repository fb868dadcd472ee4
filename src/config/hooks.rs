//! How the application is reached, beside what the rules file says.

use std::path::PathBuf;

use crate::limits::DEAD_LETTERS_BYTES_DEFAULT;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HooksConfig {
    /// Where events go that could not be delivered; `None`: they are lost.
    pub dead_letters: Option<PathBuf>,
    /// Bytes that this file may have.
    pub dead_letters_bytes: usize,
    pub nats: Option<NatsConfig>,
}

/// The NATS server that events go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsConfig {
    pub host: Box<str>,
    pub port: u16,
    pub uses_tls: bool,
    /// A file with a token, or a name and a password with a colon between.
    pub credentials_file: Option<PathBuf>,
}

impl Default for HooksConfig {
    fn default() -> Self {
        Self { dead_letters: None, dead_letters_bytes: DEAD_LETTERS_BYTES_DEFAULT, nats: None }
    }
}

/// The port of NATS servers.
const NATS_PORT: u16 = 4222;

impl NatsConfig {
    /// What a URL names: `nats://` or `tls://`, a host, and a port if it is not 4222.
    ///
    /// # Errors
    /// Why it names nothing.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or("it begins with nats:// or tls://")?;
        let uses_tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return Err("it begins with nats:// or tls://"),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err("it has a name or a password in it, which belong into --nats-credentials-file");
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| "its port is no number up to 65535")?)
            }
            _ => (rest, NATS_PORT),
        };
        let is_ip6 = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) || host.contains(':') && !is_ip6 {
            return Err("it names no host");
        }
        Ok(Self { host: host.trim_matches(['[', ']']).into(), port, uses_tls, credentials_file: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_host_and_a_port() {
        for (url, host, port, uses_tls) in [
            ("nats://n.example", "n.example", 4222, false),
            ("tls://n.example:4333/", "n.example", 4333, true),
            ("nats://[::1]:7", "::1", 7, false),
            ("nats://[::1]", "::1", 4222, false),
        ] {
            let found = NatsConfig::parse(url).expect(url);
            assert_eq!((&*found.host, found.port, found.uses_tls), (host, port, uses_tls), "{url}");
        }
        for bad in [
            "n.example",
            "http://n",
            "nats://",
            "nats://u:p@n",
            "nats://n:99999",
            "nats://n/x",
            "nats://:1",
            "nats://::1:2",
        ] {
            assert!(NatsConfig::parse(bad).is_err(), "{bad}");
        }
    }
}

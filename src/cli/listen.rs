//! What `--listen` names: an address or a name of this host, and a port.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// See the module. A name is looked up once, at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listen {
    Address(SocketAddr),
    Name { name: String, port: u16 },
}

impl Listen {
    /// With another port.
    pub fn set_port(&mut self, new: u16) {
        match self {
            Self::Address(address) => address.set_port(new),
            Self::Name { port, .. } => *port = new,
        }
    }

    /// With another host: an IP address, or `localhost`; whether `host` is one of them.
    pub fn set_host(&mut self, host: &str) -> bool {
        let port = match self {
            Self::Address(address) => address.port(),
            Self::Name { port, .. } => *port,
        };
        *self = match host.parse::<IpAddr>() {
            Ok(ip) => Self::Address(SocketAddr::new(ip, port)),
            Err(_) if host.eq_ignore_ascii_case("localhost") => Self::Name { name: host.to_owned(), port },
            Err(_) => return false,
        };
        true
    }

    /// Its addresses, of both families: of a name, those that this host has.
    ///
    /// # Errors
    /// If nobody knows the name.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let (name, port) = match self {
            Self::Address(address) => return Ok(vec![*address]),
            Self::Name { name, port } => (name.as_str(), *port),
        };
        let mut found: Vec<SocketAddr> = Vec::new();
        for address in (name, port).to_socket_addrs()? {
            if !found.contains(&address) {
                found.push(address);
            }
        }
        // Such as ::1 of a localhost without IPv6. Where none is left, to bind them says why.
        let is_ours = |address: &SocketAddr| UdpSocket::bind((address.ip(), 0)).is_ok();
        let ours: Vec<SocketAddr> = found.iter().copied().filter(is_ours).collect();
        Ok(if ours.is_empty() { found } else { ours })
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let named = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
        // Without a letter it is an address gone wrong.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let is_name =
            |name: &str| name.contains(|c: char| c.is_ascii_alphabetic()) && name.chars().all(plain);
        match named {
            Some((name, port)) if is_name(name) => Ok(Self::Name { name: name.to_owned(), port }),
            _ => {
                let example = "127.0.0.1:9000, 0.0.0.0:9000, [::1]:9000 or localhost:9000";
                Err(format!(
                    "'{text}' is no address with a port; write an IP address or a name and a port, such as {example}"
                ))
            }
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { name, port } => write!(f, "{name}:{port}"),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_read_as_they_are_written() {
        for text in ["127.0.0.1:9000", "[::]:80", "[::1]:0", "localhost:9000", "db-1.example:1", "a_b:65535"]
        {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in [
            "9000",
            "127.0.0.1",
            "localhost",
            "localhost:http",
            ":9000",
            "::1:9000",
            "256.0.0.1:1",
            "a b:1",
            "a:65536",
        ] {
            assert!(text.parse::<Listen>().is_err_and(|error| error.contains("127.0.0.1:9000")), "{text}");
        }
    }

    #[test]
    fn a_name_stands_for_its_addresses_on_this_host() {
        let found = "localhost:7".parse::<Listen>().unwrap().resolve().unwrap();
        assert!(found.contains(&SocketAddr::from(([127, 0, 0, 1], 7))), "{found:?}");
        assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
        // Reserved to be unknown (RFC 6761).
        assert!("annulus.invalid:7".parse::<Listen>().unwrap().resolve().is_err());
    }
}

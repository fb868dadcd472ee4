//! Where to connect: a `ws://` address taken apart, and sockets to it.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with, sockopt};

use crate::failure::Failure;
use crate::tls::Tls;

/// Connections from one source address. The kernel gives out some 28 000 ports by default
/// (`ip_local_port_range`); the rest of the machine wants some too.
const CONNECTIONS_PER_SOURCE: usize = 20_000;

#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    /// For the `Host` header.
    pub host: String,
    pub path: String,
    /// What connections show with their upgrade, in turn; empty: nothing.
    pub tokens: Arc<[String]>,
    /// How connections speak TLS, if they do.
    pub tls: Option<Secured>,
}

/// TLS, and where it is spoken.
#[derive(Clone, Debug)]
pub struct Secured {
    pub tls: Tls,
    pub address: SocketAddr,
}

impl Target {
    /// # Errors
    /// [`Failure::Setup`] for what is neither `ws://host:port/path` nor `wss://host:port/path`, or a name that does not resolve.
    pub fn parse(url: &str, tls: impl FnOnce(&str) -> Result<Tls, Failure>) -> Result<Self, Failure> {
        let refuse = |why: &str| Failure::Setup(format!("--url {url}: {why}"));
        let (rest, is_secured) = match (url.strip_prefix("ws://"), url.strip_prefix("wss://")) {
            (Some(rest), _) => (rest, false),
            (None, Some(rest)) => (rest, true),
            (None, None) => return Err(refuse("it must start with ws:// or wss://")),
        };
        let (host, path) = rest.find('/').map_or((rest, "/v1"), |slash| rest.split_at(slash));
        let with_port = if host.contains(':') {
            host.to_owned()
        } else {
            format!("{host}:{}", if is_secured { 443 } else { 80 })
        };
        let mut addresses = with_port.to_socket_addrs().map_err(|error| refuse(&error.to_string()))?;
        let address = addresses.next().ok_or_else(|| refuse("the name has no address"))?;
        let tls = is_secured.then(|| tls(host)).transpose()?.map(|tls| Secured { tls, address });
        Ok(Self { address, host: host.to_owned(), path: path.to_owned(), tokens: Arc::default(), tls })
    }

    pub fn loopback(address: SocketAddr) -> Self {
        Self { address, host: address.to_string(), path: "/v1".to_owned(), tokens: Arc::default(), tls: None }
    }

    /// The same where connections speak TLS; pages are read without.
    pub fn with_tls(self, tls: Option<Secured>) -> Self {
        Self { tls, ..self }
    }

    /// The same with the tokens of a file, one a line.
    ///
    /// # Errors
    /// [`Failure::Setup`] for a file that cannot be read or has none.
    pub fn showing(self, file: &Path) -> Result<Self, Failure> {
        let refuse = |why: String| Failure::Setup(format!("--tokens {}: {why}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?;
        let tokens: Arc<[String]> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        if tokens.is_empty() {
            return Err(refuse("it has no token: write one a line".to_owned()));
        }
        Ok(Self { tokens, ..self })
    }

    /// What the how-manieth connection shows.
    pub fn token(&self, number: usize) -> Option<&str> {
        let place = number.checked_rem(self.tokens.len())?;
        Some(&self.tokens[place])
    }

    /// A connected socket. Many to a loopback address use several source addresses, `127.0.0.2` and on, so that
    /// they do not run out of ports; `number` is the how-manieth connection this is.
    ///
    /// # Errors
    /// What `connect` says.
    pub fn connect(&self, number: usize) -> io::Result<OwnedFd> {
        let family = if self.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
        let source = number / CONNECTIONS_PER_SOURCE;
        if source > 0 && self.address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            let address = Ipv4Addr::new(127, 0, (source >> 8) as u8, (source & 0xff) as u8 + 1);
            bind(&socket, &SocketAddr::from((address, 0)))?;
        }
        connect(&socket, &self.tls.as_ref().map_or(self.address, |secured| secured.address))?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        Ok(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Trust;

    #[test]
    fn url_is_taken_apart() {
        let parse = |url| Target::parse(url, |host| Tls::new(&Trust::Anybody, host, true));
        let target = parse("ws://127.0.0.1:9000/v1/echo").unwrap();
        assert_eq!((target.address.port(), target.path.as_str()), (9000, "/v1/echo"));
        assert_eq!(parse("ws://127.0.0.1:9000").unwrap().path, "/v1");
        let secured = parse("wss://localhost").unwrap();
        assert_eq!((secured.address.port(), secured.tls.unwrap().address.port()), (443, 443));
        for url in ["http://127.0.0.1:9000", "ws://127.0.0.1:none"] {
            assert!(matches!(parse(url), Err(Failure::Setup(_))), "{url}");
        }
    }
}

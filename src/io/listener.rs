//! Listening sockets: one for each shard and address, so that the kernel spreads connections and no shard
//! hands one to another.
//!
//! ```text
//! bind            the addresses are ours, and nobody can connect yet
//! Bound::listen   clients connect, and wait to be accepted
//! refuse_more     whoever is about to connect still does; nobody else, and who tries is not told, so that the
//!                 kernel of the client tries again a second later, when the next server may listen
//! ```

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use socket2::{SockFilter, SockRef};

use super::Clock;
use crate::limits::TAKEOVER_WAIT_MS;

/// Before the next try at an address in use.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// Sockets that are bound and do not listen yet.
pub struct Bound {
    /// Element `i` is for shard `i`: one socket for each address.
    sockets: Vec<Vec<OwnedFd>>,
    /// The addresses as they came to be.
    pub addresses: Vec<SocketAddr>,
}

/// What reaches a socket on all addresses of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// IPv4 as well, whatever net.ipv6.bindv6only says.
    Both,
    Ipv6Only,
}

impl Takes {
    /// For `address`, which is one of `all`: IPv4 goes to a socket of its own where there is one with the same port.
    fn of(address: SocketAddr, all: &[SocketAddr]) -> Self {
        let is_beside = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        if address.port() != 0 && all.iter().any(is_beside) { Self::Ipv6Only } else { Self::Both }
    }
}

/// Why an address cannot be listened on.
pub type NotBound = (SocketAddr, io::Error);

/// Binds `shards` sockets to each of `addresses`; port 0 takes a free port, the same for all. One in use is tried for
/// [`TAKEOVER_WAIT_MS`]: the server that this one takes over from may be about to let go of it.
///
/// # Errors
/// The address that failed and why, such as a port in use.
pub fn bind(addresses: &[SocketAddr], shards: usize) -> Result<Bound, NotBound> {
    let clock = Clock::start();
    let mut sockets: Vec<Vec<OwnedFd>> = (0..shards).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    for &wanted in addresses {
        let takes = Takes::of(wanted, addresses);
        let address = loop {
            // Shards share the port among themselves; sharing it with another server would split its clients.
            match claim(wanted, takes) {
                Ok(address) => break address,
                Err(error) if error.kind() == ErrorKind::AddrInUse && is_early(&clock) => {
                    thread::sleep(RETRY_AFTER);
                }
                Err(error) => return Err((wanted, error)),
            }
        };
        for sockets in &mut sockets {
            sockets.push(share(address, takes).map_err(|error| (address, error))?);
        }
        bound.push(address);
    }
    Ok(Bound { sockets, addresses: bound })
}

fn is_early(clock: &Clock) -> bool {
    clock.elapsed_ns() < TAKEOVER_WAIT_MS * 1_000_000
}

impl Bound {
    /// Lets clients connect.
    ///
    /// # Errors
    /// The address that failed and why.
    pub fn listen(self, backlog: i32) -> Result<Vec<Vec<OwnedFd>>, NotBound> {
        // Another server may have begun to listen meanwhile.
        for &address in &self.addresses {
            claim(address, Takes::of(address, &self.addresses)).map_err(|error| (address, error))?;
        }
        for sockets in &self.sockets {
            for (socket, &address) in sockets.iter().zip(&self.addresses) {
                rustix::net::listen(socket, backlog).map_err(|error| (address, error.into()))?;
            }
        }
        Ok(self.sockets)
    }
}

/// From here on nobody begins to connect. A kernel that cannot filter goes on letting clients in until the end.
pub fn refuse_more(listener: BorrowedFd<'_>) {
    let _ = SockRef::from(&listener).attach_filter(&NO_SYN);
}

/// A program that drops the segments that begin a connection and keeps all others (`linux/filter.h`).
const NO_SYN: [SockFilter; 4] = [
    // The byte of flags (RFC 9293 section 3.1) of the TCP header, which a filter of such a socket begins with.
    SockFilter::new(LOAD_BYTE, 0, 0, 13),
    SockFilter::new(JUMP_IF_SET, 0, 1, 0x02),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const JUMP_IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Makes sure that nobody else listens there. Returns the address with its port.
fn claim(address: SocketAddr, takes: Takes) -> io::Result<SocketAddr> {
    let socket = open(address, takes)?;
    rustix::net::bind(&socket, &address)?;
    let bound = rustix::net::getsockname(&socket)?;
    Ok(SocketAddr::try_from(bound)?)
}

fn share(address: SocketAddr, takes: Takes) -> io::Result<OwnedFd> {
    let socket = open(address, takes)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    // Accepted sockets inherit it: frames are coalesced by us, the kernel must not wait for more.
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn open(address: SocketAddr, takes: Takes) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Connections of an earlier server that still linger must not keep this one from starting.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        sockopt::set_ipv6_v6only(&socket, takes == Takes::Ipv6Only)?;
    }
    Ok(socket)
}

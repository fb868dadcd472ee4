//! Listening sockets: one for each shard and address, so that the kernel spreads connections and no shard
//! hands one to another.
//!
//! ```text
//! bind            the addresses are ours, and nobody can connect yet
//! Bound::listen   clients connect, and wait to be accepted
//! refuse_more     whoever is about to connect still does; nobody else, and who tries is not told, so that the
//!                 kernel of the client tries again a second later, when the next server may listen
//! ```
//!
//! Those that were inherited (`inherited.rs`) listen already, and who has connected waits in them. Each goes to a shard, so that
//! nobody is left in one from which nobody accepts: to the next of them where there are more than shards. Where there are
//! fewer, the rest of the shards get sockets beside them, if they were made for that (`SO_REUSEPORT`, and the same user); if not,
//! as with those of a socket unit, all shards accept from the same ones, in turns.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use socket2::{SockFilter, SockRef};

use super::inherited::bound_to;
use super::{Clock, Inherited, inherited};
use crate::limits::TAKEOVER_WAIT_MS;

/// Before the next try at an address in use.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// A listening socket of one shard.
#[derive(Debug)]
pub struct Listener {
    pub socket: OwnedFd,
    takes: Takes,
    /// Of its address, among those that were asked for.
    place: usize,
}

/// How a shard accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Whoever comes to this listener is for this shard.
    All,
    /// Others accept from the same one.
    Turns,
}

impl Listener {
    pub const fn takes(&self) -> Takes {
        self.takes
    }

    /// Of its address, among those that [`bind`] was asked for.
    pub const fn place(&self) -> usize {
        self.place
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        bound_to(&self.socket).unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<OwnedFd> for Listener {
    /// At the only address there is.
    fn from(socket: OwnedFd) -> Self {
        Self { socket, takes: Takes::All, place: 0 }
    }
}

/// Sockets that are bound; those that were not inherited do not listen yet.
pub struct Bound {
    /// Element `i` is for shard `i`: at least one for each address.
    listeners: Vec<Vec<Listener>>,
    /// The addresses as they came to be.
    pub addresses: Vec<SocketAddr>,
    /// Of these, where something was inherited.
    inherited: Vec<SocketAddr>,
    /// What was inherited and is at none of the addresses.
    pub left_over: Vec<Inherited>,
}

/// What reaches a socket on all addresses of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// IPv4 as well, whatever net.ipv6.bindv6only says.
    Both,
    Ipv6Only,
}

impl Reach {
    /// For `address`, which is one of `all`: IPv4 goes to a socket of its own where there is one with the same port.
    fn of(address: SocketAddr, all: &[SocketAddr]) -> Self {
        let is_beside = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        if address.port() != 0 && all.iter().any(is_beside) { Self::Ipv6Only } else { Self::Both }
    }
}

/// Why an address cannot be listened on.
pub type NotBound = (SocketAddr, io::Error);

/// Binds `shards` sockets to each of `addresses`, or takes what is `inherited` there; port 0 takes a free port, the same for
/// all, or one that an earlier life of this server has had. One in use is tried for [`TAKEOVER_WAIT_MS`]: the server that this
/// one takes over from may be about to let go of it.
///
/// # Errors
/// The address that failed and why, such as a port in use.
pub fn bind(
    addresses: &[SocketAddr],
    shards: usize,
    mut inherited: Vec<Inherited>,
) -> Result<Bound, NotBound> {
    let clock = Clock::start();
    let mut bound = Bound {
        listeners: (0..shards).map(|_| Vec::new()).collect(),
        addresses: Vec::new(),
        inherited: Vec::new(),
        left_over: Vec::new(),
    };
    for &wanted in addresses {
        let reach = Reach::of(wanted, addresses);
        if let Some(address) = inherited::at(wanted, &inherited, &bound.addresses) {
            let at_it = inherited.extract_if(.., |listener| listener.address == address);
            let sockets = at_it.map(|listener| listener.socket).collect();
            bound.take_in(address, reach, sockets).map_err(|error| (address, error))?;
            bound.inherited.push(address);
            bound.addresses.push(address);
            continue;
        }
        let address = loop {
            // Shards share the port among themselves; sharing it with another server would split its clients.
            match claim(wanted, reach) {
                Ok(address) => break address,
                Err(error) if error.kind() == ErrorKind::AddrInUse && is_early(&clock) => {
                    thread::sleep(RETRY_AFTER);
                }
                Err(error) => return Err((wanted, error)),
            }
        };
        for listeners in &mut bound.listeners {
            let socket = share(address, reach).map_err(|error| (address, error))?;
            listeners.push(Listener { socket, takes: Takes::All, place: bound.addresses.len() });
        }
        bound.addresses.push(address);
    }
    bound.left_over = inherited;
    Ok(bound)
}

fn is_early(clock: &Clock) -> bool {
    clock.elapsed_ns() < TAKEOVER_WAIT_MS * 1_000_000
}

impl Bound {
    /// Gives sockets that were inherited at one address to the shards.
    fn take_in(&mut self, address: SocketAddr, reach: Reach, sockets: Vec<OwnedFd>) -> io::Result<()> {
        let (count, shards) = (sockets.len(), self.listeners.len());
        let mut takes = vec![Takes::All; shards.max(count)];
        let mut sockets: Vec<OwnedFd> = sockets;
        for index in count..shards {
            match share(address, reach) {
                Ok(socket) => sockets.push(socket),
                // Of another user, or made to be alone.
                Err(_) => {
                    sockets.push(sockets[index % count].try_clone()?);
                    (takes[index], takes[index % count]) = (Takes::Turns, Takes::Turns);
                }
            }
        }
        let place = self.addresses.len();
        for (index, (socket, takes)) in sockets.into_iter().zip(takes).enumerate() {
            self.listeners[index % shards].push(Listener { socket, takes, place });
        }
        Ok(())
    }

    /// Lets clients connect.
    ///
    /// # Errors
    /// The address that failed and why.
    pub fn listen(self, backlog: i32) -> Result<Vec<Vec<Listener>>, NotBound> {
        // Another server may have begun to listen meanwhile.
        for &address in self.addresses.iter().filter(|address| !self.inherited.contains(address)) {
            claim(address, Reach::of(address, &self.addresses)).map_err(|error| (address, error))?;
        }
        for listener in self.listeners.iter().flatten() {
            let listening = rustix::net::listen(&listener.socket, backlog);
            listening.map_err(|error| (listener.address(), error.into()))?;
        }
        Ok(self.listeners)
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
fn claim(address: SocketAddr, reach: Reach) -> io::Result<SocketAddr> {
    let socket = open(address, reach)?;
    rustix::net::bind(&socket, &address)?;
    bound_to(&socket)
}

fn share(address: SocketAddr, reach: Reach) -> io::Result<OwnedFd> {
    let socket = open(address, reach)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    // Accepted sockets inherit it: frames are coalesced by us, the kernel must not wait for more.
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn open(address: SocketAddr, reach: Reach) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Connections of an earlier server that still linger must not keep this one from starting.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        sockopt::set_ipv6_v6only(&socket, reach == Reach::Ipv6Only)?;
    }
    Ok(socket)
}

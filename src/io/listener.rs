//! Listening sockets: one for each shard and address, so that the kernel spreads connections and no shard
//! hands one to another.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Listening sockets.
pub struct Bound {
    /// Element `i` is for shard `i`: one socket for each address.
    pub listeners: Vec<Vec<OwnedFd>>,
    /// The addresses as they came to be.
    pub addresses: Vec<SocketAddr>,
}

/// Binds `shards` sockets to each of `addresses`; port 0 takes a free port, the same for all.
///
/// # Errors
/// The address that failed and why, such as a port in use.
pub fn bind(addresses: &[SocketAddr], shards: usize, backlog: i32) -> Result<Bound, (SocketAddr, io::Error)> {
    let mut listeners: Vec<Vec<OwnedFd>> = (0..shards).map(|_| Vec::new()).collect();
    let mut bound = Vec::new();
    for &wanted in addresses {
        // Shards share the port among themselves; sharing it with another server would split its clients.
        let address = claim(wanted).map_err(|error| (wanted, error))?;
        for listeners in &mut listeners {
            listeners.push(listen(address, backlog).map_err(|error| (address, error))?);
        }
        bound.push(address);
    }
    Ok(Bound { listeners, addresses: bound })
}

/// Makes sure that nobody else listens there. Returns the address with its port.
fn claim(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = open(address)?;
    rustix::net::bind(&socket, &address)?;
    let bound = rustix::net::getsockname(&socket)?;
    Ok(SocketAddr::try_from(bound)?)
}

fn listen(address: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let socket = open(address)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    // Accepted sockets inherit it: frames are coalesced by us, the kernel must not wait for more.
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket)
}

fn open(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Connections of an earlier server that still linger must not keep this one from starting.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}

//! What the driver knows of each connection: its socket, and what is under way on it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::gather::Gather;
use super::operation::same_generation;
use crate::mesh::ConnectionId;

/// The socket of one connection.
pub struct Socket {
    fd: OwnedFd,
    generation: u32,
    /// A receive is armed.
    pub receiving: bool,
    /// The shard wants what arrives.
    pub wanted: bool,
    /// Receives into one buffer before there is a multishot receive again, which takes dozens before it can be stopped.
    pub one_by_one: u8,
    /// A send is under way; with several pieces, here they are.
    pub sending: bool,
    pub gather: Option<Box<Gather>>,
    /// Closed as soon as nothing is under way.
    pub closing: bool,
}

impl Socket {
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub fn is_quiet(&self) -> bool {
        !self.receiving && !self.sending
    }
}

/// Receives into one buffer with which a connection begins, its request among them, before it is trusted not to flood.
pub const RECEIVES_AT_FIRST: u8 = 4;
/// Slots of one chunk. One array of all would double by copying, and leave the old one behind.
const CHUNK: usize = 256;

/// Sockets by slot, the same slots as the shard's connections have.
#[derive(Default)]
pub struct Sockets {
    chunks: Vec<Box<[Option<Socket>]>>,
}

impl Sockets {
    pub fn insert(&mut self, id: ConnectionId, fd: OwnedFd) {
        let index = id.index as usize;
        while self.chunks.len() <= index / CHUNK {
            self.chunks.push((0..CHUNK).map(|_| None).collect());
        }
        self.chunks[index / CHUNK][index % CHUNK] = Some(Socket {
            fd,
            generation: id.generation,
            receiving: false,
            wanted: true,
            one_by_one: RECEIVES_AT_FIRST,
            sending: false,
            gather: None,
            closing: false,
        });
    }

    /// The socket that `id` names, as an operation carries it, and the connection's whole name.
    pub fn find(&mut self, id: ConnectionId) -> Option<(ConnectionId, &mut Socket)> {
        let socket = self.slot(id.index)?.as_mut()?;
        let whole = ConnectionId { index: id.index, generation: socket.generation };
        same_generation(id.generation, socket.generation).then_some((whole, socket))
    }

    /// The name of the connection in this slot.
    #[cfg(test)]
    pub fn whole(&self, index: u32) -> Option<ConnectionId> {
        let socket = self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)?.as_ref()?;
        Some(ConnectionId { index, generation: socket.generation })
    }

    /// Closes the socket of a connection that is whole.
    pub fn remove(&mut self, id: ConnectionId) {
        if let Some(slot) = self.slot(id.index) {
            *slot = None;
        }
    }

    fn slot(&mut self, index: u32) -> Option<&mut Option<Socket>> {
        let index = index as usize;
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }
}

/// The address of the client, without which it cannot be counted.
pub fn peer_address(socket: &OwnedFd) -> Result<IpAddr, Errno> {
    let address = rustix::net::getpeername(socket)?.ok_or(Errno::NOTCONN)?;
    Ok(SocketAddr::try_from(address)?.ip())
}

//! One connection of the load: it never blocks, and reads as fast or as slowly as its part asks.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with, sockopt};

use super::heard::{Heard, Speaks};
use super::segment;
use crate::fleet::Target;
use crate::frame::{self, Kind};

/// Bytes that are sent over and over: shared, so that a flood of large messages costs the load no copy of its own.
pub type Bytes = Rc<[u8]>;

/// Bytes one connection may send or read in a turn, so that one does not keep the others waiting.
const SENT_A_TURN_MAX: usize = 1 << 20;
const READ_A_TURN_MAX: usize = 256 << 10;
/// Receive buffer of one that reads slowly: what it does not read is to wait in the server, not in the kernel.
const SLOW_RECEIVE_BYTES: usize = 4 << 10;
/// A key of a WebSocket handshake is any 16 bytes; nobody checks the answer to this one.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAA==";

/// How it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    All,
    Nothing,
    /// `bytes` each time that `every_ns` have passed.
    Paced {
        bytes: usize,
        every_ns: u64,
    },
}

impl Reading {
    /// In steps of 20 ms.
    pub fn bytes_per_second(bytes: usize) -> Self {
        Self::Paced { bytes: bytes / 50, every_ns: 20_000_000 }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub speaks: Speaks,
    pub reading: Reading,
    /// Last byte of its own address, `127.0.0.x`; `None`: the kernel's choice.
    pub source: Option<u8>,
}

impl Part {
    pub const NATIVE: Self = Self { speaks: Speaks::Native, reading: Reading::All, source: None };
    pub const SYNCKIT: Self = Self { speaks: Speaks::SyncKit, reading: Reading::All, source: None };

    pub fn reading(self, reading: Reading) -> Self {
        Self { reading, ..self }
    }
}

pub struct Peer {
    stream: TcpStream,
    part: Part,
    outgoing: VecDeque<Bytes>,
    /// Bytes of the first of them that have left.
    gone_bytes: usize,
    pub outgoing_bytes: usize,
    pub heard: Heard,
    /// Requests that want an answer.
    pub asked: u64,
    /// Of one that is paced: what it may read now, and when it may read more.
    may_read: usize,
    may_read_more_ns: u64,
}

/// What became of a peer in a turn.
pub enum Moved {
    /// Bytes sent and read.
    Bytes(usize, usize),
    Ended,
}

impl Peer {
    /// # Errors
    /// What the kernel says; that nobody listens may show only later, as an end.
    pub fn connect(target: &Target, part: Part) -> io::Result<Self> {
        let family = if target.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        if part.reading != Reading::All {
            sockopt::set_socket_recv_buffer_size(&socket, SLOW_RECEIVE_BYTES)?;
            segment::keep_small(socket.as_fd())?;
        }
        if let Some(last) = part.source.filter(|_| target.address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST)) {
            bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
        }
        match connect(&socket, &target.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        sockopt::set_tcp_nodelay(&socket, true)?;
        let mut peer = Self {
            stream: TcpStream::from(socket),
            part,
            outgoing: VecDeque::new(),
            gone_bytes: 0,
            outgoing_bytes: 0,
            heard: Heard::new(part.speaks),
            asked: 0,
            may_read: 0,
            may_read_more_ns: 0,
        };
        let path = match part.speaks {
            Speaks::Native => target.path.as_str(),
            Speaks::SyncKit => crate::dialect::synckit::PATH,
            Speaks::Http | Speaks::Nothing => return Ok(peer),
        };
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            target.host
        );
        peer.queue(&Bytes::from(head.into_bytes()));
        Ok(peer)
    }

    pub fn part(&self) -> Part {
        self.part
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn queue(&mut self, bytes: &Bytes) {
        self.outgoing_bytes += bytes.len();
        self.outgoing.push_back(Rc::clone(bytes));
    }

    pub fn wants_to_read(&mut self, now: u64) -> bool {
        match self.part.reading {
            Reading::All => true,
            // Until it is open it reads: it has nothing to be slow with yet.
            _ if !self.heard.is_open => true,
            Reading::Nothing => false,
            Reading::Paced { bytes, every_ns } => {
                if now >= self.may_read_more_ns {
                    self.may_read_more_ns = now + every_ns;
                    self.may_read = bytes;
                }
                self.may_read > 0
            }
        }
    }

    pub fn wants_to_send(&self) -> bool {
        self.outgoing_bytes > 0
    }

    /// Sends and reads what can be without waiting. `scratch`: where it reads to.
    pub fn transfer(&mut self, is_readable: bool, scratch: &mut [u8]) -> Moved {
        let sent = match self.send_some() {
            Ok(sent) => sent,
            Err(_) => return Moved::Ended,
        };
        let mut read = 0;
        while is_readable && read < READ_A_TURN_MAX {
            let is_slow = self.heard.is_open && self.part.reading != Reading::All;
            let room = if is_slow { self.may_read.min(scratch.len()) } else { scratch.len() };
            if room == 0 {
                break;
            }
            match (&self.stream).read(&mut scratch[..room]) {
                Ok(0) => return Moved::Ended,
                Ok(bytes) => {
                    read += bytes;
                    if is_slow {
                        self.may_read -= bytes;
                    }
                    self.heard.feed(&scratch[..bytes]);
                    if bytes < room {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Moved::Ended,
            }
        }
        for _ in 0..std::mem::take(&mut self.heard.pings) {
            let mut pong = Vec::new();
            frame::encode(&mut pong, Kind::Pong, [0; 4], b"");
            self.queue(&Bytes::from(pong));
        }
        if self.heard.is_refused { Moved::Ended } else { Moved::Bytes(sent, read) }
    }

    fn send_some(&mut self) -> io::Result<usize> {
        let mut sent = 0;
        while sent < SENT_A_TURN_MAX
            && let Some(first) = self.outgoing.front()
        {
            match (&self.stream).write(&first[self.gone_bytes..]) {
                Ok(bytes) => {
                    sent += bytes;
                    self.gone_bytes += bytes;
                    if self.gone_bytes == first.len() {
                        self.gone_bytes = 0;
                        self.outgoing.pop_front();
                    }
                }
                // The connection is not there yet, or its buffer is full.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.outgoing_bytes -= sent;
        Ok(sent)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Thousands come and go: no port is to linger in TIME_WAIT. Where it is refused, some do.
        let _ = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::clock::now_ns;

    /// Goal: a slow reader takes no more than its pace lets it, and one that reads all takes all. Method: a listener that
    /// has upgraded them has far more for each than the pace gives.
    #[test]
    fn paced_peer_reads_no_more_than_its_pace() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::loopback(listener.local_addr().unwrap());
        let pace = Reading::Paced { bytes: 1000, every_ns: 1_000_000_000 };
        for (reading, bytes_max) in [(pace, 1000), (Reading::Nothing, 0), (Reading::All, 100_000)] {
            let mut peer = Peer::connect(&target, Part::SYNCKIT.reading(reading)).unwrap();
            let mut scratch = vec![0; 64 << 10];
            let (mut accepted, _) = listener.accept().unwrap();
            accepted.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").unwrap();
            while !peer.heard.is_open {
                assert!(peer.wants_to_read(now_ns()), "until it is open it reads");
                assert!(matches!(peer.transfer(true, &mut scratch), Moved::Bytes(..)));
            }
            let sender = std::thread::spawn(move || {
                accepted.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
                let _ = accepted.write_all(&[0; 100_000]);
                std::thread::sleep(Duration::from_millis(50));
            });
            let (mut read, began) = (0, now_ns());
            while now_ns() < began + 140_000_000 {
                let may_read = peer.wants_to_read(now_ns());
                if let Moved::Bytes(_, bytes) = peer.transfer(may_read, &mut scratch) {
                    read += bytes;
                }
            }
            sender.join().unwrap();
            assert_eq!(read, bytes_max, "{reading:?}");
        }
    }
}

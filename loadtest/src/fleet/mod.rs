//! All connections of the load, on one ring and one thread.
//!
//! A connection is called by its index, from 0 in the order of opening; it keeps it when it reconnects. A handler
//! sees what arrives and answers over the [`Wire`]; nothing blocks but the one wait of the turn.

mod inbound;
mod target;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use crate::clock::now_ns;
use crate::dialect::Dialect;
use crate::failure::Failure;
use crate::frame::{self, Kind};
use crate::resp;
use crate::ring::{Event, Ring, SocketId};
pub use inbound::Framing;
use inbound::{Arrival, Inbound};
pub use target::{Secured, Target};

/// Connections that may wait for their upgrade at once: well below the accept queue of any listener.
const CONNECTING_MAX: usize = 256;
/// How long the peers may take to answer our close frames before we hang up.
const GOODBYE_NS: u64 = 1_000_000_000;
/// Wait of one turn while nothing else is due.
const TURN: Duration = Duration::from_millis(50);

/// What a scenario does with what arrives.
pub trait Handler {
    /// The connection has been greeted and may be used.
    ///
    /// # Errors
    /// Whatever ends the run.
    fn opened(&mut self, _wire: &mut Wire<'_>, _from: usize, _now: u64) -> Result<(), Failure> {
        Ok(())
    }

    /// # Errors
    /// Whatever ends the run: a message that is not the one owed.
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, message: &[u8], now: u64) -> Result<(), Failure>;
}

pub struct Fleet {
    ring: Ring,
    target: Target,
    inbound: Vec<Inbound>,
    lines: Lines,
    goodbye: bool,
}

/// The sending side of all connections.
struct Lines {
    lines: Vec<Line>,
    /// Connections that wait to be started, and how many are under way.
    starts: VecDeque<usize>,
    connecting: usize,
}

struct Line {
    socket: Option<SocketId>,
    framing: Framing,
    /// First byte to the floor; of no meaning to others.
    role: u8,
    mask: [u8; 4],
    /// With TLS: what the client keeps over all its connections.
    client: Option<Arc<ClientConfig>>,
}

/// What a handler may do to the connections.
pub struct Wire<'a> {
    ring: &'a mut Ring,
    lines: &'a mut Lines,
}

impl Fleet {
    /// # Errors
    /// When the kernel gives us no ring.
    pub fn new(target: &Target) -> Result<Self, Failure> {
        let ring = Ring::new(0).map_err(|error| {
            Failure::Setup(format!("no io_uring here ({error}); Linux 6.1 or newer is needed"))
        })?;
        let lines = Lines { lines: Vec::new(), starts: VecDeque::new(), connecting: 0 };
        Ok(Self { ring, target: target.clone(), inbound: Vec::new(), lines, goodbye: false })
    }

    /// Opens `count` connections that speak `dialect`, and waits until all of them may be used.
    ///
    /// # Errors
    /// [`Failure::Timeout`] when no connection makes progress for `timeout_ns`, or why one was refused.
    pub fn open(&mut self, count: usize, dialect: Dialect, timeout_ns: u64) -> Result<Range<usize>, Failure> {
        self.open_as(count, Framing::WebSocket(dialect), 0, timeout_ns)
    }

    /// Opens `count` connections to the floor, which learns from `role` what they are.
    ///
    /// # Errors
    /// As [`Fleet::open`].
    pub fn open_as(
        &mut self,
        count: usize,
        framing: Framing,
        role: u8,
        timeout_ns: u64,
    ) -> Result<Range<usize>, Failure> {
        let range = self.enlist(count, framing, role);
        self.lines.starts.extend(range.clone());
        let mut opened = Opened { count: 0 };
        let (mut last_count, mut last_progress) = (0, now_ns());
        while opened.count < count {
            self.turn(TURN, &mut opened)?;
            if opened.count > last_count {
                (last_count, last_progress) = (opened.count, now_ns());
            } else if now_ns() - last_progress > timeout_ns {
                return Err(Failure::Timeout(format!("{} of {count} connections were opened", opened.count)));
            }
        }
        Ok(range)
    }

    /// Adds `count` connections that [`Wire::reconnect`] is to start: what they are sent first is for a handler.
    pub fn enlist(&mut self, count: usize, framing: Framing, role: u8) -> Range<usize> {
        let first = self.inbound.len();
        for _ in 0..count {
            self.inbound.push(Inbound::new(framing, String::new()));
            self.lines.lines.push(Line { socket: None, framing, role, mask: [0; 4], client: None });
        }
        first..first + count
    }

    /// Waits up to `wait` for something to arrive, and shows it.
    ///
    /// # Errors
    /// What the handler returns, or [`Failure::Closed`] for a connection that ended unasked.
    pub fn turn(&mut self, wait: Duration, handler: &mut impl Handler) -> Result<(), Failure> {
        self.start_some()?;
        let Self { ring, inbound, lines, goodbye, .. } = self;
        ring.turn(Some(wait), |ring, event| match event {
            Event::Received { label, bytes, .. } => {
                let from = label as usize;
                let now = now_ns();
                let mut wire = Wire { ring, lines };
                inbound[from].feed(bytes, |arrival| wire.arrived(from, arrival, now, handler, *goodbye))
            }
            Event::Ended { label, .. } if *goodbye => {
                lines.lines[label as usize].socket = None;
                Ok(())
            }
            Event::Ended { label, errno } => Err(ended(label, errno)),
            Event::Accepted(_) => Ok(()),
        })
    }

    /// Has these connections, which from here on only receive, acknowledge as they read.
    ///
    /// A socket that has answered once delays its acknowledgements; over loopback the second packet then makes the
    /// kernel write one on the core of whoever sent it, where it is taken for a cost of the server. The floor's
    /// subscribers have never answered, so without this the two could not be compared.
    pub fn acknowledge_on_read(&mut self, connections: Range<usize>) {
        for index in connections {
            let Some(socket) = self.lines.lines[index].socket else { continue };
            if let Some(fd) = self.ring.sockets().fd_of(socket) {
                // It is a hint; where it is refused, figures are only a little worse.
                let _ = rustix::net::sockopt::set_tcp_quickack(fd, true);
            }
        }
    }

    pub fn wire(&mut self) -> Wire<'_> {
        Wire { ring: &mut self.ring, lines: &mut self.lines }
    }

    /// Says goodbye properly: close frames, and a moment for the server to answer them.
    pub fn close(mut self) {
        self.goodbye = true;
        for index in 0..self.lines.lines.len() {
            self.wire().goodbye(index);
        }
        let deadline = now_ns() + GOODBYE_NS;
        let mut silent = Opened { count: 0 };
        while self.lines.lines.iter().any(|line| line.socket.is_some()) && now_ns() < deadline {
            if self.turn(TURN, &mut silent).is_err() {
                return;
            }
        }
    }

    fn start_some(&mut self) -> Result<(), Failure> {
        while self.lines.connecting < CONNECTING_MAX
            && let Some(index) = self.lines.starts.pop_front()
        {
            self.start(index)?;
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> Result<(), Failure> {
        let fd = self.target.connect(index).map_err(|error| {
            let what = format!("connection {index} to {} failed: {error}", self.target.address);
            // Nobody there at all is a matter of setup; a server that stops accepting is not.
            if index == 0 { Failure::Setup(what) } else { Failure::Closed(what) }
        })?;
        let line = &mut self.lines.lines[index];
        let tls = match &self.target.tls {
            Some(Secured { tls, .. }) => {
                Some(tls.begin(line.client.get_or_insert_with(|| tls.of_one_client()))?)
            }
            None => None,
        };
        let socket = self.ring.add(fd, index as u32, tls)?;
        line.socket = Some(socket);
        self.lines.connecting += 1;
        let out = self.ring.sockets().outgoing(socket);
        let Framing::WebSocket(dialect) = line.framing else {
            match line.framing {
                Framing::Resp => resp::encode(out, &[b"PING"]),
                _ => out.push(line.role),
            }
            self.inbound[index] = Inbound::new(line.framing, String::new());
            return Ok(());
        };
        let key = generate_key();
        // The mask may be any number; four bytes of the random key are one.
        line.mask = *key.as_bytes().first_chunk().expect("a key has 24 characters");
        let (host, path) = (&self.target.host, dialect.path(&self.target.path));
        let token = self.target.token(index);
        let authorization =
            token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             {authorization}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        out.extend_from_slice(head.as_bytes());
        let inbound = Inbound::new(line.framing, derive_accept_key(key.as_bytes()));
        self.inbound[index] = if token.is_some() { inbound.with_token() } else { inbound };
        Ok(())
    }
}

impl Wire<'_> {
    /// Queues one message, in a frame as its dialect wants it; it leaves at the end of the turn.
    pub fn send(&mut self, to: usize, payload: &[u8]) {
        if let Framing::WebSocket(dialect) = self.lines.lines[to].framing {
            self.frame(to, dialect.frame_kind(), payload);
        }
    }

    /// Queues bytes as they are, for the floor and for Redis.
    pub fn fixed(&mut self, to: usize, payload: &[u8]) {
        let Some(socket) = self.lines.lines[to].socket else { return };
        self.ring.sockets().outgoing(socket).extend_from_slice(payload);
    }

    /// Loses the connection, as a client does that falls off the network.
    pub fn drop_connection(&mut self, index: usize) {
        if let Some(socket) = self.lines.lines[index].socket.take() {
            self.ring.close(socket);
        }
    }

    /// Connects again, in its turn; [`Handler::opened`] tells when it is done.
    pub fn reconnect(&mut self, index: usize) {
        self.drop_connection(index);
        self.lines.starts.push_back(index);
    }

    fn frame(&mut self, to: usize, kind: Kind, payload: &[u8]) {
        let line = &self.lines.lines[to];
        let Some(socket) = line.socket else { return };
        frame::encode(self.ring.sockets().outgoing(socket), kind, line.mask, payload);
    }

    fn goodbye(&mut self, index: usize) {
        if matches!(self.lines.lines[index].framing, Framing::WebSocket(_)) {
            self.frame(index, Kind::Close, &1000_u16.to_be_bytes());
        } else {
            self.drop_connection(index);
        }
    }

    fn arrived(
        &mut self,
        from: usize,
        arrival: Arrival<'_>,
        now: u64,
        handler: &mut impl Handler,
        goodbye: bool,
    ) -> Result<(), Failure> {
        match arrival {
            Arrival::Opened => {
                self.lines.connecting -= 1;
                handler.opened(self, from, now)
            }
            Arrival::Message(message) => handler.message(self, from, message, now),
            Arrival::Asked(answer) => {
                self.send(from, answer);
                Ok(())
            }
            Arrival::Ping(payload) => {
                self.frame(from, Kind::Pong, payload);
                Ok(())
            }
            Arrival::Close(..) if goodbye => {
                self.drop_connection(from);
                Ok(())
            }
            Arrival::Close(code, reason) => {
                Err(Failure::Closed(format!("connection {from}: the server closed it with {code} {reason}")))
            }
        }
    }
}

fn ended(label: u32, errno: i32) -> Failure {
    let why = match errno {
        0 => "the server ended it without a close frame".to_owned(),
        errno => std::io::Error::from_raw_os_error(errno).to_string(),
    };
    Failure::Closed(format!("connection {label}: {why}"))
}

/// Counts greetings; other messages are not expected yet, and those of a goodbye no longer matter.
struct Opened {
    count: usize,
}

impl Handler for Opened {
    fn opened(&mut self, _wire: &mut Wire<'_>, _from: usize, _now: u64) -> Result<(), Failure> {
        self.count += 1;
        Ok(())
    }

    fn message(
        &mut self,
        _wire: &mut Wire<'_>,
        _from: usize,
        _message: &[u8],
        _now: u64,
    ) -> Result<(), Failure> {
        Ok(())
    }
}

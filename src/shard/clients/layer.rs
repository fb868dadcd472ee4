//! What stands between the bytes of a socket and those of HTTP and WebSocket, where anything does.
//!
//! ```text
//!  a trusted proxy, or a port of TLS ─► Awaiting ─┬─► Direct        plain, as on most connections from the start
//!                                                 ├─► Tls           records, once the first byte is one of a handshake
//!                                                 └─► PlainOnTls    told to come with TLS
//! ```
//! Invariant: the outbox holds plaintext, and counts it as sent once all records that it is in are. What is plain pays one look at
//! a byte for all this.

use std::collections::VecDeque;

use super::connection::{Connection, Phase};
use super::unread::Unread;
use super::{Clients, tenant};
use crate::limits::PARSE_PADDING_BYTES;
use crate::mesh::ConnectionId;
use crate::metrics::TlsVersion;
use crate::shard::outbox::BufferPool;
use crate::shard::turn::Turn;
use crate::shard::{Transport, work};
use crate::tls::{Broken, Current, Received, Session};

/// Bytes of space for plaintext that are kept for the next records.
const PLAIN_KEPT_BYTES_MAX: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub enum Layer {
    /// Nothing: bytes are HTTP, then WebSocket.
    Direct,
    /// Its first bytes say what it is.
    Awaiting(Box<Awaiting>),
    Tls(Box<Secured>),
    /// It is plain where TLS is spoken.
    PlainOnTls,
}

/// A connection whose first bytes are awaited.
#[derive(Debug)]
pub struct Awaiting {
    pub received: Unread,
    /// Whether a header of the PROXY protocol may come first, and whether it must.
    pub takes_header: bool,
    pub needs_header: bool,
    /// What follows it.
    pub transport: Transport,
}

/// A connection with TLS.
pub struct Secured {
    session: Session,
    may_sign_slowly: bool,
    /// In the line of those whose handshake goes on once a turn has work for it.
    is_in_line: bool,
    /// Bytes of buffers that were counted of it.
    counted_bytes: usize,
}

impl std::fmt::Debug for Secured {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Secured").field("version", &self.session.version()).finish_non_exhaustive()
    }
}

/// What all connections with TLS of a shard share.
pub(super) struct Secure {
    current: Option<Current>,
    /// Bytes of buffers of all of them.
    bytes: usize,
    /// Connections whose handshake goes on, oldest first, and some that are gone.
    line: VecDeque<ConnectionId>,
    /// Space for one record, and for what was in those that came at once.
    gathered: Vec<u8>,
    plain: Vec<u8>,
}

impl Secure {
    pub fn new(current: Option<Current>) -> Self {
        Self { current, bytes: 0, line: VecDeque::new(), gathered: Vec::new(), plain: Vec::new() }
    }

    fn recount(&mut self, secured: &mut Secured) {
        let held = secured.session.held_bytes();
        self.bytes = self.bytes + held - secured.counted_bytes;
        secured.counted_bytes = held;
    }
}

/// What became of records.
pub enum Opened {
    /// They wait until a turn has work for a handshake.
    Later,
    /// What was in them is in the space that [`Clients::take_plain`] gives.
    Now(Received),
    Broken(Broken),
}

// What a connection has to send, through whatever stands between.
impl Connection {
    /// Its session, where it speaks TLS.
    #[inline]
    fn session(&self) -> Option<&Session> {
        match &self.layer {
            Layer::Tls(secured) => Some(&secured.session),
            _ => None,
        }
    }

    /// Whether the kernel is sending for it.
    #[inline]
    pub fn is_sending(&self) -> bool {
        self.outbox.is_sending() || self.session().is_some_and(Session::is_flying)
    }

    /// Whether what waits can be sent: for TLS, once hands are shaken.
    #[inline]
    pub fn takes_plaintext(&self) -> bool {
        match &self.layer {
            Layer::Direct | Layer::PlainOnTls => true,
            Layer::Tls(secured) => secured.session.takes_plaintext(),
            Layer::Awaiting(_) => false,
        }
    }

    /// Whether anything waits that could be sent.
    #[inline]
    pub fn has_to_send(&self) -> bool {
        self.outbox.is_filling() && self.takes_plaintext()
            || self.session().is_some_and(Session::has_outgoing)
    }

    /// What the kernel has yet to take of what it is sending, in order.
    pub fn in_flight(&self) -> impl Iterator<Item = &[u8]> {
        let flight = self.session().and_then(Session::in_flight);
        let pieces = flight.is_none().then(|| self.outbox.in_flight());
        flight.into_iter().chain(pieces.into_iter().flatten())
    }

    /// What it has begun to say with TLS: whether its handshake is over, and whether it has said that it sends nothing more.
    pub fn tls_progress(&self) -> Option<(bool, bool)> {
        self.session().map(|session| (session.is_established(), session.is_ended()))
    }

    /// Whether its handshake was begun and never came to an end of its own.
    pub fn has_abandoned_handshake(&self) -> bool {
        self.session().is_some_and(|session| !session.is_established() && !session.is_broken())
    }

    /// The version of TLS that it speaks, and whether an earlier session goes on.
    pub fn tls_version(&self) -> Option<(TlsVersion, bool)> {
        self.session()?.version()
    }
}

// What comes in.
impl Clients {
    /// What stands before the bytes of a connection that is accepted where `transport` is spoken.
    pub fn layer_of(transport: Transport, (takes_header, needs_header): (bool, bool)) -> Layer {
        if transport == Transport::Plain && !takes_header {
            return Layer::Direct;
        }
        let received = Unread::default();
        Layer::Awaiting(Box::new(Awaiting { received, takes_header, needs_header, transport }))
    }

    /// Begins TLS for a connection, with what is offered now.
    ///
    /// # Errors
    /// [`Broken`] if there are no random numbers to be had.
    pub fn begin_tls(&mut self, id: ConnectionId) -> Result<(), Broken> {
        let Some(current) = &self.secure.current else { return Ok(()) };
        let offer = current.offer();
        let session = Session::new(std::sync::Arc::clone(&offer.config))?;
        if let Some(connection) = tenant(&mut self.table, id) {
            let may_sign_slowly = offer.may_sign_slowly;
            let secured = Secured { session, may_sign_slowly, is_in_line: false, counted_bytes: 0 };
            connection.layer = Layer::Tls(Box::new(secured));
        }
        Ok(())
    }

    /// Opens the records at hand, which are overwritten, behind those that were kept. Where a handshake is under way it waits
    /// for a turn with work for it, as it takes some 100 µs and a storm of clients brings thousands, unless it `is_due`.
    pub fn open_records(
        &mut self,
        turn: &mut Turn,
        id: ConnectionId,
        records: &mut [u8],
        is_due: bool,
    ) -> Opened {
        let Self { table, secure, .. } = self;
        let Some(connection) = tenant(table, id).filter(|connection| connection.is_connected()) else {
            return Opened::Later;
        };
        // Also in a part of a record it shows that it lives.
        connection.heard_at_ms = turn.now.timer_ms();
        connection.pinged = false;
        let Layer::Tls(secured) = &mut connection.layer else { return Opened::Later };
        if is_due {
            secured.is_in_line = false;
        } else if !secured.session.is_established() && (secured.is_in_line || turn.is_spent()) {
            if !std::mem::replace(&mut secured.is_in_line, true) {
                secure.line.push_back(id);
            }
            let kept = secured.session.keep(records);
            secure.recount(secured);
            return kept.map_or_else(Opened::Broken, |()| Opened::Later);
        }
        secure.plain.clear();
        let outcome = secured.session.receive(records, &mut secure.plain);
        turn.spend(work::RECORD + work::sealed(records.len()));
        secure.recount(secured);
        let has_outgoing = secured.session.has_outgoing();
        let units = match outcome {
            Ok(received) if received.is_established => work::HANDSHAKE_END,
            Ok(received) if received.has_shaken && !secured.session.is_established() => {
                if secured.may_sign_slowly { work::SLOW_HANDSHAKE } else { work::HANDSHAKE }
            }
            _ => 0,
        };
        turn.spend(units);
        if has_outgoing {
            connection.urgent = true;
            self.mark(id, turn.now);
        }
        match outcome {
            Ok(received) => {
                if received.is_established {
                    // What was queued before could not be sent.
                    self.mark(id, turn.now);
                }
                Opened::Now(received)
            }
            Err(broken) => Opened::Broken(broken),
        }
    }

    /// The plaintext of what was opened last, with padding behind it, and how long it is; to be given back.
    pub fn take_plain(&mut self) -> (Vec<u8>, usize) {
        let mut plain = std::mem::take(&mut self.secure.plain);
        let len = plain.len();
        plain.resize(len + PARSE_PADDING_BYTES, 0);
        (plain, len)
    }

    pub fn give_plain_back(&mut self, plain: Vec<u8>) {
        if plain.capacity() <= PLAIN_KEPT_BYTES_MAX {
            self.secure.plain = plain;
        }
    }

    /// Takes the connection whose handshake has waited longest.
    pub fn next_handshake(&mut self) -> Option<ConnectionId> {
        self.secure.line.pop_front()
    }

    /// How many handshakes wait.
    pub fn handshakes_in_line(&self) -> usize {
        self.secure.line.len()
    }

    /// Bytes of buffers of connections with TLS.
    pub const fn tls_bytes(&self) -> usize {
        self.secure.bytes
    }

    /// The same, counted from scratch.
    pub fn recounted_tls_bytes(&self) -> usize {
        self.iter().filter_map(Connection::session).map(Session::held_bytes).sum()
    }

    /// How often certificates were read again, and how often such could not be used; `None` without TLS.
    pub fn tls_reloads(&self) -> Option<(u64, u64)> {
        self.secure.current.as_ref().map(Current::reloads)
    }
}

// What goes out.
impl Clients {
    /// Begins the next flight of a connection with TLS, of what its outbox has in flight; whether there is anything to send.
    pub(super) fn take_off(
        turn: &mut Turn,
        secure: &mut Secure,
        pool: &mut BufferPool,
        connection: &mut Connection,
    ) -> bool {
        let Layer::Tls(secured) = &mut connection.layer else { return true };
        let is_last =
            connection.phase == Phase::Flushing && !connection.is_leaving && !connection.outbox.is_filling();
        let pieces = connection.outbox.in_flight();
        secured.session.take_off(pool.take(), pieces, &mut secure.gathered, is_last);
        let bytes = secured.session.in_flight().map_or(0, <[u8]>::len);
        turn.spend(work::RECORD + work::sealed(bytes));
        secure.recount(secured);
        bytes > 0
    }

    /// The kernel took `bytes` of a flight; how many bytes of plaintext are sent with that, once it took all.
    pub(super) fn landed(
        secure: &mut Secure,
        pool: &mut BufferPool,
        secured: &mut Secured,
        bytes: usize,
    ) -> Option<usize> {
        let (plain, buffer) = secured.session.sent(bytes)?;
        pool.give(buffer);
        secure.recount(secured);
        Some(plain)
    }

    /// The session of a connection is broken: nothing that waits can be sent any more, but an alert that says why.
    pub fn drop_plaintext(&mut self, id: ConnectionId) {
        let Some(connection) = tenant(&mut self.table, id) else { return };
        if let Layer::Tls(secured) = &mut connection.layer {
            // The kernel sends from the flight alone.
            secured.session.forget_plaintext();
            connection.outbox.clear(&mut self.pool);
        }
    }

    /// Has TLS say that we send nothing more; whether that is yet to be sent.
    pub(super) fn say_closed(&mut self, turn: &Turn, id: ConnectionId) -> bool {
        let Some(connection) = tenant(&mut self.table, id) else { return false };
        let Layer::Tls(secured) = &mut connection.layer else { return false };
        secured.session.close();
        self.secure.recount(secured);
        if !secured.session.has_outgoing() {
            return false;
        }
        connection.urgent = true;
        self.mark(id, turn.now);
        true
    }

    /// A connection is removed: its buffers are free.
    pub(super) fn forget_layer(&mut self, connection: &Connection) {
        if let Layer::Tls(secured) = &connection.layer {
            self.secure.bytes -= secured.counted_bytes;
        }
    }
}

//! The records of one connection.
//!
//! ```text
//!  bytes of the socket ─► decrypted where they lie ─► plaintext          rest of a record: `incoming`, none most of the time
//!  plaintext of the outbox ─► records of 16 KiB at most ─► `flight`      what the kernel sends; stays in place until it landed
//!  handshakes, tickets, alerts ─► `outgoing`                             goes first with the next flight
//! ```
//! Invariant: records leave in the order in which they were encrypted, and one flight is under way at a time. What is held is
//! bounded: [`TLS_INCOMING_BYTES_MAX`] of what came, and a flight of [`TLS_FLIGHT_BYTES_MAX`] of plaintext with what was to go
//! before it.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};

use crate::limits::{TLS_FLIGHT_BYTES_MAX, TLS_INCOMING_BYTES_MAX};
use crate::metrics::TlsVersion;

/// Bytes of plaintext in one record (RFC 8446 section 5.1).
pub(super) const RECORD_BYTES_MAX: usize = 16 << 10;
/// What a record adds to its plaintext, at most: header, nonce, type and tag.
pub(super) const RECORD_OVERHEAD: usize = 5 + 8 + 1 + 16;

/// What came of received bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Whether any whole message of a handshake was among them.
    pub has_shaken: bool,
    /// Whether the handshake is over since.
    pub is_established: bool,
    /// Whether the peer has said that it sends nothing more.
    pub is_ended: bool,
}

/// Why a session cannot go on. An alert may be in what is to be sent.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Broken {
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// No handshake needs so many bytes, and no record has them.
    #[error("too many bytes without a whole message")]
    TooLong,
}

/// See the module.
pub struct Session {
    tls: UnbufferedServerConnection,
    /// Received, and no whole record yet, or not looked at.
    incoming: Vec<u8>,
    /// Records that are to be sent.
    outgoing: Vec<u8>,
    flight: Flight,
    is_established: bool,
    is_ended: bool,
    is_closed: bool,
    is_broken: bool,
}

/// What the kernel is sending.
#[derive(Default)]
struct Flight {
    bytes: Vec<u8>,
    sent: usize,
    /// Bytes of plaintext in it.
    plain: usize,
}

impl Session {
    /// # Errors
    /// Of `rustls`, if it has no random numbers.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, Broken> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            flight: Flight::default(),
            is_established: false,
            is_ended: false,
            is_closed: false,
            is_broken: false,
        })
    }

    /// Whether plaintext can be sent: the handshake is over, and nothing is wrong.
    pub const fn takes_plaintext(&self) -> bool {
        self.is_established && !self.is_broken && !self.is_closed
    }

    pub const fn is_established(&self) -> bool {
        self.is_established
    }

    /// Whether the peer has said that it sends nothing more.
    pub const fn is_ended(&self) -> bool {
        self.is_ended
    }

    pub const fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// The version, once both have agreed on one, and whether an earlier session goes on.
    pub fn version(&self) -> Option<(TlsVersion, bool)> {
        let version = match self.tls.protocol_version()? {
            ProtocolVersion::TLSv1_3 => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        };
        Some((version, self.tls.handshake_kind() == Some(HandshakeKind::Resumed)))
    }

    /// Bytes of buffers that it holds, beside what `rustls` knows of the connection.
    pub fn held_bytes(&self) -> usize {
        self.incoming.capacity() + self.outgoing.capacity() + self.flight.bytes.capacity()
    }

    /// Keeps bytes that nobody may look at yet.
    ///
    /// # Errors
    /// [`Broken::TooLong`].
    pub fn keep(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.incoming.extend_from_slice(bytes);
        let kept = self.check_incoming();
        self.end_if_broken(kept)
    }

    /// A session that is broken goes on no more, and keeps nothing.
    fn end_if_broken<T>(&mut self, outcome: Result<T, Broken>) -> Result<T, Broken> {
        if outcome.is_err() {
            self.is_broken = true;
            self.incoming = Vec::new();
        }
        outcome
    }

    /// Takes what has come in, behind what was [kept](Self::keep), and appends what was in its records to `plain`. The
    /// bytes are overwritten.
    ///
    /// # Errors
    /// [`Broken`], after which nothing but what is [to be sent](Self::has_outgoing) is left to do.
    pub fn receive(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<Received, Broken> {
        let mut received = Received::default();
        if self.is_broken {
            return Ok(received);
        }
        let outcome = self.take_in(bytes, plain, &mut received);
        self.end_if_broken(outcome).map(|()| received)
    }

    fn take_in(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        received: &mut Received,
    ) -> Result<(), Broken> {
        if self.incoming.is_empty() {
            let used = self.process(bytes, plain, received)?;
            self.incoming.extend_from_slice(&bytes[used..]);
        } else {
            self.incoming.extend_from_slice(bytes);
            let mut incoming = std::mem::take(&mut self.incoming);
            let used = self.process(&mut incoming, plain, received)?;
            if used < incoming.len() {
                incoming.drain(..used);
                self.incoming = incoming;
            }
        }
        self.check_incoming()
    }

    fn check_incoming(&self) -> Result<(), Broken> {
        if self.incoming.len() <= TLS_INCOMING_BYTES_MAX { Ok(()) } else { Err(Broken::TooLong) }
    }

    /// Decrypts the whole records at the front of `buffer`; how many bytes of it are done with.
    fn process(
        &mut self,
        buffer: &mut [u8],
        plain: &mut Vec<u8>,
        received: &mut Received,
    ) -> Result<usize, Broken> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(&mut buffer[used..]);
            let mut is_done = false;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                // The offer takes none.
                Ok(ConnectionState::ReadEarlyData(mut early)) => {
                    while let Some(record) = early.next_record() {
                        discard += record?.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    received.has_shaken = true;
                    encode(&mut data, &mut self.outgoing);
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {
                    (self.is_ended, received.is_ended) = (true, true);
                }
                Ok(ConnectionState::WriteTraffic(_)) => {
                    received.is_established |= !std::mem::replace(&mut self.is_established, true);
                    received.has_shaken |= received.is_established;
                    is_done = true;
                }
                Ok(_) => is_done = true,
                Err(error) => {
                    used += discard;
                    // The alert that says so. It comes out before the next record is looked at, which none may be any more.
                    while self.tls.wants_write()
                        && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                            self.tls.process_tls_records(&mut buffer[used..]).state
                    {
                        encode(&mut data, &mut self.outgoing);
                    }
                    return Err(error.into());
                }
            }
            used += discard;
            if is_done {
                // What follows the peer's end means nothing.
                return Ok(if self.is_ended { buffer.len() } else { used });
            }
        }
    }

    /// Says that we send nothing more: the peer can tell the end from one that somebody else has made. Once.
    pub fn close(&mut self) {
        if !self.takes_plaintext() {
            return;
        }
        let Self { tls, incoming, outgoing, .. } = self;
        self.is_closed = true;
        with_traffic(tls, incoming, outgoing, |traffic, out| {
            append(out, RECORD_OVERHEAD + 2, |space| traffic.queue_close_notify(space)).is_ok()
        });
    }

    /// Whether anything is to be sent but plaintext.
    pub const fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub const fn is_flying(&self) -> bool {
        !self.flight.bytes.is_empty()
    }

    /// Begins a flight in `buffer`, which is empty: what is to be sent, then as much of `pieces` as
    /// [`TLS_FLIGHT_BYTES_MAX`] allows, in as few records as there can be, and with [`Self::close`] behind it if these
    /// are the `last` and all are in it. Short pieces are gathered in `gathered`, a record of space that any session may use.
    ///
    /// # Panics
    /// If one is under way.
    pub fn take_off<'a>(
        &mut self,
        mut buffer: Vec<u8>,
        pieces: impl Iterator<Item = &'a [u8]>,
        gathered: &mut Vec<u8>,
        is_last: bool,
    ) {
        assert!(!self.is_flying(), "one flight at a time");
        buffer.append(&mut std::mem::take(&mut self.outgoing));
        let mut plain = 0;
        if self.takes_plaintext() {
            let Self { tls, incoming, .. } = self;
            let mut is_all = false;
            let is_sealed = with_traffic(tls, incoming, &mut buffer, |traffic, out| {
                let mut seal = |plaintext: &[u8]| {
                    plain += plaintext.len();
                    let bytes =
                        plaintext.len() + plaintext.len().div_ceil(RECORD_BYTES_MAX) * RECORD_OVERHEAD;
                    append(out, bytes, |space| traffic.encrypt(plaintext, space))
                };
                match gather(pieces, gathered, &mut seal) {
                    Ok(all) => {
                        is_all = all;
                        true
                    }
                    Err(_) => false,
                }
            });
            if !is_sealed {
                // Of TLS 1.2, after more records than its keys are good for.
                self.is_broken = true;
            } else if is_last && is_all {
                self.close();
                buffer.append(&mut std::mem::take(&mut self.outgoing));
            }
        }
        self.flight = Flight { bytes: buffer, sent: 0, plain };
    }

    /// What the kernel has yet to take of the flight.
    pub fn in_flight(&self) -> Option<&[u8]> {
        self.is_flying().then(|| &self.flight.bytes[self.flight.sent..])
    }

    /// The kernel took `bytes` of the flight; once it has all: how many bytes of plaintext were in it, and its buffer.
    pub fn sent(&mut self, bytes: usize) -> Option<(usize, Vec<u8>)> {
        self.flight.sent += bytes;
        debug_assert!(self.flight.sent <= self.flight.bytes.len());
        if self.flight.sent < self.flight.bytes.len() {
            return None;
        }
        let Flight { bytes, plain, .. } = std::mem::take(&mut self.flight);
        Some((plain, bytes))
    }

    /// Whoever queued the plaintext of the flight no longer counts it.
    pub const fn forget_plaintext(&mut self) {
        self.flight.plain = 0;
    }
}

/// Hands `pieces` to `seal`, a record or several whole ones at a time, up to [`TLS_FLIGHT_BYTES_MAX`]; whether that was all.
fn gather<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    gathered: &mut Vec<u8>,
    seal: &mut impl FnMut(&[u8]) -> Result<(), EncryptError>,
) -> Result<bool, EncryptError> {
    let mut pieces = pieces.peekable();
    let mut room = TLS_FLIGHT_BYTES_MAX;
    gathered.clear();
    while let Some(piece) = pieces.next() {
        let mut piece = piece;
        let is_cut = piece.len() > room;
        if is_cut {
            piece = &piece[..room];
        }
        room -= piece.len();
        if !gathered.is_empty() {
            let (fills, rest) = piece.split_at(piece.len().min(RECORD_BYTES_MAX - gathered.len()));
            gathered.extend_from_slice(fills);
            piece = rest;
            if gathered.len() == RECORD_BYTES_MAX {
                seal(gathered)?;
                gathered.clear();
            }
        }
        if gathered.is_empty() {
            // Whole records are sealed where they lie, and so is what nothing follows.
            let is_last = is_cut || room == 0 || pieces.peek().is_none();
            let whole = if is_last { piece.len() } else { piece.len() - piece.len() % RECORD_BYTES_MAX };
            if whole > 0 {
                seal(&piece[..whole])?;
            }
            gathered.extend_from_slice(&piece[whole..]);
        }
        if is_cut || room == 0 {
            break;
        }
    }
    if !gathered.is_empty() {
        seal(gathered)?;
        gathered.clear();
    }
    Ok(pieces.peek().is_none() && room > 0)
}

/// Has `write` write what it encrypts behind what is to be sent before it; whether it did.
fn with_traffic(
    tls: &mut UnbufferedServerConnection,
    incoming: &mut [u8],
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut WriteTraffic<'_, rustls::server::ServerConnectionData>, &mut Vec<u8>) -> bool,
) -> bool {
    loop {
        // What is kept is no whole record, and it is the same bytes as before that `rustls` goes on with.
        match tls.process_tls_records(incoming).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => return write(&mut traffic, out),
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, out),
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            _ => return false,
        }
    }
}

fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let begin = out.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = data.encode(&mut [])
    {
        out.resize(begin + required_size, 0);
        let written = data.encode(&mut out[begin..]).unwrap_or(0);
        out.truncate(begin + written);
    }
}

/// Appends what `write` makes, for which so many bytes are enough as a rule.
fn append(
    out: &mut Vec<u8>,
    bytes: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), EncryptError> {
    let begin = out.len();
    out.resize(begin + bytes, 0);
    let written = match write(&mut out[begin..]) {
        // A new key may have to be announced before it.
        Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
            out.resize(begin + required_size, 0);
            write(&mut out[begin..])
        }
        written => written,
    };
    out.truncate(begin + *written.as_ref().unwrap_or(&0));
    written.map(drop)
}

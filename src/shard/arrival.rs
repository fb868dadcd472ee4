//! The bytes of a socket, through what stands before HTTP: a header of a proxy, TLS.

use std::net::IpAddr;
use std::sync::Arc;

use super::clients::{Clients, Connection, Layer, Opened, Phase};
use super::{Shard, Transport};
use crate::config::ProxyProtocol;
use crate::mesh::ConnectionId;
use crate::metrics::TlsFailure;
use crate::tls::Broken;
use crate::wire::Close;
use crate::wire::http::{self, is_trusted};
use crate::wire::proxy::{Beginning, beginning};

/// The first byte of a record of a handshake (RFC 8446 section 5.1), with which every client of TLS begins.
const HANDSHAKE: u8 = 22;

impl Shard {
    /// Bytes arrived: the first `len` of `padded`, whose rest, [`crate::limits::PARSE_PADDING_BYTES`], is slack.
    pub fn received(&mut self, id: ConnectionId, padded: &mut [u8], len: usize) {
        self.turn.metrics.bytes_received += len as u64;
        match self.clients.get(id).map(|connection| &connection.layer) {
            Some(Layer::Direct | Layer::PlainOnTls) => self.take_in(id, padded, len),
            Some(Layer::Tls(_)) => self.take_in_records(id, &mut padded[..len], false),
            Some(Layer::Awaiting(_)) => self.take_in_first(id, &padded[..len]),
            None => {}
        }
    }

    /// The layer of a connection that is accepted: a proxy that is trusted may say first whose it is.
    pub(super) fn first_layer(&self, transport: Transport, address: IpAddr) -> Layer {
        let config = &self.turn.config;
        let header = match config.proxy_protocol {
            ProxyProtocol::Off => (false, false),
            mode if is_trusted(address, &config.trusted_proxies) => (true, mode == ProxyProtocol::Require),
            _ => (false, false),
        };
        Clients::layer_of(transport, header)
    }

    /// Looks at the first bytes of a connection, and hands them on once they say what it is.
    fn take_in_first(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.clients.get_mut(id).filter(|found| found.is_connected()) else { return };
        let Layer::Awaiting(awaiting) = &mut connection.layer else { return };
        awaiting.received.push(bytes);
        if awaiting.takes_header {
            match beginning(awaiting.received.bytes()) {
                Beginning::Awaited => return,
                Beginning::Header { client, bytes } => {
                    awaiting.received.advance(bytes);
                    awaiting.takes_header = false;
                    connection.address = client.unwrap_or(connection.address);
                    self.turn.metrics.proxy_headers += 1;
                }
                Beginning::SomethingElse if !awaiting.needs_header => awaiting.takes_header = false,
                Beginning::SomethingElse | Beginning::Wrong => return self.refuse_without_header(id),
            }
        }
        let Some(connection) = self.clients.get_mut(id) else { return };
        let Layer::Awaiting(awaiting) = &mut connection.layer else { return };
        let first = awaiting.received.bytes().first().copied();
        let mut early = match (awaiting.transport, first) {
            (Transport::Tls, None) => return,
            _ => std::mem::take(&mut awaiting.received),
        };
        match (awaiting.transport, first) {
            (Transport::Tls, Some(HANDSHAKE)) => match self.clients.begin_tls(id) {
                Ok(()) => {
                    let (records, len) = early.padded();
                    self.take_in_records(id, &mut records[..len], false);
                }
                Err(broken) => self.break_off(id, &broken),
            },
            (transport, _) => {
                let is_plain = transport == Transport::Plain;
                connection.layer = if is_plain { Layer::Direct } else { Layer::PlainOnTls };
                if !is_plain {
                    self.turn.metrics.count_tls_failure(TlsFailure::Plain);
                }
                if !early.is_empty() {
                    self.take_in_early(id, early);
                }
            }
        }
    }

    fn refuse_without_header(&mut self, id: ConnectionId) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        // It is a proxy of ours that is set up wrongly: whoever looks at what it got should find out.
        connection.layer = Layer::PlainOnTls;
        self.turn.metrics.handshakes_refused += 1;
        self.turn.metrics.proxy_headers_refused += 1;
        self.respond(id, |out| out.extend_from_slice(&http::refuse_without_proxy_header()));
    }

    /// Opens records and hands on what was in them.
    pub(super) fn take_in_records(&mut self, id: ConnectionId, records: &mut [u8], is_due: bool) {
        let received = match self.clients.open_records(&mut self.turn, id, records, is_due) {
            Opened::Later => return,
            Opened::Broken(broken) => return self.break_off(id, &broken),
            Opened::Now(received) => received,
        };
        if received.is_established
            && let Some((version, is_resumed)) = self.clients.get(id).and_then(Connection::tls_version)
        {
            self.turn.metrics.count_tls_handshake(version, is_resumed);
        }
        let (mut plain, len) = self.clients.take_plain();
        if len > 0 {
            self.take_in(id, &mut plain, len);
        }
        self.clients.give_plain_back(plain);
        // Of one that lingers the end of the transport is awaited: it follows, and its last bytes would be answered with a
        // reset otherwise.
        if received.is_ended && self.clients.get(id).is_some_and(|found| found.phase != Phase::Lingering) {
            self.ended(id);
        }
    }

    /// Goes on with handshakes that wait, while the turn may do more, and with one in any case.
    pub(super) fn go_on_handshakes(&mut self) {
        for done in 0..self.clients.handshakes_in_line() {
            if done > 0 && self.turn.is_spent() {
                return;
            }
            let Some(id) = self.clients.next_handshake() else { return };
            self.take_in_records(id, &mut [], true);
        }
    }

    /// What a connection has sent is no TLS, or not such as is spoken here: it is told so by an alert, if that can be, and
    /// closed.
    fn break_off(&mut self, id: ConnectionId, broken: &Broken) {
        let is_established =
            self.clients.get(id).and_then(Connection::tls_progress).is_some_and(|(it_is, _)| it_is);
        let failure = if is_established { TlsFailure::Record } else { TlsFailure::Handshake };
        self.turn.metrics.count_tls_failure(failure);
        self.turn.metrics.handshakes_refused += u64::from(!is_established);
        self.clients.drop_plaintext(id);
        self.disconnect_for(id, Close::Gone, &format!("TLS: {broken}"));
    }

    /// The peer has ended its side of the transport; nothing more will arrive.
    pub fn received_end(&mut self, id: ConnectionId) {
        if let Some(connection) = self.clients.get(id)
            && connection.is_connected()
            && connection.tls_progress() == Some((true, false))
        {
            // Somebody else may have done that. Whatever is whole without what may have followed counts: frames are.
            self.turn.metrics.count_tls_failure(TlsFailure::Truncated);
        }
        self.ended(id);
    }

    /// Answers a plain request on a port of TLS, once it is complete; whether this connection is one.
    pub(super) fn answer_plain(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.clients.get_mut(id) else { return false };
        if !matches!(connection.layer, Layer::PlainOnTls) {
            return false;
        }
        let config = Arc::clone(&self.turn.config);
        let request = connection.unread.bytes();
        if let Some(response) = http::answer_plain(request, config.http_redirect, config.header_bytes_max) {
            self.turn.metrics.handshakes_refused += 1;
            self.respond(id, |out| out.extend_from_slice(&response));
        }
        true
    }
}

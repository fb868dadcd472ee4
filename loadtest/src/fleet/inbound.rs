//! What one connection has received: the upgrade, the greeting, then messages, cut out of the stream in place.
//!
//! Invariant: `partial` holds the beginning of exactly one unit that is not complete yet, or nothing.

use crate::dialect::{Dialect, socketio};
use crate::failure::{Failure, excerpt};
use crate::frame::{self, Frame, Kind};
use crate::message::Message;
use crate::resp::{self, Reply};

/// How the stream is cut into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// WebSocket frames, of the kind that the dialect uses.
    WebSocket(Dialect),
    /// Units of a fixed number of bytes whose content does not matter: what the floor sends.
    Fixed { bytes: usize },
    /// Replies of Redis.
    Resp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for the answer to the upgrade request.
    Upgrading,
    /// Upgraded, waiting for the `hello` of a dialect in which the server speaks first.
    Greeting,
    /// Greeted, waiting for the answer to the token of the upgrade, or to coming into Socket.IO's namespace.
    Authenticating,
    Open,
}

/// What came in, in order.
pub enum Arrival<'a> {
    Opened,
    Message(&'a [u8]),
    /// Something that the protocol wants answered so, in a message.
    Asked(&'static [u8]),
    /// A WebSocket ping, to be answered with its payload.
    Ping(&'a [u8]),
    /// The server's close frame: code and reason.
    Close(u16, String),
}

#[derive(Debug)]
pub struct Inbound {
    pub stage: Stage,
    framing: Framing,
    /// The `Sec-WebSocket-Accept` the server must answer with.
    accept: String,
    partial: Vec<u8>,
    /// Bytes of a fixed unit that have come so far.
    fixed_bytes: usize,
    /// Whether a token went with the upgrade, whose answer follows the greeting.
    has_token: bool,
}

/// An answer to an upgrade longer than this is not one.
const HEAD_BYTES_MAX: usize = 16 << 10;

impl Inbound {
    pub fn new(framing: Framing, accept: String) -> Self {
        let stage = Stage::Upgrading;
        Self { stage, framing, accept, partial: Vec::new(), fixed_bytes: 0, has_token: false }
    }

    /// One that has sent a token with its upgrade.
    pub fn with_token(self) -> Self {
        Self { has_token: true, ..self }
    }

    /// Takes what was received and shows what it completes.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for what is no protocol, [`Failure::Refused`] for an upgrade that was refused, or what
    /// `show` returns.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut show: impl FnMut(Arrival<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if let Framing::Fixed { bytes: unit } = self.framing {
            return self.feed_fixed(bytes.len(), unit, show);
        }
        if self.partial.is_empty() {
            let used = self.cut(bytes, &mut show)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let used = self.cut(&partial, &mut show)?;
        partial.drain(..used);
        self.partial = partial;
        Ok(())
    }

    fn feed_fixed(
        &mut self,
        received_bytes: usize,
        unit_bytes: usize,
        mut show: impl FnMut(Arrival<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.fixed_bytes += received_bytes;
        if self.stage != Stage::Open && self.fixed_bytes > 0 {
            // The floor answers the role byte with one byte of its own.
            self.fixed_bytes -= 1;
            self.stage = Stage::Open;
            show(Arrival::Opened)?;
        }
        while self.fixed_bytes >= unit_bytes {
            self.fixed_bytes -= unit_bytes;
            show(Arrival::Message(b""))?;
        }
        Ok(())
    }

    /// Shows all complete units at the front of `bytes`; returns how many bytes they took.
    fn cut(
        &mut self,
        bytes: &[u8],
        show: &mut impl FnMut(Arrival<'_>) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let Framing::WebSocket(dialect) = self.framing else {
            return self.cut_replies(bytes, show);
        };
        let mut used = 0;
        if self.stage == Stage::Upgrading {
            let Some(head_bytes) = self.upgrade(bytes)? else { return Ok(0) };
            used = head_bytes;
            self.stage = Stage::Greeting;
            if !dialect.is_greeted() {
                self.stage = Stage::Open;
                show(Arrival::Opened)?;
            }
        }
        while let Some(Frame { kind, payload, bytes: frame_bytes }) = frame::decode(&bytes[used..])? {
            used += frame_bytes;
            match kind {
                Kind::Text | Kind::Binary if kind != dialect.frame_kind() => {
                    return Err(Failure::Wrong(format!("a {kind:?} frame: {}", excerpt(payload))));
                }
                Kind::Text if dialect == Dialect::SocketIo && payload == socketio::PING => {
                    show(Arrival::Asked(socketio::PONG))?;
                }
                Kind::Text if dialect == Dialect::SocketIo && self.stage == Stage::Greeting => {
                    socketio::expect_open(payload)?;
                    self.stage = Stage::Authenticating;
                    show(Arrival::Asked(socketio::CONNECT))?;
                }
                Kind::Text | Kind::Binary if self.stage == Stage::Greeting => {
                    greet(payload)?;
                    self.stage = if self.has_token { Stage::Authenticating } else { Stage::Open };
                    if self.stage == Stage::Open {
                        show(Arrival::Opened)?;
                    }
                }
                Kind::Text if self.stage == Stage::Authenticating => {
                    match dialect {
                        Dialect::SocketIo => socketio::expect_connected(payload)?,
                        _ => Message::read(payload)?.expect("authenticated")?,
                    }
                    self.stage = Stage::Open;
                    show(Arrival::Opened)?;
                }
                Kind::Text | Kind::Binary => show(Arrival::Message(payload))?,
                Kind::Ping => show(Arrival::Ping(payload))?,
                Kind::Pong => {}
                Kind::Close => show(close(payload))?,
            }
        }
        Ok(used)
    }

    /// Shows all complete replies; the first one is the greeting.
    fn cut_replies(
        &mut self,
        bytes: &[u8],
        show: &mut impl FnMut(Arrival<'_>) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let mut used = 0;
        while let Some((reply, reply_bytes)) = resp::decode(&bytes[used..])? {
            let whole = &bytes[used..used + reply_bytes];
            used += reply_bytes;
            match (self.stage, reply) {
                (Stage::Open, _) => show(Arrival::Message(whole))?,
                (_, Reply::Simple(b"PONG")) => {
                    self.stage = Stage::Open;
                    show(Arrival::Opened)?;
                }
                (..) => return Err(Failure::Refused(format!("PING was answered with {}", excerpt(whole)))),
            }
        }
        Ok(used)
    }

    /// Reads the answer to the upgrade; `None` until it is complete.
    fn upgrade(&self, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(Failure::Wrong("the answer to the upgrade never ends".to_owned()));
            }
            return Ok(None);
        };
        let head = &bytes[..end];
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(Failure::Refused(format!("the upgrade was answered with: {}", excerpt(head))));
        }
        let accepted = head.windows(self.accept.len()).any(|window| window == self.accept.as_bytes());
        if !accepted {
            return Err(Failure::Wrong(
                "the answer to the upgrade has the wrong Sec-WebSocket-Accept".to_owned(),
            ));
        }
        Ok(Some(end + 4))
    }
}

fn greet(payload: &[u8]) -> Result<(), Failure> {
    let hello = Message::read(payload)?;
    hello.expect("hello")?;
    if hello.protocol != Some(1) {
        return Err(Failure::Wrong(format!(
            "the server speaks protocol {:?}, this is a client of 1",
            hello.protocol
        )));
    }
    Ok(())
}

fn close(payload: &[u8]) -> Arrival<'static> {
    match payload {
        [high, low, reason @ ..] => Arrival::Close(u16::from_be_bytes([*high, *low]), excerpt(reason)),
        _ => Arrival::Close(1005, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = br#"{"type":"hello","protocol":1}"#;
    const NATIVE: Framing = Framing::WebSocket(Dialect::Native);
    const SYNCKIT: Framing = Framing::WebSocket(Dialect::SyncKit);

    /// `first`: the first byte of every frame.
    fn stream(first: u8, payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: yes\r\n\r\n".to_vec();
        for payload in payloads {
            bytes.push(first);
            match payload.len() {
                len @ 0..=125 => bytes.push(len as u8),
                len => bytes.extend([126, (len >> 8) as u8, len as u8]),
            }
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    fn native_stream() -> Vec<u8> {
        stream(0x81, &[HELLO, b"{\"n\":1}", &[b'x'; 300]])
    }

    fn feed_all(inbound: &mut Inbound, pieces: &[&[u8]]) -> Result<Vec<String>, Failure> {
        let mut seen = Vec::new();
        for piece in pieces {
            inbound.feed(piece, |arrival| {
                seen.push(match arrival {
                    Arrival::Opened => "opened".to_owned(),
                    Arrival::Message(text) => format!("message of {}", text.len()),
                    Arrival::Asked(answer) => format!("asked for {}", excerpt(answer)),
                    Arrival::Ping(_) => "ping".to_owned(),
                    Arrival::Close(code, _) => format!("close {code}"),
                });
                Ok(())
            })?;
        }
        Ok(seen)
    }

    #[test]
    fn every_possible_cut_of_the_stream_reads_the_same() {
        let streams = [(NATIVE, native_stream()), (SYNCKIT, stream(0x82, &[&[b'y'; 7], &[b'x'; 300]]))];
        for (framing, bytes) in streams {
            for cut in 0..=bytes.len() {
                let mut inbound = Inbound::new(framing, "yes".to_owned());
                let (front, back) = bytes.split_at(cut);
                let seen = feed_all(&mut inbound, &[front, back]).unwrap();
                assert_eq!(seen, ["opened", "message of 7", "message of 300"], "{framing:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn socket_io_is_open_once_it_was_asked_and_its_pings_are_answered() {
        let mut inbound = Inbound::new(Framing::WebSocket(Dialect::SocketIo), "yes".to_owned());
        let bytes = stream(0x81, &[b"0{}", b"40{}", b"2", b"42[]"]);
        let seen = feed_all(&mut inbound, &[&bytes]).unwrap();
        assert_eq!(seen, ["asked for 40", "opened", "asked for 3", "message of 4"]);
    }

    #[test]
    fn frame_of_the_other_kind_is_wrong() {
        for (framing, first) in [(NATIVE, 0x82), (SYNCKIT, 0x81)] {
            let mut inbound = Inbound::new(framing, "yes".to_owned());
            let seen = feed_all(&mut inbound, &[&stream(first, &[HELLO])]);
            assert!(matches!(seen, Err(Failure::Wrong(_))), "{framing:?}");
        }
    }

    #[test]
    fn refused_or_forged_upgrade_fails() {
        let mut inbound = Inbound::new(NATIVE, "yes".to_owned());
        let refused = feed_all(&mut inbound, &[b"HTTP/1.1 503 Busy\r\n\r\n"]);
        assert!(matches!(refused, Err(Failure::Refused(_))));
        let mut inbound = Inbound::new(NATIVE, "other".to_owned());
        assert!(matches!(feed_all(&mut inbound, &[&native_stream()]), Err(Failure::Wrong(_))));
    }

    #[test]
    fn replies_follow_the_greeting_and_nothing_else_does() {
        let mut inbound = Inbound::new(Framing::Resp, String::new());
        let seen = feed_all(&mut inbound, &[b"+PO", b"NG\r\n+OK\r\n$2\r\n", b"ab\r\n"]).unwrap();
        assert_eq!(seen, ["opened", "message of 5", "message of 8"]);
        let mut inbound = Inbound::new(Framing::Resp, String::new());
        assert!(matches!(feed_all(&mut inbound, &[b"-NOAUTH\r\n"]), Err(Failure::Refused(_))));
    }

    #[test]
    fn a_token_is_answered_before_the_connection_is_open() {
        let mut inbound = Inbound::new(NATIVE, "yes".to_owned()).with_token();
        let believed: &[u8] = br#"{"type":"authenticated","user":"u"}"#;
        let bytes = stream(0x81, &[HELLO, believed, b"{\"n\":1}"]);
        assert_eq!(feed_all(&mut inbound, &[&bytes]).unwrap(), ["opened", "message of 7"]);
        let mut inbound = Inbound::new(NATIVE, "yes".to_owned()).with_token();
        let refused = stream(0x81, &[HELLO, br#"{"type":"error","code":"auth_failed"}"#]);
        assert!(feed_all(&mut inbound, &[&refused]).is_err());
    }

    #[test]
    fn fixed_units_are_counted_across_receives() {
        let mut inbound = Inbound::new(Framing::Fixed { bytes: 10 }, String::new());
        let seen = feed_all(&mut inbound, &[&[0; 5], &[0; 5], &[0; 12]]).unwrap();
        assert_eq!(seen, ["opened", "message of 0", "message of 0"]);
    }
}

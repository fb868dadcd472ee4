//! A peer that follows no rules: frames, and parts of frames, octet by octet, and nothing answered by itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::server::PATIENCE;

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

const UPGRADE: &str = "GET /v1 HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

/// One TCP connection.
pub struct Raw {
    stream: TcpStream,
}

impl Raw {
    /// Connected, and silent.
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Speaks over a connected stream.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// An open WebSocket whose `hello` was read.
    pub fn open(address: SocketAddr) -> Self {
        let mut raw = Self::upgrade(address);
        let (opcode, hello) = raw.frame().expect("a hello");
        assert_eq!((opcode, &hello[..15]), (TEXT, &br#"{"type":"hello""#[..]));
        raw
    }

    /// A WebSocket whose first frame is still to be read.
    pub fn upgrade(address: SocketAddr) -> Self {
        let mut raw = Self::connect(address);
        raw.upgrade_with("");
        raw
    }

    /// Opens the WebSocket with a handshake that has these lines, too.
    pub fn upgrade_with(&mut self, lines: &str) {
        self.send(format!("{UPGRADE}{lines}\r\n").as_bytes());
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut octet = [0];
            self.stream.read_exact(&mut octet).expect("a response");
            head.push(octet[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    }

    /// Sends octets as they are. What a server that has closed does not take is dropped.
    pub fn send(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets);
    }

    /// Sends a whole text message in one masked frame, whatever its octets are.
    pub fn send_text(&mut self, payload: &[u8]) {
        self.send(&masked(0x80 | TEXT, payload));
    }

    /// Sends nothing more.
    pub fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next frame: opcode and payload; `None` at the end of the connection.
    pub fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, second] = self.octets()?;
        assert_eq!(first & 0xF0, 0x80, "the server sends whole frames without reserved bits");
        let len = match second {
            126 => u64::from(u16::from_be_bytes(self.octets()?)),
            127 => u64::from_be_bytes(self.octets()?),
            len => u64::from(len),
        };
        let mut payload = vec![0; len as usize];
        self.stream.read_exact(&mut payload).expect("a whole payload");
        Some((first & 0xF, payload))
    }

    fn octets<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut octets = [0; N];
        match self.stream.read_exact(&mut octets) {
            Ok(()) => Some(octets),
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                None
            }
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        }
    }

    /// The next text message.
    pub fn text(&mut self) -> String {
        match self.frame() {
            Some((TEXT, payload)) => String::from_utf8(payload).expect("the server sends UTF-8"),
            other => panic!("expected text, got {other:?}"),
        }
    }

    /// Reads to the end of the connection; the code of the close frame, if there was one.
    pub fn close_code(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some((opcode, payload)) = self.frame() {
            if opcode == CLOSE {
                code = Some(u16::from_be_bytes([payload[0], payload[1]]));
            }
        }
        code
    }

    /// Reads to the end of the connection, whatever comes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the server does not close"),
        }
        rest
    }
}

/// A frame of a client: its first octet as given, and a mask.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x1F, 0x2E, 0x3D, 0x4C];
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().enumerate().map(|(i, octet)| octet ^ MASK[i % 4]));
    frame
}

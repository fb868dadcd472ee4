//! The header by which a proxy says whose connection it passes on: the PROXY protocol of HAProxy, versions 1 and 2.

use std::net::IpAddr;

use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};

use crate::limits::PROXY_HEADER_BYTES_MAX;

/// How every header of version 1 begins, and of version 2.
const TEXT: &[u8] = b"PROXY ";
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of version 2: its signature, what it is, and the length of the rest.
const BINARY_FIXED_BYTES: usize = 16;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Too few to tell.
    Awaited,
    /// A header of so many bytes, and the client that it names: none where the proxy speaks for itself, as when it looks
    /// whether the server is there.
    Header { client: Option<IpAddr>, bytes: usize },
    /// Something else. No request and no record of TLS begins as a header does.
    SomethingElse,
    /// It begins as a header and is none, or is longer than [`PROXY_HEADER_BYTES_MAX`].
    Wrong,
}

/// Looks at the first bytes of a connection. Never [`Beginning::Awaited`] for [`PROXY_HEADER_BYTES_MAX`] bytes or more.
pub fn beginning(input: &[u8]) -> Beginning {
    if !begins_as(input, TEXT) && !begins_as(input, BINARY) {
        return Beginning::SomethingElse;
    }
    if input.len() < TEXT.len() {
        return Beginning::Awaited;
    }
    if input.len() >= BINARY_FIXED_BYTES && input.starts_with(BINARY) {
        let rest = usize::from(u16::from_be_bytes([input[14], input[15]]));
        if BINARY_FIXED_BYTES + rest > PROXY_HEADER_BYTES_MAX {
            return Beginning::Wrong;
        }
    }
    let block = &input[..input.len().min(PROXY_HEADER_BYTES_MAX)];
    let config = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };
    match ProxyHeader::parse(block, config) {
        Ok((header, bytes)) => {
            let of_stream = header.proxied_address().filter(|named| named.protocol == Protocol::Stream);
            Beginning::Header { client: of_stream.map(|named| named.source.ip().to_canonical()), bytes }
        }
        Err(Error::BufferTooShort) if block.len() < PROXY_HEADER_BYTES_MAX => Beginning::Awaited,
        Err(_) => Beginning::Wrong,
    }
}

/// Whether `input` is the beginning of `prefix`, or the other way round.
fn begins_as(input: &[u8], prefix: &[u8]) -> bool {
    input.iter().zip(prefix).all(|(octet, expected)| octet == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT_4: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 9000\r\n";
    const TEXT_6: &[u8] = b"PROXY TCP6 2001:db8::1 2001:db8::2 51000 9000\r\n";

    /// A header of version 2 with these addresses and this much behind them.
    fn binary(command: u8, family: u8, addresses: &[u8], more: usize) -> Vec<u8> {
        let len = u16::try_from(addresses.len() + more).unwrap().to_be_bytes();
        [BINARY, &[command, family], &len, addresses, &vec![4; more]].concat()
    }

    fn binary_4(more: usize) -> Vec<u8> {
        binary(0x21, 0x11, &[192, 0, 2, 1, 198, 51, 100, 2, 0xC7, 0x38, 0x23, 0x28], more)
    }

    #[test]
    fn a_header_names_the_client_however_it_comes_in() {
        let mapped =
            binary(0x21, 0x21, &[&[0; 10][..], &[0xFF, 0xFF, 192, 0, 2, 1], &[0; 16], &[0; 4]].concat(), 0);
        for (header, client) in [
            (TEXT_4.to_vec(), Some("192.0.2.1")),
            (TEXT_6.to_vec(), Some("2001:db8::1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ff:: ff:: 65535 65535\r\n".to_vec(), None),
            (binary_4(0), Some("192.0.2.1")),
            (binary_4(PROXY_HEADER_BYTES_MAX - 28), Some("192.0.2.1")),
            (binary(0x20, 0x00, &[], 0), None),
            (binary(0x20, 0x11, &[0; 12], 7), None),
            (binary(0x21, 0x12, &[1; 12], 0), None),
            (binary(0x21, 0x31, &[1; 216], 0), None),
            (mapped, Some("192.0.2.1")),
        ] {
            let named =
                Beginning::Header { client: client.map(|ip| ip.parse().unwrap()), bytes: header.len() };
            for end in 0..header.len() {
                assert_eq!(beginning(&header[..end]), Beginning::Awaited, "{end} bytes of {header:?}");
            }
            assert_eq!(beginning(&header), named);
            assert_eq!(beginning(&[&header[..], b"GET / HTTP/1.1\r\n"].concat()), named);
        }
    }

    #[test]
    fn what_begins_no_header_is_something_else_from_its_first_byte_that_differs() {
        for other in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"POST", b"PROXZ", b"\r\n\r\n\r", b"\0"] {
            assert_eq!(beginning(other), Beginning::SomethingElse, "{other:?}");
        }
    }

    #[test]
    fn what_is_wrong_or_too_long_is_known_before_it_is_kept() {
        let long = binary_4(PROXY_HEADER_BYTES_MAX - 27);
        assert_eq!(beginning(&long[..BINARY_FIXED_BYTES]), Beginning::Wrong);
        for wrong in [
            &b"PROXY TCP5 192.0.2.1 198.51.100.2 51000 9000\r\n"[..],
            b"PROXY TCP4 192.0.2.256 198.51.100.2 51000 9000\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 51000 9000\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 510000 9000\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 51000 9000\r\r",
            &[b"PROXY UNKNOWN ", &[b'x'; PROXY_HEADER_BYTES_MAX][..]].concat(),
            &[b"PROXY TCP4 ", &[b'1'; 107][..]].concat(),
            &binary(0x22, 0x11, &[0; 12], 0),
            &binary(0x21, 0x41, &[0; 12], 0),
            &[&binary(0x21, 0x11, &[0; 11], 0)[..], b"GET / HTTP/1.1"].concat(),
        ] {
            assert_eq!(beginning(wrong), Beginning::Wrong, "{}", String::from_utf8_lossy(wrong));
        }
    }
}

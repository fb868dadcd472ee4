//! Whose connection it is where proxies stand between.
//!
//! Anybody can write a header, so each word of it is believed as far as whoever said it is trusted. A proxy appends to
//! `Forwarded` (RFC 7239), or to `X-Forwarded-For`, the address that spoke to it: the list is read from its end, and the first
//! address that is no trusted proxy is the client. What stands before that is what the client said.
//!
//! A proxy that writes one of the two passes the other on as its client wrote it, and nothing tells which. Where both are there
//! `X-Forwarded-For` counts, which nearly all proxies write: one that writes `Forwarded` has to take the other away.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::headers::Headers;
use super::refusal::Refusal;

/// The address of the client: the `peer` itself, or the one that it names if it is one of the `trusted` proxies. Where a
/// proxy names none, or nothing that is an address, the proxy is the last that is known. IPv4 addresses are never written
/// as IPv6 ones, so that each has one form.
pub(super) fn client_address(peer: IpAddr, headers: Headers<'_>, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| is_trusted(address, trusted);
    let client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let mut way = headers.list("X-Forwarded-For").rev().map(parse).peekable();
    if way.peek().is_some() {
        return last_untrusted(client, way, is_trusted);
    }
    let mut way = headers.list("Forwarded").rev().map(of_element).peekable();
    if way.peek().is_some() {
        return last_untrusted(client, way, is_trusted);
    }
    real_ip(headers).unwrap_or(client)
}

/// Goes back the way that a request has come from `peer`, up to who is not trusted or not known.
fn last_untrusted(
    peer: IpAddr,
    way: impl Iterator<Item = Option<IpAddr>>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer;
    for named in way {
        let Some(address) = named else { break };
        client = address;
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// The address that one element of `Forwarded` says the request came from: `for=192.0.2.1`, `for="[2001:db8::1]:4711"`. None
/// where it says `unknown`, a name of its own making, or nothing. A comma or a semicolon in quotes is in no address, so what
/// such quotes are cut into names nobody.
fn of_element(element: &[u8]) -> Option<IpAddr> {
    let mut named = element.split(|&octet| octet == b';').map(<[u8]>::trim_ascii).filter_map(|pair| {
        let (name, value) = pair.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    });
    let (value, None) = (named.next()?, named.next()) else { return None };
    let bare = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    parse(bare)
}

/// Whether connections from `peer` are of whom it says.
pub fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|net| net.contains(&peer))
}

/// What proxies say that know the client only, not the way.
fn real_ip(headers: Headers<'_>) -> Option<IpAddr> {
    headers.single("X-Real-IP", Refusal::bad_request("")).ok().flatten().and_then(parse)
}

/// An address, with or without a port, as proxies write it.
fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|with_port: SocketAddr| with_port.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use httparse::Header;

    use super::*;

    /// The client of `peer` behind the proxies 10.0.0.0/8 and 2001:db8::/32.
    fn client(peer: &str, lines: &[(&str, &str)]) -> String {
        let lines: Vec<_> =
            lines.iter().map(|&(name, value)| Header { name, value: value.as_bytes() }).collect();
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().unwrap());
        client_address(peer.parse().unwrap(), Headers::new(&lines), &trusted).to_string()
    }

    fn forwarded(value: &str) -> String {
        client("10.0.0.1", &[("X-Forwarded-For", value)])
    }

    #[test]
    fn whoever_is_not_trusted_is_the_client_whatever_it_says() {
        for lines in [&[][..], &[("X-Forwarded-For", "192.0.2.1")], &[("X-Real-IP", "192.0.2.1")]] {
            assert_eq!(client("198.51.100.7", lines), "198.51.100.7");
            assert_eq!(client("2001:db9::1", lines), "2001:db9::1");
            assert_eq!(client("::ffff:198.51.100.7", lines), "198.51.100.7");
        }
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        assert_eq!(forwarded("192.0.2.1"), "192.0.2.1");
        assert_eq!(forwarded("203.0.113.9, 192.0.2.1"), "192.0.2.1", "the client claimed to be another");
        assert_eq!(forwarded("203.0.113.9, 192.0.2.1, 10.9.9.9,2001:db8::5"), "192.0.2.1");
        assert_eq!(forwarded("10.1.1.1, 10.2.2.2"), "10.1.1.1", "somebody within");
        assert_eq!(forwarded("203.0.113.9, 10.2.2.2, 192.0.2.1"), "192.0.2.1");
        assert_eq!(client("2001:db8::1", &[("x-forwarded-for", "192.0.2.1")]), "192.0.2.1");
        assert_eq!(client("::ffff:10.0.0.1", &[("X-Forwarded-For", "::ffff:192.0.2.1")]), "192.0.2.1");
    }

    #[test]
    fn lines_of_one_name_are_one_list() {
        let lines = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "192.0.2.1, 10.2.2.2")];
        assert_eq!(client("10.0.0.1", &lines), "192.0.2.1");
    }

    #[test]
    fn ports_and_brackets_are_dropped() {
        for (value, address) in [
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db9::1]:4711", "2001:db9::1"),
            ("[2001:db9::1]", "2001:db9::1"),
            ("2001:DB9:0::1", "2001:db9::1"),
        ] {
            assert_eq!(forwarded(value), address, "{value}");
        }
    }

    #[test]
    fn what_is_no_address_leaves_the_last_one_that_is_known() {
        for value in ["unknown", "", ",", "192.0.2.1 192.0.2.2", "192.0.2", "[192.0.2.1", "\u{E9}"] {
            assert_eq!(forwarded(value), "10.0.0.1", "{value}");
            assert_eq!(
                forwarded(&format!("192.0.2.1, {value} , 10.2.2.2")),
                match value.trim_matches(',') {
                    "" => "192.0.2.1",
                    _ => "10.2.2.2",
                }
            );
        }
    }

    #[test]
    fn the_standard_header_is_read_as_the_other_is() {
        let standard = |value: &str| client("10.0.0.1", &[("Forwarded", value)]);
        for value in [
            "for=192.0.2.1",
            "For=\"192.0.2.1:4711\"; proto=https; by=10.0.0.9",
            "for=203.0.113.9, for=192.0.2.1;host=example.org, FOR=10.9.9.9,for=\"[2001:db8::5]:80\"",
            "proto=http;for=192.0.2.1",
        ] {
            assert_eq!(standard(value), "192.0.2.1", "{value}");
        }
        assert_eq!(standard("for=\"[2001:db9::1]:4711\""), "2001:db9::1");
        for value in [
            "for=unknown",
            "for=_hidden",
            "proto=https",
            "for=",
            "for=\"192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
            "for=\"192.0.2.1;x\"",
            "fo",
        ] {
            assert_eq!(standard(value), "10.0.0.1", "{value}");
        }
        assert_eq!(client("198.51.100.7", &[("Forwarded", "for=192.0.2.1")]), "198.51.100.7");
        let lines = [("Forwarded", "for=203.0.113.9"), ("Forwarded", "for=192.0.2.1, for=10.2.2.2")];
        assert_eq!(client("10.0.0.1", &lines), "192.0.2.1");
    }

    #[test]
    fn where_both_are_there_the_usual_one_counts() {
        let lines = [("Forwarded", "for=203.0.113.9"), ("X-Forwarded-For", "192.0.2.1")];
        assert_eq!(client("10.0.0.1", &lines), "192.0.2.1");
        let real = [("X-Real-IP", "203.0.113.9"), ("Forwarded", "for=192.0.2.1")];
        assert_eq!(client("10.0.0.1", &real), "192.0.2.1");
    }

    #[test]
    fn the_real_ip_counts_where_no_way_is_named() {
        let real = ("X-Real-IP", "192.0.2.1");
        assert_eq!(client("10.0.0.1", &[real]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &[("X-Forwarded-For", "192.0.2.2"), real]), "192.0.2.2");
        assert_eq!(client("10.0.0.1", &[("X-Forwarded-For", "unknown"), real]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[real, real]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[("X-Real-IP", "unknown")]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }
}

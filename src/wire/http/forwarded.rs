//! Whose connection it is where proxies stand between.
//!
//! Anybody can write a header, so each word of it is believed as far as whoever said it is trusted. A proxy appends to
//! `X-Forwarded-For` the address that spoke to it: the list is read from its end, and the first address that is no
//! trusted proxy is the client. What stands before that is what the client said.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::headers::Headers;
use super::refusal::Refusal;

/// The address of the client: the `peer` itself, or the one that it names if it is one of the `trusted` proxies. Where a
/// proxy names none, or nothing that is an address, the proxy is the last that is known. IPv4 addresses are never written
/// as IPv6 ones, so that each has one form.
pub(super) fn client_address(peer: IpAddr, headers: Headers<'_>, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| is_trusted(address, trusted);
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let mut forwarded = headers.list("X-Forwarded-For").rev().peekable();
    if forwarded.peek().is_none() {
        return real_ip(headers).unwrap_or(client);
    }
    for named in forwarded {
        let Some(address) = parse(named) else { break };
        client = address;
        if !is_trusted(client) {
            break;
        }
    }
    client
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

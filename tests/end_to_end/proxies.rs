//! The PROXY protocol: whom a trusted proxy says that a connection is of, before anything else and before TLS.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use annulus::config::{Config, ProxyProtocol};
use socket2::{Domain, Socket, Type};

use crate::client::Client;
use crate::server::{PATIENCE, TestServer};
use crate::tls_files::{Authority, BOTH, stream_over};

/// One connection of each client, which 127.0.0.1 may name.
fn limited(config: &mut Config, mode: ProxyProtocol) {
    config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    (config.proxy_protocol, config.connections_per_ip_max) = (mode, 1);
}

/// Connected from this address of this host.
fn connect_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

fn begin_with(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(header).unwrap();
    socket
}

/// All that is answered to a request behind `header`.
fn answer(mut socket: TcpStream, header: &[u8]) -> String {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = socket.write_all(header);
    let _ = socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut answer = Vec::new();
    // A reset may follow it, where more was sent than was read.
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn text(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 127.0.0.1 4711 443\r\n").into_bytes()
}

/// Version 2, with something behind the addresses as proxies send it.
fn binary(client: [u8; 4]) -> Vec<u8> {
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11";
    [&fixed[..], &client, &[127, 0, 0, 1, 0x12, 0x67, 1, 0xBB], &[4, 0, 2, 9, 9]].concat()
}

const TURNED_AWAY: u16 = 1013;

#[test]
fn the_client_that_a_trusted_proxy_names_is_the_one_that_counts() {
    for mode in [ProxyProtocol::Accept, ProxyProtocol::Require] {
        let server = TestServer::with(|config| limited(config, mode));
        let open = |header: &[u8]| Client::try_open(begin_with(server.address, header), "/v1");
        let _one = open(&text("192.0.2.1")).unwrap();
        assert_eq!(open(&text("192.0.2.1")).err().expect("a second one of it").0, TURNED_AWAY);
        assert_eq!(open(&binary([192, 0, 2, 1])).err().expect("in version 2, too").0, TURNED_AWAY);
        let _other = open(&binary([192, 0, 2, 2])).unwrap();
        let _of_six = open(b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n").unwrap();
        // Where it names nobody, the proxy speaks for itself.
        let _own = open(b"PROXY UNKNOWN\r\n").unwrap();
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        assert_eq!(open(local).err().expect("the proxy has one already").0, TURNED_AWAY);
    }
}

#[test]
fn a_header_in_pieces_is_the_same_and_what_follows_it_is_not_lost() {
    let server = TestServer::with(|config| limited(config, ProxyProtocol::Require));
    for header in [text("192.0.2.1"), binary([192, 0, 2, 1])] {
        for cut in [1, 5, 12, 16, header.len() - 1] {
            let (first, second) = header.split_at(cut);
            let mut socket = begin_with(server.address, first);
            socket.set_nodelay(true).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5));
            socket.write_all(second).unwrap();
            assert!(answer(socket, b"").starts_with("HTTP/1.1 200 OK"), "cut at {cut}");
        }
    }
}

#[test]
fn a_proxy_without_a_header_is_told_so_where_it_has_to_send_one() {
    let server = TestServer::with(|config| limited(config, ProxyProtocol::Require));
    let begin = || TcpStream::connect(server.address).unwrap();
    let wrong = [
        &b""[..],
        b"PROXY TCP4 192.0.2.300 127.0.0.1 1 2\r\n",
        b"PROXY TCP4 ",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xFF\xFF",
    ];
    for header in wrong {
        let answer = answer(begin(), header);
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("must begin with a header"),
            "{answer}"
        );
    }
    let counted = answer(begin(), b"PROXY UNKNOWN\r\n");
    assert!(counted.starts_with("HTTP/1.1 200 "), "{counted}");
    // Where it only may, it is taken as it is.
    let server = TestServer::with(|config| limited(config, ProxyProtocol::Accept));
    assert!(answer(TcpStream::connect(server.address).unwrap(), b"").starts_with("HTTP/1.1 200 OK"));
    assert_eq!(server.metric("annulus_proxy_headers_refused_total"), 0.0);
    assert!(answer(TcpStream::connect(server.address).unwrap(), wrong[1]).starts_with("HTTP/1.1 400 "));
    assert_eq!(server.metric("annulus_proxy_headers_refused_total"), 1.0);
}

#[test]
fn nobody_else_is_believed() {
    let stranger = Ipv4Addr::new(127, 0, 0, 2);
    for mode in [ProxyProtocol::Off, ProxyProtocol::Accept, ProxyProtocol::Require] {
        let server = TestServer::with(|config| limited(config, mode));
        let refused = answer(connect_from(stranger, server.address), &text("192.0.2.1"));
        assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("--proxy-protocol"), "{refused}");
        let refused = answer(connect_from(stranger, server.address), &binary([192, 0, 2, 1]));
        assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
        // And it needs none.
        assert!(answer(connect_from(stranger, server.address), b"").starts_with("HTTP/1.1 200 OK"));
    }
}

#[test]
fn tls_follows_the_header_in_one_segment_or_another() {
    let authority = Authority::new();
    let server = TestServer::with_tls(authority.server(), |config| limited(config, ProxyProtocol::Require));
    let address = server.tls_address.unwrap();
    let config = authority.client(&BOTH, None);
    let open = |header: &[u8]| {
        Client::open_over(stream_over(begin_with(address, header), &config, "localhost"), "/v1")
    };
    let _one = open(&text("192.0.2.1")).unwrap();
    assert_eq!(open(&binary([192, 0, 2, 1])).err().expect("a second one of it").0, TURNED_AWAY);
    let _other = open(&binary([192, 0, 2, 2])).unwrap();
    // The header and the first message of TLS at once.
    let mut stream = stream_over(TcpStream::connect(address).unwrap(), &config, "localhost");
    let mut bytes = text("192.0.2.3");
    stream.conn.write_tls(&mut bytes).unwrap();
    stream.sock.write_all(&bytes).unwrap();
    let _third = Client::open_over(stream, "/v1").unwrap();
    // Without one there is no TLS.
    let refused = answer(TcpStream::connect(address).unwrap(), b"");
    assert!(
        refused.starts_with("HTTP/1.1 400 ") && refused.contains("must begin with a header"),
        "{refused}"
    );
}

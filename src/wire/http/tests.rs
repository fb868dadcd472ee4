//! The answers as a client sees them.

mod offers;
mod pages;

use std::borrow::Cow;
use std::net::Ipv4Addr;

use super::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// RFC 6455 section 1.3.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const ANY: Rules<'static> = Rules {
    header_bytes_max: BYTES_MAX,
    allowed_origins: &[],
    dialects: &[DialectPath::NATIVE, OTHER],
    has_front_page: true,
    test_reset: true,
    trusted_proxies: &[],
};
/// Without a subprotocol.
const OTHER: DialectPath = DialectPath {
    path: Cow::Borrowed("/ws"),
    dialect: 2,
    strict: None,
    subprotocol: None,
    health_path: Some("/health"),
    about: "",
};
const BYTES_MAX: usize = 8 << 10;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A good handshake, to be spoilt.
fn handshake() -> Vec<String> {
    let key = format!("Sec-WebSocket-Key: {KEY}");
    ["GET /v1 HTTP/1.1", "Host: sync.example", "Upgrade: websocket", "Connection: Upgrade"]
        .into_iter()
        .map(str::to_owned)
        .chain([key, "Sec-WebSocket-Version: 13".to_owned()])
        .collect()
}

fn bytes(lines: &[String]) -> Vec<u8> {
    let mut bytes = lines.join("\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

/// The handshake with its line that begins with `name` replaced, or taken out if that is empty.
fn with(name: &str, line: &str) -> Vec<u8> {
    let mut lines = handshake();
    let index = lines.iter().position(|line| line.starts_with(name)).expect("the handshake has this line");
    if line.is_empty() {
        lines.remove(index);
    } else {
        lines[index] = line.to_owned();
    }
    bytes(&lines)
}

/// The handshake with one more line.
fn and(line: &str) -> Vec<u8> {
    let mut lines = handshake();
    lines.push(line.to_owned());
    bytes(&lines)
}

fn ask(request: &[u8]) -> Answer {
    answer(request, PEER, &ANY).expect("the request is complete").0
}

/// Dialect, response and token.
fn upgraded(request: &[u8], rules: &Rules<'_>) -> (u8, String, Option<String>) {
    match answer(request, PEER, rules) {
        Some((Answer::Upgrade { dialect, response, token, .. }, used)) => {
            assert_eq!(used, request.len());
            (dialect, String::from_utf8(response).expect("responses are ASCII"), token)
        }
        other => panic!("{other:?} to {}", String::from_utf8_lossy(request)),
    }
}

/// Status and whole text of a refusal, which always closes and gives advice.
fn refused_by(request: &[u8], rules: &Rules<'_>) -> (u16, String) {
    let Some((Answer::Refuse { response }, used)) = answer(request, PEER, rules) else {
        panic!("not refused: {}", String::from_utf8_lossy(request));
    };
    assert_eq!(used, request.len());
    let text = String::from_utf8(response).expect("responses are ASCII");
    let (head, body) = text.split_once("\r\n\r\n").expect("a response has a head and a body");
    assert!(head.lines().any(|line| line.starts_with("Connection:") && line.ends_with("close")), "{head}");
    if !request.starts_with(b"HEAD") {
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{text}");
        assert!(body.len() > 10 && body.ends_with('\n') && body.lines().count() == 1, "{body}");
    }
    let status = head[9..12].parse().expect("a status is a number");
    (status, text)
}

fn refused(request: &[u8]) -> u16 {
    refused_by(request, &ANY).0
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
}

#[test]
fn the_handshake_of_the_rfc_is_accepted() {
    let (dialect, response, token) = upgraded(&bytes(&handshake()), &ANY);
    assert_eq!((dialect, token), (DialectPath::NATIVE.dialect, None));
    // Some small clients compare the names as the RFC writes them.
    assert_eq!(
        response,
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        )
    );
}

#[test]
fn spellings_the_rfc_allows_are_accepted() {
    for request in [
        with("Upgrade", "uPGRADE:  WebSocket\t "),
        with("Upgrade", "Upgrade: websocket, x-other"),
        with("Connection", "Connection: keep-alive,upgrade"),
        with("Connection", "connection: keep-alive\r\nCONNECTION: Upgrade"),
        with("GET", "GET http://sync.example/v1?q=1 HTTP/1.1"),
        with("GET", "\r\nGET /v1 HTTP/1.1"),
        with("GET", "GET /v1/ HTTP/1.1"),
        with("GET", "GET /v1/?token=a HTTP/1.1"),
        and("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
        and("Content-Length: 0"),
    ] {
        assert_eq!(upgraded(&request, &ANY).0, DialectPath::NATIVE.dialect);
    }
}

#[test]
fn what_follows_the_handshake_is_left_for_the_websocket() {
    let mut request = bytes(&handshake());
    let len = request.len();
    request.extend_from_slice(&[0x81; 20_000]);
    let (answer, used) = answer(&request, PEER, &ANY).expect("the request is complete");
    assert!(matches!(answer, Answer::Upgrade { .. }));
    assert_eq!(used, len);
}

// Every request of this list, cut at each place: no answer before the cut, or already the final one.
#[test]
fn the_answer_does_not_depend_on_the_split() {
    for request in [
        bytes(&handshake()),
        get("/healthz"),
        get("/nowhere"),
        with("Sec-WebSocket-Key", ""),
        with("Upgrade", "Upgrade : websocket"),
        with("GET", "GET /v1 HTTP/9.9"),
        b"\x16\x03\x01\x02\x00\x01\x00 noise\r\n\r\n".to_vec(),
        b"PROXY TCP6 ::1 ::1 4711 9000\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
    ] {
        let whole = ask(&request);
        for cut in 0..request.len() {
            match answer(&request[..cut], PEER, &ANY) {
                None => {}
                Some((early, _)) => {
                    assert!(matches!(early, Answer::Refuse { .. }));
                    assert_eq!(early, whole, "cut at {cut} of {}", String::from_utf8_lossy(&request));
                }
            }
        }
    }
}

#[test]
fn a_dialect_is_spoken_where_the_rules_say() {
    let path = "/somewhere/else".into();
    let elsewhere = DialectPath {
        path,
        dialect: 7,
        strict: Some(8),
        subprotocol: Some("else.v1"),
        health_path: Some("/how"),
        about: "",
    };
    let rules = Rules { dialects: &[DialectPath::NATIVE, elsewhere], ..ANY };
    let request =
        with("GET", "GET /somewhere/else?a=1 HTTP/1.1\r\nSec-WebSocket-Protocol: annulus.v1, else.v1");
    let (dialect, response, _) = upgraded(&request, &rules);
    assert_eq!(dialect, 7);
    assert!(response.contains("\r\nSec-WebSocket-Protocol: else.v1\r\n"), "{response}");
    assert_eq!(upgraded(&bytes(&handshake()), &rules).0, DialectPath::NATIVE.dialect);
    assert_eq!(refused_by(&get("/somewhere/else"), &rules).0, 426);
    assert_eq!(refused_by(&get("/somewhere"), &rules).0, 404);
    let (health, _) = answer(&get("/how"), PEER, &rules).expect("the request is complete");
    assert_eq!(
        health,
        Answer::Page { page: Page::DialectHealth { dialect: 7, may_be_read: true }, head_only: false }
    );
    assert_eq!(refused_by(&get("/health"), &rules).0, 404, "that is another dialect's");
    assert_eq!(refused_by(&with("GET", "GET /ws HTTP/1.1"), &rules).0, 404, "it is not among them");
}

#[test]
fn a_url_asks_for_the_strict_dialect_where_there_is_one() {
    let spoken = |target: &str| upgraded(&with("GET", &format!("GET {target} HTTP/1.1")), &ANY).0;
    let strict = DialectPath::NATIVE.strict.expect("there is one");
    for target in ["/v1?strict=1", "/v1/?a=b&strict=1", "/v1?strict=1&token=x"] {
        assert_eq!(spoken(target), strict, "{target}");
    }
    for target in ["/v1", "/v1?strict=0", "/v1?strict=", "/v1?xstrict=1", "/v1?a=strict=1"] {
        assert_eq!(spoken(target), DialectPath::NATIVE.dialect, "{target}");
    }
    assert_eq!(spoken("/ws?strict=1"), OTHER.dialect);
    for target in ["/v1?strict=yes", "/v1?strict=true", "/v1?strict=1&strict=0"] {
        assert_eq!(refused(&with("GET", &format!("GET {target} HTTP/1.1"))), 400, "{target}");
    }
}

#[test]
fn the_client_is_the_peer_or_whom_a_trusted_proxy_names() {
    let request = and("X-Forwarded-For: 192.0.2.1");
    for (trusted, expected) in [("127.0.0.0/8", "192.0.2.1"), ("10.0.0.0/8", "127.0.0.1")] {
        let rules = Rules { trusted_proxies: &[trusted.parse().expect("a net")], ..ANY };
        let Some((Answer::Upgrade { client, .. }, _)) = answer(&request, PEER, &rules) else {
            panic!("it is upgraded");
        };
        assert_eq!(client.to_string(), expected);
    }
}

#[test]
fn a_path_without_an_upgrade_asks_for_one() {
    for request in [
        get("/v1"),
        get("/ws"),
        with("Upgrade", ""),
        with("Upgrade", "Upgrade: h2c"),
        with("Upgrade", "Upgrade: websockets"),
        with("Connection", ""),
        with("Connection", "Connection: no-upgrade"),
        with("GET", "GET /v1 HTTP/1.0"),
    ] {
        let (status, text) = refused_by(&request, &ANY);
        assert_eq!(status, 426);
        assert!(text.contains("\r\nUpgrade: websocket\r\n") && text.contains("Connection: Upgrade, close"));
        assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    }
}

#[test]
fn another_websocket_version_is_told_which_one_to_speak() {
    for line in ["", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 133", "Sec-WebSocket-Version: 13, 8"]
    {
        let (status, text) = refused_by(&with("Sec-WebSocket-Version", line), &ANY);
        assert_eq!(status, 426);
        assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    }
    assert_eq!(refused(&and("Sec-WebSocket-Version: 13")), 400);
}

#[test]
fn the_key_is_sixteen_bytes_in_base64_and_there_once() {
    for line in [
        "",
        "Sec-WebSocket-Key:",
        "Sec-WebSocket-Key: !not*base64!at%all!?==",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA=",
        "Sec-WebSocket-Key: \u{E9}AAAAAAAAAAAAAAAAAAAA==",
    ] {
        assert_eq!(refused(&with("Sec-WebSocket-Key", line)), 400, "{line}");
    }
    assert_eq!(refused(&and(&format!("Sec-WebSocket-Key: {KEY}"))), 400);
}

#[test]
fn only_allowed_origins_connect_and_clients_without_one() {
    let allowed = ["https://app.example", "http://localhost:5173"]
        .map(|origin| AllowedOrigin::parse(origin).expect("an origin"));
    let rules = Rules { allowed_origins: &allowed, ..ANY };
    for origin in [
        "https://app.example",
        "HTTPS://App.Example",
        "https://app.example:443",
        "https://app.example/",
        "http://localhost:5173",
    ] {
        upgraded(&and(&format!("Origin: {origin}")), &rules);
    }
    upgraded(&bytes(&handshake()), &rules);
    upgraded(&and("Origin: https://elsewhere.example"), &ANY);
    for origin in [
        "https://elsewhere.example",
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://app.example/path",
        "http://app.example:443",
        "http://localhost",
        "null",
        "",
        "\u{E9}",
    ] {
        assert_eq!(refused_by(&and(&format!("Origin: {origin}")), &rules).0, 403, "{origin}");
    }
    let null = [AllowedOrigin::parse("null").expect("an origin")];
    upgraded(&and("Origin: null"), &Rules { allowed_origins: &null, ..ANY });
    let twice = and("Origin: https://app.example\r\nOrigin: https://app.example");
    assert_eq!(refused_by(&twice, &rules).0, 400);
}

#[test]
fn a_page_learns_by_a_post_whether_its_origin_may_connect() {
    let allowed = [AllowedOrigin::parse("https://app.example").expect("an origin")];
    let rules = Rules { allowed_origins: &allowed, ..ANY };
    let post = |origin| {
        let request =
            format!("POST /v1 HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n");
        refused_by(request.as_bytes(), &rules).0
    };
    assert_eq!(post("https://elsewhere.example"), 403);
    assert_eq!(post("https://app.example"), 405);
}

#[test]
fn a_request_with_a_body_is_refused() {
    for line in ["Content-Length: 1", "Content-Length: ", "Content-Length: x", "Transfer-Encoding: chunked"] {
        assert_eq!(refused(&and(line)), 400, "{line}");
        let page = format!("GET / HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n");
        assert_eq!(refused(page.as_bytes()), 400, "{line}");
    }
}

#[test]
fn one_host_is_required() {
    for line in ["", "Host:", "Host: a, b", "Host: a b", "Host: a/b", "Host: a\r\nHost: a"] {
        assert_eq!(refused(&with("Host", line)), 400, "{line}");
    }
    upgraded(&with("Host", "Host: [::1]:9000"), &ANY);
}

#[test]
fn what_is_not_http_1_is_refused() {
    assert_eq!(refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"), 400);
    let (status, text) =
        refused_by(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 9000\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", &ANY);
    assert!(status == 400 && text.contains("PROXY protocol"), "{text}");
    assert_eq!(refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
    assert_eq!(refused(&with("GET", "GET /v1 HTTP/9.9")), 505);
    for target in ["*", "v1", "sync.example:443"] {
        assert_eq!(refused(&with("GET", &format!("GET {target} HTTP/1.1"))), 400, "{target}");
    }
    for line in ["Upgrade : websocket", "no colon here", "X-Odd: a\0b", " folded"] {
        assert_eq!(refused(&and(line)), 400, "{line}");
    }
}

#[test]
fn a_header_block_over_the_limit_is_refused_as_soon_as_it_is() {
    let block = |len: usize| {
        let mut request = bytes(&handshake());
        request.truncate(request.len() - 2);
        request.extend_from_slice(b"X-Long: ");
        request.resize(len - 4, b'x');
        request.extend_from_slice(b"\r\n\r\n");
        request
    };
    upgraded(&block(BYTES_MAX), &ANY);
    upgraded(&block(BYTES_MAX + 1), &Rules { header_bytes_max: BYTES_MAX + 1, ..ANY });
    let longer = block(BYTES_MAX + 1);
    let (status, text) = refused_by(&longer, &ANY);
    assert!(
        status == 431 && text.contains("over 8192 bytes") && text.contains("--max-header-bytes"),
        "{text}"
    );
    assert_eq!(refused(&longer[..BYTES_MAX]), 431);
    assert_eq!(answer(&longer[..BYTES_MAX - 1], PEER, &ANY), None);
    assert_eq!(refused(&[b'\r', b'\n'].repeat(BYTES_MAX)), 431, "empty lines for ever");
}

#[test]
fn more_header_lines_than_the_limit_are_refused() {
    let lines = |count: usize| and(&vec!["X: y"; count - handshake().len() + 1].join("\r\n"));
    upgraded(&lines(HEADER_LINES_MAX), &ANY);
    assert_eq!(refused(&lines(HEADER_LINES_MAX + 1)), 431);
}

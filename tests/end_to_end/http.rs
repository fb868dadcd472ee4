//! What an HTTP client meets on the same port.

use std::time::{Duration, Instant};

use annulus::config::{AllowedOrigin, BuiltPage, DialectPath};
use annulus::dialect::synckit;

use simd_json::prelude::*;

use crate::client::{Client, set};
use crate::raw::Raw;
use crate::server::{TestServer, exchange, get};

const UPGRADE: &str = "Host: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

#[test]
fn every_page_is_served() {
    let server = TestServer::start();
    for (path, content, body) in [
        ("/", "text/plain; charset=utf-8", "real-time sync server"),
        ("/", "text/plain; charset=utf-8", "GET /ws "),
        ("/healthz", "text/plain; charset=utf-8", "ok\n"),
        ("/health", "application/json", r#"{"status":"healthy","#),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "annulus_connections "),
    ] {
        let page = get(server.address, path);
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        let (head, found) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Type: {content}\r\n")), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", found.len())), "{head}");
        assert!(found.contains(body), "{found}");
        let head_only = exchange(server.address, &format!("HEAD {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert!(
            head_only.starts_with("HTTP/1.1 200 OK\r\n") && head_only.ends_with("\r\n\r\n"),
            "{head_only}"
        );
        // As HAProxy asks unless it is told otherwise.
        let options = exchange(server.address, &format!("OPTIONS {path} HTTP/1.0\r\n\r\n"));
        assert!(
            options.starts_with("HTTP/1.1 200 OK\r\nAllow: GET, HEAD, OPTIONS\r\n")
                && options.ends_with("\r\n\r\n"),
            "{options}"
        );
    }
}

// Whoever has many cookies sends more than 8 KiB. Behind the largest block a first message may follow at once.
#[test]
fn a_handshake_with_large_cookies_is_taken_up_to_the_limit() {
    for (limit, cookie, taken) in
        [(16 << 10, 15 << 10, true), (9 << 10, 15 << 10, false), (9 << 10, 8 << 10, true)]
    {
        let server = TestServer::with(|config| config.header_bytes_max = limit);
        let ping = crate::raw::masked(0x81, br#"{"type":"ping","id":5}"#);
        let mut raw = Raw::connect(server.address);
        let cookie = format!("Cookie: {}\r\n", "x".repeat(cookie));
        let request = format!("GET /v1 HTTP/1.1\r\n{UPGRADE}{cookie}\r\n");
        raw.send(&[request.as_bytes(), &ping].concat());
        raw.end();
        let answer = String::from_utf8_lossy(&raw.rest()).into_owned();
        assert_eq!(answer.starts_with("HTTP/1.1 101 "), taken, "{limit}: {answer}");
        assert_eq!(answer.contains(r#"{"type":"pong","id":5,"#), taken, "{limit}: {answer}");
        assert_eq!(answer.starts_with("HTTP/1.1 431 "), !taken, "{limit}: {answer}");
    }
}

// Every length of the block around the limit, with frames behind it in the same segment.
#[test]
fn what_follows_a_header_block_of_the_very_limit_is_the_websockets() {
    let server = TestServer::with(|config| config.header_bytes_max = 1 << 10);
    let ping = crate::raw::masked(0x81, br#"{"type":"ping","id":5}"#);
    for length in 1_000..=1_030 {
        let bare = format!("GET /v1 HTTP/1.1\r\n{UPGRADE}Cookie: \r\n\r\n").len();
        let cookie = "x".repeat(length - bare);
        let request = format!("GET /v1 HTTP/1.1\r\n{UPGRADE}Cookie: {cookie}\r\n\r\n");
        let mut raw = Raw::connect(server.address);
        raw.send(&[request.as_bytes(), &ping, &ping].concat());
        raw.end();
        let answer = String::from_utf8_lossy(&raw.rest()).into_owned();
        let pongs = answer.matches(r#"{"type":"pong","id":5,"#).count();
        assert_eq!(pongs, if length <= 1 << 10 { 2 } else { 0 }, "{length}: {answer}");
    }
}

#[test]
fn what_is_not_served_says_what_to_do_instead() {
    let server = TestServer::with(|config| {
        config.allowed_origins = vec![AllowedOrigin::parse("https://app.example").unwrap()]
    });
    let large = format!("GET / HTTP/1.1\r\nHost: test\r\nCookie: {}\r\n\r\n", "x".repeat(16 << 10));
    let foreign = format!("GET /v1 HTTP/1.1\r\n{UPGRADE}Origin: https://evil.example\r\n\r\n");
    let version = format!("GET /v1 HTTP/1.1\r\n{}\r\n", UPGRADE.replace("13", "12"));
    for (request, status) in [
        ("GET /nothing HTTP/1.1\r\nHost: test\r\n\r\n", 404),
        ("GET /v1/echo HTTP/1.1\r\nHost: test\r\n\r\n", 404),
        ("POST /v1 HTTP/1.1\r\nHost: test\r\n\r\n", 405),
        ("DELETE /metrics HTTP/1.1\r\nHost: test\r\n\r\n", 405),
        ("GET /v1 HTTP/1.1\r\nHost: test\r\n\r\n", 426),
        ("GET /ws HTTP/1.1\r\nHost: test\r\n\r\n", 426),
        (&version, 426),
        (&large, 431),
        (&foreign, 403),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: test\r\n\r\n", 505),
        ("\u{1}\u{2}\r\n\r\n", 400),
    ] {
        let answer = exchange(server.address, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.60}: {answer}");
        let advice = answer.split_once("\r\n\r\n").unwrap().1;
        assert!(advice.ends_with('\n') && advice.len() > 10, "{advice:?}");
    }
    assert!(
        exchange(server.address, "GET /v1 HTTP/1.1\r\nHost: test\r\n\r\n")
            .contains("\r\nUpgrade: websocket\r\n")
    );
    assert!(
        exchange(server.address, "PUT / HTTP/1.1\r\nHost: test\r\n\r\n")
            .contains("\r\nAllow: GET, HEAD, OPTIONS\r\n")
    );
}

#[test]
fn a_named_origin_and_no_origin_may_connect() {
    let server = TestServer::with(|config| {
        config.allowed_origins = vec![AllowedOrigin::parse("https://app.example").unwrap()]
    });
    Client::connect(server.address);
    let mut raw = Raw::connect(server.address);
    raw.send(format!("GET /v1 HTTP/1.1\r\n{UPGRADE}Origin: https://APP.example:443\r\n\r\n").as_bytes());
    raw.send(&crate::raw::masked(0x88, &1000_u16.to_be_bytes()));
    assert!(raw.rest().starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn what_is_offered_is_chosen_or_the_answer_says_what_to_offer() {
    let server = TestServer::start();
    for (path, offer, begin) in [
        ("/v1", "annulus.v1", "HTTP/1.1 101 "),
        ("/v1", "bearer.abc, annulus.v1", "HTTP/1.1 101 "),
        ("/v1", "bearer.abc", "HTTP/1.1 400 "),
        ("/v1", "other", "HTTP/1.1 400 "),
        ("/ws", "other", "HTTP/1.1 101 "),
        ("/ws", "bearer.abc", "HTTP/1.1 400 "),
    ] {
        let mut raw = Raw::connect(server.address);
        let lines = format!("{UPGRADE}Sec-WebSocket-Protocol: {offer}\r\n\r\n");
        raw.send(format!("GET {path} HTTP/1.1\r\n{lines}").as_bytes());
        if begin.contains("101") {
            raw.send(&crate::raw::masked(0x88, &1000_u16.to_be_bytes()));
        }
        let answer = String::from_utf8_lossy(&raw.rest()).into_owned();
        assert!(answer.starts_with(begin), "{path} {offer}: {answer}");
        let line =
            format!("\r\nSec-WebSocket-Protocol: {}\r\n", if path == "/v1" { "annulus.v1" } else { offer });
        assert_eq!(answer.contains(&line), begin.contains("101"), "{path} {offer}: {answer}");
        assert_eq!(answer.contains("offer "), begin.contains("400"), "{path} {offer}: {answer}");
    }
}

#[test]
fn the_health_of_a_dialect_is_that_of_all_shards_and_names_nothing() {
    let server = TestServer::start();
    let mut clients = Client::on_every_shard(server.address, 4);
    for client in &mut clients {
        client.subscribe(r#""map":"hidden-name""#);
    }
    for key in 0..20 {
        clients[0].write(&set("hidden-name", &format!("k{key}"), 1));
    }
    clients[0].write(&set("another", "k", 1));
    let page = get(server.address, "/health");
    assert!(
        page.contains("\r\nAccess-Control-Allow-Origin: *\r\n"),
        "apps ask for it from their pages: {page}"
    );
    let mut body = page.split_once("\r\n\r\n").unwrap().1.as_bytes().to_vec();
    let health = simd_json::to_owned_value(&mut body).expect("the page is JSON");
    let count = clients.len();
    assert_eq!(health["connections"]["totalConnections"], count, "{health}");
    assert_eq!(health["documents"]["totalDocuments"], 2, "each map once: {health}");
    assert_eq!(health["documents"]["totalSubscriptions"], count, "{health}");
    assert_eq!(health["documents"]["documents"], simd_json::json!([]));
    assert!(health["uptime"].as_f64().is_some_and(|seconds| (0.0..3_600.0).contains(&seconds)), "{health}");
    assert!(!page.contains("hidden-name"), "{page}");

    let without = TestServer::with(|config| config.dialects = vec![DialectPath::NATIVE]);
    assert!(get(without.address, "/health").starts_with("HTTP/1.1 404 "));
    assert!(!get(without.address, "/").contains("/ws"));
}

#[test]
fn the_reset_exists_only_where_it_is_wanted() {
    let post = "POST /_test/clear HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}";
    assert!(exchange(TestServer::start().address, post).starts_with("HTTP/1.1 404 "));
    let server = TestServer::resettable(None);
    assert!(exchange(server.address, post).starts_with("HTTP/1.1 200 "));
}

#[test]
fn each_dialect_is_found_at_its_path_only() {
    let elsewhere = DialectPath { path: "/kit".into(), ..synckit::PATH };
    let server = TestServer::with(|config| config.dialects = vec![DialectPath::NATIVE, elsewhere]);
    for (path, status) in
        [("/v1", 101), ("/v1/", 101), ("/kit", 101), ("/kit/", 101), ("/ws", 404), ("//v1", 404)]
    {
        let mut raw = Raw::connect(server.address);
        let request =
            format!("GET {path} HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Protocol: annulus.v1, kit\r\n\r\n");
        raw.send(request.as_bytes());
        raw.send(&crate::raw::masked(0x88, &1000_u16.to_be_bytes()));
        let answer = String::from_utf8_lossy(&raw.rest()).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        let is_native = path.starts_with("/v1");
        let chosen =
            format!("\r\nSec-WebSocket-Protocol: {}\r\n", if is_native { "annulus.v1" } else { "kit" });
        assert_eq!(answer.contains(&chosen), status == 101, "{path}: {answer}");
        assert_eq!(answer.contains(r#""type":"hello""#), is_native, "{path}: {answer}");
    }
}

#[test]
fn a_handshake_that_is_not_done_in_time_is_ended() {
    let server = TestServer::with(|config| config.handshake_timeout_ms = 400);
    for begun in [&b""[..], b"GET /v1 HTTP/1.1\r\nHost: te"] {
        let began = Instant::now();
        let mut raw = Raw::connect(server.address);
        raw.send(begun);
        assert_eq!(raw.rest(), b"", "nothing is said");
        assert!(began.elapsed() >= Duration::from_millis(350), "after {:?}", began.elapsed());
    }
    assert_eq!(server.metric("annulus_handshakes_refused_total"), 2.0);
    assert_eq!(server.metric("annulus_handshakes_total"), 0.0);
}

#[test]
fn a_request_may_arrive_octet_by_octet_and_with_the_first_frame_behind_it() {
    let server = TestServer::start();
    let request = format!("GET /v1 HTTP/1.1\r\n{UPGRADE}\r\n");
    let mut raw = Raw::connect(server.address);
    for octet in request.as_bytes() {
        raw.send(&[*octet]);
    }
    raw.send(&crate::raw::masked(0x88, &1000_u16.to_be_bytes()));
    assert!(raw.rest().starts_with(b"HTTP/1.1 101 "));

    let mut raw = Raw::connect(server.address);
    let ping = crate::raw::masked(0x81, br#"{"type":"ping","id":5}"#);
    let close = crate::raw::masked(0x88, &1000_u16.to_be_bytes());
    raw.send(&[request.as_bytes(), &ping, &close].concat());
    let answer = String::from_utf8_lossy(&raw.rest()).into_owned();
    assert!(
        answer.contains(r#"{"type":"hello""#) && answer.contains(r#"{"type":"pong","id":5,"#),
        "{answer}"
    );
}

// `nc -N` and some load balancers end their side right after the request.
#[test]
fn a_page_is_served_to_a_client_that_has_ended_its_side() {
    let server = TestServer::start();
    for path in ["/", "/healthz", "/metrics"] {
        for _ in 0..10 {
            let mut raw = Raw::connect(server.address);
            raw.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
            raw.end();
            assert!(raw.rest().starts_with(b"HTTP/1.1 200 OK\r\n"), "{path}");
        }
    }
}

#[test]
fn what_was_asked_before_the_end_of_a_clients_side_is_answered_and_then_it_is_over() {
    // Counting addresses makes every second client wait for the other shard in the middle of its handshake.
    let server = TestServer::with(|config| config.connections_per_ip_max = 100);
    let ping = crate::raw::masked(0x81, br#"{"type":"ping","id":5}"#);
    for _ in 0..10 {
        let mut raw = Raw::connect(server.address);
        raw.send(&[format!("GET /v1 HTTP/1.1\r\n{UPGRADE}\r\n").as_bytes(), &ping].concat());
        raw.end();
        let began = Instant::now();
        let answer = String::from_utf8_lossy(&raw.rest()).into_owned();
        assert!(answer.contains(r#"{"type":"pong","id":5,"#), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(5), "it was kept open for {:?}", began.elapsed());
    }
}

#[test]
fn a_browser_gets_the_page_with_a_policy_and_everybody_else_the_text() {
    let html = "<!doctype html><script>1</script>";
    let page = BuiltPage { html: html.as_bytes().into(), policy: "script-src 'sha256-x'".to_owned() };
    let ask = |server: &TestServer, method: &str, accept: &str| {
        exchange(server.address, &format!("{method} / HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\n\r\n"))
    };
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let server = TestServer::with(|config| config.front_page = Some(page));
    let answer = ask(&server, "GET", browser);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, html);
    for line in [
        "HTTP/1.1 200 OK",
        "Content-Type: text/html; charset=utf-8",
        &format!("Content-Length: {}", html.len()),
        "Content-Security-Policy: script-src 'sha256-x'",
        "X-Content-Type-Options: nosniff",
        "Cache-Control: no-store",
    ] {
        assert!(head.split("\r\n").any(|found| found == line), "{line} is not in {head}");
    }
    assert_eq!(ask(&server, "HEAD", browser), format!("{head}\r\n\r\n"));
    let without = TestServer::start();
    for (server, accept) in [(&server, "*/*"), (&without, browser)] {
        let answer = ask(server, "GET", accept);
        assert!(answer.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{answer}");
        assert!(answer.contains("GET /metrics"), "{answer}");
    }
}

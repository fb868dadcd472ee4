//! What is answered without an upgrade: pages, other paths and methods, and the reset.

use super::*;

#[test]
fn pages_are_got_and_their_heads_asked_for() {
    for (path, page) in [
        ("/", Page::Index),
        ("/healthz", Page::Health),
        ("/metrics", Page::Metrics),
        ("/metrics?format=text", Page::Metrics),
        ("http://h/healthz", Page::Health),
        ("http://h", Page::Index),
        ("/healthz/", Page::Health),
        ("/metrics/?a", Page::Metrics),
        ("/health/", Page::DialectHealth(OTHER.dialect)),
    ] {
        assert_eq!(ask(&get(path)), Answer::Page { page, head_only: false }, "{path}");
    }
    assert_eq!(
        ask(b"HEAD /healthz HTTP/1.1\r\nHost: h\r\n\r\n"),
        Answer::Page { page: Page::Health, head_only: true }
    );
    assert_eq!(
        ask(b"GET /healthz HTTP/1.0\r\n\r\n"),
        Answer::Page { page: Page::Health, head_only: false },
        "load balancers still ask so"
    );
}

#[test]
fn unknown_paths_are_not_found() {
    for path in ["/v2", "/v1//", "//v1", "/v1/echo/x", "//", "/V1", "/%76%31", "/v1/."] {
        assert_eq!(refused(&get(path)), 404, "{path}");
    }
}

#[test]
fn wrong_methods_are_told_the_right_ones() {
    for (method, path, allow) in [
        ("POST", "/v1", "GET"),
        ("HEAD", "/v1", "GET"),
        ("POST", "/metrics", "GET, HEAD"),
        ("OPTIONS", "/", "GET, HEAD"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n");
        let (status, text) = refused_by(request.as_bytes(), &ANY);
        assert_eq!(status, 405);
        assert!(text.contains(&format!("\r\nAllow: {allow}\r\n")), "{text}");
    }
}

#[test]
fn the_reset_is_posted_where_it_exists() {
    let post = |lines: &str| format!("POST /_test/clear HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes();
    assert_eq!(ask(b"POST /_test/clear/ HTTP/1.1\r\nHost: h\r\n\r\n"), Answer::Clear);
    for lines in ["", "Content-Length: 0\r\n", "Content-Length: 2\r\n", "Content-Length: 1024\r\n"] {
        assert_eq!(ask(&post(lines)), Answer::Clear, "{lines}");
    }
    for lines in [
        "Content-Length: 1025\r\n",
        "Content-Length: x\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(refused(&post(lines)), 400, "{lines}");
    }
    let (status, text) = refused_by(&get("/_test/clear"), &ANY);
    assert!(status == 405 && text.contains("\r\nAllow: POST\r\n"), "{text}");
    assert_eq!(refused_by(&post(""), &Rules { test_reset: false, ..ANY }).0, 404);
    // A page of another origin must not empty a server that its visitor can reach.
    let allowed = [Origin::parse("https://app.example").expect("an origin")];
    let rules = Rules { allowed_origins: &allowed, ..ANY };
    assert_eq!(refused_by(&post("Origin: https://evil.example\r\n"), &rules).0, 403);
}

#[test]
fn the_answer_to_head_has_no_body() {
    let (status, text) = refused_by(b"HEAD /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", &ANY);
    assert_eq!(status, 404);
    assert!(text.ends_with("\r\n\r\n") && !text.contains("Content-Length: 0"));
}

#[test]
fn a_page_is_written_with_its_length_and_closes() {
    let mut out = Vec::new();
    write_page(&mut out, StatusCode::OK, "text/plain", b"fine\n");
    let mut head = Vec::new();
    write_page_head(&mut head, StatusCode::OK, "text/plain", 5);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\nfine\n"
    );
    assert_eq!(out[..out.len() - 5], head);
}

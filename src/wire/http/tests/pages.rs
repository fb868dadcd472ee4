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
        ("/health/", Page::DialectHealth { dialect: OTHER.dialect, may_be_read: true }),
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
        ("OPTIONS", "/v1", "GET"),
        ("POST", "/metrics", "GET, HEAD, OPTIONS"),
        ("TRACE", "/", "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/_test/clear", "POST"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n");
        let (status, text) = refused_by(request.as_bytes(), &ANY);
        assert_eq!(status, 405);
        assert!(text.contains(&format!("\r\nAllow: {allow}\r\n")), "{text}");
    }
}

// `OPTIONS / HTTP/1.0` is all that HAProxy says unless it is told to say more.
#[test]
fn load_balancers_ask_with_any_method_and_in_http_1_0() {
    for path in ["/", "/healthz", "/healthz/", "/health", "/metrics"] {
        for version in
            ["HTTP/1.0\r\n", "HTTP/1.0\r\nHost: h\r\n", "HTTP/1.0\r\nHost:\r\n", "HTTP/1.1\r\nHost: h\r\n"]
        {
            let request = |method: &str| format!("{method} {path} {version}\r\n").into_bytes();
            assert_eq!(ask(&request("OPTIONS")), Answer::Options, "{path} {version}");
            assert!(matches!(ask(&request("GET")), Answer::Page { head_only: false, .. }));
            assert!(matches!(ask(&request("HEAD")), Answer::Page { head_only: true, .. }));
        }
        assert_eq!(refused(format!("OPTIONS {path} HTTP/1.1\r\n\r\n").as_bytes()), 400, "without Host");
    }
    assert_eq!(ask(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), Answer::Options, "the server as a whole");
    assert_eq!(refused(b"OPTIONS / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n"), 400);
    assert_eq!(refused(b"OPTIONS /nowhere HTTP/1.0\r\n\r\n"), 404);
    let mut out = Vec::new();
    write_options(&mut out, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "HTTP/1.1 503 Service Unavailable\r\nAllow: GET, HEAD, OPTIONS\r\nContent-Length: 0\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    );
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
    let allowed = [AllowedOrigin::parse("https://app.example").expect("an origin")];
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
    write_page(&mut out, StatusCode::OK, Content::of("text/plain"), b"fine\n");
    let mut head = Vec::new();
    write_page_head(&mut head, StatusCode::OK, Content::of("text/plain"), 5);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\nfine\n"
    );
    assert_eq!(out[..out.len() - 5], head);
}

#[test]
fn scripts_of_other_origins_read_the_health_of_a_dialect_as_far_as_they_may_connect() {
    let allowed = [AllowedOrigin::parse("https://app.example").expect("an origin")];
    let rules = Rules { allowed_origins: &allowed, ..ANY };
    let may_read = |rules: &Rules<'_>, origin: &str| {
        let request = format!("GET /health HTTP/1.1\r\nHost: h\r\n{origin}\r\n");
        match answer(request.as_bytes(), PEER, rules) {
            Some((Answer::Page { page: Page::DialectHealth { may_be_read, .. }, .. }, _)) => may_be_read,
            other => panic!("{other:?}"),
        }
    };
    for origin in ["", "Origin: https://app.example\r\n"] {
        assert!(may_read(&ANY, origin) && may_read(&rules, origin), "{origin}");
    }
    let other = "Origin: https://other.example\r\n";
    assert!(may_read(&ANY, other) && !may_read(&rules, other));
    let mut head = Vec::new();
    let content = Content { is_for_all_origins: true, ..Content::of("application/json") };
    write_page_head(&mut head, StatusCode::OK, content, 2);
    assert!(String::from_utf8_lossy(&head).contains("\r\nAccess-Control-Allow-Origin: *\r\n"));
}

#[test]
fn who_takes_html_gets_the_page_for_browsers() {
    let accepting = |accept: &str| format!("GET / HTTP/1.1\r\nHost: h\r\n{accept}\r\n").into_bytes();
    let page = |accept: &str, rules: &Rules<'_>| match answer(&accepting(accept), PEER, rules) {
        Some((Answer::Page { page, head_only: false }, _)) => page,
        other => panic!("{accept}: {other:?}"),
    };
    for (accept, found) in [
        ("Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n", Page::Front),
        ("Accept: */*;q=0.1\r\nAccept: Text/HTML ; level=1; q=0.2\r\n", Page::Front),
        ("", Page::Index),
        ("Accept: */*\r\n", Page::Index),
        ("Accept: text/plain, text/html;q=0\r\n", Page::Index),
        ("Accept: text/html; q=0.000\r\n", Page::Index),
        ("Accept: text/html-like\r\n", Page::Index),
    ] {
        assert_eq!(page(accept, &ANY), found, "{accept}");
        assert_eq!(page(accept, &Rules { has_front_page: false, ..ANY }), Page::Index, "{accept}");
    }
    let elsewhere = b"GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: text/html\r\n\r\n";
    assert_eq!(ask(elsewhere), Answer::Page { page: Page::Metrics, head_only: false });
}

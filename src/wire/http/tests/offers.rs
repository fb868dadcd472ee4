//! What a client offers beside the handshake: subprotocols, and a token.

use super::*;

fn token(request: &[u8]) -> Option<String> {
    upgraded(request, &ANY).2
}

/// The handshake at `path` with a line of offers.
fn offering(path: &str, offers: &str) -> Vec<u8> {
    with("GET", &format!("GET {path} HTTP/1.1\r\nSec-WebSocket-Protocol: {offers}"))
}

/// What the 101 chooses of `offers`.
fn chosen(path: &str, offers: &str) -> Option<String> {
    let (_, response, _) = upgraded(&offering(path, offers), &ANY);
    let mut lines = response.lines().filter_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
    let chosen = lines.next().map(str::to_owned);
    assert_eq!(lines.next(), None, "{response}");
    chosen
}

#[test]
fn our_subprotocol_is_chosen_wherever_it_is_offered() {
    for offers in [
        "annulus.v1",
        "x, annulus.v1",
        "annulus.v1,x",
        "bearer.secret, annulus.v1",
        "bearer.secret\r\nSec-WebSocket-Protocol: annulus.v1",
        ", annulus.v1 ,",
    ] {
        assert_eq!(chosen("/v1", offers).as_deref(), Some("annulus.v1"), "{offers}");
    }
}

#[test]
fn nothing_offered_is_nothing_chosen() {
    for path in ["/v1", "/ws"] {
        for offers in ["", " ", ","] {
            assert_eq!(chosen(path, offers), None, "{path} {offers:?}");
        }
    }
}

// Browsers and `ws` would refuse a 101 that chooses none of what they offered, with less of a reason.
#[test]
fn offers_without_ours_are_told_to_offer_it() {
    for offers in ["bearer.secret", "bearer.", "annulus.v2", "x, y", "ANNULUS.V1", "annulus.v1 x", "\u{E9}"] {
        let (status, text) = refused_by(&offering("/v1", offers), &ANY);
        assert_eq!(status, 400, "{offers}");
        assert!(text.contains("offer the subprotocol annulus.v1, too") && !text.contains("secret"), "{text}");
    }
}

#[test]
fn where_no_subprotocol_is_defined_the_first_is_chosen_that_is_no_token_and_not_of_another_path() {
    for (offers, expected) in [
        ("synckit", "synckit"),
        ("b, a", "b"),
        ("bearer.secret, x.y-z", "x.y-z"),
        ("annulus.v1, synckit", "synckit"),
        ("\u{E9}, a b, \"quoted\", last", "last"),
    ] {
        assert_eq!(chosen("/ws", offers).as_deref(), Some(expected), "{offers}");
    }
    for offers in ["bearer.secret", "annulus.v1", "annulus.v1, bearer.secret", "a b"] {
        let (status, text) = refused_by(&offering("/ws", offers), &ANY);
        assert_eq!(status, 400, "{offers}");
        assert!(text.contains("no subprotocol of its own") && !text.contains("secret"), "{text}");
    }
}

#[test]
fn a_token_comes_by_header_query_or_subprotocol_in_this_order() {
    assert_eq!(token(&and("Authorization: bearer abc ")), Some("abc".to_owned()));
    assert_eq!(token(&with("GET", "GET /v1?token=a%20b HTTP/1.1")), Some("a b".to_owned()));
    assert_eq!(token(&offering("/v1", "annulus.v1, bearer.x.y-z")), Some("x.y-z".to_owned()));
    assert_eq!(token(&offering("/ws", "bearer.x.y-z, any")), Some("x.y-z".to_owned()));
    assert_eq!(token(&and("Authorization: Basic YTpi")), None);
    assert_eq!(token(&offering("/v1", "bearer., annulus.v1")), None);

    let mut lines = handshake();
    lines[0] = "GET /v1?token=query HTTP/1.1".to_owned();
    lines.push("Sec-WebSocket-Protocol: bearer.offered, annulus.v1".to_owned());
    assert_eq!(token(&bytes(&lines)), Some("query".to_owned()));
    lines.push("Authorization: Bearer header".to_owned());
    assert_eq!(token(&bytes(&lines)), Some("header".to_owned()));
}

#[test]
fn a_token_that_can_not_be_read_is_refused() {
    assert_eq!(refused(&with("GET", "GET /v1?token=%zz HTTP/1.1")), 400);
    assert_eq!(refused(&and("Authorization: Bearer")), 400);
    assert_eq!(refused(&and("Authorization: Bearer a\r\nAuthorization: Bearer b")), 400);
    assert_eq!(refused(&offering("/v1", "bearer.a, bearer.b, annulus.v1")), 400);
}

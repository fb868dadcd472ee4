//! Parsers of single flag values. Each refusal says what is wrong and what to write instead.

use std::borrow::Cow;

use crate::config::DialectPath;
use crate::dialect::{echo, synckit};
use crate::limits;
use crate::wire::http;

/// A node name that can stand inside the text form of a stamp and inside a JSON string as it is.
pub(super) fn parse_node(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b':');
    if (1..=limits::NODE_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    let most = limits::NODE_BYTES_MAX;
    Err(format!("not a node name; write 1 to {most} visible ASCII characters without \" \\ and :"))
}

/// An origin as browsers send it, in lower case: `scheme://host` or `scheme://host:port`, or `null`.
pub(super) fn parse_origin(text: &str) -> Result<String, String> {
    let origin = text.trim().to_ascii_lowercase();
    let host = origin.split_once("://").map(|(_, host)| host);
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'*');
    let valid = host.is_some_and(|host| !host.is_empty() && host.bytes().all(plain));
    // An empty list in an environment variable arrives as one empty value, and means no restriction.
    if valid || origin == "null" || origin.is_empty() {
        return Ok(origin);
    }
    let advice =
        "write https://app.example or http://localhost:3000, without a path; leave the flag out for any";
    Err(format!("'{text}' is no origin; {advice}"))
}

/// A path for a dialect beside our own, as it stands in a request: nothing in it is decoded.
pub(super) fn parse_dialect_path(text: &str) -> Result<Cow<'static, str>, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    if !text.starts_with('/') || !text.bytes().all(plain) {
        return Err(format!("'{text}' is no path; write one such as /ws, of letters, digits and /-._~"));
    }
    let has_meaning = [DialectPath::NATIVE.path, echo::PATH.path].contains(&text.into())
        || synckit::PATH.health_path == Some(text)
        || http::is_reserved(text);
    if has_meaning {
        return Err(format!("'{text}' has a meaning already; choose another path such as /ws"));
    }
    Ok(Cow::Owned(text.to_owned()))
}

/// A filter of `tracing-subscriber`. A bare word must be a level: the filter would take a mistyped one for
/// the name of a module and log everything of it, which is nothing.
pub(super) fn parse_log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let known = |directive: &str| {
        let bare = !directive.contains(['=', '[']);
        !bare || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive.trim()))
    };
    if text.split(',').all(known) && tracing_subscriber::EnvFilter::try_new(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err(format!("'{text}' is no filter; write one of {} or info,annulus::io=debug", LEVELS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_fit_into_stamps() {
        for text in ["a", "n-1a2b3c4d", "eu_west.1/3", &"x".repeat(40)] {
            assert_eq!(parse_node(text).as_deref(), Ok(text));
        }
        for text in ["", "a:b", "a\"b", "a\\b", "a b", "ä", "a\n", &"x".repeat(41)] {
            assert!(parse_node(text).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_are_lower_case_and_have_no_path() {
        assert_eq!(parse_origin("HTTPS://App.Example:8443").as_deref(), Ok("https://app.example:8443"));
        assert_eq!(parse_origin("null").as_deref(), Ok("null"));
        for text in
            ["app.example", "https://", "https://app.example/", "https://a b", "*", "https://*.example"]
        {
            assert!(parse_origin(text).is_err_and(|error| error.contains("https://app.example")), "{text}");
        }
    }

    #[test]
    fn a_dialect_has_a_path_of_its_own() {
        for text in [
            "/ws",
            "/",
            "/v1",
            "/v1/echo",
            "/healthz",
            "/health",
            "/metrics",
            "/_test/clear",
            "/sync-kit/v0.1/~x",
        ] {
            let is_free = ["/ws", "/sync-kit/v0.1/~x"].contains(&text);
            assert_eq!(parse_dialect_path(text).is_ok(), is_free, "{text}");
        }
        for text in ["", "ws", "/w s", "/ws?x", "/ws#x", "/%77s", "/wś", "ws://host/ws"] {
            assert!(parse_dialect_path(text).is_err_and(|error| error.contains("/ws")), "{text}");
        }
    }

    #[test]
    fn a_mistyped_level_is_refused() {
        for text in ["info", "WARN", "off", "info,annulus::io=debug", "annulus[turn]=trace,warn"] {
            assert_eq!(parse_log_level(text).as_deref(), Ok(text));
        }
        for text in ["", "loud", "infos", "info,loud", "annulus=loud"] {
            assert!(parse_log_level(text).is_err(), "{text}");
        }
    }
}

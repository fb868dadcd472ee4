//! Parsers of single flag values. Each refusal says what is wrong and what to write instead.

use std::borrow::Cow;

use crate::config::{AllowedOrigin, DataMode, DialectPath};
use crate::dialect::{echo, synckit};
use crate::limits;
use crate::service::desk::check_url;
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

/// An origin, or a pattern of some, in any spelling. An empty list in an environment variable arrives as one empty value, which is none.
pub(super) fn parse_origin(text: &str) -> Result<Option<AllowedOrigin>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let advice = "write https://app.example, https://*.example.org or http://localhost:3000; leave the flag out for any";
    AllowedOrigin::parse(text).map(Some).map_err(|why| format!("'{text}' is no origin, as {why}; {advice}"))
}

/// A path for a dialect beside our own, as it stands in a request: nothing in it is decoded, and a slash at its end
/// changes nothing.
pub(super) fn parse_dialect_path(text: &str) -> Result<Cow<'static, str>, String> {
    let path = http::canonical_path(text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    // Browsers and proxies take out segments of points, and some of them empty ones.
    let has_plain_segments = path.split('/').skip(1).all(|segment| !["", ".", ".."].contains(&segment));
    if !path.starts_with('/') || !path.bytes().all(plain) || path != "/" && !has_plain_segments {
        return Err(format!("'{text}' is no path; write one such as /ws, of letters, digits and /-._~"));
    }
    let has_meaning = [DialectPath::NATIVE.path, echo::PATH.path].contains(&path.into())
        || synckit::PATH.health_path == Some(path)
        || http::is_reserved(path);
    if has_meaning {
        return Err(format!("'{text}' has a meaning already; choose another path such as /ws"));
    }
    Ok(Cow::Owned(path.to_owned()))
}

/// Where keys are fetched from.
pub(super) fn parse_jwks_url(text: &str) -> Result<String, String> {
    let advice = "write one such as https://login.example/.well-known/jwks.json";
    check_url(text)
        .map(|()| text.to_owned())
        .map_err(|why| format!("'{text}' cannot be used, as {why}; {advice}"))
}

/// Permission bits of files, in octal as for `chmod`.
pub(super) fn parse_data_mode(text: &str) -> Result<DataMode, String> {
    let digits = text.trim().trim_start_matches("0o");
    let mode = u32::from_str_radix(digits, 8).ok().and_then(DataMode::new);
    mode.ok_or_else(|| format!("'{text}' is no mode of data files; write 0600, 0640, 0660, 0644 or 0664"))
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
    fn what_is_no_origin_is_refused_with_the_reason_and_an_example() {
        let origin = parse_origin(" HTTPS://App.Example:443/ ").unwrap().unwrap();
        assert_eq!(origin.to_string(), "https://app.example");
        assert_eq!(parse_origin(" "), Ok(None));
        for (text, part) in [
            (
                "app.example",
                "'app.example' is no origin, as it has no scheme such as https://; write https://",
            ),
            ("*", "leave the flag out for any"),
            ("https://app.example/x", "it goes on behind the host"),
            ("wss://app.example", "pages come from http:// or https://"),
        ] {
            assert!(parse_origin(text).is_err_and(|error| error.contains(part)), "{text}");
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
            let parsed = parse_dialect_path(text);
            assert_eq!(parsed.is_ok(), is_free, "{text}");
            // The same with a slash at its end, where that is not the second one.
            if text != "/" {
                assert_eq!(parse_dialect_path(&format!("{text}/")).ok(), parsed.ok(), "{text}/");
            }
        }
        for text in [
            "",
            "ws",
            "/w s",
            "/ws?x",
            "/ws#x",
            "/%77s",
            "/wś",
            "ws://host/ws",
            "//ws",
            "/ws//",
            "/a/../ws",
            "/./ws",
        ] {
            assert!(parse_dialect_path(text).is_err_and(|error| error.contains("/ws")), "{text}");
        }
    }

    #[test]
    fn data_stays_with_its_owner_and_is_never_for_all_to_write() {
        for (text, files, folders) in
            [("0600", 0o600, 0o700), ("640", 0o640, 0o750), ("0o660", 0o660, 0o770), ("0644", 0o644, 0o755)]
        {
            let mode = parse_data_mode(text).unwrap();
            assert_eq!((mode.of_files(), mode.of_folders()), (files, folders), "{text}");
        }
        for text in ["", "0", "rw", "0400", "0666", "0700", "0777", "4600", "0608", "-600"] {
            assert!(parse_data_mode(text).is_err_and(|error| error.contains("0640")), "{text}");
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

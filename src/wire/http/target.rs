//! The request target: which path, and what its query says.

use crate::limits::SESSION_BYTES_MAX;

/// A request target without what this server does not look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) path: &'a str,
    query: Option<&'a str>,
}

/// A `token=` that is not percent-encoded UTF-8, or is there twice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadToken;

impl<'a> Target<'a> {
    /// Takes the origin form `/path?query` and the absolute form (RFC 9112 section 3.2); `None` for others.
    pub(super) fn parse(target: &'a str) -> Option<Self> {
        let local = if target.starts_with('/') { target } else { after_authority(target)? };
        let (path, query) = match local.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (local, None),
        };
        Some(Self { path: if path.is_empty() { "/" } else { canonical_path(path) }, query })
    }

    /// Whether the query has `strict=1`. An empty one is none.
    ///
    /// # Errors
    /// [`BadStrict`], as who asks for it in other words would be let down without a word.
    pub(super) fn is_strict(self) -> Result<bool, BadStrict> {
        let mut values = self.query.unwrap_or("").split('&').filter_map(|pair| pair.strip_prefix("strict="));
        match (values.next(), values.next()) {
            (None | Some("" | "0"), None) => Ok(false),
            (Some("1"), None) => Ok(true),
            _ => Err(BadStrict),
        }
    }

    /// The value of `session=` in the query, which is a name of at most [`SESSION_BYTES_MAX`] bytes. An empty one is none.
    ///
    /// # Errors
    /// [`BadSession`], as who asks for it in other words would be taken for another.
    pub(super) fn session(self) -> Result<Option<String>, BadSession> {
        let mut sessions =
            self.query.unwrap_or("").split('&').filter_map(|pair| pair.strip_prefix("session="));
        let session = percent_decoded(sessions.next().unwrap_or("")).map_err(|_| BadSession)?;
        let is_bad = session.len() > SESSION_BYTES_MAX || session.chars().any(char::is_control);
        if is_bad || sessions.next().is_some() {
            return Err(BadSession);
        }
        Ok(if session.is_empty() { None } else { Some(session) })
    }

    /// The value of `token=` in the query. An empty one is none.
    ///
    /// # Errors
    /// [`BadToken`], as a token that is read wrongly must not be mistaken for no token.
    pub(super) fn token(self) -> Result<Option<String>, BadToken> {
        let mut tokens = self.query.unwrap_or("").split('&').filter_map(|pair| pair.strip_prefix("token="));
        let token = tokens.next().unwrap_or("");
        if tokens.next().is_some() {
            return Err(BadToken);
        }
        let token = percent_decoded(token)?;
        Ok(if token.is_empty() { None } else { Some(token) })
    }
}

/// A `session=` that is no name, or is there twice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadSession;

/// A `strict=` that is neither 1 nor 0, or is there twice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadStrict;

/// A path without the slash at its end, which changes nothing. What has two of them there stays as it is.
pub fn canonical_path(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some(rest) if !rest.is_empty() && !rest.ends_with('/') => rest,
        _ => path,
    }
}

/// The path and query of `scheme://authority/path?query`.
fn after_authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
    if authority_len == 0 { None } else { Some(&rest[authority_len..]) }
}

/// Decodes `%41`. A `+` stays one: tokens are not form fields, and base64 has it.
fn percent_decoded(text: &str) -> Result<String, BadToken> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        decoded.push(match octet {
            b'%' => match (octets.next().and_then(hex_digit), octets.next().and_then(hex_digit)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(BadToken),
            },
            octet => octet,
        });
    }
    String::from_utf8(decoded).map_err(|_| BadToken)
}

fn hex_digit(octet: u8) -> Option<u8> {
    char::from(octet).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> Option<&str> {
        Target::parse(target).map(|target| target.path)
    }

    fn token(target: &str) -> Result<Option<String>, BadToken> {
        Target::parse(target).expect("the tests name no wrong target").token()
    }

    #[test]
    fn both_forms_of_a_target_give_its_path() {
        assert_eq!(path("/v1"), Some("/v1"));
        assert_eq!(path("/v1?a=/b"), Some("/v1"));
        assert_eq!(path("http://host:9000/v1?a"), Some("/v1"));
        assert_eq!(path("WSS://host/v1"), Some("/v1"));
        assert_eq!(path("http://host"), Some("/"));
        assert_eq!(path("http://host?a=/v1"), Some("/"));
    }

    #[test]
    fn one_slash_at_the_end_of_a_path_changes_nothing() {
        for (target, expected) in [
            ("/v1/", "/v1"),
            ("/v1/?a=/", "/v1"),
            ("/v1/echo/", "/v1/echo"),
            ("http://host/v1/", "/v1"),
            ("http://host/", "/"),
            ("/", "/"),
            ("//", "//"),
            ("/v1//", "/v1//"),
            ("//v1", "//v1"),
        ] {
            assert_eq!(path(target), Some(expected), "{target}");
        }
    }

    #[test]
    fn other_targets_are_none() {
        for target in ["", "*", "v1", "host:443", "http:///v1", "ftp://host/v1", "http:/v1"] {
            assert_eq!(path(target), None, "{target}");
        }
    }

    #[test]
    fn the_token_is_percent_decoded() {
        assert_eq!(token("/v1?a=1&token=x%2By+z%C3%A9&b"), Ok(Some("x+y+zé".to_owned())));
        assert_eq!(token("ws://h?token=abc"), Ok(Some("abc".to_owned())));
    }

    #[test]
    fn a_session_is_a_short_name_there_once() {
        let session = |target: &str| Target::parse(target).expect("a target").session();
        assert_eq!(session("/v1?a=1&session=tab%201"), Ok(Some("tab 1".to_owned())));
        for target in ["/v1", "/v1?session=", "/v1?sessions=a", "/v1?session"] {
            assert_eq!(session(target), Ok(None), "{target}");
        }
        let long = format!("/v1?session={}", "a".repeat(SESSION_BYTES_MAX + 1));
        for target in ["/?session=%", "/?session=%FF", "/?session=%00", "/?session=a&session=a", &long] {
            assert_eq!(session(target), Err(BadSession), "{target:.40}");
        }
    }

    #[test]
    fn no_token_and_an_empty_one_are_none() {
        for target in ["/v1", "/v1?", "/v1?tokens=a", "/v1?token", "/v1?token=", "/v1?xtoken=a"] {
            assert_eq!(token(target), Ok(None), "{target}");
        }
    }

    #[test]
    fn a_token_that_can_not_be_read_is_an_error() {
        for target in ["/?token=%", "/?token=%4", "/?token=%zz", "/?token=%FF", "/?token=a&token=a"] {
            assert_eq!(token(target), Err(BadToken), "{target}");
        }
    }
}

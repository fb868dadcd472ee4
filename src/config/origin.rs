//! Where a page comes from: a scheme, a host and a port, in the one form in which two are compared.

use std::fmt;
use std::net::Ipv6Addr;

use serde::Serialize;

/// As browsers write it: lower case, without the default port of its scheme (RFC 6454 section 6.2). `null` is one, too:
/// of pages without an origin, such as those in a sandbox.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Origin(String);

/// Why a text is no origin. Displayed, it is the half of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOrigin {
    #[error("it has no scheme such as https://")]
    Scheme,
    #[error("pages come from http:// or https://, also where they open a ws:// or wss://")]
    Socket,
    #[error("it goes on behind the host and the port")]
    Path,
    #[error("it has a user name")]
    User,
    #[error("a pattern is a star for all labels in front of a domain, such as https://*.example.org")]
    Pattern,
    #[error("behind the star stands no domain of somebody, such as example.org")]
    Domain,
    #[error("browsers write such a host in ASCII, as xn--…")]
    NotAscii,
    #[error("its host is wrong")]
    Host,
    #[error("its port is wrong")]
    Port,
}

impl Origin {
    /// Reads an origin in any spelling, also with a slash at its end.
    ///
    /// # Errors
    /// [`BadOrigin`].
    pub fn parse(text: &str) -> Result<Self, BadOrigin> {
        if text.eq_ignore_ascii_case("null") {
            return Ok(Self("null".to_owned()));
        }
        if text.contains('*') {
            return Err(BadOrigin::Pattern);
        }
        let (scheme, rest) = text.split_once("://").ok_or(BadOrigin::Scheme)?;
        let scheme = scheme.to_ascii_lowercase();
        if !is_scheme(&scheme) {
            return Err(BadOrigin::Scheme);
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        match &*scheme {
            "ws" | "wss" => return Err(BadOrigin::Socket),
            // Android's WebView says this of pages it was given as files.
            "file" if authority.is_empty() => return Ok(Self("file://".to_owned())),
            _ if authority.contains(['/', '?', '#', '\\']) => return Err(BadOrigin::Path),
            _ if authority.contains('@') => return Err(BadOrigin::User),
            _ => {}
        }
        let (host, port) = host_and_port(authority)?;
        let default_port = match &*scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Ok(Self(match port.filter(|&port| Some(port) != default_port) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Scheme, host and port; the port is there where it is not the default one. Of `null` there is none.
    pub(super) fn parts(&self) -> (&str, &str, Option<&str>) {
        let Some((scheme, authority)) = self.0.split_once("://") else { return ("", "", None) };
        let end_of_address = authority.find(']').map_or(0, |at| at + 1);
        match authority[end_of_address..].find(':') {
            Some(at) => {
                let at = end_of_address + at;
                (scheme, &authority[..at], Some(&authority[at + 1..]))
            }
            None => (scheme, authority, None),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(plain)
}

/// The host in its one spelling, and the port if there is one.
fn host_and_port(authority: &str) -> Result<(String, Option<u16>), BadOrigin> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']').ok_or(BadOrigin::Host)?;
        let address: Ipv6Addr = address.parse().map_err(|_| BadOrigin::Host)?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(BadOrigin::Host)?) };
        return Ok((format!("[{address}]"), parse_port(port)?));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if !host.is_ascii() {
        return Err(BadOrigin::NotAscii);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(BadOrigin::Host);
    }
    Ok((host.to_ascii_lowercase(), parse_port(port)?))
}

/// An empty port is none (RFC 3986 section 6.2.3).
fn parse_port(port: Option<&str>) -> Result<Option<u16>, BadOrigin> {
    match port {
        None | Some("") => Ok(None),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            port.parse().map(Some).map_err(|_| BadOrigin::Port)
        }
        Some(_) => Err(BadOrigin::Port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_origin_has_one_form() {
        for (text, expected) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://App.Example", "https://app.example"),
            ("https://app.example:443", "https://app.example"),
            ("https://app.example:0443/", "https://app.example"),
            ("https://app.example:", "https://app.example"),
            ("https://app.example/", "https://app.example"),
            ("https://app.example:80", "https://app.example:80"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("https://xn--mller-kva.example", "https://xn--mller-kva.example"),
            ("http://[::1]:80", "http://[::1]"),
            ("http://[0:0::0001]:3000", "http://[::1]:3000"),
            ("http://192.0.2.1:8080", "http://192.0.2.1:8080"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
            ("capacitor://localhost:443", "capacitor://localhost:443"),
            ("file://", "file://"),
            ("file:///", "file://"),
            ("null", "null"),
            ("NULL", "null"),
        ] {
            let origin = Origin::parse(text);
            assert_eq!(origin.as_ref().map(Origin::as_str), Ok(expected), "{text}");
            assert_eq!(Origin::parse(expected), origin, "{text}");
        }
    }

    #[test]
    fn what_is_no_origin_says_why() {
        for (text, why) in [
            ("", BadOrigin::Scheme),
            ("app.example", BadOrigin::Scheme),
            ("//app.example", BadOrigin::Scheme),
            ("1https://app.example", BadOrigin::Scheme),
            ("https:/app.example", BadOrigin::Scheme),
            ("wss://app.example", BadOrigin::Socket),
            ("WS://app.example", BadOrigin::Socket),
            ("https://app.example/path", BadOrigin::Path),
            ("https://app.example//", BadOrigin::Path),
            ("https://app.example?a", BadOrigin::Path),
            ("https://app.example#a", BadOrigin::Path),
            ("file:///home", BadOrigin::Path),
            ("https://me@app.example", BadOrigin::User),
            ("*", BadOrigin::Pattern),
            ("https://*.example", BadOrigin::Pattern),
            ("https://müller.example", BadOrigin::NotAscii),
            ("https://", BadOrigin::Host),
            ("https:///", BadOrigin::Host),
            ("https://a b", BadOrigin::Host),
            ("https://a%62", BadOrigin::Host),
            ("http://::1", BadOrigin::Host),
            ("http://[::1", BadOrigin::Host),
            ("http://[::1]80", BadOrigin::Host),
            ("http://[fe80::1%eth0]", BadOrigin::Host),
            ("http://a:99999", BadOrigin::Port),
            ("http://a:+80", BadOrigin::Port),
            ("http://a:80:80", BadOrigin::Port),
            ("http://a: 80", BadOrigin::Port),
        ] {
            assert_eq!(Origin::parse(text), Err(why), "{text}");
        }
    }
}

//! Whose pages may connect: one origin, or all below a domain.

use std::fmt;

use serde::{Serialize, Serializer};

use super::origin::{BadOrigin, Origin};

/// What stands for the labels that a host may have in front of a domain.
const ANY_LABELS: &str = "*.";

/// `https://app.example.org`, or `https://*.example.org`: every host below that domain, one label or more, as in a Content
/// Security Policy, and never the domain itself. Scheme and port are those that are named.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowedOrigin {
    /// Where it is a pattern, of the domain.
    origin: Origin,
    is_pattern: bool,
}

impl AllowedOrigin {
    /// Reads one in any spelling, also with a slash at its end.
    ///
    /// # Errors
    /// [`BadOrigin`]; of a pattern, if its star is no whole label in front, or if what follows is not the domain of somebody:
    /// anybody may have a name below `*.org`, and addresses have nothing below them.
    pub fn parse(text: &str) -> Result<Self, BadOrigin> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self { origin: Origin::parse(text)?, is_pattern: false });
        };
        let Some(domain) = rest.strip_prefix(ANY_LABELS) else {
            return Ok(Self { origin: Origin::parse(text)?, is_pattern: false });
        };
        let origin = Origin::parse(&format!("{scheme}://{domain}"))?;
        let (_, host, _) = origin.parts();
        let labels: Vec<&str> = host.split('.').collect();
        let is_name = labels.iter().all(|label| !label.is_empty())
            && labels.last().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_alphabetic()));
        let is_somebodys = labels.len() > 1 || host == "localhost";
        if is_name && is_somebodys { Ok(Self { origin, is_pattern: true }) } else { Err(BadOrigin::Domain) }
    }

    /// Whether a page of `origin` may connect.
    pub fn admits(&self, origin: &Origin) -> bool {
        if !self.is_pattern {
            return self.origin == *origin;
        }
        let (scheme, domain, port) = self.origin.parts();
        let (page_scheme, page_host, page_port) = origin.parts();
        let below = page_host.strip_suffix(domain).and_then(|front| front.strip_suffix('.'));
        let is_below = below.is_some_and(|labels| labels.split('.').all(|label| !label.is_empty()));
        is_below && (scheme, port) == (page_scheme, page_port)
    }
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin.as_str().split_once("://") {
            Some((scheme, rest)) if self.is_pattern => write!(f, "{scheme}://{ANY_LABELS}{rest}"),
            _ => f.write_str(self.origin.as_str()),
        }
    }
}

impl fmt::Debug for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for AllowedOrigin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(pattern: &str, origin: &str) -> bool {
        let origin = Origin::parse(origin);
        origin.is_ok_and(|origin| AllowedOrigin::parse(pattern).expect("a pattern").admits(&origin))
    }

    #[test]
    fn a_pattern_admits_what_is_below_its_domain() {
        for origin in [
            "https://a.example.org",
            "https://a.b.c.example.org",
            "HTTPS://A.Example.ORG:443/",
            "https://example.org.example.org",
            "https://xn--mller-kva.example.org",
        ] {
            assert!(admits("https://*.Example.org", origin), "{origin}");
            assert!(admits("https://*.example.org:443/", origin), "{origin}");
        }
        assert!(admits("http://*.example.org:8080", "http://a.example.org:8080"));
        assert!(admits("http://*.localhost:5173", "http://app.localhost:5173"));
    }

    #[test]
    fn nothing_that_only_looks_alike_is_admitted() {
        for attack in [
            "https://example.org",
            "https://evil-example.org",
            "https://evilexample.org",
            "https://.example.org",
            "https://a..example.org",
            "https://..example.org",
            "https://a.example.org.evil",
            "https://a.example.org.evil.com",
            "https://a.example.org.",
            "https://a.example.orgevil.com",
            "https://example.org.evil.com",
            "https://a.example.com",
            "http://a.example.org",
            "http://a.example.org:443",
            "https://a.example.org:444",
            "https://a.example.org:80",
            "https+x://a.example.org",
            "https://a.example.org@evil.com",
            "https://evil.com@a.example.org",
            "https://evil.com/a.example.org",
            "https://evil.com/.example.org",
            "https://evil.com#.example.org",
            "https://evil.com?.example.org",
            "https://evil.com\\.example.org",
            "https://evil.com\0.example.org",
            "https://evil.com%00.example.org",
            "https://evil.com:443.example.org",
            "https://*.example.org",
            "https://[::1].example.org",
            "https://a.ex\u{430}mple.org",
            "https://a.example\u{3002}org",
            "null",
            "file://",
            "",
        ] {
            assert!(!admits("https://*.example.org", attack), "{attack}");
        }
    }

    #[test]
    fn an_origin_admits_itself_alone() {
        assert!(admits("https://app.example:443", "https://app.example"));
        assert!(admits("null", "null") && admits("file://", "file:///"));
        for (allowed, other) in [
            ("https://app.example", "https://a.app.example"),
            ("null", "https://null"),
            ("https://null", "null"),
        ] {
            assert!(!admits(allowed, other), "{other}");
        }
    }

    #[test]
    fn a_pattern_is_one_label_of_a_domain_that_somebody_has() {
        for (text, why) in [
            ("*", BadOrigin::Pattern),
            ("*.example.org", BadOrigin::Pattern),
            ("https://*", BadOrigin::Pattern),
            ("https://a*.example.org", BadOrigin::Pattern),
            ("https://a.*.example.org", BadOrigin::Pattern),
            ("https://*.*.example.org", BadOrigin::Pattern),
            ("https://**.example.org", BadOrigin::Pattern),
            ("https://*.example.org:*", BadOrigin::Pattern),
            ("*://*.example.org", BadOrigin::Pattern),
            ("https://*.", BadOrigin::Host),
            ("https://*.org", BadOrigin::Domain),
            ("https://*..org", BadOrigin::Domain),
            ("https://*.example.org.", BadOrigin::Domain),
            ("https://*.0.0.1", BadOrigin::Domain),
            ("https://*.[::1]", BadOrigin::Domain),
            ("https://*.example.org/path", BadOrigin::Path),
            ("https://*.me@example.org", BadOrigin::User),
            ("wss://*.example.org", BadOrigin::Socket),
            ("file://*.", BadOrigin::Domain),
        ] {
            assert_eq!(AllowedOrigin::parse(text), Err(why), "{text}");
        }
        let shown = AllowedOrigin::parse("HTTPS://*.Example.org:443/").expect("a pattern").to_string();
        assert_eq!(shown, "https://*.example.org");
    }
}

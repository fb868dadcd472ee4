//! The file of what is revoked: tokens by their ids, and of users all tokens that were issued before a time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::{format_rfc3339_millis, parse_rfc3339_weak};
use serde::{Deserialize, Serialize};

use super::Revocations;
use super::lines::{self, BadFile};
use crate::limits::REVOCATIONS_MAX;

/// The lines of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked(Vec<Line>);

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Token {
        token: Box<str>,
        /// When that was said; for people.
        at: Time,
    },
    User {
        user: Box<str>,
        issued_before: Time,
    },
}

/// Milliseconds since 1970, in a file as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// With or without a `T`, a `Z` and a fraction, in UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let since = parse_rfc3339_weak(text.trim()).ok()?.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_millis()).ok().map(Self)
    }

    pub fn text(self) -> String {
        /// The last time that has a text (RFC 3339: years have four digits).
        const MS_MAX: u64 = 253_402_300_799_999;
        let at: SystemTime = UNIX_EPOCH + Duration::from_millis(self.0.min(MS_MAX));
        format_rfc3339_millis(at).to_string()
    }
}

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a time is written 2026-11-26T20:00:00Z"))
    }
}

impl Revoked {
    /// # Errors
    /// [`BadFile`] for the first line that says nothing.
    pub fn parse(text: &str) -> Result<Self, BadFile> {
        let lines = lines::parse(text, REVOCATIONS_MAX)?;
        Ok(Self(lines.into_iter().map(|(_, line)| line).collect()))
    }

    pub fn text(&self) -> String {
        lines::text(&self.0)
    }

    pub fn is_full(&self) -> bool {
        self.0.len() >= REVOCATIONS_MAX
    }

    /// Revokes one token; twice is once.
    pub fn add_token(&mut self, id: &str, at: Time) {
        let is_it = |line: &Line| matches!(line, Line::Token { token, .. } if **token == *id);
        if !self.0.iter().any(is_it) {
            self.0.push(Line::Token { token: id.into(), at });
        }
    }

    /// Revokes all tokens of a user that were issued before then, if that is later than what was said before.
    pub fn add_user(&mut self, name: &str, before: Time) {
        for line in &mut self.0 {
            if let Line::User { user, issued_before } = line
                && **user == *name
            {
                *issued_before = before.max(*issued_before);
                return;
            }
        }
        self.0.push(Line::User { user: name.into(), issued_before: before });
    }

    /// The same to be looked up in.
    pub fn revocations(&self) -> Revocations {
        let mut revocations = Revocations::default();
        for line in &self.0 {
            match line {
                Line::Token { token, .. } => {
                    revocations.tokens.insert(token.clone());
                }
                Line::User { user, issued_before: Time(ms) } => {
                    let before = revocations.users.entry(user.clone()).or_default();
                    *before = (*before).max(*ms);
                }
            }
        }
        revocations
    }

    /// A sentence for each.
    pub fn sentences(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|line| match line {
            Line::Token { token, at } => format!("token {token:?}, since {}", at.text()),
            Line::User { user, issued_before } => {
                format!("user {user:?}, tokens issued before {}", issued_before.text())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_revoked_is_a_line_each() {
        let mut revoked = Revoked::default();
        revoked.add_token("t\"1", Time(1_700_000_000_000));
        revoked.add_token("t\"1", Time(1_800_000_000_000));
        revoked.add_user("a b", Time(1_700_000_000_500));
        revoked.add_user("a b", Time(1_600_000_000_000));
        let expected = "{\"token\":\"t\\\"1\",\"at\":\"2023-11-14T22:13:20.000Z\"}\n\
            {\"user\":\"a b\",\"issued_before\":\"2023-11-14T22:13:20.500Z\"}\n";
        assert_eq!(revoked.text(), expected);
        assert_eq!(Revoked::parse(expected).as_ref(), Ok(&revoked));
        let revocations = revoked.revocations();
        assert!(revocations.tokens.contains("t\"1"));
        assert_eq!(revocations.users.get("a b"), Some(&1_700_000_000_500));
        revoked.add_user("a b", Time(1_700_000_000_501));
        assert_eq!(revoked.revocations().users.get("a b"), Some(&1_700_000_000_501), "the latest counts");
    }

    #[test]
    fn a_damaged_line_is_named() {
        for text in [
            "{\"token\":\"t\",\"at\":\"2023-11-14T22:13:20Z\"}\n{\"token\":\"u\"",
            "\n{\"user\":\"u\",\"issued_before\":\"yesterday\"}",
            "\n{\"user\":\"u\"}",
            "\n{\"user\":\"u\",\"token\":\"t\",\"at\":\"2023-11-14T22:13:20Z\"}",
            "\nt1",
        ] {
            let error = Revoked::parse(text).expect_err(text).to_string();
            assert!(error.starts_with("line 2: "), "{error}");
        }
    }

    #[test]
    fn a_time_is_written_in_several_ways() {
        for text in ["2023-11-14T22:13:20Z", "2023-11-14 22:13:20", " 2023-11-14T22:13:20.000Z"] {
            assert_eq!(Time::parse(text), Some(Time(1_700_000_000_000)), "{text}");
        }
        for text in ["", "now", "1700000000", "1969-12-31T23:59:59Z"] {
            assert_eq!(Time::parse(text), None, "{text}");
        }
        assert!(Time(u64::MAX).text().starts_with("9999-12-31"));
    }
}

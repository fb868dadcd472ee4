//! Names in rules: `board:*`, `todos:{user.id}`.
//!
//! A name has segments, with `:` or `/` between them. `*` is any text within one, `**` any text at all; both may be empty. What
//! stands in braces is put in when it is known who asks, as text that means itself, whatever is in it.

use thiserror::Error;

use super::place::Place;
use crate::auth::Asker;
use crate::limits::{KEY_BYTES_MAX, MAP_NAME_BYTES_MAX, PATTERN_BYTES_MAX};

/// A pattern as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Box<[Piece]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    /// Within a segment.
    Star,
    Globstar,
    Of(Place),
}

/// The same for one who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Box<[Matched]>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Matched {
    Text(Box<str>),
    Star,
    Globstar,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadPattern {
    #[error("a pattern has 1 to {PATTERN_BYTES_MAX} bytes")]
    Length,
    #[error("`{{` needs a `}}` behind it; a name with braces cannot be named")]
    Brace,
    #[error("in braces stands user.id, user.session or claims. with the name of a claim")]
    Place,
    #[error("more than two `*` in a row")]
    Stars,
}

impl Template {
    /// # Errors
    /// [`BadPattern`].
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        if !(1..=PATTERN_BYTES_MAX).contains(&text.len()) {
            return Err(BadPattern::Length);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['*', '{', '}']) {
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].into()));
            }
            rest = &rest[at..];
            if let Some(inner) = rest.strip_prefix('{') {
                let (place, behind) = inner.split_once('}').ok_or(BadPattern::Brace)?;
                pieces.push(Piece::Of(Place::parse(place).ok_or(BadPattern::Place)?));
                rest = behind;
            } else if rest.starts_with("***") {
                return Err(BadPattern::Stars);
            } else if let Some(behind) = rest.strip_prefix("**") {
                pieces.push(Piece::Globstar);
                rest = behind;
            } else if let Some(behind) = rest.strip_prefix('*') {
                pieces.push(Piece::Star);
                rest = behind;
            } else {
                return Err(BadPattern::Brace);
            }
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Self(pieces.into()))
    }

    /// The places that it takes something from.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Of(place) => Some(place),
            _ => None,
        })
    }

    /// The pattern that it is for everybody; `None` if it is another for each.
    pub fn fixed(&self) -> Option<Pattern> {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => Some(Matched::Text(text.clone())),
            Piece::Star => Some(Matched::Star),
            Piece::Globstar => Some(Matched::Globstar),
            Piece::Of(_) => None,
        });
        pieces.collect::<Option<Box<[_]>>>().map(Pattern)
    }

    /// The pattern for one who asks; `None` if that has nothing to put in, or something that is more than a segment or none.
    pub fn of(&self, asker: &Asker<'_>) -> Option<Pattern> {
        let mut pieces: Vec<Matched> = Vec::with_capacity(self.0.len());
        for piece in &self.0 {
            let text = match piece {
                Piece::Star => {
                    pieces.push(Matched::Star);
                    continue;
                }
                Piece::Globstar => {
                    pieces.push(Matched::Globstar);
                    continue;
                }
                Piece::Text(text) => text.clone(),
                Piece::Of(place) => place.text(asker).filter(|text| is_segment(text))?.into(),
            };
            match pieces.last_mut() {
                Some(Matched::Text(before)) => *before = format!("{before}{text}").into(),
                _ => pieces.push(Matched::Text(text)),
            }
        }
        Some(Pattern(pieces.into()))
    }
}

fn is_segment(text: &str) -> bool {
    !text.is_empty() && !text.contains(is_separator)
}

const fn is_separator(c: char) -> bool {
    matches!(c, ':' | '/')
}

const NAME_BYTES_MAX: usize =
    if MAP_NAME_BYTES_MAX > KEY_BYTES_MAX { MAP_NAME_BYTES_MAX } else { KEY_BYTES_MAX };

/// Offsets in a name.
#[derive(Clone, Copy)]
struct Offsets([u64; NAME_BYTES_MAX / 64 + 1]);

impl Offsets {
    const NONE: Self = Self([0; NAME_BYTES_MAX / 64 + 1]);

    const fn add(&mut self, offset: usize) {
        self.0[offset / 64] |= 1 << (offset % 64);
    }

    const fn has(&self, offset: usize) -> bool {
        self.0[offset / 64] & (1 << (offset % 64)) != 0
    }
}

impl Pattern {
    /// Every name there is.
    pub fn everything() -> Self {
        Self(Box::new([Matched::Globstar]))
    }

    /// Bytes that it takes beside itself.
    pub fn bytes(&self) -> usize {
        let text = |piece: &Matched| if let Matched::Text(text) = piece { text.len() } else { 0 };
        self.0.iter().map(|piece| size_of::<Matched>() + text(piece)).sum()
    }

    /// This name alone, whatever is in it.
    pub fn literal(name: &str) -> Self {
        Self(Box::new([Matched::Text(name.into())]))
    }

    /// Whether it is every name there is.
    pub fn is_everything(&self) -> bool {
        *self.0 == [Matched::Globstar]
    }

    /// What all names begin with that it matches; `None` if that is no text.
    pub fn beginning(&self) -> Option<&str> {
        match self.0.first()? {
            Matched::Text(text) => Some(text),
            Matched::Star | Matched::Globstar => None,
        }
    }

    /// O(length of the name times pieces), whatever the pattern. A name that is longer than any is not matched.
    pub fn matches(&self, name: &str) -> bool {
        match &*self.0 {
            [Matched::Text(text)] => &**text == name,
            [Matched::Globstar] => true,
            [Matched::Text(text), Matched::Globstar] => name.starts_with(&**text),
            [Matched::Text(text), Matched::Star] => {
                name.strip_prefix(&**text).is_some_and(|rest| !rest.contains(is_separator))
            }
            pieces => name.len() <= NAME_BYTES_MAX && matches_pieces(pieces, name.as_bytes()),
        }
    }
}

/// Which offsets each piece can end at, one piece after the other.
fn matches_pieces(pieces: &[Matched], name: &[u8]) -> bool {
    let mut reached = Offsets::NONE;
    reached.add(0);
    for piece in pieces {
        let mut next = Offsets::NONE;
        match piece {
            Matched::Text(text) => {
                let text = text.as_bytes();
                let fits = |at: &usize| reached.has(*at) && name[*at..].starts_with(text);
                (0..=name.len()).filter(fits).for_each(|at| next.add(at + text.len()));
            }
            Matched::Star | Matched::Globstar => {
                let mut is_within = false;
                for at in 0..=name.len() {
                    let is_stopped =
                        *piece == Matched::Star && at > 0 && is_separator(char::from(name[at - 1]));
                    is_within = reached.has(at) || (is_within && !is_stopped);
                    if is_within {
                        next.add(at);
                    }
                }
            }
        }
        reached = next;
    }
    reached.has(name.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Identity;

    fn identity(claims: &str) -> Identity {
        Identity::of_claims(&serde_json::from_str(claims).expect("claims"), "roles").expect("an identity")
    }

    fn matches(pattern: &str, name: &str) -> bool {
        let identity = identity(r#"{"sub":"u1"}"#);
        Template::parse(pattern)
            .expect(pattern)
            .of(&(&identity).into())
            .is_some_and(|pattern| pattern.matches(name))
    }

    /// Goal: the fast ways and the general one say the same as the definition. Method: all short patterns and names over an
    /// alphabet of what matters, beside a recursion that is the definition.
    #[test]
    fn patterns_match_what_they_say() {
        fn defined(pattern: &[u8], name: &[u8]) -> bool {
            match pattern {
                [] => name.is_empty(),
                [b'*', b'*', rest @ ..] => (0..=name.len()).any(|at| defined(rest, &name[at..])),
                [b'*', rest @ ..] => {
                    let end = name.iter().position(|byte| b":/".contains(byte)).unwrap_or(name.len());
                    (0..=end).any(|at| defined(rest, &name[at..]))
                }
                [first, rest @ ..] => name.first() == Some(first) && defined(rest, &name[1..]),
            }
        }
        let words = |letters: &str, length: u32| {
            let letters: Vec<char> = letters.chars().collect();
            let count = letters.len().pow(length);
            (0..count).map(move |mut number| {
                let mut word = String::new();
                for _ in 0..length {
                    word.push(letters[number % letters.len()]);
                    number /= letters.len();
                }
                word
            })
        };
        let mut compared = 0;
        let patterns = (1..=5).flat_map(|length| words("a:*", length));
        for pattern in patterns.filter(|pattern| !pattern.contains("***")) {
            for name in (0..=5).flat_map(|length| words("ab:", length)) {
                assert_eq!(
                    matches(&pattern, &name),
                    defined(pattern.as_bytes(), name.as_bytes()),
                    "{pattern} and {name}"
                );
                compared += 1;
            }
        }
        assert!(compared > 50_000, "{compared}");
    }

    #[test]
    fn what_is_put_in_means_itself() {
        let of = |claims: &str, name: &str| {
            let pattern = Template::parse("team:{claims.team}:*").expect("a pattern");
            pattern.of(&(&identity(claims)).into()).is_some_and(|pattern| pattern.matches(name))
        };
        assert!(of(r#"{"sub":"u","team":"a"}"#, "team:a:x") && !of(r#"{"sub":"u","team":"a"}"#, "team:b:x"));
        assert!(of(r#"{"sub":"u","team":7}"#, "team:7:x"));
        for text in ["*", "**", "{user.id}"] {
            let claims = serde_json::json!({ "sub": "u", "team": text }).to_string();
            assert!(!of(&claims, "team:b:x") && of(&claims, &format!("team:{text}:x")), "{text}");
        }
        for nothing in [
            r#"{"sub":"u"}"#,
            r#"{"sub":"u","team":""}"#,
            r#"{"sub":"u","team":{"a":1}}"#,
            r#"{"sub":"u","team":["a"]}"#,
            r#"{"sub":"u","team":null}"#,
            r#"{"sub":"u","team":true}"#,
            r#"{"sub":"u","team":1.5}"#,
            r#"{"sub":"u","team":"a:x"}"#,
            r#"{"sub":"u","team":"a/x"}"#,
        ] {
            for name in ["team::x", "team:a:x", "team:a:x:x", "team:a/x:x", "team:null:x", "team:true:x"] {
                assert!(!of(nothing, name), "{nothing} and {name}");
            }
        }
    }

    #[test]
    fn a_bad_pattern_says_why() {
        let long = "a".repeat(PATTERN_BYTES_MAX + 1);
        for (text, error) in [
            ("", BadPattern::Length),
            (&*long, BadPattern::Length),
            ("a{user.id", BadPattern::Brace),
            ("a}b", BadPattern::Brace),
            ("{user.name}", BadPattern::Place),
            ("{claims.}", BadPattern::Place),
            ("{}", BadPattern::Place),
            ("a***", BadPattern::Stars),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text:.20}");
        }
    }

    /// Goal: the worst pattern on the worst name is still one pass a piece.
    #[test]
    fn a_name_beyond_all_is_not_matched() {
        let pattern = "a*".repeat(PATTERN_BYTES_MAX / 2);
        assert!(matches(&pattern, &"a".repeat(NAME_BYTES_MAX)));
        assert!(!matches(&pattern, &format!("{}:", "a".repeat(NAME_BYTES_MAX - 1))));
        assert!(!matches("*a*", &"a".repeat(NAME_BYTES_MAX + 1)));
    }
}

//! Canonical JSON, read where it lies. Values are kept in that form, so nothing here can fail: there is no white space, names of
//! members are in order and each there once.

use std::borrow::Cow;

/// How long the value is that `json` begins with.
fn value_len(json: &[u8]) -> usize {
    match json.first() {
        Some(b'"') => text_len(json),
        Some(b'{' | b'[') => {
            let (mut depth, mut at) = (0_usize, 0);
            while let Some(&byte) = json.get(at) {
                match byte {
                    b'"' => {
                        at += text_len(&json[at..]);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            at
        }
        _ => json.iter().position(|byte| matches!(byte, b',' | b'}' | b']')).unwrap_or(json.len()),
    }
}

/// The same of a text, with its quotes.
fn text_len(json: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = json.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        match json[at] {
            b'"' => return at + 1,
            _ => at += 2,
        }
    }
    json.len()
}

/// The text between the quotes of a name or a text, as it is meant.
pub fn unescaped(escaped: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', escaped).is_none() {
        return Cow::Borrowed(escaped);
    }
    let mut text = Vec::with_capacity(escaped.len());
    let mut at = 0;
    while let Some(&byte) = escaped.get(at) {
        if byte != b'\\' {
            text.push(byte);
            at += 1;
            continue;
        }
        at += 2;
        match escaped.get(at - 1) {
            Some(b'b') => text.push(8),
            Some(b't') => text.push(b'\t'),
            Some(b'n') => text.push(b'\n'),
            Some(b'f') => text.push(12),
            Some(b'r') => text.push(b'\r'),
            // Only control characters are written so: `\u00` and two digits.
            Some(b'u') => {
                let digit = |place: usize| {
                    let digit = escaped.get(at + place).copied().unwrap_or(b'0');
                    char::from(digit).to_digit(16).map_or(0, |digit| digit as u8)
                };
                text.push(digit(2) << 4 | digit(3));
                at += 4;
            }
            Some(&itself) => text.push(itself),
            None => {}
        }
    }
    Cow::Owned(text)
}

/// What is between the brackets of an array or an object; `None` for other values.
pub fn inside(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'{', inside @ .., b'}'] | [b'[', inside @ .., b']'] => Some(inside),
        _ => None,
    }
}

/// What is between the quotes of a text; `None` for other values.
pub fn text(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', text @ .., b'"'] => Some(text),
        _ => None,
    }
}

/// The elements of an array, given what is inside it.
#[derive(Clone, Copy)]
pub struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// `None` if the value is no array.
    pub fn of(value: &'a [u8]) -> Option<Self> {
        if value.first() == Some(&b'[') { inside(value).map(Self) } else { None }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (value, rest) = self.0.split_at(value_len(self.0));
        self.0 = rest.strip_prefix(b",").unwrap_or(rest);
        Some(value)
    }
}

/// The members of an object, each with its name as it is escaped.
#[derive(Clone, Copy)]
pub struct Members<'a>(&'a [u8]);

impl<'a> Members<'a> {
    /// `None` if the value is no object.
    pub fn of(value: &'a [u8]) -> Option<Self> {
        if value.first() == Some(&b'{') { inside(value).map(Self) } else { None }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let (name, rest) = self.0.split_at(text_len(self.0));
        let rest = rest.strip_prefix(b":").unwrap_or(rest);
        let (value, rest) = rest.split_at(value_len(rest));
        self.0 = rest.strip_prefix(b",").unwrap_or(rest);
        Some((text(name).unwrap_or_default(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_stepped_over_whole() {
        let value = br#"{"a\"}":[1,[2,{"x":"]}"}],"\\"],"b":{},"c":-1.5e-7,"d":null}"#;
        let members: Vec<_> = Members::of(value).unwrap().map(|(name, value)| (name, value.len())).collect();
        assert_eq!(members, [(&br#"a\"}"#[..], 23), (b"b", 2), (b"c", 7), (b"d", 4)]);
        let (_, array) = Members::of(value).unwrap().next().unwrap();
        let elements: Vec<&[u8]> = Elements::of(array).unwrap().collect();
        assert_eq!(elements, [&b"1"[..], br#"[2,{"x":"]}"}]"#, br#""\\""#]);
        assert!(Members::of(b"[]").is_none() && Elements::of(b"{}").is_none() && Members::of(b"1").is_none());
    }

    #[test]
    fn every_escape_of_the_canonical_form_is_read() {
        let mut written = Vec::new();
        let every: String = (0..0x80_u8).map(char::from).chain(['é', '\u{1F600}']).collect();
        crate::wire::json::write_string(&mut written, &every);
        assert_eq!(&*unescaped(text(&written).unwrap()), every.as_bytes());
    }
}

//! Reads JSON as programs print it, byte by byte and without building anything.
//!
//! *Plain* is most of what `JSON.stringify` makes, and Python's `json.dumps`: no space but one behind a comma or a colon, names without
//! escapes, strings and numbers as canonical form has them, the latter with up to 15 digits behind or 18 without a point, nothing
//! nested very deep. Whatever is written in another way gives `None`, at the place where it is met, and says nothing about it: the
//! parser reads that, and has its answer to what is no JSON.
//!
//! Invariant: what is read to its end is JSON, and the parser reads the same from it.

use super::string::plain_len;
use crate::limits::JSON_DEPTH_MAX;

/// Nesting of a plain value: as deep as most documents go, and not near what a message may have.
const DEPTH_MAX: usize = 32;
const _: () = assert!(DEPTH_MAX <= JSON_DEPTH_MAX / 2);
/// Digits of an integer that 64 bits hold, whatever they are.
const INTEGER_DIGITS_MAX: usize = 18;
/// Digits of a decimal that a double gives back as they are, and zeros behind its point before it is printed with an exponent.
const DECIMAL_DIGITS_MAX: usize = 15;
const DECIMAL_ZEROS_MAX: usize = 5;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    text: &'a str,
    /// The next byte to be read.
    at: usize,
    /// Whether the value at hand has had its names in order and no spaces so far.
    is_canonical: bool,
}

/// A value as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainValue<'a> {
    pub json: &'a str,
    /// Whether that is its canonical form. If not, it is so but for the order of names and for spaces.
    pub is_canonical: bool,
}

impl<'a> Plain<'a> {
    pub const fn new(text: &'a str) -> Self {
        Self { text, at: 0, is_canonical: true }
    }

    /// Whether everything has been read.
    pub const fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Reads an object. `each` reads one member.
    #[inline(always)]
    pub fn members(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.list((b'{', b'}'), &mut each)
    }

    /// Reads an array. `each` reads one element.
    #[inline(always)]
    pub fn elements(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.list((b'[', b']'), &mut each)
    }

    #[inline(always)]
    fn list(
        &mut self,
        (open, close): (u8, u8),
        each: &mut impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.expect(open)?;
        if self.eat(close) {
            return Some(());
        }
        loop {
            each(self)?;
            match self.next()? {
                b',' => self.space(),
                end => return (end == close).then_some(()),
            }
        }
    }

    /// Steps over the name of a member and its colon, if it is this one; `name` has its quotes and the colon.
    #[inline(always)]
    pub fn eat_name(&mut self, name: &'static str) -> bool {
        let is_next = self.eat_text(name);
        if is_next {
            self.space();
        }
        is_next
    }

    /// Steps over this text if it is next.
    #[inline(always)]
    pub fn eat_text(&mut self, text: &'static str) -> bool {
        let is_next =
            self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(text.as_bytes()));
        self.at += if is_next { text.len() } else { 0 };
        is_next
    }

    /// Reads the name of a member and its colon.
    #[inline(always)]
    pub fn name(&mut self) -> Option<&'a str> {
        let name = self.string()?;
        self.expect(b':')?;
        self.space();
        Some(name)
    }

    /// Reads a string without escapes. It has no control characters, as JSON has none.
    #[inline(always)]
    pub fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let start = self.at;
        self.at += plain_len(&self.text.as_bytes()[start..]);
        let string = &self.text[start..self.at];
        self.expect(b'"')?;
        Some(string)
    }

    /// Reads an integer in canonical form; its text.
    pub fn integer(&mut self) -> Option<&'a str> {
        let number = self.read(Self::skip_number)?.json;
        (!number.contains('.')).then_some(number)
    }

    /// Reads any value.
    #[inline(always)]
    pub fn value(&mut self) -> Option<PlainValue<'a>> {
        self.apart(|plain| plain.read(|plain| plain.skip_value(DEPTH_MAX)))
    }

    /// Has `read` go on from here, with a copy: so this one stays in the registers of whoever reads the usual parts of a message,
    /// which nothing but inlined calls ever sees.
    #[inline(always)]
    pub fn apart<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut copy = *self;
        let found = read(&mut copy)?;
        *self = copy;
        Some(found)
    }

    fn read(&mut self, skip: impl FnOnce(&mut Self) -> Option<()>) -> Option<PlainValue<'a>> {
        let start = self.at;
        self.is_canonical = true;
        skip(self)?;
        Some(PlainValue { json: &self.text[start..self.at], is_canonical: self.is_canonical })
    }

    fn skip_value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.skip_string(),
            b'{' => self.skip_object(depth.checked_sub(1)?),
            b'[' => {
                let depth = depth.checked_sub(1)?;
                self.elements(|plain| plain.skip_value(depth))
            }
            b't' => self.eat_text("true").then_some(()),
            b'f' => self.eat_text("false").then_some(()),
            b'n' => self.eat_text("null").then_some(()),
            _ => self.skip_number(),
        }
    }

    fn skip_object(&mut self, depth: usize) -> Option<()> {
        let mut previous = None;
        self.members(|plain| {
            let name = plain.name()?;
            plain.is_canonical &= previous.is_none_or(|previous| previous < name);
            previous = Some(name);
            plain.skip_value(depth)
        })
    }

    fn skip_string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            self.at += plain_len(&self.text.as_bytes()[self.at..]);
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => self.skip_escape()?,
                _ => return None,
            }
        }
    }

    /// Steps over what follows a backslash, where canonical form has it, too.
    fn skip_escape(&mut self) -> Option<()> {
        matches!(self.next()?, b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't').then_some(())
    }

    /// Steps over a number in canonical form.
    fn skip_number(&mut self) -> Option<()> {
        let is_negative = self.eat(b'-');
        let is_zero = self.peek() == Some(b'0');
        let whole = self.skip_digits();
        if whole == 0 || is_zero && whole > 1 || whole > INTEGER_DIGITS_MAX {
            return None;
        }
        match self.peek() {
            Some(b'.') => self.skip_fraction(whole, is_zero)?,
            _ if is_zero && is_negative => return None,
            _ => {}
        }
        // What may follow a number is looked for where it stands; this would be a part of it.
        (!matches!(self.peek(), Some(b'e' | b'E'))).then_some(())
    }

    /// Steps over a point and what is behind it; before it there are so many digits, or just a zero.
    fn skip_fraction(&mut self, whole: usize, is_zero: bool) -> Option<()> {
        self.at += 1;
        let start = self.at;
        let digits = self.skip_digits();
        let fraction = &self.text.as_bytes()[start..self.at];
        let zeros = fraction.iter().take_while(|&&digit| digit == b'0').count();
        let is_canonical = whole + digits <= DECIMAL_DIGITS_MAX
            && fraction.last().is_some_and(|&last| last != b'0')
            && !(is_zero && zeros > DECIMAL_ZEROS_MAX);
        is_canonical.then_some(())
    }

    /// Steps over digits; over how many.
    #[inline(always)]
    fn skip_digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    /// Steps over the one space that some write behind a comma and a colon.
    #[inline(always)]
    fn space(&mut self) {
        if self.eat(b' ') {
            self.is_canonical = false;
        }
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }

    #[inline(always)]
    fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// The next byte.
    #[inline(always)]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<PlainValue<'_>> {
        let mut plain = Plain::new(json);
        plain.value().filter(|_| plain.is_at_end())
    }

    #[test]
    fn what_is_canonical_is_told_from_what_is_not() {
        for json in [
            r#""""#,
            r#""a\"\\\b\f\n\r\té😀/""#,
            "0",
            "-1",
            "123456789012345678",
            "0.5",
            "-0.000001",
            "12345.6789",
            "[]",
            "{}",
            r#"[true,false,null,[0.1,{"a":{},"b":[]}]]"#,
            "8.00000000000003",
            r#"{"":1,"B":2,"a":3,"aa":4,"é":5}"#,
            // In the order of UTF-16, these two are the other way round.
            "{\"\u{FF5E}\":1,\"😀\":2}",
        ] {
            assert_eq!(read(json), Some(PlainValue { json, is_canonical: true }), "{json}");
        }
        for json in ["[1, 2]", r#"{"a": 1}"#, r#"{"b":1,"a":2}"#, r#"{"a":1,"a":2}"#, r#"[{"b":1,"a":2},1]"#]
        {
            assert_eq!(read(json), Some(PlainValue { json, is_canonical: false }), "{json}");
        }
    }

    #[test]
    fn what_is_not_plain_is_not_read() {
        let (deep, long) = ("[".repeat(33) + &"]".repeat(33), "1".repeat(19));
        let nested = r#"{"a":"#.repeat(33) + "1" + &"}".repeat(33);
        for json in [
            "",
            " 1",
            "1 ",
            "[ 1]",
            "[1 ]",
            "[1,  2]",
            "{\"a\" :1}",
            "{\"a\":\n1}",
            "1e3",
            "1E3",
            "1.5e3",
            "01",
            "-",
            "1.",
            ".5",
            "+1",
            "tru",
            "truE",
            "nul",
            "[1",
            "[1,]",
            "[,1]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "\"",
            "\"a",
            "\"\\",
            "\"\\x\"",
            // A slash needs no backslash.
            r#""\/""#,
            // The double next to it is printed as 8.000000000000004.
            "8.000000000000003",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\uDC00\"",
            "\"a\nb\"",
            "\"a\0\"",
            "[1]]",
            r#"{"\u0061":1}"#,
            &deep,
            &nested,
            &long,
        ] {
            assert_eq!(read(json), None, "{json}");
        }
        assert!(read(&deep[1..65]).is_some() && read(&long[1..]).is_some(), "just so much is plain");
        assert!(read(&nested[5..nested.len() - 1]).is_some(), "just so deep is plain");
    }
}

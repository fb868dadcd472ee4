//! Reads JSON byte by byte and builds nothing: for messages that the parser refuses, and for those of which only the
//! `id` is wanted.
//!
//! Invariant: what is read to its end without a fault is exactly what the parser takes, which `tests/messages` holds.

use std::ops::Range;

use super::fault::{Fault, What};
use crate::limits::{JSON_DEPTH_MAX, MESSAGE_BYTES_CEILING, OPS_PER_REQUEST_MAX};

/// Steps of a path that are told.
pub const PATH_STEPS_MAX: usize = 4;
/// Faults that are told. More are not kept, as nobody reads them.
const FOUND_MAX: usize = OPS_PER_REQUEST_MAX;
/// Places in a message are kept in 32 bits.
const _: () = assert!(MESSAGE_BYTES_CEILING < u32::MAX as usize);
/// The member that answers repeat.
const ID: &str = "id";

/// One step from the message to what is inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A member whose name is among those that were asked for; empty for any other.
    Member(&'static str),
    /// The element of an array, from 0.
    Element(usize),
}

/// A value that is JSON and that no value here can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub fault: Fault,
    /// Where it is, in its first steps. What is wrong in the name of a member is wrong in the object that has it.
    pub path: Vec<Step>,
}

/// What a message is, read to its end or to where it is no JSON any more.
#[derive(Debug)]
pub struct Scan {
    /// Where the value of the last `id` is that was read, if it was a string or a number.
    pub id: Option<Range<usize>>,
    /// Why it is no JSON object.
    pub end: Result<(), Fault>,
    /// Of every part of a message, as the first steps of the path tell it, the first fault.
    pub found: Vec<Found>,
    /// Whether these are all.
    pub is_complete: bool,
    /// Every fault, and where what has it is.
    pub places: Vec<(Range<usize>, Fault)>,
}

/// Reads a whole message. Paths tell the `names`.
pub fn scan(bytes: &[u8], names: &'static [&'static str]) -> Scan {
    let mut scanner = Scanner::new(bytes, names);
    let end = match std::str::from_utf8(bytes) {
        Ok(_) => scanner.object(),
        // Read as far as it goes, for the `id`.
        Err(error) => {
            scanner.bytes = &bytes[..error.valid_up_to()];
            scanner.object().and(Err(scanner.fault(What::NotUtf8))).map_err(|fault| match fault.what {
                What::Unfinished | What::UnfinishedString => {
                    scanner.fault_at(error.valid_up_to(), What::NotUtf8)
                }
                _ => fault,
            })
        }
    };
    let Scanner { id, found, is_complete, places, .. } = scanner;
    Scan { id, end, found, is_complete, places }
}

/// Where the value of the first `id` of a message is, if it is a string or a number.
pub fn find_id(bytes: &[u8]) -> Option<Range<usize>> {
    let mut scanner = Scanner { stops_at_id: true, ..Scanner::new(bytes, &[]) };
    // What is wrong before it, is wrong with whoever wrote it; what comes after it, nobody reads.
    let _ = scanner.object();
    scanner.id
}

struct Scanner<'a> {
    bytes: &'a [u8],
    names: &'static [&'static str],
    stops_at_id: bool,
    /// The next byte to be read.
    at: usize,
    /// `{` or `[` of each object and array that is open.
    open: Vec<u8>,
    /// Where in the outermost of them.
    steps: [RawStep; PATH_STEPS_MAX],
    /// Where what nests too deep begins.
    deep: Option<usize>,
    id: Option<Range<usize>>,
    found: Vec<Found>,
    /// The steps of the fault that was found last.
    last_found: Option<[RawStep; PATH_STEPS_MAX]>,
    is_complete: bool,
    places: Vec<(Range<usize>, Fault)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RawStep {
    None,
    /// Where the name is, without its quotes.
    Member(u32, u32),
    Element(u32),
}

/// What comes next.
enum Next {
    Value,
    /// An element, or the end of the array.
    FirstElement,
    /// A name, or the end of the object.
    FirstName,
    Name,
    /// A comma, or an end.
    More,
}

impl<'a> Scanner<'a> {
    fn new(bytes: &'a [u8], names: &'static [&'static str]) -> Self {
        Self {
            bytes,
            names,
            stops_at_id: false,
            at: 0,
            open: Vec::new(),
            steps: [RawStep::None; PATH_STEPS_MAX],
            deep: None,
            id: None,
            found: Vec::new(),
            last_found: None,
            is_complete: true,
            places: Vec::new(),
        }
    }

    fn object(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.peek() != Some(b'{') {
            return Err(self.fault(What::NotAnObject));
        }
        let mut next = Next::Value;
        loop {
            self.skip_space();
            let byte = self.peek().ok_or_else(|| self.fault(What::Unfinished))?;
            next = match (next, byte) {
                (Next::FirstElement, b']') | (Next::FirstName, b'}') => self.close(),
                (Next::Value | Next::FirstElement, _) => self.value(byte)?,
                (Next::FirstName | Next::Name, _) => self.name(byte)?,
                (Next::More, _) => self.more(byte)?,
            };
            if self.open.is_empty() || self.stops_at_id && self.id.is_some() {
                break;
            }
        }
        self.skip_space();
        if self.at < self.bytes.len() { Err(self.fault(What::AfterEnd)) } else { Ok(()) }
    }

    fn value(&mut self, byte: u8) -> Result<Next, Fault> {
        let start = self.at;
        let half = match byte {
            b'{' | b'[' => return Ok(self.open(byte)),
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return self.literal(),
        };
        if let Some(fault) = half {
            self.find(fault, self.open.len(), start..self.at);
        }
        // At the very end it might be the front of a longer one.
        if self.open.len() == 1 && self.at < self.bytes.len() && self.is_id(self.steps[0]) {
            self.id = Some(start..self.at);
        }
        Ok(Next::More)
    }

    fn open(&mut self, byte: u8) -> Next {
        if self.open.len() == JSON_DEPTH_MAX {
            self.deep = Some(self.at);
        }
        self.at += 1;
        if let Some(step) = self.steps.get_mut(self.open.len()) {
            *step = if byte == b'[' { RawStep::Element(0) } else { RawStep::None };
        }
        self.open.push(byte);
        if byte == b'[' { Next::FirstElement } else { Next::FirstName }
    }

    fn close(&mut self) -> Next {
        self.at += 1;
        self.open.pop();
        if self.open.len() == JSON_DEPTH_MAX
            && let Some(start) = self.deep.take()
        {
            let fault = self.fault_at(start, What::TooDeep);
            self.find(fault, self.open.len(), start..self.at);
        }
        Next::More
    }

    fn more(&mut self, byte: u8) -> Result<Next, Fault> {
        let is_array = self.open.last() == Some(&b'[');
        match byte {
            b']' if is_array => Ok(self.close()),
            b'}' if !is_array => Ok(self.close()),
            b',' => {
                self.at += 1;
                if let Some(RawStep::Element(index)) = self.steps.get_mut(self.open.len() - 1) {
                    *index += 1;
                }
                Ok(if is_array { Next::Value } else { Next::Name })
            }
            _ => Err(self.fault(What::NoComma)),
        }
    }

    fn name(&mut self, byte: u8) -> Result<Next, Fault> {
        if byte != b'"' {
            return Err(self.fault(What::NoName));
        }
        let start = self.at;
        let half = self.string()?;
        let end = self.at;
        if let Some(fault) = half {
            self.find(fault, self.open.len() - 1, start..end);
        }
        if let Some(step) = self.steps.get_mut(self.open.len() - 1) {
            *step = RawStep::Member(start as u32 + 1, end as u32 - 1);
        }
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.fault(What::NoColon));
        }
        self.at += 1;
        Ok(Next::Value)
    }

    /// Steps over a string; half a surrogate pair in it, if there is one.
    fn string(&mut self) -> Result<Option<Fault>, Fault> {
        let start = self.at;
        let mut half = None;
        self.at += 1;
        loop {
            let rest = &self.bytes[self.at..];
            let is_special = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
            self.at += rest.iter().position(is_special).unwrap_or(rest.len());
            match self.peek() {
                None => return Err(self.fault_at(start, What::UnfinishedString)),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(half);
                }
                Some(b'\\') => half = half.or(self.escape(start)?),
                Some(_) => return Err(self.fault(What::ControlCharacter)),
            }
        }
    }

    /// Steps over an escape in the string that began at `start`, or over two that are a surrogate pair.
    fn escape(&mut self, start: usize) -> Result<Option<Fault>, Fault> {
        let at = self.at;
        match self.bytes.get(at + 1) {
            None => Err(self.fault_at(start, What::UnfinishedString)),
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(None)
            }
            Some(b'u') => {
                let unit = self.code_unit(at).ok_or_else(|| self.fault(What::Escape))?;
                self.at += 6;
                let is_half = match unit {
                    0xd800..0xdc00 => {
                        let has_other = matches!(self.code_unit(self.at), Some(0xdc00..0xe000));
                        self.at += if has_other { 6 } else { 0 };
                        !has_other
                    }
                    0xdc00..0xe000 => true,
                    _ => false,
                };
                Ok(is_half.then(|| self.fault_at(at, What::HalfSurrogatePair)))
            }
            Some(_) => Err(self.fault(What::Escape)),
        }
    }

    /// The code unit of an escape such as `\u00e9` at this place, if there is one.
    fn code_unit(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
    }

    /// Steps over a number; whether a double cannot hold it.
    fn number(&mut self) -> Result<Option<Fault>, Fault> {
        let start = self.at;
        let wrong = self.fault_at(start, What::Number);
        self.skip(b"-", 1);
        if self.skip(b"0", 1) == 0 && self.skip(b"0123456789", usize::MAX) == 0 {
            return Err(wrong);
        }
        if self.skip(b".", 1) > 0 && self.skip(b"0123456789", usize::MAX) == 0 {
            return Err(wrong);
        }
        if self.skip(b"eE", 1) > 0 {
            self.skip(b"+-", 1);
            if self.skip(b"0123456789", usize::MAX) == 0 {
                return Err(wrong);
            }
        }
        if self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
            return Err(wrong);
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        let is_finite = text.parse().is_ok_and(f64::is_finite);
        Ok((!is_finite).then(|| self.fault_at(start, What::NumberTooLarge)))
    }

    fn literal(&mut self) -> Result<Next, Fault> {
        let rest = &self.bytes[self.at..];
        let word = [&b"true"[..], b"false", b"null"].into_iter().find(|&word| rest.starts_with(word));
        self.at += word.ok_or_else(|| self.fault(What::NoValue))?.len();
        Ok(Next::More)
    }

    /// Steps over at most `count` bytes that are among `these`; over how many.
    fn skip(&mut self, these: &[u8], count: usize) -> usize {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().take(count).take_while(|byte| these.contains(byte)).count();
        self.at += len;
        len
    }

    fn skip_space(&mut self) {
        self.skip(b" \t\n\r", usize::MAX);
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fault(&self, what: What) -> Fault {
        self.fault_at(self.at, what)
    }

    fn fault_at(&self, at: usize, what: What) -> Fault {
        Fault { what, byte: at as u32 }
    }

    /// Takes note of a fault in what is `steps` deep in the message.
    fn find(&mut self, fault: Fault, steps: usize, place: Range<usize>) {
        // What nests too deep is one fault, whatever is in it.
        if self.deep.is_some() {
            return;
        }
        self.places.push((place, fault));
        let mut raw = [RawStep::None; PATH_STEPS_MAX];
        let known = steps.min(PATH_STEPS_MAX);
        raw[..known].copy_from_slice(&self.steps[..known]);
        if self.last_found.is_some_and(|last| last[..PATH_STEPS_MAX - 1] == raw[..PATH_STEPS_MAX - 1]) {
            return;
        }
        self.last_found = Some(raw);
        if self.found.len() == FOUND_MAX {
            self.is_complete = false;
            return;
        }
        let path = raw[..known].iter().map(|&step| match step {
            RawStep::Element(index) => Step::Element(index as usize),
            RawStep::Member(start, end) => Step::Member(self.known_name(start, end)),
            RawStep::None => Step::Member(""),
        });
        self.found.push(Found { fault, path: path.collect() });
    }

    /// The name that stands there, if it is one of those that are told.
    fn known_name(&self, start: u32, end: u32) -> &'static str {
        self.names.iter().find(|name| self.is_named(start, end, name)).copied().unwrap_or_default()
    }

    fn is_id(&self, step: RawStep) -> bool {
        matches!(step, RawStep::Member(start, end) if self.is_named(start, end, ID))
    }

    fn is_named(&self, start: u32, end: u32, name: &str) -> bool {
        let raw = &self.bytes[start as usize..end as usize];
        if !raw.contains(&b'\\') {
            return raw == name.as_bytes();
        }
        let mut quoted = [b"\"", raw, b"\""].concat();
        simd_json::from_slice::<String>(&mut quoted).is_ok_and(|decoded| decoded == name)
    }
}

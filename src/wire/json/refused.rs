//! A message that the parser has refused: why, and what can be read of it all the same.
//!
//! The parser rewrites strings with escapes where they stand, and it has done so with those before the place where it
//! gave up. They are put back first, each as long as it was, so that every byte is where its client has put it.

use std::ops::Range;

use simd_json::{Node, Tape};

use super::fault::{Fault, What};
use super::scan::{Found, scan};
use super::write_string;
use crate::wire::Payload;

/// See the module. Costs what it takes only where a message was refused.
#[derive(Debug)]
pub struct Refused {
    strings: Vec<ParsedString>,
}

/// A string that the parser had read when it gave up.
#[derive(Debug)]
struct ParsedString {
    /// Its first byte behind the quote, and how many bytes of text are there now.
    start: usize,
    len: usize,
    /// Before here its closing quote is the last byte that is not space.
    before: usize,
}

/// What a refused message is.
#[derive(Debug)]
pub enum Diagnosis {
    /// JSON with values that nothing here can hold, which have been replaced: the parser takes it now.
    Mended(Faults),
    /// No JSON object. The `id` is where it stands before the fault.
    Broken { fault: Fault, id: Option<Range<usize>> },
}

/// What was replaced in a message; it is not empty.
#[derive(Debug)]
pub struct Faults {
    /// One for each part of the message that is at fault.
    pub found: Vec<Found>,
    /// Whether these are all parts.
    pub are_all: bool,
    /// The address of each text that stands for what was replaced, ascending.
    stand_ins: Vec<(usize, Fault)>,
}

impl Faults {
    /// What is wrong in a value of the mended message, if anything is.
    pub fn in_value(&self, value: &[Node<'_>]) -> Option<Fault> {
        value.iter().find_map(|node| match node {
            Node::String(text) => self.in_text(text),
            _ => None,
        })
    }

    /// What is wrong in a text of the mended message, such as a name, if anything is.
    pub fn in_text(&self, text: &str) -> Option<Fault> {
        let place = self.stand_ins.binary_search_by_key(&text.as_ptr().addr(), |&(address, _)| address);
        place.ok().map(|index| self.stand_ins[index].1)
    }
}

/// What replaces a value, or a name: whatever is at fault is longer.
const STAND_IN: &[u8] = b"\"\"";

impl Refused {
    /// `base` is the address of the message, whose first bytes have become `tape`.
    pub(super) fn new(base: usize, tape: &Tape<'_>, structurals: &[u32], len: usize) -> Self {
        let mut places = structurals.iter();
        let mut strings = Vec::new();
        for node in &tape.0 {
            let Node::String(text) = node else { continue };
            let start = text.as_ptr().addr() - base;
            let is_here = |&&place: &&u32| place as usize + 1 == start;
            if places.find(is_here).is_some() {
                let before = places.clone().next().map_or(len, |&next| next as usize);
                strings.push(ParsedString { start, len: text.len(), before });
            }
        }
        Self { strings }
    }

    /// Finds out what is wrong with the message, which must be the one that was refused, and replaces what is wrong with
    /// values in it. Paths tell the `names`.
    pub fn diagnose(self, payload: &mut Payload<'_>, names: &'static [&'static str]) -> Diagnosis {
        let bytes = payload.bytes_mut();
        self.strings.iter().for_each(|string| string.put_back(bytes));
        let scan = scan(bytes, names);
        let unclear = Fault { what: What::Unclear, byte: 0 };
        match scan.end {
            Ok(()) if !scan.found.is_empty() => {
                let base = bytes.as_ptr().addr();
                let mut stand_ins = Vec::with_capacity(scan.places.len());
                for (place, fault) in scan.places {
                    stand_ins.push((base + place.start + 1, fault));
                    let (head, rest) = bytes[place].split_at_mut(STAND_IN.len());
                    head.copy_from_slice(STAND_IN);
                    rest.fill(b' ');
                }
                stand_ins.sort_unstable_by_key(|&(address, _)| address);
                Diagnosis::Mended(Faults { found: scan.found, are_all: scan.is_complete, stand_ins })
            }
            end => Diagnosis::Broken { fault: end.err().unwrap_or(unclear), id: scan.id },
        }
    }
}

impl ParsedString {
    /// Writes the text as JSON again. That takes no more room than it had, as nothing is escaped that need not be.
    fn put_back(&self, bytes: &mut [u8]) {
        let Some(closing) = bytes[..self.before].iter().rposition(|&byte| byte == b'"') else { return };
        if closing <= self.start + self.len {
            return;
        }
        let mut json = Vec::with_capacity(closing - self.start + 2);
        write_string(&mut json, &String::from_utf8_lossy(&bytes[self.start..self.start + self.len]));
        let place = &mut bytes[self.start - 1..=closing];
        let (head, rest) = place.split_at_mut(json.len());
        head.copy_from_slice(&json);
        rest.fill(b' ');
    }
}

//! The values we write, and how we know one again.
//!
//! A value is a JSON string of a fixed size: `"<writer, 6 hex>.<sequence, 10 hex>.<padding>"`. The padding is cut
//! from a table at a place that depends on the sequence, so a value put together from two others is found out.

use crate::failure::{Failure, excerpt};

/// Quotes, writer, sequence and two dots: the shortest value.
pub const VALUE_BYTES_MIN: usize = 2 + WRITER_DIGITS + 1 + SEQUENCE_DIGITS + 1;
/// The longest, as JSON text: the server's default limit of one value.
pub const VALUE_BYTES_MAX: usize = 256 << 10;
const WRITER_DIGITS: usize = 6;
const SEQUENCE_DIGITS: usize = 10;
const PADDING: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ012345678";

/// Who wrote a value, and the how-manieth of theirs it is, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub writer: u32,
    pub sequence: u64,
}

/// All values of one size.
pub struct Values {
    bytes: usize,
    padding: Vec<u8>,
}

impl Values {
    /// `bytes`: size of each value as JSON text, with its quotes.
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.clamp(VALUE_BYTES_MIN, VALUE_BYTES_MAX);
        let padding = PADDING.iter().copied().cycle().take(PADDING.len() + bytes).collect();
        Self { bytes, padding }
    }

    /// Size of each value as JSON text.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn write(&self, out: &mut Vec<u8>, stamp: Stamp) {
        out.push(b'"');
        write_hex(out, u64::from(stamp.writer), WRITER_DIGITS);
        out.push(b'.');
        write_hex(out, stamp.sequence, SEQUENCE_DIGITS);
        out.push(b'.');
        out.extend_from_slice(self.padding(stamp.sequence));
        out.push(b'"');
    }

    /// Reads the raw JSON text of a value.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for every text that [`Values::write`] does not make.
    pub fn read(&self, raw: &[u8]) -> Result<Stamp, Failure> {
        self.parse(raw).ok_or_else(|| Failure::Wrong(format!("a value nobody wrote: {}", excerpt(raw))))
    }

    fn parse(&self, raw: &[u8]) -> Option<Stamp> {
        if raw.len() != self.bytes {
            return None;
        }
        let text = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let (writer, text) = text.split_at_checked(WRITER_DIGITS)?;
        let (sequence, text) = text.strip_prefix(b".")?.split_at_checked(SEQUENCE_DIGITS)?;
        let stamp = Stamp { writer: read_hex(writer)? as u32, sequence: read_hex(sequence)? };
        (text.strip_prefix(b".")? == self.padding(stamp.sequence)).then_some(stamp)
    }

    fn padding(&self, sequence: u64) -> &[u8] {
        let start = (sequence % PADDING.len() as u64) as usize;
        &self.padding[start..start + self.bytes - VALUE_BYTES_MIN]
    }
}

fn write_hex(out: &mut Vec<u8>, number: u64, digits: usize) {
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(number >> (4 * digit)) as usize & 15]);
    }
}

fn read_hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

/// Appends a decimal number.
pub fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_reads_back_as_written_and_has_the_size_asked_for() {
        for bytes in [VALUE_BYTES_MIN, 100, 4000] {
            let values = Values::new(bytes);
            for sequence in [0, 1, 60, 61, 1 << 39] {
                let stamp = Stamp { writer: 0xabc, sequence };
                let mut raw = Vec::new();
                values.write(&mut raw, stamp);
                assert_eq!(raw.len(), bytes);
                assert_eq!(values.read(&raw).unwrap(), stamp);
            }
        }
    }

    /// Goal: no damage goes unseen. Method: change each byte in turn; a changed digit may read as another stamp,
    /// but never as the same.
    #[test]
    fn every_single_damaged_byte_is_noticed() {
        let values = Values::new(100);
        let stamp = Stamp { writer: 1, sequence: 77 };
        let mut raw = Vec::new();
        values.write(&mut raw, stamp);
        for index in 0..raw.len() {
            let mut damaged = raw.clone();
            damaged[index] = if damaged[index] == b'0' { b'1' } else { b'0' };
            assert_ne!(values.parse(&damaged), Some(stamp), "byte {index}");
        }
    }

    #[test]
    fn numbers_are_decimal() {
        let mut out = Vec::new();
        for number in [0, 7, 10, u64::MAX] {
            write_number(&mut out, number);
            out.push(b' ');
        }
        assert_eq!(out, b"0 7 10 18446744073709551615 ");
    }
}

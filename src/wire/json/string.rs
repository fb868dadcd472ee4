//! JSON strings: what RFC 8259 section 7 wants escaped and nothing else, in the short form where there is one.

/// Writes `text` with its quotes.
///
/// Most strings are names of at most 16 bytes without an escape: one or two words, tested and copied as
/// words, which is cheaper than a call to `memcpy`. Of longer ones eight bytes are tested at a time, and what
/// needs no escape is copied in one piece.
#[inline]
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2 + WORD);
    out.push(b'"');
    let start = out.len();
    match (bytes.first_chunk::<WORD>(), bytes.last_chunk::<WORD>()) {
        _ if bytes.len() > 2 * WORD => write_long(out, bytes),
        (Some(first), Some(last)) => {
            let flags = escape_flags(u64::from_le_bytes(*first)) | escape_flags(u64::from_le_bytes(*last));
            if flags == 0 {
                out.extend_from_slice(first);
                out.truncate(start + bytes.len() - WORD);
                out.extend_from_slice(last);
            } else {
                write_long(out, bytes);
            }
        }
        _ => {
            let word = short_word(bytes);
            if escape_flags(word) == 0 {
                out.extend_from_slice(&word.to_le_bytes());
                out.truncate(start + bytes.len());
            } else {
                write_long(out, bytes);
            }
        }
    }
    out.push(b'"');
}

/// Bytes that [`write_string`] writes.
pub fn string_bytes(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.bytes().map(escaped).sum::<usize>() + text.len() + 2
}

/// Whether `text` is written as it is, between quotes.
pub fn is_plain(text: &str) -> bool {
    plain_len(text.as_bytes()) == text.len()
}

/// Bytes of the words that are tested at once.
const WORD: usize = 8;

/// Text of any length, with any escapes.
fn write_long(out: &mut Vec<u8>, mut bytes: &[u8]) {
    loop {
        let (plain, special) = bytes.split_at(plain_len(bytes));
        out.extend_from_slice(plain);
        let Some((&byte, rest)) = special.split_first() else { return };
        write_escape(out, byte);
        bytes = rest;
    }
}

/// Bytes before the first that needs an escape.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    match bytes.first_chunk::<WORD>().map(|word| escape_flags(u64::from_le_bytes(*word))) {
        Some(0) => WORD + plain_len_of_long(&bytes[WORD..]),
        Some(flags) => first_flag(flags),
        None => first_flag(escape_flags(short_word(bytes))).min(bytes.len()),
    }
}

/// The same of what is probably longer than a word.
fn plain_len_of_long(bytes: &[u8]) -> usize {
    let mut len = 0;
    while let Some(word) = bytes[len..].first_chunk::<WORD>() {
        let flags = escape_flags(u64::from_le_bytes(*word));
        if flags != 0 {
            return len + first_flag(flags);
        }
        len += WORD;
        if len == WORD {
            len += plain_blocks(&bytes[len..]) * BLOCK;
        }
    }
    let tail = &bytes[len..];
    len + first_flag(escape_flags(short_word(tail))).min(tail.len())
}

/// Bytes that are tested at once in a long text.
const BLOCK: usize = 32;

/// Blocks before the first with a byte that needs an escape.
#[inline]
fn plain_blocks(bytes: &[u8]) -> usize {
    // No early exit within a block, so that the compiler tests many bytes at once.
    let needs_escape = |block: &[u8; BLOCK]| {
        block.iter().fold(false, |found, &byte| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\'))
    };
    bytes.as_chunks::<BLOCK>().0.iter().take_while(|block| !needs_escape(block)).count()
}

/// Place of the first flagged byte; 8 if there is none.
#[inline]
const fn first_flag(flags: u64) -> usize {
    flags.trailing_zeros() as usize / 8
}

/// A word that begins with the fewer than eight bytes of `short` and goes on with spaces.
#[inline]
fn short_word(short: &[u8]) -> u64 {
    const SPACES: u64 = u64::from_ne_bytes([b' '; WORD]);
    let len = short.len();
    let begin = match (short.first_chunk::<4>(), short.last_chunk::<4>(), short) {
        (Some(first), Some(last), _) => {
            let [first, last] = [first, last].map(|half| u64::from(u32::from_le_bytes(*half)));
            first | last << (8 * (len - 4))
        }
        (_, _, [first, .., last]) => {
            let middle = u64::from(short[len / 2]) << (8 * (len / 2));
            u64::from(*first) | middle | u64::from(*last) << (8 * (len - 1))
        }
        (_, _, [only]) => u64::from(*only),
        (_, _, []) => 0,
    };
    begin | SPACES << (8 * len)
}

/// The top bit of each byte that needs an escape. Exact up to and including the first such byte: a borrow
/// out of it may flag a later byte wrongly, never an earlier one.
#[inline]
const fn escape_flags(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash) & TOPS
}

#[cold]
fn write_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_what_json_requires_is_escaped() {
        assert_eq!(written(""), r#""""#);
        assert_eq!(written("a\"b\\c/d"), r#""a\"b\\c/d""#);
        assert_eq!(written("\n\r\t\u{8}\u{c}"), r#""\n\r\t\b\f""#);
        assert_eq!(written("\0\u{1f}\u{7f}\u{80}é\u{2028}😀"), "\"\\u0000\\u001f\u{7f}\u{80}é\u{2028}😀\"");
    }

    #[test]
    fn every_byte_at_every_place_is_escaped_as_if_it_stood_alone() {
        for character in (0u8..0x80).map(char::from) {
            let alone = written(&character.to_string());
            assert_eq!(string_bytes(&character.to_string()), alone.len(), "{character:?}");
            let alone = &alone[1..alone.len() - 1];
            for before in 0..18 {
                for after in [0, 1, 7, 8, 9] {
                    let (left, right) = ("é".repeat(before / 2) + &"x".repeat(before % 2), "!".repeat(after));
                    assert_eq!(
                        written(&format!("{left}{character}{right}{character}")),
                        format!("\"{left}{alone}{right}{alone}\"")
                    );
                }
            }
        }
    }
}

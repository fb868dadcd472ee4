//! JSON strings: what RFC 8259 section 7 wants escaped and nothing else, in the short form where there is one.

/// Writes `text` with its quotes. Scans eight bytes at a time and copies what needs no escape in one piece.
#[inline]
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + 2);
    out.push(b'"');
    loop {
        let (plain, special) = rest.split_at(plain_len(rest));
        out.extend_from_slice(plain);
        let Some((&byte, tail)) = special.split_first() else { break };
        write_escape(out, byte);
        rest = tail;
    }
    out.push(b'"');
}

/// Whether `text` is written as it is, between quotes.
#[inline]
pub fn is_plain(text: &str) -> bool {
    plain_len(text.as_bytes()) == text.len()
}

/// Bytes before the first that needs an escape.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let flags = escape_flags(u64::from_le_bytes(*word));
        if flags != 0 {
            return index * 8 + flags.trailing_zeros() as usize / 8;
        }
    }
    let is_special = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    words.len() * 8 + tail.iter().position(is_special).unwrap_or(tail.len())
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

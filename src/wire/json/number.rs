//! JSON numbers: integers exactly, everything else as JavaScript prints it.
//!
//! Integers from -2^63 to 2^64-1 keep every digit. Other numbers are doubles, printed with the fewest digits
//! that read back the same, laid out as in ECMA-262 `Number::toString` (and so as in RFC 8785): no exponent
//! from 1e-6 up to 1e21, and no `.0`. A double that is a whole number prints as that number, so `1.0`, `1e0`
//! and `1` are one value; `-0` is `0`.

use simd_json::{Node, StaticNode};

use crate::limits::JSON_INTEGER_MAX;

/// A finite JSON number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Signed(i64),
    Unsigned(u64),
    /// Finite: `simd-json` refuses what a double cannot hold.
    Float(f64),
}

impl Number {
    /// `None` if the node is not a number.
    #[inline]
    pub fn of(node: &Node<'_>) -> Option<Self> {
        match node {
            Node::Static(StaticNode::I64(value)) => Some(Self::Signed(*value)),
            Node::Static(StaticNode::U64(value)) => Some(Self::Unsigned(*value)),
            Node::Static(StaticNode::F64(value)) => Some(Self::Float(*value)),
            _ => None,
        }
    }

    /// The whole number this is, if its size is at most [`JSON_INTEGER_MAX`] and so the same in every client.
    #[inline]
    pub fn whole(self) -> Option<i64> {
        let value = match self {
            Self::Signed(value) => value,
            Self::Unsigned(value) => i64::try_from(value).ok()?,
            Self::Float(value) => return whole_of_float(value),
        };
        (value.unsigned_abs() <= JSON_INTEGER_MAX).then_some(value)
    }

    /// Appends the canonical form: at most 25 bytes.
    #[inline]
    pub fn write_to(self, out: &mut Vec<u8>) {
        match self {
            Self::Signed(value) => write_integer(out, value),
            Self::Unsigned(value) => write_integer(out, value),
            Self::Float(value) => write_float(out, value),
        }
    }
}

/// Appends the decimal digits of an integer.
#[inline]
pub fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_float(out: &mut Vec<u8>, value: f64) {
    if let Some(whole) = whole_of_float(value) {
        return write_integer(out, whole);
    }
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(value);
    // An exponent has at most five characters, `e-324`.
    let tail = shortest.len().saturating_sub(5);
    match shortest.as_bytes()[tail..].iter().position(|&byte| byte == b'e') {
        None => out.extend_from_slice(shortest.strip_suffix(".0").unwrap_or(shortest).as_bytes()),
        Some(place) => {
            let (mantissa, exponent) = (&shortest[..tail + place], &shortest[tail + place + 1..]);
            let exponent = exponent.parse().expect("the printer's own exponent is a small integer");
            write_scientific(out, mantissa, exponent);
        }
    }
}

/// A float within the exactly counted range, `-0` included, as an integer.
#[inline]
fn whole_of_float(value: f64) -> Option<i64> {
    // The cast saturates, so what is too large fails the second test and a fraction the first.
    let whole = value as i64;
    (whole as f64 == value && whole.unsigned_abs() <= JSON_INTEGER_MAX).then_some(whole)
}

/// Lays out `mantissa` (`-d.ddd`) times ten to `exponent` as ECMA-262 section 6.1.6.1.20 does.
fn write_scientific(out: &mut Vec<u8>, mantissa: &str, exponent: i32) {
    const ZEROS: [u8; 21] = [b'0'; 21];
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    if unsigned.len() < mantissa.len() {
        out.push(b'-');
    }
    let (first, rest) = unsigned.split_at(1);
    let rest = rest.strip_prefix('.').unwrap_or("").trim_end_matches('0');
    match exponent {
        // Whole, as a double of 1e16 or more has no digits behind the point.
        16..21 => {
            out.extend_from_slice(first.as_bytes());
            out.extend_from_slice(rest.as_bytes());
            out.extend_from_slice(&ZEROS[..exponent as usize - rest.len()]);
        }
        -6..0 => {
            out.extend_from_slice(b"0.");
            out.extend_from_slice(&ZEROS[..-exponent as usize - 1]);
            out.extend_from_slice(first.as_bytes());
            out.extend_from_slice(rest.as_bytes());
        }
        _ => {
            out.extend_from_slice(first.as_bytes());
            if !rest.is_empty() {
                out.push(b'.');
                out.extend_from_slice(rest.as_bytes());
            }
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            write_integer(out, exponent.unsigned_abs());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        Number::Float(value).write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// The table of RFC 8785 appendix B, and the edges between the forms.
    #[test]
    fn floats_print_as_javascript_prints_them() {
        let table = [
            (0, "0"),
            (0x8000000000000000, "0"),
            (1, "5e-324"),
            (0x8000000000000001, "-5e-324"),
            (0x7fefffffffffffff, "1.7976931348623157e+308"),
            (0xffefffffffffffff, "-1.7976931348623157e+308"),
            (0x4340000000000000, "9007199254740992"),
            (0xc340000000000000, "-9007199254740992"),
            (0x4430000000000000, "295147905179352830000"),
            (0x44b52d02c7e14af5, "9.999999999999997e+22"),
            (0x44b52d02c7e14af6, "1e+23"),
            (0x44b52d02c7e14af7, "1.0000000000000001e+23"),
            (0x444b1ae4d6e2ef4e, "999999999999999700000"),
            (0x444b1ae4d6e2ef4f, "999999999999999900000"),
            (0x444b1ae4d6e2ef50, "1e+21"),
            (0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"),
            (0x3eb0c6f7a0b5ed8d, "0.000001"),
            (0x41b3de4355555553, "333333333.3333332"),
            (0x41b3de4355555554, "333333333.33333325"),
            (0x41b3de4355555555, "333333333.3333333"),
            (0x41b3de4355555556, "333333333.3333334"),
            (0x41b3de4355555557, "333333333.33333343"),
            (0xbecbf647612f3696, "-0.0000033333333333333333"),
            (0x43143ff3c1cb0959, "1424953923781206.2"),
        ];
        for (bits, text) in table {
            assert_eq!(written(f64::from_bits(bits)), text, "{bits:#x}");
        }
        for (value, text) in [
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e16, "10000000000000000"),
            (1.2345678901234567e16, "12345678901234568"),
            (1e20, "100000000000000000000"),
            (1e-5, "0.00001"),
            (1.5e-6, "0.0000015"),
            (1.5e-7, "1.5e-7"),
            (1e300, "1e+300"),
        ] {
            assert_eq!(written(value), text);
        }
    }

    #[test]
    fn whole_numbers_end_where_javascript_stops_counting() {
        let max = JSON_INTEGER_MAX as i64;
        assert_eq!(Number::Unsigned(JSON_INTEGER_MAX).whole(), Some(max));
        assert_eq!(Number::Float(max as f64).whole(), Some(max));
        assert_eq!(Number::Float(-1e3).whole(), Some(-1000));
        assert_eq!(Number::Signed(-max).whole(), Some(-max));
        for number in [
            Number::Unsigned(JSON_INTEGER_MAX + 1),
            Number::Unsigned(u64::MAX),
            Number::Signed(i64::MIN),
            Number::Float((max + 1) as f64),
            Number::Float(-1e300),
            Number::Float(0.5),
        ] {
            assert_eq!(number.whole(), None, "{number:?}");
        }
    }
}

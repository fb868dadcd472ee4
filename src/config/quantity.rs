//! Values with a unit, as people write them on a command line: `64KiB`, `30d`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// A number of bytes; written with a binary unit, or plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Bytes(pub usize);

const BYTE_UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = || format!("'{text}' is no size; write bytes as 65536, 64KiB, 1MiB or 1GiB");
        let (digits, unit) = split_unit(text);
        let scale = match BYTE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
            Some(&(_, scale)) => scale,
            None if unit.is_empty() || unit.eq_ignore_ascii_case("B") => 1,
            None => return Err(refusal()),
        };
        let number: usize = digits.parse().map_err(|_| refusal())?;
        number.checked_mul(scale).map(Self).ok_or_else(refusal)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |scale: &usize| self.0 >= *scale && self.0.is_multiple_of(*scale);
        match BYTE_UNITS.iter().find(|(_, scale)| exact(scale)) {
            Some((name, scale)) => write!(f, "{}{name}", self.0 / scale),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A span of time in milliseconds; written with a unit from `ms` to `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub ms: u64,
}

const SPAN_UNITS: [(&str, u64); 5] =
    [("d", 24 * 3_600_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = || format!("'{text}' is no span of time; write 30d, 12h, 10m, 5s or 250ms");
        let (digits, unit) = split_unit(text);
        let scale = SPAN_UNITS.iter().find(|(name, _)| *name == unit).map(|&(_, scale)| scale);
        let number: u64 = digits.parse().map_err(|_| refusal())?;
        let ms = number.checked_mul(scale.ok_or_else(refusal)?).ok_or_else(refusal)?;
        Ok(Self { ms })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |scale: &u64| self.ms >= *scale && self.ms.is_multiple_of(*scale);
        match SPAN_UNITS.iter().find(|(_, scale)| exact(scale)) {
            Some((name, scale)) => write!(f, "{}{name}", self.ms / scale),
            None => write!(f, "{}ms", self.ms),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(usize),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self(number)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// The digits at the front of `text`, and what follows them.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    (digits, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_with_and_without_unit() {
        let read = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
        assert_eq!(read("64KiB"), Ok(65_536));
        assert_eq!(read("1 mib"), Ok(1 << 20));
        assert_eq!(read("1048576"), Ok(1 << 20));
        assert_eq!(read("2GiB"), Ok(2 << 30));
        assert_eq!(read("12B"), Ok(12));
        for text in ["", "KiB", "1KB", "-1", "1.5MiB", "99999999999GiB", "0x10"] {
            assert!(read(text).is_err_and(|error| error.contains("64KiB")), "{text}");
        }
    }

    #[test]
    fn spans_read_with_unit_only() {
        let read = |text: &str| text.parse::<Span>().map(|span| span.ms);
        assert_eq!(read("30d"), Ok(2_592_000_000));
        assert_eq!(read("12h"), Ok(43_200_000));
        assert_eq!(read("10m"), Ok(600_000));
        assert_eq!(read("5s"), Ok(5_000));
        assert_eq!(read("250ms"), Ok(250));
        for text in ["", "5", "d", "1w", "-5s", "1.5h", "99999999999999999d"] {
            assert!(read(text).is_err_and(|error| error.contains("30d")), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for number in [0, 1, 1023, 1 << 10, 3 << 20, 1 << 30, (1 << 30) + 1] {
            assert_eq!(Bytes(number).to_string().parse(), Ok(Bytes(number)));
        }
        for ms in [0, 1, 999, 1_000, 90_000, 3_600_000, 2_592_000_000] {
            assert_eq!(Span { ms }.to_string().parse(), Ok(Span { ms }));
        }
        assert_eq!(Bytes(1 << 20).to_string(), "1MiB");
        assert_eq!(Span { ms: 2_592_000_000 }.to_string(), "30d");
    }
}

//! Dates in tokens: seconds since 1970, perhaps with a fraction (RFC 7519 section 2, NumericDate).

use serde_json::Value;

/// In milliseconds, down; `None` if it is no date from 1970 until a number no longer tells milliseconds apart.
pub fn milliseconds(date: &Value) -> Option<u64> {
    /// Milliseconds that a double has without a gap.
    const MS_MAX: u64 = 1 << 53;
    let ms = match date.as_u64() {
        Some(seconds) => seconds.checked_mul(1000)?,
        None => {
            let ms = (date.as_f64()? * 1000.0).floor();
            // Within the range that both types have.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            if (0.0..=MS_MAX as f64).contains(&ms) { ms as u64 } else { return None }
        }
    };
    (ms <= MS_MAX).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_number_of_seconds() {
        for (text, ms) in [
            ("0", Some(0)),
            ("1700000000", Some(1_700_000_000_000)),
            ("1700000000.0019", Some(1_700_000_000_001)),
            ("1.7e9", Some(1_700_000_000_000)),
            ("-1", None),
            ("-0.5", None),
            ("1e300", None),
            ("18446744073709551615", None),
            ("\"1700000000\"", None),
            ("null", None),
            ("true", None),
        ] {
            let value = serde_json::from_str(text).expect("JSON");
            assert_eq!(milliseconds(&value), ms, "{text}");
        }
    }
}

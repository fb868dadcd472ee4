//! JSON read where it lies: the fields of an object and the elements of an array, as raw text.
//!
//! It looks for the boundaries of values and nothing else, allocates nothing, and trusts nobody: text that does not
//! add up ends the walk with [`Malformed`].

use memchr::memchr2;

/// The text is not the JSON it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Calls `field` with each key (without quotes, escapes left as they are) and the raw text of its value.
///
/// # Errors
/// [`Malformed`], or what `field` returns.
pub fn each_field<'a, E: From<Malformed>>(
    object: &'a [u8],
    mut field: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), E>,
) -> Result<(), E> {
    each_part(object, b'{', b'}', |text, at| {
        let key_end = value_end(text, at)?;
        let key =
            text[at..key_end].strip_prefix(b"\"").and_then(|key| key.strip_suffix(b"\"")).ok_or(Malformed)?;
        let colon = skip_space(text, key_end);
        if text.get(colon) != Some(&b':') {
            return Err(Malformed.into());
        }
        let value_start = skip_space(text, colon + 1);
        let end = value_end(text, value_start)?;
        field(key, &text[value_start..end])?;
        Ok(end)
    })
}

/// Calls `element` with the raw text of each element.
///
/// # Errors
/// [`Malformed`], or what `element` returns.
pub fn each_element<'a, E: From<Malformed>>(
    array: &'a [u8],
    mut element: impl FnMut(&'a [u8]) -> Result<(), E>,
) -> Result<(), E> {
    each_part(array, b'[', b']', |text, at| {
        let end = value_end(text, at)?;
        element(&text[at..end])?;
        Ok(end)
    })
}

/// The bytes between the quotes of a string without escapes.
pub fn plain_string(raw: &[u8]) -> Option<&[u8]> {
    let text = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!text.contains(&b'\\')).then_some(text)
}

/// A whole number that is not negative.
pub fn number(raw: &[u8]) -> Option<u64> {
    if raw.is_empty() {
        return None;
    }
    raw.iter().try_fold(0_u64, |number, &digit| {
        let value = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(value)
    })
}

fn each_part<'a, E: From<Malformed>>(
    text: &'a [u8],
    open: u8,
    close: u8,
    mut part: impl FnMut(&'a [u8], usize) -> Result<usize, E>,
) -> Result<(), E> {
    let mut at = skip_space(text, 0);
    if text.get(at) != Some(&open) {
        return Err(Malformed.into());
    }
    at = skip_space(text, at + 1);
    if text.get(at) == Some(&close) {
        return ends_after(text, at).map_err(E::from);
    }
    loop {
        at = skip_space(text, part(text, at)?);
        match text.get(at) {
            Some(b',') => at = skip_space(text, at + 1),
            Some(&byte) if byte == close => return ends_after(text, at).map_err(E::from),
            _ => return Err(Malformed.into()),
        }
    }
}

fn ends_after(text: &[u8], at: usize) -> Result<(), Malformed> {
    if skip_space(text, at + 1) == text.len() { Ok(()) } else { Err(Malformed) }
}

/// Where the value that starts at `at` ends.
fn value_end(text: &[u8], at: usize) -> Result<usize, Malformed> {
    match text.get(at) {
        Some(b'"') => string_end(text, at),
        Some(b'{' | b'[') => nested_end(text, at),
        Some(_) => {
            let rest = &text[at..];
            let len = rest.iter().position(|byte| b",]} \t\r\n:".contains(byte)).unwrap_or(rest.len());
            if len == 0 { Err(Malformed) } else { Ok(at + len) }
        }
        None => Err(Malformed),
    }
}

fn string_end(text: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut at = start + 1;
    loop {
        let rest = text.get(at..).ok_or(Malformed)?;
        at += memchr2(b'"', b'\\', rest).ok_or(Malformed)?;
        if text[at] == b'"' {
            return Ok(at + 1);
        }
        at += 2;
    }
}

fn nested_end(text: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match text.get(at) {
            Some(b'"') => {
                at = string_end(text, at)?;
                continue;
            }
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') => {
                depth -= 1;
                if depth == 0 {
                    return Ok(at + 1);
                }
            }
            Some(_) => {}
            None => return Err(Malformed),
        }
        at += 1;
    }
}

fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Vec<(String, String)>, Malformed> {
        let mut found = Vec::new();
        each_field(text.as_bytes(), |key, raw| {
            found
                .push((String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(raw).into_owned()));
            Ok::<(), Malformed>(())
        })?;
        Ok(found)
    }

    #[test]
    fn fields_are_found_whatever_is_nested_in_them() {
        let text = r#" {"a":1, "b" : "x\"}," ,"c":[{"d":"]"},[]],"e":null} "#;
        let expected = [("a", "1"), ("b", r#""x\"},""#), ("c", r#"[{"d":"]"},[]]"#), ("e", "null")];
        let expected: Vec<_> = expected.map(|(key, raw)| (key.to_owned(), raw.to_owned())).into();
        assert_eq!(fields(text).unwrap(), expected);
        assert_eq!(fields("{}").unwrap(), []);
    }

    #[test]
    fn text_that_does_not_add_up_is_malformed() {
        let texts = [
            "",
            "{",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1"#,
            r#"{"a":1}}"#,
            r#"{"a":"x}"#,
            r#"{"a":[1}"#,
            "[]",
        ];
        for text in texts {
            assert!(fields(text).is_err(), "{text}");
        }
    }

    #[test]
    fn elements_are_found() {
        let mut count = 0;
        each_element(br#"[1,"two",{"three":[3]}]"#, |_| {
            count += 1;
            Ok::<(), Malformed>(())
        })
        .unwrap();
        assert_eq!(count, 3);
    }

    #[test]
    fn number_is_whole_and_fits() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for raw in ["", "-1", "1.5", "18446744073709551616", "x"] {
            assert_eq!(number(raw.as_bytes()), None, "{raw}");
        }
    }
}

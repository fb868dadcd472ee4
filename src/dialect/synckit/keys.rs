//! What the keys of a document's map mean: most are its fields. What else SyncKit's clients share, and can be kept, lies
//! under names that no field may have:
//!
//! ```text
//! __synckit:text:<client id>   the latest state of a text that this client has sent: the whole operation
//! __synckit:set:<value>        an element of a set, as JSON; removed: a tombstone
//! __synckit:set:cleared        when the set was last cleared: elements added before are gone
//! ```
//!
//! All of a set begins alike and so has one owner, which applies additions, removals and clearings in the one order in which
//! everybody is told of them.

use super::refusal::Reason;
use crate::limits::KEY_BYTES_MAX;
use crate::wire::Reject;

const RESERVED: &str = "__synckit:";
const TEXT: &str = "__synckit:text:";
const ELEMENT: &str = "__synckit:set:";
/// What is behind the colon is no JSON.
pub const CLEARED: &str = "__synckit:set:cleared";

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    Field(&'a str),
    Text,
    /// The element as JSON.
    Element(&'a str),
    Cleared,
}

impl<'a> Key<'a> {
    pub fn of(key: &'a str) -> Self {
        let Some(rest) = key.strip_prefix(RESERVED) else { return Self::Field(key) };
        match rest.split_once(':') {
            Some(("text", _)) => Self::Text,
            Some(("set", _)) if key == CLEARED => Self::Cleared,
            Some(("set", element)) => Self::Element(element),
            _ => Self::Field(key),
        }
    }
}

/// Why a document may have no field of this name.
///
/// # Errors
/// The reason.
pub fn check_field(name: &str) -> Result<(), Reason<'_>> {
    if name.len() > KEY_BYTES_MAX {
        return Err(Reason::too_large("the name of a field is too long", KEY_BYTES_MAX).field(name));
    }
    let text = match name {
        "" => "the name of a field is not empty",
        name if name.contains('\0') => "the name of a field has no U+0000",
        name if name.starts_with(RESERVED) => "names that begin with __synckit: are not for fields",
        _ => return Ok(()),
    };
    Err(Reason::of(Reject::KeyInvalid(text)).field(name))
}

/// The key of a client's text; `None` if its name is too long for one.
pub fn of_text(client: &str) -> Option<String> {
    name(TEXT, client)
}

/// The key of an element, given as canonical JSON; `None` if it is too long for one.
pub fn of_element(element: &str) -> Option<String> {
    name(ELEMENT, element)
}

/// Whether the name of an element is JSON, as that of every element is that a client of SyncKit has added.
pub fn is_element(json: &str) -> bool {
    simd_json::to_tape(&mut json.as_bytes().to_vec()).is_ok()
}

fn name(prefix: &str, rest: &str) -> Option<String> {
    let fits = prefix.len() + rest.len() <= KEY_BYTES_MAX && !rest.contains('\0');
    fits.then(|| [prefix, rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_they_were_made_for() {
        assert_eq!(Key::of("title"), Key::Field("title"));
        assert_eq!(Key::of(&of_text("client-1").unwrap()), Key::Text);
        assert_eq!(Key::of(&of_element(r#""a:b""#).unwrap()), Key::Element(r#""a:b""#));
        assert_eq!(Key::of(CLEARED), Key::Cleared);
        assert_eq!(of_element(&"x".repeat(KEY_BYTES_MAX)), None);
        for (element, is_json) in
            [("1", true), (r#"{"a":[]}"#, true), ("", false), ("{", false), ("1,2", false)]
        {
            assert_eq!(is_element(element), is_json, "{element}");
        }
    }

    #[test]
    fn a_field_has_a_name_of_its_own() {
        for name in ["title", "a b", "é", "__synckit"] {
            assert_eq!(check_field(name), Ok(()), "{name}");
        }
        for name in ["", "a\0", CLEARED, "__synckit:else", &"x".repeat(KEY_BYTES_MAX + 1)] {
            assert!(check_field(name).is_err(), "{name}");
        }
    }
}

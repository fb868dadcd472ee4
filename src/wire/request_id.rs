//! The `id` of a request, which its answer repeats: a number, or a string of at most 64 bytes.

use std::fmt;

use simd_json::Node;

use super::Reject;
use super::json::{Number, is_plain, write_string};
use crate::limits::REQUEST_ID_BYTES_MAX;

/// An `id` inside its message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RequestId<'a> {
    Number(Number),
    Text(&'a str),
}

impl<'a> RequestId<'a> {
    /// # Errors
    /// [`Reject::BadRequest`] if the node is neither a number nor a string short enough.
    pub(super) fn of(node: &Node<'a>) -> Result<Self, Reject> {
        match node {
            Node::String(text) if text.len() <= REQUEST_ID_BYTES_MAX => Ok(Self::Text(text)),
            Node::String(_) => Err(Reject::BadRequest("id is longer than 64 bytes")),
            node => match Number::of(node) {
                Some(number) => Ok(Self::Number(number)),
                None => Err(Reject::BadRequest("id is neither a number nor a string")),
            },
        }
    }

    /// Appends the `id` as JSON.
    pub fn write_to(self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => number.write_to(out),
            Self::Text(text) => write_string(out, text),
        }
    }

    /// A copy that outlives the message. Allocates only for text that does not fit inline.
    pub fn to_owned(self) -> OwnedRequestId {
        OwnedRequestId::of(self)
    }
}

/// Bytes of JSON an [`OwnedRequestId`] holds inline: a quoted UUID, and any number.
const INLINE_BYTES: usize = 38;

/// An `id` kept until its answer, as the JSON text that will be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedRequestId(Text);

#[derive(Clone, PartialEq, Eq)]
enum Text {
    /// Bytes past `len` are zero.
    Inline {
        len: u8,
        bytes: [u8; INLINE_BYTES],
    },
    Boxed(Box<[u8]>),
}

const _: () = assert!(size_of::<OwnedRequestId>() == 40);

impl OwnedRequestId {
    fn of(id: RequestId<'_>) -> Self {
        match id {
            RequestId::Number(Number::Signed(value)) => {
                Self::inline(&[itoa::Buffer::new().format(value).as_bytes()])
            }
            RequestId::Number(Number::Unsigned(value)) => {
                Self::inline(&[itoa::Buffer::new().format(value).as_bytes()])
            }
            RequestId::Text(text) if text.len() + 2 <= INLINE_BYTES && is_plain(text) => {
                Self::inline(&[b"\"", text.as_bytes(), b"\""])
            }
            _ => Self::serialized(id),
        }
    }

    /// The rare `id`: a fraction, an escape, or a long text.
    #[cold]
    fn serialized(id: RequestId<'_>) -> Self {
        let mut json = Vec::with_capacity(REQUEST_ID_BYTES_MAX + 2);
        id.write_to(&mut json);
        if json.len() <= INLINE_BYTES { Self::inline(&[&json]) } else { Self(Text::Boxed(json.into())) }
    }

    /// Of parts that are at most [`INLINE_BYTES`] bytes of JSON together.
    fn inline(parts: &[&[u8]]) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        let mut len = 0;
        for part in parts {
            bytes[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        Self(Text::Inline { len: len as u8, bytes })
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Text::Boxed(bytes) => bytes,
        }
    }

    /// Appends the `id` as JSON.
    #[inline]
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl fmt::Debug for OwnedRequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(id: RequestId<'_>) -> String {
        let (mut borrowed, mut owned) = (Vec::new(), Vec::new());
        id.write_to(&mut borrowed);
        id.to_owned().write_to(&mut owned);
        assert_eq!(borrowed, owned);
        String::from_utf8(owned).unwrap()
    }

    #[test]
    fn a_copy_is_written_as_the_id_itself() {
        for (number, text) in [
            (Number::Unsigned(u64::MAX), "18446744073709551615"),
            (Number::Signed(i64::MIN), "-9223372036854775808"),
            (Number::Float(7.0), "7"),
            (Number::Float(-1.2345678901234568e-300), "-1.2345678901234568e-300"),
        ] {
            assert_eq!(written(RequestId::Number(number)), text);
        }
        for len in 0..=64 {
            let text = "u".repeat(len);
            assert_eq!(written(RequestId::Text(&text)), format!("\"{text}\""));
        }
        assert_eq!(written(RequestId::Text("\"\\\n")), r#""\"\\\n""#);
        assert_eq!(written(RequestId::Text(&"\0".repeat(64))).len(), 64 * 6 + 2);
    }

    #[test]
    fn an_id_is_a_number_or_a_short_string() {
        let long = "x".repeat(65);
        assert_eq!(RequestId::of(&Node::String("x")), Ok(RequestId::Text("x")));
        for node in [
            Node::String(&long),
            Node::Static(simd_json::StaticNode::Bool(true)),
            Node::Static(simd_json::StaticNode::Null),
            Node::Array { len: 0, count: 0 },
            Node::Object { len: 0, count: 0 },
        ] {
            assert!(matches!(RequestId::of(&node), Err(Reject::BadRequest(_))), "{node:?}");
        }
    }
}

//! The `id` of a request, which its answer repeats: a number, or a string of at most 64 bytes.

use simd_json::Node;

use crate::limits::REQUEST_ID_BYTES_MAX;
use crate::wire::json::{Number, is_plain, write_string};
use crate::wire::{Reject, Ticket};

/// An `id` inside its message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RequestId<'a> {
    Number(Number),
    Text(&'a str),
}

impl<'a> RequestId<'a> {
    /// # Errors
    /// [`Reject::BadRequest`] if the node is neither a number nor a string short enough.
    pub(in crate::dialect::native) fn of(node: &Node<'a>) -> Result<Self, Reject> {
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

    /// The `id` as the JSON text that the answer will repeat.
    pub fn to_ticket(self) -> Ticket {
        match self {
            Self::Number(Number::Signed(value)) => {
                Ticket::new(&[itoa::Buffer::new().format(value).as_bytes()])
            }
            Self::Number(Number::Unsigned(value)) => {
                Ticket::new(&[itoa::Buffer::new().format(value).as_bytes()])
            }
            Self::Text(text) if is_plain(text) => Ticket::new(&[b"\"", text.as_bytes(), b"\""]),
            _ => self.serialized(),
        }
    }

    /// The rare `id`: a fraction, or a text with an escape.
    #[cold]
    fn serialized(self) -> Ticket {
        let mut json = Vec::with_capacity(REQUEST_ID_BYTES_MAX + 2);
        self.write_to(&mut json);
        Ticket::new(&[&json])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(id: RequestId<'_>) -> String {
        let (mut borrowed, mut owned) = (Vec::new(), Vec::new());
        id.write_to(&mut borrowed);
        owned.extend_from_slice(id.to_ticket().as_bytes());
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

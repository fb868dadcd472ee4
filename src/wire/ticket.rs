//! What a dialect wants back with the answer to a request: a few bytes that mean something to it alone, such as the
//! request's own `id`.

use std::fmt;

/// Bytes a [`Ticket`] holds inline: a quoted UUID, and any number.
const INLINE_BYTES: usize = 38;

/// Kept from a request until its answer. Allocates only for what does not fit inline.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(Bytes);

#[derive(Clone, PartialEq, Eq)]
enum Bytes {
    /// Bytes past `len` are zero.
    Inline {
        len: u8,
        bytes: [u8; INLINE_BYTES],
    },
    Boxed(Box<[u8]>),
}

const _: () = assert!(size_of::<Ticket>() == 40);
const _: () = assert!(INLINE_BYTES <= u8::MAX as usize);

impl Ticket {
    /// The parts, one after the other.
    #[inline]
    pub fn new(parts: &[&[u8]]) -> Self {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if len > INLINE_BYTES {
            return Self(Bytes::Boxed(parts.concat().into()));
        }
        let mut bytes = [0; INLINE_BYTES];
        let mut end = 0;
        for part in parts {
            bytes[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        Self(Bytes::Inline { len: len as u8, bytes })
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Bytes::Boxed(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_tickets_come_back_as_they_were() {
        for len in 0..=2 * INLINE_BYTES {
            let text: Vec<u8> = (0..len as u8).collect();
            let (head, tail) = text.split_at(len / 3);
            assert_eq!(Ticket::new(&[head, tail]).as_bytes(), text);
        }
    }
}

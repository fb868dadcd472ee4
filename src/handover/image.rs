//! A whole cell at rest: its deltas and when it last changed, as `docs/storage.md` draws it.

use super::delta::{Kind, decode_delta, encode_delta};
use crate::crdt::{Delta, Time};
use crate::limits::{MESSAGE_BYTES_CEILING, TAG_BYTES_MAX};

const APPLIED_BYTES: usize = 8;
const PART_HEADER_BYTES: usize = 1 + 4 + 8;
/// A value is at most a message long; beside it a delta has a stamp and a tag.
const _: () = assert!(MESSAGE_BYTES_CEILING + TAG_BYTES_MAX + 256 <= u32::MAX as usize);

/// Builds one image.
pub struct Image<'a>(&'a mut Vec<u8>);

impl<'a> Image<'a> {
    /// Begins an image at the end of `out`, of a cell that last changed at `applied`.
    pub fn begin(out: &'a mut Vec<u8>, applied: Time) -> Self {
        out.extend_from_slice(&applied.to_bits().to_le_bytes());
        Self(out)
    }

    /// Adds a delta. `applied` is when a removal or a slot was applied; other deltas may give that of the cell.
    pub fn push(&mut self, delta: &Delta<'_>, applied: Time) {
        let out = &mut *self.0;
        out.push(Kind::of(delta) as u8);
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&applied.to_bits().to_le_bytes());
        let start = out.len();
        encode_delta(out, delta);
        let length = u32::try_from(out.len() - start).expect("a delta has one value, of one message");
        out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// When the cell of an image last changed, and its deltas.
    ///
    /// # Errors
    /// [`ImageError`] if the image is too short even for that.
    pub fn parts(
        image: &[u8],
    ) -> Result<(Time, impl Iterator<Item = Result<Part<'_>, ImageError>>), ImageError> {
        let (applied, mut rest) = image.split_first_chunk::<APPLIED_BYTES>().ok_or(ImageError)?;
        let parts = std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let part = take_part(&mut rest).ok_or(ImageError);
            if part.is_err() {
                rest = &[];
            }
            Some(part)
        });
        Ok((Time::from_bits(u64::from_le_bytes(*applied)), parts))
    }
}

/// One delta of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    pub delta: Delta<'a>,
    /// When it was applied, if it is a removal or a slot.
    pub applied: Time,
}

/// The bytes are no image: damaged, or of a newer version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the image of a cell is damaged")]
pub struct ImageError;

fn take_part<'a>(rest: &mut &'a [u8]) -> Option<Part<'a>> {
    let (header, tail) = rest.split_first_chunk::<PART_HEADER_BYTES>()?;
    let kind = Kind::from_byte(header[0])?;
    let length = u32::from_le_bytes(header[1..5].try_into().ok()?) as usize;
    let applied = Time::from_bits(u64::from_le_bytes(header[5..].try_into().ok()?));
    let (body, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    Some(Part { delta: decode_delta(kind, body)?, applied })
}

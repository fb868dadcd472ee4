//! A send of several pieces.
#![allow(unsafe_code, reason = "the kernel reads the pieces by their addresses")]

/// The pieces of one send, in the form the kernel reads them in.
pub struct Gather {
    header: libc::msghdr,
    slices: Vec<libc::iovec>,
}

/// Pieces one send takes; the rest follows with the next.
const PIECES_MAX: usize = 64;

impl Default for Gather {
    fn default() -> Self {
        // SAFETY: all fields of a message header are integers and pointers, for which zero is a value.
        let header = unsafe { std::mem::zeroed() };
        Self { header, slices: Vec::new() }
    }
}

impl Gather {
    /// Points at the first [`PIECES_MAX`] of `pieces`, which must stay where they are while this is in use.
    pub fn point_at<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) {
        self.slices.clear();
        self.slices.extend(
            pieces.take(PIECES_MAX).map(|piece| libc::iovec {
                iov_base: piece.as_ptr().cast_mut().cast(),
                iov_len: piece.len(),
            }),
        );
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = self.slices.len();
    }

    /// Where the kernel finds it. It must not move while it is in use.
    pub fn header(&self) -> *const libc::msghdr {
        &raw const self.header
    }
}

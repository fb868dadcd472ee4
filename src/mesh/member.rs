//! Members of a room on their way to who watches it; lists of them are packed into bytes.
//!
//! ```text
//! name_len u16, name | clock u64 | state_len u32, state
//! ```

use std::sync::Arc;

use super::Span;
use super::entry::{pack_long, pack_name, take_long, take_name, take_number};

/// One member of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    pub name: &'a str,
    /// Canonical JSON.
    pub state: &'a [u8],
    /// As given by whoever set it.
    pub clock: u64,
}

impl Member<'_> {
    /// Appends it to packed [`Members`].
    pub fn pack(&self, out: &mut Vec<u8>) {
        pack_name(self.name, out);
        out.extend_from_slice(&self.clock.to_le_bytes());
        pack_long(self.state, out);
    }
}

/// Packed members, one by one. They come from [`Member::pack`] alone, so reading them cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a>(&'a [u8]);

impl<'a> Members<'a> {
    pub const fn new(packed: &'a [u8]) -> Self {
        Self(packed)
    }

    /// Those that have not been read, as they are packed.
    pub const fn packed(self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let name = take_name(&mut self.0);
        let clock = u64::from_le_bytes(take_number(&mut self.0));
        Some(Member { name, state: take_long(&mut self.0), clock })
    }
}

/// What a member of a room is now.
pub struct MemberChanged {
    pub room: Arc<str>,
    pub member: Span,
    /// `None`: removed.
    pub state: Option<Span>,
    pub clock: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_back_as_they_were_packed() {
        let long = "é".repeat(crate::limits::KEY_BYTES_MAX / 2);
        let members = [
            Member { name: "a", state: b"{}", clock: 0 },
            Member { name: &long, state: &[b'x'; 70_000], clock: u64::MAX },
            Member { name: "c", state: b"", clock: 7 },
        ];
        let mut packed = Vec::new();
        members.iter().for_each(|member| member.pack(&mut packed));
        assert!(Members::new(&packed).eq(members));
        assert_eq!(Members::new(&[]).next(), None);
    }
}

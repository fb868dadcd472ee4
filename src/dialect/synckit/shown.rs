//! What a connection shows of its clients, counted: the states themselves lie with the rooms.
//!
//! Invariant: what a state takes is counted before the engine is asked to keep it, and given back where it refuses to.

use hashbrown::{DefaultHashBuilder, HashMap};

use super::refusal::Reason;
use crate::wire::Ticket;

/// Bytes a member of a room takes beside its state and its names, which lie in the room, with the connection, or both.
const MEMBER_BYTES: usize = 256;

/// See the module.
#[derive(Default)]
pub struct Shown {
    /// What each takes, by a hash of document and client. Two that share one count as the later: the hash is keyed at random,
    /// so that nobody can bring that about.
    bytes_by_member: HashMap<u64, u32>,
    bytes: usize,
    hasher: DefaultHashBuilder,
}

/// What one update has changed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    member: u64,
    before: u32,
    after: u32,
}

impl Shown {
    /// Bytes that are taken here: the states lie with the rooms.
    pub fn memory_bytes(&self) -> usize {
        self.bytes_by_member.len() * size_of::<(u64, u32)>()
    }

    /// Counts a state that a client is about to show in a document, or shows no longer.
    ///
    /// # Errors
    /// Why it may not be shown: all of them would take more than `bytes_max`.
    pub fn take(
        &mut self,
        document: &str,
        client: &str,
        state: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Step, Reason<'static>> {
        let member = std::hash::BuildHasher::hash_one(&self.hasher, (document, client));
        let before = self.bytes_by_member.get(&member).copied().unwrap_or(0);
        let names = document.len() + 2 * client.len();
        // What does not fit is more than may be shown.
        let bytes = state.map_or(0, |state| MEMBER_BYTES + names + state.len());
        let after = u32::try_from(bytes).unwrap_or(u32::MAX);
        if after > before && self.bytes - before as usize + after as usize > bytes_max {
            let text = "this connection shows as much of its clients as it may";
            return Err(Reason::too_large(text, bytes_max).flag("--synckit-max-awareness-bytes"));
        }
        self.set(member, after);
        Ok(Step { member, before, after })
    }

    /// The engine has refused what was counted, unless something else has been counted since.
    pub fn take_back(&mut self, step: Step) {
        if self.bytes_by_member.get(&step.member).copied().unwrap_or(0) == step.after {
            self.set(step.member, step.before);
        }
    }

    fn set(&mut self, member: u64, bytes: u32) {
        let before = match bytes {
            0 => self.bytes_by_member.remove(&member),
            _ => self.bytes_by_member.insert(member, bytes),
        };
        self.bytes = self.bytes - before.unwrap_or(0) as usize + bytes as usize;
    }
}

impl Step {
    pub fn ticket(self, kind: u8) -> Ticket {
        let Self { member, before, after } = self;
        Ticket::new(&[&[kind], &member.to_le_bytes(), &before.to_le_bytes(), &after.to_le_bytes()])
    }

    /// Of a ticket without its kind.
    pub fn of(rest: &[u8]) -> Option<Self> {
        let (member, rest) = rest.split_first_chunk()?;
        let (before, rest) = rest.split_first_chunk()?;
        let (after, _) = rest.split_first_chunk()?;
        let [before, after] = [before, after].map(|bytes| u32::from_le_bytes(*bytes));
        Some(Self { member: u64::from_le_bytes(*member), before, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_counts_for_nothing_unless_something_came_after_it() {
        let mut shown = Shown::default();
        let state = |bytes: usize| vec![b'1'; bytes];
        let one = |bytes| MEMBER_BYTES + "d".len() + 2 * "c".len() + bytes;
        let first = shown.take("d", "c", Some(&state(100)), 1_000).unwrap();
        assert_eq!(shown.bytes, one(100));
        let larger = shown.take("d", "c", Some(&state(200)), 1_000).unwrap();
        assert_eq!(Step::of(&larger.ticket(b'u').as_bytes()[1..]), Some(larger));
        shown.take_back(larger);
        assert_eq!(shown.bytes, one(100));
        let smaller = shown.take("d", "c", Some(&state(50)), 1_000).unwrap();
        shown.take_back(first);
        assert_eq!(shown.bytes, one(50), "the engine has answered in order, and kept the last");
        assert!(shown.take("d", "c", Some(&state(1_000)), 1_000).is_err());
        assert!(shown.take("e", "c", Some(&state(500)), 1_000).is_err());
        assert_eq!(shown.bytes, one(50), "what is refused here has not been counted");
        shown.take("d", "c", None, 1_000).unwrap();
        assert_eq!((shown.bytes, shown.bytes_by_member.len()), (0, 0));
        shown.take_back(smaller);
        assert_eq!(shown.bytes, 0);
    }
}

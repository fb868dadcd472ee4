//! Channels that a connection has joined, by the slots of its memberships.

use std::mem;

/// See the module. Who has joined none keeps room for none.
#[derive(Debug, Default)]
pub struct JoinedChannels(Option<Box<Lists>>);

/// There is at least one membership.
#[derive(Debug, Default)]
struct Lists {
    members: Vec<u32>,
    /// Those of them that lack something, which they are told once the outbox has drained, oldest first.
    behind: Vec<u32>,
    /// Requests for what they lack that are under way.
    asking: u32,
}

impl JoinedChannels {
    pub fn members(&self) -> &[u32] {
        self.0.as_ref().map_or(&[], |lists| &lists.members)
    }

    pub fn len(&self) -> usize {
        self.members().len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn push(&mut self, member: u32) {
        self.0.get_or_insert_default().members.push(member);
    }

    pub fn remove(&mut self, member: u32) {
        if let Some(lists) = &mut self.0 {
            lists.members.retain(|&other| other != member);
            lists.behind.retain(|&other| other != member);
        }
        self.0.take_if(|lists| lists.members.is_empty());
    }

    /// Takes any.
    pub fn pop(&mut self) -> Option<u32> {
        let member = self.0.as_mut()?.members.pop();
        self.0.take_if(|lists| lists.members.is_empty());
        member
    }

    /// Those that lack something.
    pub fn behind(&self) -> &[u32] {
        self.0.as_ref().map_or(&[], |lists| &lists.behind)
    }

    /// Takes note that one lacks something, which it did not.
    pub fn fall_behind(&mut self, member: u32) {
        if let Some(lists) = &mut self.0 {
            lists.behind.push(member);
        }
    }

    /// Takes note that one lacks nothing any more.
    pub fn catch_up(&mut self, member: u32) {
        if let Some(lists) = &mut self.0 {
            lists.behind.retain(|&other| other != member);
        }
    }

    /// Whether any has asked for what it lacks.
    pub fn is_asking(&self) -> bool {
        self.0.as_ref().is_some_and(|lists| lists.asking > 0)
    }

    /// One has asked, or is answered. Of those that have left meanwhile nobody waits for the answer.
    pub fn asks(&mut self, asks: bool) {
        if let Some(lists) = &mut self.0 {
            lists.asking = if asks { lists.asking + 1 } else { lists.asking.saturating_sub(1) };
        }
    }

    /// Takes all that lack something.
    pub fn take_behind(&mut self) -> Vec<u32> {
        self.0.as_mut().map_or_else(Vec::new, |lists| mem::take(&mut lists.behind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_who_has_left_them_all() {
        let mut joined = JoinedChannels::default();
        joined.push(7);
        joined.push(8);
        joined.fall_behind(8);
        joined.remove(8);
        assert_eq!((joined.members(), joined.behind()), (&[7][..], &[][..]));
        joined.remove(7);
        assert!(joined.is_empty() && joined.pop().is_none());
    }
}

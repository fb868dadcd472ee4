//! Members of rooms that a connection has set, and not removed since: found by their names, however many they are.

use hashbrown::HashTable;

/// See the module. Most connections have none, and take no more than a pointer and a number for that.
#[derive(Debug, Default)]
pub struct OwnMembers {
    table: Option<Box<HashTable<OwnMember>>>,
    /// Of names and states.
    bytes: usize,
}

/// One of them.
#[derive(Debug)]
pub struct OwnMember {
    /// Of room and name.
    pub hash: u64,
    pub room: Box<str>,
    pub member: Box<str>,
    /// Of the state that the connection has set last.
    pub state_bytes: usize,
}

/// The names of a member, and their hash.
#[derive(Clone, Copy)]
pub struct MemberName<'a> {
    pub hash: u64,
    pub room: &'a str,
    pub member: &'a str,
}

impl OwnMember {
    /// What it counts towards what its connection may set: names and state.
    pub fn bytes(&self) -> usize {
        self.names_bytes() + self.state_bytes
    }

    /// What it holds here, as the state is at the home of its room.
    pub fn names_bytes(&self) -> usize {
        self.room.len() + self.member.len()
    }

    fn is(&self, name: MemberName<'_>) -> bool {
        self.hash == name.hash && *self.room == *name.room && *self.member == *name.member
    }
}

impl OwnMembers {
    pub fn len(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.len())
    }

    pub const fn is_empty(&self) -> bool {
        self.table.is_none()
    }

    /// Bytes of their names and states.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn find(&self, name: MemberName<'_>) -> Option<&OwnMember> {
        self.table.as_ref()?.find(name.hash, |one| one.is(name))
    }

    /// Takes note of a state; whether the member is a new one.
    pub fn set(&mut self, name: MemberName<'_>, state_bytes: usize) -> bool {
        self.bytes += state_bytes;
        let table = self.table.get_or_insert_default();
        if let Some(known) = table.find_mut(name.hash, |one| one.is(name)) {
            self.bytes -= known.state_bytes;
            known.state_bytes = state_bytes;
            return false;
        }
        let new =
            OwnMember { hash: name.hash, room: name.room.into(), member: name.member.into(), state_bytes };
        self.bytes += new.names_bytes();
        table.insert_unique(name.hash, new, |one| one.hash);
        true
    }

    pub fn remove(&mut self, name: MemberName<'_>) -> Option<OwnMember> {
        let table = self.table.as_mut()?;
        let (removed, _) = table.find_entry(name.hash, |one| one.is(name)).ok()?.remove();
        self.bytes -= removed.bytes();
        self.table.take_if(|table| table.is_empty());
        Some(removed)
    }

    /// Takes some of them, as many as that or all there are. It looks at the table from its beginning, so that some are to be
    /// dozens.
    pub fn take_some(&mut self, count: usize) -> Vec<OwnMember> {
        self.take_of(count, |_| true)
    }

    /// The same of those in rooms of some kind.
    pub fn take_of(&mut self, count: usize, mut is_one: impl FnMut(&str) -> bool) -> Vec<OwnMember> {
        let Some(table) = &mut self.table else { return Vec::new() };
        let taken: Vec<_> = table.extract_if(|member| is_one(&member.room)).take(count).collect();
        self.bytes -= taken.iter().map(OwnMember::bytes).sum::<usize>();
        self.table.take_if(|table| table.is_empty());
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_apart_though_their_hashes_collide_and_all_are_counted() {
        let name = |member| MemberName { hash: 7, room: "room", member };
        let mut own = OwnMembers::default();
        assert!(own.set(name("a"), 10) && own.set(name("b"), 20));
        assert!(!own.set(name("a"), 1), "it is known");
        assert_eq!((own.len(), own.bytes()), (2, 2 * 5 + 21));
        assert_eq!(own.find(name("b")).map(OwnMember::bytes), Some(25));
        assert!(own.remove(name("c")).is_none());
        assert_eq!(own.remove(name("a")).map(|removed| removed.bytes()), Some(6));
        assert_eq!((own.len(), own.bytes()), (1, 25));
        assert!(own.remove(name("b")).is_some());
        assert!(own.table.is_none() && own.bytes() == 0, "nothing is kept for none");
        assert_eq!(["a", "b", "c"].map(|member| own.set(name(member), 1)), [true; 3]);
        let taken = own.take_some(2);
        assert_eq!((taken.len(), own.len(), own.bytes()), (2, 1, 6));
        assert_eq!((own.take_some(2).len(), own.take_some(2).len()), (1, 0));
        assert!(own.table.is_none() && own.bytes() == 0, "nothing is kept for none");
    }
}

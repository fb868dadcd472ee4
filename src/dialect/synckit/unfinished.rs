//! Messages in pieces of all connections of a shard: how long each has, and what all of them take.
//!
//! Invariant: what they take is known before a piece is kept, and never above the share of the shard's memory that is theirs.
//! Where it would be, whoever holds most of it loses its messages: a flood of beginnings forgets itself, and whoever sends one
//! message in pieces keeps it.

use std::collections::BTreeMap;

use crate::mesh::ConnectionId;
use crate::shard::Caller;

/// See the module.
#[derive(Default)]
pub struct Unfinished {
    /// Connections by when the first of their messages must be complete, and by what those take.
    by_due: BTreeMap<(u64, ConnectionId), Caller>,
    by_bytes: BTreeMap<(usize, ConnectionId), Caller>,
    bytes: usize,
}

/// What one connection has in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub bytes: usize,
    /// When the first of its messages must be complete.
    pub due_ms: u64,
}

impl Unfinished {
    /// What a connection has in pieces has become something else.
    pub fn changed(&mut self, caller: Caller, before: Held, after: Held) {
        if before == after {
            return;
        }
        let id = caller.connection();
        self.by_due.remove(&(before.due_ms, id));
        self.by_bytes.remove(&(before.bytes, id));
        if after.bytes > 0 {
            self.by_due.insert((after.due_ms, id), caller);
            self.by_bytes.insert((after.bytes, id), caller);
        }
        self.bytes = self.bytes - before.bytes + after.bytes;
    }

    /// Takes a connection with a message whose time is over.
    pub fn next(&mut self, now_ms: u64) -> Option<Caller> {
        let first = self.by_due.first_entry()?;
        let (due_ms, _) = *first.key();
        (due_ms <= now_ms).then(|| first.remove())
    }

    /// Bytes that all of them take.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Who holds most, and how much.
    pub fn largest(&self) -> Option<(usize, Caller)> {
        self.by_bytes.last_key_value().map(|(&(bytes, _), &caller)| (bytes, caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_most_is_known_as_it_changes() {
        let [a, b] = [1, 2].map(|index| Caller::of_test(ConnectionId { index, generation: 1 }));
        let [none, ten, thirty] = [(0, 0), (10, 5), (30, 7)].map(|(bytes, due_ms)| Held { bytes, due_ms });
        let mut unfinished = Unfinished::default();
        unfinished.changed(a, none, ten);
        unfinished.changed(b, none, ten);
        unfinished.changed(a, ten, thirty);
        let largest = |unfinished: &Unfinished| {
            unfinished.largest().map(|(bytes, caller)| (bytes, caller.connection().index))
        };
        assert_eq!((unfinished.bytes(), largest(&unfinished)), (40, Some((30, 1))));
        let mut due = |now_ms| unfinished.next(now_ms).map(|caller| caller.connection().index);
        assert_eq!([due(4), due(5), due(5), due(7)], [None, Some(2), None, Some(1)]);
        unfinished.changed(a, thirty, none);
        assert_eq!((unfinished.bytes(), largest(&unfinished)), (10, Some((10, 2))));
        unfinished.changed(b, ten, none);
        assert_eq!((unfinished.bytes(), largest(&unfinished)), (0, None));
        assert!(unfinished.by_due.is_empty() && unfinished.by_bytes.is_empty());
    }
}

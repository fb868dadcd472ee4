//! What connections lack, and what was asked for on their behalf: over all subscriptions of one that walk, no more than its
//! outbox has room for.
//!
//! Invariant: a subscription that walks either waits for its turn here or has one chunk asked for. Of a connection, what waits
//! in its outbox and what was asked for are together below the soft limit, or one thing larger than that alone.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::mesh::ConnectionId;

/// See the module. A connection is in it while it has a subscription that walks or a chunk under way.
#[derive(Default)]
pub struct Walkers {
    table: HashMap<ConnectionId, Walker>,
    last_turn: u64,
}

#[derive(Default)]
struct Walker {
    /// Slots of subscriptions that have nothing asked for, by when they came.
    waiting: BTreeMap<u64, u32>,
    asked: u32,
    asked_bytes: usize,
}

impl Walkers {
    /// Lets a subscription wait for its turn, behind all others of its connection; what [`Self::leave`] takes.
    pub fn wait(&mut self, connection: ConnectionId, slot: u32) -> u64 {
        self.last_turn += 1;
        self.table.entry(connection).or_default().waiting.insert(self.last_turn, slot);
        self.last_turn
    }

    /// A subscription that waits walks no longer.
    pub fn leave(&mut self, connection: ConnectionId, turn: u64) {
        if let Some(walker) = self.table.get_mut(&connection) {
            walker.waiting.remove(&turn);
        }
        self.drop_idle(connection);
    }

    /// The subscription whose turn it is; `None` if none waits.
    pub fn first(&self, connection: ConnectionId) -> Option<u32> {
        self.table.get(&connection)?.waiting.first_key_value().map(|(_, &slot)| slot)
    }

    /// Asks for a chunk of so many bytes on behalf of the subscription whose turn it is, if there is room for it in an outbox
    /// that has `free_bytes` up to half of the soft limit; whether there is. What is larger than all of the room is asked for
    /// alone.
    pub fn ask(&mut self, connection: ConnectionId, bytes: usize, free_bytes: usize) -> bool {
        let Some(walker) = self.table.get_mut(&connection) else { return false };
        let is_alone = walker.asked == 0;
        let has_room =
            walker.asked_bytes < free_bytes && (is_alone || walker.asked_bytes + bytes <= 2 * free_bytes);
        if has_room && walker.waiting.pop_first().is_some() {
            walker.asked += 1;
            walker.asked_bytes += bytes;
            return true;
        }
        false
    }

    /// A chunk has come, or will not.
    pub fn answered(&mut self, connection: ConnectionId, bytes: usize) {
        if let Some(walker) = self.table.get_mut(&connection) {
            walker.asked -= 1;
            walker.asked_bytes -= bytes;
        }
        self.drop_idle(connection);
    }

    fn drop_idle(&mut self, connection: ConnectionId) {
        if self.table.get(&connection).is_some_and(|walker| walker.asked == 0 && walker.waiting.is_empty()) {
            self.table.remove(&connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ConnectionId = ConnectionId { index: 3, generation: 1 };

    #[test]
    fn chunks_are_asked_for_in_turn_up_to_the_room_and_what_is_larger_alone() {
        let mut walkers = Walkers::default();
        let turns: Vec<u64> = (0..5).map(|slot| walkers.wait(ID, slot)).collect();
        walkers.leave(ID, turns[1]);
        assert!(!walkers.ask(ID, 10, 0), "no room at all");
        assert_eq!(walkers.first(ID), Some(0));
        assert!(walkers.ask(ID, 60, 100) && walkers.ask(ID, 60, 100));
        assert_eq!(walkers.first(ID), Some(3));
        assert!(!walkers.ask(ID, 60, 100), "120 of 100 are under way");
        walkers.answered(ID, 60);
        assert!(!walkers.ask(ID, 1_000, 100), "60 are under way");
        walkers.answered(ID, 60);
        assert!(walkers.ask(ID, 1_000, 100));
        walkers.wait(ID, 0);
        assert_eq!(walkers.first(ID), Some(4), "who waits longer comes first");
        walkers.answered(ID, 1_000);
        assert!(walkers.ask(ID, 1, 100) && walkers.ask(ID, 1, 100));
        (0..2).for_each(|_| walkers.answered(ID, 1));
        assert!(walkers.table.is_empty(), "nothing is left behind");
    }
}

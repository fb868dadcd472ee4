//! What whoever runs the server is told of users, and whether the directory is as it must be.

use super::Directory;
use crate::handover::inspection::{Share, UserRow, Walk};
use crate::mesh::Writer;
use crate::shard::turn::Turn;

impl Directory {
    /// Users whose home is here, from a slot on.
    pub fn inspect(&self, walk: Walk, prefix: &str) -> Share<UserRow> {
        self.users.inspect(walk, |user| {
            let row = || UserRow { user: Box::from(&*user.name), connections: user.present.len() as u64 };
            user.name.starts_with(prefix).then(row)
        })
    }

    /// Whether as many users and connections of them are counted as there are.
    pub fn check_counts(&self, turn: &Turn, mut fault: impl FnMut(String)) {
        let (users, present) = (self.users.len(), self.present.len());
        let (of_users, of_connections) = (turn.metrics.users, turn.metrics.user_connections);
        if (of_users, of_connections) != (users as u64, present as u64) {
            fault(format!(
                "{of_users} users with {of_connections} connections are counted, and {users} with {present} are held"
            ));
        }
    }

    /// Whether some connections of users are on the lists of these; their places are from one on. Those that should be on this shard are
    /// handed to `each`. Where to go on.
    pub fn check(
        &self,
        turn: &Turn,
        from: u32,
        looks: u32,
        (mut each, mut fault): (impl FnMut(u32, Writer), impl FnMut(String)),
    ) -> Option<u32> {
        let end = self.present.slots();
        let until = from.saturating_add(looks).min(end);
        for place in from..until {
            let Some(present) = self.present.get(place) else { continue };
            let user = self.users.get(present.user);
            if user.is_none_or(|user| user.present.get(present.at as usize) != Some(&place)) {
                fault(format!("connection {place} of a user is not on the list of that user"));
            }
            if present.by.shard == turn.index {
                each(place, present.by);
            }
        }
        (until < end).then_some(until)
    }

    /// Whether a connection is at this place.
    pub fn is_listed(&self, place: u32, by: Writer) -> bool {
        self.is_at(place, by)
    }
}

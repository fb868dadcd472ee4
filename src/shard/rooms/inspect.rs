//! What whoever runs the server is told of rooms that clients of SyncKit are in, and whether watches are as they must be.

use super::Rooms;
use crate::handover::inspection::{RoomRow, Share, Walk};
use crate::shard::clients::{Clients, Connection};
use crate::shard::slots;

impl Rooms {
    /// Rooms whose home is here and that have members of their own, from a slot on.
    pub fn inspect(&self, walk: Walk, prefix: &str) -> Share<RoomRow> {
        self.table.inspect(walk, |room| {
            let (name, own) = (room.interest.name(), room.members.len() - room.shown);
            (own > 0 && name.starts_with(prefix)).then(|| RoomRow {
                room: Box::from(&**name),
                dialect: "synckit",
                members: own as u64,
                bytes: room.bytes as u64,
            })
        })
    }

    pub fn watches_count(&self) -> usize {
        self.watches.len()
    }

    /// Whether some watches have a connection that knows them; their slots are from one on. Where to go on.
    pub fn check(
        &self,
        clients: &Clients,
        from: u32,
        looks: u32,
        mut fault: impl FnMut(String),
    ) -> Option<u32> {
        slots::share(&self.watches, from, looks, |slot, watch| {
            let known = clients.get(watch.connection).map_or(&[][..], Connection::watches);
            if !known.contains(&slot) {
                fault(format!("watch {slot} of a room has no connection that knows it"));
            }
            known.len()
        })
    }
}

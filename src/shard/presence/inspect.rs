//! What whoever runs the server is told of rooms of `/v1`, and whether their members are as they must be.

use std::ops::Bound;

use super::Presence;
use crate::handover::inspection::{RoomRow, Share, Walk};
use crate::mesh::Writer;
use crate::shard::clients::Clients;
use crate::shard::slots;
use crate::shard::turn::Turn;

impl Presence {
    /// Rooms whose home is here and that have members of `/v1`, from a slot on.
    pub fn inspect(&self, walk: Walk, prefix: &str) -> Share<RoomRow> {
        self.table.inspect(walk, |gathering| {
            let home = gathering.home.as_ref()?;
            let name = gathering.interest.name();
            (home.own > 0 && name.starts_with(prefix)).then(|| RoomRow {
                room: Box::from(&**name),
                dialect: "v1",
                members: home.own as u64,
                bytes: home.bytes as u64,
            })
        })
    }

    /// Slots there have been at once: every one is below.
    pub fn slot_count(&self) -> u32 {
        self.table.slot_count()
    }

    pub fn stays_count(&self) -> usize {
        self.stays.len()
    }

    /// Whether some stays have a connection and a room, which know them; their slots are from one on. Where to go on.
    pub fn check_stays(
        &self,
        clients: &Clients,
        from: u32,
        looks: u32,
        mut fault: impl FnMut(String),
    ) -> Option<u32> {
        slots::share(&self.stays, from, looks, |slot, stay| {
            match self.table.get(stay.room) {
                None => fault(format!("a stay, {slot}, has no room")),
                Some(found) if found.interest.members().get(stay.place as usize) != Some(&slot) => {
                    fault(format!("room {:?} does not know its stay {slot}", found.interest.name()));
                }
                Some(_) => {}
            }
            let Some(connection) = clients.get(stay.connection) else {
                fault(format!("stay {slot} in a room has no connection"));
                return 0;
            };
            let known = connection.stays.as_deref().map_or(&[][..], |stays| &stays.slots);
            if !known.contains(&slot) {
                fault(format!("a connection does not know its stay {slot} in a room"));
            }
            known.len()
        })
    }

    /// Connections of members of the room in a slot, after a name, with the names of both; how many, and the last name where there are more.
    pub fn ties(
        &self,
        slot: u32,
        after: Option<&str>,
        looks: usize,
        mut each: impl FnMut(&str, &str, Writer),
    ) -> (usize, Option<Box<str>>) {
        let Some(gathering) = self.table.get(slot) else { return (0, None) };
        let Some(home) = &gathering.home else { return (0, None) };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut looked_at = 0;
        for (name, member) in home.members.range::<str, _>((from, Bound::Unbounded)) {
            for by in member.tied() {
                looked_at += 1;
                each(gathering.interest.name(), name, by);
            }
            if looked_at >= looks {
                return (looked_at, Some(name.clone()));
            }
        }
        (looked_at, None)
    }

    /// Whether a connection still is one of a member.
    pub fn is_tied(&self, turn: &Turn, room: &str, member: &str, by: Writer) -> bool {
        let home = self.find(turn, room).and_then(|slot| self.table[slot].home.as_ref());
        home.and_then(|home| home.members.get(member))
            .is_some_and(|member| member.tied().any(|tied| tied == by))
    }
}

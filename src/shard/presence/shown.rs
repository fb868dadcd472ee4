//! One room, two ways to be in it: clients of other dialects are members here, under names of their own, and members of `/v1` are
//! members there, as long as they are told by name and anybody there watches.

use super::{Presence, Slot};
use crate::shard::SetPresence;
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::rooms::{Noted, Rooms};
use crate::shard::turn::Turn;
use crate::shard::work;

/// How the name of a client of another dialect begins here.
const CLIENT: &str = "client:";

impl Presence {
    /// Takes in the clients of other dialects that are in a room already.
    pub(super) fn meet_clients(&mut self, turn: &mut Turn, rooms: &mut Rooms, slot: Slot) {
        rooms.are_noted = true;
        let room = self.name(slot);
        for member in rooms.clients(turn, &room) {
            let client = rooms.client(turn, &room, &member);
            self.client_changes(turn, slot, &format!("{CLIENT}{member}"), client);
        }
    }

    /// Looks at what clients of other dialects have done.
    pub(super) fn look_at_noted(&mut self, turn: &mut Turn, rooms: &mut Rooms) {
        for Noted { room, member } in rooms.take_noted() {
            let Some(slot) = self.find(turn, &room).filter(|&slot| self.table[slot].home.is_some()) else {
                continue;
            };
            match member {
                Some(member) => {
                    let client = rooms.client(turn, &room, &member);
                    self.client_changes(turn, slot, &format!("{CLIENT}{member}"), client);
                }
                None => self.schedule(turn, slot),
            }
        }
    }

    /// Shows to clients of other dialects what has changed here, before it is taken as told.
    pub(super) fn show(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        (rooms, slot): (&mut Rooms, Slot),
    ) {
        let room = self.name(slot);
        let Some(home) = &mut self.table[slot].home else { return };
        let are_told = !home.is_large || home.is_small_again(&turn.config);
        let is_shown = are_told && home.own > 0 && rooms.is_heard(turn, &room);
        if !is_shown {
            if std::mem::take(&mut home.is_shown) {
                rooms.hide_all(turn, clients, maps, &room);
            }
            return;
        }
        home.clock = turn.now.unix_ms.max(home.clock + 1);
        let clock = home.clock;
        let are_all_new = !std::mem::replace(&mut home.is_shown, true) || home.is_large;
        let mut names: Vec<&str> = if are_all_new {
            home.members.keys().map(|name| &**name).collect()
        } else {
            home.changed.keys().map(|name| &**name).collect()
        };
        names.retain(|name| !name.starts_with(CLIENT));
        for member in names {
            turn.spend(work::CELL);
            let state = home.members.get(member).map(|member| &*member.state);
            rooms.show(turn, clients, maps, &SetPresence { room: &room, member, state, clock });
        }
    }
}

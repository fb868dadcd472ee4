//! What connections of this shard ask of homes of rooms, until it is answered.

use super::Presence;
use super::deliver::Told;
use super::stay::Standing;
use super::stays::ask;
use crate::mesh::{ConnectionId, People, ReplyTo, RoomAnswer, RoomRequest};
use crate::shard::Event;
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::requests::{PendingRequest, Requests, Waiting};
use crate::shard::turn::Turn;
use crate::wire::{Reject, Ticket};

impl Presence {
    /// Begins a request whose answer makes the stay current, unless it is.
    pub(super) fn begin_asking(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        stay: u32,
        (ticket, joins, catches_up): (Option<Ticket>, bool, bool),
    ) -> ReplyTo {
        let room = self.room_of(stay);
        let stay = &mut self.stays[stay as usize];
        let waiting = Waiting::Gathered { room, joins, catches_up };
        let reply = requests.wait_for(turn, clients, (stay.connection, ticket), waiting, 1);
        stay.note_asked(reply.serial);
        reply
    }

    /// The home of a room has answered.
    pub fn answered(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        requests: &mut Requests,
        (answer, bytes): (RoomAnswer, &[u8]),
    ) {
        match answer {
            RoomAnswer::Gathered { replies, room, gathered } => {
                let gathered = gathered.map(|span| span.of(bytes).into());
                self.tell(turn, clients, maps, requests, Told::Answer { replies, room, gathered });
            }
            RoomAnswer::Updated { reply } => updated(turn, clients, requests, reply, Ok(())),
            RoomAnswer::Listed { reply, people, has_more } => {
                listed(turn, clients, requests, reply, (people.of(bytes), has_more));
            }
            RoomAnswer::Refused { reply, reject } => self.refused(turn, clients, requests, reply, reject),
        }
    }

    /// The home of a room has refused a request.
    pub(super) fn refused(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        reply: ReplyTo,
        reject: Reject,
    ) {
        let Some(request) = requests.end_wait(turn, clients, reply) else { return };
        self.not_answered(turn, clients, requests, &request, reject);
    }

    /// Why a request to join or watch has come to nothing: who knew nothing of the room hears nothing of it.
    pub fn not_answered(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        request: &PendingRequest,
        reject: Reject,
    ) {
        let id = request.connection;
        let Waiting::Gathered { room, catches_up, .. } = &request.waiting else {
            return clients.reject(turn, id, request.ticket.as_ref(), reject);
        };
        if !catches_up {
            clients.reject(turn, id, request.ticket.as_ref(), reject);
        }
        let Some(slot) = self.find_stay(turn, clients, id, room) else { return };
        let stay = &self.stays[slot as usize];
        let was_asked = stay.asked == Some(request.serial);
        let (standing, is_out) = (stay.standing, stay.is_out_without(request.serial));
        if standing == Standing::Nothing && was_asked {
            return self.drop_stay(turn, clients, id, slot);
        }
        if is_out {
            self.leave_as_member(turn, clients, slot, true);
        }
        if standing == Standing::Behind && was_asked {
            self.ask_again(turn, clients, requests, slot);
        }
    }

    /// Asks for all of a room for which `id` was too slow, if it has room for it: one at a time.
    pub fn catch_up(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        requests: &mut Requests,
        id: ConnectionId,
    ) {
        let Some(stays) = clients.get(id).and_then(|found| found.stays.as_ref()) else { return };
        if stays.behind == 0 || !clients.has_room(id) {
            return;
        }
        let behind = |&&stay: &&u32| self.stays[stay as usize].standing == Standing::Behind;
        let mut behind = stays.slots.iter().filter(behind);
        let is_asked = |stay: &u32| self.stays[*stay as usize].asked.is_some();
        let next = behind.clone().next().copied();
        if let Some(stay) = next.filter(|_| !behind.any(is_asked)) {
            self.ask_again(turn, clients, requests, stay);
        }
    }

    fn ask_again(&mut self, turn: &mut Turn, clients: &mut Clients, requests: &mut Requests, stay: u32) {
        let reply = self.begin_asking(turn, clients, requests, stay, (None, false, true));
        let room = self.room_of(stay);
        let home = turn.owner(turn.hasher.map(&room));
        if home == turn.index {
            self.again.push((reply, room));
        } else {
            ask(turn, home, RoomRequest::Watch { reply, room });
        }
    }
}

/// A member has another state, or not.
pub(super) fn updated(
    turn: &mut Turn,
    clients: &mut Clients,
    requests: &mut Requests,
    reply: ReplyTo,
    outcome: Result<(), Reject>,
) {
    let Some(request) = requests.end_wait(turn, clients, reply) else { return };
    let (id, ticket) = (request.connection, request.ticket.as_ref());
    match (outcome, &request.waiting) {
        (Err(reject), _) => clients.reject(turn, id, ticket, reject),
        (Ok(()), Waiting::MemberUpdate { room }) if ticket.is_some() => {
            clients.tell(id, turn.now, Event::MemberUpdated { ticket, room });
        }
        (Ok(()), _) => {}
    }
}

/// Members of a room have come.
pub(super) fn listed(
    turn: &mut Turn,
    clients: &mut Clients,
    requests: &mut Requests,
    reply: ReplyTo,
    (people, has_more): (&[u8], bool),
) {
    let Some(request) = requests.end_wait(turn, clients, reply) else { return };
    let Waiting::People { room } = &request.waiting else { return };
    let ticket = request.ticket.as_ref();
    let event = Event::People { ticket, room, people: People(people), has_more };
    clients.tell(request.connection, turn.now, event);
}

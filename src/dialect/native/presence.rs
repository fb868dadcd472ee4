//! Who is in a room: from messages to commands, and what the shard says of it.

use super::encode;
use super::message::PresenceRequest;
use crate::shard::{Caller, JoinRoom, Shard};
use crate::wire::Ticket;

/// Carries out one request.
pub fn carry_out(shard: &mut Shard, caller: Caller, ticket: Option<Ticket>, request: PresenceRequest<'_>) {
    let mut canonical = Vec::new();
    match request {
        PresenceRequest::Join { room, state, grace_ms } => {
            if let Some(state) = &state {
                state.write_canonical(&mut canonical);
            }
            let state = state.map(|_| &*canonical);
            let grace_ms = grace_ms.unwrap_or(shard.config().presence.grace_ms);
            let grace_ms = u32::try_from(grace_ms).unwrap_or(u32::MAX);
            shard.join_room(caller, ticket, JoinRoom { room, state, grace_ms });
        }
        PresenceRequest::Watch { room } => shard.watch_room(caller, ticket, room),
        PresenceRequest::Update { room, state } => {
            state.write_canonical(&mut canonical);
            shard.update_member(caller, ticket, room, &canonical);
        }
        PresenceRequest::Leave { room } => {
            shard.leave_room(caller, room);
            shard.send(caller, |out| {
                encode::text_frame(out, |out| encode::room_left(out, ticket.as_ref(), room));
            });
        }
        PresenceRequest::List { room, after, limit } => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            shard.list_room(caller, ticket, room, (after, limit));
        }
    }
}

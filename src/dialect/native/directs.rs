//! From requests about direct messages to the commands that each asks for.

use super::data::canonical;
use super::message::DirectRequest;
use crate::shard::{Caller, SendDirect, Shard};
use crate::wire::Ticket;

pub fn carry_out(shard: &mut Shard, caller: Caller, ticket: Option<Ticket>, request: DirectRequest<'_>) {
    match request {
        DirectRequest::Send { to, data, ttl_ms, is_durable } => match canonical(shard, &data) {
            Ok(data) => {
                shard.send_direct(caller, ticket, &SendDirect { to, data: &data, ttl_ms, is_durable })
            }
            Err(reject) => shard.reject(caller, ticket.as_ref(), reject),
        },
        DirectRequest::Ack { through } => shard.ack_directs(caller, ticket, through),
        DirectRequest::Block { user, is_blocked } => shard.block_user(caller, ticket, user, is_blocked),
    }
}

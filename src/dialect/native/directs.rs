//! From requests about direct messages to the commands that each asks for.

use super::message::DirectRequest;
use crate::shard::Caller;
use crate::shard::{SendDirect, Shard};
use crate::wire::{Reject, Ticket};

pub fn carry_out(shard: &mut Shard, caller: Caller, ticket: Option<Ticket>, request: DirectRequest<'_>) {
    match request {
        DirectRequest::Send { to, data, ttl_ms, is_durable } => {
            let mut canonical = Vec::new();
            data.write_canonical(&mut canonical);
            if canonical.len() > shard.config().value_bytes_max {
                const TOO_LARGE: Reject = Reject::TooLarge("data is over --max-value-bytes");
                return shard.reject(caller, ticket.as_ref(), TOO_LARGE);
            }
            shard.send_direct(caller, ticket, &SendDirect { to, data: &canonical, ttl_ms, is_durable });
        }
        DirectRequest::Ack { through } => shard.ack_directs(caller, ticket, through),
        DirectRequest::Block { user, is_blocked } => shard.block_user(caller, ticket, user, is_blocked),
    }
}

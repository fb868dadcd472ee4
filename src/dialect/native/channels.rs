//! What messages of channels have the shard do.

use super::data::canonical;
use super::encode::{self, text_frame};
use super::message::ChannelRequest;
use crate::mesh::{Publishing, Since};
use crate::shard::{Caller, Publish, Shard};
use crate::wire::{Ticket, read_hex};

/// See the module.
pub fn carry_out(shard: &mut Shard, caller: Caller, ticket: Option<Ticket>, request: ChannelRequest<'_>) {
    match request {
        ChannelRequest::Join { channel, since } => {
            // No channel has the epoch 0.
            let since =
                since.map(|since| Since { epoch: read_hex(since.epoch).unwrap_or(0), offset: since.offset });
            shard.join_channel(caller, ticket, channel, since);
        }
        ChannelRequest::Leave { channel } => {
            shard.leave_channel(caller, channel);
            shard.send(caller, |out| text_frame(out, |out| encode::left(out, ticket.as_ref(), channel)));
        }
        ChannelRequest::Publish { channel, data, is_durable, echo } => {
            let how = Publishing { is_durable, echo };
            match canonical(shard, &data) {
                Ok(data) => shard.publish_in_channel(caller, ticket, Publish { channel, data: &data, how }),
                Err(reject) => shard.reject(caller, ticket.as_ref(), reject),
            }
        }
        ChannelRequest::History { channel, before, limit } => {
            shard.channel_history(caller, ticket, channel, before, limit);
        }
    }
}

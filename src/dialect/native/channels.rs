//! What messages of channels have the shard do.

use super::encode::{self, text_frame};
use super::message::ChannelRequest;
use crate::mesh::{Publishing, Since};
use crate::shard::{Caller, Publish, Shard};
use crate::wire::{Reject, Ticket, read_hex};

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
            let mut canonical = Vec::new();
            data.write_canonical(&mut canonical);
            if canonical.len() > shard.config().value_bytes_max {
                const LONG: Reject = Reject::TooLarge("the data is over --max-value-bytes");
                return shard.reject(caller, ticket.as_ref(), LONG);
            }
            let how = Publishing { is_durable, echo };
            shard.publish_in_channel(caller, ticket, Publish { channel, data: &canonical, how });
        }
        ChannelRequest::History { channel, before, limit } => {
            shard.channel_history(caller, ticket, channel, before, limit);
        }
    }
}

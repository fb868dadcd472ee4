//! What connections wait for with channels.

use super::{PendingRequest, Requests, Waiting};
use crate::mesh::{History, Publishing, ReplyTo, ShardIndex};
use crate::shard::Event;
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;
use crate::wire::Reject;

/// See the module.
pub enum ChannelWait {
    /// A member, by its slot, is told what it lacks.
    Join {
        member: u32,
        owed_bytes: usize,
    },
    /// A message is given its offset, and once it has that, the disk has it.
    Publish {
        channel: Box<str>,
        how: Publishing,
        offset: Option<u64>,
    },
    History {
        channel: Box<str>,
        owed_bytes: usize,
    },
}

impl ChannelWait {
    /// Bytes of messages in the answer, at most.
    pub const fn owed_bytes(&self) -> usize {
        match self {
            Self::Join { owed_bytes, .. } | Self::History { owed_bytes, .. } => *owed_bytes,
            Self::Publish { .. } => 0,
        }
    }
}

impl Requests {
    /// The home of a channel has given a message its offset; it is durable when `cover` is.
    pub fn channel_published(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        (reply, outcome): (ReplyTo, Result<u64, Reject>),
        cover: (ShardIndex, u64),
    ) {
        let Some(request) = self.pending.get_mut(reply) else { return };
        let Waiting::Channel(ChannelWait::Publish { how, offset, .. }) = &mut request.waiting else { return };
        match outcome {
            Ok(given) => {
                *offset = Some(given);
                if how.is_durable && self.wait_for_batch(maps, reply, cover) {
                    return;
                }
                if let Some(request) = self.end_wait(turn, clients, reply) {
                    answer_published(turn, clients, &request, false);
                }
            }
            Err(reject) => {
                if let Some(request) = self.end_wait(turn, clients, reply) {
                    clients.reject(turn, request.connection, request.ticket.as_ref(), reject);
                }
            }
        }
    }

    /// The home of a channel has looked up what was said before.
    pub fn channel_history(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        reply: ReplyTo,
        outcome: Result<&History<impl AsRef<[u8]>>, Reject>,
    ) {
        let Some(request) = self.end_wait(turn, clients, reply) else { return };
        let (id, ticket) = (request.connection, request.ticket.as_ref());
        let Waiting::Channel(ChannelWait::History { channel, .. }) = &request.waiting else { return };
        match outcome {
            Ok(history) => {
                let history =
                    History { epoch: history.epoch, messages: history.messages.as_ref(), more: history.more };
                clients.tell(id, turn.now, Event::History { ticket, channel, history });
            }
            Err(reject) => clients.reject(turn, id, ticket, reject),
        }
    }
}

/// Answers with the offset that a message has; on a timeout nothing more is known of it.
pub(super) fn answer_published(
    turn: &mut Turn,
    clients: &mut Clients,
    request: &PendingRequest,
    timeout: bool,
) {
    let (id, ticket) = (request.connection, request.ticket.as_ref());
    match &request.waiting {
        Waiting::Channel(ChannelWait::Publish { channel, how, offset: Some(offset) }) => {
            turn.metrics.durable_acks += u64::from(how.is_durable && !timeout);
            let offset = *offset;
            clients.tell(id, turn.now, Event::Placed { ticket, channel, offset, timeout });
        }
        _ => clients.reject(turn, id, ticket, Reject::Timeout),
    }
}

//! Requests about direct messages, while the homes of users have yet to answer, or a disk.

use super::charge::Charge;
use super::{PendingRequest, Requests, Waiting};
use crate::mesh::{ConnectionId, DirectAnswer, MessageId, NotSent, ReplyTo, Sent, ShardIndex};
use crate::shard::clients::Clients;
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;
use crate::shard::{DirectEvent, Event};
use crate::wire::{Reject, Ticket};

/// What somebody waits for.
pub enum DirectWait {
    /// What became of a message; `sent`, where that is known and a disk has yet to have it.
    Send {
        is_durable: bool,
        sent: Option<Sent>,
    },
    /// How many have taken a message to many, so far.
    Announce {
        taken: u64,
    },
    Ack {
        through: MessageId,
    },
    Block {
        user: Box<str>,
        is_blocked: bool,
    },
}

impl Requests {
    /// Registers a request that waits for so many answers and takes so many bytes wherever it waits.
    pub fn wait_for_direct(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        asked: (ConnectionId, Option<Ticket>),
        waiting: DirectWait,
        (answers, bytes): (u32, usize),
    ) -> ReplyTo {
        let reply = self.wait_for(turn, clients, asked, Waiting::Direct(waiting), answers);
        self.charge(clients, reply, Charge { request_bytes: bytes, owed_bytes: 0 });
        reply
    }

    /// A shard has answered. `from` says which, and the batch of it that has what the answer speaks of.
    pub fn direct_answered(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        maps: &Maps,
        from: (ShardIndex, u64),
        answer: DirectAnswer,
    ) {
        match answer {
            DirectAnswer::Sent { reply, outcome: Ok(sent) } => {
                if !self.sent_waits_for_disk(turn, maps, (reply, sent), from) {
                    self.end_direct(turn, clients, reply, |_| Ok(DirectEvent::sent(sent)));
                }
            }
            DirectAnswer::Announced { reply, taken: more } => {
                if let Some(PendingRequest {
                    waiting: Waiting::Direct(DirectWait::Announce { taken }), ..
                }) = self.pending.get_mut(reply)
                {
                    *taken += more;
                }
                let Some(request) = self.answered(turn, clients, reply) else { return };
                tell_announced(turn, clients, &request);
            }
            DirectAnswer::Acked { reply, outcome } => {
                self.end_direct(turn, clients, reply, |wait| match *wait {
                    DirectWait::Ack { through } => outcome.map(|()| DirectEvent::Acked { through }),
                    _ => Err(Reject::Timeout),
                });
            }
            DirectAnswer::Blocked { reply, outcome } => {
                self.end_direct(turn, clients, reply, |wait| match wait {
                    DirectWait::Block { user, is_blocked } => {
                        outcome.map(|()| DirectEvent::Blocked { user, is_blocked: *is_blocked })
                    }
                    _ => Err(Reject::Timeout),
                });
            }
            DirectAnswer::Sent { reply, outcome: Err(reject) } => {
                self.end_direct(turn, clients, reply, |_| Err(reject));
            }
            // Not about a request.
            DirectAnswer::Taken { .. } | DirectAnswer::Fetched(_) => {}
        }
    }

    fn end_direct(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        reply: ReplyTo,
        event: impl FnOnce(&DirectWait) -> Result<DirectEvent<'_>, Reject>,
    ) {
        let Some(request) = self.end_wait(turn, clients, reply) else { return };
        let Waiting::Direct(wait) = &request.waiting else { return };
        tell(turn, clients, &request, event(wait));
    }

    /// Has a message whose sender wants it wait until it is durable; whether it must.
    fn sent_waits_for_disk(
        &mut self,
        turn: &Turn,
        maps: &Maps,
        (reply, sent): (ReplyTo, Sent),
        batch: (ShardIndex, u64),
    ) -> bool {
        let Some(request) = self.pending.get_mut(reply) else { return false };
        let Waiting::Direct(DirectWait::Send { is_durable: true, sent: known }) = &mut request.waiting else {
            return false;
        };
        if matches!(sent, Sent::Refused(_)) {
            return false;
        }
        *known = Some(sent);
        maps.may_wait_for_disk(turn) && self.wait_for_batch(maps, reply, batch)
    }

    /// A message has become durable, or has waited for too long.
    pub(super) fn answer_direct(
        &mut self,
        turn: &mut Turn,
        clients: &mut Clients,
        request: &PendingRequest,
        timeout: bool,
    ) {
        let Waiting::Direct(wait) = &request.waiting else { return };
        let event = match *wait {
            DirectWait::Send { sent: Some(sent), .. } => Ok(DirectEvent::Sent { sent, count: None, timeout }),
            DirectWait::Announce { taken } if taken > 0 => return tell_announced(turn, clients, request),
            _ => Err(Reject::Timeout),
        };
        tell(turn, clients, request, event);
    }
}

fn tell_announced(turn: &mut Turn, clients: &mut Clients, request: &PendingRequest) {
    let Waiting::Direct(DirectWait::Announce { taken }) = request.waiting else { return };
    let sent =
        if taken > 0 { Sent::Delivered { id: MessageId::default() } } else { Sent::Refused(NotSent::Absent) };
    tell(turn, clients, request, Ok(DirectEvent::Sent { sent, count: Some(taken), timeout: false }));
}

fn tell(
    turn: &mut Turn,
    clients: &mut Clients,
    request: &PendingRequest,
    event: Result<DirectEvent<'_>, Reject>,
) {
    let (id, ticket) = (request.connection, request.ticket.as_ref());
    match event {
        Ok(event) => clients.tell(id, turn.now, Event::Direct { ticket, event }),
        Err(reject) => clients.reject(turn, id, ticket, reject),
    }
}

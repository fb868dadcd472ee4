//! Direct messages, as shards have each other carry them.

use super::Shard;
use super::directory::Directory;
use super::directs::{Announce, Around, Arrived, Directs, deliver_fetched, refuse};
use crate::mesh::{self, DirectAnswer, DirectPush, DirectRequest, Request, ShardIndex};
use crate::wire::Reject;

impl Shard {
    /// What direct messages are carried out with.
    pub(super) fn directs_around(&mut self) -> (&mut Directs, &Directory, Around<'_>) {
        let Self { turn, clients, maps, requests, directs, directory, .. } = self;
        (directs, directory, Around { turn, clients, maps, requests })
    }

    pub(super) fn direct_asked(&mut self, request: DirectRequest, bytes: &[u8]) {
        let (directs, directory, mut around) = self.directs_around();
        match request {
            DirectRequest::Send(send) => {
                let arrived = Arrived {
                    reply: send.reply,
                    to: send.to.text(bytes),
                    from: &send.from,
                    data: send.data.of(bytes),
                    ttl_ms: send.ttl_ms,
                    is_durable: send.is_durable,
                };
                directs.send_arrived(&mut around, directory, &arrived);
            }
            DirectRequest::Fetch(fetch) => directs.fetch_asked(fetch),
            DirectRequest::Ack { reply, user, through } => {
                directs.ack_asked(&mut around, reply, (&user, through));
            }
            DirectRequest::BlockOther(block) => directs.block_other_asked(&mut around, block),
            DirectRequest::Block(block) => directs.block_asked(&mut around, block),
            DirectRequest::Announce(announce) => {
                let announce = Announce {
                    reply: announce.reply,
                    to: &announce.to,
                    from: &announce.from,
                    data: announce.data.of(bytes),
                    time_ms: announce.time_ms,
                };
                directs.announced(&mut around, &announce);
            }
        }
    }

    pub(super) fn direct_answered(
        &mut self,
        (from, journaled): (ShardIndex, u64),
        answer: DirectAnswer,
        bytes: &[u8],
    ) {
        let (directs, _, mut around) = self.directs_around();
        match answer {
            DirectAnswer::Taken { sending, is_taken } => directs.taken(&mut around, sending, is_taken),
            DirectAnswer::Fetched(fetched) => {
                let messages = fetched.messages.of(bytes);
                deliver_fetched(&mut around, (&fetched, messages));
                if !fetched.is_refused {
                    directs.fetch_on(around.turn, around.clients, fetched.connection);
                }
            }
            answer => {
                let Around { turn, clients, maps, requests } = around;
                requests.direct_answered(turn, clients, maps, (from, journaled), answer);
            }
        }
    }

    pub(super) fn direct_pushed(&mut self, from: ShardIndex, push: &DirectPush, bytes: &[u8]) {
        let (directs, _, mut around) = self.directs_around();
        for message in mesh::Directs(push.message.of(bytes)) {
            directs.push_arrived(&mut around, from, push, &message);
        }
    }

    /// Answers a request that must not wait here; gives back what is small and must not be lost.
    pub(super) fn refuse_direct(&mut self, request: DirectRequest, reject: Reject) -> Option<Request> {
        if !matches!(request, DirectRequest::Send(_) | DirectRequest::Announce(_)) {
            return Some(Request::Direct(Box::new(request)));
        }
        self.give_up_direct(request, reject);
        None
    }

    /// Answers a request that has waited for its map in vain.
    pub(super) fn give_up_direct(&mut self, request: DirectRequest, reject: Reject) {
        let (directs, _, mut around) = self.directs_around();
        let here = around.turn.index;
        let again = match &request {
            DirectRequest::Fetch(fetch) if reject == Reject::Timeout && fetch.by.shard == here => {
                Some(fetch.by.connection)
            }
            _ => None,
        };
        refuse(&mut around, request, reject);
        if let Some(connection) = again {
            directs.fetch_on(around.turn, around.clients, connection);
        }
    }
}

//! A message to one user: from the shard of its sender to the home of the user, which knows what becomes of it.

use std::borrow::Cow;
use std::sync::Arc;

use super::mailbox::{List, cost};
use super::{Around, Directs, ask};
use crate::hooks::{Happened, Kind};
use crate::mesh::{
    Answer, ConnectionId, Direct, DirectAnswer, DirectPush, DirectRequest, Item, MessageId, NotSent, ReplyTo,
    SendRequest, SendingId, Sent, ShardIndex, Span, Writer,
};
use crate::shard::AckLevel;
use crate::shard::account::Use;
use crate::shard::caller::Asked;
use crate::shard::directory::Directory;
use crate::shard::log::Draft;
use crate::shard::requests::DirectWait;
use crate::shard::slots;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To<'a> {
    User(&'a str),
    /// All users that are there and have the role.
    Role(&'a str),
    /// All users that are there.
    All,
}

impl<'a> To<'a> {
    /// As it stands in messages and rules.
    pub fn name(self) -> Cow<'a, str> {
        match self {
            Self::User(user) => ["user:", user].concat().into(),
            Self::Role(role) => ["role:", role].concat().into(),
            Self::All => "all".into(),
        }
    }

    /// Whom such a name is for. The rest of it may be of any length.
    pub fn of_name(name: &'a str) -> Option<Self> {
        match name.split_once(':') {
            Some(("user", user)) => Some(Self::User(user)),
            Some(("role", role)) => Some(Self::Role(role)),
            _ => (name == "all").then_some(Self::All),
        }
    }
}

/// A message that a client sends.
#[derive(Clone, Copy, Debug)]
pub struct SendDirect<'a> {
    pub to: To<'a>,
    /// Canonical JSON.
    pub data: &'a [u8],
    /// For how long it is kept, at most as long as any.
    pub ttl_ms: Option<u64>,
    /// Whether it is answered once a crash leaves it there.
    pub is_durable: bool,
}

/// One of which the home does not know yet whether anybody takes it.
pub struct Sending {
    serial: u32,
    reply: ReplyTo,
    id: MessageId,
    /// Shards that are yet to say.
    left: usize,
}

/// A message as it comes to the home of its user.
pub struct Arrived<'a> {
    pub reply: ReplyTo,
    pub to: &'a str,
    pub from: &'a Arc<str>,
    pub data: &'a [u8],
    pub ttl_ms: Option<u64>,
    pub is_durable: bool,
}

/// Why it is not kept, and how its sender is told.
enum Refused {
    AsAnswer(NotSent),
    AsError(Reject),
}

impl Arrived<'_> {
    /// The same for a while, or for another shard: what it borrows goes to `bytes`.
    fn pack(&self, bytes: &mut Vec<u8>) -> DirectRequest {
        let &Arrived { reply, to, from, data, ttl_ms, is_durable } = self;
        let to = Span::append(bytes, to.as_bytes());
        let data = Span::append(bytes, data);
        let send = SendRequest { reply, to, from: Arc::clone(from), data, ttl_ms, is_durable };
        DirectRequest::Send(send)
    }
}

impl Directs {
    /// Sends a message to one user; [`super::super::DirectEvent::Sent`] follows.
    pub fn send(
        &mut self,
        around: &mut Around<'_>,
        directory: &Directory,
        asked: Asked,
        (from, to): (&Arc<str>, &str),
        &SendDirect { data, ttl_ms, is_durable, .. }: &SendDirect<'_>,
    ) {
        let Around { turn, clients, requests, .. } = around;
        turn.metrics.directs_sent += 1;
        let asked = (asked.connection(), asked.ticket);
        let waiting = DirectWait::Send { is_durable, sent: None };
        let reply = requests.wait_for_direct(turn, clients, asked, waiting, (1, data.len()));
        let home = turn.owner(turn.hasher.user(to));
        let arrived = Arrived { reply, to, from, data, ttl_ms, is_durable };
        if home == turn.index {
            return self.send_arrived(around, directory, &arrived);
        }
        let request = arrived.pack(&mut turn.outgoing.filling(home).bytes);
        ask(turn, home, request);
    }

    /// A message has come to the home of its user, which is here.
    pub fn send_arrived(&mut self, around: &mut Around<'_>, directory: &Directory, arrived: &Arrived<'_>) {
        let slot = match self.open(around.turn, around.maps, arrived.to) {
            Ok(slot) => slot,
            Err(map) => {
                let mut bytes = Vec::with_capacity(arrived.to.len() + arrived.data.len());
                let request = arrived.pack(&mut bytes);
                return self.park(around, map, (request, bytes));
            }
        };
        let outcome = match self.keep(around, slot, arrived) {
            Ok(id) => {
                tell_application(around.turn, arrived, id);
                return self.push(around, directory, arrived, id);
            }
            Err(Refused::AsAnswer(why)) => Ok(Sent::Refused(why)),
            Err(Refused::AsError(reject)) => Err(reject),
        };
        around.turn.metrics.directs_refused += 1;
        around.answer(arrived.reply, DirectAnswer::Sent { reply: arrived.reply, outcome });
    }

    /// Keeps a message if it may be sent; its name.
    fn keep(
        &mut self,
        around: &mut Around<'_>,
        slot: u32,
        arrived: &Arrived<'_>,
    ) -> Result<MessageId, Refused> {
        let Around { turn, maps, .. } = around;
        let &Arrived { from, data, ttl_ms, is_durable, .. } = arrived;
        self.change(turn, maps, slot, |mailbox, turn, maps| {
            let (config, bytes) = (turn.config.direct, cost(from, data));
            let why = if mailbox.has(List::Blocked, from) {
                Some(NotSent::Forbidden)
            } else if mailbox.has(List::BlockedBy, from) {
                Some(NotSent::Blocked)
            } else if bytes > config.bytes_max {
                Some(NotSent::TooLarge)
            } else {
                turn.account.refuses_queued(bytes).map(|_| NotSent::QueueFull)
            };
            if let Some(why) = why {
                return Err(Refused::AsAnswer(why));
            }
            if is_durable && let Some(reject) = maps.refuses_writes(turn, AckLevel::Durable) {
                return Err(Refused::AsError(reject));
            }
            turn.spend(work::copied(data.len()));
            let ttl_ms = ttl_ms.unwrap_or(u64::MAX).min(config.ttl_ms);
            let draft = Draft { from: Arc::clone(from), data: data.into(), ttl_ms, is_kept: is_durable };
            let (id, dropped) = mailbox.push(turn, maps, draft).map_err(Refused::AsError)?;
            turn.metrics.directs_dropped += dropped;
            turn.account.add(Use::Directs, bytes);
            Ok(id)
        })
    }

    /// Hands a message to the connections of its user, wherever they are.
    fn push(&mut self, around: &mut Around<'_>, directory: &Directory, arrived: &Arrived<'_>, id: MessageId) {
        let &Arrived { reply, to, from, data, .. } = arrived;
        let turn = &mut *around.turn;
        let message = Direct { id, time_ms: turn.now.unix_ms, from, data };
        let mut hearers: Vec<Writer> = directory.hearers_of(&turn.hasher, to).collect();
        hearers.sort_unstable_by_key(|hearer| hearer.shard);
        turn.spend(work::RECEIVER * hearers.len() as u64);
        let here = turn.index;
        let of_shards = || hearers.chunk_by(|one, next| one.shard == next.shard);
        let of_here = of_shards().find(|group| group[0].shard == here).unwrap_or_default();
        let is_taken =
            self.push_here(turn, around.clients, of_here.iter().map(|hearer| hearer.connection), &message);
        let left = of_shards().filter(|group| group[0].shard != here).count();
        let sending = if is_taken || left == 0 {
            let sent = if is_taken { Sent::Delivered { id } } else { Sent::Queued { id } };
            around.answer(reply, DirectAnswer::Sent { reply, outcome: Ok(sent) });
            SendingId::NONE
        } else {
            let serial = turn.next_serial();
            let slot = slots::slot(self.sendings.insert(Sending { serial, reply, id, left }));
            SendingId { slot, serial }
        };
        let turn = &mut *around.turn;
        for group in of_shards().filter(|group| group[0].shard != here) {
            let connections: Box<[ConnectionId]> = group.iter().map(|hearer| hearer.connection).collect();
            let envelope = turn.outgoing.filling(group[0].shard);
            let start = envelope.bytes.len();
            message.pack(&mut envelope.bytes);
            let message = Span::since(&envelope.bytes, start);
            envelope.items.push(Item::Direct(Box::new(DirectPush { sending, connections, message })));
            turn.spend(work::copied(data.len()));
        }
    }

    /// A shard has said whether any of its connections has taken a message.
    pub fn taken(&mut self, around: &mut Around<'_>, sending: SendingId, is_taken: bool) {
        let found =
            self.sendings.get_mut(sending.slot as usize).filter(|found| found.serial == sending.serial);
        let Some(found) = found else { return };
        found.left -= 1;
        let &mut Sending { reply, id, left, .. } = found;
        if !is_taken && left > 0 {
            return;
        }
        self.sendings.remove(sending.slot as usize);
        let sent = if is_taken { Sent::Delivered { id } } else { Sent::Queued { id } };
        around.answer(reply, DirectAnswer::Sent { reply, outcome: Ok(sent) });
    }

    /// Hands a push to the connections that it is for, and says whether any has taken it.
    pub fn push_arrived(
        &mut self,
        around: &mut Around<'_>,
        home: ShardIndex,
        push: &DirectPush,
        message: &Direct<'_>,
    ) {
        around.turn.begin_share_of(work::MESSAGE_MIN);
        let connections = push.connections.iter().copied();
        let is_taken = self.push_here(around.turn, around.clients, connections, message);
        if push.sending != SendingId::NONE {
            let taken = DirectAnswer::Taken { sending: push.sending, is_taken };
            around.turn.outgoing.push(home, Item::Answer(Answer::Direct(Box::new(taken))));
        }
    }
}

/// Tells the application of a message that is kept for its user.
fn tell_application(turn: &mut Turn, arrived: &Arrived<'_>, id: MessageId) {
    if !turn.happenings.hears(Kind::Sent, arrived.to) {
        return;
    }
    turn.spend(work::copied(arrived.data.len()));
    let what = Happened::Sent {
        to: arrived.to.into(),
        from: Some(Arc::clone(arrived.from)),
        message: id.to_string().into(),
        data: arrived.data.into(),
    };
    turn.happenings.tell(turn.now.unix_ms, what);
}

//! From messages to the commands each one asks for.

use super::channels;
use super::directs;
use super::encode::{self, text_frame};
use super::faulty;
use super::message::{Message, Request};
use super::operations::Operations;
use super::plain::{PlainRoom, PlainWrite};
use super::presence;
use super::slips::refuses_slip;
use crate::mesh::Filter;
use crate::query::Query;
use crate::shard::Caller;
use crate::shard::{From, Shard, Subscribe, SubscribeQuery};
use crate::wire::json::{Value, find_id};
use crate::wire::{Close, Cursor, Payload, Reject, Ticket};

/// Bytes of a message over the rate in which its `id` is looked for, whatever its length: a flood of large messages must not
/// cost more than it did to read what is allowed.
const ID_WITHIN_BYTES: usize = 4 << 10;

/// The server speaks first.
pub fn greet(shard: &mut Shard, caller: Caller, is_strict: bool) {
    let time = shard.clock_now();
    let config = shard.config();
    let hello = encode::Hello {
        protocol: 1,
        connection: &shard.connection_name(caller),
        node: time.node.as_str(),
        time: &time,
        auth: config.auth.as_str(),
        acks: if shard.may_wait_for_disk() { &["none", "memory", "durable"] } else { &["none", "memory"] },
        heartbeat_ms: config.heartbeat_ms,
        tombstone_retention_ms: config.tombstone_retention_ms,
        strict: is_strict,
        features: &["presence", "channels", "direct", "queries"],
        limits: encode::Limits {
            message_bytes: config.message_bytes_max,
            subscriptions: config.subscriptions_max,
        },
    };
    shard.send_urgent(caller, |out| text_frame(out, |out| encode::hello(out, &hello)));
}

/// Handles one message.
pub fn handle(
    shard: &mut Shard,
    caller: Caller,
    mut payload: Payload<'_>,
    is_strict: bool,
) -> Result<(), Close> {
    if let Some(retry_after_ms) = shard.over_message_rate(caller, payload.bytes().len()) {
        let front = &payload.bytes()[..payload.bytes().len().min(ID_WITHIN_BYTES)];
        let ticket = find_id(front).and_then(|place| faulty::ticket_of(shard, &front[place]));
        shard.reject(caller, ticket.as_ref(), Reject::RateLimited { retry_after_ms });
        return Ok(());
    }
    if !is_strict && !caller.is_nobody() && handle_plain(shard, caller, payload.bytes()) {
        return Ok(());
    }
    let object = match shard.parser().parse(payload.reborrow()) {
        Ok(object) => object,
        Err(refused) => return faulty::handle(shard, caller, refused, payload, is_strict),
    };
    let message = Message::new(&object);
    let ticket = message.id().map(|request_id| request_id.to_ticket());
    match message.request() {
        _ if is_strict && refuses_slip(shard, caller, ticket.as_ref(), &object) => {}
        Ok(request) => carry_out(shard, caller, ticket, request),
        Err(reject) => shard.reject(caller, ticket.as_ref(), reject),
    }
    shard.parser().recycle(object);
    Ok(())
}

/// Handles a message that is a plain write; whether it was one.
fn handle_plain(shard: &mut Shard, caller: Caller, bytes: &[u8]) -> bool {
    let Ok(text) = simdutf8::basic::from_utf8(bytes) else { return false };
    let value_bytes_max = shard.config().value_bytes_max;
    let mut room = std::mem::take(shard.commons().of::<PlainRoom>());
    let mut read = PlainWrite::read(text, value_bytes_max, &mut room);
    if let Some(write) = &mut read {
        shard.write(caller, write.ticket.take(), write.ack, write.ops());
    }
    let is_plain = read.is_some();
    if let Some(write) = read {
        room.keep(write);
    }
    *shard.commons().of() = room;
    is_plain
}

fn carry_out(shard: &mut Shard, caller: Caller, ticket: Option<Ticket>, request: Request<'_>) {
    if caller.is_nobody() && !matches!(request, Request::Ping | Request::Auth { .. }) {
        return shard.reject(caller, ticket.as_ref(), Reject::AuthRequired);
    }
    match request {
        Request::Ping => {
            let time = shard.clock_now();
            shard.send_urgent(caller, |out| text_frame(out, |out| encode::pong(out, ticket.as_ref(), &time)));
        }
        Request::Write { ack, ops } => {
            let value_bytes_max = shard.config().value_bytes_max;
            shard.write(caller, ticket, ack, Operations::new(ops, value_bytes_max));
        }
        Request::Read { map, keys } => shard.read(caller, ticket, map, keys),
        Request::Subscribe { map, since, keys, prefix, snapshot, echo, query } => {
            let from = match since.map(Cursor::parse) {
                None if snapshot => From::Everything,
                None => From::Nothing,
                Some(Some(since)) => From::Cursor(since),
                Some(None) => {
                    return shard.reject(
                        caller,
                        ticket.as_ref(),
                        Reject::BadRequest("since is not a cursor"),
                    );
                }
            };
            let filter = match (keys, prefix) {
                (Some(_), Some(_)) => {
                    const BOTH: Reject = Reject::BadRequest("a subscription has keys or a prefix, not both");
                    return shard.reject(caller, ticket.as_ref(), BOTH);
                }
                (Some(keys), None) => Some(shard.keys_filter(map, keys)),
                (None, prefix) => {
                    prefix.filter(|prefix| !prefix.is_empty()).map(|prefix| Filter::Prefix(prefix.into()))
                }
            };
            match query {
                None => shard.subscribe(caller, ticket, Subscribe { map, from, filter, echo }),
                Some(query) => subscribe_query(shard, caller, ticket, (map, filter, from), query),
            }
        }
        Request::Unsubscribe { map, query } => {
            match query {
                None => shard.unsubscribe(caller, map),
                Some(name) => shard.unsubscribe_query(caller, map, Some(&name.to_ticket())),
            }
            shard.send(caller, |out| text_frame(out, |out| encode::unsubscribed(out, ticket.as_ref(), map)));
        }
        Request::Digest { map } => shard.digest(caller, ticket, map),
        Request::Presence(request) => presence::carry_out(shard, caller, ticket, request),
        Request::Disconnect { user } => shard.dismiss(caller, ticket, user),
        Request::Channel(request) => channels::carry_out(shard, caller, ticket, request),
        Request::Direct(request) => directs::carry_out(shard, caller, ticket, request),
        Request::Auth { token } => shard.authenticate(caller, ticket, token),
        Request::ClientError { message, context } => {
            let mut canonical = Vec::new();
            context.inspect(|context| context.write_canonical(&mut canonical));
            match shard.note_client_error(caller, message, &canonical) {
                Ok(()) => shard.send(caller, |out| {
                    text_frame(out, |out| encode::client_error_noted(out, ticket.as_ref()))
                }),
                Err(reject) => shard.reject(caller, ticket.as_ref(), reject),
            }
        }
    }
}

fn subscribe_query(
    shard: &mut Shard,
    caller: Caller,
    ticket: Option<Ticket>,
    (map, filter, from): (&str, Option<Filter>, From),
    query: Value<'_>,
) {
    let mut canonical = Vec::new();
    query.write_canonical(&mut canonical);
    // The message has counted its bytes when it was read.
    let query = match Query::parse(&canonical, shard.config().query_results_max) {
        Ok(query) => query,
        Err(reject) => return shard.reject(caller, ticket.as_ref(), reject),
    };
    let since = match from {
        From::Cursor(since) => Some(since),
        From::Everything | From::Now | From::Nothing => None,
    };
    let Some(name) = ticket.clone() else { return };
    shard.subscribe_query(caller, ticket, SubscribeQuery { map, filter, query, since, name });
}

//! The messages of protocol v1: golden lines for each request and answer, every way a request can be wrong,
//! random bytes, and the canonical form of values.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alike;
mod answers;
mod canonical;
mod faults;
mod plain;
mod random;
mod random_bytes;
mod refusals;
mod requests;

use std::fmt::Write;

use annulus::crdt::{Node, Stamp, Time};
use annulus::dialect::native::message::{Action, DirectRequest, Message, Op, PresenceRequest, Request};
use annulus::limits::PARSE_PADDING_BYTES;
use annulus::wire::json::{Diagnosis, Parser, Value};
use annulus::wire::{Payload, Reject};

/// Parses `json` as a shard does: in place, with foreign bytes behind it.
fn with_message<R>(json: &[u8], look: impl FnOnce(Result<Message<'_>, Reject>) -> R) -> R {
    if let Ok(text) = str::from_utf8(json) {
        alike::assert_alike(text);
    }
    // What follows would complete almost any truncated message, if the parser looked at it.
    let mut padded = [json, &b"9]}\"".repeat(PARSE_PADDING_BYTES / 4)].concat();
    let mut parser = Parser::new();
    let mut payload = Payload::new(&mut padded, json.len());
    let refused = match parser.parse(payload.reborrow()) {
        Ok(object) => return look(Ok(Message::new(&object))),
        Err(refused) => refused,
    };
    match refused.diagnose(&mut payload, &[]) {
        Diagnosis::Mended(faults) => look(Err(Reject::ValueFault(faults.found[0].fault))),
        Diagnosis::Broken { fault, .. } => look(Err(Reject::BadJson(fault))),
    }
}

/// What a message asks for, in a line, or the code it is refused with.
fn outcome(json: &str) -> String {
    with_message(json.as_bytes(), |message| match message.and_then(Message::request) {
        Ok(request) => line(&request),
        Err(reject) => reject.code().to_owned(),
    })
}

fn line(request: &Request<'_>) -> String {
    match request {
        Request::Ping => "ping".to_owned(),
        Request::Auth { token } => format!("auth {token}"),
        Request::Read { map, keys } => format!("read {map} {keys:?}"),
        Request::Subscribe { map, since, keys, prefix, snapshot, echo, query } => {
            let query = query.as_ref().map(|query| format!(" query {query:?}")).unwrap_or_default();
            format!(
                "subscribe {map} since {since:?} keys {keys:?} prefix {prefix:?} snapshot {snapshot} echo {echo}{query}"
            )
        }
        Request::Unsubscribe { map, query } => {
            let query = query.as_ref().map(|query| format!(" query {query:?}")).unwrap_or_default();
            format!("unsubscribe {map}{query}")
        }
        Request::Digest { map } => format!("digest {map}"),
        Request::Presence(request) => presence_line(request),
        Request::Disconnect { user } => format!("disconnect {user}"),
        Request::ClientError { message, context } => format!("client_error {message:?} {context:?}"),
        Request::Channel(request) => format!("{request:?}"),
        Request::Direct(request) => direct_line(request),
        Request::Write { ack, ops } => {
            let mut line = format!("write {} {}", ack.as_str(), ops.len());
            for op in ops.clone() {
                match op {
                    Ok(op) => write!(line, "; {}", op_line(&op)).unwrap(),
                    Err(reject) => write!(line, "; {}", reject.code()).unwrap(),
                }
            }
            line
        }
    }
}

fn presence_line(request: &PresenceRequest<'_>) -> String {
    match request {
        PresenceRequest::Join { room, state, grace_ms } => {
            format!("join {room} {:?} grace {grace_ms:?}", state.as_ref().map(canonical))
        }
        PresenceRequest::Watch { room } => format!("watch {room}"),
        PresenceRequest::Update { room, state } => format!("update {room} {}", canonical(state)),
        PresenceRequest::Leave { room } => format!("leave {room}"),
        PresenceRequest::List { room, after, limit } => format!("list {room} after {after:?} {limit}"),
    }
}

fn direct_line(request: &DirectRequest<'_>) -> String {
    match request {
        DirectRequest::Send { to, data, ttl_ms, is_durable } => {
            format!("send {to:?} {} ttl {ttl_ms:?} durable {is_durable}", canonical(data))
        }
        DirectRequest::Ack { through } => format!("ack {:x} {}", through.epoch, through.offset),
        DirectRequest::Block { user, is_blocked: true } => format!("block {user}"),
        DirectRequest::Block { user, is_blocked: false } => format!("unblock {user}"),
    }
}

fn op_line(op: &Op<'_>) -> String {
    let Op { map, key, action } = op;
    let action = match action {
        Action::Set { value, at, ttl_ms } => {
            format!("set {} at {} ttl {ttl_ms:?}", canonical(value), stamp_text(*at))
        }
        Action::Delete { at, map_type } => {
            let of_type = map_type.map_or(String::new(), |map_type| format!(" of {}", map_type.as_str()));
            format!("delete at {}{of_type}", stamp_text(*at))
        }
        Action::Add { value, tag, at } => {
            format!("add {} tag {tag:?} at {}", canonical(value), stamp_text(*at))
        }
        Action::RemoveTags(tags) => format!("remove tags {tags:?}"),
        Action::RemoveValue(value) => format!("remove value {}", canonical(value)),
        Action::Increment { by } => format!("increment {by}"),
        Action::IncrementTotals { replica, added, subtracted } => {
            let stamp = Stamp { time: Time::ZERO, node: *replica };
            format!("increment {} +{added} -{subtracted}", stamp_text(Some(stamp)))
        }
    };
    format!("{map}/{key} {action}")
}

fn canonical(value: &Value<'_>) -> String {
    let mut out = Vec::new();
    value.write_canonical(&mut out);
    String::from_utf8(out).unwrap()
}

fn stamp_text(stamp: Option<Stamp>) -> String {
    let mut out = Vec::new();
    if let Some(stamp) = stamp {
        stamp.write_to(&mut out);
    }
    String::from_utf8(out).unwrap()
}

fn stamp(text: &str) -> Stamp {
    Stamp::parse(text).unwrap()
}

fn node(name: &str) -> Option<Node> {
    Node::new(name.as_bytes())
}

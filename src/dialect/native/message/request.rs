//! What a message asks for.

use simd_json::Node;

use super::field::{self, Field};
use super::fields::Fields;
use super::{ChannelRequest, DirectRequest, Keys, Ops, PresenceRequest, RequestId};
use crate::shard::AckLevel;
use crate::wire::Reject;
use crate::wire::json::{Object, Scratch, Value};

/// One message that a client sent.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a>(&'a Object<'a>);

impl<'a> Message<'a> {
    pub fn new(object: &'a Object<'a>) -> Self {
        Self(object)
    }

    /// The `id` that the answer carries; `None` if there is none or it is none (then
    /// [`Message::request`] says so).
    pub fn id(self) -> Option<RequestId<'a>> {
        let (_, id) = self.0.members().filter(|(name, _)| *name == "id").last()?;
        RequestId::of(id.first()?).ok()
    }

    /// What the message asks for.
    ///
    /// # Errors
    /// [`Reject::UnknownType`]; [`Reject::BadRequest`] for a field that is missing or of the wrong type;
    /// [`Reject::KeyInvalid`], [`Reject::ValueInvalid`] and [`Reject::TooLarge`] for one that breaks its
    /// rule. An operation of a `write` is judged on its own, by [`super::Ops`].
    pub fn request(self) -> Result<Request<'a>, Reject> {
        decode(self.0.nodes(), self.0.scratch())
    }
}

/// What a client asks for. `docs/protocol.md` says what each means.
#[derive(Clone, Debug)]
pub enum Request<'a> {
    Ping,
    Auth {
        token: &'a str,
    },
    Write {
        ack: AckLevel,
        ops: Ops<'a>,
    },
    Read {
        map: &'a str,
        keys: Keys<'a>,
    },
    Subscribe {
        map: &'a str,
        /// A cursor's text, unread: one of another data set is answered like one that is too old.
        since: Option<&'a str>,
        keys: Option<Keys<'a>>,
        prefix: Option<&'a str>,
        /// Whether what exists is sent first; the default.
        snapshot: bool,
        /// Whether the subscriber gets its own changes back.
        echo: bool,
        /// Which of them are shown, and in which order; the request has an `id` then.
        query: Option<Value<'a>>,
    },
    Unsubscribe {
        map: &'a str,
        /// The `id` of the query that is to end; `None`: the subscription of the map.
        query: Option<RequestId<'a>>,
    },
    Digest {
        map: &'a str,
    },
    Presence(PresenceRequest<'a>),
    Disconnect {
        user: &'a str,
    },
    Channel(ChannelRequest<'a>),
    Direct(DirectRequest<'a>),
    /// Something has gone wrong at the client.
    ClientError {
        message: &'a str,
        context: Option<Value<'a>>,
    },
}

fn ack_level(field: Field<'_>) -> Result<AckLevel, Reject> {
    const WRONG: &str = "ack is none, memory, durable or replicated";
    match field::optional_text(field, WRONG)? {
        None | Some("memory") => Ok(AckLevel::Memory),
        Some("none") => Ok(AckLevel::None),
        Some("durable") => Ok(AckLevel::Durable),
        Some("replicated") => Ok(AckLevel::Replicated),
        Some(_) => Err(Reject::BadRequest(WRONG)),
    }
}

fn query_of<'a>(fields: &Fields<'a>, scratch: &'a Scratch) -> Result<Option<Value<'a>>, Reject> {
    let Some(query) = fields.query.filter(|query| field::is_sent(query.first())) else { return Ok(None) };
    if !field::is_sent(fields.id) {
        return Err(Reject::BadRequest("a subscribe with a query has an id, by which the query is known"));
    }
    if field::flag(fields.snapshot, true, "snapshot is not true or false")? {
        Ok(Some(Value::new(query, scratch)))
    } else {
        Err(Reject::BadRequest("a query begins with a snapshot: snapshot is not false"))
    }
}

fn query_name(field: Field<'_>) -> Result<Option<RequestId<'_>>, Reject> {
    const RULE: &str = "query is the id of the subscribe that is to end";
    match field.filter(|_| field::is_sent(field)) {
        None => Ok(None),
        Some(name) => RequestId::of(name).map(Some).map_err(|_| Reject::BadRequest(RULE)),
    }
}

fn decode<'a>(message: &'a [Node<'a>], scratch: &'a Scratch) -> Result<Request<'a>, Reject> {
    let fields = Fields::of(message);
    if let Some(id) = fields.id
        && field::is_sent(fields.id)
    {
        RequestId::of(id)?;
    }
    match field::text(fields.kind, "type is missing or not a string")?.as_bytes() {
        b"write" => {
            let ops = Ops::of(fields.ops, scratch)?;
            Ok(Request::Write { ack: ack_level(fields.ack)?, ops })
        }
        b"ping" => Ok(Request::Ping),
        b"read" => {
            let map = field::map_name(fields.map)?;
            let keys = Keys::of(fields.keys)?.ok_or(Reject::BadRequest("keys is missing"))?;
            Ok(Request::Read { map, keys })
        }
        b"subscribe" => Ok(Request::Subscribe {
            map: field::map_name(fields.map)?,
            since: field::optional_text(fields.since.and_then(<[_]>::first), "since is not a string")?,
            keys: Keys::of(fields.keys)?,
            prefix: field::optional_prefix(fields.prefix)?,
            snapshot: field::flag(fields.snapshot, true, "snapshot is not true or false")?,
            echo: field::flag(fields.echo, false, "echo is not true or false")?,
            query: query_of(&fields, scratch)?,
        }),
        b"unsubscribe" => Ok(Request::Unsubscribe {
            map: field::map_name(fields.map)?,
            query: query_name(fields.query.and_then(<[_]>::first))?,
        }),
        b"digest" => Ok(Request::Digest { map: field::map_name(fields.map)? }),
        b"disconnect" => Ok(Request::Disconnect { user: field::user(fields.user)? }),
        b"auth" => {
            Ok(Request::Auth { token: field::text(fields.token, "token is missing or not a string")? })
        }
        b"presence.join" => PresenceRequest::join(&fields, scratch).map(Request::Presence),
        b"presence.watch" => PresenceRequest::watch(&fields).map(Request::Presence),
        b"presence.update" => PresenceRequest::update(&fields, scratch).map(Request::Presence),
        b"presence.leave" => PresenceRequest::leave(&fields).map(Request::Presence),
        b"presence.list" => PresenceRequest::list(&fields).map(Request::Presence),
        b"join" => ChannelRequest::join(&fields).map(Request::Channel),
        b"leave" => ChannelRequest::leave(&fields).map(Request::Channel),
        b"publish" => ChannelRequest::publish(&fields, scratch).map(Request::Channel),
        b"history" => ChannelRequest::history(&fields).map(Request::Channel),
        b"send" => DirectRequest::send(&fields, scratch).map(Request::Direct),
        b"direct.ack" => DirectRequest::ack(&fields).map(Request::Direct),
        b"block" => DirectRequest::block(&fields, true).map(Request::Direct),
        b"client_error" => Ok(Request::ClientError {
            message: field::text(fields.message, "message is missing or not a string")?,
            context: fields.context.map(|context| Value::new(context, scratch)),
        }),
        b"unblock" => DirectRequest::block(&fields, false).map(Request::Direct),
        _ => Err(Reject::UnknownType),
    }
}

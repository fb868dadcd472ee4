//! The fields of a message, read in one pass over its members, and the request they make.

use simd_json::Node;

use super::field::{self, Field};
use super::{Keys, Ops};
use crate::wire::json::{Members, Scratch};
use crate::wire::{Reject, RequestId};

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
    },
    Unsubscribe {
        map: &'a str,
    },
    Digest {
        map: &'a str,
    },
}

/// How far a write must have come before it is answered; each level includes the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum AckLevel {
    None,
    /// Merged by the owner of its key; the default.
    Memory,
    /// On disk.
    Durable,
    /// In the cluster's log.
    Replicated,
}

impl AckLevel {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Memory => "memory",
            Self::Durable => "durable",
            Self::Replicated => "replicated",
        }
    }

    fn of(field: Field<'_>) -> Result<Self, Reject> {
        const WRONG: &str = "ack is none, memory, durable or replicated";
        match field::optional_text(field, WRONG)? {
            None | Some("memory") => Ok(Self::Memory),
            Some("none") => Ok(Self::None),
            Some("durable") => Ok(Self::Durable),
            Some("replicated") => Ok(Self::Replicated),
            Some(_) => Err(Reject::BadRequest(WRONG)),
        }
    }
}

/// Every field a request may have, as it was sent.
#[derive(Default)]
struct Fields<'a> {
    kind: Field<'a>,
    id: Field<'a>,
    map: Field<'a>,
    ack: Field<'a>,
    since: Field<'a>,
    prefix: Field<'a>,
    snapshot: Field<'a>,
    echo: Field<'a>,
    token: Field<'a>,
    ops: Option<&'a [Node<'a>]>,
    keys: Option<&'a [Node<'a>]>,
}

impl<'a> Fields<'a> {
    fn of(message: &'a [Node<'a>]) -> Self {
        let mut fields = Self::default();
        for (name, value) in Members::of(message).into_iter().flatten() {
            match name.as_bytes() {
                b"type" => fields.kind = value.first(),
                b"id" => fields.id = value.first(),
                b"map" => fields.map = value.first(),
                b"ack" => fields.ack = value.first(),
                b"since" => fields.since = value.first(),
                b"prefix" => fields.prefix = value.first(),
                b"snapshot" => fields.snapshot = value.first(),
                b"echo" => fields.echo = value.first(),
                b"token" => fields.token = value.first(),
                b"ops" => fields.ops = Some(value),
                b"keys" => fields.keys = Some(value),
                _ => {}
            }
        }
        fields
    }
}

pub(super) fn decode<'a>(message: &'a [Node<'a>], scratch: &'a Scratch) -> Result<Request<'a>, Reject> {
    let fields = Fields::of(message);
    if let Some(id) = fields.id
        && field::is_sent(fields.id)
    {
        RequestId::of(id)?;
    }
    match field::text(fields.kind, "type is missing or not a string")?.as_bytes() {
        b"write" => {
            let ops = Ops::of(fields.ops, scratch)?;
            Ok(Request::Write { ack: AckLevel::of(fields.ack)?, ops })
        }
        b"ping" => Ok(Request::Ping),
        b"read" => {
            let map = field::map_name(fields.map)?;
            let keys = Keys::of(fields.keys)?.ok_or(Reject::BadRequest("keys is missing"))?;
            Ok(Request::Read { map, keys })
        }
        b"subscribe" => Ok(Request::Subscribe {
            map: field::map_name(fields.map)?,
            since: field::optional_text(fields.since, "since is not a string")?,
            keys: Keys::of(fields.keys)?,
            prefix: field::optional_prefix(fields.prefix)?,
            snapshot: field::flag(fields.snapshot, true, "snapshot is not true or false")?,
            echo: field::flag(fields.echo, false, "echo is not true or false")?,
        }),
        b"unsubscribe" => Ok(Request::Unsubscribe { map: field::map_name(fields.map)? }),
        b"digest" => Ok(Request::Digest { map: field::map_name(fields.map)? }),
        b"auth" => {
            Ok(Request::Auth { token: field::text(fields.token, "token is missing or not a string")? })
        }
        _ => Err(Reject::UnknownType),
    }
}

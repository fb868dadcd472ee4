//! Requests about who is in a room.

use simd_json::Node;

use super::field::{self, Field};
use crate::limits::{PRESENCE_GRACE_MS_MAX, PRESENCE_LIST_MAX};
use crate::wire::Reject;
use crate::wire::json::{Scratch, Value};

/// Members in a page of a list, if nothing is said.
const LIST: u64 = 100;

/// See the module.
#[derive(Clone, Debug)]
pub enum PresenceRequest<'a> {
    /// Without a state the member keeps what it has.
    Join {
        room: &'a str,
        state: Option<Value<'a>>,
        grace_ms: Option<u64>,
    },
    Watch {
        room: &'a str,
    },
    Update {
        room: &'a str,
        state: Value<'a>,
    },
    Leave {
        room: &'a str,
    },
    List {
        room: &'a str,
        /// Members whose names come behind this.
        after: &'a str,
        limit: u64,
    },
}

/// Which of them a message is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Join,
    Watch,
    Update,
    Leave,
    List,
}

impl Kind {
    pub fn of(name: &[u8]) -> Option<Self> {
        match name {
            b"presence.join" => Some(Self::Join),
            b"presence.watch" => Some(Self::Watch),
            b"presence.update" => Some(Self::Update),
            b"presence.leave" => Some(Self::Leave),
            b"presence.list" => Some(Self::List),
            _ => None,
        }
    }
}

/// The fields that only these have, as they were sent.
#[derive(Default)]
pub(super) struct RoomFields<'a> {
    room: Field<'a>,
    state: Option<&'a [Node<'a>]>,
    grace_ms: Field<'a>,
    after: Field<'a>,
    limit: Field<'a>,
}

impl<'a> RoomFields<'a> {
    /// Takes a field that is one of these.
    pub fn take(&mut self, name: &[u8], value: &'a [Node<'a>]) {
        match name {
            b"room" => self.room = value.first(),
            b"state" => self.state = Some(value),
            b"grace_ms" => self.grace_ms = value.first(),
            b"after" => self.after = value.first(),
            b"limit" => self.limit = value.first(),
            _ => {}
        }
    }
}

impl<'a> PresenceRequest<'a> {
    pub(super) fn of(kind: Kind, fields: &RoomFields<'a>, scratch: &'a Scratch) -> Result<Self, Reject> {
        let room = field::room_name(fields.room)?;
        let state = fields.state.map(|state| Value::new(state, scratch));
        Ok(match kind {
            Kind::Join => Self::Join { room, state, grace_ms: grace_ms(fields.grace_ms)? },
            Kind::Watch => Self::Watch { room },
            Kind::Update => {
                Self::Update { room, state: state.ok_or(Reject::BadRequest("state is missing"))? }
            }
            Kind::Leave => Self::Leave { room },
            Kind::List => {
                let after = field::optional_text(fields.after, "after is not a string")?.unwrap_or_default();
                Self::List { room, after, limit: limit(fields.limit)? }
            }
        })
    }
}

fn grace_ms(field: Field<'_>) -> Result<Option<u64>, Reject> {
    const _: () = assert!(PRESENCE_GRACE_MS_MAX == 300_000);
    field::optional_whole(field, (0, PRESENCE_GRACE_MS_MAX), "grace_ms is a whole number from 0 to 300000")
}

fn limit(field: Field<'_>) -> Result<u64, Reject> {
    const _: () = assert!(PRESENCE_LIST_MAX == 1_000);
    let limit = field::optional_whole(field, (1, 1_000), "limit is a whole number from 1 to 1000")?;
    Ok(limit.unwrap_or(LIST))
}

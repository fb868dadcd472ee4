//! Requests about who is in a room.

use super::field::{self, Field};
use super::fields::Fields;
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

impl<'a> PresenceRequest<'a> {
    pub(super) fn join(fields: &Fields<'a>, scratch: &'a Scratch) -> Result<Self, Reject> {
        let room = field::room_name(fields.room)?;
        let state = fields.state.map(|state| Value::new(state, scratch));
        Ok(Self::Join { room, state, grace_ms: grace_ms(fields.grace_ms)? })
    }

    pub(super) fn watch(fields: &Fields<'a>) -> Result<Self, Reject> {
        Ok(Self::Watch { room: field::room_name(fields.room)? })
    }

    pub(super) fn update(fields: &Fields<'a>, scratch: &'a Scratch) -> Result<Self, Reject> {
        let room = field::room_name(fields.room)?;
        let state = fields.state.ok_or(Reject::BadRequest("state is missing"))?;
        Ok(Self::Update { room, state: Value::new(state, scratch) })
    }

    pub(super) fn leave(fields: &Fields<'a>) -> Result<Self, Reject> {
        Ok(Self::Leave { room: field::room_name(fields.room)? })
    }

    pub(super) fn list(fields: &Fields<'a>) -> Result<Self, Reject> {
        let room = field::room_name(fields.room)?;
        let after = field::optional_text(fields.after, "after is not a string")?.unwrap_or_default();
        Ok(Self::List { room, after, limit: limit(fields.limit)? })
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

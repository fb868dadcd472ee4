//! Every field a request may have, as it was sent, read in one pass over the members of its message.

use simd_json::Node;

use super::field::Field;
use crate::wire::json::Members;

/// See the module. Of a field that is there twice the last counts.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub kind: Field<'a>,
    pub id: Field<'a>,
    pub map: Field<'a>,
    pub ack: Field<'a>,
    pub prefix: Field<'a>,
    pub snapshot: Field<'a>,
    pub echo: Field<'a>,
    pub token: Field<'a>,
    pub user: Field<'a>,
    pub room: Field<'a>,
    pub grace_ms: Field<'a>,
    pub after: Field<'a>,
    pub limit: Field<'a>,
    pub channel: Field<'a>,
    pub before: Field<'a>,
    pub to: Field<'a>,
    pub ttl_ms: Field<'a>,
    pub through: Field<'a>,
    pub message: Field<'a>,
    pub ops: Whole<'a>,
    pub keys: Whole<'a>,
    pub since: Whole<'a>,
    pub state: Whole<'a>,
    pub data: Whole<'a>,
    pub query: Whole<'a>,
    pub context: Whole<'a>,
}

/// A field of which more than the first node is looked at.
pub(super) type Whole<'a> = Option<&'a [Node<'a>]>;

impl<'a> Fields<'a> {
    pub fn of(message: &'a [Node<'a>]) -> Self {
        let mut fields = Self::default();
        for (name, value) in Members::of(message).into_iter().flatten() {
            match name.as_bytes() {
                b"type" => fields.kind = value.first(),
                b"id" => fields.id = value.first(),
                b"map" => fields.map = value.first(),
                b"ack" => fields.ack = value.first(),
                b"prefix" => fields.prefix = value.first(),
                b"snapshot" => fields.snapshot = value.first(),
                b"echo" => fields.echo = value.first(),
                b"token" => fields.token = value.first(),
                b"user" => fields.user = value.first(),
                b"room" => fields.room = value.first(),
                b"grace_ms" => fields.grace_ms = value.first(),
                b"after" => fields.after = value.first(),
                b"limit" => fields.limit = value.first(),
                b"channel" => fields.channel = value.first(),
                b"before" => fields.before = value.first(),
                b"to" => fields.to = value.first(),
                b"ttl_ms" => fields.ttl_ms = value.first(),
                b"through" => fields.through = value.first(),
                b"message" => fields.message = value.first(),
                b"ops" => fields.ops = Some(value),
                b"keys" => fields.keys = Some(value),
                b"since" => fields.since = Some(value),
                b"state" => fields.state = Some(value),
                b"data" => fields.data = Some(value),
                b"query" => fields.query = Some(value),
                b"context" => fields.context = Some(value),
                _ => {}
            }
        }
        fields
    }
}

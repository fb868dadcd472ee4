//! Requests about direct messages.

use simd_json::Node;

use super::field::{self, Field};
use crate::limits::ROLE_BYTES_MAX;
use crate::mesh::MessageId;
use crate::shard::{To, check_user};
use crate::wire::Reject;
use crate::wire::json::{Members, Scratch, Value};

/// What a client asks for.
#[derive(Clone, Debug)]
pub enum DirectRequest<'a> {
    Send {
        to: To<'a>,
        data: Value<'a>,
        ttl_ms: Option<u64>,
        is_durable: bool,
    },
    /// Everything up to a message has come.
    Ack {
        through: MessageId,
    },
    Block {
        user: &'a str,
        is_blocked: bool,
    },
}

/// Every field that one of them may have, as it was sent.
#[derive(Default)]
struct Fields<'a> {
    to: Field<'a>,
    data: Option<&'a [Node<'a>]>,
    ttl_ms: Field<'a>,
    ack: Field<'a>,
    through: Field<'a>,
    user: Field<'a>,
}

impl<'a> Fields<'a> {
    fn of(message: &'a [Node<'a>]) -> Self {
        let mut fields = Self::default();
        for (name, value) in Members::of(message).into_iter().flatten() {
            match name.as_bytes() {
                b"to" => fields.to = value.first(),
                b"data" => fields.data = Some(value),
                b"ttl_ms" => fields.ttl_ms = value.first(),
                b"ack" => fields.ack = value.first(),
                b"through" => fields.through = value.first(),
                b"user" => fields.user = value.first(),
                _ => {}
            }
        }
        fields
    }
}

impl<'a> DirectRequest<'a> {
    /// The request that a message of this `kind` is.
    ///
    /// # Errors
    /// As for every message; [`Reject::UnknownType`] where it is about something else.
    pub(super) fn decode(kind: &str, message: &'a [Node<'a>], scratch: &'a Scratch) -> Result<Self, Reject> {
        let fields = Fields::of(message);
        match kind.as_bytes() {
            b"send" => Ok(Self::Send {
                to: to(fields.to)?,
                data: Value::new(fields.data.ok_or(Reject::BadRequest("data is missing"))?, scratch),
                ttl_ms: field::optional_ttl_ms(fields.ttl_ms)?,
                is_durable: is_durable(fields.ack)?,
            }),
            b"direct.ack" => Ok(Self::Ack { through: through(fields.through)? }),
            b"block" => Ok(Self::Block { user: user(fields.user)?, is_blocked: true }),
            b"unblock" => Ok(Self::Block { user: user(fields.user)?, is_blocked: false }),
            _ => Err(Reject::UnknownType),
        }
    }
}

fn to(field: Field<'_>) -> Result<To<'_>, Reject> {
    const RULE: Reject = Reject::BadRequest("to is user:<name>, role:<name> or all");
    const ROLE: Reject = Reject::KeyInvalid("the name of a role has from 1 to 64 bytes");
    const { assert!(ROLE_BYTES_MAX == 64) };
    let text = field::text(field, "to is missing or not a string")?;
    if text == "all" {
        return Ok(To::All);
    }
    match text.split_once(':') {
        Some(("user", name)) => name_of_user(name).map(To::User),
        Some(("role", name)) if (1..=ROLE_BYTES_MAX).contains(&name.len()) => Ok(To::Role(name)),
        Some(("role", _)) => Err(ROLE),
        _ => Err(RULE),
    }
}

fn is_durable(field: Field<'_>) -> Result<bool, Reject> {
    const RULE: &str = "ack is memory or durable";
    match field::optional_text(field, RULE)? {
        None | Some("memory") => Ok(false),
        Some("durable") => Ok(true),
        Some(_) => Err(Reject::BadRequest(RULE)),
    }
}

fn through(field: Field<'_>) -> Result<MessageId, Reject> {
    const RULE: &str = "through is the message of a direct";
    let text = field::text(field, RULE)?;
    let of_parts = |(epoch, offset): (&str, &str)| {
        let is_offset = !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_digit());
        let is_epoch = epoch.len() == 16 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
        let epoch = u64::from_str_radix(epoch, 16).ok().filter(|_| is_epoch && is_offset)?;
        Some(MessageId { epoch, offset: offset.parse().ok()? })
    };
    text.split_once('-').and_then(of_parts).ok_or(Reject::ValueInvalid(RULE))
}

fn user(field: Field<'_>) -> Result<&str, Reject> {
    name_of_user(field::text(field, "user is missing or not a string")?)
}

fn name_of_user(name: &str) -> Result<&str, Reject> {
    check_user(name).map(|()| name)
}

//! Requests about direct messages.

use super::field::{self, Field};
use super::fields::Fields;
use crate::limits::ROLE_BYTES_MAX;
use crate::mesh::MessageId;
use crate::shard::To;
use crate::wire::Reject;
use crate::wire::json::{Scratch, Value};

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

impl<'a> DirectRequest<'a> {
    pub(super) fn send(fields: &Fields<'a>, scratch: &'a Scratch) -> Result<Self, Reject> {
        Ok(Self::Send {
            to: to(fields.to)?,
            data: field::data(fields.data, scratch)?,
            ttl_ms: field::optional_ttl_ms(fields.ttl_ms)?,
            is_durable: field::is_durable(fields.ack)?,
        })
    }

    pub(super) fn ack(fields: &Fields<'a>) -> Result<Self, Reject> {
        Ok(Self::Ack { through: through(fields.through)? })
    }

    pub(super) fn block(fields: &Fields<'a>, is_blocked: bool) -> Result<Self, Reject> {
        Ok(Self::Block { user: field::user(fields.user)?, is_blocked })
    }
}

fn to(field: Field<'_>) -> Result<To<'_>, Reject> {
    const RULE: Reject = Reject::BadRequest("to is user:<name>, role:<name> or all");
    const ROLE: Reject = Reject::KeyInvalid("the name of a role has from 1 to 64 bytes");
    const { assert!(ROLE_BYTES_MAX == 64) };
    let text = field::text(field, "to is missing or not a string")?;
    match To::of_name(text).ok_or(RULE)? {
        To::User(name) => field::name_of_user(name).map(To::User),
        To::Role(name) if !(1..=ROLE_BYTES_MAX).contains(&name.len()) => Err(ROLE),
        to => Ok(to),
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

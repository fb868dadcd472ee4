//! What clients say of channels.

use super::field::{self, Field};
use super::fields::{Fields, Whole};
use crate::limits::{CHANNEL_NAME_BYTES_MAX, HISTORY_PAGE_MAX, JSON_INTEGER_MAX};
use crate::wire::Reject;
use crate::wire::json::{Members, Scratch, Value};

/// Messages of a page, where the client does not say.
const HISTORY_PAGE_DEFAULT: u32 = 100;

/// What a client asks for. `docs/protocol.md` says what each means.
#[derive(Clone, Debug)]
pub enum ChannelRequest<'a> {
    Join { channel: &'a str, since: Option<Since<'a>> },
    Leave { channel: &'a str },
    Publish { channel: &'a str, data: Value<'a>, is_durable: bool, echo: bool },
    History { channel: &'a str, before: Option<u64>, limit: u32 },
}

/// Up to where the client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since<'a> {
    /// As it was told: that of another channel is answered like one of another time.
    pub epoch: &'a str,
    pub offset: u64,
}

impl<'a> ChannelRequest<'a> {
    pub(super) fn join(fields: &Fields<'a>) -> Result<Self, Reject> {
        Ok(Self::Join { channel: name(fields.channel)?, since: since(fields.since)? })
    }

    pub(super) fn leave(fields: &Fields<'a>) -> Result<Self, Reject> {
        Ok(Self::Leave { channel: name(fields.channel)? })
    }

    pub(super) fn publish(fields: &Fields<'a>, scratch: &'a Scratch) -> Result<Self, Reject> {
        let channel = name(fields.channel)?;
        let data = field::data(fields.data, scratch)?;
        let is_durable = field::is_durable(fields.ack)?;
        let echo = field::flag(fields.echo, false, "echo is not true or false")?;
        Ok(Self::Publish { channel, data, is_durable, echo })
    }

    pub(super) fn history(fields: &Fields<'a>) -> Result<Self, Reject> {
        const BEFORE: &str = "before is an offset, a whole number from 1";
        const LIMIT: &str = "limit is a whole number from 1 to 1000";
        let channel = name(fields.channel)?;
        let before = field::optional_whole(fields.before, (1, JSON_INTEGER_MAX), BEFORE)?;
        let limit = field::optional_whole(fields.limit, (1, HISTORY_PAGE_MAX.into()), LIMIT)?;
        let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(HISTORY_PAGE_DEFAULT);
        Ok(Self::History { channel, before, limit })
    }
}

const _: () = assert!(HISTORY_PAGE_MAX == 1000 && CHANNEL_NAME_BYTES_MAX == 256);

fn name(field: Field<'_>) -> Result<&str, Reject> {
    field::name_within(
        field::text(field, "channel is missing or not a string")?,
        CHANNEL_NAME_BYTES_MAX,
        Reject::TooLarge("the name of a channel has at most 256 bytes"),
        Reject::KeyInvalid("the name of a channel is not empty and has no U+0000"),
    )
}

fn since<'a>(since: Whole<'a>) -> Result<Option<Since<'a>>, Reject> {
    const WRONG: &str = "since has the epoch and the offset of a joined";
    let Some(since) = since.filter(|since| field::is_sent(since.first())) else { return Ok(None) };
    let members = Members::of(since).ok_or(Reject::BadRequest(WRONG))?;
    let (mut epoch, mut offset): (Field<'a>, Field<'a>) = (None, None);
    for (name, value) in members {
        match name.as_bytes() {
            b"epoch" => epoch = value.first(),
            b"offset" => offset = value.first(),
            _ => {}
        }
    }
    let offset = field::total(offset, "offset is a whole number from 0")?;
    Ok(Some(Since { epoch: field::text(epoch, WRONG)?, offset }))
}

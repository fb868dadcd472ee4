//! What clients say of channels.

use simd_json::Node;

use super::field::{self, Field};
use crate::limits::{CHANNEL_NAME_BYTES_MAX, HISTORY_PAGE_MAX};
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

/// Every field these have, as it was sent.
#[derive(Default)]
struct Fields<'a> {
    channel: Field<'a>,
    ack: Field<'a>,
    echo: Field<'a>,
    before: Field<'a>,
    limit: Field<'a>,
    since: Option<&'a [Node<'a>]>,
    data: Option<&'a [Node<'a>]>,
}

impl<'a> Fields<'a> {
    fn of(message: &'a [Node<'a>]) -> Self {
        let mut fields = Self::default();
        for (name, value) in Members::of(message).into_iter().flatten() {
            match name.as_bytes() {
                b"channel" => fields.channel = value.first(),
                b"ack" => fields.ack = value.first(),
                b"echo" => fields.echo = value.first(),
                b"before" => fields.before = value.first(),
                b"limit" => fields.limit = value.first(),
                b"since" => fields.since = Some(value),
                b"data" => fields.data = Some(value),
                _ => {}
            }
        }
        fields
    }
}

/// The request of this type, if it is about channels.
pub(super) fn decode<'a>(
    kind: &str,
    message: &'a [Node<'a>],
    scratch: &'a Scratch,
) -> Option<Result<ChannelRequest<'a>, Reject>> {
    let fields = Fields::of(message);
    match kind.as_bytes() {
        b"join" => Some(join(&fields)),
        b"leave" => Some(name(fields.channel).map(|channel| ChannelRequest::Leave { channel })),
        b"publish" => Some(publish(&fields, scratch)),
        b"history" => Some(history(&fields)),
        _ => None,
    }
}

fn join<'a>(fields: &Fields<'a>) -> Result<ChannelRequest<'a>, Reject> {
    Ok(ChannelRequest::Join { channel: name(fields.channel)?, since: since(fields.since)? })
}

fn publish<'a>(fields: &Fields<'a>, scratch: &'a Scratch) -> Result<ChannelRequest<'a>, Reject> {
    const ACK: &str = "ack is memory or durable";
    let channel = name(fields.channel)?;
    let data = fields.data.ok_or(Reject::BadRequest("data is missing"))?;
    let is_durable = match field::optional_text(fields.ack, ACK)? {
        None | Some("memory") => false,
        Some("durable") => true,
        Some(_) => return Err(Reject::BadRequest(ACK)),
    };
    let echo = field::flag(fields.echo, false, "echo is not true or false")?;
    Ok(ChannelRequest::Publish { channel, data: Value::new(data, scratch), is_durable, echo })
}

fn history<'a>(fields: &Fields<'a>) -> Result<ChannelRequest<'a>, Reject> {
    const BEFORE: &str = "before is an offset, a whole number from 1";
    const LIMIT: &str = "limit is a whole number from 1 to 1000";
    let channel = name(fields.channel)?;
    let before = match field::is_sent(fields.before) {
        false => None,
        true => Some(field::total(fields.before, BEFORE)?),
    };
    let limit = match field::is_sent(fields.limit) {
        false => HISTORY_PAGE_DEFAULT,
        true => u32::try_from(field::total(fields.limit, LIMIT)?).unwrap_or(u32::MAX),
    };
    if before == Some(0) {
        return Err(Reject::ValueInvalid(BEFORE));
    }
    if !(1..=HISTORY_PAGE_MAX).contains(&limit) {
        return Err(Reject::ValueInvalid(LIMIT));
    }
    Ok(ChannelRequest::History { channel, before, limit })
}

const _: () = assert!(HISTORY_PAGE_MAX == 1000 && CHANNEL_NAME_BYTES_MAX == 256);

fn name(field: Field<'_>) -> Result<&str, Reject> {
    let name = field::text(field, "channel is missing or not a string")?;
    if name.len() > CHANNEL_NAME_BYTES_MAX {
        return Err(Reject::TooLarge("the name of a channel has at most 256 bytes"));
    }
    if !field::is_name(name) {
        return Err(Reject::KeyInvalid("the name of a channel is not empty and has no U+0000"));
    }
    Ok(name)
}

fn since<'a>(since: Option<&'a [Node<'a>]>) -> Result<Option<Since<'a>>, Reject> {
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

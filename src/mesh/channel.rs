//! What shards tell each other of channels; lists of messages are packed into bytes.
//!
//! ```text
//! offset u64 | time u64 | said_len u32, said: (from_len u16, from | data)
//! ```

use std::sync::Arc;

use super::entry::{length, pack_name, take_long, take_name, take_number};
use super::{ConnectionId, ReplyTo, Span};
use crate::limits::USER_BYTES_MAX;
use crate::wire::Reject;

/// What somebody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// Its user; empty: nobody who has said who it is.
    pub from: &'a str,
    /// Canonical JSON.
    pub data: &'a [u8],
}

impl<'a> Said<'a> {
    /// Bytes that it takes packed.
    pub const fn packed_bytes(&self) -> usize {
        2 + self.from.len() + self.data.len()
    }

    /// Appends it.
    pub fn pack(&self, out: &mut Vec<u8>) {
        pack_name(self.from, out);
        out.extend_from_slice(self.data);
    }

    /// What [`Said::pack`] has packed.
    pub fn unpack(mut packed: &'a [u8]) -> Self {
        Self { from: take_name(&mut packed), data: packed }
    }
}

const _: () = assert!(USER_BYTES_MAX <= u16::MAX as usize);

/// A message of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub offset: u64,
    /// When it was given that, in Unix milliseconds.
    pub time_ms: u64,
    pub said: Said<'a>,
}

impl Message<'_> {
    /// Appends it to packed [`Messages`].
    pub fn pack(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        out.extend_from_slice(&length(self.said.packed_bytes()).to_le_bytes());
        self.said.pack(out);
    }
}

/// Packed messages, one by one. They come from [`Message::pack`] alone, so reading them cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let offset = u64::from_le_bytes(take_number(&mut self.0));
        let time_ms = u64::from_le_bytes(take_number(&mut self.0));
        Some(Message { offset, time_ms, said: Said::unpack(take_long(&mut self.0)) })
    }
}

/// Up to where somebody has been told a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// Of which the offset is: those of another epoch mean nothing.
    pub epoch: u64,
    pub offset: u64,
}

/// Whether who joins lacks anything since then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It has not said since when.
    NotAsked,
    /// Nothing.
    Whole,
    /// What it knows is of another epoch.
    Epoch,
    /// The channel has kept not all of it.
    Trimmed,
}

/// What the home of a channel must do.
pub enum ChannelRequest {
    /// As [`ChannelRequest::Since`], and send what is said from then on.
    Join { reply: ReplyTo, channel: Arc<str>, since: Option<Since>, room: u32 },
    /// Answer with what was said since, as much as there is room for, one message in any case.
    Since { reply: ReplyTo, channel: Arc<str>, since: Option<Since>, room: u32 },
    /// Send nothing more.
    Leave { channel: Arc<str> },
    /// Give it an offset.
    Publish { reply: ReplyTo, channel: Span, said: Span, how: Publishing },
    /// Answer with messages of before.
    History { reply: ReplyTo, channel: Arc<str>, page: Page },
}

impl ChannelRequest {
    /// Whether it brings something to say.
    pub const fn is_publish(&self) -> bool {
        matches!(self, Self::Publish { .. })
    }
}

/// How a message is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publishing {
    /// Whether it is answered once it is on disk, which it must be kept on for that.
    pub is_durable: bool,
    /// Whether its sender is sent it, too.
    pub echo: bool,
}

/// Which messages of a channel are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The last of them is before this; `None`: the last of all.
    pub before: Option<u64>,
    pub limit: u32,
    /// Bytes that there is room for; one there is in any case.
    pub room: u32,
}

/// What it comes to; messages are in a `T`.
pub enum ChannelAnswer<T = Span> {
    Joined { reply: ReplyTo, outcome: Result<Joined<T>, Reject> },
    Published { reply: ReplyTo, outcome: Result<u64, Reject> },
    History { reply: ReplyTo, outcome: Result<History<T>, Reject> },
}

impl<T> ChannelAnswer<T> {
    /// What it answers.
    pub const fn reply(&self) -> ReplyTo {
        match self {
            Self::Joined { reply, .. } | Self::Published { reply, .. } | Self::History { reply, .. } => {
                *reply
            }
        }
    }

    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> ChannelAnswer<U> {
        match self {
            Self::Joined { reply, outcome } => {
                ChannelAnswer::Joined { reply, outcome: outcome.map(|joined| joined.map(change)) }
            }
            Self::Published { reply, outcome } => ChannelAnswer::Published { reply, outcome },
            Self::History { reply, outcome } => {
                ChannelAnswer::History { reply, outcome: outcome.map(|history| history.map(change)) }
            }
        }
    }
}

/// The answer to who joins, or a part of it.
#[derive(Clone, Copy, Debug)]
pub struct Joined<T> {
    pub epoch: u64,
    /// Whoever knows everything up to here knows all there is.
    pub last: u64,
    /// Everything since then up to here is in this answer and those before.
    pub through: u64,
    pub recovery: Recovery,
    /// Packed [`Messages`].
    pub messages: T,
}

impl<T> Joined<T> {
    /// Whether all was said: whatever the home gives an offset from now on follows in this queue.
    pub const fn is_done(&self) -> bool {
        !matches!(self.recovery, Recovery::Whole) || self.through == self.last
    }

    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Joined<U> {
        let Self { epoch, last, through, recovery, messages } = self;
        Joined { epoch, last, through, recovery, messages: change(messages) }
    }
}

/// Messages of before, ascending.
#[derive(Clone, Copy, Debug)]
pub struct History<T> {
    /// `None`: nothing was ever said.
    pub epoch: Option<u64>,
    /// Packed [`Messages`].
    pub messages: T,
    /// Whether older ones are kept.
    pub more: bool,
}

impl<T> History<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> History<U> {
        History { epoch: self.epoch, messages: change(self.messages), more: self.more }
    }
}

/// A message of a channel whose home is the sender.
pub struct ChannelMessage {
    pub channel: Arc<str>,
    pub epoch: u64,
    pub offset: u64,
    pub time_ms: u64,
    /// [`Said`], packed.
    pub said: Span,
    /// The connection of the receiver that has said it and is not sent it.
    pub sender: Option<ConnectionId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_packed() {
        let long = "é".repeat(USER_BYTES_MAX / 2);
        let said = [
            Said { from: "", data: b"null" },
            Said { from: &long, data: &[b'1'; 70_000] },
            Said { from: "u", data: b"{}" },
        ];
        let mut packed = Vec::new();
        for (said, offset) in said.into_iter().zip([1, 2, u64::MAX]) {
            Message { offset, time_ms: 7, said }.pack(&mut packed);
        }
        let found: Vec<_> = Messages(&packed).collect();
        assert!(found.iter().map(|message| message.said).eq(said));
        assert_eq!(found.iter().map(|message| message.offset).collect::<Vec<_>>(), [1, 2, u64::MAX]);
    }
}

//! The dialects of the server: what a scenario that speaks several of them may ask and be told.
//!
//! Whatever the dialect, an answer is read into a [`Message`] as the native one names things: a SyncKit document is a
//! map, its fields are keys.

pub mod channel;
pub mod socketio;
pub mod synckit;

use clap::ValueEnum;

use crate::ack::AckLevel;
use crate::failure::{Failure, excerpt};
use crate::frame::Kind;
use crate::message::{Message, Request, Set};
use crate::report::figures::Outcome;
use crate::value::Values;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// Protocol v1.
    #[default]
    Native,
    /// That of the SyncKit SDK.
    #[value(name = "synckit")]
    SyncKit,
    /// Protocol v1, where a channel stands for a map, and a message for a write.
    Channels,
    /// That of Socket.IO, with channels in the same way: for a server of ours that is one of its.
    #[value(name = "socket.io")]
    SocketIo,
}

impl Dialect {
    /// Path of the upgrade. `native`: the path of the native dialect.
    pub fn path(self, native: &str) -> &str {
        match self {
            Self::Native | Self::Channels => native,
            Self::SyncKit => synckit::PATH,
            Self::SocketIo => socketio::PATH,
        }
    }

    /// The frames that carry its messages, both ways.
    pub fn frame_kind(self) -> Kind {
        match self {
            Self::Native | Self::Channels | Self::SocketIo => Kind::Text,
            Self::SyncKit => Kind::Binary,
        }
    }

    /// Whether the server speaks first.
    pub fn is_greeted(self) -> bool {
        self != Self::SyncKit
    }

    /// Whether who writes to a map is subscribed to it by that, and sent its own changes.
    pub fn subscribes_writers(self) -> bool {
        self == Self::SyncKit
    }

    /// Its letter in names that are to be of the same length in all dialects.
    pub fn letter(self) -> char {
        match self {
            Self::Native => 'n',
            Self::SyncKit => 's',
            Self::Channels => 'c',
            Self::SocketIo => 'i',
        }
    }

    /// The title of a scenario that speaks it; the native one goes without saying.
    pub fn title(self, scenario: &str) -> String {
        match self {
            Self::Native => scenario.to_owned(),
            Self::SyncKit => format!("{scenario} in synckit"),
            Self::Channels => format!("{scenario} in channels"),
            Self::SocketIo => format!("{scenario} in socket.io"),
        }
    }

    /// Refuses a level that its writes cannot ask for.
    ///
    /// # Errors
    /// [`Failure::Setup`].
    pub fn check_level(self, level: AckLevel) -> Result<(), Failure> {
        if self != Self::Native && level != AckLevel::default() {
            return Err(Failure::Setup(format!(
                "--ack {}: only writes of the native dialect ask for it",
                level.name()
            )));
        }
        Ok(())
    }
}

/// For a scenario that speaks several.
#[derive(Clone, Debug, clap::Args)]
pub struct DialectOptions {
    /// Dialect: native, synckit or channels. Several, such as native,synckit, run one after the other on the same server, and are
    /// compared with native
    #[arg(
        long,
        value_name = "DIALECTS",
        default_value = "native",
        value_delimiter = ',',
        hide_possible_values = true
    )]
    pub dialect: Vec<Dialect>,
}

impl DialectOptions {
    pub fn native() -> Self {
        Self { dialect: vec![Dialect::Native] }
    }
}

/// Sets what the parts in other dialects are of the one in the native, if there is one. `outcomes` are in the order of
/// `dialects`.
pub fn compare(dialects: &[Dialect], outcomes: &mut [Outcome]) {
    let Some(native) = dialects.iter().position(|&dialect| dialect == Dialect::Native) else { return };
    let native = outcomes[native].figures.clone();
    for (dialect, outcome) in dialects.iter().zip(outcomes) {
        if *dialect != Dialect::Native {
            outcome.figures.set_ratios("native", &native);
        }
    }
}

/// Writes requests in one dialect, and reads what the server says in it.
pub enum Codec {
    Native(Request),
    SyncKit(synckit::Request),
    Channels(channel::Request),
    SocketIo(socketio::Request),
}

impl Codec {
    /// `ack`: how the writes are to be acked, as far as the dialect lets one ask.
    pub fn new(dialect: Dialect, ack: AckLevel) -> Self {
        match dialect {
            Dialect::Native => Self::Native(Request::asking(ack)),
            Dialect::SyncKit => Self::SyncKit(synckit::Request::default()),
            Dialect::Channels => Self::Channels(channel::Request::default()),
            Dialect::SocketIo => Self::SocketIo(socketio::Request::default()),
        }
    }

    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Native(_) => Dialect::Native,
            Self::SyncKit(_) => Dialect::SyncKit,
            Self::Channels(_) => Dialect::Channels,
            Self::SocketIo(_) => Dialect::SocketIo,
        }
    }

    /// Whether its writes are acked at all.
    pub fn is_acked(&self) -> bool {
        match self {
            Self::Native(request) => request.ack() != AckLevel::None,
            Self::SyncKit(_) | Self::Channels(_) | Self::SocketIo(_) => true,
        }
    }

    pub fn ping(&mut self, id: u64) -> &[u8] {
        match self {
            Self::Native(request) => request.ping(id),
            Self::SyncKit(request) => request.ping(),
            Self::Channels(request) => request.ping(id),
            Self::SocketIo(request) => request.ping(id),
        }
    }

    /// `echo`: whether one's own changes are to come, too; in SyncKit they always do.
    pub fn subscribe(&mut self, id: u64, map: &str, echo: bool) -> &[u8] {
        match self {
            Self::Native(request) => {
                if echo {
                    request.subscribe_with_echo(id, map)
                } else {
                    request.subscribe(id, map, b"")
                }
            }
            Self::SyncKit(request) => request.subscribe(id, map),
            Self::Channels(request) => request.join(id, map, echo),
            Self::SocketIo(request) => request.join(id, map),
        }
    }

    /// `sets`: at least one, in SyncKit all of the same map.
    pub fn write<'a>(&mut self, id: u64, values: &Values, sets: impl Iterator<Item = Set<'a>>) -> &[u8] {
        match self {
            Self::Native(request) => request.write(id, values, sets),
            Self::SyncKit(request) => request.write(id, values, sets),
            Self::Channels(request) => request.publish(id, values, sets),
            Self::SocketIo(request) => request.publish(id, values, sets),
        }
    }

    /// # Errors
    /// [`Failure::Wrong`] for what is no message, [`Failure::Refused`] for one that says that something was refused.
    pub fn read<'a>(&self, message: &'a [u8]) -> Result<Message<'a>, Failure> {
        match self {
            Self::Native(_) => Message::read(message),
            Self::SyncKit(_) => synckit::read(message),
            Self::Channels(_) => channel::read(message),
            Self::SocketIo(_) => socketio::read(message),
        }
    }

    /// Whether it is a change, told by how the server begins one; `false` for one that begins in another way.
    pub fn begins_like_a_change(&self, message: &[u8]) -> bool {
        match self {
            Self::Native(_) => message.starts_with(br#"{"type":"change","#),
            Self::SyncKit(_) => message.first() == Some(&synckit::DELTA),
            Self::Channels(_) => message.starts_with(channel::MESSAGE),
            Self::SocketIo(_) => message.starts_with(socketio::MESSAGE),
        }
    }

    /// Checks that this is the whole and only answer to a write of `ops` operations.
    ///
    /// # Errors
    /// As [`Message::expect_ack`].
    pub fn expect_ack(&self, message: &Message<'_>, id: u64, ops: u64) -> Result<(), Failure> {
        match self {
            Self::Native(request) => message.expect_ack(id, ops, request.ack()),
            _ if message.kind == b"ack" && message.id == Some(id) => Ok(()),
            _ => {
                let kind = excerpt(message.kind);
                Err(Failure::Wrong(format!("waited for ack {id}, got {kind} {:?}", message.id)))
            }
        }
    }

    /// Whether this answers the ping `id`. A pong of SyncKit does not say which ping it answers.
    pub fn is_pong_of(&self, message: &Message<'_>, id: u64) -> bool {
        message.kind == b"pong"
            && match self {
                Self::Native(_) | Self::Channels(_) | Self::SocketIo(_) => message.id == Some(id),
                Self::SyncKit(_) => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_other_than_the_default_are_for_the_native_dialect() {
        assert!(Dialect::Native.check_level(AckLevel::Durable).is_ok());
        assert!(Dialect::SyncKit.check_level(AckLevel::Memory).is_ok());
        for level in [AckLevel::None, AckLevel::Durable] {
            assert!(matches!(Dialect::SyncKit.check_level(level), Err(Failure::Setup(_))));
        }
    }

    #[test]
    fn ack_of_another_write_is_wrong_in_both_dialects() {
        let texts = [
            (Dialect::Native, br#"{"type":"ack","id":7,"level":"memory","applied":1}"#.to_vec()),
            (Dialect::SyncKit, synckit::message(0x21, r#"{"id":"x","messageId":"7"}"#)),
        ];
        for (dialect, text) in texts {
            let codec = Codec::new(dialect, AckLevel::Memory);
            let ack = codec.read(&text).unwrap();
            assert!(codec.expect_ack(&ack, 7, 1).is_ok(), "{dialect:?}");
            assert!(matches!(codec.expect_ack(&ack, 8, 1), Err(Failure::Wrong(_))), "{dialect:?}");
        }
    }
}

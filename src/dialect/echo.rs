//! `/v1/echo`: every message comes back. For conformance suites.

use std::borrow::Cow;

use crate::config::DialectPath;
use crate::shard::Caller;
use crate::shard::{Change, Dialect, Event, MessageKind, Now, Session, Shard};
use crate::wire::websocket::{Opcode, write_frame};
use crate::wire::{Close, Payload};

/// Where it is spoken.
pub const PATH: DialectPath = DialectPath {
    path: Cow::Borrowed("/v1/echo"),
    dialect: super::places::ECHO,
    strict: None,
    subprotocol: DialectPath::NATIVE.subprotocol,
    health_path: None,
    about: "every message comes back",
};

/// See the module.
pub struct Echo;

impl Dialect for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn opened(&self, _: &mut Shard, _: Caller) {}

    fn message(
        &self,
        shard: &mut Shard,
        caller: Caller,
        kind: MessageKind,
        payload: Payload<'_>,
    ) -> Result<(), Close> {
        let opcode = match kind {
            MessageKind::Text => Opcode::Text,
            MessageKind::Binary => Opcode::Binary,
        };
        shard.send(caller, |out| write_frame(out, opcode, payload.bytes()));
        Ok(())
    }

    fn event(&self, _: Event<'_>, _: &mut Session, _: Now, _: &mut Vec<u8>) {}

    fn change(&self, _: Change<'_>, _: &Session, _: &mut Vec<u8>) {}
}

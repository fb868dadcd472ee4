//! What the clients of SyncKit speak, at `/ws`.

mod health;

use crate::mesh::ConnectionId;
use crate::shard::{Change, Dialect, Event, Health, MessageKind, Now, Session, Shard};
use crate::wire::{Close, Payload};

/// See the module.
pub struct SyncKit;

impl Dialect for SyncKit {
    fn opened(&self, _: &mut Shard, _: ConnectionId) {}

    fn message(&self, _: &mut Shard, _: ConnectionId, _: MessageKind, _: Payload<'_>) -> Result<(), Close> {
        Err(Close::Unsupported)
    }

    fn event(&self, _: Event<'_>, _: &mut Session, _: Now, _: &mut Vec<u8>) {}

    fn change(&self, _: Change<'_>, _: &mut Vec<u8>) {}

    fn health(&self, health: Health) -> Option<String> {
        Some(health::body(health))
    }
}

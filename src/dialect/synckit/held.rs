//! Messages that came before their client has said who it is: SyncKit's SDK subscribes as soon as its socket is open, and only
//! then sends its token.

use crate::shard::MessageKind;

/// Messages that are kept of one client, and their bytes.
const MESSAGES_MAX: usize = 64;
const BYTES_MAX: usize = 256 << 10;

/// See the module.
#[derive(Default)]
pub struct Held {
    messages: Vec<(MessageKind, Box<[u8]>)>,
    bytes: usize,
}

impl Held {
    /// Keeps a message, if there is room for it.
    pub fn keep(&mut self, kind: MessageKind, message: &[u8]) -> bool {
        let has_room = self.messages.len() < MESSAGES_MAX && self.bytes + message.len() <= BYTES_MAX;
        if has_room {
            self.messages.push((kind, message.into()));
            self.bytes += message.len();
        }
        has_room
    }

    /// Takes all of them, in the order in which they came.
    pub fn take(&mut self) -> Vec<(MessageKind, Box<[u8]>)> {
        self.bytes = 0;
        std::mem::take(&mut self.messages)
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

//! Operations that are not kept: they are handed on to the other subscribers as they are, those of a batch as one message of
//! the engine.

use super::changes::batch;
use super::frame::{Code, Framing, MessageId, write_message};

/// The operations of a batch that are handed on, as canonical JSON joined by commas.
#[derive(Default)]
pub struct Relayed {
    /// Those on texts of the older kind, which the SDK takes in batches of their own.
    texts: Vec<u8>,
    others: Vec<u8>,
}

impl Relayed {
    pub const fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.others.is_empty()
    }

    pub fn push(&mut self, is_text: bool, operation: &[u8]) {
        let joined = if is_text { &mut self.texts } else { &mut self.others };
        if !joined.is_empty() {
            joined.push(b',');
        }
        joined.extend_from_slice(operation);
    }

    /// The bodies of the messages: whether it is of a text, a number that no other message of its time has, and the
    /// operations.
    pub fn messages(&self, serial: u64) -> impl Iterator<Item = Vec<u8>> {
        let kinds = [(0, &self.others), (1, &self.texts)].into_iter();
        kinds
            .filter(|(_, operations)| !operations.is_empty())
            .map(move |(kind, operations)| [&[kind], serial.to_le_bytes().as_slice(), operations].concat())
    }
}

/// Appends what tells of the operations that a message brings.
pub fn write(out: &mut Vec<u8>, framing: Framing, unix_ms: u64, document: &str, body: &[u8]) {
    let Some(([is_text, serial @ ..], operations)) = body.split_first_chunk::<9>() else { return };
    let id = MessageId { unix_ms, serial: u64::from_le_bytes(*serial) };
    write_message(out, framing, Code::DeltaBatch, id, |fields| {
        batch(fields, document, *is_text == 1, |out| out.extend_from_slice(operations));
    });
}

//! Operations that are handed on and not kept, each as one message of the engine.

use super::changes::batch;
use super::frame::{Code, Framing, MessageId, write_message};

/// An operation as canonical JSON.
pub struct Relay {
    pub operation: Vec<u8>,
    /// The SDK takes operations on texts in batches of their own.
    pub is_text: bool,
}

impl Relay {
    /// The body of the message: whether it is of a text, a number that no other message of its time has, and the
    /// operation.
    pub fn pack(&self, serial: u64) -> Vec<u8> {
        [&[u8::from(self.is_text)], serial.to_le_bytes().as_slice(), &self.operation].concat()
    }
}

/// Appends what tells of the operation that a message brings.
pub fn write(out: &mut Vec<u8>, framing: Framing, unix_ms: u64, document: &str, body: &[u8]) {
    let Some(([is_text, serial @ ..], operation)) = body.split_first_chunk::<9>() else { return };
    let id = MessageId { unix_ms, serial: u64::from_le_bytes(*serial) };
    write_message(out, framing, Code::DeltaBatch, id, |fields| {
        batch(fields, document, *is_text == 1, |out| out.extend_from_slice(operation));
    });
}

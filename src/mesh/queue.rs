//! One queue from a shard to another, and how many bytes are in it.
//!
//! Invariant: the sender adds an envelope's bytes before it is in the queue and the receiver takes them off after it has
//! left, so that the sum is never below what is in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::{Envelope, Item};

/// The end that envelopes go into.
pub struct Sender {
    queue: Producer<Envelope>,
    bytes: Arc<AtomicUsize>,
}

/// The end that they come out of.
pub struct Receiver {
    queue: Consumer<Envelope>,
    bytes: Arc<AtomicUsize>,
}

/// Both ends of a queue with room for so many envelopes.
pub fn new(envelopes: usize) -> (Sender, Receiver) {
    let (producer, consumer) = RingBuffer::new(envelopes);
    let bytes = Arc::new(AtomicUsize::new(0));
    (Sender { queue: producer, bytes: Arc::clone(&bytes) }, Receiver { queue: consumer, bytes })
}

impl Sender {
    /// Puts an envelope into the queue.
    ///
    /// # Errors
    /// The envelope, if the queue is full.
    pub fn push(&mut self, envelope: Envelope) -> Result<(), Box<Envelope>> {
        // The sum publishes nothing: the queue does, and who reads it may be a little behind.
        let bytes = envelope.heap_bytes();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.queue.push(envelope).map_err(|PushError::Full(envelope)| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            Box::new(envelope)
        })
    }

    /// Bytes the receiver has yet to take.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Receiver {
    /// Takes the oldest envelope.
    pub fn pop(&mut self) -> Option<Envelope> {
        let envelope = self.queue.pop().ok()?;
        self.bytes.fetch_sub(envelope.heap_bytes(), Ordering::Relaxed);
        Some(envelope)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Envelope {
    /// Bytes that its items and what they point into take.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.len()
            + self.items.len() * size_of::<Item>()
            + self.writers.len() * size_of::<Option<super::Writer>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_knows_the_bytes_that_are_in_it() {
        let (mut sender, mut receiver) = new(2);
        let envelope = |bytes| Envelope { bytes: vec![0; bytes], ..Envelope::default() };
        assert!(sender.push(envelope(10)).is_ok() && sender.push(envelope(5)).is_ok());
        assert!(sender.push(envelope(100)).is_err(), "there is no room");
        assert_eq!(sender.bytes(), 15);
        receiver.pop();
        assert_eq!(sender.bytes(), 5);
        receiver.pop();
        assert!(receiver.is_empty() && receiver.pop().is_none());
        assert_eq!(sender.bytes(), 0);
    }
}

//! What a subscriber may be sent in a fan-out: each publish once, and in order.
//!
//! Subscribers of one map are mostly sent identical frames. The first is read and checked in full; a frame that is
//! byte for byte the same brings the same deliveries, which is as good a check and lets the load keep up.

use crate::failure::{Failure, excerpt};
use crate::fleet::Wire;
use crate::message::{Message, key_number};
use crate::value::{Stamp, Values};

/// Publishes one publisher may have in flight: as many as [`Progress`] has bits.
pub const WINDOW_MAX: u64 = 64;
/// Keys a publisher writes to in turn: no key is written again before its last value has reached everybody, so that
/// a server which sends only the latest state of a key still owes every value.
pub const KEYS: u64 = WINDOW_MAX;
/// Frames kept for comparison: subscribers differ by a few frames at most.
const FRAMES_KEPT: usize = 16;

/// What one subscriber has had of one publisher.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// All before this one have come.
    pub next: u64,
    /// Bit `n`: `next + n` has come too.
    ahead: u64,
}

impl Progress {
    /// Takes note of publish `sequence`. `published`: how many there have been so far.
    ///
    /// # Errors
    /// [`Failure::Wrong`], [`Failure::Duplicated`], or unless `any_order`, [`Failure::OutOfOrder`].
    pub fn accept(&mut self, sequence: u64, published: u64, any_order: bool) -> Result<(), Failure> {
        if sequence >= published {
            return Err(Failure::Wrong(format!("publish {sequence} came before it was made")));
        }
        let ahead_by = sequence.wrapping_sub(self.next);
        if sequence < self.next || (ahead_by < WINDOW_MAX && self.ahead >> ahead_by & 1 == 1) {
            return Err(Failure::Duplicated(format!("publish {sequence} came again")));
        }
        if ahead_by >= WINDOW_MAX || (ahead_by > 0 && !any_order) {
            return Err(Failure::OutOfOrder(format!(
                "publish {sequence} came before {}, or that is lost",
                self.next
            )));
        }
        self.ahead |= 1 << ahead_by;
        let run = self.ahead.trailing_ones();
        self.next += u64::from(run);
        self.ahead = self.ahead.checked_shr(run).unwrap_or(0);
        Ok(())
    }
}

/// Reads change frames, each different one once.
pub struct Frames {
    values: Values,
    map: String,
    /// `k<publisher>-`, by publisher.
    pub prefixes: Vec<String>,
    kept: Vec<Frame>,
    latest: usize,
}

#[derive(Default)]
struct Frame {
    text: Vec<u8>,
    deliveries: Vec<Stamp>,
}

impl Frames {
    pub fn new(values: Values, map: String, publishers: u32) -> Self {
        let kept = (0..FRAMES_KEPT).map(|_| Frame::default()).collect();
        let prefixes = (0..publishers).map(|index| format!("k{index}-")).collect();
        Self { values, map, prefixes, kept, latest: 0 }
    }

    pub fn values(&self) -> &Values {
        &self.values
    }

    pub fn map(&self) -> &str {
        &self.map
    }

    /// The deliveries in a frame, or `None` when it is no change.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for a change of another map, or a key or value nobody wrote.
    pub fn read(&mut self, text: &[u8]) -> Result<Option<&[Stamp]>, Failure> {
        if let Some(back) = (0..FRAMES_KEPT).find(|back| self.kept[self.slot(*back)].text == text) {
            return Ok(Some(&self.kept[self.slot(back)].deliveries));
        }
        let message = Message::read(text)?;
        if message.kind != b"change" {
            return Ok(None);
        }
        if message.map != self.map.as_bytes() {
            return Err(Failure::Wrong(format!("a change of another map: {}", excerpt(text))));
        }
        self.latest = (self.latest + 1) % FRAMES_KEPT;
        // The slot is taken out while it is filled: a frame that fails is not kept.
        let mut frame = std::mem::take(&mut self.kept[self.latest]);
        frame.deliveries.clear();
        message.each_entry(|entry| {
            let stamp = self.values.read(entry.value)?;
            let writer = stamp.writer as usize;
            let prefix = self.prefixes.get(writer).ok_or_else(|| {
                Failure::Wrong(format!("publisher {writer} does not exist: {}", excerpt(entry.value)))
            })?;
            if key_number(entry.key, prefix)? != stamp.sequence % KEYS {
                return Err(Failure::Wrong(format!("{stamp:?} is under the key {}", excerpt(entry.key))));
            }
            frame.deliveries.push(stamp);
            Ok(())
        })?;
        frame.text.clear();
        frame.text.extend_from_slice(text);
        self.kept[self.latest] = frame;
        Ok(Some(&self.kept[self.latest].deliveries))
    }

    fn slot(&self, back: usize) -> usize {
        (self.latest + FRAMES_KEPT - back) % FRAMES_KEPT
    }
}

/// After the end, each connection is asked for a pong: whatever was queued for it comes before.
#[derive(Default)]
pub struct Barrier {
    pub waiting: usize,
}

/// The id of the barrier's ping; no other request has it.
const BARRIER_ID: u64 = u64::MAX >> 12;

impl Barrier {
    pub fn ask(&mut self, wire: &mut Wire<'_>, connections: usize) {
        let mut request = crate::message::Request::default();
        for index in 0..connections {
            wire.text(index, request.ping(BARRIER_ID));
        }
        self.waiting += connections;
    }

    /// Whether `message` is the pong of the barrier.
    pub fn passes(&mut self, message: &Message<'_>) -> bool {
        let passes = self.waiting > 0 && message.kind == b"pong" && message.id == Some(BARRIER_ID);
        self.waiting -= usize::from(passes);
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_publish_is_accepted_once_and_in_order() {
        let mut progress = Progress::default();
        for sequence in 0..200 {
            progress.accept(sequence, 200, false).unwrap();
        }
        assert!(matches!(progress.accept(199, 300, false), Err(Failure::Duplicated(_))));
        assert!(matches!(progress.accept(201, 300, false), Err(Failure::OutOfOrder(_))));
        assert!(matches!(progress.accept(300, 300, false), Err(Failure::Wrong(_))));
    }

    #[test]
    fn any_order_within_the_window_still_counts_each_once() {
        let mut progress = Progress::default();
        for sequence in (0..WINDOW_MAX).rev() {
            progress.accept(sequence, WINDOW_MAX, true).unwrap();
        }
        assert_eq!(progress.next, WINDOW_MAX);
        progress.accept(WINDOW_MAX + 1, 100, true).unwrap();
        assert!(matches!(progress.accept(WINDOW_MAX + 1, 100, true), Err(Failure::Duplicated(_))));
    }

    #[test]
    fn same_frame_is_read_once_and_a_different_one_is_not_taken_for_it() {
        let mut frames = Frames::new(Values::new(20), "m".to_owned(), 1);
        let frame = |sequence: u64| {
            format!(
                r#"{{"type":"change","map":"m","entries":[{{"key":"k0-{sequence}","value":"000000.{sequence:010x}."}}]}}"#
            )
        };
        for sequence in [0, 1, 0, 1, 2] {
            let text = frame(sequence);
            let deliveries = frames.read(text.as_bytes()).unwrap().unwrap();
            assert_eq!(deliveries, [Stamp { writer: 0, sequence }]);
        }
        let under_wrong_key = frame(3).replace("k0-3", "k0-4");
        assert!(frames.read(under_wrong_key.as_bytes()).is_err());
        assert!(frames.read(under_wrong_key.as_bytes()).is_err(), "a frame that failed was kept");
    }
}

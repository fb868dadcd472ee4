//! Change frames, each different one read once.
//!
//! Subscribers of one map are mostly sent identical frames. The first is read and checked in full; a frame that is
//! byte for byte the same brings the same deliveries, which is as good a check and lets the load keep up with a
//! million of them a second.

use super::fanout_checks::KEYS;
use crate::dialect::Codec;
use crate::failure::{Failure, excerpt};
use crate::message::{Message, key_number};
use crate::value::{Stamp, Values};

/// Frames looked at from where a subscriber stands: it may have skipped a few that others were sent.
const AHEAD_MAX: u64 = 4;
/// Of the latest frames, those that are looked at where that fails: subscribers on other shards see another order.
const LATEST_MAX: u64 = 16;

pub struct Frames {
    values: Values,
    map: String,
    /// `k<publisher>-`, by publisher.
    prefixes: Vec<String>,
    /// Frame `n` is at `n` modulo their number.
    kept: Vec<Kept>,
    /// Different frames read so far.
    count: u64,
}

#[derive(Default)]
struct Kept {
    frame: Vec<u8>,
    deliveries: Vec<Stamp>,
}

impl Frames {
    /// `kept`: by how many frames subscribers may differ, for each of them to be known again.
    pub fn new(values: Values, map: String, publishers: usize, kept: usize) -> Self {
        let kept = (0..kept.max(LATEST_MAX as usize)).map(|_| Kept::default()).collect();
        let prefixes = (0..publishers).map(|index| format!("k{index}-")).collect();
        Self { values, map, prefixes, kept, count: 0 }
    }

    pub fn values(&self) -> &Values {
        &self.values
    }

    pub fn map(&self) -> &str {
        &self.map
    }

    pub fn prefix(&self, publisher: usize) -> &str {
        &self.prefixes[publisher]
    }

    /// The deliveries in a frame, or `None` when it is no change. `place`: of the subscriber, at first 0; the number of
    /// the frame that is likely its next.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for a change of another map, or a key or value nobody wrote.
    pub fn read(
        &mut self,
        codec: &Codec,
        frame: &[u8],
        place: &mut u64,
    ) -> Result<Option<&[Stamp]>, Failure> {
        if let Some(number) = self.find(frame, *place) {
            *place = number + 1;
            return Ok(Some(&self.kept(number).deliveries));
        }
        let message = codec.read(frame)?;
        if message.kind != b"change" {
            return Ok(None);
        }
        if message.map != self.map.as_bytes() {
            return Err(Failure::Wrong(format!("a change of another map: {}", excerpt(frame))));
        }
        self.keep(frame, &message)?;
        *place = self.count;
        Ok(Some(&self.kept(self.count - 1).deliveries))
    }

    fn find(&self, frame: &[u8], place: u64) -> Option<u64> {
        let oldest = self.count.saturating_sub(self.kept.len() as u64);
        let ahead = place.max(oldest)..self.count.min(place + AHEAD_MAX);
        let latest = oldest.max(self.count.saturating_sub(LATEST_MAX))..self.count;
        ahead.chain(latest.rev()).find(|&number| self.kept(number).frame == frame)
    }

    fn keep(&mut self, frame: &[u8], message: &Message<'_>) -> Result<(), Failure> {
        let slot = self.slot(self.count);
        // It is taken out while it is filled: a frame that fails is not kept.
        let mut kept = std::mem::take(&mut self.kept[slot]);
        kept.deliveries.clear();
        message.each_entry(|entry| {
            let stamp = self.values.read(entry.value)?;
            let writer = stamp.writer as usize;
            let prefix = self.prefixes.get(writer).ok_or_else(|| {
                Failure::Wrong(format!("publisher {writer} does not exist: {}", excerpt(entry.value)))
            })?;
            if key_number(entry.key, prefix)? != stamp.sequence % KEYS {
                return Err(Failure::Wrong(format!("{stamp:?} is under the key {}", excerpt(entry.key))));
            }
            kept.deliveries.push(stamp);
            Ok(())
        })?;
        kept.frame.clear();
        kept.frame.extend_from_slice(frame);
        self.kept[slot] = kept;
        self.count += 1;
        Ok(())
    }

    fn kept(&self, number: u64) -> &Kept {
        &self.kept[self.slot(number)]
    }

    fn slot(&self, number: u64) -> usize {
        (number % self.kept.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ack::AckLevel;
    use crate::dialect::{Dialect, synckit};

    fn frames() -> Frames {
        Frames::new(Values::new(20), "m".to_owned(), 1, 1)
    }

    fn frame(dialect: Dialect, sequence: u64) -> Vec<u8> {
        let key = sequence % KEYS;
        match dialect {
            Dialect::Native => format!(
                r#"{{"type":"change","map":"m","entries":[{{"key":"k0-{key}","value":"000000.{sequence:010x}."}}]}}"#
            )
            .into_bytes(),
            Dialect::Channels => format!(
                r#"{{"type":"message","channel":"m","offset":7,"data":{{"k":"k0-{key}","v":"000000.{sequence:010x}."}},"time":1}}"#
            )
            .into_bytes(),
            Dialect::SyncKit => synckit::message(
                synckit::DELTA,
                &format!(
                    r#"{{"documentId":"m","field":"k0-{key}","value":"000000.{sequence:010x}.","clock":{{"server":1}}}}"#
                ),
            ),
        }
    }

    /// Goal: what is taken for a known frame is that frame. Method: two subscribers, one of them far behind or ahead,
    /// read more frames than are kept.
    #[test]
    fn each_frame_brings_its_own_deliveries_to_everybody_however_far_apart() {
        for dialect in [Dialect::Native, Dialect::SyncKit, Dialect::Channels] {
            for apart in [0, 1, 3, LATEST_MAX, 3 * LATEST_MAX] {
                let (codec, mut frames) = (Codec::new(dialect, AckLevel::Memory), frames());
                let mut places = [0, 0];
                for sequence in 0..200 {
                    for (place, sequence) in places.iter_mut().zip([sequence + apart, sequence]) {
                        let frame = frame(dialect, sequence);
                        let deliveries = frames.read(&codec, &frame, place).unwrap().unwrap();
                        assert_eq!(deliveries, [Stamp { writer: 0, sequence }], "{apart} apart");
                    }
                }
            }
        }
    }

    #[test]
    fn frame_is_kept_once_for_all_and_one_that_fails_is_not() {
        for dialect in [Dialect::Native, Dialect::SyncKit, Dialect::Channels] {
            let (codec, mut frames) = (Codec::new(dialect, AckLevel::Memory), frames());
            for mut place in [0; 5] {
                for sequence in 0..10 {
                    assert!(frames.read(&codec, &frame(dialect, sequence), &mut place).is_ok());
                }
            }
            assert_eq!(frames.count, 10);
            let mut under_wrong_key = frame(dialect, 3);
            let at = under_wrong_key.windows(4).position(|window| window == b"k0-3").unwrap();
            under_wrong_key[at + 3] = b'4';
            for _ in 0..2 {
                assert!(matches!(frames.read(&codec, &under_wrong_key, &mut 0), Err(Failure::Wrong(_))));
            }
        }
    }

    #[test]
    fn other_messages_are_not_changes() {
        let codec = Codec::new(Dialect::SyncKit, AckLevel::Memory);
        let ack = synckit::message(0x21, r#"{"messageId":"7"}"#);
        assert_eq!(frames().read(&codec, &ack, &mut 0).unwrap(), None);
    }
}

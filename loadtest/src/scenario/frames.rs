//! Change frames, each different one read once (`known.rs`).

use super::fanout_checks::KEYS;
use super::known::Known;
use crate::dialect::Codec;
use crate::failure::{Failure, excerpt};
use crate::message::key_number;
use crate::value::{Stamp, Values};

pub struct Frames {
    values: Values,
    map: String,
    /// `k<publisher>-`, by publisher.
    prefixes: Vec<String>,
    known: Known<Stamp>,
}

impl Frames {
    /// `kept`: by how many frames subscribers may differ, for each of them to be known again.
    pub fn new(values: Values, map: String, publishers: usize, kept: usize) -> Self {
        let prefixes = (0..publishers).map(|index| format!("k{index}-")).collect();
        Self { values, map, prefixes, known: Known::new(kept) }
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
        if let Some(number) = self.known.find(frame, place) {
            return Ok(Some(self.known.said(number)));
        }
        let message = codec.read(frame)?;
        if message.kind != b"change" {
            return Ok(None);
        }
        if message.map != self.map.as_bytes() {
            return Err(Failure::Wrong(format!("a change of another map: {}", excerpt(frame))));
        }
        let Self { values, prefixes, known, .. } = self;
        let number = known.keep(frame, place, |deliveries| {
            message.each_entry(|entry| {
                let stamp = values.read(entry.value)?;
                let writer = stamp.writer as usize;
                let prefix = prefixes.get(writer).ok_or_else(|| {
                    Failure::Wrong(format!("publisher {writer} does not exist: {}", excerpt(entry.value)))
                })?;
                if key_number(entry.key, prefix)? != stamp.sequence % KEYS {
                    return Err(Failure::Wrong(format!("{stamp:?} is under the key {}", excerpt(entry.key))));
                }
                deliveries.push(stamp);
                Ok(())
            })
        })?;
        Ok(Some(self.known.said(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ack::AckLevel;
    use crate::dialect::{Dialect, synckit};
    use crate::scenario::known::LATEST_MAX;

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
            Dialect::SocketIo => format!(
                r#"42["message",{{"channel":"m","offset":7,"data":{{"k":"k0-{key}","v":"000000.{sequence:010x}."}},"time":1}}]"#
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
        for dialect in [Dialect::Native, Dialect::SyncKit, Dialect::Channels, Dialect::SocketIo] {
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
        for dialect in [Dialect::Native, Dialect::SyncKit, Dialect::Channels, Dialect::SocketIo] {
            let (codec, mut frames) = (Codec::new(dialect, AckLevel::Memory), frames());
            for mut place in [0; 5] {
                for sequence in 0..10 {
                    assert!(frames.read(&codec, &frame(dialect, sequence), &mut place).is_ok());
                }
            }
            assert_eq!(frames.known.count, 10);
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

//! Who has published what to one map, and who has had it.
//!
//! Invariant: a publisher has at most [`WINDOW_MAX`] publishes that somebody has not had, so that no key is written again
//! before its last value has reached every screen.

use std::ops::Range;

use super::fanout_checks::{Barrier, KEYS, Progress, WINDOW_MAX};
use super::frames::Frames;
use crate::ack::AckLevel;
use crate::dialect::{Codec, Dialect};
use crate::failure::{Failure, excerpt};
use crate::fleet::Wire;
use crate::frame;
use crate::message::Set;
use crate::tally::{Mean, Tally};
use crate::value::{Stamp, Values};

/// The shape of a fan-out.
pub struct Audience {
    pub dialect: Dialect,
    pub ack: AckLevel,
    pub map: String,
    pub value_bytes: usize,
    /// Connections that publish: the first ones.
    pub publishers: usize,
    /// Connections that are sent every publish.
    pub screens: Range<usize>,
    /// Whether changes of different keys, and acks, may come in any order.
    pub any_order: bool,
    /// By how many frames screens may differ before each frame is read more than once.
    pub frames_apart: usize,
}

pub struct Deliveries {
    codec: Codec,
    frames: Frames,
    publishers: Vec<Publisher>,
    screens: Range<usize>,
    any_order: bool,
    /// By screen.
    places: Vec<u64>,
    /// By screen, then publisher.
    progress: Vec<Progress>,
    completed: Vec<Completed>,
    barrier: Barrier,
    /// Deliveries so far.
    pub count: u64,
    pub publish_bytes: Mean,
    pub ack_bytes: Mean,
    pub delivery_bytes: Mean,
}

struct Publisher {
    published: u64,
    acks: Progress,
    /// All before this one have reached every screen.
    done: u64,
    /// Of the publishes in flight, by sequence modulo the window: screens reached, and when it was sent.
    reached: [u32; WINDOW_MAX as usize],
    sent_ns: [u64; WINDOW_MAX as usize],
}

/// A publish that has reached every screen.
#[derive(Clone, Copy)]
pub struct Completed {
    pub publisher: usize,
    pub sent_ns: u64,
}

/// What a message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    Acked,
    Delivered,
    /// The closing pong of a connection.
    Closed,
}

impl Deliveries {
    pub fn new(audience: Audience) -> Self {
        let Audience { dialect, ack, map, value_bytes, publishers, screens, any_order, frames_apart } =
            audience;
        let publisher = || Publisher {
            published: 0,
            acks: Progress::default(),
            done: 0,
            reached: [0; WINDOW_MAX as usize],
            sent_ns: [0; WINDOW_MAX as usize],
        };
        Self {
            codec: Codec::new(dialect, ack),
            frames: Frames::new(Values::new(value_bytes), map, publishers, frames_apart),
            publishers: (0..publishers).map(|_| publisher()).collect(),
            places: vec![0; screens.len()],
            progress: vec![Progress::default(); publishers * screens.len()],
            screens,
            any_order,
            completed: Vec::new(),
            barrier: Barrier::new(dialect),
            count: 0,
            publish_bytes: Mean::default(),
            ack_bytes: Mean::default(),
            delivery_bytes: Mean::default(),
        }
    }

    /// Publishes that were not acked yet or have not reached every screen.
    pub fn open(&self, publisher: usize) -> u64 {
        let Publisher { published, done, acks, .. } = &self.publishers[publisher];
        published - (*done).min(acks.next)
    }

    /// Sends the next publish. Fewer than [`WINDOW_MAX`] are to be open.
    pub fn publish(&mut self, wire: &mut Wire<'_>, index: usize, now: u64) {
        let publisher = &mut self.publishers[index];
        let sequence = publisher.published;
        publisher.published += 1;
        publisher.reached[(sequence % WINDOW_MAX) as usize] = 0;
        publisher.sent_ns[(sequence % WINDOW_MAX) as usize] = now;
        let stamp = Stamp { writer: index as u32, sequence };
        let prefix = self.frames.prefix(index);
        let set = Set { map: self.frames.map(), prefix, key: sequence % KEYS, stamp };
        let text = self.codec.write(sequence, self.frames.values(), std::iter::once(set));
        self.publish_bytes.add(frame::encoded_bytes(text.len()), 1);
        wire.send(index, text);
    }

    /// Takes a message of connection `from`.
    ///
    /// # Errors
    /// For a message that is not owed.
    pub fn take(
        &mut self,
        from: usize,
        text: &[u8],
        now: u64,
        tally: &mut Tally,
    ) -> Result<Arrival, Failure> {
        if !self.screens.contains(&from) {
            return self.answered(from, text, tally);
        }
        let screen = from - self.screens.start;
        let Some(stamps) = self.frames.read(&self.codec, text, &mut self.places[screen])? else {
            return self.answered(from, text, tally);
        };
        self.delivery_bytes.add(frame::received_bytes(text.len()), stamps.len() as u64);
        self.count += stamps.len() as u64;
        let progress = &mut self.progress[screen * self.publishers.len()..];
        for stamp in stamps {
            let index = stamp.writer as usize;
            let publisher = &mut self.publishers[index];
            progress[index]
                .accept(stamp.sequence, publisher.published, self.any_order)
                .map_err(|failure| at(&pair(screen, index), failure))?;
            let slot = (stamp.sequence % WINDOW_MAX) as usize;
            publisher.reached[slot] += 1;
            tally.done(publisher.sent_ns[slot], now);
            if publisher.reached[slot] as usize == self.screens.len() {
                self.completed.push(Completed { publisher: index, sent_ns: publisher.sent_ns[slot] });
                publisher.advance(self.screens.len());
            }
        }
        Ok(Arrival::Delivered)
    }

    fn answered(&mut self, from: usize, text: &[u8], tally: &mut Tally) -> Result<Arrival, Failure> {
        let message = self.codec.read(text)?;
        if self.barrier.passes(&message) {
            tally.operations += 1;
            return Ok(Arrival::Closed);
        }
        let Some(publisher) = self.publishers.get_mut(from).filter(|_| message.kind == b"ack") else {
            return Err(Failure::Wrong(format!("connection {from} got {}", excerpt(text))));
        };
        let id = message.id.unwrap_or(publisher.acks.next);
        self.codec.expect_ack(&message, id, 1)?;
        publisher
            .acks
            .accept(id, publisher.published, self.any_order)
            .map_err(|failure| at(&format!("acks of publisher {from}"), failure))?;
        self.ack_bytes.add(frame::received_bytes(text.len()), 1);
        Ok(Arrival::Acked)
    }

    /// A publish that has reached every screen since the last time it was asked.
    pub fn next_completed(&mut self) -> Option<Completed> {
        self.completed.pop()
    }

    /// After the end: asks `connections` of them, from the first, whether more is queued for them.
    pub fn ask_proof(&mut self, wire: &mut Wire<'_>, connections: usize) {
        self.barrier.ask(wire, connections);
    }

    /// Whether everything was acked and has reached every screen.
    pub fn is_quiet(&self) -> bool {
        self.barrier.waiting == 0 && (0..self.publishers.len()).all(|publisher| self.open(publisher) == 0)
    }

    /// The first of what has not come.
    pub fn missing(&self) -> Failure {
        let publishers = self.publishers.len();
        for (index, progress) in self.progress.iter().enumerate() {
            let (screen, publisher) = (index / publishers, index % publishers);
            let (next, published) = (progress.next, self.publishers[publisher].published);
            if next < published {
                let what = Failure::Lost(format!("publish {next} of {published} never came"));
                return at(&pair(screen, publisher), what);
            }
        }
        match self.publishers.iter().position(|publisher| publisher.acks.next < publisher.published) {
            Some(index) => {
                let ack = self.publishers[index].acks.next;
                Failure::Lost(format!("publisher {index}: ack {ack} never came"))
            }
            None => Failure::Lost(format!("{} closing pongs never came", self.barrier.waiting)),
        }
    }
}

impl Publisher {
    fn advance(&mut self, screens: usize) {
        while self.done < self.published
            && self.reached[(self.done % WINDOW_MAX) as usize] as usize == screens
        {
            self.done += 1;
        }
    }
}

fn pair(screen: usize, publisher: usize) -> String {
    format!("subscriber {screen}, publisher {publisher}")
}

fn at(place: &str, failure: Failure) -> Failure {
    let place = |what: String| format!("{place}: {what}");
    match failure {
        Failure::Lost(what) => Failure::Lost(place(what)),
        Failure::Duplicated(what) => Failure::Duplicated(place(what)),
        Failure::OutOfOrder(what) => Failure::OutOfOrder(place(what)),
        Failure::Wrong(what) => Failure::Wrong(place(what)),
        other => other,
    }
}

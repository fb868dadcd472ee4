//! `fanout`: P publishers set keys of one map, N subscribers get every change. What a delivery costs.
//!
//! Each publisher has `window` publishes in flight; one is done when it is acked and has reached every subscriber.
//!
//! Checked: every subscriber gets every publish once and in order, each with the value that was written; a pong at
//! the end proves that nothing more is queued.

use super::Bench;
use super::fanout_checks::{Barrier, Frames, KEYS, Progress, WINDOW_MAX};
use super::setup::{SubscribeToEmpty, ask_each};
use super::write::value_bytes;
use crate::ack::{AckLevel, answered_level};
use crate::drive::Scenario;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Handler, Wire};
use crate::floor::Shape;
use crate::frame;
use crate::message::{Message, Request, Set};
use crate::report::figures::Outcome;
use crate::tally::{Mean, Tally};
use crate::value::{Stamp, Values};

#[derive(Clone, Debug, clap::Args)]
pub struct FanoutOptions {
    /// Connections that publish
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub publishers: u32,
    /// Connections that subscribe to the map
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers: u32,
    /// Publishes each publisher has in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=WINDOW_MAX))]
    pub window: u64,
    /// Bytes of one value as JSON text
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: usize,
    /// Level of the acks: memory or durable
    #[arg(long, value_name = "LEVEL", default_value = "memory", value_parser = answered_level)]
    pub ack: AckLevel,
    /// Accept changes of different keys, and acks, in any order: a server of several shards promises order per key only
    #[arg(long)]
    pub any_order: bool,
}

/// # Errors
/// What went wrong on the wire.
pub fn run(bench: &Bench, options: &FanoutOptions) -> Result<Outcome, Failure> {
    let (publishers, subscribers) = (options.publishers as usize, options.subscribers as usize);
    let map = format!("fanout-{}", bench.run);
    let (mut fleet, range) = bench.open(publishers + subscribers)?;
    let mut question = SubscribeToEmpty { map_of: &|_| &map };
    ask_each(&mut fleet, publishers..range.end, &mut question, bench.timing.timeout_ns)?;
    fleet.acknowledge_on_read(publishers..range.end);
    let mut fanout = Fanout::new(options, map.clone());
    let window = bench.measure(&mut fleet, &mut fanout)?;
    let mut figures = window.figures(&fanout.tally);
    fleet.close();
    let shape = Shape::Fanout {
        publishers,
        subscribers,
        window: options.window,
        publish_bytes: fanout.publish_bytes.rounded(),
        ack_bytes: fanout.ack_bytes.rounded(),
        delivery_bytes: fanout.delivery_bytes.rounded(),
    };
    bench.compare_with_floor(&mut figures, shape)?;
    let FanoutOptions { window, value_bytes, ack, .. } = options;
    let ack = ack.name();
    let title = format!(
        "fanout   {publishers} → {subscribers}, window {window}, values of {value_bytes} B, acks {ack}"
    );
    let order = if options.any_order { "once" } else { "once and in order" };
    let checked = format!("all {} deliveries came {order}", fanout.delivered);
    Ok(Outcome { title, operation: "delivery", figures, checked })
}

struct Fanout {
    frames: Frames,
    publishers: Vec<Publisher>,
    /// By subscriber, then publisher.
    progress: Vec<Progress>,
    subscribers: u32,
    window: u64,
    any_order: bool,
    request: Request,
    barrier: Barrier,
    delivered: u64,
    stopping: bool,
    publish_bytes: Mean,
    ack_bytes: Mean,
    delivery_bytes: Mean,
    tally: Tally,
}

struct Publisher {
    published: u64,
    acks: Progress,
    /// All before this one have reached every subscriber.
    done: u64,
    /// Of the publishes in flight, by sequence modulo the window: subscribers reached, and when it was sent.
    reached: [u32; WINDOW_MAX as usize],
    sent_ns: [u64; WINDOW_MAX as usize],
}

impl Fanout {
    fn new(options: &FanoutOptions, map: String) -> Self {
        let publisher = || Publisher {
            published: 0,
            acks: Progress::default(),
            done: 0,
            reached: [0; WINDOW_MAX as usize],
            sent_ns: [0; WINDOW_MAX as usize],
        };
        Self {
            frames: Frames::new(Values::new(options.value_bytes), map, options.publishers),
            publishers: (0..options.publishers).map(|_| publisher()).collect(),
            progress: vec![Progress::default(); (options.publishers * options.subscribers) as usize],
            subscribers: options.subscribers,
            window: options.window,
            any_order: options.any_order,
            request: Request::asking(options.ack),
            barrier: Barrier::default(),
            delivered: 0,
            stopping: false,
            publish_bytes: Mean::default(),
            ack_bytes: Mean::default(),
            delivery_bytes: Mean::default(),
            tally: Tally::new(),
        }
    }

    fn refill(&mut self, wire: &mut Wire<'_>, index: usize, now: u64) {
        let publisher = &mut self.publishers[index];
        let oldest_open = publisher.done.min(publisher.acks.next);
        while !self.stopping && publisher.published < oldest_open + self.window {
            let sequence = publisher.published;
            publisher.published += 1;
            publisher.reached[(sequence % WINDOW_MAX) as usize] = 0;
            publisher.sent_ns[(sequence % WINDOW_MAX) as usize] = now;
            let stamp = Stamp { writer: index as u32, sequence };
            let prefix = self.frames.prefixes[index].as_str();
            let set = Set { map: self.frames.map(), prefix, key: sequence % KEYS, stamp };
            let text = self.request.write(sequence, self.frames.values(), std::iter::once(set));
            self.publish_bytes.add(frame::encoded_bytes(text.len()), 1);
            wire.text(index, text);
        }
    }

    fn acked(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let message = Message::read(text)?;
        if self.barrier.passes(&message) {
            self.tally.operations += 1;
            return Ok(());
        }
        let publisher = &mut self.publishers[from];
        let id = message.id.unwrap_or(publisher.acks.next);
        message.expect_ack(id, 1, self.request.ack())?;
        publisher
            .acks
            .accept(id, publisher.published, self.any_order)
            .map_err(|failure| at(&format!("acks of publisher {from}"), failure))?;
        self.ack_bytes.add(frame::received_bytes(text.len()), 1);
        self.refill(wire, from, now);
        Ok(())
    }

    fn delivered(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let subscriber = from - self.publishers.len();
        let Some(deliveries) = self.frames.read(text)? else {
            if self.barrier.passes(&Message::read(text)?) {
                self.tally.operations += 1;
                return Ok(());
            }
            return Err(Failure::Wrong(format!("subscriber {subscriber} got {}", excerpt(text))));
        };
        self.delivery_bytes.add(frame::received_bytes(text.len()), deliveries.len() as u64);
        self.delivered += deliveries.len() as u64;
        let progress = &mut self.progress[subscriber * self.publishers.len()..];
        let mut complete = false;
        for stamp in deliveries {
            let publisher = &mut self.publishers[stamp.writer as usize];
            progress[stamp.writer as usize]
                .accept(stamp.sequence, publisher.published, self.any_order)
                .map_err(|failure| at(&pair(subscriber, stamp.writer as usize), failure))?;
            let slot = (stamp.sequence % WINDOW_MAX) as usize;
            publisher.reached[slot] += 1;
            complete |= publisher.reached[slot] == self.subscribers;
            self.tally.done(publisher.sent_ns[slot], now);
        }
        if complete {
            self.advance(wire, now);
        }
        Ok(())
    }

    fn advance(&mut self, wire: &mut Wire<'_>, now: u64) {
        for index in 0..self.publishers.len() {
            let publisher = &mut self.publishers[index];
            let done = publisher.done;
            while publisher.done < publisher.published
                && publisher.reached[(publisher.done % WINDOW_MAX) as usize] == self.subscribers
            {
                publisher.done += 1;
            }
            if publisher.done > done {
                self.refill(wire, index, now);
            }
        }
    }
}

impl Handler for Fanout {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        if from < self.publishers.len() {
            self.acked(wire, from, text, now)
        } else {
            self.delivered(wire, from, text, now)
        }
    }
}

impl Scenario for Fanout {
    fn start(&mut self, wire: &mut Wire<'_>, now: u64) {
        for index in 0..self.publishers.len() {
            self.refill(wire, index, now);
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        let open = |publisher: &Publisher| publisher.done.min(publisher.acks.next) < publisher.published;
        self.barrier.waiting == 0 && !self.publishers.iter().any(open)
    }

    fn missing(&self) -> Failure {
        let publishers = self.publishers.len();
        for (index, progress) in self.progress.iter().enumerate() {
            let (subscriber, publisher) = (index / publishers, index % publishers);
            let published = self.publishers[publisher].published;
            if progress.next < published {
                let next = progress.next;
                let what = Failure::Lost(format!("publish {next} of {published} never came"));
                return at(&pair(subscriber, publisher), what);
            }
        }
        match self.publishers.iter().position(|publisher| publisher.acks.next < publisher.published) {
            Some(index) => Failure::Lost(format!(
                "publisher {index}: ack {} never came",
                self.publishers[index].acks.next
            )),
            None => Failure::Lost(format!("{} closing pongs never came", self.barrier.waiting)),
        }
    }

    fn ask_proof(&mut self, wire: &mut Wire<'_>) {
        self.barrier.ask(wire, self.publishers.len() + self.subscribers as usize);
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

fn pair(subscriber: usize, publisher: usize) -> String {
    format!("subscriber {subscriber}, publisher {publisher}")
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

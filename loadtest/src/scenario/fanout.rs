//! `fanout`: P publishers set keys of one map, N subscribers get every change. What a delivery costs.
//!
//! Each publisher has `window` publishes in flight; one is done when it is acked and has reached every subscriber.
//!
//! In SyncKit publishers are subscribers, too, as writing to a document subscribes to it.
//!
//! Checked: every subscriber gets every publish once and in order, each with the value that was written; a pong at
//! the end proves that nothing more is queued.

use super::deliveries::{Arrival, Audience, Deliveries};
use super::fanout_checks::WINDOW_MAX;
use super::setup::{SubscribeToEmpty, ask_each};
use super::write::value_bytes;
use crate::ack::{AckLevel, answered_level};
use crate::bench::Bench;
use crate::dialect::{self, Codec, Dialect, DialectOptions};
use crate::drive::Scenario;
use crate::failure::Failure;
use crate::fleet::{Handler, Wire};
use crate::floor::Shape;
use crate::report::figures::Outcome;
use crate::tally::Tally;

/// Frames kept at most, whatever is in flight: they are to fit in a cache.
const FRAMES_APART_MAX: u64 = 1024;

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
    #[command(flatten)]
    pub dialects: DialectOptions,
    /// Accept changes of different keys, and acks, in any order: a server of several shards promises order per key only
    #[arg(long)]
    pub any_order: bool,
}

/// One outcome for each dialect, in the order they were asked for.
///
/// # Errors
/// What went wrong on the wire.
pub fn run(bench: &Bench, options: &FanoutOptions) -> Result<Vec<Outcome>, Failure> {
    let dialects = &options.dialects.dialect;
    let mut outcomes = bench.run_parts(dialects, |&dialect| run_dialect(bench, options, dialect))?;
    dialect::compare(dialects, &mut outcomes);
    Ok(outcomes)
}

fn run_dialect(bench: &Bench, options: &FanoutOptions, dialect: Dialect) -> Result<Outcome, Failure> {
    let FanoutOptions { window, value_bytes, ack, any_order, .. } = *options;
    dialect.check_level(ack)?;
    let (publishers, subscribers) = (options.publishers as usize, options.subscribers as usize);
    // One letter for the dialect: maps of all dialects have names of the same length.
    let map = format!("fanout-{}-{}", bench.run, dialect.letter());
    let (mut fleet, range) = bench.open_in(dialect, publishers + subscribers)?;
    let connections = range.len();
    let screens = if dialect.subscribes_writers() { range } else { publishers..range.end };
    let codec = Codec::new(dialect, ack);
    let mut question = SubscribeToEmpty { codec, echo: false, map_of: &|_| map.as_str() };
    ask_each(&mut fleet, screens.clone(), &mut question, bench.timing.timeout_ns)?;
    fleet.acknowledge_on_read(publishers..connections);
    let frames_apart = (publishers as u64 * window).min(FRAMES_APART_MAX) as usize;
    let audience = Audience { dialect, ack, map, value_bytes, publishers, screens, any_order, frames_apart };
    let mut fanout = Fanout {
        deliveries: Deliveries::new(audience),
        publishers,
        connections,
        window,
        stopping: false,
        tally: Tally::new(),
    };
    let measured = bench.measure(&mut fleet, &mut fanout)?;
    let mut figures = measured.figures(&fanout.tally);
    fleet.close();
    let Deliveries { publish_bytes, ack_bytes, delivery_bytes, count, .. } = fanout.deliveries;
    let shape = Shape::Fanout {
        publishers,
        subscribers,
        window,
        publish_bytes: publish_bytes.rounded(),
        ack_bytes: ack_bytes.rounded(),
        delivery_bytes: delivery_bytes.rounded(),
    };
    bench.compare_with_floor(&mut figures, shape)?;
    let ack = ack.name();
    let title = format!(
        "{}   {publishers} → {subscribers}, window {window}, values of {value_bytes} B, acks {ack}",
        dialect.title("fanout")
    );
    let order = if any_order { "once" } else { "once and in order" };
    let checked = format!("all {count} deliveries came {order}");
    Ok(Outcome { title, operation: "delivery", figures, checked })
}

struct Fanout {
    deliveries: Deliveries,
    publishers: usize,
    connections: usize,
    window: u64,
    stopping: bool,
    tally: Tally,
}

impl Fanout {
    fn refill(&mut self, wire: &mut Wire<'_>, publisher: usize, now: u64) {
        while !self.stopping && self.deliveries.open(publisher) < self.window {
            self.deliveries.publish(wire, publisher, now);
        }
    }
}

impl Handler for Fanout {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        match self.deliveries.take(from, text, now, &mut self.tally)? {
            Arrival::Acked => self.refill(wire, from, now),
            Arrival::Delivered => {
                while let Some(completed) = self.deliveries.next_completed() {
                    self.refill(wire, completed.publisher, now);
                }
            }
            Arrival::Closed => {}
        }
        Ok(())
    }
}

impl Scenario for Fanout {
    fn start(&mut self, wire: &mut Wire<'_>, now: u64) {
        for publisher in 0..self.publishers {
            self.refill(wire, publisher, now);
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        self.deliveries.is_quiet()
    }

    fn missing(&self) -> Failure {
        self.deliveries.missing()
    }

    fn ask_proof(&mut self, wire: &mut Wire<'_>) {
        self.deliveries.ask_proof(wire, self.connections);
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

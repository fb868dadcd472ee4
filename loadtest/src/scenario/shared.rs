//! `shared`: everybody on one map. Each client subscribes to it and writes to it at a steady pace, evenly spread over
//! all clients. How long a write takes to every screen.
//!
//! Writes leave when they are due, whatever has come. A delivery is timed from when the write was given to the socket to
//! when its frame is read, so that what the load itself needs to read a million of them a second is in it; how late
//! writes left is shown beside it.
//!
//! Checked: every screen gets every write once and in order, its own included, each with the value that was written; a
//! pong at the end proves that nothing more is queued. With `--screens`, of the first clients only: the others read what
//! they are sent without looking into it.

use hdrhistogram::Histogram;

use super::deliveries::{Arrival, Audience, Deliveries};
use super::fanout_checks::WINDOW_MAX;
use super::setup::{SubscribeToEmpty, ask_each};
use super::write::value_bytes;
use crate::ack::AckLevel;
use crate::bench::Bench;
use crate::clock::{Rate, now_ns, seconds};
use crate::dialect::{self, Codec, Dialect, DialectOptions};
use crate::drive::Scenario;
use crate::failure::Failure;
use crate::fleet::{Handler, Wire};
use crate::report::figures::Outcome;
use crate::tally::{Tally, latencies, record};

#[derive(Clone, Debug, clap::Args)]
pub struct SharedOptions {
    /// Clients, each of which writes and watches
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Writes a second of one client
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    pub rate: f64,
    /// Clients that check and time what they are sent: the first ones [default: all]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub screens: Option<u32>,
    /// Bytes of one value as JSON text
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: usize,
    #[command(flatten)]
    pub dialects: DialectOptions,
    /// Accept changes of different keys, and acks, in any order: a server of several shards promises order per key only
    #[arg(long)]
    pub any_order: bool,
}

/// How far screens may be apart and still share what was read: one second of the default load.
const FRAMES_APART: usize = 1024;

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("a number of writes a second, above 0".to_owned()),
    }
}

/// One outcome for each dialect, in the order they were asked for.
///
/// # Errors
/// What went wrong on the wire.
pub fn run(bench: &Bench, options: &SharedOptions) -> Result<Vec<Outcome>, Failure> {
    let dialects = &options.dialects.dialect;
    let mut outcomes = bench.run_parts(dialects, |&dialect| run_dialect(bench, options, dialect))?;
    dialect::compare(dialects, &mut outcomes);
    Ok(outcomes)
}

fn run_dialect(bench: &Bench, options: &SharedOptions, dialect: Dialect) -> Result<Outcome, Failure> {
    let SharedOptions { rate, value_bytes, any_order, .. } = *options;
    let clients = options.connections as usize;
    let screens = options.screens.map_or(clients, |screens| clients.min(screens as usize));
    let map = format!("shared-{}-{}", bench.run, dialect.letter());
    let (mut fleet, range) = bench.open_in(dialect, clients)?;
    let codec = Codec::new(dialect, AckLevel::default());
    let mut question = SubscribeToEmpty { codec, echo: true, map_of: &|_| map.as_str() };
    ask_each(&mut fleet, range, &mut question, bench.timing.timeout_ns)?;
    let codec = question.codec;
    let audience = Audience {
        dialect,
        ack: AckLevel::default(),
        map,
        value_bytes,
        publishers: clients,
        screens: 0..screens,
        any_order,
        frames_apart: FRAMES_APART,
    };
    let mut shared = Shared {
        codec,
        deliveries: Deliveries::new(audience),
        clients,
        screens,
        rate: Rate::per_second(rate * clients as f64),
        start_ns: 0,
        sent: 0,
        stopping: false,
        everywhere_ns: latencies(),
        late_ns: latencies(),
        tally: Tally::new(),
    };
    let window = bench.measure(&mut fleet, &mut shared)?;
    let mut figures = window.figures(&shared.tally);
    fleet.close();
    figures.set("client_writes_per_second", shared.late_ns.len() as f64 / seconds(window.ns));
    figures.set_latency("everywhere", &shared.everywhere_ns);
    figures.set_latency("late", &shared.late_ns);
    let watching = if screens == clients { String::new() } else { format!(", {screens} of them checked") };
    let title = format!(
        "{}   {clients} clients on one map{watching}, each {rate} writes/s, values of {value_bytes} B",
        dialect.title("shared")
    );
    let order = if any_order { "once" } else { "once and in order" };
    let checked = format!("all {} deliveries came {order}", shared.deliveries.count);
    Ok(Outcome { title, operation: "delivery", figures, checked })
}

struct Shared {
    codec: Codec,
    deliveries: Deliveries,
    clients: usize,
    /// Clients whose changes are looked at.
    screens: usize,
    /// Between two writes, whosever they are.
    rate: Rate,
    start_ns: u64,
    sent: u64,
    stopping: bool,
    /// From a write to the last of the screens.
    everywhere_ns: Histogram<u64>,
    /// How late writes left.
    late_ns: Histogram<u64>,
    tally: Tally,
}

impl Shared {
    fn write(&mut self, wire: &mut Wire<'_>, due_ns: u64) -> Result<(), Failure> {
        let client = (self.sent % self.clients as u64) as usize;
        if self.deliveries.open(client) == WINDOW_MAX {
            return Err(Failure::Timeout(format!(
                "client {client} has {WINDOW_MAX} writes that were not acked or are not on every screen yet"
            )));
        }
        self.sent += 1;
        let now = now_ns();
        if self.tally.is_timed(due_ns) {
            record(&mut self.late_ns, due_ns, now);
        }
        self.deliveries.publish(wire, client, now);
        Ok(())
    }
}

impl Handler for Shared {
    fn message(&mut self, _: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        if from >= self.screens && self.codec.begins_like_a_change(text) {
            return Ok(());
        }
        if self.deliveries.take(from, text, now, &mut self.tally)? == Arrival::Delivered {
            while let Some(completed) = self.deliveries.next_completed() {
                if self.tally.is_timed(completed.sent_ns) {
                    record(&mut self.everywhere_ns, completed.sent_ns, now);
                }
            }
        }
        Ok(())
    }
}

impl Scenario for Shared {
    fn start(&mut self, _: &mut Wire<'_>, now: u64) {
        self.start_ns = now;
    }

    fn tick(&mut self, wire: &mut Wire<'_>, now: u64) -> Result<Option<u64>, Failure> {
        while !self.stopping {
            let due = self.rate.due_ns(self.start_ns, self.sent);
            if due > now {
                return Ok(Some(due));
            }
            self.write(wire, due)?;
        }
        Ok(None)
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
        self.deliveries.ask_proof(wire, self.clients);
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

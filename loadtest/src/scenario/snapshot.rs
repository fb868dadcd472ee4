//! `snapshot`: a large map is sent whole, again and again, to one client while another one pings. What a snapshot
//! costs those who did not ask for it.
//!
//! The pings alone are measured first, then beside the snapshots; the difference at p99 is the result. The pings have
//! a thread that preempts the one which reads the snapshots, so that reading them does not pass for the server's work.
//!
//! Checked: every snapshot has every key once with the value that was written.

use super::fill::{Filled, WholeMap, fill};
use super::pinger::Pinger;
use super::setup::rest_while;
use super::write::value_bytes;
use crate::ack::AckLevel;
use crate::bench::Bench;
use crate::clock::now_ns;
use crate::drive::Scenario;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Handler, Wire};
use crate::message::{Message, Request};
use crate::polling;
use crate::report::figures::Outcome;
use crate::tally::Tally;
use crate::value::Values;

#[derive(Clone, Debug, clap::Args)]
pub struct SnapshotOptions {
    /// Entries of the map
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// Bytes of one value as JSON text
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: usize,
    /// Pings per second, sent when due
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub ping_rate: u32,
}

/// The connection that fills the map and then subscribes to it.
const SUBSCRIBER: usize = 0;

/// # Errors
/// What went wrong on the wire.
pub fn run(bench: &Bench, options: &SnapshotOptions) -> Result<Outcome, Failure> {
    // The pinger has the same core, and a thread that polls is preempted later than one that waits.
    polling::set(false);
    let map = format!("snapshot-{}", bench.run);
    let values = Values::new(options.value_bytes);
    let (mut fleet, range) = bench.open(1)?;
    fill(
        &mut fleet,
        range,
        &Filled { map: &map, values: &values, keys: options.keys },
        AckLevel::Memory,
        bench,
    )?;

    let pinger = Pinger::connect(bench, bench.timing, options.ping_rate)?;
    pinger.begin();
    rest_while(&mut fleet, || !pinger.is_done())?;
    let alone = pinger.finish()?;
    let pinger = Pinger::connect(bench, bench.timing, options.ping_rate)?;
    let priority = pinger.priority;
    let mut snapshots = Snapshots::new(map, values, options.keys);
    pinger.begin();
    let window = bench.measure(&mut fleet, &mut snapshots)?;
    let beside = pinger.finish()?;
    fleet.close();

    let mut figures = window.figures(&snapshots.tally);
    figures.set("load_cpu_percent", window.load_cpu_percent() + beside.window.load_cpu_percent());
    figures.set_latency("ping_alone", &alone.tally.latency_ns);
    figures.set_latency("ping_beside", &beside.tally.latency_ns);
    let p99_us = |tally: &Tally| tally.latency_ns.value_at_quantile(0.99) as f64 / 1e3;
    figures.set("ping_p99_delay_us", p99_us(&beside.tally) - p99_us(&alone.tally));
    let total_ns = snapshots.total_ns.max(1) as f64;
    figures.set("snapshots", snapshots.whole as f64);
    figures.set("snapshot_ms", total_ns / 1e6 / snapshots.whole.max(1) as f64);
    figures.set("snapshot_mib_per_second", snapshots.bytes as f64 / f64::from(1 << 20) / (total_ns / 1e9));
    let SnapshotOptions { keys, value_bytes, ping_rate } = options;
    let title = format!(
        "snapshot   {keys} keys, values of {value_bytes} B, beside {ping_rate} pings/s of a thread at {priority}"
    );
    let checked = format!(
        "{} snapshots had every key once with its value; every pong answered its ping",
        snapshots.whole
    );
    Ok(Outcome { title, operation: "entry", figures, checked })
}

/// One snapshot after another.
struct Snapshots {
    map: String,
    values: Values,
    request: Request,
    /// What the snapshot under way has brought.
    had: WholeMap,
    next_id: u64,
    began_ns: u64,
    /// Whether a snapshot, or the answer to an unsubscribe, is under way.
    under_way: bool,
    stopping: bool,
    whole: u64,
    bytes: u64,
    total_ns: u64,
    /// Counts entries; a snapshot as a whole is timed by `total_ns`.
    tally: Tally,
}

impl Snapshots {
    fn new(map: String, values: Values, keys: u64) -> Self {
        Self {
            map,
            values,
            request: Request::default(),
            had: WholeMap::new(keys),
            next_id: 0,
            began_ns: 0,
            under_way: false,
            stopping: false,
            whole: 0,
            bytes: 0,
            total_ns: 0,
            tally: Tally::new(),
        }
    }

    fn subscribe(&mut self, wire: &mut Wire<'_>) {
        self.had.clear();
        self.next_id += 1;
        self.began_ns = now_ns();
        self.under_way = true;
        wire.send(SUBSCRIBER, self.request.subscribe(self.next_id, &self.map, b""));
    }

    fn chunk(&mut self, wire: &mut Wire<'_>, text: &[u8], message: &Message<'_>) -> Result<(), Failure> {
        if message.id != Some(self.next_id) {
            return Err(Failure::Wrong(format!(
                "a chunk of snapshot {:?}, not {}",
                message.id, self.next_id
            )));
        }
        self.bytes += text.len() as u64;
        self.tally.operations += self.had.take(message, &self.values)?;
        if message.more {
            return Ok(());
        }
        self.had.expect_all()?;
        self.whole += 1;
        self.total_ns += now_ns() - self.began_ns;
        self.next_id += 1;
        wire.send(SUBSCRIBER, self.request.unsubscribe(self.next_id, &self.map));
        Ok(())
    }
}

impl Handler for Snapshots {
    fn message(&mut self, wire: &mut Wire<'_>, _: usize, text: &[u8], _: u64) -> Result<(), Failure> {
        let message = Message::read(text)?;
        match message.kind {
            b"snapshot" => self.chunk(wire, text, &message),
            b"unsubscribed" => {
                self.under_way = false;
                if !self.stopping {
                    self.subscribe(wire);
                }
                Ok(())
            }
            _ => Err(Failure::Wrong(format!("the subscriber got {}", excerpt(text)))),
        }
    }
}

impl Scenario for Snapshots {
    fn start(&mut self, wire: &mut Wire<'_>, _: u64) {
        self.subscribe(wire);
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        !self.under_way
    }

    fn missing(&self) -> Failure {
        self.had.missing()
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

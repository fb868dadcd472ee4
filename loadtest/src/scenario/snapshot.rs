//! `snapshot`: a large map is sent whole, again and again, to one client while another one pings. What a snapshot
//! costs those who did not ask for it.
//!
//! The pings alone are measured first, then beside the snapshots; the difference at p99 is the result. The load
//! handles few completions at a time, so that its own work on a snapshot does not pass for the server's.
//!
//! Checked: every snapshot has every key once with the value that was written.

use super::Bench;
use super::ping::Ping;
use super::setup::{Question, ask_each};
use super::write::value_bytes;
use crate::clock::now_ns;
use crate::drive::Scenario;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Fleet, Handler, Wire};
use crate::message::{Message, Request, Set, key_number};
use crate::report::figures::Outcome;
use crate::tally::Tally;
use crate::value::{Stamp, Values};

#[derive(Clone, Debug, clap::Args)]
pub struct SnapshotOptions {
    /// Entries of the map
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// Bytes of one value as JSON text
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: usize,
}

/// Operations of one request that fills the map.
const FILL_OPS: u64 = 500;
/// Completions handled at a time: 8 receive buffers are some 50 µs of checking.
const COMPLETIONS_AT_A_TIME: usize = 8;
const PREFIX: &str = "k";
/// The connections: the one that pings, and the one that subscribes.
const PINGER: usize = 0;
const SUBSCRIBER: usize = 1;

/// # Errors
/// What went wrong on the wire.
pub fn run(bench: &Bench, options: &SnapshotOptions) -> Result<Outcome, Failure> {
    let map = format!("snapshot-{}", bench.run);
    let values = Values::new(options.value_bytes);
    let (mut fleet, _) = bench.open(2)?;
    fill(&mut fleet, &map, &values, options.keys, bench.timing.timeout_ns)?;
    fleet.handle_at_most(COMPLETIONS_AT_A_TIME);

    let mut alone = Ping::new(1);
    bench.measure(&mut fleet, &mut alone)?;
    let mut beside = Snapshots::new(map, values, options.keys);
    let window = bench.measure(&mut fleet, &mut beside)?;
    fleet.close();

    let pings = beside.ping.tally;
    let mut figures = window.figures(&pings);
    figures.set_latency("ping_alone", &alone.tally.latency_ns);
    figures.set_latency("ping_beside", &pings.latency_ns);
    let p99_us = |tally: &Tally| tally.latency_ns.value_at_quantile(0.99) as f64 / 1e3;
    figures.set("ping_p99_delay_us", p99_us(&pings) - p99_us(&alone.tally));
    let total_ns = beside.total_ns.max(1) as f64;
    figures.set("snapshots", beside.whole as f64);
    figures.set("snapshot_ms", total_ns / 1e6 / beside.whole.max(1) as f64);
    figures.set("snapshot_mib_per_second", beside.bytes as f64 / f64::from(1 << 20) / (total_ns / 1e9));
    let title =
        format!("snapshot   {} keys, values of {} B, beside pings", options.keys, options.value_bytes);
    let checked = format!("{} snapshots had every key once with its value", beside.whole);
    Ok(Outcome { title, operation: "ping", figures, checked })
}

fn fill(fleet: &mut Fleet, map: &str, values: &Values, keys: u64, timeout_ns: u64) -> Result<(), Failure> {
    for first in (0..keys).step_by(FILL_OPS as usize) {
        let mut question = Fill { map, values, first, count: FILL_OPS.min(keys - first) };
        ask_each(fleet, PINGER..PINGER + 1, &mut question, timeout_ns)?;
    }
    Ok(())
}

struct Fill<'a> {
    map: &'a str,
    values: &'a Values,
    first: u64,
    count: u64,
}

impl Question for Fill<'_> {
    fn ask<'r>(&mut self, request: &'r mut Request, _: usize) -> &'r [u8] {
        let sets = (self.first..self.first + self.count).map(|key| Set {
            map: self.map,
            prefix: PREFIX,
            key,
            stamp: Stamp { writer: 0, sequence: key },
        });
        request.write(self.first, self.values, sets)
    }

    fn answer(&mut self, _: usize, message: &Message<'_>) -> Result<bool, Failure> {
        message.expect_ack(self.first, self.count)?;
        Ok(true)
    }
}

/// Pings on one connection, snapshots on the other.
struct Snapshots {
    ping: Ping,
    map: String,
    values: Values,
    request: Request,
    /// Keys the snapshot under way has brought.
    had: Vec<bool>,
    had_count: usize,
    next_id: u64,
    began_ns: u64,
    /// Whether a snapshot, or the answer to an unsubscribe, is under way.
    under_way: bool,
    stopping: bool,
    whole: u64,
    bytes: u64,
    total_ns: u64,
}

impl Snapshots {
    fn new(map: String, values: Values, keys: u64) -> Self {
        Self {
            ping: Ping::new(1),
            map,
            values,
            request: Request::default(),
            had: vec![false; keys as usize],
            had_count: 0,
            next_id: 0,
            began_ns: 0,
            under_way: false,
            stopping: false,
            whole: 0,
            bytes: 0,
            total_ns: 0,
        }
    }

    fn subscribe(&mut self, wire: &mut Wire<'_>) {
        self.had.fill(false);
        self.had_count = 0;
        self.next_id += 1;
        self.began_ns = now_ns();
        self.under_way = true;
        wire.text(SUBSCRIBER, self.request.subscribe(self.next_id, &self.map, b""));
    }

    fn chunk(&mut self, wire: &mut Wire<'_>, text: &[u8], message: &Message<'_>) -> Result<(), Failure> {
        if message.id != Some(self.next_id) {
            return Err(Failure::Wrong(format!(
                "a chunk of snapshot {:?}, not {}",
                message.id, self.next_id
            )));
        }
        self.bytes += text.len() as u64;
        message.each_entry(|entry| {
            let key = key_number(entry.key, PREFIX)?;
            let stamp = self.values.read(entry.value)?;
            let had = usize::try_from(key).ok().and_then(|key| self.had.get_mut(key));
            let Some(had) = had.filter(|_| stamp == (Stamp { writer: 0, sequence: key })) else {
                return Err(Failure::Wrong(format!("key {key} with the value {stamp:?}")));
            };
            if std::mem::replace(had, true) {
                return Err(Failure::Duplicated(format!("key {key} is twice in one snapshot")));
            }
            self.had_count += 1;
            Ok(())
        })?;
        if message.more {
            return Ok(());
        }
        if let Some(key) = self.had.iter().position(|had| !had) {
            let missing = self.had.len() - self.had_count;
            return Err(Failure::Lost(format!("{missing} keys are not in the snapshot, the first is {key}")));
        }
        self.whole += 1;
        self.total_ns += now_ns() - self.began_ns;
        self.next_id += 1;
        wire.text(SUBSCRIBER, self.request.unsubscribe(self.next_id, &self.map));
        Ok(())
    }
}

impl Handler for Snapshots {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        if from == PINGER {
            return self.ping.message(wire, from, text, now);
        }
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
    fn start(&mut self, wire: &mut Wire<'_>, now: u64) {
        self.ping.start(wire, now);
        self.subscribe(wire);
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.ping.stop();
    }

    fn is_quiet(&self) -> bool {
        self.ping.is_quiet() && !self.under_way
    }

    fn missing(&self) -> Failure {
        if !self.ping.is_quiet() {
            return self.ping.missing();
        }
        let (had, keys) = (self.had_count, self.had.len());
        Failure::Lost(format!("a snapshot stopped after {had} of {keys} keys"))
    }

    fn tally(&mut self) -> &mut Tally {
        self.ping.tally()
    }
}

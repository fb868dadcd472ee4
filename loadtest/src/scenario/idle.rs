//! `idle`: many connections that do nothing, or watch a map in which nothing happens. What one costs in the server's memory.
//!
//! Checked: at the end every connection still answers a ping.

use std::ops::Range;

use super::setup::{Question, SubscribeToEmpty, ask_each, rest_while};
use crate::ack::AckLevel;
use crate::bench::Bench;
use crate::clock::{NANOS_PER_SECOND, now_ns, seconds};
use crate::cpu::Subject;
use crate::dialect::{Codec, Dialect};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::report::figures::{Figures, Outcome};

#[derive(Clone, Debug, clap::Args)]
pub struct IdleOptions {
    /// Connections to open
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(2..))]
    pub connections: u32,
    /// Dialect of all connections
    #[arg(long, value_enum, default_value_t)]
    pub dialect: Dialect,
    /// Subscribe each connection to one map, the same for all
    #[arg(long)]
    pub subscribe: bool,
}

/// Connections opened first, so that what the server sets up once is not charged to the rest.
const FIRST: usize = 100;
/// How long the server is left alone before its memory is read, so that buffers in passing are gone.
const SETTLE_NS: u64 = NANOS_PER_SECOND / 2;

/// # Errors
/// When not all connections can be opened, or one is lost.
pub fn run(bench: &Bench, options: &IdleOptions) -> Result<Outcome, Failure> {
    let IdleOptions { dialect, subscribe, .. } = *options;
    let map = format!("idle-{}-{}", bench.run, dialect.letter());
    let enter = |fleet: &mut Fleet, range: Range<usize>| {
        let codec = Codec::new(dialect, AckLevel::default());
        let mut question = SubscribeToEmpty { codec, echo: false, map_of: &|_| map.as_str() };
        let range = if subscribe { range } else { 0..0 };
        ask_each(fleet, range, &mut question, bench.timing.timeout_ns)
    };
    let connections = options.connections as usize;
    let first = FIRST.min(connections / 2);
    let (mut fleet, range) = bench.open_in(dialect, first)?;
    enter(&mut fleet, range)?;
    rest(&mut fleet, SETTLE_NS)?;
    let before = resident(bench);
    let start = now_ns();
    let range = fleet.open(connections - first, dialect, bench.timing.timeout_ns)?;
    enter(&mut fleet, range)?;
    let opening_ns = now_ns() - start;
    rest(&mut fleet, bench.timing.window_ns.max(SETTLE_NS))?;
    let after = resident(bench);
    let mut question = StillThere { codec: Codec::new(dialect, AckLevel::default()) };
    ask_each(&mut fleet, 0..connections, &mut question, bench.timing.timeout_ns)?;
    fleet.close();

    let mut figures = Figures::default();
    figures.set("connections", connections as f64);
    figures.set("errors", 0.0);
    figures.set("opened_per_second", (connections - first) as f64 / seconds(opening_ns));
    if let Some((before, after)) = before.zip(after) {
        figures.set("server_rss_mib", after / f64::from(1 << 20));
        figures.set("server_bytes_per_connection", (after - before) / (connections - first) as f64);
    }
    let what = if subscribe { "subscribed connections" } else { "connections" };
    let title = format!("{}   {connections} {what}", dialect.title("idle"));
    let checked = "every connection still answered a ping at the end".to_owned();
    Ok(Outcome { title, operation: "connection", figures, checked })
}

fn resident(bench: &Bench) -> Option<f64> {
    bench.meter.subject.and_then(Subject::resident_bytes).map(|bytes| bytes as f64)
}

fn rest(fleet: &mut Fleet, ns: u64) -> Result<(), Failure> {
    let end = now_ns() + ns;
    rest_while(fleet, || now_ns() < end)
}

struct StillThere {
    codec: Codec,
}

impl Question for StillThere {
    fn ask(&mut self, index: usize) -> &[u8] {
        self.codec.ping(index as u64)
    }

    fn answer(&mut self, index: usize, message: &[u8]) -> Result<bool, Failure> {
        let message = self.codec.read(message)?;
        message.expect("pong")?;
        if self.codec.is_pong_of(&message, index as u64) {
            return Ok(true);
        }
        Err(Failure::Wrong(format!("connection {index} got the pong of {:?}", message.id)))
    }
}

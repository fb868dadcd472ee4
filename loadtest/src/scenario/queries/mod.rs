//! `queries`: many different live queries of one large map whose entries keep changing. What a change costs, and how long it takes
//! to the screens that show it; and how long the first result of a query takes, and what others wait for it.
//!
//! `table.rs` is what stands in the map and what each query must show of it, `screen.rs` one list as the server has told it,
//! `first.rs` the first results, `live.rs` the changes.
//!
//! Checked: each first result, and each list at the end, is exactly what the query shows of all that was written; no step puts an
//! entry anywhere but in its place.

mod first;
mod live;
mod screen;
mod table;

use clap::ValueEnum;

use super::pinger::Pinger;
use super::setup::ask_each;
use crate::bench::Bench;
use crate::clock::seconds;
use crate::failure::Failure;
use crate::polling;
use crate::report::figures::Outcome;
use first::First;
use live::Live;
use table::{Fill, Table};

#[derive(Clone, Debug, clap::Args)]
pub struct QueriesOptions {
    /// Entries of the map
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub entries: u32,
    /// Live queries, no two of which are alike
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub queries: u32,
    /// What tells them apart
    #[arg(long, value_enum, default_value_t)]
    pub by: By,
    /// Entries that each shows
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Connections that have the queries
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Changes a second
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// Changes of one message
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub batch: u32,
    /// Pings a second beside it, of a client with a thread of its own
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub ping_rate: u32,
    /// First results that are timed, one after the other, before there are live queries
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub firsts: u32,
}

/// What tells queries apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The value of a field: {"owner":"u7"}, the highest ranks first
    #[default]
    Owner,
    /// A range of numbers: {"rank":{"ge":500,"lt":600}}, in their order
    Range,
}

/// Queries that one connection may have.
const QUERIES_PER_CONNECTION_MAX: u32 = 256;

/// Two outcomes: the first results, and the changes.
///
/// # Errors
/// What went wrong on the wire, or was told wrong.
pub fn run(bench: &Bench, options: &QueriesOptions) -> Result<Vec<Outcome>, Failure> {
    if options.queries.div_ceil(options.connections) > QUERIES_PER_CONNECTION_MAX {
        return Err(Failure::Setup(format!(
            "a connection may have {QUERIES_PER_CONNECTION_MAX} queries; take more --connections"
        )));
    }
    // The pinger has the same core, and a thread that polls is preempted later than one that waits.
    polling::set(false);
    let mut table = Table::new(options, format!("queries-{}", bench.run));
    let (mut fleet, range) = bench.open(1 + options.connections as usize)?;
    for first in (0..options.entries).step_by(Fill::OPS as usize) {
        let mut fill = Fill::new(&mut table, first);
        ask_each(&mut fleet, range.start..range.start + 1, &mut fill, bench.timing.timeout_ns)?;
    }
    let firsts = run_firsts(bench, options, &mut fleet, &table)?;
    let mut live = Live::new(&mut table, options);
    live.subscribe(&mut fleet, bench.timing.timeout_ns)?;
    let pinger = Pinger::connect(bench, bench.timing, options.ping_rate)?;
    pinger.begin();
    let window = bench.measure(&mut fleet, &mut live)?;
    let pinged = pinger.finish()?;
    live.expect_right()?;
    fleet.close();

    let mut figures = window.figures(&live.tally);
    figures.set("load_cpu_percent", window.load_cpu_percent() + pinged.window.load_cpu_percent());
    figures.set_latency("everywhere", &live.shown_ns);
    figures.set_latency("late", &live.late_ns);
    figures.set_latency("ping_beside", &pinged.tally.latency_ns);
    figures.set("steps_per_second", live.timed_steps as f64 / seconds(window.ns));
    let QueriesOptions { entries, queries, limit, rate, .. } = options;
    let by = match options.by {
        By::Owner => "owner",
        By::Range => "range",
    };
    let title = format!(
        "queries   {queries} by {by}, {limit} of {entries} entries each, {rate} changes/s in messages of {}",
        options.batch
    );
    let checked =
        format!("each of {queries} lists ended as what its query shows; {} steps were right", live.steps);
    Ok(vec![firsts, Outcome { title, operation: "change", figures, checked }])
}

fn run_firsts(
    bench: &Bench,
    options: &QueriesOptions,
    fleet: &mut crate::fleet::Fleet,
    table: &Table,
) -> Result<Outcome, Failure> {
    let mut firsts = First::new(table, options.firsts);
    let pinger = Pinger::connect(bench, First::timing(bench.timing), options.ping_rate)?;
    pinger.begin();
    let opened = bench.meter.open_window();
    firsts.run(fleet, bench, || pinger.is_done())?;
    let window = opened.close(&bench.meter, firsts.tally.operations);
    let pinged = pinger.finish()?;
    let mut figures = window.figures(&firsts.tally);
    figures.set("load_cpu_percent", window.load_cpu_percent() + pinged.window.load_cpu_percent());
    figures.set_latency("ping_beside", &pinged.tally.latency_ns);
    let QueriesOptions { entries, limit, .. } = options;
    let title = format!("queries   first results, {limit} of {entries} entries, one query at a time");
    let checked = format!("{} results were what the query shows", firsts.tally.operations);
    Ok(Outcome { title, operation: "result", figures, checked })
}

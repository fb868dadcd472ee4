//! `presence`: members of rooms, each of whom has a new state once a second and is told of the others. What it costs to tell
//! one of another, beside a map with a key for each member.
//!
//! `named.rs` is a room that is told by name, `counted.rs` one that is too large for it, `burst.rs` one into which thousands
//! come in a second, and from which they are gone at once.

mod board;
mod burst;
mod counted;
mod medium;
mod named;
mod shape;

use clap::ValueEnum;

use super::pinger::{Pinged, Pinger};
use super::write::value_bytes;
use crate::bench::Bench;
use crate::clock::{now_ns, seconds};
use crate::drive::{Drive, Scenario};
use crate::failure::Failure;
use crate::fleet::{Fleet, Wire};
use crate::polling;
use crate::report::figures::{Figures, Outcome};
use crate::window::Window;
use counted::Counted;
use medium::Medium;
use named::Named;
use shape::Shape;

#[derive(Clone, Debug, clap::Args)]
pub struct PresenceOptions {
    /// Rooms
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub rooms: u32,
    /// Members of each room
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    pub members: u32,
    /// Make each connection a member of every room, so that there are as many connections as --members: a process may
    /// have only so many sockets
    #[arg(long)]
    pub everywhere: bool,
    /// How members are told of each other. The started server is told so with its --presence-full-max; one named by --url must
    /// have been
    #[arg(long, value_enum, default_value_t)]
    pub told: Told,
    /// States a second that each member sets
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    pub rate: f64,
    /// With --told count: of each room, those who go and come back, as many in a second, so that the count changes
    #[arg(long, default_value_t = 0)]
    pub churn: u32,
    /// Milliseconds between two times that a room is told of: the --presence-tick-ms of the started server, or of the one
    /// named by --url
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub tick_ms: u64,
    /// With --told names: without the same over maps
    #[arg(long)]
    pub alone: bool,
    /// Bytes of one state as JSON text
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub state_bytes: usize,
    /// Pings a second beside it, of a client with a thread of its own; 0: none, and the load polls
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub ping_rate: u32,
    /// Instead of all that: so many join one room within a second, and once all know how many they are, drop at once
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(2..),
        conflicts_with_all = ["rooms", "members", "everywhere", "told", "rate", "churn", "alone"])]
    pub join_burst: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Told {
    /// Each by its name and state, beside the same over maps
    #[default]
    Names,
    /// How many there are
    Count,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        _ => Err("a number of states a second, above 0".to_owned()),
    }
}

impl PresenceOptions {
    /// What a server of ours is told, so that rooms are told of as is wanted.
    pub fn server_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--presence-tick-ms".to_owned(), self.tick_ms.to_string()];
        let full_max = match self.told {
            Told::Names => self.members,
            Told::Count => 0,
        };
        if self.join_burst.is_none() {
            arguments.extend(["--presence-full-max".to_owned(), full_max.to_string()]);
        }
        arguments
    }
}

/// Rooms told by name have two outcomes, that of maps first; others one.
///
/// # Errors
/// What went wrong on the wire.
pub fn run(bench: &Bench, options: &PresenceOptions) -> Result<Vec<Outcome>, Failure> {
    if options.ping_rate > 0 {
        // The pinger has the same core, and a thread that polls is preempted later than one that waits.
        polling::set(false);
    }
    if let Some(members) = options.join_burst {
        return Ok(vec![burst::run(bench, options, members as usize)?]);
    }
    if options.told == Told::Count {
        return Ok(vec![run_counted(bench, options)?]);
    }
    if options.alone {
        return Ok(vec![run_named(bench, options, Medium::Presence)?]);
    }
    let media = [Medium::Map, Medium::Presence];
    let mut outcomes = bench.run_parts(&media, |&medium| run_named(bench, options, medium))?;
    let map = outcomes[0].figures.clone();
    outcomes[1].figures.set_ratios("map", &map);
    Ok(outcomes)
}

fn run_named(bench: &Bench, options: &PresenceOptions, medium: Medium) -> Result<Outcome, Failure> {
    let shape = Shape::new(options, &bench.run, medium);
    let (mut fleet, _) = bench.open(shape.connections())?;
    let mut named = Named::new(medium, shape, options.rate);
    enter(bench, &mut fleet, &mut named, |named, wire| named.enter_some(wire, now_ns()))?;
    let before = (named.messages, named.deliveries());
    let (window, pinged) = measure(bench, options, &mut fleet, &mut named)?;
    fleet.close();
    let mut figures = window.figures(&named.tally);
    set_pings(&mut figures, &window, pinged);
    figures.set_latency("everywhere", &named.everywhere_ns());
    figures.set_latency("late", &named.late_ns);
    let (messages, deliveries) = (named.messages - before.0, named.deliveries() - before.1);
    let each = deliveries as f64 / messages.max(1) as f64;
    figures.set("states_per_message", each);
    if let Some(us) = figures.number("server_cpu_us_per_operation") {
        figures.set("server_cpu_us_per_message", us * each);
    }
    figures.set("states_passed_over", named.passed_over() as f64);
    let PresenceOptions { rate, state_bytes, tick_ms, .. } = options;
    let (name, what) = match medium {
        Medium::Map => ("presence as maps", "a key of a map each".to_owned()),
        Medium::Presence => ("presence", format!("told by name each {tick_ms} ms")),
    };
    let title = format!("{name}   {}, {what}, {rate} states/s of {state_bytes} B of each", who(options));
    let checked =
        format!("all {deliveries} states came once and in order, and the last of everybody on every screen");
    Ok(Outcome { title, operation: "delivery", figures, checked })
}

fn run_counted(bench: &Bench, options: &PresenceOptions) -> Result<Outcome, Failure> {
    let shape = Shape::new(options, &bench.run, Medium::Presence);
    let (mut fleet, _) = bench.open(shape.connections())?;
    let mut counted = Counted::new(shape, options.rate, options.churn as usize);
    enter(bench, &mut fleet, &mut counted, |counted, wire| {
        counted.enter_some(wire);
        Ok(())
    })?;
    let before = counted.counts;
    let (window, pinged) = measure(bench, options, &mut fleet, &mut counted)?;
    fleet.close();
    let mut figures = window.figures(&counted.tally);
    set_pings(&mut figures, &window, pinged);
    figures.set("counts_told", (counted.counts - before) as f64);
    let PresenceOptions { rate, churn, state_bytes, .. } = options;
    let title = format!(
        "presence   {}, counted, {rate} states/s of {state_bytes} B of each, {churn} come or go each second",
        who(options)
    );
    let checked = "no count was one that never was, and everybody ended with the right one".to_owned();
    Ok(Outcome { title, operation: "update", figures, checked })
}

fn who(options: &PresenceOptions) -> String {
    let PresenceOptions { rooms, members, .. } = options;
    let connections = if options.everywhere { ", the same connections in all" } else { "" };
    match rooms {
        1 => format!("{members} in a room"),
        rooms => format!("{members} in each of {rooms} rooms{connections}"),
    }
}

/// Has everybody come in.
fn enter<S: Scenario>(
    bench: &Bench,
    fleet: &mut Fleet,
    scenario: &mut S,
    begin: impl FnOnce(&mut S, &mut Wire<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    begin(scenario, &mut fleet.wire())?;
    Drive::new(bench.timing.timeout_ns, bench.meter.progress).run_until_quiet(fleet, scenario)
}

/// Measures the load, with pings beside it if they are wanted.
fn measure<S: Scenario>(
    bench: &Bench,
    options: &PresenceOptions,
    fleet: &mut Fleet,
    scenario: &mut S,
) -> Result<(Window, Option<Pinged>), Failure> {
    let wanted = options.ping_rate > 0;
    let pinger = wanted.then(|| Pinger::connect(bench, bench.timing, options.ping_rate)).transpose()?;
    if let Some(pinger) = &pinger {
        pinger.begin();
    }
    let window = bench.measure(fleet, scenario)?;
    Ok((window, pinger.map(Pinger::finish).transpose()?))
}

fn set_pings(figures: &mut Figures, window: &Window, pinged: Option<Pinged>) {
    if let Some(pinged) = pinged {
        figures.set_latency("ping_beside", &pinged.tally.latency_ns);
        figures.set("load_cpu_percent", window.load_cpu_percent() + pinged.window.load_cpu_percent());
        figures.set("pings_per_second", pinged.window.operations as f64 / seconds(pinged.window.ns));
    }
}

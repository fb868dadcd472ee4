//! One call of the program: find or start the server, run the scenarios as often as asked, report.
//!
//! Invariant: whatever fails, the figures found so far are printed and written before the failure is returned.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ack::AckLevel;
use crate::args::{Arguments, FloorOptions, ScenarioChoice};
use crate::bench::Bench;
use crate::dialect::DialectOptions;
use crate::failure::Failure;
use crate::floor::{self, Shape};
use crate::report::figures::{Outcome, Summary};
use crate::report::file::{Machine, ReportFile};
use crate::report::page;
use crate::rig::{Rig, Run};
use crate::scenario::fanout::FanoutOptions;
use crate::scenario::ping::PingOptions;
use crate::scenario::write::WriteOptions;
use crate::scenario::{
    bigger, direct, fanout, idle, mixed, neighbours, peers, ping, presence, queries, redis, shared, snapshot,
    start, storm, storm_channels, write,
};
use crate::server::process::with_server_output;
use crate::server::warm_memory;
use crate::streams;

/// # Errors
/// The first failure of any run.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let neighbours = match &arguments.scenario {
        Some(ScenarioChoice::Neighbours(options)) => Some(options),
        _ => None,
    };
    if neighbours.is_some_and(|options| options.list) {
        return Ok(streams::print(&neighbours::list())?);
    }
    raise_open_files_limit();
    let rig = Rig::new(&arguments.options)?;
    let mut results = Vec::new();
    let ran = run_all(arguments, &rig, &mut results);
    let is_checked = neighbours.is_some_and(|options| options.check);
    let failure = ran.and_then(|()| if is_checked { neighbours::check(&results) } else { Ok(()) }).err();
    report(arguments, rig.core_count(), &results, failure.as_ref())?;
    failure.map_or(Ok(()), Err)
}

fn run_all(arguments: &Arguments, rig: &Rig<'_>, results: &mut Vec<Summary>) -> Result<(), Failure> {
    let choices = arguments.scenario.clone().map_or_else(canonical, |choice| vec![choice]);
    for (number, choice) in choices.iter().enumerate() {
        let mut rounds: Vec<Vec<Outcome>> = Vec::new();
        let mut failed = Ok(());
        for round in 0..arguments.options.duration.runs {
            let name = format!("{}-{number}-{round}", std::process::id());
            let run = Run { name, reversed: round % 2 == 1 };
            match run_choice(arguments, rig, choice, &run) {
                Ok(outcomes) => rounds.push(outcomes),
                Err(failure) => {
                    failed = Err(failure);
                    break;
                }
            }
        }
        // Every round has the same parts, each of them summed up by itself.
        let parts = rounds.first().map_or(0, Vec::len);
        for part in 0..parts {
            let runs: Vec<&Outcome> = rounds.iter().map(|outcomes| &outcomes[part]).collect();
            results.extend(Summary::of(&runs));
        }
        failed?;
    }
    Ok(())
}

fn run_choice(
    arguments: &Arguments,
    rig: &Rig<'_>,
    choice: &ScenarioChoice,
    run: &Run,
) -> Result<Vec<Outcome>, Failure> {
    match choice {
        ScenarioChoice::Neighbours(options) => neighbours::run(rig, options, run),
        ScenarioChoice::Start(options) => start::run(rig, options, run),
        ScenarioChoice::Redis(options) => redis::run(rig, options, run),
        ScenarioChoice::Direct(options) => direct::run(rig, options, run),
        ScenarioChoice::Peers(options) => peers::run(rig, options, run),
        ScenarioChoice::Floor(options) => {
            let bench = rig.bench(None, None, run)?;
            let core = bench.floor_core.unwrap_or(rig.server_core());
            floor::run(shape(options), core, bench.timing, bench.meter.progress).map(|outcome| vec![outcome])
        }
        _ => run_on_a_server(arguments, rig, choice, run),
    }
}

/// One run, on a server of its own unless one is named: it begins with nothing stored and nothing allocated.
fn run_on_a_server(
    arguments: &Arguments,
    rig: &Rig<'_>,
    choice: &ScenarioChoice,
    run: &Run,
) -> Result<Vec<Outcome>, Failure> {
    let warmed = arguments.options.server.warm_memory.map(warm_memory::warm).transpose()?;
    let data = rig.data_dir(choice.needs_disk())?;
    let disk = if choice.is_durable() { rig.probe_disk(data.as_ref())? } else { None };
    let started = (!rig.is_remote()).then(|| rig.start_server(data.as_ref(), &choice.server_arguments()));
    let mut server = started.transpose()?;
    let bench = rig.bench(server.as_ref(), disk, run)?;
    let mut outcomes =
        run_once(&bench, choice).map_err(|failure| with_server_output(failure, server.as_mut()))?;
    for outcome in &mut outcomes {
        if let Some(gb_per_second) = warmed {
            outcome.figures.set("warm_memory_gb_per_second", gb_per_second);
        }
    }
    Ok(outcomes)
}

fn run_once(bench: &Bench, choice: &ScenarioChoice) -> Result<Vec<Outcome>, Failure> {
    let outcome = match choice {
        ScenarioChoice::Write(options) => return write::run(bench, options),
        ScenarioChoice::Ping(options) => ping::run(bench, options),
        ScenarioChoice::Fanout(options) => return fanout::run(bench, options),
        ScenarioChoice::Shared(options) => return shared::run(bench, options),
        ScenarioChoice::Presence(options) => return presence::run(bench, options),
        ScenarioChoice::Queries(options) => return queries::run(bench, options),
        ScenarioChoice::Mixed(options) => mixed::run(bench, options),
        ScenarioChoice::Idle(options) => idle::run(bench, options),
        ScenarioChoice::Storm(options) if options.channels => storm_channels::run(bench, options),
        ScenarioChoice::Storm(options) => storm::run(bench, options),
        ScenarioChoice::Snapshot(options) => snapshot::run(bench, options),
        ScenarioChoice::Bigger(options) => bigger::run(bench, options),
        ScenarioChoice::Neighbours(_)
        | ScenarioChoice::Start(_)
        | ScenarioChoice::Redis(_)
        | ScenarioChoice::Direct(_)
        | ScenarioChoice::Peers(_)
        | ScenarioChoice::Floor(_) => {
            return Ok(Vec::new());
        }
    };
    outcome.map(|outcome| vec![outcome])
}

/// What runs without arguments: the loads whose figures the project promises.
fn canonical() -> Vec<ScenarioChoice> {
    let fanout = |window| {
        ScenarioChoice::Fanout(FanoutOptions {
            publishers: 1,
            subscribers: 1000,
            window,
            value_bytes: 100,
            ack: AckLevel::Memory,
            dialects: DialectOptions::native(),
            any_order: false,
        })
    };
    vec![
        ScenarioChoice::Ping(PingOptions { connections: 1 }),
        ScenarioChoice::Write(WriteOptions {
            connections: 200,
            batch: 10,
            value_bytes: 100,
            ack: vec![AckLevel::Memory],
            dialects: DialectOptions::native(),
            rate: None,
        }),
        fanout(1),
        fanout(16),
    ]
}

fn shape(options: &FloorOptions) -> Shape {
    let (request_bytes, reply_bytes) = (options.request_bytes as usize, options.reply_bytes as usize);
    if options.subscribers == 0 {
        return Shape::Echo {
            connections: options.connections as usize,
            request_bytes,
            reply_bytes,
            operations: 1,
        };
    }
    Shape::Fanout {
        publishers: options.connections as usize,
        subscribers: options.subscribers as usize,
        window: options.window,
        publish_bytes: request_bytes,
        ack_bytes: reply_bytes,
        delivery_bytes: options.delivery_bytes as usize,
    }
}

fn report(
    arguments: &Arguments,
    cores: usize,
    results: &[Summary],
    failure: Option<&Failure>,
) -> Result<(), Failure> {
    let machine = Machine::this(cores);
    streams::print(&page::render(&machine, results))?;
    let Some(path) = &arguments.options.report.json else { return Ok(()) };
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let failure = failure.map(ToString::to_string);
    ReportFile { machine, command, results, failure }.write(path)
}

/// Thousands of connections need thousands of descriptors; the hard limit is ours to use.
fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

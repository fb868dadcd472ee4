//! One call of the program: find or start the server, run the scenarios as often as asked, report.
//!
//! Invariant: whatever fails, the figures found so far are printed and written before the failure is returned.

use std::io::IsTerminal;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::args::{Arguments, FloorOptions, ScenarioChoice};
use crate::clock::{NANOS_PER_SECOND, allowed_cores, pin_to_core, pin_to_cores};
use crate::cpu::Subject;
use crate::drive::Timing;
use crate::failure::Failure;
use crate::fleet::Target;
use crate::floor::{self, Shape};
use crate::polling;
use crate::report::figures::{Outcome, Summary};
use crate::report::file::{Machine, ReportFile};
use crate::report::page;
use crate::scenario::fanout::FanoutOptions;
use crate::scenario::ping::PingOptions;
use crate::scenario::write::WriteOptions;
use crate::scenario::{Bench, fanout, idle, mixed, ping, snapshot, storm, write};
use crate::server::process::{Launch, ServerProcess};
use crate::server::{locate, warm_memory};
use crate::window::Meter;

/// # Errors
/// The first failure of any run.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    raise_open_files_limit();
    let cores = allowed_cores();
    pin_load(arguments, &cores)?;
    let mut results = Vec::new();
    let failure = run_all(arguments, &cores, &mut results).err();
    report(arguments, &cores, &results, failure.as_ref())?;
    failure.map_or(Ok(()), Err)
}

fn run_all(arguments: &Arguments, cores: &[usize], results: &mut Vec<Summary>) -> Result<(), Failure> {
    let choices = arguments.scenario.clone().map_or_else(canonical, |choice| vec![choice]);
    for (number, choice) in choices.iter().enumerate() {
        let mut outcomes = Vec::new();
        let mut failed = Ok(());
        for round in 0..arguments.duration.runs {
            let run = format!("{}-{number}-{round}", std::process::id());
            match run_on_a_server(arguments, choice, cores, run) {
                Ok(outcome) => outcomes.push(outcome),
                Err(failure) => {
                    failed = Err(failure);
                    break;
                }
            }
        }
        results.extend(Summary::of(&outcomes));
        failed?;
    }
    Ok(())
}

/// One run, on a server of its own unless one is named: it begins with nothing stored and nothing allocated.
fn run_on_a_server(
    arguments: &Arguments,
    choice: &ScenarioChoice,
    cores: &[usize],
    run: String,
) -> Result<Outcome, Failure> {
    let warmed = arguments.server.warm_memory.map(warm_memory::warm).transpose()?;
    let mut server = start_server(arguments, cores)?;
    let bench = bench(arguments, server.as_ref(), cores, run)?;
    let mut outcome =
        run_once(&bench, choice, cores).map_err(|failure| with_server_output(failure, server.as_mut()))?;
    if let Some(gb_per_second) = warmed {
        outcome.figures.set("warm_memory_gb_per_second", gb_per_second);
    }
    Ok(outcome)
}

fn run_once(bench: &Bench, choice: &ScenarioChoice, cores: &[usize]) -> Result<Outcome, Failure> {
    match choice {
        ScenarioChoice::Ping(options) => ping::run(bench, options),
        ScenarioChoice::Write(options) => write::run(bench, options),
        ScenarioChoice::Fanout(options) => fanout::run(bench, options),
        ScenarioChoice::Mixed(options) => mixed::run(bench, options),
        ScenarioChoice::Idle(options) => idle::run(bench, options),
        ScenarioChoice::Storm(options) => storm::run(bench, options),
        ScenarioChoice::Snapshot(options) => snapshot::run(bench, options),
        ScenarioChoice::Floor(options) => {
            let core = bench.floor_core.or(cores.first().copied()).unwrap_or(0);
            floor::run(shape(options), core, bench.timing, bench.meter.progress)
        }
    }
}

/// What runs without arguments: the loads whose figures the project promises.
fn canonical() -> Vec<ScenarioChoice> {
    let fanout = |window| {
        let options =
            FanoutOptions { publishers: 1, subscribers: 1000, window, value_bytes: 100, any_order: false };
        ScenarioChoice::Fanout(options)
    };
    vec![
        ScenarioChoice::Ping(PingOptions { connections: 1 }),
        ScenarioChoice::Write(WriteOptions { connections: 200, batch: 10, value_bytes: 100, rate: None }),
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

fn start_server(arguments: &Arguments, cores: &[usize]) -> Result<Option<ServerProcess>, Failure> {
    let needless = matches!(arguments.scenario, Some(ScenarioChoice::Floor(_)));
    if arguments.server.url.is_some() || needless {
        return Ok(None);
    }
    let launch = Launch {
        binary: arguments.server.server_bin.as_deref(),
        arguments: &arguments.server.server_args,
        core: arguments.cores.server_core.or(cores.first().copied()).unwrap_or(0),
    };
    // The server must not inherit the core of the load.
    pin_to_cores(cores)?;
    let server = ServerProcess::start(&launch)?;
    pin_load(arguments, cores)?;
    Ok(Some(server))
}

fn load_core(arguments: &Arguments, cores: &[usize]) -> usize {
    arguments.cores.load_core.or(cores.last().copied()).unwrap_or(0)
}

fn pin_load(arguments: &Arguments, cores: &[usize]) -> Result<(), Failure> {
    let core = load_core(arguments, cores);
    pin_to_core(core).map_err(|error| Failure::Setup(format!("cannot pin the load to core {core}: {error}")))
}

fn bench(
    arguments: &Arguments,
    server: Option<&ServerProcess>,
    cores: &[usize],
    run: String,
) -> Result<Bench, Failure> {
    let target = match (&arguments.server.url, server) {
        (Some(url), _) => Target::parse(url)?,
        (None, Some(server)) => Target::loopback(server.address),
        (None, None) => Target::loopback(([127, 0, 0, 1], 0).into()),
    };
    let pid = match (arguments.server.server_pid, server) {
        (Some(pid), _) => Some(pid),
        (None, Some(server)) => Some(server.pid()),
        (None, None) => locate::listener_pid(target.address),
    };
    let pinned = pid.map(locate::pinned_cores).unwrap_or_default();
    let floor_core = arguments.cores.server_core.or(pinned.first().copied()).or(cores.first().copied());
    // A load that polls takes its whole core, so only where no part of the server runs there.
    let shares_core = pinned.is_empty() || pinned.contains(&load_core(arguments, cores));
    polling::set(!arguments.cores.load_sleeps && !shares_core);
    let nanos = |seconds: f64| (seconds * NANOS_PER_SECOND as f64) as u64;
    let duration = &arguments.duration;
    Ok(Bench {
        meter: Meter {
            subject: pid.map(Subject::Process),
            metrics: Some(target.clone()),
            progress: arguments.report.progress || std::io::stderr().is_terminal(),
        },
        target,
        timing: Timing {
            warmup_ns: nanos(duration.warmup),
            window_ns: nanos(duration.seconds),
            timeout_ns: nanos(duration.timeout),
        },
        floor_core: floor_core.filter(|_| !arguments.cores.no_floor),
        run,
    })
}

fn report(
    arguments: &Arguments,
    cores: &[usize],
    results: &[Summary],
    failure: Option<&Failure>,
) -> Result<(), Failure> {
    let machine = Machine::this(cores.len());
    print!("{}", page::render(&machine, results));
    let Some(path) = &arguments.report.json else { return Ok(()) };
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let failure = failure.map(ToString::to_string);
    ReportFile { machine, command, results, failure }.write(path)
}

/// A server of ours may have said why it failed.
fn with_server_output(failure: Failure, server: Option<&mut ServerProcess>) -> Failure {
    let output = server.map(ServerProcess::last_output).unwrap_or_default();
    if !output.is_empty() {
        eprintln!("\nthe server's last words:\n{output}");
    }
    failure
}

/// Thousands of connections need thousands of descriptors; the hard limit is ours to use.
fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

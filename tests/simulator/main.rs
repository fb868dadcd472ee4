//! The simulator: the whole server but its sockets, driven by a seed.
//!
//! Goal: whatever the order of events, what clients were promised holds. Method: shards are driven through
//! the same events as by `src/io/driver.rs`, over a network, a kernel, a clock and clients made of chance;
//! every answer is checked when it comes, and everything at the end, when all has healed.
//!
//! ```text
//! cargo test --test simulator                      200 seeds; ANNULUS_SEEDS=<n> for more
//! cargo test --test simulator -- --seeds 5000      the same
//! cargo test --test simulator -- --seed 17 -v      one seed, with its fingerprint; or ANNULUS_SEED=17
//! ```

#![allow(clippy::disallowed_types, reason = "a disk may be used by many threads, so this one could be")]

mod application;
mod backup;
mod calm;
mod clear;
mod client;
mod desk;
mod disk;
mod frames;
mod hiding;
mod letters;
mod link;
#[path = "../naive_query/mod.rs"]
mod naive_query;
mod node;
mod oracle;
mod process;
mod random;
mod replica;
mod rest;
mod revoked;
mod scenario;
mod service;
mod talk;
mod trace;
mod types;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use world::World;

const SEEDS_DEFAULT: u64 = 200;
/// Seeds that are run twice, to see that a seed says everything.
const SEEDS_TWICE: u64 = 5;

/// What one run came to.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    fingerprint: u64,
    acked: u64,
    ambiguous: u64,
    turns: u64,
    conflations: u64,
    stalls: u64,
    resets: u64,
    clears: u64,
    /// Clears that the end of the process cut short.
    cut_short: u64,
    /// Times that a server started on a backup.
    restored: u64,
    divided: u64,
    slow_consumers: u64,
    evictions: u64,
    /// The most that one turn did, in units of work.
    work_max: u64,
    acked_durable: u64,
    acked_synckit: u64,
    /// Direct messages that have come.
    letters: u64,
    disk: disk::Counts,
    storage: service::Counts,
    desk: desk::Counts,
    application: application::Counts,
    talk: talk::Counts,
}

impl Outcome {
    fn add(&mut self, other: &Self) {
        self.fingerprint ^= other.fingerprint;
        self.acked += other.acked;
        self.ambiguous += other.ambiguous;
        self.turns += other.turns;
        self.conflations += other.conflations;
        self.stalls += other.stalls;
        self.resets += other.resets;
        self.clears += other.clears;
        self.cut_short += other.cut_short;
        self.restored += other.restored;
        self.divided += other.divided;
        self.slow_consumers += other.slow_consumers;
        self.evictions += other.evictions;
        self.work_max = self.work_max.max(other.work_max);
        self.acked_durable += other.acked_durable;
        self.acked_synckit += other.acked_synckit;
        self.letters += other.letters;
        self.disk.add(&other.disk);
        self.storage.add(&other.storage);
        self.desk.add(&other.desk);
        self.application.add(&other.application);
        self.talk.add(&other.talk);
    }
}

fn main() -> ExitCode {
    let options = Options::read();
    if options.lists {
        println!("simulator: test");
        return ExitCode::SUCCESS;
    }
    let seeds = match options.seed {
        Some(seed) => seed..seed + 1,
        None => options.first..options.first + options.seeds,
    };
    println!("\nrunning {} seeds", seeds.end - seeds.start);
    let (mut passed, mut failed, mut sum) = (0_u64, Vec::new(), Outcome::default());
    for seed in seeds {
        let result = catch_unwind(AssertUnwindSafe(|| {
            let outcome = run(seed);
            if seed < SEEDS_TWICE || options.is_verbose {
                assert_eq!(outcome, run(seed), "the same seed took another course");
            }
            outcome
        }));
        match result {
            Ok(outcome) => {
                sum.add(&outcome);
                if options.is_verbose {
                    println!("seed {seed}: {outcome:?}");
                }
            }
            Err(_) => {
                eprintln!("seed {seed} failed; again: ANNULUS_SEED={seed} cargo test --test simulator\n");
                failed.push(seed);
                continue;
            }
        }
        passed += 1;
    }
    // A run in which nothing went wrong has shown nothing.
    println!("in all: {sum:?}");
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {} failed {failed:?}\n", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One whole life of a server.
fn run(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    for _ in 0..world.random.between(1, 4) {
        world.storm();
        if world.random.per_mille(500) {
            world.restore();
        }
        world.heal();
        if world.random.per_mille(200) {
            world.clear();
        }
        if world.random.per_mille(250) {
            world.take_backup();
        }
    }
    world.expire();
    world.check_promises();
    world.check_same_standing();
    if world.scenario.storage.is_some() {
        world.check_restart();
    }
    world.check_hiding();
    world.check_each_change_is_heard_once();
    world.check_promises();
    if world.random.per_mille(500) {
        world.disconnect_all();
    }
    world.drain_all();
    let mut outcome = Outcome {
        fingerprint: world.trace.value(),
        acked: world.oracle.acked,
        ambiguous: world.oracle.ambiguous,
        turns: 0,
        conflations: 0,
        stalls: 0,
        resets: 0,
        clears: world.clears,
        cut_short: world.cut_short,
        restored: world.restored,
        divided: 0,
        slow_consumers: 0,
        evictions: 0,
        work_max: world.nodes.iter().map(|node| node.work_max).max().unwrap_or(0),
        acked_durable: world.oracle.acked_durable,
        acked_synckit: world.oracle.acked_synckit,
        letters: world.oracle.letters.arrived,
        disk: world.disk.counts(),
        storage: world.service.as_ref().map(|service| service.counts).unwrap_or_default(),
        desk: world.desk.as_ref().map(|desk| desk.counts).unwrap_or_default(),
        application: world.application.as_ref().map(|found| found.counts).unwrap_or_default(),
        talk: world.oracle.talk.counts,
    };
    let metrics = world.nodes.iter().map(|node| node.shard.metrics_now());
    for metrics in metrics.chain([world.retired]) {
        outcome.turns += metrics.turns;
        outcome.conflations += metrics.conflations;
        outcome.stalls += metrics.mesh_stalls;
        outcome.resets += metrics.resets;
        outcome.divided += metrics.writes_divided;
        outcome.slow_consumers += metrics.slow_consumers;
        outcome.evictions += metrics.evictions;
    }
    outcome
}

/// What the command line and the environment ask for.
struct Options {
    seed: Option<u64>,
    first: u64,
    seeds: u64,
    is_verbose: bool,
    /// `--list`, as tools that look for tests ask.
    lists: bool,
}

impl Options {
    fn read() -> Self {
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let variable = |name: &str| number(std::env::var(name).ok());
        let mut options = Self {
            seed: variable("ANNULUS_SEED"),
            first: 0,
            seeds: variable("ANNULUS_SEEDS").unwrap_or(SEEDS_DEFAULT),
            is_verbose: false,
            lists: false,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match &argument[..] {
                "--seed" => options.seed = number(arguments.next()),
                "--seeds" => options.seeds = number(arguments.next()).unwrap_or(SEEDS_DEFAULT),
                "--from" => options.first = number(arguments.next()).unwrap_or(0),
                "-v" | "--verbose" => options.is_verbose = true,
                "--list" => options.lists = true,
                "--test-threads" | "--skip" | "--format" | "--color" => drop(arguments.next()),
                // A name of tests to run, which may not mean this one.
                name if !name.starts_with('-') && !"simulator".contains(name) => options.seeds = 0,
                // Other arguments of the usual harness, such as `--nocapture`.
                _ => {}
            }
        }
        options
    }
}

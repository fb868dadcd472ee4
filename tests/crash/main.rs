//! The crash loop: `kill -9` at any moment loses no write that was acknowledged as durable.
//!
//! Goal: what issue 3 promises of the real server on a real disk. Method: a *life* is one data directory. In each
//! of its rounds the built command is started on it, everything promised so far is compared with what is there,
//! cursors from before are resumed, several connections write (small segments, checkpoints all the time, far more
//! data than memory), and at a random moment the process is killed. What a killed process has written, the kernel keeps: then
//! there are rounds on a file system of their own that loses its power at that moment (`power.rs`).
//!
//! ```text
//! cargo test --test crash                            100 rounds
//! cargo test --test crash -- --rounds 5000 --seed 7  more, and others
//! cargo test --test crash -- --rounds 0 --power-cuts 300   power cuts alone, which need root and loop devices
//! cargo test --test crash -- --every-flush           a recorded disk, behind each of its flushes (`flushes.rs`)
//! cargo test --test crash -- --memory                must fail: nothing is kept, and every ack is believed
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "a real server is waited for in real time")]
#![allow(clippy::disallowed_types, reason = "writers share what they were promised")]

mod client;
mod cuts;
mod flushes;
mod life;
mod log;
mod maps;
mod names;
mod notes;
mod op;
mod options;
mod power;
mod promises;
mod recorded;
mod server;
mod subscriber;
mod tally;
mod writer;

#[path = "../simulator/random.rs"]
#[allow(dead_code, reason = "shared with the simulator, which uses all of it")]
mod random;
#[path = "../simulator/replica.rs"]
#[allow(dead_code, reason = "shared with the simulator, which uses all of it")]
mod replica;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use life::{Life, World};
use options::Options;
use tally::Tally;

fn main() -> ExitCode {
    let options = Options::read();
    if options.lists {
        println!("crash: test");
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} rounds, seed {}", options.rounds, options.seed);
    let began = Instant::now();
    let run = Run { next_life: AtomicU64::new(0), failed: AtomicBool::new(false), tally: Mutex::default() };
    thread::scope(|scope| {
        for _ in 0..options.lanes {
            scope.spawn(|| run.lane(&options, began));
        }
    });
    let tally = run.tally.into_inner().unwrap();
    if tally.rounds > 0 {
        println!("{tally}");
    }
    let mut failed = u64::from(run.failed.into_inner());
    if failed == 0 && !(cuts::run(&options) && flushes::run(&options)) {
        failed = 1;
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let passed =
        u64::from(failed == 0 && (options.rounds + options.power_cuts > 0 || options.every_flush.is_some()));
    let seconds = began.elapsed().as_secs();
    println!(
        "test result: {verdict}. {passed} passed; {failed} failed; {} rounds in {seconds} s\n",
        tally.rounds
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the lanes share.
struct Run {
    next_life: AtomicU64,
    failed: AtomicBool,
    tally: Mutex<Tally>,
}

impl Run {
    /// One life after the other, until enough rounds are done or one has failed.
    fn lane(&self, options: &Options, began: Instant) {
        while !self.failed.load(Ordering::Relaxed) {
            let life = self.next_life.fetch_add(1, Ordering::Relaxed);
            let rounds = options.rounds.saturating_sub(life * Life::ROUNDS).min(Life::ROUNDS);
            if rounds == 0 {
                return;
            }
            let seed = options.seed + life;
            let world = if options.is_memory { World::Memory } else { World::Kills };
            let mut life = Life::new(seed, world);
            let end = catch_unwind(AssertUnwindSafe(|| {
                for round in 0..rounds {
                    life.round();
                    if round + 1 == rounds {
                        life.end();
                    }
                    let mut tally = self.tally.lock().unwrap();
                    tally.add(&life.take_tally());
                    if options.is_verbose || tally.rounds.is_multiple_of(10) {
                        println!("{:4} s  {}", began.elapsed().as_secs(), tally.line());
                    }
                    if self.failed.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }));
            if end.is_err() {
                self.failed.store(true, Ordering::Relaxed);
                eprintln!(
                    "\nthe life with seed {seed} failed; its directories and logs are in {}",
                    life.keep()
                );
                eprintln!("again: cargo test --test crash -- --seed {seed} --rounds {rounds} --lanes 1\n");
            }
        }
    }
}

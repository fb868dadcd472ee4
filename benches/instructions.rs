//! Runs each operation of `cases/` a fixed number of times, for callgrind to count its instructions.
//!
//! Not to be run by itself: `benches/instructions` builds it, runs it under valgrind and prints what came out.
//! The two meet in the names of two functions here: callgrind counts inside `measured`, and writes down what it
//! has counted when `report` is called.

mod cases;

use cases::{Case, Meter, measure_all};

/// What the server runs with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs before counting, until all buffers have their size, and counted runs.
const WARM_UP_RUNS: u64 = 100;
const STEADY_RUNS: u64 = 1000;
/// The same for cases whose runs are a thousand operations each.
const FRESH_WARM_UP_RUNS: u64 = 2;
const FRESH_RUNS: u64 = 4;

fn main() {
    measure_all(&mut Counter);
}

struct Counter;

impl Meter for Counter {
    fn steady(&mut self, case: Case, run: impl FnMut()) {
        let mut run = run;
        (0..WARM_UP_RUNS).for_each(|_| run());
        let runs = STEADY_RUNS / case.operations.min(STEADY_RUNS / 10);
        measured(|| (0..runs).for_each(|_| run()));
        report(case, runs);
    }

    fn fresh<State>(&mut self, case: Case, prepare: impl FnMut() -> State, run: impl FnMut(&mut State)) {
        let (mut prepare, mut run) = (prepare, run);
        (0..FRESH_WARM_UP_RUNS).for_each(|_| run(&mut prepare()));
        for _ in 0..FRESH_RUNS {
            let mut state = prepare();
            measured(|| run(&mut state));
        }
        report(case, FRESH_RUNS);
    }
}

#[inline(never)]
fn measured(work: impl FnOnce()) {
    work();
}

/// Says which case the instructions since the last report were for, and how many operations that were.
#[inline(never)]
fn report(case: Case, runs: u64) {
    println!("{}: {}\t{}", case.topic, case.name, runs * case.operations);
}

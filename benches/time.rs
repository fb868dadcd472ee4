//! How long each operation of `cases/` takes: `cargo bench --bench time`, or with a part of a name behind it,
//! such as `cargo bench --bench time -- merge`.
//!
//! The time printed is that of a run; `elem/s` counts operations. Run it on a quiet machine: what a change costs
//! shows sooner in instructions (`instructions`), which other processes do not disturb.

mod cases;

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};

use cases::{Case, Meter, measure_all};

/// What the server runs with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Shorter than the defaults of criterion, which are for operations that take longer than these.
const WARM_UP: Duration = Duration::from_millis(500);
const MEASUREMENT: Duration = Duration::from_secs(2);

fn main() {
    let mut criterion =
        Criterion::default().warm_up_time(WARM_UP).measurement_time(MEASUREMENT).configure_from_args();
    measure_all(&mut Stopwatch(&mut criterion));
    criterion.final_summary();
}

struct Stopwatch<'a>(&'a mut Criterion);

impl Meter for Stopwatch<'_> {
    fn steady(&mut self, case: Case, run: impl FnMut()) {
        let mut run = run;
        let mut group = self.0.benchmark_group(case.topic);
        group.throughput(Throughput::Elements(case.operations));
        group.bench_function(case.name, |bencher| bencher.iter(&mut run));
    }

    fn fresh<State>(&mut self, case: Case, prepare: impl FnMut() -> State, run: impl FnMut(&mut State)) {
        let (mut prepare, mut run) = (prepare, run);
        let mut group = self.0.benchmark_group(case.topic);
        group.throughput(Throughput::Elements(case.operations));
        group.bench_function(case.name, |bencher| {
            bencher.iter_batched_ref(&mut prepare, &mut run, BatchSize::SmallInput);
        });
    }
}

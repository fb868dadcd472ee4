//! Runs a scenario: warm up, measure a window, stop, wait until everything owed has come, check the rest.
//!
//! Invariant: no wait is without a deadline. While something is owed and nothing comes for
//! [`Timing::timeout_ns`], the scenario says what is missing and the run fails.

use std::time::Duration;

use crate::clock::{NANOS_PER_SECOND, now_ns, seconds, thread_cpu_ns};
use crate::cpu::{CpuTime, Subject};
use crate::failure::Failure;
use crate::fleet::{Fleet, Handler, Target, Wire};
use crate::report::figures::Figures;
use crate::server::metrics::{self, Sends};
use crate::tally::Tally;

/// The longest wait of one turn: how late a deadline or a progress line may be.
const TURN_NS: u64 = 50_000_000;
/// Closer than this to a due time the loop spins: a sleeping thread wakes up some 50 µs late.
const SPIN_NS: u64 = 150_000;

/// A load with a purpose, and the checks that go with it.
pub trait Scenario: Handler {
    /// Sends what starts the load.
    fn start(&mut self, wire: &mut Wire<'_>, now: u64);

    /// Does what is due, and says when to be called again.
    ///
    /// # Errors
    /// Whatever ends the run.
    fn tick(&mut self, _wire: &mut Wire<'_>, _now: u64) -> Result<Option<u64>, Failure> {
        Ok(None)
    }

    /// From here on nothing new is begun.
    fn stop(&mut self);

    /// Whether everything the server owes has come.
    fn is_quiet(&self) -> bool;

    /// What the server still owes, for the report of a run that waits in vain.
    fn missing(&self) -> Failure;

    /// Asks what proves, after the end, that nothing was lost or sent twice.
    fn ask_proof(&mut self, _wire: &mut Wire<'_>) {}

    fn tally(&mut self) -> &mut Tally;
}

#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub warmup_ns: u64,
    pub window_ns: u64,
    pub timeout_ns: u64,
}

/// Whose cost is measured along, and how.
#[derive(Clone)]
pub struct Meter {
    pub subject: Option<Subject>,
    /// Where `/metrics` may be.
    pub metrics: Option<Target>,
    pub progress: bool,
}

/// What the measured window brought.
pub struct Window {
    pub operations: u64,
    pub ns: u64,
    pub cpu: Option<CpuTime>,
    pub resident_bytes: Option<u64>,
    pub sends: Option<Sends>,
    pub load_cpu_ns: u64,
}

/// Runs `scenario` from its start to its proof.
///
/// # Errors
/// What the scenario found, or what is missing.
pub fn measure<S: Scenario>(
    fleet: &mut Fleet,
    scenario: &mut S,
    timing: Timing,
    meter: &Meter,
) -> Result<Window, Failure> {
    let mut drive = Drive::new(timing.timeout_ns, meter.progress);
    scenario.start(&mut fleet.wire(), now_ns());
    drive.run_for(fleet, scenario, timing.warmup_ns)?;
    let window = measure_window(&mut drive, fleet, scenario, timing.window_ns, meter)?;
    scenario.stop();
    drive.run_until_quiet(fleet, scenario)?;
    scenario.ask_proof(&mut fleet.wire());
    drive.run_until_quiet(fleet, scenario)?;
    Ok(window)
}

fn measure_window<S: Scenario>(
    drive: &mut Drive,
    fleet: &mut Fleet,
    scenario: &mut S,
    window_ns: u64,
    meter: &Meter,
) -> Result<Window, Failure> {
    // The scrapes are outside the window: they cost the server and hold up the load.
    let sends_before = meter.metrics.as_ref().and_then(metrics::scrape);
    let cpu_before = meter.subject.and_then(|subject| subject.cpu_time().ok());
    let (load_before, start) = (thread_cpu_ns(), now_ns());
    let operations_before = scenario.tally().operations;
    scenario.tally().open_window(start);
    drive.run_for(fleet, scenario, window_ns)?;
    scenario.tally().close_window();
    let ns = now_ns() - start;
    let load_cpu_ns = thread_cpu_ns() - load_before;
    let cpu_after = meter.subject.and_then(|subject| subject.cpu_time().ok());
    let operations = scenario.tally().operations - operations_before;
    let sends_after = meter.metrics.as_ref().and_then(metrics::scrape);
    if operations == 0 && !scenario.is_quiet() {
        return Err(scenario.missing());
    }
    Ok(Window {
        operations,
        ns,
        cpu: cpu_before.zip(cpu_after).map(|(before, after)| after.since(before)),
        resident_bytes: meter.subject.and_then(Subject::resident_bytes),
        sends: sends_before.zip(sends_after).map(|(before, after)| after.since(before)),
        load_cpu_ns,
    })
}

/// The loop, with its deadline and its progress line.
pub struct Drive {
    timeout_ns: u64,
    progress: bool,
    began_ns: u64,
    /// Operations when something last moved, and when that was.
    moved: (u64, u64),
    /// Operations and time of the last progress line.
    shown: (u64, u64),
}

impl Drive {
    pub fn new(timeout_ns: u64, progress: bool) -> Self {
        let now = now_ns();
        Self { timeout_ns, progress, began_ns: now, moved: (0, now), shown: (0, now) }
    }

    /// # Errors
    /// What the scenario found, or what is missing.
    pub fn run_for<S: Scenario>(
        &mut self,
        fleet: &mut Fleet,
        scenario: &mut S,
        ns: u64,
    ) -> Result<(), Failure> {
        let end = now_ns() + ns;
        loop {
            let now = now_ns();
            if now >= end {
                return Ok(());
            }
            self.turn(fleet, scenario, now, end - now)?;
        }
    }

    /// # Errors
    /// What the scenario found, or what is missing.
    pub fn run_until_quiet<S: Scenario>(
        &mut self,
        fleet: &mut Fleet,
        scenario: &mut S,
    ) -> Result<(), Failure> {
        self.moved.1 = now_ns();
        while !scenario.is_quiet() {
            self.turn(fleet, scenario, now_ns(), TURN_NS)?;
        }
        Ok(())
    }

    fn turn<S: Scenario>(
        &mut self,
        fleet: &mut Fleet,
        scenario: &mut S,
        now: u64,
        wait_ns_max: u64,
    ) -> Result<(), Failure> {
        let due = scenario.tick(&mut fleet.wire(), now)?;
        let until_due = due.map_or(u64::MAX, |due| due.saturating_sub(now));
        let wait_ns =
            if until_due < SPIN_NS { 0 } else { (until_due - SPIN_NS).min(wait_ns_max).min(TURN_NS) };
        fleet.turn(Duration::from_nanos(wait_ns), scenario)?;
        self.watch(scenario, now)
    }

    fn watch<S: Scenario>(&mut self, scenario: &mut S, now: u64) -> Result<(), Failure> {
        let operations = scenario.tally().operations;
        if operations != self.moved.0 || scenario.is_quiet() {
            self.moved = (operations, now);
        } else if now.saturating_sub(self.moved.1) > self.timeout_ns {
            return Err(scenario.missing());
        }
        if self.progress && now - self.shown.1 >= NANOS_PER_SECOND {
            let rate = (operations - self.shown.0) as f64 / seconds(now - self.shown.1);
            let elapsed = seconds(now - self.began_ns);
            eprint!("\r\x1b[K  {elapsed:>5.0} s  {operations:>12} operations  {rate:>10.0} a second");
            self.shown = (operations, now);
        }
        Ok(())
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        if self.progress {
            eprint!("\r\x1b[K");
        }
    }
}

impl Window {
    /// The figures every scenario has; `latency` in nanoseconds.
    pub fn figures(&self, tally: &Tally) -> Figures {
        let mut figures = Figures::default();
        let operations = self.operations as f64;
        figures.set("throughput_per_second", operations / seconds(self.ns));
        figures.set("operations", operations);
        figures.set("errors", 0.0);
        figures.set_latency("latency", &tally.latency_ns);
        figures.set("load_cpu_percent", 100.0 * self.load_cpu_ns as f64 / self.ns as f64);
        if let Some(bytes) = self.resident_bytes {
            figures.set("server_rss_mib", bytes as f64 / f64::from(1 << 20));
        }
        if let Some(sends) = self.sends.filter(|sends| sends.sends > 0.0) {
            figures.set("messages_per_send", sends.messages / sends.sends);
            figures.set("deliveries_per_send", sends.deliveries / sends.sends);
        }
        if let Some(cpu) = self.cpu.filter(|cpu| cpu.total_ns > 0 && self.operations > 0) {
            let total = cpu.total_ns as f64;
            figures.set("server_cpu_percent", 100.0 * total / self.ns as f64);
            figures.set("operations_per_cpu_second", operations / (total / 1e9));
            figures.set("server_cpu_us_per_operation", total / 1e3 / operations);
            figures.set("server_user_us_per_operation", cpu.user_ns as f64 / 1e3 / operations);
        }
        figures
    }
}

//! Runs a scenario: warm up, measure a window, stop, wait until everything owed has come, check the rest.
//!
//! Invariant: no wait is without a deadline. While something is owed and nothing comes for
//! [`Timing::timeout_ns`], the scenario says what is missing and the run fails.

use std::time::Duration;

use crate::clock::{NANOS_PER_SECOND, now_ns, seconds};
use crate::failure::Failure;
use crate::fleet::{Fleet, Handler, Wire};
use crate::streams;
use crate::tally::Tally;
use crate::window::{Meter, Window};

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
    let opened = meter.open_window();
    let operations_before = scenario.tally().operations;
    scenario.tally().open_window(now_ns());
    drive.run_for(fleet, scenario, window_ns)?;
    scenario.tally().close_window();
    let operations = scenario.tally().operations - operations_before;
    let window = opened.close(meter, operations);
    if operations == 0 && !scenario.is_quiet() {
        return Err(scenario.missing());
    }
    Ok(window)
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
            streams::say(&format!(
                "\r\x1b[K  {elapsed:>5.0} s  {operations:>12} operations  {rate:>10.0} a second"
            ));
            self.shown = (operations, now);
        }
        Ok(())
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        if self.progress {
            streams::say("\r\x1b[K");
        }
    }
}

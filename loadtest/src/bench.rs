//! What a scenario stands on: the server to load, how long, what to measure along, and what to compare with.

use std::ops::Range;

use crate::dialect::Dialect;
use crate::disk::probe::DiskProbe;
use crate::drive::{Scenario, Timing, measure};
use crate::failure::Failure;
use crate::fleet::{Fleet, Target};
use crate::floor::{self, Shape};
use crate::report::figures::{Figures, Outcome};
use crate::window::{Meter, Window};

/// What every scenario is given.
pub struct Bench {
    pub target: Target,
    pub timing: Timing,
    pub meter: Meter,
    /// Where the floor runs after each measured run; `None`: no floor.
    pub floor_core: Option<usize>,
    /// Part of each map's name, different in each run, so that every run starts with empty maps.
    pub run: String,
    /// Whether this run goes through its parts from the last to the first.
    pub reversed: bool,
    /// What the disk of the server takes; `None` where nothing durable is asked, or the disk is not known.
    pub disk: Option<DiskProbe>,
}

impl Bench {
    /// Opens connections that speak the native dialect.
    ///
    /// # Errors
    /// When they cannot be opened.
    pub fn open(&self, connections: usize) -> Result<(Fleet, Range<usize>), Failure> {
        self.open_in(Dialect::Native, connections)
    }

    /// # Errors
    /// When the connections cannot be opened.
    pub fn open_in(&self, dialect: Dialect, connections: usize) -> Result<(Fleet, Range<usize>), Failure> {
        let mut fleet = Fleet::new(&self.target)?;
        let range = fleet.open(connections, dialect, self.timing.timeout_ns)?;
        Ok((fleet, range))
    }

    /// # Errors
    /// What the scenario found.
    pub fn measure<S: Scenario>(&self, fleet: &mut Fleet, scenario: &mut S) -> Result<Window, Failure> {
        measure(fleet, scenario, self.timing, &self.meter)
    }

    /// Runs `run` once for each of `parts`, from the last to the first in every other round, so that none of them always
    /// has the emptier server. The outcomes come in the order of the parts.
    ///
    /// # Errors
    /// The first failure of any part.
    pub fn run_parts<T>(
        &self,
        parts: &[T],
        run: impl FnMut(&T) -> Result<Outcome, Failure>,
    ) -> Result<Vec<Outcome>, Failure> {
        if !self.reversed {
            return parts.iter().map(run).collect();
        }
        let mut outcomes: Vec<Outcome> = parts.iter().rev().map(run).collect::<Result<_, _>>()?;
        outcomes.reverse();
        Ok(outcomes)
    }

    /// Sets what the disk takes beside `figures`, if it was measured.
    pub fn compare_with_disk(&self, figures: &mut Figures) {
        if let Some(disk) = &self.disk {
            disk.compare(figures);
        }
    }

    /// Runs the floor of the same shape, if one is wanted, and sets its figures beside `figures`.
    ///
    /// # Errors
    /// When the floor fails, which is a fault of this program.
    pub fn compare_with_floor(&self, figures: &mut Figures, shape: Shape) -> Result<(), Failure> {
        if let Some(core) = self.floor_core {
            let outcome = floor::run(shape, core, self.timing, self.meter.progress)?;
            floor::compare(figures, &outcome.figures);
        }
        Ok(())
    }
}

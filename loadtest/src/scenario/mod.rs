//! The scenarios, one file each: what load it is, what is checked, what is measured.

pub mod fanout;
pub mod fanout_checks;
pub mod idle;
pub mod mixed;
pub mod ping;
pub mod pinger;
pub mod setup;
pub mod snapshot;
pub mod storm;
pub mod write;

use std::ops::Range;

use crate::drive::{Scenario, Timing, measure};
use crate::failure::Failure;
use crate::fleet::{Fleet, Target};
use crate::floor::{self, Shape};
use crate::report::figures::Figures;
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
}

impl Bench {
    /// # Errors
    /// When the connections cannot be opened.
    pub fn open(&self, connections: usize) -> Result<(Fleet, Range<usize>), Failure> {
        let mut fleet = Fleet::new(&self.target)?;
        let range = fleet.open(connections, self.timing.timeout_ns)?;
        Ok((fleet, range))
    }

    /// # Errors
    /// What the scenario found.
    pub fn measure<S: Scenario>(&self, fleet: &mut Fleet, scenario: &mut S) -> Result<Window, Failure> {
        measure(fleet, scenario, self.timing, &self.meter)
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

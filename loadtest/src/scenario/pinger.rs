//! Pings beside another load: a thread, a ring and a connection of their own, on the same core, so that a pong need
//! not wait until the other load has read what came before it.
//!
//! Invariant: the pinger preempts the other load where the kernel allows it; [`Pinger::priority`] says how far it does.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::ping::Ping;
use crate::bench::Bench;
use crate::dialect::Dialect;
use crate::drive::{Timing, measure};
use crate::failure::Failure;
use crate::fleet::{Fleet, Target};
use crate::priority::{self, Priority};
use crate::tally::Tally;
use crate::window::{Meter, Window};

/// A connection that is ready to ping.
pub struct Pinger {
    pub priority: Priority,
    begin: Sender<()>,
    handle: JoinHandle<Result<Pinged, Failure>>,
}

/// What the pings of one window brought.
pub struct Pinged {
    pub tally: Tally,
    pub window: Window,
}

impl Pinger {
    /// Opens its connection. The thread inherits the core of the caller. `timing`: of its warm-up and window.
    ///
    /// # Errors
    /// When the connection cannot be opened.
    pub fn connect(bench: &Bench, timing: Timing, rate: u32) -> Result<Self, Failure> {
        let (ready, started) = channel();
        let (begin, begun) = channel();
        let target = bench.target.clone();
        let handle = std::thread::Builder::new()
            .name("pinger".to_owned())
            .spawn(move || ping(&target, timing, rate, &ready, &begun))?;
        match started.recv() {
            Ok(priority) => Ok(Self { priority, begin, handle }),
            Err(_) => Err(joined(handle).err().unwrap_or_else(gone)),
        }
    }

    /// Starts the pings: warm-up and window.
    pub fn begin(&self) {
        // A thread that has ended says why when it is joined.
        let _ = self.begin.send(());
    }

    pub fn is_done(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits for the end of its window.
    ///
    /// # Errors
    /// What went wrong with a ping.
    pub fn finish(self) -> Result<Pinged, Failure> {
        joined(self.handle)
    }
}

fn ping(
    target: &Target,
    timing: Timing,
    rate: u32,
    ready: &Sender<Priority>,
    begun: &Receiver<()>,
) -> Result<Pinged, Failure> {
    let priority = priority::raise_own();
    let mut fleet = Fleet::new(target)?;
    fleet.open(1, Dialect::Native, timing.timeout_ns)?;
    let mut pings = Ping::paced(rate);
    // Whoever waits for neither has given the run up and looks at no result.
    if ready.send(priority).is_err() || begun.recv().is_err() {
        return Err(gone());
    }
    let window = measure(&mut fleet, &mut pings, timing, &Meter::of_the_load_only())?;
    fleet.close();
    if pings.tally.latency_ns.is_empty() {
        return Err(Failure::Timeout(
            "no ping was answered, or none could be sent, while it mattered".to_owned(),
        ));
    }
    Ok(Pinged { tally: pings.tally, window })
}

fn joined(handle: JoinHandle<Result<Pinged, Failure>>) -> Result<Pinged, Failure> {
    handle.join().unwrap_or_else(|_| Err(gone()))
}

fn gone() -> Failure {
    Failure::Setup("the pinging thread ended early".to_owned())
}

//! What a run has counted and timed.

use hdrhistogram::Histogram;

/// The longest latency that is told apart; the deadline of a run is below it.
const LATENCY_MAX_NS: u64 = 600_000_000_000;

pub struct Tally {
    /// Operations done since the run began.
    pub operations: u64,
    pub latency_ns: Histogram<u64>,
    /// When the measured window began; `None` outside it.
    window_start_ns: Option<u64>,
}

impl Tally {
    pub fn new() -> Self {
        Self { operations: 0, latency_ns: latencies(), window_start_ns: None }
    }

    /// An operation that began at `start_ns` is done. It is timed if it began inside the window, so that nothing
    /// that happened before counts against it.
    pub fn done(&mut self, start_ns: u64, now_ns: u64) {
        self.operations += 1;
        if self.is_timed(start_ns) {
            record(&mut self.latency_ns, start_ns, now_ns);
        }
    }

    /// Whether what began at `start_ns` counts, if it is done now.
    pub fn is_timed(&self, start_ns: u64) -> bool {
        self.window_start_ns.is_some_and(|window| start_ns >= window)
    }

    pub fn open_window(&mut self, now_ns: u64) {
        self.latency_ns.reset();
        self.window_start_ns = Some(now_ns);
    }

    pub fn close_window(&mut self) {
        self.window_start_ns = None;
    }
}

/// A histogram of nanoseconds.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("bounds and digits are valid")
}

pub fn record(latency_ns: &mut Histogram<u64>, start_ns: u64, now_ns: u64) {
    latency_ns.saturating_record(now_ns.saturating_sub(start_ns).max(1));
}

/// Bytes on the wire per unit, to give the floor the same to move.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    bytes: u64,
    units: u64,
}

impl Mean {
    pub fn add(&mut self, bytes: usize, units: u64) {
        self.bytes += bytes as u64;
        self.units += units;
    }

    /// The mean, rounded to whole bytes, at least 1.
    pub fn rounded(self) -> usize {
        ((self.bytes + self.units / 2) / self.units.max(1)).max(1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_began_inside_the_window_is_timed() {
        let mut tally = Tally::new();
        tally.done(0, 10);
        tally.open_window(100);
        tally.done(99, 5_000);
        tally.done(100, 200);
        tally.close_window();
        tally.done(150, 9_000);
        assert_eq!((tally.operations, tally.latency_ns.len(), tally.latency_ns.max()), (4, 1, 100));
    }
}

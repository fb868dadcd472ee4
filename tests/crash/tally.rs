//! What the rounds came to: a loop in which nothing was acknowledged, folded or evicted has shown nothing.

use std::fmt;

#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub rounds: u64,
    pub starts: u64,
    /// Ends by SIGKILL while clients wrote, by SIGKILL while the server started, and by SIGTERM.
    pub kills: u64,
    pub kills_at_start: u64,
    pub terms: u64,
    pub acked_durable: u64,
    pub acked_memory: u64,
    pub rejected: u64,
    /// Operations whose answer did not come.
    pub unanswered: u64,
    /// Cells compared with what was promised, and digests with those of another start.
    pub checked: u64,
    pub digests: u64,
    pub resumed: u64,
    pub evictions: u64,
    pub loads: u64,
    pub folds: u64,
    pub start_ms_max: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.starts += other.starts;
        self.kills += other.kills;
        self.kills_at_start += other.kills_at_start;
        self.terms += other.terms;
        self.acked_durable += other.acked_durable;
        self.acked_memory += other.acked_memory;
        self.rejected += other.rejected;
        self.unanswered += other.unanswered;
        self.checked += other.checked;
        self.digests += other.digests;
        self.resumed += other.resumed;
        self.evictions += other.evictions;
        self.loads += other.loads;
        self.folds += other.folds;
        self.start_ms_max = self.start_ms_max.max(other.start_ms_max);
    }

    /// Progress in one line.
    pub fn line(&self) -> String {
        format!(
            "{} rounds, {} ops acked durable, {} evictions, {} folds",
            self.rounds, self.acked_durable, self.evictions, self.folds
        )
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "ends        {} kills while clients wrote, {} while it started, {} orderly",
            self.kills, self.kills_at_start, self.terms
        )?;
        writeln!(f, "starts      {}, the slowest took {} ms", self.starts, self.start_ms_max)?;
        writeln!(
            f,
            "operations  {} acked durable, {} acked memory, {} rejected, {} never answered",
            self.acked_durable, self.acked_memory, self.rejected, self.unanswered
        )?;
        writeln!(
            f,
            "compared    {} cells, {} digests, {} resumed subscriptions",
            self.checked, self.digests, self.resumed
        )?;
        write!(f, "meanwhile   {} evictions, {} loads, {} folds", self.evictions, self.loads, self.folds)
    }
}

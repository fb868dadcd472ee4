//! What a turn has done, by kind of work, for the log of turns that took too long.
//!
//! Units are counted where work is done (`work.rs`); here they are noted between the steps of a turn. A shard reads no clock, so how long each
//! kind took is not known, only how much there was of it: where the units are few the time went elsewhere, as to another process on the core.

use std::fmt;

/// Milliseconds between two lines of one shard.
const TOLD_EVERY_MS: u64 = 1_000;

/// A step of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the storage, the desk and the application have said, and writes that were begun before.
    Carried,
    /// Connections that come and go, what they send, and what they have taken.
    Arrivals,
    /// What other shards have sent.
    Mesh,
    /// Timers, expiries, and ends of connections.
    Upkeep,
    /// Answers to whoever runs the server.
    Inspection,
    /// Messages that had waited for a turn.
    Waiting,
    /// Subscribers, watchers and members that are told what has changed, and snapshots.
    Telling,
    /// The way to the storage and to other shards.
    HandingOver,
}

impl Kind {
    const ALL: [(Self, &str); 8] = [
        (Self::Carried, "carried over"),
        (Self::Arrivals, "arrivals"),
        (Self::Mesh, "other shards"),
        (Self::Upkeep, "upkeep"),
        (Self::Inspection, "inspection"),
        (Self::Waiting, "waiting messages"),
        (Self::Telling, "telling"),
        (Self::HandingOver, "handing over"),
    ];
}

/// Units of work by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    units: [u64; Kind::ALL.len()],
    /// Of the turn so far, when that was last noted.
    noted: u64,
}

impl Kinds {
    pub fn begin(&mut self) {
        *self = Self::default();
    }

    /// Everything since it was last noted was of this kind; `work` is what the turn has done by now.
    pub const fn note(&mut self, kind: Kind, work: u64) {
        self.units[kind as usize] += work - self.noted;
        self.noted = work;
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} units of work", self.noted)?;
        let done = Kind::ALL.iter().filter(|(kind, _)| self.units[*kind as usize] > 0);
        for (number, (kind, name)) in done.enumerate() {
            let separator = if number == 0 { ": " } else { ", " };
            write!(out, "{separator}{name} {}", self.units[*kind as usize])?;
        }
        Ok(())
    }
}

/// When the last slow turn was told, and how many were not told since.
#[derive(Debug, Default)]
pub struct Told {
    at_ms: Option<u64>,
    untold: u64,
}

impl Told {
    /// Whether this one is told; how many before it were not.
    pub const fn next(&mut self, now_ms: u64) -> Option<u64> {
        if let Some(at_ms) = self.at_ms
            && now_ms < at_ms + TOLD_EVERY_MS
        {
            self.untold += 1;
            return None;
        }
        self.at_ms = Some(now_ms);
        let untold = self.untold;
        self.untold = 0;
        Some(untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_there_was_and_nothing_else() {
        let mut kinds = Kinds::default();
        kinds.begin();
        kinds.note(Kind::Arrivals, 500);
        kinds.note(Kind::Mesh, 500);
        kinds.note(Kind::Telling, 90_500);
        assert_eq!(kinds.to_string(), "90500 units of work: arrivals 500, telling 90000");
        kinds.begin();
        assert_eq!(kinds.to_string(), "0 units of work");
    }

    #[test]
    fn one_a_second_is_told_and_the_others_are_counted() {
        let mut told = Told::default();
        assert_eq!(
            [5_000, 5_500, 5_999, 6_000].map(|now_ms| told.next(now_ms)),
            [Some(0), None, None, Some(2)]
        );
    }
}

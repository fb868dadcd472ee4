//! What an owner keeps of a query: of its own entries that match, those that come first, and some more, so that one can take the
//! place of one that leaves.
//!
//! ```text
//!  rows, by their places    ● ● ● ● ● ● ● ○ ○ ○ ○ ○ │ · · · ·
//!                           └── shown ────┘         └ the bound: behind it there may be others, which nobody has kept
//! ```
//! A map is scanned for the first of them, and again when so many have left that the bound comes near. What is found meanwhile is
//! kept beside, and not shown before the scan is over: there may be others before it.
//!
//! Invariant: every entry that matches and whose place is not behind the bound is kept.

use super::rows::{Row, Rows};

/// How many more than are shown are kept at first: as many leave before the map is scanned again.
const SPARE_MIN: usize = 64;
/// Rows that are kept at most. Each scan keeps twice as many as the last, so that a list that is drained is scanned less and less.
const ROWS_MAX: usize = 64 << 10;

/// Up to where every entry that matches is kept.
#[derive(Debug)]
enum Bound {
    Nothing,
    Through(Row),
    Everything,
}

/// See the module.
#[derive(Debug)]
pub struct Kept {
    rows: Rows,
    bound: Bound,
    shown_max: usize,
    rows_max: usize,
    scan: Option<Scan>,
}

/// A scan that is under way.
#[derive(Debug, Default)]
struct Scan {
    /// What it has found from here on was more than is kept.
    cut: Option<Row>,
}

/// What is told of a change.
#[derive(Clone, Debug)]
pub enum Told {
    Put(Row),
    Out(Row),
}

/// What a change comes to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is told, in order.
    pub told: [Option<Told>; 2],
    /// Whether the new row is kept.
    pub is_kept: bool,
    /// A row that is kept no more, as there are too many.
    pub dropped: Option<Row>,
}

impl Kept {
    /// Nothing is known yet; `shown_max` entries are shown.
    pub fn new(shown_max: usize) -> Self {
        Self {
            rows: Rows::default(),
            bound: Bound::Nothing,
            shown_max,
            rows_max: shown_max + shown_max.max(SPARE_MIN),
            scan: None,
        }
    }

    pub const fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many are kept at most.
    pub const fn rows_max(&self) -> usize {
        self.rows_max
    }

    pub const fn is_scanning(&self) -> bool {
        self.scan.is_some()
    }

    /// How many are shown.
    pub fn shown(&self) -> usize {
        self.known().min(self.shown_max)
    }

    /// Those that are shown and behind this row, in order; `None`: all.
    pub fn shown_behind(&self, row: Option<&Row>) -> impl Iterator<Item = &Row> {
        let rank = row.map_or(0, |row| self.rows.count_through(row.place()));
        self.rows.from(rank).take(self.shown().saturating_sub(rank))
    }

    /// The last that is shown.
    pub fn last_shown(&self) -> Option<&Row> {
        self.rows.get(self.shown().checked_sub(1)?)
    }

    /// Whether there may be more to show than is known.
    pub fn is_lacking(&self) -> bool {
        !matches!(self.bound, Bound::Everything) && self.known() < self.shown_max
    }

    /// Whether it is time to scan the map, before anything is lacking.
    pub fn wants_scan(&self) -> bool {
        let spare = self.shown_max.max(SPARE_MIN) / 4;
        !self.is_scanning()
            && !matches!(self.bound, Bound::Everything)
            && self.known() < self.shown_max + spare
    }

    /// Whether a row that matches, and is not kept, must be: its place is one that is known, or that is being scanned.
    pub fn may_take(&self, place: &[u8]) -> bool {
        match (&self.scan, &self.bound) {
            (Some(scan), _) => scan.cut.as_ref().is_none_or(|cut| place < cut.place()),
            (None, Bound::Everything) => true,
            (None, Bound::Through(bound)) => place <= bound.place(),
            (None, Bound::Nothing) => false,
        }
    }

    /// Replaces a row by another of the same key, takes it out, or puts it in.
    pub fn replace(&mut self, old: Option<&Row>, new: Option<&Row>) -> Outcome {
        let new = new.filter(|new| self.may_take(new.place()));
        let shown_before = self.shown();
        let from = old.and_then(|old| self.rows.remove(old.place()));
        let mut to = new.map(|new| self.rows.insert(new.clone()));
        let dropped = (self.rows.len() > self.rows_max).then(|| self.drop_last()).flatten();
        if let (Some(dropped), Some(new)) = (&dropped, new)
            && dropped.place() == new.place()
        {
            to = None;
        }
        let shown_after = self.shown();
        let was_shown = from.is_some_and(|rank| rank < shown_before);
        let is_shown = to.is_some_and(|rank| rank < shown_after);
        let own = match (old, new) {
            (_, Some(new)) if is_shown => Some(Told::Put(new.clone())),
            (Some(old), _) if was_shown => Some(Told::Out(old.clone())),
            _ => None,
        };
        // Of the others the first are shown, before as after: one more or one less.
        let others_before = shown_before - usize::from(was_shown);
        let others_after = shown_after - usize::from(is_shown);
        let at = |other: usize| {
            let rank = other + usize::from(to.is_some_and(|to| to <= other));
            self.rows.get(rank).cloned()
        };
        let other = match others_before.cmp(&others_after) {
            std::cmp::Ordering::Less => at(others_before).map(Told::Put),
            std::cmp::Ordering::Greater => at(others_after).map(Told::Out),
            std::cmp::Ordering::Equal => None,
        };
        debug_assert!(others_before.abs_diff(others_after) <= 1);
        Outcome { told: [own, other], is_kept: to.is_some(), dropped }
    }

    pub fn begin_scan(&mut self) {
        if !matches!(self.bound, Bound::Nothing) {
            self.rows_max = (2 * self.rows_max).min(ROWS_MAX.max(self.rows_max));
        }
        self.scan = Some(Scan::default());
    }

    /// All of the map was looked at since the scan began. Calls `dropped` with rows that are kept no more.
    pub fn end_scan(&mut self, mut dropped: impl FnMut(Row)) {
        let Some(scan) = self.scan.take() else { return };
        let Some(cut) = scan.cut else {
            self.bound = Bound::Everything;
            return;
        };
        while let Some(last) = self.rows.last().filter(|last| last.place() >= cut.place()).cloned() {
            self.rows.remove(last.place());
            dropped(last);
        }
        self.bound = self.rows.last().cloned().map_or(Bound::Nothing, Bound::Through);
    }

    /// The map is empty, whatever it was: nothing is kept, and that is all there is.
    pub fn clear(&mut self) {
        (self.rows, self.bound, self.scan) = (Rows::default(), Bound::Everything, None);
    }

    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.from(0)
    }

    /// How many rows are known to be the first.
    fn known(&self) -> usize {
        match &self.bound {
            Bound::Nothing => 0,
            Bound::Through(bound) => self.rows.count_through(bound.place()),
            Bound::Everything => self.rows.len(),
        }
    }

    fn drop_last(&mut self) -> Option<Row> {
        let dropped = self.rows.pop()?;
        let is_known = match &self.bound {
            Bound::Nothing => false,
            Bound::Through(bound) => dropped.place() <= bound.place(),
            Bound::Everything => true,
        };
        if is_known {
            self.bound = self.rows.last().cloned().map_or(Bound::Nothing, Bound::Through);
        }
        if let Some(scan) = &mut self.scan {
            scan.cut = Some(dropped.clone());
        }
        Some(dropped)
    }
}

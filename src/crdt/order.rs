//! The applied order of a map's cells: what changed after a given tick, oldest first.
//!
//! It is an append-only log of `(applied, cell)`. A change appends one entry and leaves the cell's old one
//! where it is; an entry is *current* as long as its cell still has that `applied`, and stale ones are skipped.
//!
//! **Why not an intrusive list?** Moving a cell to the tail of a list writes to both its neighbours, which are
//! two cache misses for every write. And a list can only be resumed from a cell, which must then stay where
//! it is while somebody walks; a log is sorted by tick, so *a number* is enough to find the place again, by
//! binary search, after any changes, on another shard's word, or after a restart.
//!
//! (Tried and dropped: the latest ticks in a dense array beside the log, so that telling entries apart does not
//! touch the cells. Overwriting a million keys at random was no faster, and it costs 8 bytes a cell.)
//!
//! Invariant: entries are sorted by `applied`, and each cell has exactly one current entry. A sweep moves the
//! current entries down over the stale ones, [`SWEEP_STEPS`] for each push, so no write ever waits for a
//! compaction. While it is under way the log is two sorted runs with a gap:
//!
//! ```text
//! [0 .. kept) swept     [kept .. next) gap, meaningless     [next .. len) not yet swept
//! ```
//!
//! A sweep starts when half of the log is stale. At four steps a push it ends before the log is 2.7 times as
//! long as there are cells (plus [`SWEEP_SLACK`]): 2n entries and the p pushes since take (2n + p) / 4 = p.

use super::Time;
use super::cell::CellIndex;
use super::chunks::Chunks;

/// Entries looked at for each push while a sweep is under way.
const SWEEP_STEPS: usize = 4;
/// Stale entries that are not worth a sweep.
const SWEEP_SLACK: usize = 16;

/// Packed, as one in four bytes would be padding otherwise.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Entry {
    applied: Time,
    cell: CellIndex,
}

const _: () = assert!(size_of::<Entry>() == 12);

/// See the module. The cells are the map's; it lends their `applied` to whatever must tell current entries
/// from stale ones.
#[derive(Debug, Default)]
pub struct Order {
    log: Chunks<Entry, 10>,
    /// Current entries, which is the number of cells.
    current: usize,
    is_sweeping: bool,
    kept: usize,
    next: usize,
}

impl Order {
    /// Appends a cell that is new to the map.
    pub fn push_new(&mut self, applied: Time, cell: CellIndex, applied_of: impl Fn(CellIndex) -> Time) {
        self.current += 1;
        self.push(applied, cell, applied_of);
    }

    /// Appends a cell that has changed; its `applied` must say so already. `applied` is greater than all
    /// before it.
    pub fn push(&mut self, applied: Time, cell: CellIndex, applied_of: impl Fn(CellIndex) -> Time) {
        self.log.push(Entry { applied, cell });
        self.sweep(applied_of);
    }

    /// Takes note that a cell, applied then, has another place. O(log n).
    pub fn moved(&mut self, applied: Time, cell: CellIndex) {
        let at = self.first_after(applied.previous());
        self.log[at].cell = cell;
    }

    /// Takes note that a cell is gone; `applied_of` its place must say something else, so that its entry is stale.
    pub fn forget(&mut self, applied_of: impl Fn(CellIndex) -> Time) {
        self.current -= 1;
        self.sweep(applied_of);
    }

    /// The log after `position`, oldest first: every cell applied since then, once, and between them the stale entries,
    /// of which there are fewer than twice as many as cells, all of them in one place at worst. O(log n) to begin, O(1) a
    /// step; whoever walks counts the steps.
    pub fn since<F: Fn(CellIndex) -> Time>(&self, position: Time, applied_of: F) -> Walk<'_, F> {
        Walk { order: self, at: self.first_after(position), applied_of }
    }

    /// Bytes allocated.
    pub fn heap_bytes(&self) -> usize {
        self.log.heap_bytes()
    }

    /// Looks at a few entries: keeps the current ones, drops the stale ones.
    fn sweep(&mut self, applied_of: impl Fn(CellIndex) -> Time) {
        if !self.is_sweeping {
            if self.log.len() <= 2 * self.current + SWEEP_SLACK {
                return;
            }
            (self.is_sweeping, self.kept, self.next) = (true, 0, 0);
        }
        for _ in 0..SWEEP_STEPS {
            if self.next == self.log.len() {
                self.is_sweeping = false;
                self.log.truncate(self.kept);
                // Enough for the longest log a sweep can leave behind, so that a steady map allocates nothing.
                self.log.release_beyond(3 * self.current + 2 * SWEEP_SLACK);
                return;
            }
            let Entry { applied, cell } = self.log[self.next];
            self.next += 1;
            if applied_of(cell) == applied {
                self.log[self.kept] = Entry { applied, cell };
                self.kept += 1;
            }
        }
    }

    /// Where the first entry after `position` is, outside the gap; the end of the log if there is none.
    fn first_after(&self, position: Time) -> usize {
        if !self.is_sweeping {
            return self.partition(0, self.log.len(), position);
        }
        match self.partition(0, self.kept, position) {
            in_swept if in_swept < self.kept => in_swept,
            _ => self.partition(self.next, self.log.len(), position),
        }
    }

    /// The first index from `low` to `high` whose entry is after `position`, or `high`.
    fn partition(&self, mut low: usize, mut high: usize, position: Time) -> usize {
        while low < high {
            let middle = low.midpoint(high);
            let applied = self.log[middle].applied;
            if applied > position {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

/// One entry that a walk has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    pub applied: Time,
    /// `None`: the entry is stale.
    pub cell: Option<CellIndex>,
}

/// See [`Order::since`].
#[derive(Debug)]
pub struct Walk<'a, F> {
    order: &'a Order,
    at: usize,
    applied_of: F,
}

impl<F: Fn(CellIndex) -> Time> Iterator for Walk<'_, F> {
    type Item = Passed;

    fn next(&mut self) -> Option<Passed> {
        let order = self.order;
        if order.is_sweeping && (order.kept..order.next).contains(&self.at) {
            self.at = order.next;
        }
        if self.at >= order.log.len() {
            return None;
        }
        let Entry { applied, cell } = order.log[self.at];
        self.at += 1;
        let is_current = (self.applied_of)(cell) == applied;
        Some(Passed { applied, cell: is_current.then_some(cell) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An order beside the `applied` of its cells, as the map keeps them.
    struct Model {
        order: Order,
        applied: Vec<Time>,
        clock: Time,
    }

    impl Model {
        fn new() -> Self {
            Self { order: Order::default(), applied: Vec::new(), clock: Time::ZERO }
        }

        fn change(&mut self, cell: usize) {
            self.clock = self.clock.next();
            let index = CellIndex::from_usize(cell);
            if cell == self.applied.len() {
                self.applied.push(self.clock);
                self.order.push_new(self.clock, index, |index| self.applied[index.to_usize()]);
            } else {
                self.applied[cell] = self.clock;
                self.order.push(self.clock, index, |index| self.applied[index.to_usize()]);
            }
        }

        fn forget(&mut self, cell: usize) {
            self.applied[cell] = Time::ZERO;
            self.order.forget(|index| self.applied[index.to_usize()]);
        }

        fn since(&self, position: Time) -> Vec<Time> {
            let applied_of = |index: CellIndex| self.applied[index.to_usize()];
            let walk = self.order.since(position, applied_of);
            walk.filter(|passed| passed.cell.is_some()).map(|passed| passed.applied).collect()
        }

        fn expected(&self, position: Time) -> Vec<Time> {
            let mut applied: Vec<Time> = self.applied.iter().copied().filter(|&at| at > position).collect();
            applied.sort_unstable();
            applied
        }
    }

    #[test]
    fn every_position_sees_the_rest_at_every_step_of_a_sweep() {
        let mut model = Model::new();
        (0..20).for_each(|cell| model.change(cell));
        let mut sweeps = 0;
        for step in 0..400_usize {
            model.change(step * 7 % 13);
            sweeps += usize::from(model.order.is_sweeping && model.order.kept < model.order.next);
            for back in 0..80 {
                let position = Time::from_bits(model.clock.to_bits().saturating_sub(back));
                assert_eq!(model.since(position), model.expected(position), "step {step}, {back} back");
            }
        }
        assert!(sweeps > 50, "the walk was tried during a sweep");
    }

    #[test]
    fn the_log_stays_in_proportion_to_its_cells() {
        let mut model = Model::new();
        for cells in [1, 10, 1_000] {
            (model.applied.len()..cells).for_each(|cell| model.change(cell));
            for step in 0..10 * cells + 1_000 {
                model.change(step * 31 % cells);
                assert!(model.order.log.len() <= cells * 27 / 10 + 2 * SWEEP_SLACK, "{cells} cells");
            }
        }
        (1..1_000).for_each(|cell| model.forget(cell));
        (0..100).for_each(|_| model.change(0));
        assert_eq!(model.since(Time::ZERO), [model.clock]);
        assert!(model.order.log.len() <= 2 * SWEEP_SLACK + 4);
    }
}

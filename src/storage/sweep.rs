//! Forgetting what is in the base and nobody needs any more: a bounded walk over `cells`, which goes on where the
//! last one stopped.
//!
//! Invariant: what is forgotten and the `pruned through` that tells of it are in one transaction. What readers see
//! and the digests never change.

use std::collections::HashMap;
use std::sync::PoisonError;

use redb::ReadableTable;

use super::StorageError;
use super::base::{Base, CELLS, Writing, failed};
use super::database::again_if_refused;
use super::merging::RECORD_PAGES_BYTES;
use super::row::split_cell_key;
use super::stored::{StoredCell, glance, type_of};
use crate::crdt::Time;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Cells looked at.
    pub examined: u64,
    /// Cells that lost a removal or are gone.
    pub forgotten: u64,
    /// Images that are damaged; they are left as they are.
    pub damaged: u64,
    /// The walk has come to the end and will begin anew.
    pub is_complete: bool,
}

/// What is to be done with a cell.
enum Change {
    Remove,
    Replace(Vec<u8>),
}

impl Base {
    /// Looks at up to `budget` cells, as far as the disk has room for what would change, and forgets removals applied before `forget_before`, and values that had
    /// ended by then. `now_ms` is the wall clock.
    ///
    /// # Errors
    /// [`StorageError::Base`].
    pub fn sweep(&self, forget_before: Time, now_ms: u64, budget: usize) -> Result<Swept, StorageError> {
        again_if_refused(|| self.sweep_once(forget_before, now_ms, budget))
    }

    fn sweep_once(&self, forget_before: Time, now_ms: u64, budget: usize) -> Result<Swept, StorageError> {
        let room = self.left_of(self.room_free()) / 4 / RECORD_PAGES_BYTES;
        let budget = budget.min(usize::try_from(room).unwrap_or(usize::MAX));
        if budget == 0 {
            return Ok(Swept::default());
        }
        // Nothing is held meanwhile, and nobody else sweeps.
        let sweep_from = || self.sweep_from.lock().unwrap_or_else(PoisonError::into_inner);
        let from = sweep_from().clone();
        let mut sweep = Sweep {
            forget_before,
            now: Time::new(now_ms, 0),
            swept: Swept::default(),
            changes: Vec::new(),
            used: 0,
            forgotten: HashMap::new(),
        };
        let mut writing = self.begin_write()?;
        let next = sweep.look_at(&writing, &from, budget)?;
        sweep.swept.is_complete = next.is_empty();
        if sweep.changes.is_empty() {
            writing.abort()?;
        } else {
            sweep.write(&writing)?;
            if self.lacks_room() {
                // It comes round again.
                writing.abort()?;
                return Ok(Swept::default());
            }
            writing.change_used(sweep.used);
            writing.commit()?;
        }
        *sweep_from() = next;
        Ok(sweep.swept)
    }
}

struct Sweep {
    forget_before: Time,
    now: Time,
    swept: Swept,
    changes: Vec<(Vec<u8>, Change)>,
    /// By how much keys and images are longer together.
    used: i64,
    /// The latest removal forgotten, by map id.
    forgotten: HashMap<u32, Time>,
}

impl Sweep {
    /// Returns the key at which the next walk begins; empty at the end.
    fn look_at(
        &mut self,
        writing: &Writing<'_>,
        from: &[u8],
        budget: usize,
    ) -> Result<Vec<u8>, StorageError> {
        let cells = writing.transaction.open_table(CELLS).map_err(failed)?;
        for entry in cells.range::<&[u8]>(from..).map_err(failed)? {
            let (cell_key, image) = entry.map_err(failed)?;
            if self.swept.examined == budget as u64 {
                return Ok(cell_key.value().to_vec());
            }
            self.swept.examined += 1;
            self.judge(cell_key.value(), image.value());
        }
        Ok(Vec::new())
    }

    fn judge(&mut self, cell_key: &[u8], image: &[u8]) {
        let (Some((map_id, ..)), Ok(glanced)) = (split_cell_key(cell_key), glance(None, image)) else {
            self.swept.damaged += 1;
            return;
        };
        let has_old_removal = glanced.oldest_removal.is_some_and(|removal| removal < self.forget_before);
        let has_ended = glanced.expires_ms != 0 && glanced.expires_ms < self.forget_before.millis();
        let (change, through) = if has_old_removal {
            let Some(mut cell) = type_of(image).and_then(|map_type| StoredCell::read(map_type, image).ok())
            else {
                self.swept.damaged += 1;
                return;
            };
            let Some(through) = cell.forget_removals(self.forget_before) else { return };
            if cell.is_vacant() {
                (Change::Remove, through)
            } else {
                let mut left = Vec::new();
                cell.write(&mut left);
                (Change::Replace(left), through)
            }
        } else if has_ended {
            // Nobody was told of its end, so every cursor that exists is too old.
            (Change::Remove, self.now)
        } else {
            return;
        };
        self.changes.push((cell_key.to_vec(), change));
        let forgotten = self.forgotten.entry(map_id).or_default();
        *forgotten = through.max(*forgotten);
    }

    fn write(&mut self, writing: &Writing<'_>) -> Result<(), StorageError> {
        let mut cells = writing.transaction.open_table(CELLS).map_err(failed)?;
        for (cell_key, change) in &self.changes {
            writing.write_out()?;
            match change {
                Change::Remove => {
                    let before = cells.remove(&**cell_key).map_err(failed)?;
                    self.used -= before.map_or(0, |image| cell_key.len() + image.value().len()) as i64;
                }
                Change::Replace(image) => {
                    let before = cells.insert(&**cell_key, &**image).map_err(failed)?;
                    self.used += image.len() as i64 - before.map_or(0, |before| before.value().len()) as i64;
                }
            }
        }
        self.swept.forgotten = self.changes.len() as u64;
        drop(cells);
        writing.raise_pruned_through(&self.forgotten)
    }
}

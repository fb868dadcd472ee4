//! Forgetting what is in the base and nobody needs any more: a bounded walk over its cells, which goes on where the
//! last one stopped.
//!
//! Invariant: what is forgotten and the `pruned through` that tells of it are in one transaction. What readers see
//! and the digests never change.

use std::collections::HashMap;
use std::sync::PoisonError;

use redb::ReadableTable;

use super::StorageError;
use super::base::{Base, Writing, failed};
use super::block::Cell;
use super::cells::{BLOCKS, Found, each_in_blocks};
use super::database::again_if_refused;
use super::editing::{CellPlace, Edit, Editor, Edits};
use super::merging::RECORD_PAGES_BYTES;
use super::row::{set_cell_key, split_cell_key};
use super::stored::{StoredCell, glance, type_of};
use crate::crdt::Time;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Cells looked at.
    pub examined: u64,
    /// Cells that lost a removal or are gone.
    pub forgotten: u64,
    /// Images, and blocks, that are damaged; they are left as they are.
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
    /// By where the cell is.
    changes: Vec<(Vec<u8>, Change)>,
    /// By how much keys and values of `blocks` are longer together.
    used: i64,
    /// The latest removal forgotten, by map id.
    forgotten: HashMap<u32, Time>,
}

impl Sweep {
    /// Returns where the next walk begins; empty at the end.
    fn look_at(
        &mut self,
        writing: &Writing<'_>,
        from: &[u8],
        budget: usize,
    ) -> Result<Vec<u8>, StorageError> {
        let blocks = writing.transaction.open_table(BLOCKS).map_err(failed)?;
        let mut next = Vec::new();
        let begin = split_cell_key(from);
        each_in_blocks(blocks.range::<&[u8]>(from..).map_err(failed)?, &mut |found| {
            let Found { map_id, partition, cell } = found;
            let Ok((key, image)) = cell else {
                self.swept.damaged += 1;
                return Ok(true);
            };
            // Of its block it may be one in the middle.
            if begin.is_some_and(|begin| (map_id, partition, key) < begin) {
                return Ok(true);
            }
            if self.swept.examined == budget as u64 {
                set_cell_key(&mut next, map_id, partition, key);
                return Ok(false);
            }
            self.swept.examined += 1;
            self.judge((map_id, partition), (key, image));
            Ok(true)
        })?;
        Ok(next)
    }

    fn judge(&mut self, (map_id, partition): (u32, u16), (key, image): Cell<'_>) {
        let Ok(glanced) = glance(None, image) else {
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
        let mut place = Vec::new();
        set_cell_key(&mut place, map_id, partition, key);
        self.changes.push((place, change));
        let forgotten = self.forgotten.entry(map_id).or_default();
        *forgotten = through.max(*forgotten);
    }

    fn write(&mut self, writing: &Writing<'_>) -> Result<(), StorageError> {
        let mut blocks = writing.transaction.open_table(BLOCKS).map_err(failed)?;
        let mut editor = Editor::default();
        let mut edits = Changes { left: &self.changes, made: 0 };
        while let Some(edited) = editor.edit_block(&mut blocks, &mut edits)? {
            writing.write_out()?;
            self.used += edited.used;
        }
        self.swept.forgotten = edits.made;
        drop(blocks);
        writing.raise_pruned_through(&self.forgotten)
    }
}

struct Changes<'a> {
    /// What is still to be changed.
    left: &'a [(Vec<u8>, Change)],
    made: u64,
}

impl<'a> Edits<'a> for Changes<'a> {
    fn next(&self) -> Option<CellPlace<'a>> {
        self.left.first().and_then(|(place, _)| split_cell_key(place))
    }

    fn edit(&mut self, stored: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Edit, StorageError> {
        let Some(((_, change), left)) = self.left.split_first() else { return Ok(Edit::Kept) };
        self.left = left;
        if stored.is_none() {
            return Ok(Edit::Kept);
        }
        self.made += 1;
        Ok(match change {
            Change::Remove => Edit::Removed,
            Change::Replace(image) => {
                out.extend_from_slice(image);
                Edit::Written
            }
        })
    }

    /// What is to be forgotten is no reason to lose what a backup or `--salvage` might still read.
    fn damaged(&mut self) -> Result<bool, StorageError> {
        Ok(false)
    }
}

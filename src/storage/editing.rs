//! Sorted changes of cells, put into the blocks of the base: each block is read and written once for all that fall into it.
//!
//! A block is found by its bound, the first that is no less than the key, as redb's branches tell their children apart by the
//! greatest key of each: this way one descent finds it, where a search for the last that is no greater reads its neighbour, too.

use std::ops::Bound;

use redb::{ReadableTable, Table};

use super::StorageError;
use super::base::failed;
use super::block::{self, END};
use super::row::{set_cell_key, split_cell_key};

/// Map id, partition and key.
pub(super) type CellPlace<'k> = (u32, u16, &'k [u8]);

/// What becomes of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    Kept,
    Written,
    Removed,
}

const fn region((map_id, partition, _): CellPlace<'_>) -> (u32, u16) {
    (map_id, partition)
}

/// Who changes cells, sorted by key within each partition.
pub(super) trait Edits<'k> {
    /// The cell to be edited next.
    fn next(&self) -> Option<CellPlace<'k>>;

    /// Edits that cell: what it is to be is appended to `out`.
    fn edit(&mut self, stored: Option<&[u8]>, out: &mut Vec<u8>) -> Result<Edit, StorageError>;

    /// The block of that cell is damaged. Whether what cannot be read of it counts as absent from now on: otherwise it stays as it
    /// is, and each of its edits is made of no cell and comes to nothing.
    fn damaged(&mut self) -> Result<bool, StorageError>;
}

type Blocks<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

/// What was done to a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Edited {
    /// By how much keys and values of entries are longer together.
    pub used: i64,
    /// Entries that were written, and bytes of them.
    pub entries: u64,
    pub bytes: u64,
}

/// Buffers that serve one block after the other.
#[derive(Default)]
pub(super) struct Editor {
    /// Of the block at hand.
    entry_key: Vec<u8>,
    out: Vec<u8>,
}

impl Editor {
    /// Makes all edits of the block that the next one falls into; `None`: there are no more.
    ///
    /// # Errors
    /// [`StorageError::Base`], and what `edits` returns.
    pub fn edit_block<'k>(
        &mut self,
        blocks: &mut Blocks<'_>,
        edits: &mut dyn Edits<'k>,
    ) -> Result<Option<Edited>, StorageError> {
        let Some(first) = edits.next() else { return Ok(None) };
        let mut edited = Edited::default();
        let Some(bytes_before) = self.rebuild(blocks, edits, first)? else { return Ok(Some(edited)) };
        let (has_shrunk, is_stored) = (self.out.len() < bytes_before, bytes_before > 0);
        if is_stored {
            edited.used -= (self.entry_key.len() + bytes_before) as i64;
        }
        if has_shrunk && block::is_small(&self.out) {
            self.join_with_last(blocks, &mut edited)?;
        }
        self.write(blocks, is_stored, &mut edited)?;
        Ok(Some(edited))
    }

    /// Puts the cells of a block, edited, into `out`. How many bytes it had before; `None`: nothing has changed.
    fn rebuild<'k>(
        &mut self,
        blocks: &Blocks<'_>,
        edits: &mut dyn Edits<'k>,
        (map_id, partition, first): CellPlace<'k>,
    ) -> Result<Option<usize>, StorageError> {
        let Self { entry_key, out } = self;
        out.clear();
        set_cell_key(entry_key, map_id, partition, first);
        let found =
            blocks.range::<&[u8]>(&**entry_key..).map_err(failed)?.next().transpose().map_err(failed)?;
        let found = found.as_ref().map(|(key, block)| (split_cell_key(key.value()), block.value()));
        let (bound, stored) = match found {
            Some((Some(place @ (.., bound)), block)) if region(place) == (map_id, partition) => {
                // Another cell would have a large one written again each time.
                let is_shut = bound != first && block::is_alone(block, bound);
                if is_shut { (block::bound_below(bound), &[][..]) } else { (bound.to_vec(), block) }
            }
            _ => (END.to_vec(), &[][..]),
        };
        set_cell_key(entry_key, map_id, partition, &bound);
        let mut rest = stored;
        let mut is_changed = false;
        if !stored.is_empty() {
            rest = &stored[..block::sound_bytes(stored, &bound)];
            is_changed = rest.len() < stored.len();
        }
        let is_in_it = |place: &CellPlace<'_>| region(*place) == (map_id, partition) && place.2 <= &*bound;
        if is_changed && !edits.damaged()? {
            while edits.next().as_ref().is_some_and(is_in_it) {
                edits.edit(None, out)?;
            }
            return Ok(None);
        }
        while let Some((.., key)) = edits.next().filter(is_in_it) {
            let (before, behind) = rest.split_at(block::bytes_before(rest, key));
            out.extend_from_slice(before);
            let (image, behind_it) = match block::take_cell(behind, key) {
                Some((image, rest)) => (Some(image), rest),
                None => (None, behind),
            };
            let at = block::begin_cell(out, key);
            match edits.edit(image, out)? {
                Edit::Kept => {
                    out.truncate(at);
                    out.extend_from_slice(&behind[..behind.len() - behind_it.len()]);
                }
                Edit::Written => {
                    block::end_cell(out, at, key);
                    is_changed = true;
                }
                Edit::Removed => {
                    out.truncate(at);
                    is_changed |= image.is_some();
                }
            }
            rest = behind_it;
        }
        out.extend_from_slice(rest);
        Ok(is_changed.then_some(stored.len()))
    }

    /// Takes in the block before, if both are small enough and it is sound, and removes that.
    fn join_with_last(&mut self, blocks: &mut Blocks<'_>, edited: &mut Edited) -> Result<(), StorageError> {
        let Self { entry_key, out } = self;
        let before = (Bound::Unbounded, Bound::Excluded(&**entry_key));
        let last = blocks.range::<&[u8]>(before).map_err(failed)?.next_back().transpose().map_err(failed)?;
        let Some((last_key, last)) = last.map(|(key, block)| (key.value().to_vec(), block)) else {
            return Ok(());
        };
        let Some(place @ (.., bound)) = split_cell_key(&last_key) else { return Ok(()) };
        let is_neighbour = split_cell_key(entry_key).map(region) == Some(region(place));
        if !is_neighbour || !block::may_join(last.value(), out) || !block::is_sound(last.value(), bound) {
            return Ok(());
        }
        edited.used -= (last_key.len() + last.value().len()) as i64;
        out.splice(0..0, last.value().iter().copied());
        drop(last);
        blocks.remove(&*last_key).map_err(failed)?;
        Ok(())
    }

    fn write(
        &mut self,
        blocks: &mut Blocks<'_>,
        is_stored: bool,
        edited: &mut Edited,
    ) -> Result<(), StorageError> {
        let Self { entry_key, out } = self;
        let Some((map_id, partition, bound)) = split_cell_key(entry_key) else { return Ok(()) };
        let mut insert = |entry_key: &[u8], block: &[u8]| -> Result<(), StorageError> {
            blocks.insert(entry_key, block).map_err(failed)?;
            edited.entries += 1;
            edited.bytes += (entry_key.len() + block.len()) as u64;
            edited.used += (entry_key.len() + block.len()) as i64;
            Ok(())
        };
        let mut is_replaced = false;
        if !out.is_empty() && block::fits(out.len(), bound) {
            insert(entry_key, out)?;
            is_replaced = true;
        } else if !out.is_empty() {
            let mut piece_key = Vec::new();
            for piece in block::cut(out, bound) {
                set_cell_key(&mut piece_key, map_id, partition, &piece.bound);
                insert(&piece_key, &out[piece.cells])?;
                is_replaced |= piece.bound == bound;
            }
        }
        if is_stored && !is_replaced {
            blocks.remove(&**entry_key).map_err(failed)?;
        }
        Ok(())
    }
}

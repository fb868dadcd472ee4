//! Reading the base cell by cell, in the order of map id, partition and key, of either layout of it.
//!
//! Bases of earlier versions have an entry for each cell, `cells`, by map id, partition and key. Such a base is read as it
//! is by who changes nothing, and converted where it is opened for more ([`super::compact`]).

use std::ops::RangeBounds;

use redb::{Range, ReadOnlyTable, ReadTransaction, TableDefinition, TableError};

use super::StorageError;
use super::base::failed;
use super::block::{self, BlockError, Cell};
use super::row::split_cell_key;

/// Map id, partition and bound; then the cells, as [`block`] has it.
pub(super) const BLOCKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("blocks");
/// Of earlier versions: map id, partition and key; then the image.
pub(super) const CELLS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("cells");

/// All cells at one moment.
pub(super) struct CellTable {
    entries: ReadOnlyTable<&'static [u8], &'static [u8]>,
    /// Whether each entry is a block of cells.
    pub has_blocks: bool,
}

impl CellTable {
    pub fn of(transaction: &ReadTransaction) -> Result<Self, StorageError> {
        match transaction.open_table(CELLS) {
            Ok(entries) => Ok(Self { entries, has_blocks: false }),
            Err(TableError::TableDoesNotExist(_)) => {
                Ok(Self { entries: transaction.open_table(BLOCKS).map_err(failed)?, has_blocks: true })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Shows the cells of whole partitions, given as a range of keys of cells, until `on` returns false.
    pub fn each<'k>(
        &self,
        range: impl RangeBounds<&'k [u8]> + 'k,
        on: &mut dyn FnMut(Found<'_>) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let entries = self.entries.range::<&[u8]>(range).map_err(failed)?;
        if self.has_blocks {
            return each_in_blocks(entries, on);
        }
        for entry in entries {
            let (cell_key, image) = entry.map_err(failed)?;
            let Some((map_id, partition, key)) = split_cell_key(cell_key.value()) else { continue };
            if !on(Found { map_id, partition, cell: Ok((key, image.value())) })? {
                break;
            }
        }
        Ok(())
    }
}

/// A cell, or what is left of a block that is damaged.
pub(super) struct Found<'a> {
    pub map_id: u32,
    pub partition: u16,
    pub cell: Result<Cell<'a>, BlockError>,
}

/// Shows the cells of blocks, until `on` returns false.
pub(super) fn each_in_blocks(
    entries: Range<'_, &'static [u8], &'static [u8]>,
    on: &mut dyn FnMut(Found<'_>) -> Result<bool, StorageError>,
) -> Result<(), StorageError> {
    for entry in entries {
        let (entry_key, block) = entry.map_err(failed)?;
        let Some((map_id, partition, bound)) = split_cell_key(entry_key.value()) else { continue };
        for cell in block::cells(block.value(), bound) {
            if !on(Found { map_id, partition, cell })? {
                return Ok(());
            }
        }
    }
    Ok(())
}

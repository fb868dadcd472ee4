//! Cells in the order of the base, put into full blocks of a base that has none of them yet.

use redb::WriteTransaction;

use super::StorageError;
use super::base::failed;
use super::block::{self, Cell, END};
use super::cells::BLOCKS;
use super::row::set_cell_key;

/// Bytes of cells of one partition that are cut into blocks at once.
const CUT_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Default)]
pub(super) struct Filling {
    /// Map id and partition; of none before the first cell.
    region: Option<(u32, u16)>,
    /// Those that are in no block yet.
    cells: Vec<u8>,
    /// The key of the last one of the region.
    last: Vec<u8>,
    entry_key: Vec<u8>,
}

impl Filling {
    /// Takes the next cell; bytes of entries that it has written.
    ///
    /// # Errors
    /// [`StorageError::Base`]; [`StorageError::DamagedBase`] if it is not behind the last one.
    pub fn push(
        &mut self,
        transaction: &WriteTransaction,
        region: (u32, u16),
        (key, image): Cell<'_>,
    ) -> Result<u64, StorageError> {
        let goes_on = self.region == Some(region);
        if goes_on && key <= &*self.last || key >= END {
            let fault = "the cells of the base are not in order".to_owned();
            return Err(StorageError::DamagedBase { fault });
        }
        let mut written = 0;
        if !goes_on {
            written = self.finish(transaction)?;
            self.region = Some(region);
        } else if self.cells.len() >= CUT_BYTES {
            let bound = std::mem::take(&mut self.last);
            written = self.cut(transaction, &bound)?;
        }
        block::push_cell(&mut self.cells, key, image);
        self.last.clear();
        self.last.extend_from_slice(key);
        Ok(written)
    }

    /// Writes what is left; bytes of entries.
    ///
    /// # Errors
    /// [`StorageError::Base`].
    pub fn finish(&mut self, transaction: &WriteTransaction) -> Result<u64, StorageError> {
        self.cut(transaction, END)
    }

    fn cut(&mut self, transaction: &WriteTransaction, bound: &[u8]) -> Result<u64, StorageError> {
        let Self { region: Some((map_id, partition)), cells, entry_key, .. } = self else { return Ok(0) };
        let mut blocks = transaction.open_table(BLOCKS).map_err(failed)?;
        let mut written = 0;
        for piece in block::cut(cells, bound) {
            set_cell_key(entry_key, *map_id, *partition, &piece.bound);
            let block = &cells[piece.cells];
            blocks.insert(&**entry_key, block).map_err(failed)?;
            written += (entry_key.len() + block.len()) as u64;
        }
        cells.clear();
        Ok(written)
    }
}

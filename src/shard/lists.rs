//! What becomes of a sorted list, packed on its way to a dialect.
//!
//! ```text
//! kind u8 | rank u32 | one entry, without a value where it leaves      steps, one after the other
//! ```

use crate::mesh::{Entries, Entry, length};

/// What happens to one entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListStep {
    /// It is there: of a list that is told as a whole.
    Stands,
    /// It is put in at its rank.
    Enter,
    /// It is taken out, and put in at its rank as it is now.
    Update,
    /// It is taken out; that was its rank.
    Leave,
}

/// Appends a step whose entry `pack` appends.
pub(in crate::shard) fn push_list_step(
    out: &mut Vec<u8>,
    step: ListStep,
    rank: usize,
    pack: impl FnOnce(&mut Vec<u8>),
) {
    out.push(step as u8);
    out.extend_from_slice(&length(rank).to_le_bytes());
    pack(out);
}

/// Packed steps, one by one. They come from [`push_list_step`] alone, so reading them cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct ListSteps<'a>(pub(in crate::shard) &'a [u8]);

impl ListSteps<'_> {
    pub(in crate::shard) const fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl<'a> Iterator for ListSteps<'a> {
    type Item = (ListStep, u32, Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.0.split_first()?;
        let (rank, rest) = rest.split_first_chunk()?;
        let step = [ListStep::Stands, ListStep::Enter, ListStep::Update, ListStep::Leave][usize::from(kind)];
        let mut entries = Entries::new(rest);
        let entry = entries.next()?;
        self.0 = entries.packed();
        Some((step, u32::from_le_bytes(*rank), entry))
    }
}

//! Looking up single cells of a map, for who need not wait until all of it is loaded.
//!
//! Cells lie in the base by partition, and so does the index of the tail, so a cell costs what its partition takes.

use std::sync::Arc;

use super::row::partition_of;
use super::stored::Glance;
use super::view::{View, Visitor};
use super::{Base, StorageError, Tail};
use crate::crdt::Time;
use crate::handover::Chunk;
use crate::limits::LOOKED_UP_BYTES_MAX;

impl Base {
    /// Reads the cells of some keys of a map, as a load would give them, but in no order; `None` if they take more than
    /// [`LOOKED_UP_BYTES_MAX`]. Removals applied before `forget_before` count as absent.
    ///
    /// # Errors
    /// As [`Base::load`].
    pub fn look_up<'k>(
        &self,
        tail: &Tail,
        map: &str,
        keys: impl Iterator<Item = &'k str>,
        forget_before: Time,
    ) -> Result<Option<Chunk>, StorageError> {
        let hash = self.hasher.map(map);
        let place = |key: &'k str| Some((partition_of(self.hasher, hash, key.as_bytes())?, key.as_bytes()));
        let mut places: Vec<_> = keys.filter_map(place).collect();
        places.sort_unstable();
        let mut chunk = Chunk {
            map: Arc::from(map),
            map_type: None,
            pruned_through: Time::ZERO,
            cells: Vec::new(),
            is_last: true,
        };
        for places in places.chunk_by(|one, next| one.0 == next.0) {
            let partition = places[0].0..places[0].0 + 1;
            let view = View::open(self, tail, map, partition.clone())?;
            chunk.map_type = view.map_type;
            let mut picked = Picked { places, chunk: &mut chunk, is_too_much: false };
            view.visit(partition, forget_before, &mut picked)?;
            if picked.is_too_much {
                return Ok(None);
            }
        }
        Ok(Some(chunk))
    }
}

/// The cells of a partition whose keys are wanted.
struct Picked<'a> {
    /// Sorted.
    places: &'a [(u16, &'a [u8])],
    chunk: &'a mut Chunk,
    is_too_much: bool,
}

impl Visitor for Picked<'_> {
    fn cell(&mut self, key: &[u8], image: &[u8], _: &Glance) -> Result<bool, StorageError> {
        if self.places.binary_search_by_key(&key, |&(_, wanted)| wanted).is_err() {
            return Ok(true);
        }
        let bytes = self.chunk.cells.len() + Chunk::cell_bytes(key, image);
        self.is_too_much = bytes > LOOKED_UP_BYTES_MAX;
        if !self.is_too_much {
            self.chunk.push(key, image);
        }
        Ok(!self.is_too_much)
    }
}

//! The types of maps that were decided and are in no base yet.
//!
//! Invariant: a type leaves only once the base has it, so who looks here first and then there finds it.

use std::collections::HashMap;
use std::sync::Arc;
#[expect(
    clippy::disallowed_types,
    reason = "threads of the storage only, and never while they read or write"
)]
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::crdt::MapType;
use crate::storage::{Base, StorageError};

/// See the module.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "as above")]
pub(super) struct Types(Mutex<HashMap<Arc<str>, MapType>>);

impl Types {
    pub(super) fn insert(&self, map: Arc<str>, map_type: MapType) {
        self.lock().insert(map, map_type);
    }

    pub(super) fn map_type(&self, map: &str) -> Option<MapType> {
        self.lock().get(map).copied()
    }

    /// Forgets those which the base has.
    ///
    /// # Errors
    /// As [`Base::map_type`].
    pub(super) fn folded(&self, base: &Base) -> Result<(), StorageError> {
        let maps: Vec<Arc<str>> = self.lock().keys().cloned().collect();
        for map in maps {
            if base.map_type(&map)?.is_some() {
                self.lock().remove(&map);
            }
        }
        Ok(())
    }

    /// Forgets all of them, as all maps were dropped.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, MapType>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

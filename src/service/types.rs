//! The types of maps that were decided and are in no base yet.
//!
//! Invariant: a type leaves only once the base has it, so who looks here first and then there finds it.
//!
//! The thread that writes the journal waits for this lock, and the checkpoint, which holds it too, may not get a core for
//! long: nobody holds it for more than one look or change of one map.

use std::collections::{HashMap, VecDeque};
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
pub struct Types(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_map: HashMap<Arc<str>, MapType>,
    /// The same maps, in the order in which they are looked for in the base.
    order: VecDeque<Arc<str>>,
}

impl Types {
    pub fn insert(&self, map: Arc<str>, map_type: MapType) {
        let mut inner = self.lock();
        if inner.by_map.insert(Arc::clone(&map), map_type).is_none() {
            inner.order.push_back(map);
        }
    }

    pub fn map_type(&self, map: &str) -> Option<MapType> {
        self.lock().by_map.get(map).copied()
    }

    /// Forgets those which the base has.
    ///
    /// # Errors
    /// As [`Base::map_type`].
    pub(super) fn folded(&self, base: &Base) -> Result<(), StorageError> {
        self.forget_if(|map| Ok(base.map_type(map)?.is_some()))
    }

    /// Asks once for each map, with nothing held.
    fn forget_if<E>(&self, mut is_there: impl FnMut(&str) -> Result<bool, E>) -> Result<(), E> {
        let count = self.lock().order.len();
        for _ in 0..count {
            let Some(map) = self.lock().order.front().cloned() else { break };
            let is_there = is_there(&map)?;
            let mut inner = self.lock();
            // Only who folds takes from it, and only one folds at a time.
            inner.order.pop_front();
            if is_there {
                inner.by_map.remove(&map);
            } else {
                inner.order.push_back(map);
            }
        }
        Ok(())
    }

    /// Forgets all of them, as all maps were dropped.
    pub(super) fn clear(&self) {
        let dropped = std::mem::take(&mut *self.lock());
        // With nothing held.
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: nobody waits for the base. Method: whatever is asked meanwhile, which hangs if the lock is held, finds each type
    /// until the base has it.
    #[test]
    fn types_are_there_until_the_base_has_them_and_nobody_waits_for_it() {
        let types = Types::default();
        for map in ["a", "b", "c", "b"] {
            types.insert(map.into(), MapType::Or);
        }
        for wanted in [vec!["a", "b", "c"], vec!["b", "new"], vec!["b", "new"]] {
            let mut asked = Vec::new();
            let forgotten: Result<(), ()> = types.forget_if(|map| {
                assert_eq!(types.map_type(map), Some(MapType::Or));
                types.insert("new".into(), MapType::Or);
                asked.push(map.to_owned());
                Ok(!["b", "new"].contains(&map))
            });
            assert_eq!(forgotten, Ok(()));
            asked.sort_unstable();
            assert_eq!(asked, wanted);
        }
        assert_eq!(
            ["a", "b", "c", "new"].map(|map| types.map_type(map).is_some()),
            [false, true, false, true]
        );
        types.clear();
        assert_eq!(types.map_type("b"), None);
    }
}

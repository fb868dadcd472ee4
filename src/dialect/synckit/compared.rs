//! Which texts of a document others contain, as far as they were compared: the same states need not be read again.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashMap};

/// Comparisons that are remembered.
const COMPARED_MAX: usize = 4_096;

/// See the module. Nobody can make two lists of states that count as one, as the hash is keyed at random.
#[derive(Default)]
pub struct Compared {
    contained: HashMap<u64, u32>,
    hasher: DefaultHashBuilder,
    /// How often states were read to be compared.
    #[cfg(test)]
    pub comparisons: usize,
}

impl Compared {
    /// Names some states: document, keys and stamps, which are the same for no other states.
    pub fn name(&self, states: impl Hash) -> u64 {
        self.hasher.hash_one(states)
    }

    /// Which of the states of this name are contained in others, a bit each, if they were compared.
    pub fn get(&self, name: u64) -> Option<u32> {
        self.contained.get(&name).copied()
    }

    pub fn insert(&mut self, name: u64, contained: u32) {
        if self.contained.len() >= COMPARED_MAX {
            self.contained.clear();
        }
        #[cfg(test)]
        {
            self.comparisons += 1;
        }
        self.contained.insert(name, contained);
    }
}

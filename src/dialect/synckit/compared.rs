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
    /// Which of some states are contained in others, a bit each. `states` names them: document, keys and stamps, which are the
    /// same for no other states. `compare` says it where it is not known.
    pub fn get_or_compare(&mut self, states: impl Hash, compare: impl FnOnce() -> u32) -> u32 {
        let name = self.hasher.hash_one(states);
        if let Some(&contained) = self.contained.get(&name) {
            return contained;
        }
        if self.contained.len() >= COMPARED_MAX {
            self.contained.clear();
        }
        #[cfg(test)]
        {
            self.comparisons += 1;
        }
        let contained = compare();
        self.contained.insert(name, contained);
        contained
    }
}

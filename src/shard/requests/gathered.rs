//! What the owners of keys have answered to a `read` so far.

use std::mem;

use crate::mesh::{Entries, KeyList, ShardIndex};
use crate::shard::turn::Turn;
use crate::wire::Reject;

/// What has been read so far for one request.
#[derive(Default)]
pub struct Gathered {
    /// [`Entries`], and how many bytes they take as text.
    pub(super) entries: Vec<u8>,
    pub(super) text_bytes: usize,
    /// What is asked for again as it is too long to be made without room for it: owners, and [`KeyList`]s.
    pub(super) long: Vec<(ShardIndex, Vec<u8>)>,
    /// Bytes that the answer may take as text, and whether as many are set aside for it.
    pub(super) bytes_max: usize,
    pub(super) has_all_room: bool,
    pub(super) refused: Option<Reject>,
}

impl Gathered {
    /// Bytes of what has come.
    pub const fn held_bytes(&self) -> usize {
        self.entries.len()
    }

    /// Gives up what has come, so that it takes no room while it waits for all of it; that is asked for again, too.
    pub(super) fn start_over(&mut self, turn: &Turn, map: &str) {
        let map_hash = turn.hasher.map(map);
        for entry in Entries::new(&mem::take(&mut self.entries)) {
            let hash = turn.hasher.key(map_hash, entry.key);
            let owner = turn.owner(hash);
            let place = self.long.iter().position(|&(of, _)| of == owner).unwrap_or(self.long.len());
            if place == self.long.len() {
                self.long.push((owner, Vec::new()));
            }
            KeyList::push(&mut self.long[place].1, entry.key, hash);
        }
        self.text_bytes = 0;
    }
}

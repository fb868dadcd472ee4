//! Groups that nobody asks anything any more, and whose indexes are kept all the same: whoever asks next need not wait for a scan.

use super::index::Index;
use super::owned::Owned;
use crate::limits::QUERY_GROUPS_IDLE_MAX;
use crate::shard::maps::Maps;
use crate::shard::turn::Turn;

impl Owned {
    /// Keeps a group that is asked nothing any more, if it has an index to keep; the one that is kept for the longest goes.
    pub(super) fn keep_idle(&mut self, maps: &mut Maps, group: u32) -> bool {
        let indexes = &self.groups[group as usize].indexes;
        if indexes.is_empty() || !indexes.iter().all(Index::is_whole) {
            return false;
        }
        self.idle.push_back(group);
        if self.idle.len() > QUERY_GROUPS_IDLE_MAX {
            self.forget_longest_idle(maps);
        }
        true
    }

    /// Lets go of those that are kept, if memory is short.
    pub(super) fn free_idle(&mut self, turn: &Turn, maps: &mut Maps) {
        if !self.idle.is_empty() && turn.account.refuses_queries() {
            self.forget_longest_idle(maps);
        }
    }

    fn forget_longest_idle(&mut self, maps: &mut Maps) {
        if let Some(group) = self.idle.pop_front() {
            self.forget_group(maps, group);
        }
    }
}

//! What became of the operations of one `write`, in their order, while they are applied and answered.

use crate::crdt::{Node, Stamp};
use crate::limits::{MESSAGE_BYTES_CEILING, SCRATCH_BYTES_MAX};
use crate::mesh::{Merged, MergedStamp, ShardIndex};
use crate::wire::Reject;

/// See the module. Stamps and refusals, which are large and rare, lie beside the list.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// `None`: not answered yet, or rejected.
    merged: Vec<Option<Merged>>,
    /// Stamps that clients gave, by operation, ascending.
    given: Vec<(u32, Stamp)>,
    rejected: Vec<(u32, Reject)>,
    /// For each shard that has merged any of them: the batch that must be durable for all of those to be.
    covers: Vec<(ShardIndex, u64)>,
}

/// Emptied lists, kept for reuse, so that requests that wait allocate nothing in the long run.
#[derive(Default)]
pub struct SpareOutcomes {
    lists: Vec<Outcomes>,
    bytes: usize,
}

impl SpareOutcomes {
    pub fn take(&mut self) -> Outcomes {
        let list = self.lists.pop().unwrap_or_default();
        self.bytes -= list.heap_bytes();
        list
    }

    /// Keeps the list, unless it is a large one or there are enough.
    pub fn put(&mut self, mut list: Outcomes) {
        let bytes = list.heap_bytes();
        let is_kept = bytes <= SCRATCH_BYTES_MAX
            && self.bytes + bytes <= SPARE_BYTES_MAX
            && self.lists.len() < SPARE_LISTS_MAX;
        if is_kept {
            list.clear();
            self.bytes += bytes;
            self.lists.push(list);
        }
    }
}

const SPARE_LISTS_MAX: usize = 256;
const SPARE_BYTES_MAX: usize = 4 * SCRATCH_BYTES_MAX;

impl Outcomes {
    /// Bytes the lists take.
    pub fn heap_bytes(&self) -> usize {
        self.merged.capacity() * size_of::<Option<Merged>>()
            + self.given.capacity() * size_of::<(u32, Stamp)>()
            + self.rejected.capacity() * size_of::<(u32, Reject)>()
            + self.covers.capacity() * size_of::<(ShardIndex, u64)>()
    }

    pub fn clear(&mut self) {
        self.merged.clear();
        self.given.clear();
        self.rejected.clear();
        self.covers.clear();
    }

    pub fn len(&self) -> usize {
        self.merged.len()
    }

    /// Adds the next operation, which nobody has answered yet and whose client gave it the stamp `at`.
    pub fn push(&mut self, at: Option<Stamp>) {
        if let Some(at) = at {
            self.given.push((place(self.merged.len()), at));
        }
        self.merged.push(None);
    }

    /// The operation that was pushed last, or the one at `index`, has been answered.
    pub fn set(&mut self, index: u32, outcome: Result<Merged, Reject>) {
        match outcome {
            Ok(merged) => self.merged[index as usize] = Some(merged),
            Err(reject) => self.rejected.push((index, reject)),
        }
    }

    /// What `owner` has merged of them is durable when its batch `number` is.
    pub fn cover(&mut self, (owner, number): (ShardIndex, u64)) {
        match self.covers.iter_mut().find(|(covered, _)| *covered == owner) {
            Some((_, covering)) => *covering = number.max(*covering),
            None => self.covers.push((owner, number)),
        }
    }

    /// Shards that have merged any of them, each with the batch that must be durable.
    pub fn covers(&self) -> &[(ShardIndex, u64)] {
        &self.covers
    }

    /// Rejects what nobody has answered.
    pub fn reject_unanswered(&mut self, reject: Reject) {
        let mut is_rejected = vec![false; self.merged.len()];
        self.rejected.iter().for_each(|&(index, _)| is_rejected[index as usize] = true);
        for (index, _) in self.merged.iter().enumerate().filter(|(_, merged)| merged.is_none()) {
            if !is_rejected[index] {
                self.rejected.push((place(index), reject));
            }
        }
    }

    /// Operations that were not rejected.
    pub fn applied(&self) -> usize {
        self.merged.iter().filter(|merged| merged.is_some()).count()
    }

    pub fn rejected(&self) -> impl Iterator<Item = (usize, Reject)> {
        self.rejected.iter().map(|&(index, reject)| (index as usize, reject))
    }

    /// The stamp of each operation; `node` is the name of this server.
    pub fn stamps(&self, node: Node) -> impl Iterator<Item = Option<Stamp>> {
        let mut given = self.given.iter();
        self.merged.iter().enumerate().map(move |(index, merged)| match (*merged)?.stamp() {
            MergedStamp::Own(time) => Some(Stamp { time, node }),
            MergedStamp::Given => given.find(|&&(of, _)| of as usize == index).map(|&(_, at)| at),
            MergedStamp::None => None,
        })
    }
}

/// The place of an operation in its request.
///
/// # Panics
/// If it does not fit: an operation takes several bytes of a message, which is far below 4 GiB.
pub fn place(index: usize) -> u32 {
    const { assert!(MESSAGE_BYTES_CEILING <= u32::MAX as usize) };
    u32::try_from(index).expect("a message has fewer operations than bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Time;

    #[test]
    fn lists_are_kept_for_reuse_by_their_bytes() {
        let mut spare = SpareOutcomes::default();
        let list = |ops: usize| {
            let mut list = Outcomes::default();
            (0..ops).for_each(|_| list.push(None));
            list
        };
        spare.put(list(SCRATCH_BYTES_MAX / 8 + 1));
        assert_eq!((spare.lists.len(), spare.bytes), (0, 0), "a giant is not kept");
        (0..1000).for_each(|_| spare.put(list(1024)));
        assert!(spare.bytes > SPARE_BYTES_MAX / 2 && spare.bytes <= SPARE_BYTES_MAX, "{}", spare.bytes);
        assert!(spare.take().len() == 0 && spare.bytes <= SPARE_BYTES_MAX - 1024);
        while !spare.lists.is_empty() {
            spare.take();
        }
        assert_eq!((spare.take().len(), spare.bytes), (0, 0));
        (0..1000).for_each(|_| spare.put(list(1)));
        assert_eq!(spare.lists.len(), SPARE_LISTS_MAX);
    }

    #[test]
    fn each_operation_has_its_own_stamp() {
        let node = Node::new(b"server").unwrap();
        let mine = Stamp { time: Time::new(7, 0), node: Node::new(b"client").unwrap() };
        let mut outcomes = Outcomes::default();
        for at in [None, Some(mine), None, Some(mine), None] {
            outcomes.push(at);
        }
        outcomes.set(4, Ok(Merged::at(Time::new(9, 1))));
        outcomes.set(3, Ok(Merged::GIVEN));
        outcomes.set(1, Err(Reject::ClockDrift));
        outcomes.set(0, Ok(Merged::UNSTAMPED));
        let stamps: Vec<_> = outcomes.stamps(node).collect();
        assert_eq!(stamps, [None, None, None, Some(mine), Some(Stamp { time: Time::new(9, 1), node })]);
        assert_eq!(outcomes.applied(), 3);
        assert_eq!(outcomes.rejected().collect::<Vec<_>>(), [(1, Reject::ClockDrift)]);
    }
}

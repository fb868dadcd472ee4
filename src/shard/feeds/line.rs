//! Chunks that were asked for and have yet to be made: of whichever shard, one of each connection in turn, so that nobody
//! waits for all that another has asked for.
//!
//! Invariant: a connection has its place in `turns` exactly while it is in `asked`, and is there until its turn finds nothing.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::mesh::{ShardIndex, SubscriptionRef, WalkRequest, Writer};

/// See the module.
#[derive(Default)]
pub struct Line {
    asked: HashMap<Writer, VecDeque<WalkRequest>>,
    turns: VecDeque<Writer>,
}

impl Line {
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub fn push(&mut self, request: WalkRequest) {
        let asker = request.asker();
        let turns = &mut self.turns;
        let asked = self.asked.entry(asker).or_insert_with(|| {
            turns.push_back(asker);
            VecDeque::new()
        });
        asked.push_back(request);
    }

    /// Takes the next request of a shard that `takes` answers: one look for each connection at most.
    pub fn pop(&mut self, takes: impl Fn(ShardIndex) -> bool) -> Option<WalkRequest> {
        for _ in 0..self.turns.len() {
            let asker = self.turns.pop_front()?;
            if !takes(asker.shard) {
                self.turns.push_back(asker);
                continue;
            }
            if let Some(request) = self.asked.get_mut(&asker).and_then(VecDeque::pop_front) {
                self.turns.push_back(asker);
                return Some(request);
            }
            self.asked.remove(&asker);
        }
        None
    }

    /// Takes the request of a subscription out, if it is there: among as many as a connection has asked for, which is what its
    /// outbox has room for.
    pub fn cancel(&mut self, asker: Writer, subscription: SubscriptionRef) -> Option<WalkRequest> {
        let asked = self.asked.get_mut(&asker)?;
        let place = asked.iter().position(|request| request.subscription == subscription)?;
        asked.remove(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Time;
    use crate::mesh::ConnectionId;

    fn request(shard: ShardIndex, connection: u32, slot: u32) -> WalkRequest {
        WalkRequest {
            shard,
            connection: ConnectionId { index: connection, generation: 1 },
            subscription: SubscriptionRef { slot, serial: 1 },
            map: "m".into(),
            position: Time::ZERO,
            round: None,
            room: 1,
            resumes: false,
            is_owed: true,
            filter: None,
            view: None,
        }
    }

    fn slots(line: &mut Line, takes: impl Fn(ShardIndex) -> bool) -> Vec<u32> {
        std::iter::from_fn(|| line.pop(&takes)).map(|request| request.subscription.slot).collect()
    }

    #[test]
    fn connections_take_turns_however_much_one_has_asked_for() {
        let mut line = Line::default();
        (0..4).for_each(|slot| line.push(request(0, 1, slot)));
        line.push(request(0, 2, 10));
        line.push(request(1, 1, 20));
        line.push(request(1, 1, 21));
        assert_eq!(slots(&mut line, |_| true), [0, 10, 20, 1, 21, 2, 3]);
        assert!(line.is_empty() && line.asked.is_empty());
    }

    #[test]
    fn a_shard_that_takes_nothing_holds_up_nobody_and_what_is_cancelled_is_gone() {
        let mut line = Line::default();
        (0..3).for_each(|slot| line.push(request(1, 1, slot)));
        line.push(request(0, 1, 10));
        assert_eq!(slots(&mut line, |shard| shard == 0), [10]);
        let asker = request(1, 1, 0).asker();
        let cancelled = SubscriptionRef { slot: 1, serial: 1 };
        assert!(line.cancel(asker, cancelled).is_some() && line.cancel(asker, cancelled).is_none());
        assert!(line.cancel(asker, SubscriptionRef { slot: 0, serial: 2 }).is_none());
        assert_eq!(slots(&mut line, |_| true), [0, 2]);
        line.push(request(1, 1, 7));
        assert!(line.cancel(asker, SubscriptionRef { slot: 7, serial: 1 }).is_some());
        line.push(request(1, 1, 8));
        assert_eq!(line.turns.len(), 1, "it has one place however often it has nothing");
        assert_eq!(slots(&mut line, |_| true), [8]);
        assert!(line.is_empty() && line.asked.is_empty());
    }
}

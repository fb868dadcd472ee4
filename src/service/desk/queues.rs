//! The desk's ends of the queues: a credential of each shard by turns, so that a storm at one holds up no other.
//!
//! Invariant: a credential is taken only while there is room for its answer, and for a standing. No answer is older than the
//! standing that was sent before it.

use std::sync::Arc;

use crate::auth::{Principal, Refused, Standing};
use crate::handover::{DeskEnd, FromDesk, Verified, Verify};

/// Credentials of one shard that wait for keys: what others of it can be answered is as much as three times that.
const HELD_MAX: usize = 64;

/// See the module.
pub(super) struct Queues {
    ends: Vec<End>,
    /// What the last pass has put something into.
    told: Vec<usize>,
    /// Credentials that wait for keys.
    held: Vec<(usize, Verify)>,
}

struct End {
    queues: DeskEnd,
    /// A standing that there was no room for.
    owed: Option<Arc<Standing>>,
    /// Answers for which room is kept.
    held: usize,
}

/// What is said of a credential.
pub(super) enum Judged {
    Said(Result<Arc<Principal>, Refused>),
    /// Once keys have come.
    Later,
}

/// What a pass has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    More,
    /// A shard has to take answers first.
    NoRoom,
}

impl Queues {
    pub fn new(ends: Vec<DeskEnd>) -> Self {
        let ends = ends.into_iter().map(|queues| End { queues, owed: None, held: 0 }).collect();
        Self { ends, told: Vec::new(), held: Vec::new() }
    }

    /// Has each shard told what is in force, as soon as it has room.
    pub fn send_standing(&mut self, standing: &Arc<Standing>) {
        self.ends.iter_mut().for_each(|end| end.owed = Some(Arc::clone(standing)));
    }

    /// Takes one credential of each shard at most and has it judged. `judge` is told whether it may be put off.
    pub fn pass(&mut self, mut judge: impl FnMut(&str, bool) -> Judged) -> Left {
        let (mut has_more, mut lacks_room) = (false, false);
        for (shard, end) in self.ends.iter_mut().enumerate() {
            if end.queues.to_shard.is_abandoned() {
                // It has ended; nobody waits for an answer.
                while end.queues.from_shard.pop().is_ok() {}
                end.owed = None;
                continue;
            }
            if let Some(standing) = end.owed.take() {
                match end.queues.to_shard.push(FromDesk::Standing(standing)) {
                    Ok(()) => self.told.push(shard),
                    Err(rtrb::PushError::Full(FromDesk::Standing(standing))) => end.owed = Some(standing),
                    Err(_) => unreachable!("it was a standing"),
                }
            }
            if end.queues.from_shard.is_empty() && end.owed.is_none() {
                continue;
            }
            if end.queues.to_shard.slots() <= end.held + 1 {
                lacks_room = true;
                continue;
            }
            let Ok(verify) = end.queues.from_shard.pop() else { continue };
            match judge(&verify.credential, end.held < HELD_MAX) {
                Judged::Said(outcome) => {
                    end.answer(verify, outcome);
                    self.told.push(shard);
                }
                Judged::Later => {
                    end.held += 1;
                    self.held.push((shard, verify));
                }
            }
            has_more |= !end.queues.from_shard.is_empty();
        }
        match (has_more, lacks_room) {
            (true, _) => Left::More,
            (false, true) => Left::NoRoom,
            (false, false) => Left::Nothing,
        }
    }

    /// Keys have come, or will not: judges what waits for them.
    pub fn release(&mut self, mut judge: impl FnMut(&str) -> Result<Arc<Principal>, Refused>) {
        for (shard, verify) in self.held.drain(..) {
            let outcome = judge(&verify.credential);
            let end = &mut self.ends[shard];
            end.held -= 1;
            end.answer(verify, outcome);
            self.told.push(shard);
        }
    }

    /// The shards that have to be woken, each once.
    pub fn take_told(&mut self, mut wake: impl FnMut(usize)) {
        self.told.sort_unstable();
        self.told.dedup();
        self.told.drain(..).for_each(&mut wake);
    }
}

impl End {
    fn answer(&mut self, verify: Verify, outcome: Result<Arc<Principal>, Refused>) {
        let verified = Verified { connection: verify.connection, outcome };
        // There is room, as it was looked for before; who is gone does not need it.
        let pushed = self.queues.to_shard.push(FromDesk::Verified(verified));
        debug_assert!(pushed.is_ok(), "room is kept for every answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Identity, Proof, rules::Grant};
    use crate::handover::{DeskPort, connect_desk};
    use crate::mesh::ConnectionId;

    fn queues(shards: usize) -> (Vec<DeskPort>, Queues) {
        let (ports, ends) = connect_desk(shards, &Arc::default()).into_iter().unzip();
        (ports, Queues::new(ends))
    }

    fn ask(port: &mut DeskPort, slot: u32) -> bool {
        let connection = ConnectionId { index: slot, generation: 1 };
        port.to_desk.push(Verify { connection, credential: slot.to_string().into() }).is_ok()
    }

    fn somebody(name: &str) -> Arc<Principal> {
        let identity = Identity { user: name.into(), ..Identity::anonymous() };
        Arc::new(Principal { identity, grant: Grant::Everything, proof: Proof::Token })
    }

    fn yes(credential: &str, _: bool) -> Judged {
        Judged::Said(Ok(somebody(credential)))
    }

    /// The slots of the connections that were answered, and -1 for a standing.
    fn taken(port: &mut DeskPort) -> Vec<i64> {
        std::iter::from_fn(|| port.from_desk.pop().ok())
            .map(|item| match item {
                FromDesk::Verified(Verified { connection, outcome }) => {
                    if let Ok(principal) = outcome {
                        assert_eq!(*principal.identity.user, *connection.index.to_string());
                    }
                    i64::from(connection.index)
                }
                FromDesk::Standing(_) => -1,
            })
            .collect()
    }

    #[test]
    fn a_storm_at_one_shard_holds_up_no_other() {
        let (mut ports, mut queues) = queues(3);
        for slot in 0..200 {
            assert!(ask(&mut ports[0], slot));
        }
        assert!(ask(&mut ports[2], 7));
        assert_eq!(queues.pass(yes), Left::More);
        assert_eq!(
            (taken(&mut ports[0]), taken(&mut ports[1]), taken(&mut ports[2])),
            (vec![0], vec![], vec![7])
        );
        let mut woken = Vec::new();
        queues.take_told(|shard| woken.push(shard));
        assert_eq!(woken, [0, 2]);
        let passes = (1..).take_while(|_| queues.pass(yes) == Left::More).count();
        assert_eq!(passes, 198);
        assert_eq!(taken(&mut ports[0]).len(), 199);
        woken.clear();
        queues.take_told(|shard| woken.push(shard));
        assert_eq!(woken, [0], "once, however much there is for it");
    }

    #[test]
    fn a_token_is_taken_only_with_room_for_its_answer_and_nothing_is_lost() {
        let (mut ports, mut queues) = queues(2);
        let (mut asked, mut answered) = (0, Vec::new());
        for round in 0..5 {
            while ask(&mut ports[0], asked) {
                asked += 1;
            }
            let mut judged = 0;
            let left = loop {
                let left = queues.pass(|credential, may_wait| {
                    judged += 1;
                    yes(credential, may_wait)
                });
                if left != Left::More {
                    break left;
                }
            };
            assert_eq!(left, if round == 0 { Left::NoRoom } else { left });
            assert!(judged < 256, "there is room for as many");
            // The other shard is served meanwhile, and a standing fits as well.
            assert!(ask(&mut ports[1], 1));
            queues.pass(yes);
            assert_eq!(taken(&mut ports[1]), [1]);
            answered.extend(taken(&mut ports[0]));
        }
        assert!(answered.len() > 1_000);
        assert_eq!(answered, (0..answered.len() as i64).collect::<Vec<_>>());
    }

    #[test]
    fn a_standing_comes_before_what_is_judged_by_it() {
        let (mut ports, mut queues) = queues(2);
        let standing = Arc::new(Standing::default());
        assert!(ask(&mut ports[0], 1));
        queues.pass(yes);
        queues.send_standing(&standing);
        assert!(ask(&mut ports[0], 2));
        assert_eq!(queues.pass(yes), Left::Nothing);
        assert_eq!((taken(&mut ports[0]), taken(&mut ports[1])), (vec![1, -1, 2], vec![-1]));
        // A shard that takes nothing is told once it does, of the last one only.
        for slot in 0..256 {
            ask(&mut ports[0], slot);
        }
        while queues.pass(yes) == Left::More {}
        queues.send_standing(&standing);
        queues.pass(yes);
        queues.send_standing(&standing);
        queues.send_standing(&standing);
        assert_eq!(queues.pass(yes), Left::NoRoom);
        assert_eq!(taken(&mut ports[0]).iter().filter(|&&slot| slot == -1).count(), 1);
        queues.pass(yes);
        assert_eq!(taken(&mut ports[0])[0], -1);
    }

    #[test]
    fn what_waits_for_keys_has_its_room_and_holds_up_no_other() {
        let (mut ports, mut queues) = queues(2);
        while ask(&mut ports[0], 7) {}
        let later = |_: &str, may_wait: bool| if may_wait { Judged::Later } else { yes("7", false) };
        while queues.pass(later) == Left::More {}
        let held = queues.held.len();
        assert_eq!(
            (held, taken(&mut ports[0]).len()),
            (HELD_MAX, 256 - 1 - HELD_MAX),
            "those who may not wait are told"
        );
        while queues.pass(later) != Left::Nothing {
            taken(&mut ports[0]);
        }
        taken(&mut ports[0]);
        // Others of the same shard, and of another, do not wait for them.
        assert!(ask(&mut ports[0], 8) && ask(&mut ports[1], 3));
        queues.pass(yes);
        assert_eq!((taken(&mut ports[0]), taken(&mut ports[1])), (vec![8], vec![3]));
        queues.send_standing(&Arc::new(Standing::default()));
        queues.pass(yes);
        queues.release(|credential| Ok(somebody(credential)));
        let expected: Vec<_> = std::iter::once(-1).chain([7; HELD_MAX]).collect();
        assert_eq!(taken(&mut ports[0]), expected);
    }

    #[test]
    fn a_shard_that_has_ended_holds_nobody_up() {
        let (mut ports, mut queues) = queues(2);
        for slot in 0..256 {
            ask(&mut ports[0], slot);
        }
        ports.remove(0);
        queues.send_standing(&Arc::new(Standing::default()));
        while queues.pass(yes) == Left::More {}
        assert_eq!(queues.pass(yes), Left::Nothing);
        assert_eq!(taken(&mut ports[0]), [-1]);
    }
}

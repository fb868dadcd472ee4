//! Who of a room has had which state of whom.
//!
//! Invariant: of a member at most [`UNDER_WAY_MAX`] states are not on every screen yet. A later state may stand for earlier
//! ones, as whoever is told of now need not be told of before; none may come twice, or after a later one, and the last has
//! to come.

use hdrhistogram::Histogram;

use crate::failure::Failure;
use crate::tally::{Tally, latencies, record};
use crate::value::Stamp;

/// States of one member that are not on every screen yet.
const UNDER_WAY_MAX: u64 = 64;

pub struct Board {
    /// By screen, then member: how many states it has had, those that a later one stood for included.
    had: Vec<u32>,
    members: Vec<Member>,
    /// Whether a later state must stand for an earlier one at every screen or at none.
    is_alike: bool,
    /// States that are not on every screen yet.
    pub unreached: u64,
    /// Deliveries so far, and those that a later state stood for.
    pub deliveries: u64,
    pub passed_over: u64,
    /// From a state to the last of the screens.
    pub everywhere_ns: Histogram<u64>,
}

struct Member {
    sent: u64,
    /// Of the states under way, by number: screens reached, and when it was sent.
    reached: [u32; UNDER_WAY_MAX as usize],
    sent_ns: [u64; UNDER_WAY_MAX as usize],
    /// A bit for each: whether some screen was told of it, and whether one was told of a later one instead.
    told: u64,
    passed: u64,
    /// All before this one have reached every screen.
    done: u64,
}

impl Board {
    pub fn new(members: usize, is_alike: bool) -> Self {
        let member = || Member {
            sent: 0,
            reached: [0; UNDER_WAY_MAX as usize],
            sent_ns: [0; UNDER_WAY_MAX as usize],
            told: 0,
            passed: 0,
            done: 0,
        };
        Self {
            had: vec![0; members * members],
            members: (0..members).map(|_| member()).collect(),
            is_alike,
            unreached: 0,
            deliveries: 0,
            passed_over: 0,
            everywhere_ns: latencies(),
        }
    }

    /// A member is about to send its next state.
    ///
    /// # Errors
    /// [`Failure::Timeout`] when too many are on their way still.
    pub fn send(&mut self, index: usize, now: u64) -> Result<Stamp, Failure> {
        let member = &mut self.members[index];
        if member.sent - member.done == UNDER_WAY_MAX {
            return Err(Failure::Timeout(format!(
                "{UNDER_WAY_MAX} states of member {index} are not on every screen yet"
            )));
        }
        let sequence = member.sent;
        member.sent += 1;
        member.reached[(sequence % UNDER_WAY_MAX) as usize] = 0;
        member.sent_ns[(sequence % UNDER_WAY_MAX) as usize] = now;
        member.told &= !(1 << (sequence % UNDER_WAY_MAX));
        member.passed &= !(1 << (sequence % UNDER_WAY_MAX));
        self.unreached += 1;
        Ok(Stamp { writer: index as u32, sequence })
    }

    /// A screen is told of a state. `again`: it may have been told before, as it is told of everybody.
    ///
    /// # Errors
    /// [`Failure::Wrong`], [`Failure::Duplicated`], [`Failure::OutOfOrder`], or [`Failure::Lost`] for one that some were told.
    pub fn hear(
        &mut self,
        screen: usize,
        Stamp { writer, sequence }: Stamp,
        again: bool,
        now: u64,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let screens = self.members.len();
        let index = writer as usize;
        let Some(member) = self.members.get_mut(index).filter(|member| sequence < member.sent) else {
            return Err(Failure::Wrong(format!(
                "screen {screen}: member {index} never had state {sequence}"
            )));
        };
        let had = &mut self.had[screen * screens + index];
        let next = u64::from(*had);
        if sequence + 1 == next && again {
            return Ok(());
        }
        if sequence < next {
            let what = format!("screen {screen}: state {sequence} of member {index} came after {}", next - 1);
            let is_last = sequence + 1 == next;
            return Err(if is_last { Failure::Duplicated(what) } else { Failure::OutOfOrder(what) });
        }
        *had = sequence as u32 + 1;
        self.deliveries += 1;
        self.passed_over += sequence - next;
        tally.done(member.sent_ns[(sequence % UNDER_WAY_MAX) as usize], now);
        for number in next..=sequence {
            let slot = (number % UNDER_WAY_MAX) as usize;
            member.reached[slot] += 1;
            member.told |= u64::from(number == sequence) << slot;
            member.passed |= u64::from(number < sequence && !again) << slot;
            if self.is_alike && (member.told & member.passed) >> slot & 1 == 1 {
                return Err(Failure::Lost(format!(
                    "state {number} of member {index} came to some screens, and not to others such as {screen}"
                )));
            }
            if member.reached[slot] as usize == screens {
                member.done = number + 1;
                self.unreached -= 1;
                if tally.is_timed(member.sent_ns[slot]) {
                    record(&mut self.everywhere_ns, member.sent_ns[slot], now);
                }
            }
        }
        Ok(())
    }

    /// The first screen that lacks the last state of a member, and that member.
    pub fn behind(&self) -> Option<(usize, usize)> {
        let members = self.members.len();
        let lacks = |&place: &usize| u64::from(self.had[place]) < self.members[place % members].sent;
        (0..self.had.len()).find(lacks).map(|place| (place / members, place % members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(board: &mut Board, screen: usize, sequence: u64, again: bool) -> Result<(), Failure> {
        board.hear(screen, Stamp { writer: 0, sequence }, again, 10, &mut Tally::new())
    }

    #[test]
    fn last_state_stands_for_those_before_and_must_reach_every_screen() {
        let mut board = Board::new(2, true);
        for now in 0..3 {
            board.send(0, now).unwrap();
        }
        hear(&mut board, 0, 0, false).unwrap();
        hear(&mut board, 0, 2, false).unwrap();
        assert_eq!((board.unreached, board.passed_over, board.behind()), (3, 1, Some((1, 0))));
        hear(&mut board, 1, 0, false).unwrap();
        hear(&mut board, 1, 2, false).unwrap();
        assert_eq!((board.unreached, board.deliveries, board.behind()), (0, 4, None));
    }

    #[test]
    fn state_that_comes_twice_late_or_from_nowhere_is_noticed() {
        let mut board = Board::new(2, true);
        for now in 0..3 {
            board.send(0, now).unwrap();
        }
        hear(&mut board, 0, 1, false).unwrap();
        assert!(matches!(hear(&mut board, 0, 1, false), Err(Failure::Duplicated(_))));
        assert!(matches!(hear(&mut board, 0, 0, true), Err(Failure::OutOfOrder(_))));
        assert!(matches!(hear(&mut board, 0, 3, false), Err(Failure::Wrong(_))));
        assert!(hear(&mut board, 0, 1, true).is_ok(), "told of everybody, it is told again");
    }

    #[test]
    fn state_that_came_to_some_only_is_lost_unless_one_was_told_of_all_anew() {
        for again in [false, true] {
            let mut board = Board::new(2, true);
            board.send(0, 0).unwrap();
            board.send(0, 1).unwrap();
            hear(&mut board, 0, 0, false).unwrap();
            assert_eq!(hear(&mut board, 1, 1, again).is_ok(), again);
        }
    }

    #[test]
    fn too_many_states_under_way_end_the_run() {
        let mut board = Board::new(1, true);
        for now in 0..UNDER_WAY_MAX {
            board.send(0, now).unwrap();
        }
        assert!(matches!(board.send(0, 0), Err(Failure::Timeout(_))));
    }
}

//! Requests before the measured part: one for each connection, each answered before it goes on.

use std::ops::Range;
use std::time::Duration;

use crate::clock::now_ns;
use crate::dialect::Codec;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Fleet, Handler, Wire};

const TURN: Duration = Duration::from_millis(50);
/// How late the end of a rest may be noticed.
const REST_TURN: Duration = Duration::from_millis(20);
/// Requests under way at once; more would only fill the server's outboxes.
const ASKED_MAX: usize = 500;

/// What [`ask_each`] asks and how it knows that it was answered.
pub trait Question {
    /// Writes the request of connection `index`.
    fn ask(&mut self, index: usize) -> &[u8];

    /// Looks at a message; `true` when it completes the answer of that connection.
    ///
    /// # Errors
    /// For a message that is not owed.
    fn answer(&mut self, index: usize, message: &[u8]) -> Result<bool, Failure>;
}

/// Asks each connection of `range` once and waits until all are answered.
///
/// # Errors
/// What the question finds, or [`Failure::Timeout`].
pub fn ask_each(
    fleet: &mut Fleet,
    range: Range<usize>,
    question: &mut impl Question,
    timeout_ns: u64,
) -> Result<(), Failure> {
    let total = range.len();
    let mut round = Round { question, unasked: range, waiting: 0, answered: 0 };
    let (mut last_answered, mut last_progress) = (0, now_ns());
    while round.answered < total {
        round.ask_some(&mut fleet.wire());
        fleet.turn(TURN, &mut round)?;
        if round.answered > last_answered {
            (last_answered, last_progress) = (round.answered, now_ns());
        } else if now_ns() - last_progress > timeout_ns {
            return Err(Failure::Timeout(format!("{} of {total} requests were answered", round.answered)));
        }
    }
    Ok(())
}

struct Round<'a, Q> {
    question: &'a mut Q,
    unasked: Range<usize>,
    waiting: usize,
    answered: usize,
}

impl<Q: Question> Round<'_, Q> {
    fn ask_some(&mut self, wire: &mut Wire<'_>) {
        while self.waiting < ASKED_MAX
            && let Some(index) = self.unasked.next()
        {
            wire.send(index, self.question.ask(index));
            self.waiting += 1;
        }
    }
}

impl<Q: Question> Handler for Round<'_, Q> {
    fn message(&mut self, _: &mut Wire<'_>, from: usize, message: &[u8], _: u64) -> Result<(), Failure> {
        if self.question.answer(from, message)? {
            self.waiting -= 1;
            self.answered += 1;
        }
        Ok(())
    }
}

/// Lets time pass, answering the server's heartbeats; nothing else may come.
///
/// # Errors
/// [`Failure::Wrong`] for a message, or when a connection is lost.
pub fn rest_while(fleet: &mut Fleet, mut goes_on: impl FnMut() -> bool) -> Result<(), Failure> {
    while goes_on() {
        fleet.turn(REST_TURN, &mut Silence)?;
    }
    Ok(())
}

struct Silence;

impl Handler for Silence {
    fn message(&mut self, _: &mut Wire<'_>, from: usize, message: &[u8], _: u64) -> Result<(), Failure> {
        Err(Failure::Wrong(format!("idle connection {from} got {}", excerpt(message))))
    }
}

/// Subscribes each connection to an empty map, and insists that it is empty.
pub struct SubscribeToEmpty<'a> {
    pub codec: Codec,
    /// Whether their own changes are to come back to them, where the dialect leaves the choice.
    pub echo: bool,
    /// The map of a connection.
    pub map_of: &'a dyn Fn(usize) -> &'a str,
}

impl Question for SubscribeToEmpty<'_> {
    fn ask(&mut self, index: usize) -> &[u8] {
        self.codec.subscribe(index as u64, (self.map_of)(index), self.echo)
    }

    fn answer(&mut self, index: usize, message: &[u8]) -> Result<bool, Failure> {
        let message = self.codec.read(message)?;
        message.expect("snapshot")?;
        if message.id != Some(index as u64) || message.map != (self.map_of)(index).as_bytes() {
            return Err(Failure::Wrong(format!("connection {index} got a snapshot it did not ask for")));
        }
        message.each_entry(|_| Err(Failure::Wrong("a map nobody wrote to has entries".to_owned())))?;
        Ok(!message.more)
    }
}

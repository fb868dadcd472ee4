//! Rooms that are too large to be told by name: each member has a new state at a steady pace, which nobody is told; some go
//! and come back, and everybody is told how many there are.
//!
//! Checked: no count is more than there ever were, or less than those who stay; everybody ends with the right one.

use std::ops::Range;

use super::medium::{Kind, Medium, News, Request};
use super::shape::Shape;
use crate::clock::{Rate, now_ns};
use crate::dialect::Dialect;
use crate::drive::Scenario;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Handler, Wire};
use crate::message::Message;
use crate::scenario::fanout_checks::Barrier;
use crate::tally::Tally;
use crate::value::Stamp;

/// Who comes in at once.
const ENTERING_MAX: usize = 500;

pub struct Counted {
    shape: Shape,
    /// Of each room, those who come and go: its last ones. As many do so in a second.
    churn: usize,
    /// By membership.
    stays: Vec<Stay>,
    /// Those that were not told the right count last.
    wrong: usize,
    request: Request,
    unasked: Range<usize>,
    /// Answers to coming and going that are to come.
    waiting: usize,
    update_rate: Rate,
    churn_rate: Rate,
    /// When all this begins; 0: it has not.
    start_ns: u64,
    updates: u64,
    /// Steps of coming or going so far, each of one member of each room.
    steps: u64,
    stopping: bool,
    /// Whether everybody who was out then has been brought back.
    is_back: bool,
    /// Counts that were sent to members.
    pub counts: u64,
    barrier: Barrier,
    pub tally: Tally,
}

#[derive(Clone, Copy, Default)]
struct Stay {
    /// What it was told last; 0: nothing, or it is not there.
    count: u64,
    /// States it has set.
    sent: u64,
    /// Whether it has come or gone, and has no answer yet.
    waits: bool,
}

impl Counted {
    /// `rate`: states a second of each member.
    pub fn new(shape: Shape, rate: f64, churn: usize) -> Self {
        let memberships = shape.memberships();
        Self {
            churn: churn.min(shape.members - 1),
            stays: vec![Stay::default(); memberships],
            wrong: memberships,
            request: Request::default(),
            unasked: 0..memberships,
            waiting: 0,
            update_rate: Rate::per_second(rate * memberships as f64),
            churn_rate: Rate::per_second(churn as f64),
            start_ns: 0,
            updates: 0,
            steps: 0,
            stopping: false,
            is_back: false,
            counts: 0,
            barrier: Barrier::new(Dialect::Native),
            tally: Tally::new(),
            shape,
        }
    }

    /// Comes in, as many as may at once; it is quiet once everybody is there and knows how many that are.
    pub fn enter_some(&mut self, wire: &mut Wire<'_>) {
        while self.waiting < ENTERING_MAX
            && let Some(membership) = self.unasked.next()
        {
            self.enter(wire, membership);
        }
    }

    fn enter(&mut self, wire: &mut Wire<'_>, membership: usize) {
        let stamp = self.next_state(membership);
        let Shape { rooms, values, .. } = &self.shape;
        let room = &rooms[self.shape.room(membership)];
        let text = self.request.enter(Medium::Presence, membership as u64, room, values, stamp);
        wire.send(self.shape.connection(membership), text);
        self.stays[membership].waits = true;
        self.waiting += 1;
    }

    fn leave(&mut self, wire: &mut Wire<'_>, membership: usize) {
        let room = &self.shape.rooms[self.shape.room(membership)];
        wire.send(self.shape.connection(membership), self.request.leave(membership as u64, room));
        self.stays[membership].waits = true;
        self.waiting += 1;
    }

    fn next_state(&mut self, membership: usize) -> Stamp {
        let stay = &mut self.stays[membership];
        stay.sent += 1;
        Stamp { writer: self.shape.member(membership) as u32, sequence: stay.sent - 1 }
    }

    /// Sets the next state of the member whose turn it is, of those who stay.
    fn update(&mut self, wire: &mut Wire<'_>) {
        let staying = self.shape.members - self.churn;
        let turn = (self.updates % (staying * self.shape.rooms.len()) as u64) as usize;
        let (room, member) = (turn % self.shape.rooms.len(), turn / self.shape.rooms.len());
        self.updates += 1;
        self.tally.operations += 1;
        let membership = room * self.shape.members + member;
        let stamp = self.next_state(membership);
        let Shape { rooms, values, .. } = &self.shape;
        let text = self.request.update(Medium::Presence, &rooms[room], values, stamp);
        wire.send(self.shape.connection(membership), text);
    }

    /// One member of each room goes, and once all who come and go have gone, comes back.
    ///
    /// # Errors
    /// [`Failure::Timeout`] where one has no answer yet to what it has asked a round ago.
    fn step(&mut self, wire: &mut Wire<'_>) -> Result<(), Failure> {
        let churn = self.churn as u64;
        let (is_out, number) = (self.steps / churn % 2 == 1, (self.steps % churn) as usize);
        self.steps += 1;
        for room in 0..self.shape.rooms.len() {
            let membership = room * self.shape.members + self.shape.members - 1 - number;
            self.tally.operations += 1;
            if self.stays[membership].waits {
                return Err(Failure::Timeout(format!(
                    "membership {membership} has waited for a second: the server does not keep up; use a lower --churn"
                )));
            }
            if is_out { self.enter(wire, membership) } else { self.leave(wire, membership) }
        }
        Ok(())
    }

    /// Whoever is out comes back, so that everybody can be told the right count.
    fn bring_back(&mut self, wire: &mut Wire<'_>) {
        let (churn, members) = (self.churn as u64, self.shape.members);
        let step = self.steps % (2 * churn).max(1);
        let out = if step < churn { 0..step } else { step - churn..churn };
        for room in 0..self.shape.rooms.len() {
            for number in out.clone() {
                self.enter(wire, room * members + members - 1 - number as usize);
            }
        }
    }

    fn told(&mut self, membership: usize, count: u64) {
        let all = self.shape.members as u64;
        let before = std::mem::replace(&mut self.stays[membership].count, count);
        self.wrong = self.wrong + usize::from(before == all) - usize::from(count == all);
    }
}

impl Handler for Counted {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], _: u64) -> Result<(), Failure> {
        if text.starts_with(br#"{"type":"pong""#) {
            self.tally.operations += 1;
            let passes = self.barrier.passes(&Message::read(text)?);
            return if passes { Ok(()) } else { Err(Failure::Wrong("a pong nobody asked for".to_owned())) };
        }
        let membership = self.shape.membership(from, text, b"\"room\":\"")?;
        let news = News::read(Medium::Presence, text)?;
        if let Kind::Entered { id } | Kind::Gone { id } = news.kind {
            if id != membership as u64 || self.waiting == 0 {
                return Err(Failure::Wrong(format!("membership {membership} got the answer to {id}")));
            }
            self.waiting -= 1;
            self.stays[membership].waits = false;
            self.tally.operations += u64::from(self.start_ns == 0);
        }
        if let Kind::Gone { .. } = news.kind {
            self.told(membership, 0);
            return Ok(());
        }
        let all = self.shape.members as u64;
        let least = if self.start_ns > 0 { all - self.churn as u64 } else { 1 };
        let Some(count) = news.count.filter(|count| (least..=all).contains(count)) else {
            return Err(Failure::Wrong(format!("not {least} to {all} members: {}", excerpt(text))));
        };
        if self.start_ns > 0 && news.kind == Kind::Changed {
            return Err(Failure::Setup(format!(
                "the server tells rooms of {all} by name: start it with a lower --presence-full-max, or use --told names"
            )));
        }
        self.counts += u64::from(news.kind == Kind::Counted);
        self.told(membership, count);
        self.enter_some(wire);
        Ok(())
    }
}

impl Scenario for Counted {
    fn start(&mut self, _: &mut Wire<'_>, now: u64) {
        self.start_ns = now;
    }

    fn tick(&mut self, wire: &mut Wire<'_>, now: u64) -> Result<Option<u64>, Failure> {
        if self.stopping && !std::mem::replace(&mut self.is_back, true) {
            self.bring_back(wire);
        }
        if self.start_ns == 0 || self.stopping {
            return Ok(None);
        }
        loop {
            let update_ns = self.update_rate.due_ns(self.start_ns, self.updates + 1);
            let step_ns = self.churn_rate.due_ns(self.start_ns, self.steps + 1);
            match now_ns().max(now) {
                now if update_ns <= now => self.update(wire),
                now if step_ns <= now && self.churn > 0 => self.step(wire)?,
                _ => return Ok(Some(update_ns.min(step_ns))),
            }
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        let all_are_in = self.unasked.is_empty() && self.waiting == 0;
        all_are_in && self.stopping == self.is_back && self.wrong == 0 && self.barrier.waiting == 0
    }

    fn missing(&self) -> Failure {
        if self.waiting > 0 {
            return Failure::Lost(format!("{} who come or go were not answered", self.waiting));
        }
        let all = self.shape.members as u64;
        match self.stays.iter().position(|stay| stay.count != all) {
            Some(membership) => {
                let (wrong, count) = (self.wrong, self.stays[membership].count);
                Failure::Lost(format!(
                    "{wrong} were not told of {all} members, membership {membership} of {count}"
                ))
            }
            None => Failure::Lost(format!("{} closing pongs never came", self.barrier.waiting)),
        }
    }

    fn ask_proof(&mut self, wire: &mut Wire<'_>) {
        self.barrier.ask(wire, self.shape.connections());
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

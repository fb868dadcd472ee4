//! Rooms of which everybody is told by name: each member has a new state at a steady pace, evenly spread over all, and sees
//! the states of all others. The same load goes over maps, to be compared.
//!
//! Checked: every screen has every member, under one name; is told each state once and in order, where a later one may stand
//! for earlier ones if it does so for all, each with what was set; and ends with the last of everybody. Nobody leaves, and the count is right.

use std::ops::Range;

use hdrhistogram::Histogram;

use super::board::Board;
use super::medium::{Kind, Medium, News, Request, Told};
use super::shape::Shape;
use crate::clock::{Rate, now_ns};
use crate::dialect::Dialect;
use crate::drive::Scenario;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Handler, Wire};
use crate::message::Message;
use crate::scenario::fanout_checks::Barrier;
use crate::scenario::known::Known;
use crate::tally::{Tally, latencies, record};
use crate::value::Stamp;

/// Who comes in at once; more would only fill the server's outboxes with all who are there.
const ENTERING_MAX: usize = 100;
/// How far screens may be apart and still share what was read.
const FRAMES_APART: usize = 64;

pub struct Named {
    medium: Medium,
    shape: Shape,
    rooms: Vec<Room>,
    request: Request,
    /// Memberships that have not been asked for yet, and those that were and have no answer.
    unasked: Range<usize>,
    entering: usize,
    rate: Rate,
    /// When states are set from; 0: nobody does yet.
    start_ns: u64,
    updates: u64,
    stopping: bool,
    /// Messages that were sent to screens.
    pub messages: u64,
    /// How late states were sent.
    pub late_ns: Histogram<u64>,
    barrier: Barrier,
    pub tally: Tally,
}

struct Room {
    known: Known<Stamp>,
    /// Of members, as the server calls them.
    names: Vec<Vec<u8>>,
    /// By screen: the frame that is likely its next.
    places: Vec<u64>,
    board: Board,
}

impl Named {
    /// `rate`: states a second of each member.
    pub fn new(medium: Medium, shape: Shape, rate: f64) -> Self {
        let members = shape.members;
        let room = |_| Room {
            known: Known::new(FRAMES_APART),
            names: vec![Vec::new(); members],
            places: vec![0; members],
            board: Board::new(members, medium == Medium::Presence),
        };
        Self {
            medium,
            rooms: (0..shape.rooms.len()).map(room).collect(),
            request: Request::default(),
            unasked: 0..shape.memberships(),
            entering: 0,
            rate: Rate::per_second(rate * shape.memberships() as f64),
            start_ns: 0,
            updates: 0,
            stopping: false,
            messages: 0,
            late_ns: latencies(),
            barrier: Barrier::new(Dialect::Native),
            tally: Tally::new(),
            shape,
        }
    }

    /// Comes in, as many as may at once; it is quiet once everybody is there and seen by all.
    pub fn enter_some(&mut self, wire: &mut Wire<'_>, now: u64) -> Result<(), Failure> {
        while self.entering < ENTERING_MAX
            && let Some(membership) = self.unasked.next()
        {
            let (room, member) = (self.shape.room(membership), self.shape.member(membership));
            // Who comes into a room has a state; who watches a map sets one once all watch.
            let stamp = match self.medium {
                Medium::Presence => self.rooms[room].board.send(member, now)?,
                Medium::Map => Stamp { writer: member as u32, sequence: 0 },
            };
            let Shape { rooms, values, .. } = &self.shape;
            let text = self.request.enter(self.medium, membership as u64, &rooms[room], values, stamp);
            wire.send(self.shape.connection(membership), text);
            self.entering += 1;
        }
        Ok(())
    }

    fn entered(&mut self, wire: &mut Wire<'_>, membership: usize, id: u64, now: u64) -> Result<(), Failure> {
        if id != membership as u64 || self.entering == 0 {
            return Err(Failure::Wrong(format!("membership {membership} got the answer to {id}")));
        }
        self.entering -= 1;
        // Answers are progress, also where nobody is to be seen yet.
        self.tally.operations += 1;
        self.enter_some(wire, now)
    }

    /// Sets the next state of the membership whose turn it is: neighbours are in different rooms.
    fn update(&mut self, wire: &mut Wire<'_>, due_ns: u64) -> Result<(), Failure> {
        let turn = (self.updates % self.shape.memberships() as u64) as usize;
        self.updates += 1;
        let (room, member) = (turn % self.rooms.len(), turn / self.rooms.len());
        let now = now_ns();
        if self.tally.is_timed(due_ns) {
            record(&mut self.late_ns, due_ns, now);
        }
        let stamp = self.rooms[room].board.send(member, now)?;
        let Shape { rooms, values, members, .. } = &self.shape;
        let text = self.request.update(self.medium, &rooms[room], values, stamp);
        wire.send(self.shape.connection(room * members + member), text);
        Ok(())
    }

    /// Reads a message that no screen has had before.
    fn read(&mut self, wire: &mut Wire<'_>, membership: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let news = News::read(self.medium, text)?;
        let (all, members) = (self.shape.members as u64, self.shape.members);
        let is_whole = self.start_ns > 0;
        if news.count.is_some_and(|count| count > all || (is_whole && count != all)) {
            return Err(Failure::Wrong(format!("{:?} members, not {all}: {}", news.count, excerpt(text))));
        }
        let room = &mut self.rooms[membership / members];
        let screen = membership % members;
        let Room { known, names, places, board } = room;
        let values = &self.shape.values;
        match news.kind {
            Kind::Counted => {
                return Err(Failure::Setup(format!(
                    "the server only counts rooms of {all}: start it with --presence-full-max {all}, or use --told count"
                )));
            }
            Kind::Gone { id } => return Err(Failure::Wrong(format!("nobody has left, {id} was answered"))),
            Kind::Changed => {
                let number = known.keep(text, &mut places[screen], |stamps| {
                    news.each_told(values, |told| {
                        note_name(names, told)?;
                        stamps.push(told.stamp);
                        Ok(())
                    })
                })?;
                for &stamp in known.said(number) {
                    board.hear(screen, stamp, false, now, &mut self.tally)?;
                }
            }
            Kind::Entered { .. } | Kind::All => {
                let again = news.kind == Kind::All;
                news.each_told(values, |told| {
                    note_name(names, told)?;
                    board.hear(screen, told.stamp, again, now, &mut self.tally)
                })?;
            }
        }
        match news.kind {
            Kind::Entered { id } => self.entered(wire, membership, id, now),
            _ => Ok(()),
        }
    }

    /// States that a later one stood for, and all that came, over all rooms.
    pub fn passed_over(&self) -> u64 {
        self.rooms.iter().map(|room| room.board.passed_over).sum()
    }

    pub fn deliveries(&self) -> u64 {
        self.rooms.iter().map(|room| room.board.deliveries).sum()
    }

    /// From a state to the last of its screens, over all rooms.
    pub fn everywhere_ns(&self) -> Histogram<u64> {
        let mut all = latencies();
        for room in &self.rooms {
            // Both have the same bounds.
            let _ = all.add(&room.board.everywhere_ns);
        }
        all
    }

    fn unreached(&self) -> u64 {
        self.rooms.iter().map(|room| room.board.unreached).sum()
    }
}

/// A member has one name, whoever is told of it.
fn note_name(names: &mut [Vec<u8>], told: Told<'_>) -> Result<(), Failure> {
    let Some(name) = names.get_mut(told.stamp.writer as usize) else {
        return Err(Failure::Wrong(format!("nobody is member {}", told.stamp.writer)));
    };
    if name.is_empty() {
        name.extend_from_slice(told.name);
    }
    if told.name.is_empty() || *name != told.name {
        let (first, now) = (excerpt(name), excerpt(told.name));
        return Err(Failure::Wrong(format!("member {} is {first} and {now}", told.stamp.writer)));
    }
    Ok(())
}

impl Handler for Named {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        if text.starts_with(br#"{"type":"pong""#) {
            self.tally.operations += 1;
            let passes = self.barrier.passes(&Message::read(text)?);
            return if passes { Ok(()) } else { Err(Failure::Wrong("a pong nobody asked for".to_owned())) };
        }
        let mark: &[u8] = if self.medium == Medium::Map { b"\"map\":\"" } else { b"\"room\":\"" };
        let membership = self.shape.membership(from, text, mark)?;
        self.messages += 1;
        let screen = self.shape.member(membership);
        let Room { known, places, board, .. } = &mut self.rooms[self.shape.room(membership)];
        let Some(number) = known.find(text, &mut places[screen]) else {
            return self.read(wire, membership, text, now);
        };
        for &stamp in known.said(number) {
            board.hear(screen, stamp, false, now, &mut self.tally)?;
        }
        Ok(())
    }
}

impl Scenario for Named {
    fn start(&mut self, _: &mut Wire<'_>, now: u64) {
        self.start_ns = now;
        self.updates = 0;
    }

    fn tick(&mut self, wire: &mut Wire<'_>, now: u64) -> Result<Option<u64>, Failure> {
        while self.start_ns > 0 && !self.stopping {
            let due = self.rate.due_ns(self.start_ns, self.updates);
            if due > now {
                return Ok(Some(due));
            }
            self.update(wire, due)?;
        }
        Ok(None)
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        let all_are_in = self.unasked.is_empty() && self.entering == 0;
        all_are_in && self.barrier.waiting == 0 && self.unreached() == 0
    }

    fn missing(&self) -> Failure {
        if self.entering > 0 {
            return Failure::Lost(format!("{} who come in were not answered", self.entering));
        }
        let behind = self.rooms.iter().enumerate().find_map(|(room, one)| Some((room, one.board.behind()?)));
        match behind {
            Some((room, (screen, member))) => Failure::Lost(format!(
                "screen {screen} of room {room} lacks the last state of member {member}"
            )),
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

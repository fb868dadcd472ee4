//! The changes: one writer, at a steady pace, and everybody who has queries.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use super::QueriesOptions;
use super::screen::Screen;
use super::table::{Table, write};
use crate::clock::{Rate, now_ns};
use crate::drive::Scenario;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Fleet, Handler, Wire};
use crate::message::{Message, Request};
use crate::scenario::setup::{Question, ask_each};
use crate::tally::{Tally, latencies, record};

/// The connection that writes; the others have the queries.
const WRITER: usize = 0;
/// Requests under way past which the server does not keep up.
const OPEN_MAX: usize = 10_000;

pub struct Live<'t> {
    table: &'t mut Table,
    screens: Vec<Screen>,
    connections: usize,
    batch: u32,
    rate: Rate,
    start_ns: u64,
    requests: u64,
    /// When the requests were sent that are not acked, the first first.
    open: VecDeque<u64>,
    /// When each write was sent, from `first_write` on.
    sent_ns: Vec<u64>,
    first_write: u64,
    stopping: bool,
    /// Pongs that prove that nothing more is queued.
    pongs: usize,
    /// From a write to each screen that shows it.
    pub shown_ns: Histogram<u64>,
    /// How late requests left.
    pub late_ns: Histogram<u64>,
    pub steps: u64,
    pub timed_steps: u64,
    pub tally: Tally,
}

impl<'t> Live<'t> {
    pub fn new(table: &'t mut Table, options: &QueriesOptions) -> Self {
        let QueriesOptions { queries, connections, rate, batch, .. } = *options;
        let first_write = table.writes;
        Self {
            table,
            screens: (0..queries).map(|_| Screen::default()).collect(),
            connections: connections as usize,
            batch,
            rate: Rate::per_second(f64::from(rate) / f64::from(batch)),
            start_ns: 0,
            requests: 0,
            open: VecDeque::new(),
            sent_ns: Vec::new(),
            first_write,
            stopping: false,
            pongs: 0,
            shown_ns: latencies(),
            late_ns: latencies(),
            steps: 0,
            timed_steps: 0,
            tally: Tally::new(),
        }
    }

    /// Asks for all queries, one of each connection at a time.
    ///
    /// # Errors
    /// What went wrong on the wire.
    pub fn subscribe(&mut self, fleet: &mut Fleet, timeout_ns: u64) -> Result<(), Failure> {
        for first in (0..self.screens.len()).step_by(self.connections) {
            let asked = (self.screens.len() - first).min(self.connections);
            let mut question = Ask { live: self, first, request: Vec::new() };
            ask_each(fleet, 1..1 + asked, &mut question, timeout_ns)?;
        }
        self.expect_right()
    }

    /// # Errors
    /// What is shown that should not be, or the other way round.
    pub fn expect_right(&self) -> Result<(), Failure> {
        let shown = self.table.shown();
        let mut screens = self.screens.iter().zip(&shown).zip(0..);
        screens.try_for_each(|((screen, shown), query)| screen.expect(query, shown))
    }

    fn write(&mut self, wire: &mut Wire<'_>, due_ns: u64) -> Result<(), Failure> {
        if self.open.len() == OPEN_MAX {
            return Err(Failure::Timeout(format!(
                "{OPEN_MAX} requests are not acked: the server does not keep up"
            )));
        }
        let entries: Vec<u32> =
            (0..self.batch).map(|_| self.table.below(self.table.rows.len() as u32)).collect();
        // The same entry twice in one request would show its last value twice.
        let distinct: Vec<u32> = entries
            .iter()
            .enumerate()
            .filter(|(at, entry)| !entries[..*at].contains(entry))
            .map(|(_, entry)| *entry)
            .collect();
        let now = now_ns();
        for &entry in &distinct {
            self.table.write(entry);
            self.sent_ns.push(now);
        }
        if self.tally.is_timed(due_ns) {
            record(&mut self.late_ns, due_ns, now);
        }
        wire.send(WRITER, &write(self.table, self.requests, distinct.into_iter()));
        self.requests += 1;
        self.open.push_back(now);
        Ok(())
    }

    fn acked(&mut self, message: &Message<'_>, now: u64) -> Result<(), Failure> {
        message.expect("ack")?;
        let id = self.requests - self.open.len() as u64;
        let Some(sent_ns) = self.open.pop_front().filter(|_| message.id == Some(id)) else {
            return Err(Failure::Wrong(format!("ack {:?}, waited for {id}", message.id)));
        };
        let applied = message.applied.unwrap_or(0);
        if !matches!(message.rejected, b"" | b"[]") {
            return Err(Failure::Refused(format!("write {id}: {}", excerpt(message.rejected))));
        }
        for _ in 0..applied {
            self.tally.done(sent_ns, now);
        }
        Ok(())
    }
}

impl Handler for Live<'_> {
    fn message(&mut self, _: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let message = Message::read(text)?;
        if message.kind == b"pong" {
            self.pongs -= 1;
            return Ok(());
        }
        if from == WRITER {
            return self.acked(&message, now);
        }
        let screen = message.query.and_then(|query| self.screens.get_mut((query as usize).checked_sub(1)?));
        let Some(screen) = screen.filter(|_| message.kind == b"change") else {
            return Err(Failure::Wrong(format!("connection {from} got {}", excerpt(text))));
        };
        let Self { table, tally, shown_ns, sent_ns, first_write, .. } = self;
        let steps = screen.change(table, message.entries, |write| {
            let sent_ns = write.checked_sub(*first_write).map(|write| sent_ns[write as usize]);
            if let Some(sent_ns) = sent_ns.filter(|&sent_ns| tally.is_timed(sent_ns)) {
                record(shown_ns, sent_ns, now);
            }
        })?;
        self.steps += steps;
        self.timed_steps += if self.tally.is_timed(now) { steps } else { 0 };
        Ok(())
    }
}

impl Scenario for Live<'_> {
    fn start(&mut self, _: &mut Wire<'_>, now: u64) {
        self.start_ns = now;
    }

    fn tick(&mut self, wire: &mut Wire<'_>, now: u64) -> Result<Option<u64>, Failure> {
        while !self.stopping {
            let due = self.rate.due_ns(self.start_ns, self.requests);
            if due > now {
                return Ok(Some(due));
            }
            self.write(wire, due)?;
        }
        Ok(None)
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        self.open.is_empty() && self.pongs == 0
    }

    fn missing(&self) -> Failure {
        Failure::Lost(format!("{} acks and {} pongs never came", self.open.len(), self.pongs))
    }

    fn ask_proof(&mut self, wire: &mut Wire<'_>) {
        let mut request = Request::default();
        for connection in 1..=self.connections {
            wire.send(connection, request.ping(connection as u64));
        }
        self.pongs = self.connections;
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// Asks each connection for one query more.
struct Ask<'a, 't> {
    live: &'a mut Live<'t>,
    first: usize,
    request: Vec<u8>,
}

impl Question for Ask<'_, '_> {
    fn ask(&mut self, index: usize) -> &[u8] {
        let query = self.first + index - 1;
        self.request = self.live.table.subscribe(query as u64 + 1, query as u32);
        &self.request
    }

    fn answer(&mut self, index: usize, message: &[u8]) -> Result<bool, Failure> {
        let message = Message::read(message)?;
        message.expect("snapshot")?;
        let query = self.first + index - 1;
        if message.query != Some(query as u64 + 1) {
            return Err(Failure::Wrong(format!("connection {index} got query {:?}", message.query)));
        }
        let screen = &mut self.live.screens[query];
        screen.begin(message.entries, message.more)?;
        Ok(screen.is_whole())
    }
}

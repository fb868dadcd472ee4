//! First results: one query after the other, each of which the server has never been asked before.

use std::time::Duration;

use super::screen::Screen;
use super::table::Table;
use crate::bench::Bench;
use crate::clock::{NANOS_PER_SECOND, now_ns};
use crate::drive::Timing;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Fleet, Handler, Wire};
use crate::message::{Message, begin, write_field, write_number_field};
use crate::tally::Tally;

/// The connection that asks.
const ASKING: usize = 1;
const TURN: Duration = Duration::from_millis(5);

pub struct First<'t> {
    table: &'t Table,
    count: u32,
    shown: Vec<Vec<(Vec<u8>, u64)>>,
    query: u32,
    asked_ns: u64,
    screen: Screen,
    /// Whether nothing is under way.
    is_done: bool,
    pub tally: Tally,
}

impl<'t> First<'t> {
    pub fn new(table: &'t Table, count: u32) -> Self {
        let shown = table.shown();
        let mut tally = Tally::new();
        tally.open_window(now_ns());
        Self { table, count, shown, query: 0, asked_ns: 0, screen: Screen::default(), is_done: true, tally }
    }

    /// Of the pings beside it: half a second alone, then as long as results may take.
    pub fn timing(timing: Timing) -> Timing {
        Timing { warmup_ns: NANOS_PER_SECOND / 2, window_ns: 3 * NANOS_PER_SECOND, ..timing }
    }

    /// Asks until all were answered, and until the pings beside it are done.
    ///
    /// # Errors
    /// What went wrong on the wire, or was told wrong.
    pub fn run(
        &mut self,
        fleet: &mut Fleet,
        bench: &Bench,
        is_over: impl Fn() -> bool,
    ) -> Result<(), Failure> {
        while !is_over() || self.tally.operations < u64::from(self.count) || !self.is_done {
            if self.is_done && (!is_over() || self.tally.operations < u64::from(self.count)) {
                self.ask(&mut fleet.wire());
            }
            fleet.turn(TURN, self)?;
            if !self.is_done && now_ns() - self.asked_ns > bench.timing.timeout_ns {
                return Err(Failure::Timeout(format!("query {} got no first result", self.query)));
            }
        }
        Ok(())
    }

    fn ask(&mut self, wire: &mut Wire<'_>) {
        (self.screen, self.is_done) = (Screen::default(), false);
        self.asked_ns = now_ns();
        wire.send(ASKING, &self.table.subscribe(u64::from(self.query) + 1, self.query));
    }
}

impl Handler for First<'_> {
    fn message(&mut self, wire: &mut Wire<'_>, _: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let message = Message::read(text)?;
        if message.kind == b"unsubscribed" {
            self.query = (self.query + 1) % self.table.queries;
            self.is_done = true;
            return Ok(());
        }
        message.expect("snapshot")?;
        if message.id != Some(u64::from(self.query) + 1) {
            return Err(Failure::Wrong(format!("waited for query {}: {}", self.query, excerpt(text))));
        }
        self.screen.begin(message.entries, message.more)?;
        if self.screen.is_whole() {
            self.tally.done(self.asked_ns, now);
            self.screen.expect(self.query, &self.shown[self.query as usize])?;
            let mut request = Vec::new();
            begin(&mut request, "unsubscribe", 0);
            write_field(&mut request, "map", &[self.table.map.as_bytes()]);
            write_number_field(&mut request, "query", u64::from(self.query) + 1);
            request.push(b'}');
            wire.send(ASKING, &request);
        }
        Ok(())
    }
}

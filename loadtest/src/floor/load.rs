//! The load on the floor: the closed loops of the real scenarios, with bytes in place of messages.

use crate::clock::now_ns;
use crate::drive::Scenario;
use crate::failure::Failure;
use crate::fleet::{Handler, Wire};
use crate::tally::Tally;

/// Each connection has one request in flight.
pub struct EchoLoad {
    request: Vec<u8>,
    operations: u64,
    /// When each connection's request left; 0: none in flight.
    started_ns: Vec<u64>,
    stopping: bool,
    waiting: usize,
    pub tally: Tally,
}

impl EchoLoad {
    /// `operations`: how many the real protocol carries in one request.
    pub fn new(connections: usize, request_bytes: usize, operations: u64) -> Self {
        Self {
            request: vec![b'.'; request_bytes],
            operations,
            started_ns: vec![0; connections],
            stopping: false,
            waiting: 0,
            tally: Tally::new(),
        }
    }

    fn ask(&mut self, wire: &mut Wire<'_>, index: usize, now: u64) {
        self.started_ns[index] = now;
        self.waiting += 1;
        wire.fixed(index, &self.request);
    }
}

impl Handler for EchoLoad {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, _: &[u8], now: u64) -> Result<(), Failure> {
        self.tally.done(self.started_ns[from], now);
        self.tally.operations += self.operations - 1;
        self.waiting -= 1;
        if !self.stopping {
            self.ask(wire, from, now);
        }
        Ok(())
    }
}

impl Scenario for EchoLoad {
    fn start(&mut self, wire: &mut Wire<'_>, now: u64) {
        for index in 0..self.started_ns.len() {
            self.ask(wire, index, now);
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        self.waiting == 0
    }

    fn missing(&self) -> Failure {
        Failure::Timeout(format!("the floor owes {} answers", self.waiting))
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// Publishers keep `window` publishes in flight; one is done when every subscriber has its bytes.
pub struct FanoutLoad {
    publish: Vec<u8>,
    publishers: usize,
    subscribers: u64,
    /// Publishes in flight, over all publishers.
    in_flight_max: u64,
    published: u64,
    acked: u64,
    /// Deliveries each subscriber has had, and how many subscribers have had the delivery of that number.
    had: Vec<u64>,
    reached: Vec<u64>,
    started_ns: Vec<u64>,
    done: u64,
    stopping: bool,
    pub tally: Tally,
}

impl FanoutLoad {
    pub fn new(publishers: usize, subscribers: usize, window: u64, publish_bytes: usize) -> Self {
        let in_flight_max = window * publishers as u64;
        Self {
            publish: vec![b'.'; publish_bytes],
            publishers,
            subscribers: subscribers as u64,
            in_flight_max,
            published: 0,
            acked: 0,
            had: vec![0; subscribers],
            reached: vec![0; in_flight_max as usize],
            started_ns: vec![0; in_flight_max as usize],
            done: 0,
            stopping: false,
            tally: Tally::new(),
        }
    }

    fn refill(&mut self, wire: &mut Wire<'_>, now: u64) {
        while !self.stopping && self.published < self.done + self.in_flight_max {
            let slot = (self.published % self.in_flight_max) as usize;
            self.started_ns[slot] = now;
            wire.fixed(self.published as usize % self.publishers, &self.publish);
            self.published += 1;
        }
    }
}

impl Handler for FanoutLoad {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, _: &[u8], now: u64) -> Result<(), Failure> {
        if from < self.publishers {
            self.acked += 1;
            return Ok(());
        }
        let had = &mut self.had[from - self.publishers];
        let slot = (*had % self.in_flight_max) as usize;
        *had += 1;
        self.tally.done(self.started_ns[slot], now);
        self.reached[slot] += 1;
        if self.reached[slot] == self.subscribers {
            // Every subscriber gets them in the same order, so the oldest is always the first to be complete.
            self.reached[slot] = 0;
            self.done += 1;
            self.refill(wire, now);
        }
        Ok(())
    }
}

impl Scenario for FanoutLoad {
    fn start(&mut self, wire: &mut Wire<'_>, _: u64) {
        self.refill(wire, now_ns());
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        self.done == self.published && self.acked == self.published
    }

    fn missing(&self) -> Failure {
        let open = self.published - self.done;
        Failure::Timeout(format!("the floor owes {open} publishes and {} acks", self.published - self.acked))
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

//! The victim: an ordinary client that pings every 10 ms and writes one key every 50 ms, whatever is answered when.
//!
//! It has a thread, a ring and a connection of its own, and preempts the load, which shares its core. What is due leaves
//! when it is due, so that a server that stalls is charged for every request of the stall; how late the victim itself was
//! is told, too.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bench::Bench;
use crate::clock::now_ns;
use crate::dialect::Dialect;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Fleet, Handler, Target, Wire};
use crate::message::{Message, Request, Set};
use crate::priority::{self, Priority};
use crate::tally::{latencies, record};
use crate::value::{Stamp, Values};

const PING_EVERY_NS: u64 = 10_000_000;
const WRITE_EVERY_NS: u64 = 50_000_000;
/// Longest wait of one turn: how late a change of the phase may be noticed.
const TURN_NS: u64 = 5_000_000;
/// Bytes of the value it writes.
const VALUE_BYTES: usize = 100;

/// What is measured now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Warmup,
    Alone,
    Beside,
    /// Nothing new leaves; it waits for what it is owed.
    Over,
}

pub struct Victim {
    pub priority: Priority,
    phase: Arc<AtomicU8>,
    handle: JoinHandle<Told>,
}

/// What it has seen.
pub struct Told {
    pub alone: Histogram<u64>,
    pub beside: Histogram<u64>,
    /// Of those beside, pings and writes apart.
    pub pings: Histogram<u64>,
    pub writes: Histogram<u64>,
    /// How much later than due a request left.
    pub late: Histogram<u64>,
    /// Requests never answered; each counts as long as it had waited in the end.
    pub unanswered: usize,
    /// Why it gave up.
    pub failure: Option<Failure>,
}

impl Victim {
    /// Opens its connection. The thread inherits the core of the caller.
    ///
    /// # Errors
    /// When the connection cannot be opened.
    pub fn connect(bench: &Bench) -> Result<Self, Failure> {
        let (ready, started) = channel();
        let phase = Arc::new(AtomicU8::new(Phase::Warmup as u8));
        let (target, timeout_ns) = (bench.target.clone(), bench.timing.timeout_ns);
        let (map, seen) = (format!("victim-{}", bench.run), Arc::clone(&phase));
        let handle = std::thread::Builder::new()
            .name("victim".to_owned())
            .spawn(move || live(&target, timeout_ns, map, &seen, &ready))?;
        match started.recv() {
            Ok(priority) => Ok(Self { priority, phase, handle }),
            Err(_) => Err(joined(handle).failure.unwrap_or_else(gone)),
        }
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Whether its thread has ended, be it that it has all answers or that it lost its connection.
    pub fn is_done(&self) -> bool {
        self.handle.is_finished()
    }

    pub fn finish(self) -> Told {
        self.set_phase(Phase::Over);
        joined(self.handle)
    }
}

fn joined(handle: JoinHandle<Told>) -> Told {
    handle.join().unwrap_or_else(|_| Told { failure: Some(gone()), ..Told::new() })
}

fn gone() -> Failure {
    Failure::Setup("the victim's thread ended early".to_owned())
}

fn live(target: &Target, timeout_ns: u64, map: String, phase: &AtomicU8, ready: &Sender<Priority>) -> Told {
    let priority = priority::raise_own();
    let mut life = Life::new(map);
    let lived = Fleet::new(target).and_then(|mut fleet| {
        fleet.open(1, Dialect::Native, timeout_ns)?;
        if ready.send(priority).is_err() {
            return Err(gone());
        }
        life.run(&mut fleet, phase, timeout_ns)
    });
    life.told.failure = lived.err();
    life.give_up();
    life.told
}

impl Told {
    fn new() -> Self {
        Self {
            alone: latencies(),
            beside: latencies(),
            pings: latencies(),
            writes: latencies(),
            late: latencies(),
            unanswered: 0,
            failure: None,
        }
    }
}

struct Life {
    map: String,
    values: Values,
    request: Request,
    next_id: u64,
    /// By id: when it left, in which phase, and whether it is a write.
    owed: HashMap<u64, (u64, Phase, bool)>,
    told: Told,
}

impl Life {
    fn new(map: String) -> Self {
        let values = Values::new(VALUE_BYTES);
        Self { map, values, request: Request::default(), next_id: 0, owed: HashMap::new(), told: Told::new() }
    }

    fn run(&mut self, fleet: &mut Fleet, phase: &AtomicU8, timeout_ns: u64) -> Result<(), Failure> {
        let (mut ping_due, mut write_due) = (now_ns(), now_ns());
        let mut over_ns = None;
        loop {
            let phase = phase_of(phase.load(Ordering::Relaxed));
            let mut now = now_ns();
            if phase == Phase::Over {
                let began = *over_ns.get_or_insert(now);
                if self.owed.is_empty() || now - began > timeout_ns {
                    return Ok(());
                }
                fleet.turn(Duration::from_nanos(TURN_NS), self)?;
                continue;
            }
            for (due, every_ns, is_write) in
                [(&mut ping_due, PING_EVERY_NS, false), (&mut write_due, WRITE_EVERY_NS, true)]
            {
                if now >= *due {
                    record(&mut self.told.late, *due, now);
                    self.send(&mut fleet.wire(), now, phase, is_write);
                    // What we are late with ourselves moves the rest: there is no burst to catch up.
                    *due = if now < *due + every_ns { *due + every_ns } else { now + every_ns };
                }
                now = now_ns();
            }
            let wait_ns = ping_due.min(write_due).saturating_sub(now).min(TURN_NS);
            fleet.turn(Duration::from_nanos(wait_ns), self)?;
        }
    }

    fn send(&mut self, wire: &mut Wire<'_>, now: u64, phase: Phase, is_write: bool) {
        self.next_id += 1;
        let id = self.next_id;
        self.owed.insert(id, (now, phase, is_write));
        if is_write {
            let stamp = Stamp { writer: 0, sequence: id };
            let set = Set { map: &self.map, prefix: "key", key: 0, stamp };
            wire.send(0, self.request.write(id, &self.values, std::iter::once(set)));
        } else {
            wire.send(0, self.request.ping(id));
        }
    }

    /// What is still owed has waited until now at least.
    fn give_up(&mut self) {
        let now = now_ns();
        self.told.unanswered = self.owed.len();
        for (sent_ns, phase, is_write) in std::mem::take(&mut self.owed).into_values() {
            self.took(sent_ns, now, phase, is_write);
        }
    }

    fn took(&mut self, sent_ns: u64, now: u64, phase: Phase, is_write: bool) {
        match phase {
            Phase::Alone => record(&mut self.told.alone, sent_ns, now),
            Phase::Beside => {
                record(&mut self.told.beside, sent_ns, now);
                let apart = if is_write { &mut self.told.writes } else { &mut self.told.pings };
                record(apart, sent_ns, now);
            }
            Phase::Warmup | Phase::Over => {}
        }
    }
}

impl Handler for Life {
    fn message(&mut self, _: &mut Wire<'_>, _: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let message = Message::read(text)?;
        let owed = message.id.and_then(|id| self.owed.remove(&id));
        let Some((sent_ns, phase, is_write)) = owed else {
            return Err(Failure::Wrong(format!("the victim got {}", excerpt(text))));
        };
        let kind: &[u8] = if is_write { b"ack" } else { b"pong" };
        if message.kind != kind || (is_write && message.applied != Some(1)) {
            return Err(Failure::Refused(format!("the victim was answered {}", excerpt(text))));
        }
        self.took(sent_ns, now, phase, is_write);
        Ok(())
    }
}

fn phase_of(number: u8) -> Phase {
    [Phase::Warmup, Phase::Alone, Phase::Beside]
        .into_iter()
        .find(|phase| *phase as u8 == number)
        .unwrap_or(Phase::Over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_answered_counts_as_long_as_it_waited() {
        let mut life = Life::new("m".to_owned());
        let now = now_ns();
        life.owed.insert(1, (now, Phase::Beside, false));
        std::thread::sleep(Duration::from_millis(2));
        life.give_up();
        assert_eq!((life.told.unanswered, life.told.pings.len()), (1, 1));
        assert!(life.told.beside.max() >= 2_000_000);
    }

    #[test]
    fn phase_is_read_as_it_was_set() {
        for phase in [Phase::Warmup, Phase::Alone, Phase::Beside, Phase::Over] {
            assert_eq!(phase_of(phase as u8), phase);
        }
    }
}

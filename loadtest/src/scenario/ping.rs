//! `ping`: a closed loop of `ping` and `pong`. What a round trip through the server costs at the least.
//!
//! Checked: every pong carries the id of the ping that was asked last on its connection.

use crate::bench::Bench;
use crate::clock::NANOS_PER_SECOND;
use crate::drive::Scenario;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Handler, Wire};
use crate::floor::Shape;
use crate::frame;
use crate::message::{Message, Request};
use crate::report::figures::Outcome;
use crate::tally::{Mean, Tally};

#[derive(Clone, Debug, clap::Args)]
pub struct PingOptions {
    /// Connections, each with one ping in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
}

/// # Errors
/// What went wrong on the wire.
pub fn run(bench: &Bench, options: &PingOptions) -> Result<Outcome, Failure> {
    let connections = options.connections as usize;
    let (mut fleet, _) = bench.open(connections)?;
    let mut ping = Ping::new(connections);
    let window = bench.measure(&mut fleet, &mut ping)?;
    let mut figures = window.figures(&ping.tally);
    fleet.close();
    let (request_bytes, reply_bytes) = (ping.request_bytes.rounded(), ping.pong_bytes.rounded());
    let shape = Shape::Echo { connections, request_bytes, reply_bytes, operations: 1 };
    bench.compare_with_floor(&mut figures, shape)?;
    let title =
        format!("ping   {connections} connection{}, closed loop", if connections == 1 { "" } else { "s" });
    let checked = "every pong answered its ping".to_owned();
    Ok(Outcome { title, operation: "ping", figures, checked })
}

/// The load itself; `snapshot` uses it too.
pub struct Ping {
    request: Request,
    /// Of the ping in flight, by connection.
    asked: Vec<Asked>,
    /// `None`: closed loop.
    pace: Option<Pace>,
    waiting: usize,
    stopping: bool,
    request_bytes: Mean,
    pong_bytes: Mean,
    pub tally: Tally,
}

#[derive(Clone, Copy, Default)]
struct Asked {
    id: u64,
    at_ns: u64,
}

/// When the one connection of a paced load pings.
///
/// A pong that comes after the next ping was due makes that ping late, and its latency counts from when it was due:
/// a server that stalls is charged for every ping of the stall. A ping that we are late with ourselves moves the rest.
#[derive(Clone, Copy)]
struct Pace {
    interval_ns: u64,
    due_ns: u64,
    answered_ns: u64,
}

impl Pace {
    /// From when the ping that leaves at `now`, not before it is due, is timed; sets when the next one is due.
    fn leave(&mut self, now: u64) -> u64 {
        let start_ns = if self.answered_ns > self.due_ns { self.due_ns } else { now };
        self.due_ns = start_ns + self.interval_ns;
        start_ns
    }
}

impl Ping {
    pub fn new(connections: usize) -> Self {
        Self {
            request: Request::default(),
            asked: vec![Asked::default(); connections],
            pace: None,
            waiting: 0,
            stopping: false,
            request_bytes: Mean::default(),
            pong_bytes: Mean::default(),
            tally: Tally::new(),
        }
    }

    /// One connection that pings `rate` times a second.
    pub fn paced(rate: u32) -> Self {
        let interval_ns = NANOS_PER_SECOND / u64::from(rate.max(1));
        Self { pace: Some(Pace { interval_ns, due_ns: 0, answered_ns: 0 }), ..Self::new(1) }
    }

    fn ask(&mut self, wire: &mut Wire<'_>, index: usize, start_ns: u64) {
        let asked = &mut self.asked[index];
        *asked = Asked { id: asked.id + 1, at_ns: start_ns };
        self.waiting += 1;
        let text = self.request.ping(asked.id);
        self.request_bytes.add(frame::encoded_bytes(text.len()), 1);
        wire.send(index, text);
    }
}

impl Handler for Ping {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, message: &[u8], now: u64) -> Result<(), Failure> {
        let asked = self.asked[from];
        let pong = Message::read(message)?;
        if pong.kind != b"pong" || pong.id != Some(asked.id) || asked.at_ns == 0 {
            let id = asked.id;
            return Err(Failure::Wrong(format!(
                "connection {from} waits for pong {id}, got {}",
                excerpt(message)
            )));
        }
        self.pong_bytes.add(frame::received_bytes(message.len()), 1);
        self.tally.done(asked.at_ns, now);
        self.asked[from].at_ns = 0;
        self.waiting -= 1;
        if let Some(pace) = &mut self.pace {
            pace.answered_ns = now;
        } else if !self.stopping {
            self.ask(wire, from, now);
        }
        Ok(())
    }
}

impl Scenario for Ping {
    fn start(&mut self, wire: &mut Wire<'_>, now: u64) {
        if let Some(pace) = &mut self.pace {
            pace.due_ns = now;
            return;
        }
        for index in 0..self.asked.len() {
            self.ask(wire, index, now);
        }
    }

    fn tick(&mut self, wire: &mut Wire<'_>, now: u64) -> Result<Option<u64>, Failure> {
        let Some(pace) = self.pace.as_mut().filter(|_| self.waiting == 0 && !self.stopping) else {
            return Ok(None);
        };
        if now < pace.due_ns {
            return Ok(Some(pace.due_ns));
        }
        let start_ns = pace.leave(now);
        self.ask(wire, 0, start_ns);
        Ok(None)
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        self.waiting == 0
    }

    fn missing(&self) -> Failure {
        let silent = self.asked.iter().position(|asked| asked.at_ns != 0);
        Failure::Lost(format!("{} pongs never came, the first on connection {silent:?}", self.waiting))
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stall_of_the_server_is_charged_to_every_ping_of_it_and_our_own_to_none() {
        let mut pace = Pace { interval_ns: 10, due_ns: 100, answered_ns: 0 };
        assert_eq!(pace.leave(103), 103, "we were late");
        pace.answered_ns = 130;
        assert_eq!(pace.leave(131), 113, "the pong was late: due at 113");
        pace.answered_ns = 132;
        assert_eq!(pace.leave(133), 123, "the next one too");
        pace.answered_ns = 132;
        assert_eq!((pace.leave(133), pace.due_ns), (133, 143), "the stall is over");
    }
}

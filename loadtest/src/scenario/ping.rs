//! `ping`: a closed loop of `ping` and `pong`. What a round trip through the server costs at the least.
//!
//! Checked: every pong carries the id of the ping that was asked last on its connection.

use super::Bench;
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

impl Ping {
    pub fn new(connections: usize) -> Self {
        Self {
            request: Request::default(),
            asked: vec![Asked::default(); connections],
            waiting: 0,
            stopping: false,
            request_bytes: Mean::default(),
            pong_bytes: Mean::default(),
            tally: Tally::new(),
        }
    }

    fn ask(&mut self, wire: &mut Wire<'_>, index: usize, now: u64) {
        let asked = &mut self.asked[index];
        *asked = Asked { id: asked.id + 1, at_ns: now };
        self.waiting += 1;
        let text = self.request.ping(asked.id);
        self.request_bytes.add(frame::encoded_bytes(text.len()), 1);
        wire.text(index, text);
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
        if !self.stopping {
            self.ask(wire, from, now);
        }
        Ok(())
    }
}

impl Scenario for Ping {
    fn start(&mut self, wire: &mut Wire<'_>, now: u64) {
        for index in 0..self.asked.len() {
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
        let silent = self.asked.iter().position(|asked| asked.at_ns != 0);
        Failure::Lost(format!("{} pongs never came, the first on connection {silent:?}", self.waiting))
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

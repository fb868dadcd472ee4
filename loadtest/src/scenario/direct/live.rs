//! Messages to users who are there, at a steady pace. How long from sending one to its receiver, and what it costs.
//!
//! Checked: every message is `delivered`; each user is sent its own, once and in order, none said to have waited; every
//! acknowledgement is answered.

use hdrhistogram::Histogram;

use super::DirectOptions;
use super::letters::{Had, Request, expect_sent};
use super::users::Users;
use crate::bench::Bench;
use crate::clock::{Rate, now_ns};
use crate::dialect::Dialect;
use crate::drive::Scenario;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Handler, Wire};
use crate::message::Message;
use crate::report::figures::Outcome;
use crate::scenario::fanout_checks::Barrier;
use crate::tally::{Tally, latencies, record};
use crate::value::{Stamp, Values};

/// Messages to one receiver that have not come: seconds of them, at any sensible pace.
const UNDER_WAY_MAX: usize = 256;

/// # Errors
/// What went wrong on the wire.
pub fn run(bench: &Bench, options: &DirectOptions, users: Users) -> Result<Outcome, Failure> {
    let receivers = users.receivers();
    let (mut fleet, _) = bench.open(users.names.len())?;
    let mut live = Live::new(options, users);
    let window = bench.measure(&mut fleet, &mut live)?;
    fleet.close();
    let mut figures = window.figures(&live.tally);
    figures.set_latency("late", &live.late_ns);
    let DirectOptions { rate, senders, data_bytes, ack_every, .. } = options;
    let title = format!(
        "direct, live   {senders} → {receivers} users, {rate} messages/s of {data_bytes} B, acknowledged every {ack_every}"
    );
    let sent: u64 = live.sent.iter().sum();
    let checked = format!("all {sent} messages came once and in order");
    Ok(Outcome { title, operation: "message", figures, checked })
}

struct Live {
    users: Users,
    values: Values,
    request: Request,
    ack_every: u64,
    rate: Rate,
    start_ns: u64,
    /// Messages sent so far, and answers that have not come.
    number: u64,
    unanswered: u64,
    /// By receiver: messages that were sent to it, and when the last of them were.
    sent: Vec<u64>,
    sent_ns: Vec<u64>,
    had: Vec<Had>,
    /// Messages that have not come, and acknowledgements that were not answered.
    owed: u64,
    stopping: bool,
    late_ns: Histogram<u64>,
    barrier: Barrier,
    tally: Tally,
}

impl Live {
    fn new(options: &DirectOptions, users: Users) -> Self {
        let receivers = users.receivers();
        Self {
            values: Values::new(options.data_bytes),
            request: Request::default(),
            ack_every: options.ack_every,
            rate: Rate::per_second(options.rate as f64),
            start_ns: 0,
            number: 0,
            unanswered: 0,
            sent: vec![0; receivers],
            sent_ns: vec![0; receivers * UNDER_WAY_MAX],
            had: vec![Had::default(); receivers],
            owed: 0,
            stopping: false,
            late_ns: latencies(),
            barrier: Barrier::new(Dialect::Native),
            tally: Tally::new(),
            users,
        }
    }

    fn send(&mut self, wire: &mut Wire<'_>, due_ns: u64) -> Result<(), Failure> {
        let receiver = (self.number % self.had.len() as u64) as usize;
        let sequence = self.sent[receiver];
        if sequence - self.had[receiver].count == UNDER_WAY_MAX as u64 {
            return Err(Failure::Timeout(format!("receiver {receiver} lacks {UNDER_WAY_MAX} messages")));
        }
        let now = now_ns();
        if self.tally.is_timed(due_ns) {
            record(&mut self.late_ns, due_ns, now);
        }
        let stamp = Stamp { writer: receiver as u32, sequence };
        let to = self.users.receiver(receiver);
        wire.send(self.users.sender_to(receiver), self.request.send(self.number, to, &self.values, stamp));
        self.sent_ns[receiver * UNDER_WAY_MAX + sequence as usize % UNDER_WAY_MAX] = now;
        self.sent[receiver] += 1;
        self.number += 1;
        self.unanswered += 1;
        self.owed += 1;
        Ok(())
    }

    fn acknowledge(&mut self, wire: &mut Wire<'_>, receiver: usize) {
        let had = &mut self.had[receiver];
        had.asked = had.count;
        self.owed += 1;
        wire.send(self.users.senders + receiver, self.request.acknowledge(had.count, &had.last));
    }

    fn direct(&mut self, wire: &mut Wire<'_>, receiver: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let sequence = self.had[receiver].count as usize;
        let sent = self.sent[receiver];
        self.had[receiver].take(text, (&self.users, receiver), &self.values, sent, Some(false))?;
        self.owed -= 1;
        self.tally.done(self.sent_ns[receiver * UNDER_WAY_MAX + sequence % UNDER_WAY_MAX], now);
        let is_last = self.stopping && self.had[receiver].count == sent;
        if is_last || self.had[receiver].count.is_multiple_of(self.ack_every) {
            self.acknowledge(wire, receiver);
        }
        Ok(())
    }
}

impl Handler for Live {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        if let Some(receiver) = from.checked_sub(self.users.senders)
            && text.starts_with(br#"{"type":"direct","#)
        {
            return self.direct(wire, receiver, text, now);
        }
        let message = Message::read(text)?;
        if self.barrier.passes(&message) {
            self.tally.operations += 1;
            return Ok(());
        }
        match (message.kind, from.checked_sub(self.users.senders)) {
            (b"direct.acked", Some(receiver)) => {
                self.owed -= 1;
                self.had[receiver].acked(&message)
            }
            (b"sent", None) => {
                let id = expect_sent(text, "delivered")?;
                if id >= self.number || self.unanswered == 0 {
                    return Err(Failure::Duplicated(format!("sender {from} got another answer to {id}")));
                }
                self.unanswered -= 1;
                Ok(())
            }
            (b"queue.dropped", _) => Err(Failure::Lost(format!("user {from}: {}", excerpt(text)))),
            _ => Err(Failure::Wrong(format!("user {from} got {}", excerpt(text)))),
        }
    }
}

impl Scenario for Live {
    fn start(&mut self, _: &mut Wire<'_>, now: u64) {
        self.start_ns = now;
    }

    fn tick(&mut self, wire: &mut Wire<'_>, now: u64) -> Result<Option<u64>, Failure> {
        while !self.stopping {
            let due = self.rate.due_ns(self.start_ns, self.number);
            if due > now {
                return Ok(Some(due));
            }
            self.send(wire, due)?;
        }
        Ok(None)
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        self.owed == 0 && self.unanswered == 0 && self.barrier.waiting == 0
    }

    fn missing(&self) -> Failure {
        let lacks = |&receiver: &usize| self.had[receiver].count < self.sent[receiver];
        match (0..self.had.len()).find(lacks) {
            Some(receiver) => {
                let (count, sent) = (self.had[receiver].count, self.sent[receiver]);
                Failure::Lost(format!("receiver {receiver} has {count} of {sent} messages"))
            }
            None => Failure::Lost(format!(
                "{} messages were not answered, nor {} acknowledgements, nor {} closing pings",
                self.unanswered, self.owed, self.barrier.waiting
            )),
        }
    }

    fn ask_proof(&mut self, wire: &mut Wire<'_>) {
        self.barrier.ask(wire, self.users.names.len());
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

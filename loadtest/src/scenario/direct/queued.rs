//! Messages for users who are away, and then all of them come back at once. How long until each has what has waited.
//!
//! Checked: every message is `queued`; each user is sent its own, each once, in order and said to have waited; and once they
//! have been acknowledged a further connection is sent none of them again.

use super::DirectOptions;
use super::letters::{Had, Request, expect_sent};
use super::users::Users;
use crate::bench::Bench;
use crate::clock::{now_ns, seconds};
use crate::dialect::Dialect;
use crate::drive::{Drive, Scenario};
use crate::failure::{Failure, excerpt};
use crate::fleet::{Fleet, Framing, Handler, Wire};
use crate::message::Message;
use crate::report::figures::{Figures, Outcome};
use crate::scenario::fanout_checks::Barrier;
use crate::tally::Tally;
use crate::value::{Stamp, Values};

/// Messages that each sender has under way.
const WINDOW: u64 = 64;

/// # Errors
/// What went wrong on the wire, or did not come back.
pub fn run(bench: &Bench, options: &DirectOptions, users: Users) -> Result<Outcome, Failure> {
    let (senders, receivers) = (users.senders, users.receivers());
    let mut fleet = Fleet::new(&bench.target)?;
    fleet.open(senders, Dialect::Native, bench.timing.timeout_ns)?;
    let all = fleet.enlist(receivers, Framing::WebSocket(Dialect::Native), 0);
    let mut queued = Queued::new(options, users);
    let mut drive = Drive::new(bench.timing.timeout_ns, bench.meter.progress);
    let queueing = bench.meter.open_window();
    queued.start(&mut fleet.wire(), now_ns());
    drive.run_until_quiet(&mut fleet, &mut queued)?;
    let queueing = queueing.close(&bench.meter, options.messages);

    let returning = bench.meter.open_window();
    queued.come_back(&mut fleet.wire(), now_ns());
    drive.run_until_quiet(&mut fleet, &mut queued)?;
    let returning = returning.close(&bench.meter, options.messages);

    queued.phase = Phase::Again;
    queued.away = receivers;
    for index in all {
        fleet.wire().reconnect(index);
    }
    drive.run_until_quiet(&mut fleet, &mut queued)?;
    queued.ask_proof(&mut fleet.wire());
    drive.run_until_quiet(&mut fleet, &mut queued)?;
    fleet.close();

    let mut figures = Figures::default();
    figures.set("errors", 0.0);
    figures.set("queued_per_second", options.messages as f64 / seconds(queueing.ns));
    let mut of_queueing = Figures::default();
    queueing.set_costs(&mut of_queueing);
    if let Some(us) = of_queueing.number("server_cpu_us_per_operation") {
        figures.set("queueing_cpu_us_per_message", us);
    }
    figures.set("returned_all_ms", queued.tally.latency_ns.max() as f64 / 1e6);
    figures.set("returned_p50_ms", queued.tally.latency_ns.value_at_quantile(0.5) as f64 / 1e6);
    figures.set("connections", receivers as f64);
    returning.set_costs(&mut figures);
    let DirectOptions { messages, data_bytes, .. } = options;
    let title = format!(
        "direct, queued   {messages} messages of {data_bytes} B for {receivers} users who are away and come back"
    );
    let checked =
        "every message came once and in order to who came back, and not again once acknowledged".to_owned();
    Ok(Outcome { title, operation: "message", figures, checked })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Queueing,
    Returning,
    /// Everybody comes once more, and is to be sent nothing.
    Again,
}

struct Queued {
    users: Users,
    values: Values,
    request: Request,
    phase: Phase,
    messages: u64,
    /// By sender: messages sent so far, and those that were answered.
    sent: Vec<u64>,
    answered: Vec<u64>,
    had: Vec<Had>,
    /// Receivers that have not what is theirs, or have not come again.
    away: usize,
    began_ns: u64,
    barrier: Barrier,
    tally: Tally,
}

impl Queued {
    fn new(options: &DirectOptions, users: Users) -> Self {
        Self {
            values: Values::new(options.data_bytes),
            request: Request::default(),
            phase: Phase::Queueing,
            messages: options.messages,
            sent: vec![0; users.senders],
            answered: vec![0; users.senders],
            had: vec![Had::default(); users.receivers()],
            away: 0,
            began_ns: 0,
            barrier: Barrier::new(Dialect::Native),
            tally: Tally::new(),
            users,
        }
    }

    /// How many messages are for a receiver: they go round.
    fn for_receiver(&self, receiver: usize) -> u64 {
        let receivers = self.had.len() as u64;
        self.messages / receivers + u64::from((receiver as u64) < self.messages % receivers)
    }

    /// The receiver of a sender's message of that number, and the how-manieth this is of it; `None` after the last.
    fn turn_of(&self, sender: usize, number: u64) -> Option<(usize, u64)> {
        let (senders, receivers) = (self.users.senders, self.had.len());
        let own = (receivers - sender).div_ceil(senders) as u64;
        let (receiver, sequence) = (sender + senders * (number % own) as usize, number / own);
        (sequence < self.for_receiver(receiver)).then_some((receiver, sequence))
    }

    fn send_some(&mut self, wire: &mut Wire<'_>, sender: usize) {
        while self.sent[sender] - self.answered[sender] < WINDOW
            && let Some((receiver, sequence)) = self.turn_of(sender, self.sent[sender])
        {
            let stamp = Stamp { writer: receiver as u32, sequence };
            let to = self.users.receiver(receiver);
            wire.send(sender, self.request.send(self.sent[sender], to, &self.values, stamp));
            self.sent[sender] += 1;
        }
    }

    fn sent_was_answered(&mut self, wire: &mut Wire<'_>, sender: usize, text: &[u8]) -> Result<(), Failure> {
        let id = expect_sent(text, "queued")?;
        // Of one sender to many users, homes answer in any order.
        if self.answered[sender] == self.sent[sender] || id >= self.sent[sender] {
            return Err(Failure::Duplicated(format!("sender {sender} got another answer to {id}")));
        }
        self.answered[sender] += 1;
        self.tally.operations += 1;
        self.send_some(wire, sender);
        Ok(())
    }

    fn come_back(&mut self, wire: &mut Wire<'_>, now: u64) {
        self.phase = Phase::Returning;
        self.began_ns = now;
        self.tally.open_window(now);
        self.away = (0..self.had.len()).filter(|&receiver| self.for_receiver(receiver) > 0).count();
        for receiver in 0..self.had.len() {
            wire.reconnect(self.users.senders + receiver);
        }
    }

    fn direct(&mut self, wire: &mut Wire<'_>, receiver: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let all = self.for_receiver(receiver);
        let had = &mut self.had[receiver];
        had.take(text, (&self.users, receiver), &self.values, all, Some(true))?;
        self.tally.operations += 1;
        if had.count == all {
            had.asked = all;
            wire.send(self.users.senders + receiver, self.request.acknowledge(all, &had.last));
            self.tally.done(self.began_ns, now);
        }
        Ok(())
    }
}

impl Handler for Queued {
    fn opened(&mut self, _: &mut Wire<'_>, _: usize, _: u64) -> Result<(), Failure> {
        if self.phase == Phase::Again {
            self.away -= 1;
            self.tally.operations += 1;
        }
        Ok(())
    }

    fn message(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let Some(receiver) = from.checked_sub(self.users.senders) else {
            if self.phase == Phase::Queueing {
                return self.sent_was_answered(wire, from, text);
            }
            return self.pong(from, &Message::read(text)?);
        };
        // What the message is called is text here, and what went wrong in an error: it is read as either.
        let message = Message::read(text)?;
        match message.kind {
            b"direct" => self.direct(wire, receiver, text, now),
            b"direct.acked" => {
                self.had[receiver].acked(&message)?;
                self.away -= 1;
                Ok(())
            }
            b"queue.dropped" => Err(Failure::Lost(format!("receiver {receiver}: {}", excerpt(text)))),
            _ => self.pong(from, &message),
        }
    }
}

impl Queued {
    fn pong(&mut self, from: usize, message: &Message<'_>) -> Result<(), Failure> {
        self.tally.operations += 1;
        if self.barrier.passes(message) {
            return Ok(());
        }
        Err(Failure::Wrong(format!("user {from} got {} {:?}", excerpt(message.kind), message.id)))
    }
}

impl Scenario for Queued {
    fn start(&mut self, wire: &mut Wire<'_>, _: u64) {
        for sender in 0..self.users.senders {
            self.send_some(wire, sender);
        }
    }

    fn stop(&mut self) {}

    fn is_quiet(&self) -> bool {
        match self.phase {
            Phase::Queueing => self.answered.iter().sum::<u64>() == self.messages,
            Phase::Returning | Phase::Again => self.away == 0 && self.barrier.waiting == 0,
        }
    }

    fn missing(&self) -> Failure {
        let answered = self.answered.iter().sum::<u64>();
        if answered < self.messages {
            return Failure::Lost(format!("{} messages were not answered", self.messages - answered));
        }
        let lacks = |&receiver: &usize| self.had[receiver].acked < self.for_receiver(receiver);
        match (0..self.had.len()).find(lacks) {
            Some(receiver) => {
                let (count, all) = (self.had[receiver].count, self.for_receiver(receiver));
                Failure::Lost(format!(
                    "{} users lack something, receiver {receiver} has {count} of {all}",
                    self.away
                ))
            }
            None => Failure::Lost(format!(
                "{} did not come again, {} closing pongs never came",
                self.away, self.barrier.waiting
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

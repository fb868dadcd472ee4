//! `storm --channels`: thousands of clients, each in a channel, lose their connections at once and come back with the
//! offset they know, while messages go on being published. How long until everybody has what it has missed.
//!
//! A client is in sync when its `joined` has come, which stands behind all that was missed.
//!
//! Checked: every client is sent every message of its channel once, in the order of offsets, with the data that were
//! published, before the drop, while it comes back and after; `joined` says that it has recovered, and the offset that it
//! has; a pong at the end proves that nothing more is queued.

use super::fanout_checks::{Barrier, KEYS};
use super::storm::StormOptions;
use crate::bench::Bench;
use crate::clock::{Rate, now_ns};
use crate::dialect::{Dialect, channel};
use crate::drive::{Drive, Scenario};
use crate::failure::{Failure, excerpt};
use crate::fleet::{Handler, Wire};
use crate::message::{Message, Set, key_number};
use crate::report::figures::{Figures, Outcome};
use crate::tally::Tally;
use crate::value::{Stamp, Values};

const PREFIX: &str = "k";
/// Connections that publish, and are in no channel; each channel has messages of one of them only, so that it is known
/// which offset each has.
const PUBLISHERS: usize = 2;

/// # Errors
/// What went wrong on the wire, or was not recovered.
pub fn run(bench: &Bench, options: &StormOptions) -> Result<Outcome, Failure> {
    let clients = options.clients as usize;
    let (mut fleet, _) = bench.open(PUBLISHERS + clients)?;
    let mut storm = Storm::new(options, &bench.run);
    let mut drive = Drive::new(bench.timing.timeout_ns, bench.meter.progress);
    storm.start(&mut fleet.wire(), now_ns());
    drive.run_until_quiet(&mut fleet, &mut storm)?;
    storm.begin_publishing(now_ns());
    drive.run_for(&mut fleet, &mut storm, bench.timing.warmup_ns)?;
    let resync = bench.meter.open_window();
    storm.drop_all(&mut fleet.wire(), now_ns());
    drive.run_until_quiet(&mut fleet, &mut storm)?;
    let resync = resync.close(&bench.meter, clients as u64);
    storm.phase = Phase::Publishing;
    drive.run_for(&mut fleet, &mut storm, bench.timing.warmup_ns)?;
    storm.stop();
    drive.run_until_quiet(&mut fleet, &mut storm)?;
    storm.ask_proof(&mut fleet.wire());
    drive.run_until_quiet(&mut fleet, &mut storm)?;
    fleet.close();

    let mut figures = Figures::default();
    let ms = |quantile: f64| storm.tally.latency_ns.value_at_quantile(quantile) as f64 / 1e6;
    figures.set("resync_all_ms", storm.tally.latency_ns.max() as f64 / 1e6);
    figures.set("resync_p50_ms", ms(0.5));
    figures.set("resync_p99_ms", ms(0.99));
    figures.set("recovered", storm.recovered as f64);
    figures.set("recovered_messages", storm.missed as f64);
    figures.set("connections", clients as f64);
    figures.set("errors", 0.0);
    resync.set_costs(&mut figures);
    let StormOptions { maps, rate, .. } = options;
    let title =
        format!("storm   {clients} clients of {maps} channels drop and come back, {rate} messages/s go on");
    let checked = format!(
        "every client had all {} messages of its channel once, in order, and recovered by offset; none lost",
        storm.published
    );
    Ok(Outcome { title, operation: "client", figures, checked })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Everybody joins, for the first time or again.
    Joining,
    Publishing,
    /// Nothing is published any more; what was must arrive.
    Settling,
}

struct Storm {
    channels: Vec<Channel>,
    values: Values,
    clients: Vec<Client>,
    phase: Phase,
    rate: Rate,
    publishing_since_ns: u64,
    published: u64,
    unanswered: u64,
    /// When the connections were dropped; 0 before.
    dropped_ns: u64,
    unsynced: usize,
    recovered: u64,
    /// Messages that came between coming back and `joined`.
    missed: u64,
    request: channel::Request,
    barrier: Barrier,
    tally: Tally,
}

struct Channel {
    name: String,
    /// Which its first `joined` has told.
    epoch: Vec<u8>,
    published: u64,
    answered: u64,
}

#[derive(Clone, Copy, Default)]
struct Client {
    /// The offset of the last message that it has had.
    had: u64,
    /// Whether its `joined` has come.
    live: bool,
}

impl Storm {
    fn new(options: &StormOptions, run: &str) -> Self {
        let channel = |index| Channel {
            name: format!("storm-{run}-{index}"),
            epoch: Vec::new(),
            published: 0,
            answered: 0,
        };
        Self {
            channels: (0..options.maps).map(channel).collect(),
            values: Values::new(options.value_bytes),
            clients: vec![Client::default(); options.clients as usize],
            phase: Phase::Joining,
            rate: Rate::per_second(options.rate as f64),
            publishing_since_ns: 0,
            published: 0,
            unanswered: 0,
            dropped_ns: 0,
            unsynced: options.clients as usize,
            recovered: 0,
            missed: 0,
            request: channel::Request::default(),
            barrier: Barrier::new(Dialect::Native),
            tally: Tally::new(),
        }
    }

    fn begin_publishing(&mut self, now: u64) {
        self.phase = Phase::Publishing;
        self.publishing_since_ns = now;
    }

    fn drop_all(&mut self, wire: &mut Wire<'_>, now: u64) {
        self.phase = Phase::Joining;
        self.dropped_ns = now;
        self.unsynced = self.clients.len();
        self.tally.open_window(now);
        for (index, client) in self.clients.iter_mut().enumerate() {
            client.live = false;
            wire.drop_connection(PUBLISHERS + index);
        }
        for index in 0..self.clients.len() {
            wire.reconnect(PUBLISHERS + index);
        }
    }

    fn channel_of(&self, client: usize) -> usize {
        client % self.channels.len()
    }

    fn join(&mut self, wire: &mut Wire<'_>, client: usize) {
        let channel = &self.channels[self.channel_of(client)];
        let id = client as u64;
        let text = if self.dropped_ns == 0 {
            self.request.join(id, &channel.name, false)
        } else {
            self.request.join_since(id, &channel.name, &channel.epoch, self.clients[client].had)
        };
        wire.send(PUBLISHERS + client, text);
    }

    fn publish(&mut self, wire: &mut Wire<'_>) {
        let number = self.published as usize % self.channels.len();
        let channel = &mut self.channels[number];
        let stamp = Stamp { writer: number as u32, sequence: channel.published };
        channel.published += 1;
        self.published += 1;
        self.unanswered += 1;
        let key = stamp.sequence % KEYS;
        let set = Set { map: &channel.name, prefix: PREFIX, key, stamp };
        let text = self.request.publish(number as u64, &self.values, std::iter::once(set));
        wire.send(number % PUBLISHERS, text);
    }

    fn answered(&mut self, from: usize, message: &Message<'_>) -> Result<(), Failure> {
        let number = message.id.and_then(|id| usize::try_from(id).ok()).filter(|id| id % PUBLISHERS == from);
        let channel = number.and_then(|number| self.channels.get_mut(number));
        let Some(channel) = channel.filter(|_| message.kind == b"ack") else {
            let kind = excerpt(message.kind);
            return Err(Failure::Wrong(format!("publisher {from} got {kind} {:?}", message.id)));
        };
        let (right, offset) = (channel.answered + 1, message.offset.unwrap_or(0));
        let what = || format!("a publish in {} got the offset {offset}, not {right}", channel.name);
        if offset < right || right > channel.published {
            return Err(Failure::Duplicated(what()));
        }
        if offset > right {
            return Err(Failure::Lost(what()));
        }
        channel.answered = right;
        self.unanswered -= 1;
        Ok(())
    }

    fn said(&mut self, client: usize, message: &Message<'_>) -> Result<(), Failure> {
        let number = self.channel_of(client);
        let (channel, state) = (&self.channels[number], &mut self.clients[client]);
        let (offset, had) = (message.offset.unwrap_or(0), state.had);
        if offset <= had {
            return Err(Failure::Duplicated(format!("client {client} got message {offset} after {had}")));
        }
        if offset > had + 1 {
            return Err(Failure::Lost(format!("client {client} got message {offset} after {had}")));
        }
        message.each_entry(|entry| {
            let stamp = self.values.read(entry.value)?;
            let right = Stamp { writer: number as u32, sequence: offset - 1 };
            if stamp != right
                || offset > channel.published
                || key_number(entry.key, PREFIX)? != stamp.sequence % KEYS
            {
                return Err(Failure::Wrong(format!("client {client}, message {offset}: {stamp:?}")));
            }
            Ok(())
        })?;
        state.had = offset;
        self.missed += u64::from(!state.live && self.dropped_ns > 0);
        Ok(())
    }

    fn joined(&mut self, client: usize, message: &Message<'_>, now: u64) -> Result<(), Failure> {
        let number = self.channel_of(client);
        let (channel, state) = (&mut self.channels[number], &mut self.clients[client]);
        if std::mem::replace(&mut state.live, true) || message.id != Some(client as u64) {
            return Err(Failure::Duplicated(format!("client {client} got joined {:?}", message.id)));
        }
        let back = self.dropped_ns > 0;
        if back && !message.recovered {
            let (reason, had) = (excerpt(message.reason), state.had);
            return Err(Failure::Lost(format!(
                "client {client} did not recover what came after {had}: {reason}"
            )));
        }
        if channel.epoch.is_empty() {
            channel.epoch = message.epoch.to_vec();
        }
        if message.epoch != channel.epoch || message.offset != Some(state.had) {
            let (offset, had) = (message.offset, state.had);
            return Err(Failure::Lost(format!("client {client} was told {offset:?} and has had {had}")));
        }
        self.recovered += u64::from(back);
        self.unsynced -= 1;
        self.tally.done(self.dropped_ns, now);
        Ok(())
    }

    /// The first client that has not had all of its channel.
    fn behind(&self) -> Option<usize> {
        let last = |client: usize| self.channels[self.channel_of(client)].published;
        (0..self.clients.len()).find(|&client| self.clients[client].had != last(client))
    }
}

impl Handler for Storm {
    fn opened(&mut self, wire: &mut Wire<'_>, from: usize, _: u64) -> Result<(), Failure> {
        self.join(wire, from - PUBLISHERS);
        Ok(())
    }

    fn message(&mut self, _: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let message = channel::read(text)?;
        self.tally.operations += u64::from(self.phase == Phase::Settling);
        if self.barrier.passes(&message) {
            return Ok(());
        }
        let Some(client) = from.checked_sub(PUBLISHERS) else { return self.answered(from, &message) };
        if message.map != self.channels[self.channel_of(client)].name.as_bytes() {
            return Err(Failure::Wrong(format!("client {client} got {}", excerpt(text))));
        }
        match message.kind {
            b"change" => self.said(client, &message),
            b"snapshot" => self.joined(client, &message, now),
            b"gap" => Err(Failure::Lost(format!("client {client} was told of a {}", excerpt(text)))),
            _ => Err(Failure::Wrong(format!("client {client} got {}", excerpt(text)))),
        }
    }
}

impl Scenario for Storm {
    fn start(&mut self, wire: &mut Wire<'_>, _: u64) {
        for client in 0..self.clients.len() {
            self.join(wire, client);
        }
    }

    fn tick(&mut self, wire: &mut Wire<'_>, now: u64) -> Result<Option<u64>, Failure> {
        if self.publishing_since_ns == 0 || self.phase == Phase::Settling {
            return Ok(None);
        }
        loop {
            let due = self.rate.due_ns(self.publishing_since_ns, self.published);
            if due > now {
                return Ok(Some(due));
            }
            self.publish(wire);
        }
    }

    fn stop(&mut self) {
        self.phase = Phase::Settling;
    }

    fn is_quiet(&self) -> bool {
        match self.phase {
            Phase::Joining => self.unsynced == 0,
            Phase::Publishing => true,
            Phase::Settling => self.barrier.waiting == 0 && self.unanswered == 0 && self.behind().is_none(),
        }
    }

    fn missing(&self) -> Failure {
        if self.phase == Phase::Joining {
            let first = self.clients.iter().position(|client| !client.live);
            return Failure::Lost(format!("{} clients did not come back, first {first:?}", self.unsynced));
        }
        if self.unanswered > 0 {
            return Failure::Lost(format!("{} publishes were not answered", self.unanswered));
        }
        match self.behind() {
            Some(client) => {
                let last = self.channels[self.channel_of(client)].published;
                Failure::Lost(format!("client {client} has had {} of {last}", self.clients[client].had))
            }
            None => Failure::Lost(format!("{} closing pongs never came", self.barrier.waiting)),
        }
    }

    fn ask_proof(&mut self, wire: &mut Wire<'_>) {
        self.barrier.ask(wire, PUBLISHERS + self.clients.len());
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

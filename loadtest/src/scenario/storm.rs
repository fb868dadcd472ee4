//! `storm`: thousands of clients lose their connections at once and come back with their cursors, while writers go
//! on. How long until everybody is in sync again.
//!
//! A client is in sync when its resumed snapshot has ended. Only the subscribers fall off; the writers keep theirs,
//! so that it is known what must have arrived.
//!
//! Checked: no key ever goes back to an older value; after the writes have ended every client holds, for every key
//! of its map, the last value that was acked. In between the latest state of a key may stand for older ones.

use super::fanout_checks::Barrier;
use super::write::value_bytes;
use crate::ack::AckLevel;
use crate::bench::Bench;
use crate::clock::{NANOS_PER_SECOND, Rate, now_ns};
use crate::dialect::Dialect;
use crate::drive::{Drive, Scenario};
use crate::failure::{Failure, excerpt};
use crate::fleet::{Handler, Wire};
use crate::message::{Message, Request, Set, key_number};
use crate::report::figures::{Figures, Outcome};
use crate::tally::Tally;
use crate::value::{Stamp, Values};

#[derive(Clone, Debug, clap::Args)]
pub struct StormOptions {
    /// Clients that fall off and come back
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: u32,
    /// Maps, or channels, they share; each client subscribes to one
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub maps: u32,
    /// Writes per second that go on meanwhile
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    /// Bytes of one value as JSON text
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: usize,
    /// Channels in the place of maps: each client joins one and comes back with the offset it knows; every message
    /// published meanwhile must come, once and in order
    #[arg(long)]
    pub channels: bool,
}

/// Keys of one map; `k<number>`.
const KEYS: usize = 10;
const PREFIX: &str = "k";
/// Connections that write; each key is always written by the same one.
const WRITERS: usize = 2;

/// # Errors
/// What went wrong on the wire, or was not there in the end.
pub fn run(bench: &Bench, options: &StormOptions) -> Result<Outcome, Failure> {
    let clients = options.clients as usize;
    let (mut fleet, _) = bench.open(WRITERS + clients)?;
    let mut storm = Storm::new(options, &bench.run, bench.timing.timeout_ns);
    let mut drive = Drive::new(bench.timing.timeout_ns, bench.meter.progress);
    storm.start(&mut fleet.wire(), now_ns());
    drive.run_until_quiet(&mut fleet, &mut storm)?;
    storm.begin_writing(now_ns());
    drive.run_for(&mut fleet, &mut storm, bench.timing.warmup_ns)?;
    let resync = bench.meter.open_window();
    storm.drop_all(&mut fleet.wire(), now_ns());
    drive.run_until_quiet(&mut fleet, &mut storm)?;
    let resync = resync.close(&bench.meter, clients as u64);
    storm.phase = Phase::Writing;
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
    figures.set("resumed", storm.resumed as f64);
    figures.set("reset", storm.reset as f64);
    figures.set("resent_entries", storm.resent as f64);
    figures.set("connections", clients as f64);
    figures.set("errors", 0.0);
    resync.set_costs(&mut figures);
    let StormOptions { maps, rate, .. } = options;
    let title = format!("storm   {clients} clients of {maps} maps drop and resume, {rate} writes/s go on");
    let written: u64 = storm.cells.iter().map(|cell| cell.sent).sum();
    let checked = format!("every client ended with the last of all {written} writes to its map; none lost");
    Ok(Outcome { title, operation: "client", figures, checked })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Everybody subscribes, for the first time or again.
    Subscribing,
    Writing,
    /// Nothing is written any more; what was must arrive.
    Settling,
}

struct Storm {
    maps: Vec<String>,
    values: Values,
    clients: Vec<Client>,
    /// Map by map, key by key.
    cells: Vec<Cell>,
    phase: Phase,
    rate: Rate,
    writing_since_ns: u64,
    written: u64,
    waiting_acks: usize,
    /// When the connections were dropped; 0 before.
    dropped_ns: u64,
    timeout_ns: u64,
    unsynced: usize,
    resumed: u64,
    reset: u64,
    resent: u64,
    request: Request,
    barrier: Barrier,
    tally: Tally,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    sent: u64,
    acked: u64,
}

struct Client {
    cursor: Vec<u8>,
    /// Values it has had of each key of its map: the sequence of the last plus one.
    had: [u64; KEYS],
    /// Whether its snapshot has ended.
    live: bool,
    /// Whether it came back with a cursor: it may then be sent again what it had.
    resumed: bool,
}

impl Storm {
    fn new(options: &StormOptions, run: &str, timeout_ns: u64) -> Self {
        let maps: Vec<String> = (0..options.maps).map(|index| format!("storm-{run}-{index}")).collect();
        let client = || Client { cursor: Vec::new(), had: [0; KEYS], live: false, resumed: false };
        Self {
            cells: vec![Cell::default(); maps.len() * KEYS],
            maps,
            values: Values::new(options.value_bytes),
            clients: (0..options.clients).map(|_| client()).collect(),
            phase: Phase::Subscribing,
            rate: Rate::per_second(options.rate as f64),
            writing_since_ns: 0,
            written: 0,
            waiting_acks: 0,
            dropped_ns: 0,
            timeout_ns,
            unsynced: options.clients as usize,
            resumed: 0,
            reset: 0,
            resent: 0,
            request: Request::default(),
            barrier: Barrier::new(Dialect::Native),
            tally: Tally::new(),
        }
    }

    fn begin_writing(&mut self, now: u64) {
        self.phase = Phase::Writing;
        self.writing_since_ns = now;
    }

    fn drop_all(&mut self, wire: &mut Wire<'_>, now: u64) {
        self.phase = Phase::Subscribing;
        self.dropped_ns = now;
        self.unsynced = self.clients.len();
        self.tally.open_window(now);
        for (index, client) in self.clients.iter_mut().enumerate() {
            client.live = false;
            wire.drop_connection(WRITERS + index);
        }
        for index in 0..self.clients.len() {
            wire.reconnect(WRITERS + index);
        }
    }

    fn map_of(&self, client: usize) -> usize {
        client % self.maps.len()
    }

    fn subscribe(&mut self, wire: &mut Wire<'_>, client: usize) {
        let map = self.map_of(client);
        let text = self.request.subscribe(client as u64, &self.maps[map], &self.clients[client].cursor);
        wire.send(WRITERS + client, text);
    }

    fn write(&mut self, wire: &mut Wire<'_>) {
        // Neighbouring writes go to different maps.
        let cell = self.written as usize % self.cells.len();
        let (map, key) = (cell % self.maps.len(), cell / self.maps.len());
        let cell = map * KEYS + key;
        let sequence = self.cells[cell].sent;
        self.cells[cell].sent += 1;
        self.written += 1;
        self.waiting_acks += 1;
        let stamp = Stamp { writer: cell as u32, sequence };
        let set = Set { map: &self.maps[map], prefix: PREFIX, key: key as u64, stamp };
        wire.send(cell % WRITERS, self.request.write(cell as u64, &self.values, std::iter::once(set)));
    }

    fn acked(&mut self, from: usize, message: &Message<'_>) -> Result<(), Failure> {
        let cell = message.id.and_then(|id| usize::try_from(id).ok()).filter(|&id| id % WRITERS == from);
        let Some(cell) = cell.and_then(|cell| self.cells.get_mut(cell)) else {
            return Err(Failure::Wrong(format!("writer {from} got an answer to {:?}", message.id)));
        };
        message.expect_ack(message.id.unwrap_or(0), 1, AckLevel::Memory)?;
        cell.acked += 1;
        if cell.acked > cell.sent {
            return Err(Failure::Duplicated(format!("writer {from} got a second ack of {:?}", message.id)));
        }
        self.waiting_acks -= 1;
        Ok(())
    }

    fn take_entries(&mut self, client: usize, message: &Message<'_>) -> Result<u64, Failure> {
        let map = self.map_of(client);
        if message.map != self.maps[map].as_bytes() {
            return Err(Failure::Wrong(format!("client {client} got news of {}", excerpt(message.map))));
        }
        let (mut count, mut old) = (0, None);
        let is_change = message.kind == b"change";
        message.each_entry(|entry| {
            count += 1;
            let key = key_number(entry.key, PREFIX)? as usize;
            let stamp = self.values.read(entry.value)?;
            let cell = map * KEYS + key.min(KEYS - 1);
            if key >= KEYS || stamp.writer as usize != cell || stamp.sequence >= self.cells[cell].sent {
                return Err(Failure::Wrong(format!(
                    "client {client}, key {key}: {stamp:?} was never written"
                )));
            }
            let state = &mut self.clients[client];
            let again = stamp.sequence + 1 == state.had[key];
            if stamp.sequence + 1 < state.had[key] {
                old = Some(stamp);
            }
            if again && is_change && !state.resumed {
                return Err(Failure::Duplicated(format!("client {client}, key {key}: {stamp:?} came again")));
            }
            state.had[key] = state.had[key].max(stamp.sequence + 1);
            Ok(())
        })?;
        match old {
            // Resuming is at least once, but even then a key never goes back.
            Some(stamp) => {
                Err(Failure::OutOfOrder(format!("client {client} got {stamp:?} after a newer value")))
            }
            None => Ok(count),
        }
    }

    fn snapshot(&mut self, client: usize, message: &Message<'_>, now: u64) -> Result<(), Failure> {
        let entries = self.take_entries(client, message)?;
        let back = self.dropped_ns > 0;
        if back {
            self.resent += entries;
        }
        if message.more {
            return Ok(());
        }
        let state = &mut self.clients[client];
        if std::mem::replace(&mut state.live, true) {
            return Err(Failure::Duplicated(format!("client {client} got the end of its snapshot twice")));
        }
        state.resumed = back;
        self.unsynced -= 1;
        self.tally.done(self.dropped_ns, now);
        if back {
            self.resumed += u64::from(message.resumed);
            self.reset += u64::from(message.reset);
        }
        Ok(())
    }

    fn news(&mut self, client: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let message = Message::read(text)?;
        match message.kind {
            b"snapshot" => self.snapshot(client, &message, now)?,
            b"change" => {
                self.take_entries(client, &message)?;
            }
            _ if self.barrier.passes(&message) => {}
            _ => return Err(Failure::Wrong(format!("client {client} got {}", excerpt(text)))),
        }
        if !message.cursor.is_empty() {
            let cursor = &mut self.clients[client].cursor;
            cursor.clear();
            cursor.extend_from_slice(message.cursor);
        }
        if self.phase == Phase::Settling {
            self.tally.operations += 1;
        }
        Ok(())
    }

    /// The first client that does not hold the last value of a key of its map.
    fn behind(&self) -> Option<(usize, usize)> {
        (0..self.clients.len()).find_map(|client| {
            let cells = &self.cells[self.map_of(client) * KEYS..][..KEYS];
            let had = &self.clients[client].had;
            (0..KEYS).find(|&key| had[key] != cells[key].sent).map(|key| (client, key))
        })
    }
}

impl Handler for Storm {
    fn opened(&mut self, wire: &mut Wire<'_>, from: usize, _: u64) -> Result<(), Failure> {
        self.subscribe(wire, from - WRITERS);
        Ok(())
    }

    fn message(&mut self, _: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        if from >= WRITERS {
            return self.news(from - WRITERS, text, now);
        }
        let message = Message::read(text)?;
        if self.barrier.passes(&message) {
            self.tally.operations += 1;
            return Ok(());
        }
        self.acked(from, &message)
    }
}

impl Scenario for Storm {
    fn start(&mut self, wire: &mut Wire<'_>, _: u64) {
        for client in 0..self.clients.len() {
            self.subscribe(wire, client);
        }
    }

    fn tick(&mut self, wire: &mut Wire<'_>, now: u64) -> Result<Option<u64>, Failure> {
        if self.writing_since_ns == 0 || self.phase == Phase::Settling {
            return Ok(None);
        }
        loop {
            let due = self.rate.due_ns(self.writing_since_ns, self.written);
            if due > now {
                return Ok(Some(due));
            }
            self.write(wire);
        }
    }

    fn stop(&mut self) {
        self.phase = Phase::Settling;
    }

    fn is_quiet(&self) -> bool {
        match self.phase {
            Phase::Subscribing => self.unsynced == 0,
            Phase::Writing => true,
            Phase::Settling => self.barrier.waiting == 0 && self.waiting_acks == 0 && self.behind().is_none(),
        }
    }

    fn missing(&self) -> Failure {
        let waited = self.timeout_ns / NANOS_PER_SECOND;
        if self.phase == Phase::Subscribing {
            let first = self.clients.iter().position(|client| !client.live);
            let count = self.unsynced;
            return Failure::Lost(format!(
                "{count} clients are not in sync ({waited} s without one), first {first:?}"
            ));
        }
        if self.waiting_acks > 0 {
            return Failure::Lost(format!("{} acks never came", self.waiting_acks));
        }
        match self.behind() {
            Some((client, key)) => {
                let (had, sent) =
                    (self.clients[client].had[key], self.cells[self.map_of(client) * KEYS + key].sent);
                Failure::Lost(format!("client {client} holds value {had} of key {key}, the last was {sent}"))
            }
            None => Failure::Lost(format!("{} closing pongs never came", self.barrier.waiting)),
        }
    }

    fn ask_proof(&mut self, wire: &mut Wire<'_>) {
        self.barrier.ask(wire, WRITERS + self.clients.len());
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

//! `write`: connections that set unique keys in batches, each batch acked. Closed loop, or with `--rate` open loop.
//!
//! In the open loop a batch is sent when it is due, whatever is still unanswered, and its latency counts from when
//! it was due: a server that stalls is charged for all that should have been sent meanwhile.
//!
//! Writes that are not acked, `--ack none`, are paced by a ping behind each batch: its pong stands for the ack.
//!
//! Checked: every ack answers a batch in flight, applies all of it, and has the level that was asked; afterwards the
//! first and last batch of each connection read back as written, and the map holds exactly as many entries as were
//! acked.

use std::collections::VecDeque;

use super::Bench;
use crate::ack::AckLevel;
use crate::clock::NANOS_PER_SECOND;
use crate::drive::Scenario;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Handler, Wire};
use crate::floor::Shape;
use crate::frame;
use crate::json;
use crate::message::{Message, Request, Set, key_number};
use crate::report::figures::Outcome;
use crate::tally::{Mean, Tally};
use crate::value::{Stamp, VALUE_BYTES_MAX, VALUE_BYTES_MIN, Values};

#[derive(Clone, Debug, clap::Args)]
pub struct WriteOptions {
    /// Connections that write
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Operations in one request
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub batch: u32,
    /// Bytes of one value as JSON text
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: usize,
    /// Level of the acks: none, memory or durable. Several, such as memory,durable, run one after the other on the
    /// same server, and durable is then compared with memory
    #[arg(
        long,
        value_name = "LEVELS",
        default_value = "memory",
        value_delimiter = ',',
        hide_possible_values = true
    )]
    pub ack: Vec<AckLevel>,
    /// Open loop: operations per second in all, sent when due; latency counts from then
    #[arg(long)]
    pub rate: Option<f64>,
}

/// Parses a value size that values can have.
///
/// # Errors
/// The text for the command line.
pub fn value_bytes(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "not a number".to_owned())?;
    if (VALUE_BYTES_MIN..=VALUE_BYTES_MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("must be between {VALUE_BYTES_MIN} and {VALUE_BYTES_MAX}"))
    }
}

/// One outcome for each level, in the order they were asked for. Every other round runs them in reverse, so that
/// none of them always has the emptier server.
///
/// # Errors
/// What went wrong on the wire, or was not there afterwards.
pub fn run(bench: &Bench, options: &WriteOptions) -> Result<Vec<Outcome>, Failure> {
    let run_one = |&level: &AckLevel| run_level(bench, options, level);
    let mut outcomes: Vec<Outcome> = if bench.reversed {
        options.ack.iter().rev().map(run_one).collect::<Result<_, _>>()?
    } else {
        options.ack.iter().map(run_one).collect::<Result<_, _>>()?
    };
    if bench.reversed {
        outcomes.reverse();
    }
    let place = |level| options.ack.iter().position(|&one| one == level);
    if let Some((memory, durable)) = place(AckLevel::Memory).zip(place(AckLevel::Durable)) {
        let memory = outcomes[memory].figures.clone();
        outcomes[durable].figures.set_ratios("memory", &memory);
    }
    Ok(outcomes)
}

fn run_level(bench: &Bench, options: &WriteOptions, level: AckLevel) -> Result<Outcome, Failure> {
    let connections = options.connections as usize;
    let batch = u64::from(options.batch);
    let (mut fleet, _) = bench.open(connections)?;
    // One letter for the level: maps of all levels have names of the same length.
    let map = format!("write-{}-{}", bench.run, &level.name()[..1]);
    let mut write = Write::new(options, level, map);
    let window = bench.measure(&mut fleet, &mut write)?;
    let mut figures = window.figures(&write.tally);
    fleet.close();
    if level == AckLevel::Durable {
        bench.compare_with_disk(&mut figures);
    } else if options.rate.is_none() {
        let (request_bytes, reply_bytes) = (write.request_bytes.rounded(), write.ack_bytes.rounded());
        let shape = Shape::Echo { connections, request_bytes, reply_bytes, operations: batch };
        bench.compare_with_floor(&mut figures, shape)?;
    }
    let pace = options.rate.map_or("closed loop".to_owned(), |rate| format!("open loop at {rate} ops/s"));
    let title = format!(
        "write   {connections} connections × {batch} ops, values of {} B, acks {}, {pace}",
        options.value_bytes,
        level.name()
    );
    let checked = format!(
        "all {} operations were acked once and are in the map; {} were read back",
        write.acked_operations(),
        write.read_back
    );
    Ok(Outcome { title, operation: "op", figures, checked })
}

struct Write {
    map: String,
    /// `c<connection>-`, by connection.
    prefixes: Vec<String>,
    values: Values,
    batch: u64,
    writers: Vec<Writer>,
    pace: Option<Pace>,
    request: Request,
    waiting: usize,
    stopping: bool,
    proving: bool,
    /// Operations whose keys were read after the end and held what was written.
    read_back: u64,
    request_bytes: Mean,
    ack_bytes: Mean,
    tally: Tally,
}

#[derive(Default)]
struct Writer {
    /// Id of the next request; a request of that id holds operations from `id * batch` on.
    next_id: u64,
    in_flight: VecDeque<Batch>,
    acked: u64,
    reading: Vec<u64>,
}

struct Batch {
    id: u64,
    start_ns: u64,
}

struct Pace {
    interval_ns: f64,
    start_ns: u64,
    sent: u64,
}

impl Write {
    fn new(options: &WriteOptions, level: AckLevel, map: String) -> Self {
        let batch = u64::from(options.batch);
        let interval = |rate: f64| NANOS_PER_SECOND as f64 * batch as f64 / rate.max(1.0);
        Self {
            map,
            prefixes: (0..options.connections).map(|index| format!("c{index}-")).collect(),
            values: Values::new(options.value_bytes),
            batch,
            writers: (0..options.connections).map(|_| Writer::default()).collect(),
            pace: options.rate.map(|rate| Pace { interval_ns: interval(rate), start_ns: 0, sent: 0 }),
            request: Request::asking(level),
            waiting: 0,
            stopping: false,
            proving: false,
            read_back: 0,
            request_bytes: Mean::default(),
            ack_bytes: Mean::default(),
            tally: Tally::new(),
        }
    }

    fn acked_operations(&self) -> u64 {
        self.writers.iter().map(|writer| writer.acked * self.batch).sum()
    }

    fn send(&mut self, wire: &mut Wire<'_>, index: usize, start_ns: u64) {
        let writer = &mut self.writers[index];
        let id = writer.next_id;
        writer.next_id += 1;
        writer.in_flight.push_back(Batch { id, start_ns });
        self.waiting += 1;
        let (map, prefix) = (self.map.as_str(), self.prefixes[index].as_str());
        let sets = (id * self.batch..(id + 1) * self.batch).map(|sequence| {
            let stamp = Stamp { writer: index as u32, sequence };
            Set { map, prefix, key: sequence, stamp }
        });
        let text = self.request.write(id, &self.values, sets);
        let mut request_bytes = frame::encoded_bytes(text.len());
        wire.text(index, text);
        if self.request.ack() == AckLevel::None {
            let ping = self.request.ping(id);
            request_bytes += frame::encoded_bytes(ping.len());
            wire.text(index, ping);
        }
        self.request_bytes.add(request_bytes, 1);
    }

    fn acked(&mut self, from: usize, ack: &Message<'_>, now: u64) -> Result<(), Failure> {
        let writer = &mut self.writers[from];
        // Requests to several shards may be answered in any order; nearly always it is the first.
        let position = writer.in_flight.iter().position(|batch| Some(batch.id) == ack.id);
        let Some(batch) = position.and_then(|position| writer.in_flight.remove(position)) else {
            let known = ack.id.is_some_and(|id| id < writer.next_id);
            let what = format!("connection {from} got ack {:?}, which is not owed", ack.id);
            return Err(if known { Failure::Duplicated(what) } else { Failure::Wrong(what) });
        };
        match self.request.ack() {
            AckLevel::None => ack.expect("pong")?,
            level => ack.expect_ack(batch.id, self.batch, level)?,
        }
        writer.acked += 1;
        self.waiting -= 1;
        self.tally.done(batch.start_ns, now);
        self.tally.operations += self.batch - 1;
        Ok(())
    }

    fn ask_read_back(&mut self, wire: &mut Wire<'_>, index: usize) {
        let writer = &mut self.writers[index];
        let total = writer.next_id * self.batch;
        // At most 1000 keys fit in one read: half of it from each end.
        let each_end = self.batch.min(500).min(total);
        writer.reading = (0..each_end).chain(total - each_end..total).collect();
        writer.reading.sort_unstable();
        writer.reading.dedup();
        if writer.reading.is_empty() {
            return;
        }
        self.waiting += 1;
        let keys = writer.reading.iter().copied();
        wire.text(index, self.request.read(index as u64, &self.map, &self.prefixes[index], keys));
    }

    fn check_read_back(&mut self, from: usize, message: &Message<'_>) -> Result<(), Failure> {
        let (values, prefix) = (&self.values, self.prefixes[from].as_str());
        let reading = &mut self.writers[from].reading;
        let asked = reading.len();
        message.each_entry(|entry| {
            let key = key_number(entry.key, prefix)?;
            let stamp = values.read(entry.value)?;
            if stamp != (Stamp { writer: from as u32, sequence: key }) {
                return Err(Failure::Wrong(format!("key {prefix}{key} holds the value {stamp:?}")));
            }
            let place = reading.binary_search(&key);
            place.map(|place| reading.remove(place)).map(drop).map_err(|_| {
                Failure::Duplicated(format!("key {prefix}{key} was read back twice or was not asked for"))
            })
        })?;
        if let Some(key) = reading.first() {
            let count = reading.len();
            let what =
                format!("{count} of {asked} acked operations are not in the map, the first is {prefix}{key}");
            return Err(Failure::Lost(what));
        }
        self.read_back += asked as u64;
        Ok(())
    }

    /// Asked when all reads are answered: what was not acked may still be on its way between two shards before that.
    fn ask_digest(&mut self, wire: &mut Wire<'_>) {
        self.waiting += 1;
        wire.text(0, self.request.digest(self.writers.len() as u64, &self.map));
    }

    fn check_digest(&self, message: &Message<'_>) -> Result<(), Failure> {
        let acked = self.acked_operations();
        match json::number(message.entries) {
            Some(entries) if entries == acked => Ok(()),
            Some(entries) => {
                Err(Failure::Lost(format!("{acked} unique keys were acked, the map has {entries}")))
            }
            None => Err(Failure::Wrong("a digest without a number of entries".to_owned())),
        }
    }
}

impl Handler for Write {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let message = Message::read(text)?;
        match message.kind {
            b"ack" | b"pong" => {
                self.ack_bytes.add(frame::received_bytes(text.len()), 1);
                self.acked(from, &message, now)?;
                if !self.stopping && self.pace.is_none() {
                    self.send(wire, from, now);
                }
                return Ok(());
            }
            b"entries" if self.proving => self.check_read_back(from, &message)?,
            b"digest" if self.proving => self.check_digest(&message)?,
            _ => return Err(Failure::Wrong(format!("connection {from} got {}", excerpt(text)))),
        }
        self.waiting -= 1;
        self.tally.operations += 1;
        if message.kind == b"entries" && self.waiting == 0 {
            self.ask_digest(wire);
        }
        Ok(())
    }
}

impl Scenario for Write {
    fn start(&mut self, wire: &mut Wire<'_>, now: u64) {
        if let Some(pace) = &mut self.pace {
            pace.start_ns = now;
            return;
        }
        for index in 0..self.writers.len() {
            self.send(wire, index, now);
        }
    }

    fn tick(&mut self, wire: &mut Wire<'_>, now: u64) -> Result<Option<u64>, Failure> {
        loop {
            let writers = self.writers.len() as u64;
            let Some(pace) = self.pace.as_mut().filter(|_| !self.stopping) else { return Ok(None) };
            let due = pace.start_ns + (pace.sent as f64 * pace.interval_ns) as u64;
            if due > now {
                return Ok(Some(due));
            }
            let index = (pace.sent % writers) as usize;
            pace.sent += 1;
            self.send(wire, index, due);
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
    }

    fn is_quiet(&self) -> bool {
        self.waiting == 0
    }

    fn missing(&self) -> Failure {
        let silent = self.writers.iter().position(|writer| !writer.in_flight.is_empty());
        let what = if self.proving { "answers to reads" } else { "acks" };
        Failure::Lost(format!("{} {what} never came, the first on connection {silent:?}", self.waiting))
    }

    fn ask_proof(&mut self, wire: &mut Wire<'_>) {
        self.proving = true;
        for index in 0..self.writers.len() {
            self.ask_read_back(wire, index);
        }
        if self.waiting == 0 {
            self.ask_digest(wire);
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

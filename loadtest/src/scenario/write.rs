//! `write`: connections that set unique keys in batches, each batch acked. Closed loop, or with `--rate` open loop.
//!
//! In the open loop a batch is sent when it is due, whatever is still unanswered, and its latency counts from when
//! it was due: a server that stalls is charged for all that should have been sent meanwhile.
//!
//! Writes that are not acked, `--ack none`, are paced by a ping behind each batch: its pong stands for the ack.
//!
//! In SyncKit who writes to a document is sent its changes, so each connection writes to one of its own: as elsewhere,
//! nobody is sent what others wrote. What comes back is part of the cost.
//!
//! Checked: every ack answers a batch in flight, applies all of it, and has the level that was asked; every echo comes
//! once; afterwards the first and last batch of each connection read back as written, and the maps hold exactly as many
//! entries as were acked.

use std::collections::VecDeque;

use super::write_checks::{Echoes, Places, Proof, check_digest};
use crate::ack::AckLevel;
use crate::bench::Bench;
use crate::clock::Rate;
use crate::dialect::{self, Codec, Dialect, DialectOptions};
use crate::drive::Scenario;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Handler, Wire};
use crate::floor::Shape;
use crate::frame;
use crate::message::{Message, Set, key_number};
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
    #[command(flatten)]
    pub dialects: DialectOptions,
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

/// One outcome for each dialect and level, in the order they were asked for.
///
/// # Errors
/// What went wrong on the wire, or was not there afterwards.
pub fn run(bench: &Bench, options: &WriteOptions) -> Result<Vec<Outcome>, Failure> {
    let dialects = &options.dialects.dialect;
    let parts: Vec<(Dialect, AckLevel)> =
        dialects.iter().flat_map(|&dialect| options.ack.iter().map(move |&level| (dialect, level))).collect();
    let mut outcomes =
        bench.run_parts(&parts, |&(dialect, level)| run_part(bench, options, dialect, level))?;
    let place = |level| parts.iter().position(|&part| part == (Dialect::Native, level));
    if let Some((memory, durable)) = place(AckLevel::Memory).zip(place(AckLevel::Durable)) {
        let memory = outcomes[memory].figures.clone();
        outcomes[durable].figures.set_ratios("memory", &memory);
    }
    let part_dialects: Vec<Dialect> = parts.iter().map(|&(dialect, _)| dialect).collect();
    dialect::compare(&part_dialects, &mut outcomes);
    Ok(outcomes)
}

fn run_part(
    bench: &Bench,
    options: &WriteOptions,
    dialect: Dialect,
    level: AckLevel,
) -> Result<Outcome, Failure> {
    dialect.check_level(level)?;
    let connections = options.connections as usize;
    let batch = u64::from(options.batch);
    let (mut fleet, _) = bench.open_in(dialect, connections)?;
    // One letter for the level: maps of all levels have names of the same length.
    let map = format!("write-{}-{}", bench.run, &level.name()[..1]);
    let (maps, prover) = match dialect {
        Dialect::Channels | Dialect::SocketIo => {
            return Err(Failure::Setup(
                "--dialect: nothing of what is published in channels can be read key by key".to_owned(),
            ));
        }
        Dialect::Native => (vec![map], None),
        Dialect::SyncKit => {
            let prover = fleet.open(1, Dialect::Native, bench.timing.timeout_ns)?.start;
            ((0..connections).map(|index| format!("{map}-{index}")).collect(), Some(prover))
        }
    };
    let mut write = Write::new(options, Codec::new(dialect, level), maps, Proof::new(connections, prover));
    let window = bench.measure(&mut fleet, &mut write)?;
    let mut figures = window.figures(&write.tally);
    fleet.close();
    if level == AckLevel::Durable {
        bench.compare_with_disk(&mut figures);
    } else if options.rate.is_none() {
        let (request_bytes, reply_bytes) = (write.request_bytes.rounded(), write.reply_bytes.rounded());
        let shape = Shape::Echo { connections, request_bytes, reply_bytes, operations: batch };
        bench.compare_with_floor(&mut figures, shape)?;
    }
    let pace = options.rate.map_or("closed loop".to_owned(), |rate| format!("open loop at {rate} ops/s"));
    let title = format!(
        "{}   {connections} connections × {batch} ops, values of {} B, acks {}, {pace}",
        dialect.title("write"),
        options.value_bytes,
        level.name()
    );
    let checked = format!(
        "all {} operations were acked once and are in the map; {} were read back",
        write.writers.iter().map(|writer| writer.acked * batch).sum::<u64>(),
        write.proof.read_back
    );
    Ok(Outcome { title, operation: "op", figures, checked })
}

struct Write {
    codec: Codec,
    /// Whether acks are asked for; otherwise pongs stand for them.
    is_acked: bool,
    /// Whether every operation comes back to who wrote it.
    is_echoed: bool,
    places: Places,
    values: Values,
    batch: u64,
    writers: Vec<Writer>,
    pace: Option<Pace>,
    /// Answers that have not come.
    waiting: usize,
    echoes_owed: u64,
    stopping: bool,
    proof: Proof,
    request_bytes: Mean,
    reply_bytes: Mean,
    tally: Tally,
}

#[derive(Default)]
struct Writer {
    /// Id of the next request; a request of that id holds operations from `id * batch` on.
    next_id: u64,
    in_flight: VecDeque<Batch>,
    acked: u64,
    echoes: Echoes,
}

struct Batch {
    id: u64,
    start_ns: u64,
}

struct Pace {
    rate: Rate,
    start_ns: u64,
    sent: u64,
}

impl Write {
    fn new(options: &WriteOptions, codec: Codec, maps: Vec<String>, proof: Proof) -> Self {
        let batch = u64::from(options.batch);
        let messages = |rate: f64| Rate::per_second(rate.max(1.0) / batch as f64);
        let prefixes = (0..options.connections).map(|index| format!("c{index}-")).collect();
        Self {
            is_acked: codec.is_acked(),
            is_echoed: codec.dialect().subscribes_writers(),
            codec,
            places: Places { maps, prefixes },
            values: Values::new(options.value_bytes),
            batch,
            writers: (0..options.connections).map(|_| Writer::default()).collect(),
            pace: options.rate.map(|rate| Pace { rate: messages(rate), start_ns: 0, sent: 0 }),
            waiting: 0,
            echoes_owed: 0,
            stopping: false,
            proof,
            request_bytes: Mean::default(),
            reply_bytes: Mean::default(),
            tally: Tally::new(),
        }
    }

    fn send(&mut self, wire: &mut Wire<'_>, index: usize, start_ns: u64) {
        let writer = &mut self.writers[index];
        let id = writer.next_id;
        writer.next_id += 1;
        writer.in_flight.push_back(Batch { id, start_ns });
        self.waiting += 1;
        self.echoes_owed += if self.is_echoed { self.batch } else { 0 };
        let (map, prefix) = (self.places.map(index), self.places.prefixes[index].as_str());
        let sets = (id * self.batch..(id + 1) * self.batch).map(|sequence| {
            let stamp = Stamp { writer: index as u32, sequence };
            Set { map, prefix, key: sequence, stamp }
        });
        let text = self.codec.write(id, &self.values, sets);
        let mut request_bytes = frame::encoded_bytes(text.len());
        wire.send(index, text);
        if !self.is_acked {
            let ping = self.codec.ping(id);
            request_bytes += frame::encoded_bytes(ping.len());
            wire.send(index, ping);
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
        if self.is_acked {
            self.codec.expect_ack(ack, batch.id, self.batch)?;
        } else {
            ack.expect("pong")?;
        }
        writer.acked += 1;
        self.waiting -= 1;
        self.tally.done(batch.start_ns, now);
        self.tally.operations += self.batch - 1;
        Ok(())
    }

    fn echoed(&mut self, from: usize, change: &Message<'_>) -> Result<(), Failure> {
        let (map, prefix) = (self.places.map(from), self.places.prefixes[from].as_str());
        let (values, echoes_owed) = (&self.values, &mut self.echoes_owed);
        let Writer { next_id, echoes, .. } = &mut self.writers[from];
        if change.map != map.as_bytes() {
            return Err(Failure::Wrong(format!("connection {from} got a change of {}", excerpt(change.map))));
        }
        change.each_entry(|entry| {
            let stamp = values.read(entry.value)?;
            if stamp.writer as usize != from || key_number(entry.key, prefix)? != stamp.sequence {
                return Err(Failure::Wrong(format!(
                    "connection {from} got {stamp:?} under the key {}",
                    excerpt(entry.key)
                )));
            }
            echoes.accept(stamp.sequence, *next_id * self.batch)?;
            *echoes_owed -= 1;
            Ok(())
        })
    }

    fn proven(&mut self, wire: &mut Wire<'_>, message: &Message<'_>) -> Result<(), Failure> {
        self.waiting -= 1;
        self.tally.operations += 1;
        if message.kind == b"digest" {
            let Some(map) = message.id.filter(|&id| id < self.places.maps.len() as u64) else {
                return Err(Failure::Wrong(format!("the digest {:?} was not asked for", message.id)));
            };
            let acked =
                self.places.writers(map as usize).map(|writer| self.writers[writer].acked).sum::<u64>();
            return check_digest(message, acked * self.batch);
        }
        self.proof.check_read_back(message, &self.places, &self.values)?;
        if self.waiting == 0 {
            self.ask_digests(wire);
        }
        Ok(())
    }

    /// Asked when all reads are answered: what was not acked may still be on its way between two shards before that.
    fn ask_digests(&mut self, wire: &mut Wire<'_>) {
        self.waiting += self.proof.ask_digests(wire, &self.places);
    }
}

impl Handler for Write {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let is_prover = self.proof.is_prover(from);
        let message = if is_prover { Message::read(text)? } else { self.codec.read(text)? };
        match message.kind {
            b"ack" | b"pong" if !is_prover => {
                self.reply_bytes.add(frame::received_bytes(text.len()), 1);
                self.acked(from, &message, now)?;
                if !self.stopping && self.pace.is_none() {
                    self.send(wire, from, now);
                }
                Ok(())
            }
            b"change" if self.is_echoed && !is_prover => {
                self.reply_bytes.add(frame::received_bytes(text.len()), 0);
                self.echoed(from, &message)
            }
            b"entries" | b"digest" if self.proof.is_under_way => self.proven(wire, &message),
            _ => Err(Failure::Wrong(format!("connection {from} got {}", excerpt(text)))),
        }
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
            let due = pace.rate.due_ns(pace.start_ns, pace.sent);
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
        self.waiting == 0 && self.echoes_owed == 0
    }

    fn missing(&self) -> Failure {
        if self.waiting == 0 {
            return Failure::Lost(format!("{} echoes never came", self.echoes_owed));
        }
        let silent = self.writers.iter().position(|writer| !writer.in_flight.is_empty());
        let what = if self.proof.is_under_way { "answers to reads" } else { "acks" };
        Failure::Lost(format!("{} {what} never came, the first on connection {silent:?}", self.waiting))
    }

    fn ask_proof(&mut self, wire: &mut Wire<'_>) {
        self.proof.is_under_way = true;
        for (index, writer) in self.writers.iter().enumerate() {
            let total = writer.next_id * self.batch;
            if total > 0 {
                self.proof.ask_read_back(wire, &self.places, index, self.batch, total);
                self.waiting += 1;
            }
        }
        if self.waiting == 0 {
            self.ask_digests(wire);
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

//! `redis`: the load of `write`, as pipelines of `SET`s with the same keys and values, on a Redis that syncs every
//! write before it answers; and on this server with durable acks, one after the other on the same core and disk.
//!
//! Checked: every `SET` is answered with OK; afterwards the first and last pipeline of each connection read back as
//! written, and the database has exactly as many keys as were written. This server is checked as in `write`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::write;
use super::write::{WriteOptions, value_bytes};
use crate::ack::AckLevel;
use crate::bench::Bench;
use crate::dialect::DialectOptions;
use crate::disk::data_dir::DataDir;
use crate::drive::Scenario;
use crate::failure::{Failure, excerpt};
use crate::fleet::{Fleet, Framing, Handler, Target, Wire};
use crate::report::figures::Outcome;
use crate::resp::{self, Reply};
use crate::rig::{Rig, Run};
use crate::server::process::with_server_output;
use crate::server::{locate, redis};
use crate::tally::Tally;
use crate::value::{Stamp, Values, write_number};

#[derive(Clone, Debug, clap::Args)]
pub struct RedisOptions {
    /// Connections that write
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// SETs in one pipeline, and operations in one request of this server
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub batch: u32,
    /// Bytes of one value, the quotes that make it JSON included
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: usize,
    /// Redis to start, with `--appendonly yes --appendfsync always --save ""` and its own defaults otherwise
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    pub redis_bin: PathBuf,
    /// Further arguments of Redis, separated by spaces
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub redis_args: String,
    /// Measure the Redis at this address, which must be empty, instead of starting one
    #[arg(long, value_name = "ADDR:PORT")]
    pub redis_address: Option<SocketAddr>,
    /// Measure Redis only
    #[arg(long)]
    pub alone: bool,
}

/// Redis first and this server second, whichever of them ran first: that takes turns.
///
/// # Errors
/// What went wrong on the wire, or was not there afterwards.
pub fn run(rig: &Rig<'_>, options: &RedisOptions, run: &Run) -> Result<Vec<Outcome>, Failure> {
    if options.alone {
        return Ok(vec![run_redis(rig, options, run)?]);
    }
    let (redis, mut own) = if run.reversed {
        let own = run_own(rig, options, run)?;
        (run_redis(rig, options, run)?, own)
    } else {
        (run_redis(rig, options, run)?, run_own(rig, options, run)?)
    };
    for outcome in &mut own {
        outcome.figures.set_ratios("redis", &redis.figures);
    }
    Ok(std::iter::once(redis).chain(own).collect())
}

fn run_own(rig: &Rig<'_>, options: &RedisOptions, run: &Run) -> Result<Vec<Outcome>, Failure> {
    let data = rig.data_dir(true)?;
    let disk = rig.probe_disk(data.as_ref())?;
    let mut server = (!rig.is_remote()).then(|| rig.start_server(data.as_ref(), &[])).transpose()?;
    let bench = rig.bench(server.as_ref(), disk, run)?;
    let same = WriteOptions {
        connections: options.connections,
        batch: options.batch,
        value_bytes: options.value_bytes,
        ack: vec![AckLevel::Durable],
        dialects: DialectOptions::native(),
        rate: None,
    };
    write::run(&bench, &same).map_err(|failure| with_server_output(failure, server.as_mut()))
}

fn run_redis(rig: &Rig<'_>, options: &RedisOptions, run: &Run) -> Result<Outcome, Failure> {
    if let Some(address) = options.redis_address {
        let bench = rig.bench_at(Target::loopback(address), locate::listener_pid(address), None, run);
        return measure(&bench, options);
    }
    let data = DataDir::create(rig.data_parent())?;
    let disk = rig.probe_disk(Some(&data))?;
    let launch =
        redis::Launch { binary: &options.redis_bin, data: data.path(), arguments: &options.redis_args };
    let mut server = rig.start_alone(|| launch.start())?;
    let bench = rig.bench_at(Target::loopback(server.address), Some(server.pid()), disk, run);
    measure(&bench, options).map_err(|failure| with_server_output(failure, Some(&mut server)))
}

fn measure(bench: &Bench, options: &RedisOptions) -> Result<Outcome, Failure> {
    let mut fleet = Fleet::new(&bench.target)?;
    fleet.open_as(options.connections as usize, Framing::Resp, 0, bench.timing.timeout_ns)?;
    let mut sets = Sets::new(options);
    let window = bench.measure(&mut fleet, &mut sets)?;
    let mut figures = window.figures(&sets.tally);
    bench.compare_with_disk(&mut figures);
    fleet.close();
    let RedisOptions { connections, batch, value_bytes, .. } = options;
    let title = format!(
        "redis   {connections} connections × {batch} SETs, values of {value_bytes} B, appendfsync always, closed loop"
    );
    let checked = format!(
        "all {} SETs were answered once and are in the database; {} were read back",
        sets.written(),
        sets.read_back
    );
    Ok(Outcome { title, operation: "op", figures, checked })
}

struct Sets {
    values: Values,
    batch: u64,
    writers: Vec<Writer>,
    phase: Phase,
    /// Replies that have not come, over all connections.
    waiting: usize,
    read_back: u64,
    commands: Commands,
    tally: Tally,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Writing,
    Stopping,
    ReadingBack,
    Counting,
}

#[derive(Default)]
struct Writer {
    /// Keys sent so far; each connection has its own.
    sent: u64,
    /// Replies of the pipeline in flight that have not come, and when it left.
    unanswered: u64,
    start_ns: u64,
    /// Keys that are being read back, in the order they were asked for, and how many have come.
    reading: Vec<u64>,
    read: usize,
}

/// Commands of one pipeline, in buffers that are used again and again.
#[derive(Default)]
struct Commands {
    text: Vec<u8>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Commands {
    fn set(&mut self, index: usize, sequence: u64, values: &Values) {
        self.name(index, sequence);
        self.value.clear();
        values.write(&mut self.value, Stamp { writer: index as u32, sequence });
        resp::encode(&mut self.text, &[b"SET", &self.key, &self.value]);
    }

    fn get(&mut self, index: usize, sequence: u64) {
        self.name(index, sequence);
        resp::encode(&mut self.text, &[b"GET", &self.key]);
    }

    /// The key that `write` gives it.
    fn name(&mut self, index: usize, sequence: u64) {
        self.key.clear();
        self.key.push(b'c');
        write_number(&mut self.key, index as u64);
        self.key.push(b'-');
        write_number(&mut self.key, sequence);
    }
}

impl Sets {
    fn new(options: &RedisOptions) -> Self {
        Self {
            values: Values::new(options.value_bytes),
            batch: u64::from(options.batch),
            writers: (0..options.connections).map(|_| Writer::default()).collect(),
            phase: Phase::Writing,
            waiting: 0,
            read_back: 0,
            commands: Commands::default(),
            tally: Tally::new(),
        }
    }

    fn written(&self) -> u64 {
        self.writers.iter().map(|writer| writer.sent).sum()
    }

    fn send(&mut self, wire: &mut Wire<'_>, index: usize, now: u64) {
        let writer = &mut self.writers[index];
        self.commands.text.clear();
        for sequence in writer.sent..writer.sent + self.batch {
            self.commands.set(index, sequence, &self.values);
        }
        writer.sent += self.batch;
        writer.unanswered = self.batch;
        writer.start_ns = now;
        self.waiting += self.batch as usize;
        wire.fixed(index, &self.commands.text);
    }

    fn answered(
        &mut self,
        wire: &mut Wire<'_>,
        from: usize,
        reply: Reply<'_>,
        now: u64,
    ) -> Result<(), Failure> {
        let writer = &mut self.writers[from];
        if reply != Reply::Simple(b"OK") {
            return Err(Failure::Wrong(format!("connection {from}: SET was answered with {reply:?}")));
        }
        if writer.unanswered == 0 {
            return Err(Failure::Duplicated(format!("connection {from} got more replies than SETs")));
        }
        writer.unanswered -= 1;
        if writer.unanswered == 0 {
            self.tally.done(writer.start_ns, now);
            self.tally.operations += self.batch - 1;
            if self.phase == Phase::Writing {
                self.send(wire, from, now);
            }
        }
        Ok(())
    }

    fn ask_read_back(&mut self, wire: &mut Wire<'_>, index: usize) {
        let writer = &mut self.writers[index];
        let each_end = self.batch.min(writer.sent);
        writer.reading = (0..each_end).chain(writer.sent - each_end..writer.sent).collect();
        writer.reading.sort_unstable();
        writer.reading.dedup();
        self.commands.text.clear();
        for &sequence in &writer.reading {
            self.commands.get(index, sequence);
        }
        self.waiting += writer.reading.len();
        wire.fixed(index, &self.commands.text);
    }

    fn check_read_back(&mut self, from: usize, reply: Reply<'_>) -> Result<(), Failure> {
        let writer = &mut self.writers[from];
        let Some(&sequence) = writer.reading.get(writer.read) else {
            return Err(Failure::Duplicated(format!("connection {from} got more replies than GETs")));
        };
        writer.read += 1;
        let right = Stamp { writer: from as u32, sequence };
        match reply {
            Reply::Bulk(Some(value)) if self.values.read(value)? == right => {
                self.read_back += 1;
                Ok(())
            }
            Reply::Bulk(None) => Err(Failure::Lost(format!("key c{from}-{sequence} is not in the database"))),
            Reply::Simple(b"OK") => Err(Failure::Duplicated(format!(
                "connection {from} got a reply of SET after each had its own"
            ))),
            other => Err(Failure::Wrong(format!("GET c{from}-{sequence} was answered with {other:?}"))),
        }
    }

    fn check_count(&self, reply: Reply<'_>) -> Result<(), Failure> {
        let written = self.written();
        match reply {
            Reply::Integer(keys) if keys == written => Ok(()),
            Reply::Integer(keys) if keys > written => Err(Failure::Wrong(format!(
                "the database has {keys} keys, {written} were written; was it empty?"
            ))),
            Reply::Integer(keys) => {
                Err(Failure::Lost(format!("{written} unique keys were written, the database has {keys}")))
            }
            other => Err(Failure::Wrong(format!("DBSIZE was answered with {other:?}"))),
        }
    }
}

impl Handler for Sets {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let Some((reply, _)) = resp::decode(text)? else {
            return Err(Failure::Wrong(format!("half a reply: {}", excerpt(text))));
        };
        if let Reply::Error(why) = reply {
            return Err(Failure::Refused(format!("Redis answered {}", excerpt(why))));
        }
        self.waiting = self.waiting.saturating_sub(1);
        match self.phase {
            Phase::Writing | Phase::Stopping => return self.answered(wire, from, reply, now),
            Phase::ReadingBack => self.check_read_back(from, reply)?,
            Phase::Counting => self.check_count(reply)?,
        }
        self.tally.operations += 1;
        if self.waiting == 0 && self.phase == Phase::ReadingBack {
            self.phase = Phase::Counting;
            self.waiting = 1;
            self.commands.text.clear();
            resp::encode(&mut self.commands.text, &[b"DBSIZE"]);
            wire.fixed(0, &self.commands.text);
        }
        Ok(())
    }
}

impl Scenario for Sets {
    fn start(&mut self, wire: &mut Wire<'_>, now: u64) {
        for index in 0..self.writers.len() {
            self.send(wire, index, now);
        }
    }

    fn stop(&mut self) {
        self.phase = Phase::Stopping;
    }

    fn is_quiet(&self) -> bool {
        self.waiting == 0
    }

    fn missing(&self) -> Failure {
        Failure::Lost(format!("{} replies of Redis never came", self.waiting))
    }

    fn ask_proof(&mut self, wire: &mut Wire<'_>) {
        self.phase = Phase::ReadingBack;
        for index in 0..self.writers.len() {
            self.ask_read_back(wire, index);
        }
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

//! `bigger`: a data set many times the server's memory limit, in many maps. Everything is written with durable acks,
//! map after map, then everything is read, so that maps are evicted and loaded again all the time.
//!
//! A request that the server answers with `overloaded` is repeated after the time it says; how often is reported.
//!
//! Checked: every key of every map is read once with its value, on another connection than the one that wrote it.

use super::write::value_bytes;
use crate::ack::AckLevel;
use crate::bench::Bench;
use crate::clock::{NANOS_PER_SECOND, now_ns, seconds};
use crate::cpu::Subject;
use crate::drive::{Drive, Scenario};
use crate::failure::Failure;
use crate::fleet::{Handler, Wire};
use crate::message::{Message, Request, Set, key_number};
use crate::report::figures::{Figures, Outcome};
use crate::server::warm_memory::parse_size;
use crate::tally::Tally;
use crate::value::{Stamp, Values};

#[derive(Clone, Debug, clap::Args)]
pub struct BiggerOptions {
    /// Memory limit of the started server
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = parse_size)]
    pub memory_limit: usize,
    /// How many times that the keys and values are, in bytes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub times: u32,
    /// Keys of one map
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..))]
    pub map_keys: u32,
    /// Bytes of one value as JSON text
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: usize,
    /// Connections, each with one map and one request at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
}

const PREFIX: &str = "k";
/// Bytes of a key as it is counted here: `k` and four digits.
const KEY_BYTES: usize = 5;
/// Keys of one request.
const REQUEST_KEYS: u64 = 500;

impl BiggerOptions {
    pub fn server_arguments(&self) -> Vec<String> {
        vec!["--memory-limit".to_owned(), self.memory_limit.to_string()]
    }

    fn maps(&self) -> usize {
        let map_bytes = self.map_keys as usize * (self.value_bytes + KEY_BYTES);
        (self.times as usize * self.memory_limit).div_ceil(map_bytes)
    }
}

/// # Errors
/// What went wrong on the wire, or was not there afterwards.
pub fn run(bench: &Bench, options: &BiggerOptions) -> Result<Outcome, Failure> {
    let (mut fleet, _) = bench.open(options.connections as usize)?;
    let mut bigger = Bigger::new(options, &bench.run, bench.timing.timeout_ns);
    let total = bigger.maps.len() as u64 * bigger.map_keys;
    let mut drive = Drive::new(bench.timing.timeout_ns, bench.meter.progress);
    let window = bench.meter.open_window();
    let mut figures = Figures::default();
    for (phase, name) in [(Phase::Writing, "writes_per_second"), (Phase::Reading, "reads_per_second")] {
        let began_ns = now_ns();
        bigger.phase = phase;
        bigger.start(&mut fleet.wire(), began_ns);
        drive.run_until_quiet(&mut fleet, &mut bigger)?;
        figures.set(name, total as f64 / seconds((now_ns() - began_ns).max(1)));
    }
    let window = window.close(&bench.meter, 2 * total);
    fleet.close();

    window.set_costs(&mut figures);
    figures.set("errors", 0.0);
    figures.set("overloaded", bigger.overloaded as f64);
    figures.set("maps", bigger.maps.len() as f64);
    let bytes = total as f64 * (options.value_bytes + KEY_BYTES) as f64;
    figures.set("data_set_mib", bytes / f64::from(1 << 20));
    figures.set("times_the_limit", bytes / options.memory_limit as f64);
    if let Some(peak) = bench.meter.subject.and_then(Subject::resident_bytes_peak) {
        figures.set("server_rss_peak_mib", peak as f64 / f64::from(1 << 20));
    }
    let BiggerOptions { memory_limit, map_keys, value_bytes, connections, .. } = options;
    let title = format!(
        "bigger   a memory limit of {} MiB, maps of {map_keys} keys, values of {value_bytes} B, {connections} connections",
        memory_limit >> 20
    );
    let checked = format!("all {total} keys were acked as durable and read back with their values");
    Ok(Outcome { title, operation: "op", figures, checked })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Writing,
    Reading,
}

struct Bigger {
    maps: Vec<String>,
    map_keys: u64,
    values: Values,
    phase: Phase,
    workers: Vec<Worker>,
    working: usize,
    overloaded: u64,
    timeout_ns: u64,
    request: Request,
    tally: Tally,
}

#[derive(Default)]
struct Worker {
    /// The request under way: its map, its first key, and its number.
    map: usize,
    first: u64,
    id: u64,
    /// When it is to be sent again.
    repeat_ns: Option<u64>,
    start_ns: u64,
    /// Of a read: which keys have come.
    had: Vec<bool>,
}

impl Bigger {
    fn new(options: &BiggerOptions, run: &str, timeout_ns: u64) -> Self {
        let workers = (options.connections as usize).min(options.maps());
        Self {
            maps: (0..options.maps()).map(|number| format!("bigger-{run}-{number}")).collect(),
            map_keys: u64::from(options.map_keys),
            values: Values::new(options.value_bytes),
            phase: Phase::Writing,
            workers: (0..workers).map(|_| Worker::default()).collect(),
            working: 0,
            overloaded: 0,
            timeout_ns,
            request: Request::asking(AckLevel::Durable),
            tally: Tally::new(),
        }
    }

    /// The first map of a worker; the others follow in steps of the number of workers. What one writes another reads.
    fn first_map(&self, index: usize) -> usize {
        match self.phase {
            Phase::Writing => index,
            Phase::Reading => (index + 1) % self.workers.len(),
        }
    }

    fn send(&mut self, wire: &mut Wire<'_>, index: usize) {
        let worker = &mut self.workers[index];
        worker.id += 1;
        worker.repeat_ns = None;
        let (map, keys) = (self.maps[worker.map].as_str(), worker.first..last(worker.first, self.map_keys));
        let text = match self.phase {
            Phase::Writing => {
                let writer = worker.map as u32;
                let sets = keys.map(|key| {
                    let stamp = Stamp { writer, sequence: key };
                    Set { map, prefix: PREFIX, key, stamp }
                });
                self.request.write(worker.id, &self.values, sets)
            }
            Phase::Reading => {
                worker.had.clear();
                worker.had.resize((keys.end - keys.start) as usize, false);
                self.request.read(worker.id, map, PREFIX, keys)
            }
        };
        wire.send(index, text);
    }

    fn advance(&mut self, wire: &mut Wire<'_>, index: usize, now: u64) {
        let step = self.workers.len();
        let worker = &mut self.workers[index];
        self.tally.done(worker.start_ns, now);
        worker.first = last(worker.first, self.map_keys);
        if worker.first == self.map_keys {
            worker.first = 0;
            worker.map += step;
        }
        worker.start_ns = now;
        if worker.map < self.maps.len() {
            self.send(wire, index);
        } else {
            self.working -= 1;
        }
    }

    /// Whether it is done; otherwise it is to be repeated.
    fn acked(&mut self, from: usize, message: &Message<'_>, now: u64) -> Result<bool, Failure> {
        let worker = &mut self.workers[from];
        if message.kind == b"ack"
            && message.id == Some(worker.id)
            && let Some(wait_ms) = message.overloaded_for_ms()?
        {
            worker.repeat_ns = Some(now + wait_ms * 1_000_000);
            self.overloaded += 1;
            return Ok(false);
        }
        let keys = last(worker.first, self.map_keys) - worker.first;
        message.expect_ack(worker.id, keys, AckLevel::Durable)?;
        Ok(true)
    }

    fn check_read(&mut self, from: usize, message: &Message<'_>) -> Result<(), Failure> {
        message.expect("entries")?;
        let worker = &mut self.workers[from];
        let map = self.maps[worker.map].as_str();
        if message.id != Some(worker.id) || message.map != map.as_bytes() {
            return Err(Failure::Wrong(format!("connection {from} got the answer to {:?}", message.id)));
        }
        message.each_entry(|entry| {
            let key = key_number(entry.key, PREFIX)?;
            let right = Stamp { writer: worker.map as u32, sequence: key };
            let place = key.checked_sub(worker.first).and_then(|place| usize::try_from(place).ok());
            let had = place.and_then(|place| worker.had.get_mut(place));
            let found = self.values.read(entry.value)?;
            match had.filter(|_| found == right) {
                Some(had) if !*had => *had = true,
                Some(_) => return Err(Failure::Duplicated(format!("key {key} of {map} was read twice"))),
                None => return Err(Failure::Wrong(format!("key {key} of {map} holds the value {found:?}"))),
            }
            Ok(())
        })?;
        match worker.had.iter().position(|had| !had) {
            None => Ok(()),
            Some(place) => {
                let key = worker.first + place as u64;
                Err(Failure::Lost(format!("key {key} of {map} was acked as durable and is not there")))
            }
        }
    }
}

/// The key behind the last one of a request that begins with `first`.
fn last(first: u64, keys: u64) -> u64 {
    (first + REQUEST_KEYS).min(keys)
}

impl Handler for Bigger {
    fn message(&mut self, wire: &mut Wire<'_>, from: usize, text: &[u8], now: u64) -> Result<(), Failure> {
        let message = Message::read(text)?;
        let done = match self.phase {
            Phase::Writing => self.acked(from, &message, now)?,
            Phase::Reading => self.check_read(from, &message).map(|()| true)?,
        };
        if done {
            self.advance(wire, from, now);
        }
        Ok(())
    }
}

impl Scenario for Bigger {
    fn start(&mut self, wire: &mut Wire<'_>, now: u64) {
        self.working = self.workers.len();
        for index in 0..self.workers.len() {
            let map = self.first_map(index);
            let worker = &mut self.workers[index];
            (worker.map, worker.first, worker.start_ns) = (map, 0, now);
            self.send(wire, index);
        }
    }

    fn tick(&mut self, wire: &mut Wire<'_>, now: u64) -> Result<Option<u64>, Failure> {
        for index in 0..self.workers.len() {
            if self.workers[index].repeat_ns.is_some_and(|due| due <= now) {
                self.send(wire, index);
            }
        }
        Ok(self.workers.iter().filter_map(|worker| worker.repeat_ns).min())
    }

    /// It ends by itself.
    fn stop(&mut self) {}

    fn is_quiet(&self) -> bool {
        self.working == 0
    }

    fn missing(&self) -> Failure {
        let waited = self.timeout_ns / NANOS_PER_SECOND;
        if self.workers.iter().any(|worker| worker.repeat_ns.is_some()) {
            return Failure::Timeout(format!(
                "the server has been overloaded for {waited} s: nothing was evicted"
            ));
        }
        Failure::Lost(format!("{} answers never came", self.working))
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

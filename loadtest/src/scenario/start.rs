//! `start`: how long a server that holds many durable keys takes from its start to its first answer, and to send a
//! map that nobody has used since, after a crash and after an orderly stop.
//!
//! One map has the many keys: that is the worst case for the first read, and for what needs all of it, as its digest
//! does. The other map is smaller, and is subscribed to after that.
//!
//! Checked: the read finds its value; the snapshot has every key once with its value; both maps have the digests
//! they had before.

use super::fill::{AskDigest, Filled, PREFIX, WholeMap, fill, stamp};
use super::setup::{Question, ask_each};
use super::write::value_bytes;
use crate::ack::AckLevel;
use crate::bench::Bench;
use crate::clock::{now_ns, seconds};
use crate::cpu::Subject;
use crate::disk::data_dir::DataDir;
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::message::{Message, Request, key_number};
use crate::report::figures::{Figures, Outcome};
use crate::rig::{Rig, Run};
use crate::server::process::{ServerProcess, with_server_output};
use crate::value::{Values, write_number};

#[derive(Clone, Debug, clap::Args)]
pub struct StartOptions {
    /// Keys of the map whose first read is waited for
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// Keys of the map that is subscribed to
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub lazy_keys: u64,
    /// Bytes of one value as JSON text
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: usize,
    /// Have the kernel forget the files before each start, so that they come from the disk, as after a reboot
    #[arg(long)]
    pub cold_cache: bool,
}

/// Connections that fill the maps.
const WRITERS: usize = 16;

/// # Errors
/// What was not there after a start, or took longer than `--timeout`.
pub fn run(rig: &Rig<'_>, options: &StartOptions, run: &Run) -> Result<Vec<Outcome>, Failure> {
    let unfit =
        || Failure::Setup("start makes servers and their data itself: no --url, no storage flags".to_owned());
    let data = rig.data_dir(true)?.ok_or_else(unfit)?;
    let values = Values::new(options.value_bytes);
    let (map, lazy_map) = (format!("start-{}", run.name), format!("lazy-{}", run.name));
    let stage = Stage {
        rig,
        data: &data,
        run,
        filled: Filled { map: &map, values: &values, keys: options.keys },
        lazy: Filled { map: &lazy_map, values: &values, keys: options.lazy_keys },
        cold_cache: options.cold_cache,
    };
    let mut figures = Figures::default();
    figures.set("errors", 0.0);

    let mut server = rig.start_server(Some(&data), &[])?;
    let digests = stage
        .fill(&server, &mut figures)
        .map_err(|failure| with_server_output(failure, Some(&mut server)))?;
    server.kill()?;
    stage.restart("killed", &digests, &mut figures)?.stop()?;
    stage.restart("stopped", &digests, &mut figures)?;

    let StartOptions { keys, lazy_keys, value_bytes, cold_cache } = options;
    let from = if *cold_cache { "from the disk" } else { "files cached" };
    let title = format!("start   {keys} keys, values of {value_bytes} B, {from}; a lazy map of {lazy_keys}");
    let checked =
        "every acked key was there after the kill and after the stop, with the same digests".to_owned();
    Ok(vec![Outcome { title, operation: "key", figures, checked }])
}

struct Stage<'a> {
    rig: &'a Rig<'a>,
    data: &'a DataDir,
    run: &'a Run,
    filled: Filled<'a>,
    lazy: Filled<'a>,
    cold_cache: bool,
}

impl Stage<'_> {
    /// Returns the digests of both maps.
    fn fill(&self, server: &ServerProcess, figures: &mut Figures) -> Result<[String; 2], Failure> {
        let bench = self.rig.bench(Some(server), None, self.run)?;
        let (mut fleet, range) = bench.open(WRITERS)?;
        let empty_bytes = resident_bytes(&bench);
        let began_ns = now_ns();
        fill(&mut fleet, range.clone(), &self.filled, AckLevel::Durable, &bench)?;
        figures.set("fill_per_second", self.filled.keys as f64 / seconds((now_ns() - began_ns).max(1)));
        self.set_bytes_per_cell(figures, "filled", resident_bytes(&bench) - empty_bytes);
        fill(&mut fleet, range, &self.lazy, AckLevel::Durable, &bench)?;
        let digests = self.digests(&mut fleet, &bench)?;
        figures.set("data_mib", self.data.bytes() as f64 / f64::from(1 << 20));
        fleet.close();
        Ok(digests)
    }

    /// `ended`: how the server before has ended.
    fn restart(
        &self,
        ended: &str,
        digests: &[String; 2],
        figures: &mut Figures,
    ) -> Result<ServerProcess, Failure> {
        if self.cold_cache {
            self.data.forget_cached()?;
        }
        let mut server = self.rig.start_server(Some(self.data), &[])?;
        let measured = self.measure(&server, ended, digests, figures);
        measured.map_err(|failure| with_server_output(failure, Some(&mut server)))?;
        Ok(server)
    }

    fn measure(
        &self,
        server: &ServerProcess,
        ended: &str,
        digests: &[String; 2],
        figures: &mut Figures,
    ) -> Result<(), Failure> {
        let bench = self.rig.bench(Some(server), None, self.run)?;
        let timeout_ns = bench.timing.timeout_ns;
        let mut set_ms = |name: &str, ns: u64| figures.set(&format!("{ended}_{name}_ms"), ns as f64 / 1e6);
        set_ms("listening", server.listening_ns - server.started_ns);
        let unloaded_bytes = resident_bytes(&bench);
        let (mut fleet, one) = bench.open(1)?;
        let mut read =
            ReadOne { request: Request::default(), filled: self.filled, key: self.filled.keys / 2 };
        ask_each(&mut fleet, one.clone(), &mut read, timeout_ns)?;
        set_ms("first_read", now_ns() - server.started_ns);
        // A read may be answered from its own cells; a digest is of the whole map.
        ask_each(&mut fleet, one.clone(), &mut AskDigest::of(self.filled), timeout_ns)?;
        set_ms("whole_map", now_ns() - server.started_ns);
        let loaded_bytes = resident_bytes(&bench);

        let mut snapshot = Snapshot {
            request: Request::default(),
            filled: self.lazy,
            had: WholeMap::new(self.lazy.keys),
            first_ns: 0,
        };
        let began_ns = now_ns();
        ask_each(&mut fleet, one, &mut snapshot, timeout_ns)?;
        set_ms("lazy_snapshot", now_ns() - began_ns);
        set_ms("lazy_first_chunk", snapshot.first_ns - began_ns);
        self.set_bytes_per_cell(figures, ended, loaded_bytes - unloaded_bytes);

        let found = self.digests(&mut fleet, &bench)?;
        fleet.close();
        if found != *digests {
            return Err(Failure::Wrong(format!(
                "the digests were {digests:?}, after a start they are {found:?}"
            )));
        }
        Ok(())
    }

    fn digests(&self, fleet: &mut Fleet, bench: &Bench) -> Result<[String; 2], Failure> {
        let mut found = [String::new(), String::new()];
        for (filled, hash) in [self.filled, self.lazy].into_iter().zip(&mut found) {
            let mut question = AskDigest::of(filled);
            ask_each(fleet, 0..1, &mut question, bench.timing.timeout_ns)?;
            *hash = question.hash;
        }
        Ok(found)
    }

    /// Memory of the server by cell, beyond what key and value are long.
    fn set_bytes_per_cell(&self, figures: &mut Figures, how: &str, bytes: f64) {
        let Filled { keys, values, .. } = self.filled;
        let mut last_key = Vec::from(PREFIX);
        write_number(&mut last_key, keys - 1);
        let cells = keys as f64;
        let per_cell = bytes / cells - (last_key.len() + values.bytes()) as f64;
        figures.set(&format!("{how}_overhead_bytes_per_cell"), per_cell);
    }
}

fn resident_bytes(bench: &Bench) -> f64 {
    bench.meter.subject.and_then(Subject::resident_bytes).unwrap_or(0) as f64
}

struct ReadOne<'a> {
    request: Request,
    filled: Filled<'a>,
    key: u64,
}

impl Question for ReadOne<'_> {
    fn ask(&mut self, index: usize) -> &[u8] {
        self.request.read(index as u64, self.filled.map, PREFIX, std::iter::once(self.key))
    }

    fn answer(&mut self, _: usize, message: &[u8]) -> Result<bool, Failure> {
        let message = Message::read(message)?;
        message.expect("entries")?;
        let mut found = false;
        message.each_entry(|entry| {
            found = key_number(entry.key, PREFIX)? == self.key
                && self.filled.values.read(entry.value)? == stamp(self.key);
            Ok(())
        })?;
        let lost = || Failure::Lost(format!("key {} was acked and is not there after a start", self.key));
        found.then_some(true).ok_or_else(lost)
    }
}

struct Snapshot<'a> {
    request: Request,
    filled: Filled<'a>,
    had: WholeMap,
    /// When the first chunk came; 0 before.
    first_ns: u64,
}

impl Question for Snapshot<'_> {
    fn ask(&mut self, index: usize) -> &[u8] {
        self.request.subscribe(index as u64, self.filled.map, b"")
    }

    fn answer(&mut self, _: usize, message: &[u8]) -> Result<bool, Failure> {
        let message = Message::read(message)?;
        message.expect("snapshot")?;
        if self.first_ns == 0 {
            self.first_ns = now_ns();
        }
        self.had.take(&message, self.filled.values)?;
        if message.more {
            return Ok(false);
        }
        self.had.expect_all()?;
        Ok(true)
    }
}

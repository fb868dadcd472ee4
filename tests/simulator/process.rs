//! The life of one process of the server: how it starts on what is on the disk, and how it ends.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use annulus::config::Config;
use annulus::dialect;
use annulus::mesh::{KeyHasher, ShardIndex, connect_with_capacity};
use annulus::shard::{Now, Shard, Shared, SharedStorage};
use annulus::storage::StorageError;

use crate::disk::{Crash, Fault};
use crate::link::End;
use crate::node::Node;
use crate::scenario::SHARDS_MAX;
use crate::service::{self, Service};
use crate::world::World;

/// Starts that may fail one after the other because of the disk.
const STARTS_MAX: usize = 20;

impl World {
    /// Starts shards, and the storage if there is one; a disk that fails meanwhile has the next process try again.
    pub fn start_process(&mut self, shards: usize) {
        let mut shared = Shared {
            config: Arc::new(self.scenario.config.clone()),
            dialects: dialect::ALL,
            epoch: self.random.next(),
            hasher: KeyHasher::new(self.random.next()),
            connections: Arc::new(AtomicUsize::new(0)),
            process: Default::default,
            storage: None,
            tls: None,
        };
        let mut ports = connect_with_capacity(shards, self.scenario.queue_envelopes).into_iter();
        let mut storage_ports: Vec<_> = (0..shards).map(|_| None).collect();
        if let Some(spec) = self.scenario.storage.clone() {
            let counts = self.service.take().map(|service| service.counts).unwrap_or_default();
            let mut starts = 0;
            let (mut service, given) = loop {
                self.errors_before = self.disk.counts().errors;
                let now = service::Now { us: self.now_us, unix_ms: self.unix_ms() };
                match Service::start(&self.disk, &spec, shards, now, &mut self.random, counts) {
                    Ok(started) => break started,
                    Err(error) => {
                        let crash = self.end_of(&error);
                        self.disk.crash(crash);
                        self.clients_forget(crash);
                    }
                }
                starts += 1;
                assert!(starts < STARTS_MAX, "the server does not start");
            };
            service.is_calm = self.is_calm;
            shared.epoch = service.timeline.epoch;
            let node = service.timeline.node(&service.format.node);
            shared.config = Arc::new(Config { node, ..self.scenario.config.clone() });
            shared.hasher = KeyHasher::new(service.format.secret);
            let progress = Arc::clone(&service.progress);
            let (clock_floor, cleared_through) = (service.clock, service.cleared_at_start);
            shared.storage = Some(SharedStorage { progress, clock_floor, cleared_through });
            storage_ports = given.into_iter().map(Some).collect();
            self.service = Some(service);
        }
        let now = Now { unix_ms: self.unix_ms(), monotonic_us: self.now_us };
        let now_us = self.now_us;
        let mut desk_ports =
            self.desk.iter_mut().flat_map(|desk| desk.start(shards, now_us)).collect::<Vec<_>>().into_iter();
        let mut hooks_ports =
            self.application.iter_mut().flat_map(|found| found.start(shards)).collect::<Vec<_>>().into_iter();
        for (index, storage_port) in storage_ports.into_iter().enumerate() {
            let ports = ports.next().expect("as many as shards");
            let seed = self.random.next();
            let mut shard = Shard::new(shared.clone(), index as ShardIndex, ports, storage_port, now, seed);
            if let Some((standing, port)) = desk_ports.next() {
                shard.stand_under(standing, Some(port));
            }
            if let Some(port) = hooks_ports.next() {
                shard.hook_up(port);
            }
            let mut node = Node::new(index, shard);
            node.skew_ms = self.scenario.skew_ms * [0, 1, -1][index % 3];
            self.nodes.push(node);
        }
    }

    /// How a process ends to which the disk has said this. Only what was done to the disk may be an error.
    pub fn end_of(&mut self, error: &StorageError) -> Crash {
        let is_injected = self.disk.is_over().is_some() || self.disk.counts().errors > self.errors_before;
        assert!(is_injected, "the storage failed by itself: {error}");
        self.disk.is_over().unwrap_or_else(|| self.some_crash())
    }

    pub fn some_crash(&mut self) -> Crash {
        self.random.pick(&[Crash::Kill, Crash::PowerCut])
    }

    /// The process ends, and another takes its place, perhaps with other shards.
    pub fn crash(&mut self, crash: Crash) {
        self.lose_connections();
        self.oracle.crashed();
        self.each_client(|client, context| client.server_crashed(context));
        self.clients_forget(crash);
        self.replace_process(crash);
    }

    /// With `--fsync never` a power cut may even take ticks that cursors name.
    fn clients_forget(&mut self, crash: Crash) {
        if !self.scenario.keeps_all_at_rest() && crash == Crash::PowerCut {
            self.clients.iter_mut().for_each(|client| client.kept.clear());
        }
    }

    /// Everything is durable; the process ends nonetheless, and nothing may be missing.
    pub fn restart(&mut self, crash: Crash) {
        self.lose_connections();
        self.replace_process(crash);
    }

    pub fn replace_process(&mut self, crash: Crash) {
        for node in self.nodes.drain(..) {
            self.retired.add(&node.shard.metrics_now());
        }
        self.oracle.talk.ended();
        self.disk.crash(crash);
        self.oracle.letters.crashed();
        self.now_us += self.random.pick(&[1_000, 30_000, 2_000_000]);
        if !self.is_calm && self.random.per_mille(200) {
            self.disk.arm(Fault::of(&mut self.random));
        }
        let shards = if self.scenario.never_conflates { 1 } else { self.random.between(1, SHARDS_MAX) };
        self.start_process(shards);
    }

    /// What the kernel has for clients may still reach them; then all connections are gone.
    pub fn lose_connections(&mut self) {
        for index in 0..self.clients.len() {
            if self.random.per_mille(500) {
                self.with_client(index, |client, link, context| client.read(link, context));
            }
            self.with_client(index, |client, link, context| client.reset(link, context));
        }
        for index in std::mem::take(&mut self.open_links) {
            let link = &mut self.links[index];
            link.end_upstream(End::Reset);
            link.completions.clear();
            link.is_over = true;
        }
    }
}

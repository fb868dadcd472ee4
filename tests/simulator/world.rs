//! The world: shards, clients and the network between them, moved one small step at a time by chance alone.

use std::net::{IpAddr, Ipv4Addr};

use annulus::config::AuthMode;
use annulus::metrics::Metrics;
use annulus::shard::Now;

use crate::application::{Application, TABLES};
use crate::backup::Backup;
use crate::client::{Client, Context, Pass, Tie};
use crate::desk::Desk;
use crate::disk::{Fault, SimDisk};
use crate::frames::{self, TEXT};
use crate::link::{End, Link};
use crate::node::Node;
use crate::oracle::Oracle;
use crate::random::Random;
use crate::scenario::Scenario;
use crate::service::{self, Service};
use crate::trace::Trace;

/// When every run begins.
const UNIX_START_MS: u64 = 1_700_000_000_000;

/// See the module.
pub struct World {
    pub random: Random,
    pub scenario: Scenario,
    pub nodes: Vec<Node>,
    pub disk: SimDisk,
    /// `None`: memory storage.
    pub service: Option<Service>,
    /// `None`: nobody is asked who it is.
    pub desk: Option<Desk>,
    /// `None`: nobody is told anything, nor decides.
    pub application: Option<Application>,
    /// The last one, until it is used.
    pub backup: Option<Backup>,
    pub restored: u64,
    /// Errors that the disk had given when the process started.
    pub errors_before: u64,
    /// What the shards of former processes have counted.
    pub retired: Metrics,
    pub links: Vec<Link>,
    /// Links that are not over.
    pub open_links: Vec<usize>,
    pub clients: Vec<Client>,
    pub oracle: Oracle,
    tie: Option<Tie>,
    pub trace: Trace,
    pub now_us: u64,
    /// How far the wall clock is from where it would be without steps.
    unix_step_ms: i64,
    pub is_calm: bool,
    /// Times that all maps were dropped, and that the process ended before that was answered.
    pub clears: u64,
    pub cut_short: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut scenario = Scenario::of(&mut random);
        let mut desk = Desk::of(seed, scenario.clients.div_ceil(2));
        let application = Application::of(seed).filter(|_| desk.is_some());
        desk.iter_mut().filter(|_| application.is_some()).for_each(|desk| desk.tables = TABLES);
        desk.iter().for_each(|desk| scenario.config.auth = desk.mode);
        let mut world = Self {
            nodes: Vec::new(),
            disk: SimDisk::new(random.next()),
            service: None,
            desk,
            application,
            backup: None,
            restored: 0,
            errors_before: 0,
            retired: Metrics::default(),
            links: Vec::new(),
            open_links: Vec::new(),
            clients: clients(&scenario, &mut random),
            oracle: Oracle::default(),
            tie: None,
            trace: Trace::default(),
            now_us: 0,
            unix_step_ms: 0,
            is_calm: false,
            clears: 0,
            cut_short: 0,
            random,
            scenario,
        };
        world.start_process(world.scenario.shards);
        world
    }

    pub fn unix_ms(&self) -> u64 {
        (UNIX_START_MS + self.now_us / 1000).saturating_add_signed(self.unix_step_ms)
    }

    /// Everything goes wrong that may go wrong.
    pub fn storm(&mut self) {
        self.is_calm = false;
        self.service.iter_mut().for_each(|service| service.is_calm = false);
        for identity in self.clients.iter_mut().filter_map(|client| client.identity.as_mut()) {
            identity.is_careful = false;
        }
        let steps = self.random.between(1, self.scenario.steps);
        // Now and then a shard misses the end of it, and finds all of that waiting.
        let sleeper = self.random.per_mille(400).then(|| self.random.below(self.nodes.len()));
        for step in 0..steps {
            if let Some(sleeper) = sleeper.filter(|_| step == steps * 3 / 4) {
                let sleeper = sleeper % self.nodes.len();
                self.nodes[sleeper].starved_until_us = u64::MAX;
            }
            self.now_us += 1;
            if self.scenario.storage.is_some() {
                self.step_storage();
            }
            self.storm_desk();
            self.storm_application();
            match self.random.below(100) {
                0..33 => self.step_link(),
                33..56 => self.step_node(),
                56..75 => self.step_client(),
                75..92 => self.step_reader(),
                _ => self.pass_time(),
            }
        }
    }

    /// The service does something, or something happens to it.
    fn step_storage(&mut self) {
        let Some(spec) = &self.scenario.storage else { return };
        let (crashes, faults, turns) = (spec.crashes, spec.disk_faults, spec.read_only_turns);
        match self.random.below(100_000) {
            chance if chance < crashes => {
                let crash = self.some_crash();
                self.crash(crash);
            }
            chance if chance < crashes + faults => self.disk.arm(Fault::of(&mut self.random)),
            chance if chance < crashes + faults + turns => {
                let is_full = self.random.per_mille(500);
                self.service.iter().for_each(|service| service.progress.set_read_only(is_full));
            }
            _ => {}
        }
        for _ in 0..self.random.below(3) {
            self.step_service();
        }
    }

    /// One step of the service, if it has any to do; whether it had.
    pub fn step_service(&mut self) -> bool {
        let now = service::Now { us: self.now_us, unix_ms: self.unix_ms() };
        let Some(service) = self.service.as_mut().filter(|service| service.is_runnable(now.us)) else {
            return false;
        };
        match service.step(now, &mut self.random) {
            Ok(woken) => woken.into_iter().for_each(|shard| self.nodes[shard].is_woken = true),
            Err(error) => {
                let crash = self.end_of(&error);
                self.crash(crash);
            }
        }
        true
    }

    fn step_link(&mut self) {
        if self.open_links.is_empty() {
            return;
        }
        let index = self.open_links[self.random.below(self.open_links.len())];
        let slowest = if self.scenario.is_heavy { 1 << 20 } else { 1 };
        let bytes_max = self.random.pick(&[1, 6, 61, 1000, 1 << 20, 1 << 20]).max(slowest);
        for _ in 0..self.random.below(if self.scenario.is_heavy { 300 } else { 6 }) {
            self.step_one_link(index, bytes_max, self.scenario.kernel_bytes);
        }
        if self.random.per_mille(10) && self.links[index].id.is_some() {
            self.links[index].disarm();
            self.note_completions(index);
        }
    }

    pub fn step_one_link(&mut self, index: usize, bytes_max: usize, kernel_bytes: usize) -> bool {
        let stepped = self.links[index].step(&mut self.random, bytes_max, kernel_bytes);
        self.note_completions(index);
        stepped
    }

    fn note_completions(&mut self, index: usize) {
        let link = &self.links[index];
        let pending = &mut self.nodes[link.shard].pending;
        if !link.completions.is_empty() && !pending.contains(&index) {
            pending.push(index);
        }
    }

    fn step_node(&mut self) {
        let index = self.random.below(self.nodes.len());
        if self.random.per_mille(self.scenario.starvation_per_mille) {
            let until_us = self.now_us + self.random.below(300_000) as u64;
            self.nodes[index].starved_until_us = self.nodes[index].starved_until_us.max(until_us);
        }
        if self.nodes[index].starved_until_us > self.now_us {
            return;
        }
        if self.nodes[index].is_runnable(self.now_us) || self.random.per_mille(20) {
            self.turn(index);
        }
    }

    pub fn turn(&mut self, index: usize) {
        let now = Now { unix_ms: self.unix_ms(), monotonic_us: self.now_us };
        self.trace.note(&[self.now_us, index as u64]);
        let node = &mut self.nodes[index];
        for target in node.turn(now, &mut self.links, &mut self.random, &mut self.trace) {
            self.nodes[target].is_woken = true;
        }
        if std::mem::take(&mut self.nodes[index].wakes_storage)
            && let Some(service) = &mut self.service
        {
            service.is_woken = true;
        }
        let wakes_desk = std::mem::take(&mut self.nodes[index].wakes_desk);
        self.desk.iter_mut().for_each(|desk| desk.is_woken |= wakes_desk);
        let wakes_application = std::mem::take(&mut self.nodes[index].wakes_application);
        self.application.iter_mut().for_each(|found| found.is_woken |= wakes_application);
        self.open_links.retain(|&index| !self.links[index].is_over);
        self.now_us += 1;
    }

    fn step_client(&mut self) {
        let index = self.random.below(self.clients.len());
        let Some(_) = self.clients[index].link else {
            let is_plain = self.random.per_mille(60);
            return self.connect(index, None, is_plain);
        };
        if self.random.per_mille(self.scenario.stalls_per_mille) {
            self.clients[index].stalled_until_us = self.now_us + self.random.below(400_000) as u64;
        }
        if self.random.per_mille(self.scenario.faults_per_mille) {
            return self.fault(index);
        }
        self.with_client(index, |client, link, context| client.act(link, context));
    }

    /// Something happens to the transport of a client.
    fn fault(&mut self, index: usize) {
        self.with_client(index, |client, link, context| match context.random.below(5) {
            0 => client.reset(link, context),
            1 => link.end_upstream(End::Orderly),
            2 => client.close(link, context),
            _ => {
                // In the middle of a frame, if there is an opening for one.
                let mut frame = Vec::new();
                frames::write_frame(&mut frame, context.random, true, TEXT, br#"{"type":"ping"}"#);
                let len = context.random.below(frame.len());
                if link.upstream_end.is_none() {
                    link.upstream.extend(&frame[..len]);
                }
                let end = context.random.pick(&[End::Orderly, End::Reset]);
                if end == End::Reset { client.reset(link, context) } else { link.end_upstream(end) }
            }
        });
    }

    fn step_reader(&mut self) {
        let index = self.random.below(self.clients.len());
        let slowest = if self.scenario.is_heavy { 100_000 } else { 1 };
        self.clients[index].read_bytes_max = self.random.pick(&[1, 30, 700, 1 << 20]).max(slowest);
        self.with_client(index, |client, link, context| client.read(link, context));
    }

    fn pass_time(&mut self) {
        let us = self.random.pick(&[10, 100, 1000, self.scenario.pauses_us]);
        self.now_us += self.random.below(us) as u64;
        if self.random.below(10_000) < 10 * self.scenario.jumps {
            let jump_us = self.random.pick(&[100_000, 1_000_000, 12_000_000, 30_000_000]);
            self.now_us += self.random.below(jump_us) as u64;
            self.unix_step_ms = self.random.below(8000) as i64 - 4000;
        }
    }

    /// A client connects to a shard, or to whichever the kernel picks.
    pub fn connect(&mut self, client: usize, shard: Option<usize>, is_plain: bool) {
        let shard = shard.unwrap_or_else(|| self.random.below(self.nodes.len()));
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, (client / 2) as u8));
        let index = self.links.len();
        self.links.push(Link::new(shard, address));
        self.open_links.push(index);
        self.nodes[shard].backlog.push_back(index);
        self.clients[client].link = Some(index);
        self.with_client(client, |client, link, context| client.connect(index, link, is_plain, context));
    }

    /// Lets every client act that needs no link for it.
    pub fn each_client(&mut self, mut act: impl FnMut(&mut Client, &Context<'_>)) {
        let unix_ms = self.unix_ms();
        let context = Context {
            random: &mut self.random,
            oracle: &mut self.oracle,
            tie: &mut self.tie,
            scenario: &self.scenario,
            revoked: self.desk.as_ref().map(|desk| &desk.revoked),
            now_us: self.now_us,
            unix_ms,
            is_calm: self.is_calm,
        };
        self.clients.iter_mut().for_each(|client| act(client, &context));
    }

    /// Lets a client that has a link act on it.
    pub fn with_client<T>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Client, &mut Link, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let unix_ms = self.unix_ms();
        let client = &mut self.clients[index];
        let link = &mut self.links[client.link?];
        let mut context = Context {
            random: &mut self.random,
            oracle: &mut self.oracle,
            tie: &mut self.tie,
            scenario: &self.scenario,
            revoked: self.desk.as_ref().map(|desk| &desk.revoked),
            now_us: self.now_us,
            unix_ms,
            is_calm: self.is_calm,
        };
        Some(act(client, link, &mut context))
    }
}

/// The clients of a run, those that speak SyncKit last.
fn clients(scenario: &Scenario, random: &mut Random) -> Vec<Client> {
    let native = scenario.clients - scenario.clients_synckit;
    let client = |index| match index < native {
        true => Client::new(index),
        false => Client::of_synckit(index, random.per_mille(500)),
    };
    let asks = scenario.config.auth != AuthMode::None;
    let mut clients: Vec<Client> = (0..scenario.clients).map(client).collect();
    clients.iter_mut().for_each(|client| client.identity = asks.then(|| Pass::new(client.index)));
    clients
}

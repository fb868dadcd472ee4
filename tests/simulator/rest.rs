//! Coming to rest: everything that can move moves, until nothing does and nobody waits.

use annulus::metrics::Metrics;

use crate::client::{Client, SyncKit};
use crate::letters::Name;
use crate::node::Node;
use crate::scenario::StorageSpec;
use crate::service::Service;
use crate::world::World;

/// Rounds after which a world that does not come to rest never will; and one with maps of so many keys that it takes as many
/// rounds to tell a client of one where its outbox has room for a key at a time.
const ROUNDS_MAX: usize = 300_000;
const ROUNDS_MAX_OF_LARGE: usize = 10 * ROUNDS_MAX;
const LARGE_KEYS: usize = 10_000;
/// Steps of the service for each turn of all shards.
const SERVICE_STEPS: usize = 20;
/// Microseconds a request may wait while nothing moves: longer than answers wait for company in an outbox.
const WAIT_US_MAX: u64 = 15_000;

impl World {
    /// Runs until nothing but pings has moved for `rest_us`.
    pub fn settle(&mut self, rest_us: u64, reconnects: bool) {
        let (mut moved_at_us, mut waited_us) = (self.now_us, 0);
        let is_large = self.scenario.keys >= LARGE_KEYS;
        for _ in 0..if is_large { ROUNDS_MAX_OF_LARGE } else { ROUNDS_MAX } {
            let (mut moves, mut matters) = (false, false);
            for index in self.open_links.clone() {
                while self.step_one_link(index, 1 << 20, 1 << 20) {
                    moves = true;
                }
            }
            for index in 0..self.clients.len() {
                let client = &self.clients[index];
                if client.link.is_some() {
                    matters |= self.with_client(index, |client, link, context| client.read(link, context))
                        == Some(true);
                } else if reconnects
                    && !client.is_observer
                    && client.retry_at_us <= self.now_us
                    && self.is_allowed(client)
                {
                    self.connect(index, None, false);
                    matters = true;
                }
            }
            let runnable: Vec<usize> =
                (0..self.nodes.len()).filter(|&index| self.nodes[index].is_runnable(self.now_us)).collect();
            for &index in &runnable {
                self.turn(index);
            }
            for _ in 0..SERVICE_STEPS {
                moves |= self.step_service();
                moves |= self.step_desk();
                moves |= self.step_application();
            }
            if matters {
                (moved_at_us, waited_us) = (self.now_us, 0);
            } else if !moves && runnable.is_empty() {
                let is_waiting = reconnects
                    && self.clients.iter().any(|client| {
                        client.link.is_none() && !client.is_observer && self.is_allowed(client)
                    });
                let is_quiet = self.service.as_ref().is_none_or(Service::is_quiet);
                let rested_us = self.now_us - moved_at_us;
                let lacks = self.asks() || self.lacking_letter().is_some();
                let is_answered = !lacks || rested_us > self.wait_us_max();
                let is_at_rest = is_quiet && is_answered && rested_us > rest_us;
                if !is_waiting && is_at_rest && self.outbox_bytes() == 0 {
                    return;
                }
                let began_us = self.now_us;
                self.sleep();
                waited_us += if self.is_answerable() { self.now_us - began_us } else { 0 };
                assert!(
                    waited_us < self.wait_us_max(),
                    "a request waits for a timer: a shard was not woken; asked {:?}",
                    self.clients.iter().map(|client| (client.asked(), &client.asked)).collect::<Vec<_>>()
                );
            }
        }
        let runnable: Vec<bool> = self.nodes.iter().map(|node| node.is_runnable(self.now_us)).collect();
        panic!(
            "does not come to rest: {} us since anything moved, shards {runnable:?} run, storage {:?}",
            self.now_us - moved_at_us,
            self.service
        );
    }

    /// Whether a client waits for an answer and nothing holds it up. Where a queue is full, its sender looks
    /// again by a timer.
    fn is_answerable(&self) -> bool {
        let is_full = |node: &Node| node.shard.metrics_now().mesh_pending_envelopes > 0;
        let is_quiet = self.service.as_ref().is_none_or(Service::is_quiet);
        self.asks() && is_quiet && !self.nodes.iter().any(is_full)
    }

    fn asks(&self) -> bool {
        self.clients.iter().any(|client| client.is_open() && client.asked() > 0)
    }

    /// A message that a connection of its user has yet to be sent: no client asks for it, and what it is kept in may have to
    /// be loaded.
    fn lacking_letter(&self) -> Option<(&str, &Name, u64)> {
        let speaks = |client: &&Client| client.is_open() && client.synckit.is_none();
        self.clients.iter().filter(speaks).find_map(|client| {
            let user = client.user()?;
            let (name, number) = self.oracle.letters.lacks(user, &client.mail.got)?;
            Some((user, name, number))
        })
    }

    /// A map that could not be loaded is asked for again after a second.
    pub fn wait_us_max(&self) -> u64 {
        let fails = |spec: &StorageSpec| spec.failed_loads_per_mille > 0 || spec.disk_faults > 0;
        let fails = self.scenario.storage.as_ref().is_some_and(fails);
        // What owes much, as who joins a room is owed, is read on after a tick.
        let tick_us = 2_000 * self.scenario.config.presence.tick_ms;
        let wait_us = WAIT_US_MAX + tick_us;
        if fails { wait_us + 1_100_000 } else { wait_us }
    }

    /// Bytes that wait, if only for company.
    fn outbox_bytes(&self) -> u64 {
        self.nodes.iter().map(|node| node.shard.metrics_now().outbox_bytes).sum()
    }

    /// Passes the time until something is due.
    fn sleep(&mut self) {
        let deadlines = self.nodes.iter().filter(|node| !node.is_exited).filter_map(|node| node.deadline_us);
        let retries =
            self.clients.iter().filter(|client| client.link.is_none()).map(|client| client.retry_at_us);
        let service = self.service.iter().filter_map(Service::deadline_us);
        let next_us = deadlines.chain(retries).chain(service).filter(|&at_us| at_us > self.now_us).min();
        self.now_us = next_us.unwrap_or(u64::MAX).min(self.now_us + 20_000);
    }

    /// What `annulus check` looks at, on all shards; and, as all of them are here, that members have connections wherever these are.
    fn check_consistency(&mut self) {
        let mut tied = Vec::new();
        for node in &mut self.nodes {
            let (checked, of_members) = node.shard.check_now();
            assert_eq!(checked.problems, [""; 0], "shard {}", node.index);
            assert_eq!(checked.violations, 0);
            tied.extend(of_members);
        }
        for (who, by) in tied {
            let shard = &self.nodes[usize::from(by.shard)].shard;
            assert!(shard.has_connection(by.connection), "{who} has no connection");
        }
    }

    /// Nobody waits for anything.
    pub fn check_rest(&mut self) {
        for client in &self.clients {
            assert!(
                client.is_open() || client.is_observer,
                "{} is not connected: {:?}",
                client.name,
                client.stage
            );
            assert!(client.asked() == 0, "{} was never answered: {:?}", client.name, client.asked);
            let is_settled = client.synckit.as_ref().is_none_or(SyncKit::is_settled);
            assert!(is_settled, "{} never got the state of a document", client.name);
            client.rooms.check_settled(&client.name);
            for (map, watch) in &client.watches {
                let is_settled = watch.is_live && watch.next.is_none() && !watch.is_leaving;
                assert!(is_settled, "{} never got all of map {map}: {watch:?}", client.name);
            }
        }
        let lacking = self.lacking_letter();
        assert!(lacking.is_none(), "a user lacks a message, its name, its number: {lacking:?}");
        for node in &self.nodes {
            let metrics = node.shard.metrics_now();
            let counted = node.shard.recounted();
            let gauges = |of: &Metrics| (of.directs_queued, of.direct_bytes);
            assert_eq!(gauges(&metrics), gauges(&counted), "mailboxes of shard {}", node.index);
            assert_eq!(metrics.outbox_bytes, 0, "bytes are left in an outbox of shard {}", node.index);
            assert_eq!(metrics.mesh_pending_envelopes, 0, "envelopes wait at shard {}", node.index);
            assert_eq!(metrics.mesh_pending_bytes, 0);
            assert_eq!(metrics.connections as usize, node.open_slots(), "the gauge of shard {}", node.index);
        }
        self.check_consistency();
        let open: usize = self.nodes.iter().map(|node| node.open_slots()).sum();
        let connected = self.clients.iter().filter(|client| client.link.is_some()).count();
        assert_eq!(open, connected, "connections outlive their clients");
        let held: u64 = self.nodes.iter().map(|node| node.shard.metrics_now().subscriptions).sum();
        let watched: usize = self.clients.iter().map(|client| client.subscriptions()).sum();
        assert_eq!(held, watched as u64, "subscriptions are lost or left over");
        self.check_rooms();
        let members: u64 = self.nodes.iter().map(|node| node.shard.metrics_now().channel_members).sum();
        let joined: usize = self.clients.iter().map(|client| client.talking.count()).sum();
        assert_eq!(members, joined as u64, "members of channels are lost or left over");
        self.clients.iter().for_each(|client| client.check_talk(&self.oracle.talk));
        if self.desk.is_some() {
            self.check_users();
        }
        for link in self.open_links.iter().map(|&index| &self.links[index]) {
            assert!(link.wanted && link.receiving, "a connection is not read");
        }
    }
}

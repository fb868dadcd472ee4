//! After the storm: everything heals, comes to rest, and must then be as the clients were promised.

use std::collections::BTreeMap;

use annulus::metrics::Metrics;

use crate::client::{Filter, Pass, Spec, SyncKit, Watch};
use crate::disk::Crash;
use crate::link::End;
use crate::replica::{Cell, Replica};
use crate::scenario::Kind;
use crate::world::World;

/// Microseconds without a byte moving after which nothing will move any more: longer than any delay of the
/// server but its timeouts.
pub const REST_US: u64 = 300_000;
/// Times that an observer asks for what it is not told in time.
const ASKS_MAX: usize = 3;
/// Microseconds after which every value with a time to live has ended: the longest of them, set with a clock
/// that is ahead, on a server whose clock has stepped back.
const EXPIRY_US: u64 = 20_000_000;

impl World {
    /// Ends all faults, lets everybody connect and go on, and waits until nothing moves.
    pub fn heal(&mut self) {
        for node in &mut self.nodes {
            node.starved_until_us = 0;
        }
        self.disk.disarm();
        if let Some(service) = &mut self.service {
            service.progress.set_read_only(false);
            service.is_calm = true;
        }
        for client in &mut self.clients {
            client.stalled_until_us = 0;
            client.read_bytes_max = 1 << 20;
        }
        self.heal_identities();
        self.end_revocations(REST_US);
        self.settle(REST_US, true);
        self.is_calm = true;
        self.check_rest();
        if self.scenario.keeps_all_at_rest() {
            self.oracle.all_is_durable();
        }
    }

    /// Lets everything with a time to live end.
    pub fn expire(&mut self) {
        self.neglect_identities();
        let until_us = self.now_us + EXPIRY_US;
        while self.now_us < until_us {
            self.settle(20_000, true);
        }
        if self.desk.is_some() {
            self.check_identities();
            self.heal_identities();
            self.settle(REST_US, true);
        }
        self.check_rest();
    }

    /// What all shards hold, read through every one of them.
    pub fn truth(&mut self) -> BTreeMap<usize, Replica> {
        // Two observers on each shard share the maps, as a connection may have few subscriptions.
        let first = self.clients.len();
        for shard in 0..self.nodes.len() {
            for _ in 0..2 {
                let mut observer = crate::client::Client::new(self.clients.len() + 100);
                observer.is_observer = true;
                observer.identity = self.desk.is_some().then(|| Pass::observer(observer.index));
                self.clients.push(observer);
                self.connect(self.clients.len() - 1, Some(shard), false);
            }
        }
        self.settle(REST_US, true);
        for index in first..self.clients.len() {
            while !self.clients[index].is_open() {
                // Too many came at once.
                self.now_us += 1_000_000;
                if self.clients[index].link.is_none() {
                    self.connect(index, Some((index - first) / 2), false);
                }
                self.settle(REST_US, true);
            }
        }
        // What takes too long to load is loaded the next time.
        for _ in 0..ASKS_MAX {
            self.observe_everything(first);
        }
        for index in first..self.clients.len() {
            self.with_client(index, |client, link, context| {
                let map = context.random.below(context.scenario.maps.len());
                client.read_keys(map, vec!["k0".to_owned(), "k1".to_owned()], link, context);
            });
        }
        self.settle(REST_US, true);
        self.check_rest();
        let mut truth: BTreeMap<usize, Replica> = BTreeMap::new();
        for observer in &self.clients[first..] {
            for (&map, watch) in &observer.watches {
                let known = truth.entry(map).or_insert_with(|| watch.replica.clone());
                assert_eq!(*known, watch.replica, "two shards tell different snapshots of map {map}");
            }
            assert_eq!(observer.digests, self.clients[first].digests, "two shards tell different digests");
        }
        for (map, (entries, _)) in &self.clients[first].digests {
            if let Some(replica) = truth.get(map).filter(|replica| !replica.has_counters()) {
                assert_eq!(*entries, replica.visible().len() as u64, "the digest of map {map} counts wrong");
            }
        }
        truth
    }

    /// Has the observers from `first` on ask for what they do not know yet: half of the maps, and all digests.
    fn observe_everything(&mut self, first: usize) {
        for index in first..self.clients.len() {
            self.with_client(index, |client, link, context| {
                for map in 0..context.scenario.maps.len() {
                    if map % 2 == index % 2 && !client.watches.contains_key(&map) {
                        client.subscribe(map, Spec { echo: true, ..Spec::default() }, link, context);
                    }
                    if !client.digests.contains_key(&map) {
                        client.digest(map, link, context);
                    }
                }
            });
        }
        self.settle(REST_US, true);
    }

    /// Every promise was kept, and every replica is what the shards hold.
    pub fn check_promises(&mut self) {
        let truth = self.truth();
        self.oracle.verify(&self.scenario.maps, &truth, self.scenario.forgets);
        self.check_replicas(&truth);
    }

    /// A process that ends while nothing moves, however that happens, loses nothing: the next one, with another
    /// number of shards, tells the same.
    pub fn check_restart(&mut self) {
        let digests = self.clients.last().expect("an observer").digests.clone();
        let crash = if self.scenario.keeps_all_at_rest() { self.some_crash() } else { Crash::Kill };
        self.scenario.config.memory_limit_bytes = 0;
        self.restart(crash);
        self.settle(REST_US, true);
        self.check_rest();
        self.check_promises();
        let again = &self.clients.last().expect("an observer").digests;
        let other = digests.iter().find(|(map, digest)| again.get(map) != Some(digest));
        if let Some((map, digest)) = other {
            let maps = &self.scenario.maps;
            panic!("{} had {digest:?}, and after another start {:?}", maps[*map].name, again.get(map));
        }
    }

    fn check_replicas(&self, truth: &BTreeMap<usize, Replica>) {
        for client in &self.clients {
            if let Some(synckit) = &client.synckit {
                synckit.check(truth, &self.scenario);
            }
            client.lists.check(truth, |key| !client.cannot_see(key), &client.name);
            for (map, watch) in &client.watches {
                let name = &self.scenario.maps[*map].name;
                let is_revived = |key: &str| self.oracle.is_revived(*map, key);
                check_replica(watch, &truth[map], &is_revived, &format!("{} of {name}", client.name));
            }
        }
    }

    /// One change after the other, each heard by everybody who watches, exactly once, and not by its writer.
    pub fn check_each_change_is_heard_once(&mut self) {
        for map in 0..self.scenario.maps.len() {
            let key = "k1";
            for client in &mut self.clients {
                client.watches.values_mut().for_each(|watch| watch.heard.clear());
                client.synckit.iter_mut().for_each(SyncKit::clear_heard);
            }
            let mut writer = self.random.below(self.scenario.clients);
            if self.clients[writer].cannot_see(key) {
                writer = 0;
            }
            let is_lww = self.write_certainly(&mut writer, map, key);
            // Longer than frames wait for company.
            self.settle(15_000, false);
            self.check_rest();
            for (index, client) in self.clients.iter().enumerate() {
                if let Some(heard) = client.synckit.as_ref().and_then(|synckit| synckit.heard(map, key)) {
                    assert_eq!(heard, usize::from(is_lww), "{} heard a change of map {map}", client.name);
                }
                let Some(watch) = client.watches.get(&map) else { continue };
                let is_shown = watch.spec.filter.passes(key) && !watch.is_hidden(key);
                let wanted = is_shown && (index != writer || watch.spec.echo);
                let heard = watch.heard.get(key).copied().unwrap_or(0);
                assert_eq!(heard, usize::from(wanted), "{} heard a change of map {map}", client.name);
            }
        }
    }

    /// The client, or another that can, writes what is certain to change something; whether that is a register.
    pub fn write_certainly(&mut self, writer: &mut usize, map: usize, key: &str) -> bool {
        let kind = self.kind_now(map);
        let is_lww = kind == Kind::Lww;
        let synckit = self.clients[*writer].synckit.as_ref();
        if synckit.is_some_and(|synckit| !is_lww || !synckit.may_write(map, &self.scenario)) {
            *writer = 0;
        }
        self.with_client(*writer, |client, link, context| {
            if client.synckit.is_some() {
                return client.with_synckit(link, context, |synckit, context| {
                    synckit.write_certainly(map, key, context);
                });
            }
            let op = client.certain_op(map, key, kind, context);
            client.write(vec![op], "", link, context);
        });
        is_lww
    }

    /// The type of a map on which clients disagree, as far as one has been seen.
    fn kind_now(&self, map: usize) -> Kind {
        match (self.scenario.maps[map].kind, self.oracle.type_of(map)) {
            (Kind::Contested, Some("lww")) => Kind::Lww,
            (Kind::Contested, Some("or") | None) => Kind::Or,
            (Kind::Contested, _) => Kind::Counter,
            (kind, _) => kind,
        }
    }

    /// All connections end, each in some way; nothing must be left of them.
    pub fn disconnect_all(&mut self) {
        for index in 0..self.clients.len() {
            self.with_client(index, |client, link, context| match context.random.below(3) {
                0 => client.reset(link, context),
                1 => link.end_upstream(End::Orderly),
                _ => client.close(link, context),
            });
        }
        self.settle(REST_US, false);
        self.check_nothing_is_left();
    }

    /// All shards stop; clients that are still there are told to go.
    pub fn drain_all(&mut self) {
        let had_clients: Vec<bool> = self.clients.iter().map(|client| client.is_open()).collect();
        let began_us = self.now_us;
        for node in &mut self.nodes {
            node.shard.drain();
            node.is_woken = true;
        }
        self.settle(REST_US, false);
        for node in &self.nodes {
            assert!(node.is_exited, "shard {} never exits", node.index);
        }
        let took_us = self.now_us - began_us - REST_US;
        assert!(took_us < self.scenario.config.drain_ms * 1000, "healthy clients held up the drain");
        for (client, had_connection) in self.clients.iter().zip(had_clients) {
            assert!(!had_connection || client.close_code == Some(1001), "{:?}", client.close_code);
        }
        self.check_nothing_is_left();
    }

    fn check_nothing_is_left(&self) {
        let mut metrics = Metrics::default();
        for node in &self.nodes {
            let of_shard = node.shard.metrics_now();
            assert_eq!(node.open_slots(), 0, "a slot of shard {} was never given back", node.index);
            assert_eq!(of_shard.accepts, node.accepted, "accepts of shard {}", node.index);
            assert_eq!(node.accepted, node.released, "releases of shard {}", node.index);
            metrics.add(&of_shard);
        }
        assert_eq!(metrics.connections, 0, "connections are left");
        assert_eq!(metrics.subscriptions, 0, "subscriptions are left");
        assert_eq!((metrics.users, metrics.user_connections), (0, 0), "users are left");
        assert_eq!(metrics.outbox_bytes, 0, "bytes are left");
        assert_eq!(metrics.closes_total(), metrics.handshakes, "each open connection is closed once");
    }
}

fn check_replica(watch: &Watch, truth: &Replica, is_revived: &dyn Fn(&str) -> bool, whose: &str) {
    let (ours, theirs) = (watch.replica.visible(), truth.visible());
    for key in ours.keys().chain(theirs.keys()).filter(|key| !is_revived(key)) {
        if watch.is_hidden(key) {
            assert!(!watch.replica.cells.contains_key(key), "the replica {whose} has {key}, which is hidden");
            continue;
        }
        let is_unclear = watch.is_excused || watch.unclear.contains(key);
        if watch.haunted.contains(key) {
            check_haunted(watch, truth, key, whose);
            continue;
        }
        let is_partial = watch.spec.bare
            && (!watch.replica.cells.contains_key(key)
                || matches!(truth.cells.get(key), Some(Cell::Or { .. })));
        if watch.spec.filter.passes(key) && !is_unclear && !is_partial {
            let (has, is) = (ours.get(key), theirs.get(key));
            assert_eq!(has, is, "the replica {whose} is wrong at {key}; {:?}", watch.spec);
        }
    }
    assert!(watch.spec.filter != Filter::All || watch.is_live);
}

/// What a crash has undone may be there, but nothing may be missing.
fn check_haunted(watch: &Watch, truth: &Replica, key: &str, whose: &str) {
    let is_unclear = watch.is_excused || watch.unclear.contains(key) || watch.spec.bare;
    if let Some(is) = truth.cells.get(key).filter(|_| !is_unclear) {
        let has = watch.replica.cells.get(key);
        assert!(has.is_some_and(|has| has.covers(is)), "the replica {whose} lacks {key}: {has:?}, is {is:?}");
    }
}

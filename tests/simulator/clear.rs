//! Dropping all maps: everything goes at once, whatever ends the process meanwhile, and no cursor hides that.

use std::net::{IpAddr, Ipv4Addr};

use annulus::crdt::Time;

use crate::client::SyncKit;
use crate::disk::Crash;
use crate::link::{End, Link};
use crate::replica::Replica;
use crate::scenario::Kind;
use crate::service::Service;
use crate::world::World;

/// Microseconds without a byte moving after which nothing is on its way.
const REST_US: u64 = 300_000;
/// Steps after which a clear that is not done never will be.
const STEPS_MAX: usize = 1_000_000;
/// Steps within which most clears are done.
const CRASH_STEPS: usize = 300;

impl World {
    /// Drops all maps while no client is connected, now and then with the end of the process in the middle.
    pub fn clear(&mut self) {
        for index in 0..self.clients.len() {
            self.with_client(index, |client, link, context| client.reset(link, context));
        }
        self.settle(REST_US, false);
        self.wait_for_gone_clients();
        let Some(mut link) = self.begin_clear() else { return };
        let before = self.cleared_through();
        let crash_at = (self.scenario.storage.is_some() && self.random.per_mille(500))
            .then(|| self.random.below(CRASH_STEPS));
        for step in 0.. {
            assert!(step < STEPS_MAX, "a clear does not end: {:?}", self.service);
            if self.has_succeeded(link) || crash_at == Some(step) {
                break;
            }
            if self.links[link].is_over {
                // It has waited for longer than a connection may without a request. One that is under way does as well.
                link = self.begin_clear().unwrap_or(link);
            }
            self.step_clear(link);
        }
        let is_answered = self.has_succeeded(link);
        if crash_at.is_some() {
            let crash = if self.scenario.keeps_all_at_rest() { self.some_crash() } else { Crash::Kill };
            self.crash(crash);
            let is_cleared = self.cleared_through() > before;
            assert!(is_cleared || !is_answered, "what was dropped is back");
            self.cut_short += u64::from(!is_answered);
            if !is_cleared {
                // All of it must be there, as after any crash.
                return self.settle(REST_US, true);
            }
        } else {
            self.links[link].end_upstream(End::Orderly);
        }
        self.clears += 1;
        self.oracle.cleared();
        let scenario = &self.scenario;
        for client in &mut self.clients {
            // Another type may be theirs from now on.
            client.kept.retain(|&map, _| scenario.maps[map].kind != Kind::Contested);
            client.kept.values_mut().for_each(|kept| kept.must_reset = true);
            // As after a crash, nothing tells an application what is gone.
            client.synckit.iter_mut().for_each(SyncKit::server_crashed);
        }
        self.settle(REST_US, true);
        self.check_rest();
        let observers = self.clients.len();
        for (map, replica) in self.truth() {
            assert_eq!(replica, Replica::default(), "{} was dropped", self.scenario.maps[map].name);
        }
        // There is room for those of one look only.
        for index in observers..self.clients.len() {
            self.with_client(index, |client, link, context| client.reset(link, context));
        }
        self.clients.truncate(observers);
        self.settle(REST_US, true);
    }

    /// Waits until the server has carried out, or given up, what clients have asked for that are gone: of a map that could not
    /// be loaded that takes longer than anything moves, and it would be done to the maps that are empty, as it may be.
    fn wait_for_gone_clients(&mut self) {
        let until_us = self.now_us + self.wait_us_max();
        while self.now_us < until_us {
            self.settle(REST_US, false);
            self.now_us += 1;
        }
    }

    /// Connects to some shard and has it clear; `None` if it takes no connection.
    fn begin_clear(&mut self) -> Option<usize> {
        let shard = self.random.below(self.nodes.len());
        let link = self.links.len();
        self.links.push(Link::new(shard, IpAddr::V4(Ipv4Addr::LOCALHOST)));
        self.open_links.push(link);
        self.nodes[shard].backlog.push_back(link);
        while !self.nodes[shard].backlog.is_empty() {
            self.turn(shard);
        }
        let id = self.links[link].id?;
        self.nodes[shard].shard.clear_maps(id);
        self.nodes[shard].is_woken = true;
        Some(link)
    }

    fn step_clear(&mut self, link: usize) {
        match self.random.below(4) {
            0 => drop(self.step_one_link(link, 1 << 20, 1 << 20)),
            1 => {
                let index = self.random.below(self.nodes.len());
                if self.nodes[index].is_runnable(self.now_us) {
                    self.turn(index);
                }
            }
            2 => drop(self.step_service()),
            _ => self.now_us += self.random.below(1_000) as u64,
        }
    }

    fn has_succeeded(&self, link: usize) -> bool {
        let told: Vec<u8> = self.links[link].downstream.iter().copied().collect();
        told.ends_with(br#"{"success":true}"#)
    }

    /// The last clear that the base has followed. What the process found when it started may be an earlier one.
    fn cleared_through(&self) -> Time {
        self.service.as_ref().map_or(Time::ZERO, Service::cleared_through)
    }
}

//! Rules that hide keys from some users, which come and go while others write.
//!
//! At rest it is known which view each subscription has, so nothing may be told that is not in it: each change of the rules
//! starts those subscriptions over whose views it changes, and no other.

use std::collections::BTreeMap;

use crate::calm::REST_US;
use crate::client::{Client, Pass, Watch};
use crate::world::World;

/// Steps in which a change of the rules may reach all shards, and writes meet it.
const STEPS_MAX: usize = 400;

/// What keys that each user may not see begin with.
pub type Hidden = BTreeMap<String, String>;

impl World {
    /// Rules hide keys from some, then other keys from others, and in the end nothing.
    pub fn check_hiding(&mut self) {
        // A reset may have other reasons where removals are forgotten.
        if self.desk.is_none() || self.scenario.forgets {
            return;
        }
        for _ in 0..self.random.between(1, 3) {
            let hidden = self.some_hidden();
            self.hide(hidden);
            self.check_each_change_is_heard_once();
            self.read_hidden();
            self.look_and_forget();
        }
        self.hide(Hidden::new());
    }

    /// Of some users, which may not be those of a client of SyncKit, nor of the first, who writes.
    fn some_hidden(&mut self) -> Hidden {
        let (native, mut hidden) = (self.scenario.clients - self.scenario.clients_synckit, Hidden::new());
        for user in 1..native / 2 {
            let prefix = self.random.pick(&["", "k", "k0", "k1", "k1", "k2"]);
            if !prefix.is_empty() {
                hidden.insert(Pass::user(user), prefix.to_owned());
            }
        }
        hidden
    }

    /// Has other rules in force, while the first client writes.
    fn hide(&mut self, hidden: Hidden) {
        let now_us = self.now_us;
        for client in &mut self.clients {
            let Some(prefix) = client.user().map(|user| hidden.get(user).cloned()) else { continue };
            client.identity.iter_mut().for_each(|identity| identity.hides.clone_from(&prefix));
            // Views of the same keys are others where the rules were read again; all there is stays all there is.
            let is_other = |watch: &&mut Watch| watch.hides.is_some() || prefix.is_some();
            client
                .watches
                .values_mut()
                .filter(is_other)
                .for_each(|watch| watch.expect_view(prefix.clone(), now_us));
        }
        let Some(desk) = &mut self.desk else { return };
        desk.hide(hidden);
        // Whoever writes so much hears of it where somebody is too slow.
        self.is_calm = false;
        for _ in 0..self.random.below(STEPS_MAX) {
            self.now_us += 1;
            match self.random.below(8) {
                0 => drop(self.step_desk()),
                1 => {
                    let map = self.random.below(self.scenario.maps.len());
                    let key = format!("k{}", self.random.below(self.scenario.keys));
                    self.write_certainly(&mut 0, map, &key);
                }
                2..4 => {
                    let index = self.random.below(self.open_links.len());
                    self.step_one_link(self.open_links[index], 1000, 1 << 20);
                }
                4..6 => {
                    let index = self.random.below(self.clients.len());
                    self.with_client(index, |client, link, context| client.read(link, context));
                }
                _ => {
                    let index = self.random.below(self.nodes.len());
                    if self.nodes[index].is_runnable(self.now_us) {
                        self.turn(index);
                    }
                }
            }
        }
        self.settle(REST_US, false);
        self.is_calm = true;
        self.check_rest();
        for client in &self.clients {
            let is_missing = client.watches.values().any(|watch| watch.must_reset);
            assert!(!is_missing, "{} was not told of its new view", client.name);
        }
    }

    /// Everybody asks for values that are hidden from some.
    fn read_hidden(&mut self) {
        for index in 0..self.scenario.clients - self.scenario.clients_synckit {
            self.with_client(index, |client, link, context| {
                let map = context.random.below(context.scenario.maps.len());
                client.read_keys(map, ["k0", "k1", "k2"].map(str::to_owned).to_vec(), link, context);
            });
        }
        self.settle(REST_US, false);
    }

    /// Compares everything once, and has the observers leave again: there is room for those of one look.
    fn look_and_forget(&mut self) {
        let observers = self.clients.len();
        self.check_promises();
        for index in observers..self.clients.len() {
            self.with_client(index, |client, link, context| client.reset(link, context));
        }
        self.clients.truncate(observers);
        self.settle(REST_US, true);
    }
}

impl Client {
    /// Whether a key is hidden from it.
    pub fn cannot_see(&self, key: &str) -> bool {
        let hides = self.identity.as_ref().and_then(|identity| identity.hides.as_deref());
        is_hidden(hides, key)
    }
}

impl Watch {
    /// Other rules are on their way, of which it is told by starting over.
    fn expect_view(&mut self, hides: Option<String>, now_us: u64) {
        (self.hides, self.must_reset, self.began_us) = (hides, true, now_us);
        let Self { floor, hides, .. } = self;
        floor.cells.retain(|key, _| !is_hidden(hides.as_deref(), key));
    }

    pub fn is_hidden(&self, key: &str) -> bool {
        is_hidden(self.hides.as_deref(), key)
    }

    /// Nothing is told that is hidden since it was told of its view.
    pub fn check_is_shown(&self, key: &str) {
        assert!(self.must_reset || !self.is_hidden(key), "told of {key}, which is hidden");
    }
}

fn is_hidden(hides: Option<&str>, key: &str) -> bool {
    hides.is_some_and(|prefix| key.starts_with(prefix))
}

//! The desk, in the hands of chance: a token is what it claims, and is answered late, in any order and in bursts.
//!
//! Only some seeds have one. Its chance is its own, so that the others mean what they meant without it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use annulus::auth::rules::Rules;
use annulus::auth::{Identity, Principal, Proof, Revocations, Standing, TokenError};
use annulus::config::AuthMode;
use annulus::handover::{DeskEnd, DeskPort, FromDesk, Refused, Verified, Verify, connect_desk};
use annulus::metrics::Metrics;

use crate::client::{Client, Pass};
use crate::hiding::Hidden;
use crate::random::Random;
use crate::revoked::Revoked;
use crate::world::World;

/// Seeds of which one has a desk.
const SEEDS_PER_DESK: u64 = 3;
/// Tokens of one shard that it has not answered: fewer than answers that its queue holds.
const TAKEN_MAX: usize = 100;
/// What everybody who is somebody may do: everything.
const RULES: &str = r#"
[[role]]
name = "member"
[[rule]]
allow = ["read", "write", "publish", "presence", "send"]
maps = ["**"]
"#;

/// See the module.
pub struct Desk {
    pub mode: AuthMode,
    random: Random,
    ends: Vec<DeskEnd>,
    /// Tokens without an answer, and whose they are.
    taken: Vec<(usize, Verify)>,
    standing: Arc<Standing>,
    pub revoked: Revoked,
    hidden: Hidden,
    /// Users there are.
    users: usize,
    /// What stands in the rules file beside rules.
    pub tables: &'static str,
    /// Shards that have yet to be told what is in force.
    untold: Vec<bool>,
    /// Something may wait in a queue.
    pub is_woken: bool,
    /// It does nothing before.
    held_until_us: u64,
    pub counts: Counts,
}

/// What it has done, over all processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub believed: u64,
    pub refused: u64,
    pub standings: u64,
    pub revocations: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.believed += other.believed;
        self.refused += other.refused;
        self.standings += other.standings;
        self.revocations += other.revocations;
    }
}

impl Desk {
    /// The one of a seed, if it has one.
    pub fn of(seed: u64, users: usize) -> Option<Self> {
        let mut random = Random::new(!seed);
        (seed % SEEDS_PER_DESK == 1).then(|| Self {
            mode: random.pick(&[AuthMode::Required, AuthMode::Required, AuthMode::Optional]),
            random,
            ends: Vec::new(),
            taken: Vec::new(),
            standing: Arc::default(),
            revoked: Revoked::default(),
            hidden: Hidden::new(),
            users,
            tables: "",
            untold: Vec::new(),
            is_woken: false,
            held_until_us: 0,
            counts: Counts::default(),
        })
    }

    /// Begins with the shards of another process: what was asked before nobody waits for.
    pub fn start(&mut self, shards: usize, now_us: u64) -> Vec<(Arc<Standing>, DeskPort)> {
        let (ports, ends): (Vec<_>, Vec<_>) = connect_desk(shards, &Arc::default()).into_iter().unzip();
        self.ends = ends;
        self.taken.clear();
        self.untold = vec![false; shards];
        self.renew_rules();
        self.revoked.start(shards, now_us);
        ports.into_iter().map(|port| (Arc::clone(&self.standing), port)).collect()
    }

    /// Reads the rules again, which say the same.
    fn renew_rules(&mut self) {
        let role = if self.mode == AuthMode::Required { "roles = [\"member\"]\n" } else { "" };
        let mut text = format!("{RULES}{role}{}", self.tables);
        for (user, prefix) in &self.hidden {
            let _ = write!(
                text,
                "[[role]]\nname = \"{user}\"\n[[rule]]\ndeny = [\"read\"]\nmaps = [\"**\"]\nroles = [\"{user}\"]\nkeys = [\"{prefix}**\"]\n"
            );
        }
        let rules = Rules::parse(&text).expect("rules");
        self.standing = Arc::new(Standing { rules: Some(Arc::new(rules)), ..(*self.standing).clone() });
    }

    /// What is in force changes, which shards are told one after the other.
    fn change_standing(&mut self) {
        match self.random.below(3) {
            0 => return self.say_again(),
            1 => drop(self.revoked.users.pop_first()),
            _ => self.revoke_somebody(),
        }
        self.revoke();
    }

    fn revoke_somebody(&mut self) {
        self.counts.revocations += 1;
        let user = self.random.below(self.users);
        self.revoked.users.insert(Pass::user(user));
    }

    /// Tells all shards what is in force already, of rules that were read again.
    pub fn say_again(&mut self) {
        self.renew_rules();
        self.tell();
    }

    /// Keys are hidden from some users from now on.
    pub fn hide(&mut self, hidden: Hidden) {
        self.hidden = hidden;
        self.say_again();
    }

    /// Nobody is revoked any more.
    pub fn allow_all(&mut self) {
        self.revoked.users.clear();
        self.revoke();
    }

    fn revoke(&mut self) {
        let users = self.revoked.users.iter().map(|user| (user.as_str().into(), u64::MAX)).collect();
        let revocations = Arc::new(Revocations { users, ..Revocations::default() });
        self.standing = Arc::new(Standing { revocations, ..(*self.standing).clone() });
        self.tell();
    }

    fn tell(&mut self) {
        self.counts.standings += 1;
        self.untold.fill(true);
    }

    /// Takes note of shards that have taken everything out of their queues.
    fn see_taken(&mut self, now_us: u64) {
        for (shard, end) in self.ends.iter().enumerate() {
            if end.to_shard.slots() == end.to_shard.buffer().capacity() {
                self.revoked.taken(shard, now_us);
            }
        }
    }

    pub fn is_runnable(&self) -> bool {
        self.is_woken || !self.taken.is_empty() || self.untold.contains(&true)
    }

    /// Does one thing; the shard that is to be woken for it.
    fn step(&mut self, unix_ms: u64) -> Option<usize> {
        if std::mem::take(&mut self.is_woken) {
            self.take();
        }
        let untold: Vec<usize> = (0..self.untold.len()).filter(|&shard| self.untold[shard]).collect();
        if !untold.is_empty() && (self.taken.is_empty() || self.random.per_mille(300)) {
            let shard = self.random.pick(&untold);
            let standing = FromDesk::Standing(Arc::clone(&self.standing));
            if self.ends[shard].to_shard.push(standing).is_ok() {
                self.untold[shard] = false;
                self.revoked.told(shard);
            }
            return Some(shard);
        }
        if self.taken.is_empty() {
            return None;
        }
        let (shard, verify) = self.taken.swap_remove(self.random.below(self.taken.len()));
        if self.ends[shard].to_shard.is_full() {
            self.taken.push((shard, verify));
            return None;
        }
        let outcome = self.believe(&verify.credential, unix_ms);
        self.counts.believed += u64::from(outcome.is_ok());
        self.counts.refused += u64::from(outcome.is_err());
        let verified = Verified { connection: verify.connection, outcome };
        self.ends[shard].to_shard.push(FromDesk::Verified(verified)).expect("there was room");
        Some(shard)
    }

    /// Takes what shards ask about, as far as there is room for the answers.
    fn take(&mut self) {
        for (shard, end) in self.ends.iter_mut().enumerate() {
            let taken = self.taken.iter().filter(|(of, _)| *of == shard).count();
            let asked = std::iter::from_fn(|| end.from_shard.pop().ok());
            self.taken.extend(asked.take(TAKEN_MAX.saturating_sub(taken)).map(|verify| (shard, verify)));
            self.is_woken |= !end.from_shard.is_empty();
        }
    }

    fn believe(&self, token: &str, unix_ms: u64) -> Result<Arc<Principal>, Refused> {
        let claims = token.replace('\'', "\"");
        let claims = serde_json::from_str(&claims).map_err(|_| Refused::Token(TokenError::Malformed))?;
        let identity = Identity::of_claims(&claims, "roles").map_err(|bad| Refused::Token(bad.into()))?;
        if identity.expires_ms.is_some_and(|expires_ms| expires_ms <= unix_ms) {
            return Err(Refused::Token(TokenError::Expired));
        }
        if self.standing.revocations.are_about(&identity, &Proof::Token) {
            return Err(Refused::Revoked);
        }
        let grant = self.standing.granted(&identity);
        Ok(Arc::new(Principal { identity, grant, proof: Proof::Token }))
    }
}

impl World {
    /// Something happens at the desk, or nothing for a while.
    pub fn storm_desk(&mut self) {
        self.desk.iter_mut().for_each(|desk| desk.see_taken(self.now_us));
        let Some(desk) = self.desk.as_mut().filter(|desk| desk.held_until_us <= self.now_us) else { return };
        match desk.random.below(1000) {
            0..2 => desk.change_standing(),
            2..12 => desk.held_until_us = self.now_us + desk.random.below(60_000) as u64,
            12..500 => drop(self.step_desk()),
            _ => {}
        }
    }

    /// One step of the desk, if it has any to do; whether it had.
    pub fn step_desk(&mut self) -> bool {
        let unix_ms = self.unix_ms();
        let Some(desk) = &mut self.desk else { return false };
        desk.see_taken(self.now_us);
        if !desk.is_runnable() {
            return false;
        }
        if let Some(shard) = desk.step(unix_ms) {
            self.nodes[shard].is_woken = true;
        }
        true
    }

    /// From now on clients have tokens that last, also those that have another.
    pub fn heal_identities(&mut self) {
        for index in 0..self.clients.len() {
            self.clients[index].identity.iter_mut().for_each(|identity| identity.is_careful = true);
            self.with_client(index, |client, link, context| client.take_care(link, context));
        }
    }

    /// Whoever is revoked is gone, and then nobody is any more.
    pub fn end_revocations(&mut self, rest_us: u64) {
        let Some(desk) = &mut self.desk else { return };
        if desk.random.per_mille(500) {
            desk.revoke_somebody();
            desk.revoke();
        }
        if desk.revoked.users.is_empty() {
            return;
        }
        self.settle(rest_us, true);
        let Some(desk) = &mut self.desk else { return };
        for client in &self.clients {
            let is_revoked = client.user().is_some_and(|user| desk.revoked.users.contains(user));
            assert!(!is_revoked, "{} is connected, and revoked", client.name);
        }
        desk.allow_all();
    }

    /// Whether a client is not of a user that is revoked.
    pub fn is_allowed(&self, client: &Client) -> bool {
        let users = self.desk.as_ref().map(|desk| &desk.revoked.users);
        users.zip(client.identity.as_ref()).is_none_or(|(users, identity)| !users.contains(&identity.user))
    }

    /// What is in force is said again: nobody notices.
    pub fn check_same_standing(&mut self) {
        let Some(desk) = &mut self.desk else { return };
        desk.say_again();
        let noticed = |world: &Self| {
            let mut metrics = Metrics::default();
            world.nodes.iter().for_each(|node| metrics.add(&node.shard.metrics_now()));
            [metrics.resets, metrics.subscriptions, metrics.auth_refused, metrics.closes_total()]
        };
        let before = noticed(self);
        self.settle(15_000, false);
        assert_eq!(noticed(self), before, "a standing that changes nothing");
        self.check_rest();
    }

    /// Some clients have tokens that end soon, and may forget to bring others.
    pub fn neglect_identities(&mut self) {
        for index in 0..self.clients.len() {
            self.with_client(index, |client, link, context| client.neglect(link, context));
        }
    }

    /// The lists of users have who is connected, and nobody else.
    pub fn check_users(&self) {
        let mut metrics = Metrics::default();
        self.nodes.iter().for_each(|node| metrics.add(&node.shard.metrics_now()));
        let connections: Vec<&str> = self.clients.iter().filter_map(Client::user).collect();
        let users: BTreeSet<&str> = connections.iter().copied().collect();
        let listed = (metrics.users, metrics.user_connections);
        assert_eq!(listed, (users.len() as u64, connections.len() as u64), "{users:?} are connected");
    }

    /// Nobody is connected by a token that is over for long.
    pub fn check_identities(&self) {
        for client in self.clients.iter().filter(|client| client.is_open()) {
            let ends_by_us = client.identity.as_ref().and_then(|identity| identity.ends_by_us);
            assert!(ends_by_us.is_none_or(|by_us| self.now_us < by_us), "{} outlives its token", client.name);
        }
    }
}

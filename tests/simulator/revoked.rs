//! Who is revoked, where that is known to be in force, and where it still may be.

use std::collections::{BTreeMap, BTreeSet};

type Users = BTreeSet<String>;

/// See the module.
#[derive(Default)]
pub struct Revoked {
    /// As the desk has it.
    pub users: Users,
    shards: Vec<OfShard>,
    /// When it was last possible that somebody was revoked who is not any more.
    until_us: BTreeMap<String, u64>,
}

/// What one shard knows.
#[derive(Default)]
struct OfShard {
    in_force: Users,
    /// What it was told and may not have taken note of.
    told: Vec<Users>,
    /// Who has been revoked there without a break, and since when.
    since_us: BTreeMap<String, u64>,
}

impl Revoked {
    /// Shards begin with what the desk has; those before them are gone.
    pub fn start(&mut self, shards: usize, now_us: u64) {
        for of_shard in std::mem::take(&mut self.shards) {
            let users = of_shard.told.into_iter().flatten().chain(of_shard.in_force);
            self.until_us.extend(users.map(|user| (user, now_us)));
        }
        let of_shard = |_| OfShard {
            in_force: self.users.clone(),
            since_us: self.users.iter().map(|user| (user.clone(), now_us)).collect(),
            told: Vec::new(),
        };
        self.shards = (0..shards).map(of_shard).collect();
    }

    /// A shard is told what the desk has.
    pub fn told(&mut self, shard: usize) {
        let of_shard = &mut self.shards[shard];
        of_shard.since_us.retain(|user, _| self.users.contains(user));
        of_shard.told.push(self.users.clone());
    }

    /// A shard has taken note of all that it was told.
    pub fn taken(&mut self, shard: usize, now_us: u64) {
        let of_shard = &mut self.shards[shard];
        let Some(last) = of_shard.told.last().cloned() else { return };
        let before = std::mem::replace(&mut of_shard.in_force, last);
        let over = of_shard.told.drain(..).flatten().chain(before);
        self.until_us.extend(over.map(|user| (user, now_us)));
        for user in &of_shard.in_force {
            of_shard.since_us.entry(user.clone()).or_insert(now_us);
        }
    }

    /// Whether somebody may have been revoked on some shard then or later.
    pub fn may_be(&self, user: &str, since_us: u64) -> bool {
        let is_known = |shard: &OfShard| {
            shard.in_force.contains(user) || shard.told.iter().any(|users| users.contains(user))
        };
        self.users.contains(user)
            || self.shards.iter().any(is_known)
            || self.until_us.get(user).is_some_and(|until_us| *until_us >= since_us)
    }

    /// Whether somebody has certainly been revoked on a shard ever since then.
    pub fn is_certain(&self, user: &str, shard: usize, since_us: u64) -> bool {
        self.shards[shard].since_us.get(user).is_some_and(|at_us| *at_us < since_us)
    }
}

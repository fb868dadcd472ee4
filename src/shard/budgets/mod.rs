//! What clients may send, by token buckets: each connection has its own, and those of a user, or of an address, share some over
//! all shards.
//!
//! ```text
//!  a message ──► buckets of its connection, its user, its address, all on this shard: has each a token? then it pays each
//!                         │ what was paid here, SETTLE_EVERY_MS after the first of it
//!                         ▼ Spent                       Balance: what all have paid ▲
//!                home of the payer: one bucket, from which everybody's payments are taken
//! ```
//! No message waits for another shard. Between two balances a shard knows of its own payments only, so that a payer with
//! connections on k shards may send up to k − 1 bursts, and what its rate allows in two spans of `SETTLE_EVERY_MS`, too much
//! once. All of that is owed: its buckets are in debt afterwards, and over a longer time it sends what its rate allows.
//! New connections are counted by the home itself, which decides about them anyway.
//!
//! Invariant: what is on this shard of a payer stays until none of its connections is here, all was told to the home, and its
//! buckets are full, so that nobody gains anything by connecting again.

mod bucket;
mod purse;

pub use bucket::{Bucket, Pace};
pub use purse::Purse;

use std::collections::VecDeque;

use hashbrown::HashMap;
use slab::Slab;

use super::slots;
use super::turn::Turn;
use super::work;
use crate::config::{Config, Rates};
use crate::mesh::{Balance, Item, Paid, Payer, ShardIndex, ShardSet, Spent};

/// Milliseconds after which the home of a payer hears what it has paid here.
pub const SETTLE_EVERY_MS: u64 = 250;
/// Payers beyond twice as many as were in use when that was last looked at, past which those that are not are forgotten.
const STALE_MAX: usize = 64;

type Paces = [Pace; Paid::COUNT];
type Buckets = [Bucket; Paid::COUNT];

/// See the module.
pub struct Budgets {
    of_connection: Paces,
    of_address: Paces,
    /// New connections of one address.
    connections_of_address: Pace,
    /// Of users whose roles have none of their own.
    user_rates: Rates,
    budgets: Slab<Budget>,
    by_payer: HashMap<Payer, u32>,
    /// Those that were in use when that was last looked at.
    budgets_in_use: usize,
    /// Budgets of which their homes are to hear, and when, in microseconds, ascending: at once where somebody begins to pay.
    unsettled: VecDeque<(u64, u32)>,
    /// Of payers whose home is here.
    pools: HashMap<Payer, Pool>,
    pools_in_use: usize,
    /// Whether any connection has ever had to pay for anything.
    are_in_use: bool,
}

/// What is here of a payer.
struct Budget {
    payer: Payer,
    /// Connections that pay with it.
    holders: u32,
    paces: Paces,
    buckets: Buckets,
    /// Nanoseconds of each kind that the home has not heard of.
    unsettled_ns: [u64; Paid::COUNT],
    /// How often it is in line to be told of.
    queued: u32,
}

/// What its home knows of a payer.
#[derive(Default)]
struct Pool {
    buckets: Buckets,
    connections: Bucket,
    /// Shards that have told of payments while something was owed.
    heard: ShardSet,
}

impl Budgets {
    pub fn new(config: &Config) -> Self {
        let of_address = config.address_rates;
        Self {
            of_connection: paces(config.connection_rates),
            of_address: paces(of_address),
            connections_of_address: Pace::new(of_address.connections_per_second, of_address.burst_seconds),
            user_rates: config.user_rates,
            budgets: Slab::new(),
            by_payer: HashMap::new(),
            budgets_in_use: 0,
            unsettled: VecDeque::new(),
            pools: HashMap::new(),
            pools_in_use: 0,
            are_in_use: false,
        }
    }

    /// Goes on with other rates, which count for connections that come from then on, and for whom they pay with.
    pub fn configure(&mut self, config: &Config) {
        let of_address = config.address_rates;
        (self.of_connection, self.of_address) = (paces(config.connection_rates), paces(of_address));
        self.connections_of_address = Pace::new(of_address.connections_per_second, of_address.burst_seconds);
        self.user_rates = config.user_rates;
    }

    /// Whether any connection may have to pay for anything.
    pub const fn are_in_use(&self) -> bool {
        self.are_in_use
    }

    /// Whether new connections of an address are counted.
    pub fn count_connections_of_addresses(&self) -> bool {
        !self.connections_of_address.is_none()
    }

    /// What the rules say of a user, or else the flags.
    pub fn rates_of(&self, of_roles: Option<Rates>) -> Rates {
        of_roles.unwrap_or(self.user_rates)
    }

    /// One connection more pays with the budget of its payer.
    fn hold(&mut self, turn: &Turn, payer: &Payer, paces: Paces) -> u32 {
        let slot = match self.by_payer.get(payer) {
            Some(&slot) => slot,
            None => self.insert(turn, payer, paces),
        };
        let budget = &mut self.budgets[slot as usize];
        budget.paces = paces;
        budget.holders += 1;
        // What it has paid elsewhere meanwhile is owed here, too.
        if budget.holders == 1 && turn.shards > 1 {
            budget.queued += 1;
            self.unsettled.push_front((turn.now.monotonic_us, slot));
        }
        slot
    }

    fn insert(&mut self, turn: &Turn, payer: &Payer, paces: Paces) -> u32 {
        self.forget_unused(turn);
        let budget = Budget {
            payer: payer.clone(),
            holders: 0,
            paces,
            buckets: Buckets::default(),
            unsettled_ns: [0; Paid::COUNT],
            queued: 0,
        };
        let slot = slots::slot(self.budgets.insert(budget));
        self.by_payer.insert(payer.clone(), slot);
        slot
    }

    fn release(&mut self, slot: u32) {
        self.budgets[slot as usize].holders -= 1;
    }

    /// Forgets payers that nobody pays for any more, once they are many.
    fn forget_unused(&mut self, turn: &Turn) {
        if self.by_payer.len() <= 2 * self.budgets_in_use + STALE_MAX {
            return;
        }
        let Self { budgets, by_payer, .. } = self;
        let now_ns = now_ns(turn);
        by_payer.retain(|_, &mut slot| {
            let budget = &budgets[slot as usize];
            let is_used = budget.holders > 0 || budget.queued > 0 || !are_full(&budget.buckets, now_ns);
            if !is_used {
                budgets.remove(slot as usize);
            }
            is_used
        });
        self.budgets_in_use = self.by_payer.len();
    }

    /// Nanoseconds until a budget has a token of each kind.
    fn wait_ns(&self, slot: u32, now_ns: u64) -> u64 {
        let budget = &self.budgets[slot as usize];
        wait_ns(&budget.buckets, &budget.paces, now_ns)
    }

    fn pay(&mut self, turn: &Turn, slot: u32, kind: Paid, tokens: u64) {
        let budget = &mut self.budgets[slot as usize];
        let ns = budget.paces[kind as usize].ns_of(tokens);
        if ns == 0 {
            return;
        }
        budget.buckets[kind as usize].take_ns(ns, now_ns(turn));
        if turn.shards > 1 {
            budget.unsettled_ns[kind as usize] += ns;
            if budget.queued == 0 {
                budget.queued = 1;
                self.unsettled.push_back((turn.now.monotonic_us + SETTLE_EVERY_MS * 1000, slot));
            }
        }
    }

    /// When homes are to hear of payments next, in microseconds of the monotonic clock.
    pub fn next_settled_us(&self) -> Option<u64> {
        self.unsettled.front().map(|&(at_us, _)| at_us)
    }

    /// Tells the homes of payers what they have paid here, as many as a turn may.
    pub fn settle(&mut self, turn: &mut Turn) {
        while self.next_settled_us().is_some_and(|at_us| at_us <= turn.now.monotonic_us)
            && !turn.is_spent()
            && let Some((_, slot)) = self.unsettled.pop_front()
        {
            turn.spend(work::CELL);
            let budget = &mut self.budgets[slot as usize];
            budget.queued -= 1;
            let ns = std::mem::take(&mut budget.unsettled_ns);
            let spent = Spent { payer: budget.payer.clone(), ns };
            let home = spent.payer.home(&turn.hasher, turn.shards);
            if home == turn.index {
                self.spent(turn, home, spent);
            } else {
                turn.outgoing.push(home, Item::Spent(Box::new(spent)));
            }
        }
    }

    /// A payer whose home is here has paid on a shard, which is told what all of them come to.
    pub fn spent(&mut self, turn: &mut Turn, from: ShardIndex, spent: Spent) {
        turn.spend(work::CELL);
        let now_ns = now_ns(turn);
        let Spent { payer, ns } = spent;
        let pool = self.pool(turn, &payer);
        pool.buckets.iter_mut().zip(ns).for_each(|(bucket, ns)| bucket.take_ns(ns, now_ns));
        pool.heard.insert(from);
        let mut others = pool.heard;
        others.remove(from);
        if others.is_empty() {
            return;
        }
        let balance = Balance { payer, full_in_ns: pool.buckets.map(|bucket| bucket.full_in_ns(now_ns)) };
        if from == turn.index {
            self.balance_told(turn, balance);
        } else {
            turn.outgoing.push(from, Item::Balance(Box::new(balance)));
        }
    }

    /// The home of a payer has said what all have paid.
    pub fn balance_told(&mut self, turn: &Turn, balance: Balance) {
        let Some(&slot) = self.by_payer.get(&balance.payer) else { return };
        let budget = &mut self.budgets[slot as usize];
        let now_ns = now_ns(turn);
        for ((bucket, full_in_ns), unsettled_ns) in
            budget.buckets.iter_mut().zip(balance.full_in_ns).zip(budget.unsettled_ns)
        {
            *bucket = Bucket::default();
            bucket.take_ns(full_in_ns + unsettled_ns, now_ns);
        }
    }

    /// Counts a new connection of a payer whose home is here; in how many milliseconds it may have one, if not now.
    ///
    /// # Errors
    /// As many milliseconds.
    pub fn count_connection(&mut self, turn: &Turn, payer: &Payer, rates: Rates) -> Result<(), u32> {
        let pace = Pace::new(rates.connections_per_second, rates.burst_seconds);
        self.count_connection_at(turn, payer, pace)
    }

    /// The same for an address.
    ///
    /// # Errors
    /// As many milliseconds.
    pub fn count_connection_of_address(&mut self, turn: &Turn, payer: &Payer) -> Result<(), u32> {
        self.count_connection_at(turn, payer, self.connections_of_address)
    }

    fn count_connection_at(&mut self, turn: &Turn, payer: &Payer, pace: Pace) -> Result<(), u32> {
        if pace.is_none() {
            return Ok(());
        }
        let now_ns = now_ns(turn);
        let connections = &mut self.pool(turn, payer).connections;
        match connections.wait_ns(pace, now_ns) {
            0 => {
                connections.take_ns(pace.ns_of(1), now_ns);
                Ok(())
            }
            wait_ns => Err(milliseconds(wait_ns)),
        }
    }

    /// What is known here of a payer; what nobody owes any more is forgotten once it is much.
    fn pool(&mut self, turn: &Turn, payer: &Payer) -> &mut Pool {
        if self.pools.len() > 2 * self.pools_in_use + STALE_MAX {
            let now_ns = now_ns(turn);
            let owes =
                |pool: &Pool| !are_full(&pool.buckets, now_ns) || pool.connections.full_in_ns(now_ns) > 0;
            self.pools.retain(|_, pool| owes(pool));
            self.pools_in_use = self.pools.len();
        }
        self.pools.entry_ref(payer).or_default()
    }
}

impl From<&Payer> for Payer {
    fn from(payer: &Payer) -> Self {
        payer.clone()
    }
}

fn paces(rates: Rates) -> Paces {
    let Rates { messages_per_second, ops_per_second, bytes_per_second, burst_seconds, .. } = rates;
    [messages_per_second, ops_per_second, bytes_per_second].map(|rate| Pace::new(rate, burst_seconds))
}

fn are_none(paces: &Paces) -> bool {
    paces.iter().all(|pace| pace.is_none())
}

fn are_full(buckets: &Buckets, now_ns: u64) -> bool {
    buckets.iter().all(|bucket| bucket.full_in_ns(now_ns) == 0)
}

/// Nanoseconds until each bucket has a token.
fn wait_ns(buckets: &Buckets, paces: &Paces, now_ns: u64) -> u64 {
    let waits = buckets.iter().zip(paces).map(|(bucket, &pace)| bucket.wait_ns(pace, now_ns));
    waits.max().unwrap_or(0)
}

const fn now_ns(turn: &Turn) -> u64 {
    turn.now.monotonic_us * 1000
}

/// Milliseconds after which nanoseconds are over.
fn milliseconds(ns: u64) -> u32 {
    u32::try_from(ns.div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

//! Who may connect: the total, the rate, and the count of each client address.
//!
//! A client over a limit is taken, answered 1013 with a time to come back, and let go; only beyond a reserve
//! for such answers is a transport closed without a word.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;

use super::Clients;
use crate::limits::ADMISSION_RESERVE;
use crate::mesh::{Answer, Item, ReplyTo, Request, ShardIndex};
use crate::metrics::{Metrics, Refusal};
use crate::shard::turn::{Random, Turn};
use crate::shard::{Now, Shared};
use crate::wire::Close;

/// Milliseconds after which a client that was turned away may come back, at the least and at the most.
const RETRY_AFTER_MS: std::ops::Range<u64> = 500..5_000;

/// Not even room for a polite answer.
pub struct NoRoom;

pub struct Admission {
    connections: Arc<AtomicUsize>,
    connections_max: usize,
    per_ip_max: usize,
    /// Accepts this shard may still make in the current second, and when that began.
    accepts_left: u32,
    accepts_per_second: u32,
    second_began_ms: u64,
    /// Connections of the addresses this shard keeps count of.
    by_address: HashMap<IpAddr, usize>,
}

impl Admission {
    pub fn new(shared: &Shared, shards: usize, now: Now) -> Self {
        let accepts_per_second = match shared.config.accepts_per_second_max {
            0 => u32::MAX,
            limit => limit.div_ceil(shards as u32),
        };
        Self {
            connections: Arc::clone(&shared.connections),
            connections_max: shared.config.connections_max,
            per_ip_max: shared.config.connections_per_ip_max,
            accepts_left: accepts_per_second,
            accepts_per_second,
            second_began_ms: now.timer_ms(),
            by_address: HashMap::new(),
        }
    }

    /// Counts one more connection; what to answer it if it is one too many.
    pub fn connect(
        &mut self,
        now: Now,
        random: &mut Random,
        metrics: &mut Metrics,
    ) -> Result<Option<(Refusal, Close)>, NoRoom> {
        let open = self.connections.fetch_add(1, Ordering::Relaxed);
        if open >= self.connections_max + ADMISSION_RESERVE {
            self.depart();
            metrics.count_refusal(Refusal::Connections);
            return Err(NoRoom);
        }
        if now.timer_ms() >= self.second_began_ms + 1000 {
            self.second_began_ms = now.timer_ms();
            self.accepts_left = self.accepts_per_second;
        }
        if open >= self.connections_max {
            return Ok(Some((Refusal::Connections, try_again_later(random))));
        }
        if self.accepts_left == 0 {
            return Ok(Some((Refusal::Rate, try_again_later(random))));
        }
        self.accepts_left -= 1;
        Ok(None)
    }

    /// Counts one connection less.
    pub fn depart(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts one more connection of `address`, if it may have one.
    fn admit(&mut self, address: IpAddr) -> bool {
        let count = self.by_address.entry(address).or_insert(0);
        let admitted = *count < self.per_ip_max;
        *count += usize::from(admitted);
        admitted
    }

    fn departed(&mut self, address: IpAddr) {
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

fn try_again_later(random: &mut Random) -> Close {
    Close::TryAgainLater { retry_after_ms: retry_after_ms(random) }
}

pub fn too_many_of_address(random: &mut Random) -> Close {
    Close::TooManyOfAddress { retry_after_ms: retry_after_ms(random) }
}

fn retry_after_ms(random: &mut Random) -> u32 {
    let spread = RETRY_AFTER_MS.end - RETRY_AFTER_MS.start;
    (RETRY_AFTER_MS.start + random.below(spread)) as u32
}

impl Clients {
    /// Counts one more connection, and what to answer it if it is one too many.
    ///
    /// # Errors
    /// There is not even room for a polite answer.
    pub fn count_accept(&mut self, turn: &mut Turn) -> Result<Option<(Refusal, Close)>, NoRoom> {
        self.admission.connect(turn.now, &mut turn.random, &mut turn.metrics)
    }

    pub fn limits_addresses(&self) -> bool {
        self.admission.per_ip_max > 0
    }

    /// Asks for one more connection of `address`; whether it may be, if that is decided here. Otherwise the answer comes
    /// from another shard.
    pub fn request_admission(&mut self, turn: &mut Turn, reply: ReplyTo, address: IpAddr) -> Option<bool> {
        let target = admitting_shard(turn, address);
        if target == turn.index {
            return Some(self.admission.admit(address));
        }
        turn.outgoing.push(target, Item::Request(Request::Admit { reply, address }));
        None
    }

    /// Another shard asks for one more connection of `address`.
    pub fn admit(&mut self, turn: &mut Turn, reply: ReplyTo, address: IpAddr) {
        let admitted = self.admission.admit(address);
        turn.outgoing.push(reply.shard, Item::Answer(Answer::Admit { reply, admitted }));
    }

    /// Tells the shard that counts `address` that an admitted connection is gone.
    pub fn depart(&mut self, turn: &mut Turn, address: IpAddr) {
        let target = admitting_shard(turn, address);
        if target == turn.index {
            self.departed(address);
        } else {
            turn.outgoing.push(target, Item::Departed { address });
        }
    }

    /// An admitted connection is gone, here or elsewhere.
    pub fn departed(&mut self, address: IpAddr) {
        self.admission.departed(address);
    }
}

/// The shard that counts the connections of `address`.
fn admitting_shard(turn: &Turn, address: IpAddr) -> ShardIndex {
    let hash = match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 ^ v6.to_bits() as u64,
    };
    turn.owner(hash.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

//! What shards tell each other of who their clients are, and of what those use up.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::{KeyHasher, ReplyTo, ShardIndex, owner};
use crate::config::Rates;
use crate::metrics::Refusal;

/// May this connection be one of the user's?
pub struct Enter {
    pub reply: ReplyTo,
    pub user: Arc<str>,
    pub session: Option<Box<str>>,
    pub rates: Rates,
    /// Whether it speaks a dialect that has direct messages.
    pub hears_directs: bool,
}

/// Why a connection is not taken, and when it may be; `None`: a while, spread so that not all come back at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnedAway {
    pub reason: Refusal,
    pub retry_after_ms: Option<NonZeroU32>,
}

impl From<Refusal> for TurnedAway {
    fn from(reason: Refusal) -> Self {
        Self { reason, retry_after_ms: None }
    }
}

/// Who pays for messages, with all its connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payer {
    User(Arc<str>),
    /// As it is counted: of IPv6 the first bits.
    Address(IpAddr),
}

impl Payer {
    /// The shard, of `shards`, that knows what it has used up.
    pub fn home(&self, hasher: &KeyHasher, shards: usize) -> ShardIndex {
        let hash = match self {
            Self::User(user) => hasher.user(user),
            Self::Address(address) => {
                let bits = match address {
                    IpAddr::V4(v4) => u64::from(v4.to_bits()),
                    IpAddr::V6(v6) => {
                        let [high, low] = [v6.to_bits() >> 64, v6.to_bits() & u128::from(u64::MAX)];
                        u64::try_from(high ^ low).expect("each half has 64 bits")
                    }
                };
                bits.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            }
        };
        owner(hash, shards)
    }
}

/// Kinds of what is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paid {
    Messages,
    Ops,
    Bytes,
}

impl Paid {
    pub const COUNT: usize = 3;
}

/// What somebody has used up on a shard since that last said so, of each kind, as the nanoseconds in which it comes back.
pub struct Spent {
    pub payer: Payer,
    pub ns: [u64; Paid::COUNT],
}

/// In how many nanoseconds all that somebody has used up on all shards has come back, of each kind.
pub struct Balance {
    pub payer: Payer,
    pub full_in_ns: [u64; Paid::COUNT],
}

//! Entry hashes, whose wrapping sum is the digest of a map.
//!
//! Invariant: a hash depends on what a reader can see and on nothing else: not on the machine, the order of
//! changes, tombstones or removed tags. So two replicas that show the same have the same digest, also when
//! they have pruned at different moments, and pruning never changes it.
//!
//! Each hash is `xxh3_64` over little-endian fields, strings entering as their own `xxh3_64`; the seed tells
//! the types apart.
//!
//! ```text
//! lww      hash(key) hash(value) time node[40] expires_ms
//! or       hash(key) hash(value) time node[40] hash(tag)         one for each live tag, summed
//! counter  hash(key) added       subtracted    node[40] 0        one for each slot, summed
//!          hash(key) count, low  count, high   0[40]    through  what was absorbed, if anything
//! ```

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Node, Stamp, Time};
use crate::limits::NODE_BYTES_MAX;

const FIELD_BYTES: usize = size_of::<u64>();
const ENTRY_BYTES: usize = 4 * FIELD_BYTES + NODE_BYTES_MAX;

pub fn of_lww(key: &[u8], at: &Stamp, value: &[u8], expires_ms: u64) -> u64 {
    combine(1, [xxh3_64(key), xxh3_64(value), at.time.to_bits(), expires_ms], at.node.padded())
}

pub fn of_tag(key: &[u8], tag: &str, value: &[u8], at: &Stamp) -> u64 {
    combine(2, [xxh3_64(key), xxh3_64(value), at.time.to_bits(), xxh3_64(tag.as_bytes())], at.node.padded())
}

pub fn of_slot(key: &[u8], replica: &Node, added: u64, subtracted: u64) -> u64 {
    combine(3, [xxh3_64(key), added, subtracted, 0], replica.padded())
}

pub fn of_absorbed(key: &[u8], count: i128, through: Time) -> u64 {
    let (low, high) = (count as u64, (count >> 64) as u64);
    combine(4, [xxh3_64(key), low, high, through.to_bits()], &[0; NODE_BYTES_MAX])
}

/// Hashes three fields, the node and the last field.
fn combine(seed: u64, fields: [u64; 4], node: &[u8; NODE_BYTES_MAX]) -> u64 {
    let mut entry = [0; ENTRY_BYTES];
    let [first, second, third, last] = fields.map(u64::to_le_bytes);
    entry[..FIELD_BYTES].copy_from_slice(&first);
    entry[FIELD_BYTES..2 * FIELD_BYTES].copy_from_slice(&second);
    entry[2 * FIELD_BYTES..3 * FIELD_BYTES].copy_from_slice(&third);
    entry[3 * FIELD_BYTES..ENTRY_BYTES - FIELD_BYTES].copy_from_slice(node);
    entry[ENTRY_BYTES - FIELD_BYTES..].copy_from_slice(&last);
    xxh3_64_with_seed(&entry, seed)
}

//! Which shard owns a key. The hash is computed once and serves the partition, the shard and the bucket.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ShardIndex;
use crate::limits::{OWN_NAME_BYTES_MAX, OWN_PREFIX, PARTITIONS, SHARDS_MAX};

const _: () = assert!(PARTITIONS <= u16::MAX as usize);

/// Hashes map names and keys with a secret of this process, so that nobody can aim keys at one bucket.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher {
    secret: u64,
}

impl KeyHasher {
    pub const fn new(secret: u64) -> Self {
        Self { secret }
    }

    pub fn map(&self, name: &str) -> u64 {
        xxh3_64_with_seed(name.as_bytes(), self.secret)
    }

    /// By which a user has its home: that of the map in which the server keeps what is the user's.
    pub fn user(&self, name: &str) -> u64 {
        self.own(USER_MAP, name)
    }

    /// By which a channel has its home, in the same way.
    pub fn channel(&self, name: &str) -> u64 {
        self.own(CHANNEL_MAP, name)
    }

    /// The hash of the map of the server's own that is called `kind` and then `name`; nothing is allocated for it.
    fn own(&self, kind: &str, name: &str) -> u64 {
        let mut map = [0; OWN_NAME_BYTES_MAX];
        let len = kind.len() + name.len();
        if len > map.len() {
            return self.map(&[kind, name].concat());
        }
        map[..kind.len()].copy_from_slice(kind.as_bytes());
        map[kind.len()..len].copy_from_slice(name.as_bytes());
        xxh3_64_with_seed(&map[..len], self.secret)
    }

    /// The hash of `(map, key)`, given the map's own. Keys of one [`family`] have one partition, and those of the server's own
    /// have that of their map's name.
    pub fn key(&self, map_hash: u64, key: &str) -> u64 {
        self.key_bytes(map_hash, key.as_bytes())
    }

    /// As [`Self::key`], of a key that is stored as bytes.
    #[inline]
    pub fn key_bytes(&self, map_hash: u64, key: &[u8]) -> u64 {
        let hash = xxh3_64_with_seed(key, map_hash);
        if !key.starts_with(b"__") {
            return hash;
        }
        let of_partition = match family(key) {
            _ if key.starts_with(OWN_PREFIX.as_bytes()) => map_hash,
            None => return hash,
            Some(family) => xxh3_64_with_seed(family, map_hash),
        };
        hash & !PARTITION_BITS | of_partition & PARTITION_BITS
    }
}

/// What keys that begin with `__` have in common that one shard must own, so that their changes have one order: of `__a:b:c`
/// it is `__a:b:`. Such names are made by dialects, for what they keep beside what their clients name.
fn family(key: &[u8]) -> Option<&[u8]> {
    let mut colons = key.iter().enumerate().filter(|&(_, &byte)| byte == b':').map(|(at, _)| at);
    colons.nth(1).map(|end| &key[..=end])
}

/// How the names of maps begin in which the server keeps what is of a user.
pub const USER_MAP: &str = "__annulus:user:";
/// The same of a channel.
pub const CHANNEL_MAP: &str = "__annulus:channel:";

/// The bits of a hash that make the partition, and nothing else.
const PARTITION_BITS: u64 = (PARTITIONS as u64 - 1) << PARTITION_SHIFT;
const PARTITION_SHIFT: u32 = 32;
const _: () = assert!(PARTITIONS.is_power_of_two());

/// The partition, below [`PARTITIONS`], of what hashes to `hash`. Disks keep it, so it never changes.
///
/// It is taken from the middle of the hash: hash tables use its lowest bits for the bucket and its highest for
/// the tag, and inside one shard those must stay random.
pub const fn partition(hash: u64) -> u16 {
    ((hash >> PARTITION_SHIFT) as usize % PARTITIONS) as u16
}

/// The shard, of `shards`, that owns what hashes to `hash`.
pub const fn owner(hash: u64, shards: usize) -> ShardIndex {
    (partition(hash) as usize * shards / PARTITIONS) as ShardIndex
}

/// The shard in this place of a table that has all of them.
///
/// # Panics
/// If it is beyond [`SHARDS_MAX`], of which there are no more.
pub fn shard_index(place: usize) -> ShardIndex {
    ShardIndex::try_from(place).expect("there are no more than `SHARDS_MAX` shards")
}

/// The partitions that a shard, of `shards`, owns: always one range.
pub const fn partitions_of(shard: ShardIndex, shards: usize) -> Range<u16> {
    first_partition(shard as usize, shards)..first_partition(shard as usize + 1, shards)
}

const fn first_partition(shard: usize, shards: usize) -> u16 {
    (shard * PARTITIONS).div_ceil(shards) as u16
}

/// A set of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet(u128);

const _: () = assert!(SHARDS_MAX <= u128::BITS as usize);

impl ShardSet {
    pub const EMPTY: Self = Self(0);

    /// Shards `0..shards`.
    pub const fn first(shards: usize) -> Self {
        if shards >= u128::BITS as usize { Self(u128::MAX) } else { Self((1 << shards) - 1) }
    }

    pub const fn contains(self, shard: ShardIndex) -> bool {
        self.0 >> shard & 1 == 1
    }

    pub const fn insert(&mut self, shard: ShardIndex) {
        self.0 |= 1 << shard;
    }

    pub const fn remove(&mut self, shard: ShardIndex) {
        self.0 &= !(1 << shard);
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = ShardIndex> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let next = (rest != 0).then(|| rest.trailing_zeros())?;
            rest &= rest - 1;
            Some(next as ShardIndex)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_owns_its_share_of_keys() {
        let hasher = KeyHasher::new(7);
        let map = hasher.map("todos");
        for shards in [1, 2, 3, 7, 64, 128] {
            let mut owned = vec![0_usize; shards];
            for key in 0..shards * 1000 {
                owned[usize::from(owner(hasher.key(map, &key.to_string()), shards))] += 1;
            }
            assert!(owned.iter().all(|&count| (500..2000).contains(&count)), "{shards} shards: {owned:?}");
        }
    }

    #[test]
    fn keys_of_the_servers_own_belong_to_the_home_of_their_map() {
        let hasher = KeyHasher::new(7);
        for map in ["a", "b", "c"].map(|name| hasher.map(name)) {
            for key in ["__annulus:head", "__annulus:log:1", "__annulus:log:2", "__annulus:"] {
                assert_eq!(partition(hasher.key(map, key)), partition(map), "{key}");
            }
            assert_ne!(hasher.key(map, "__annulus:log:1"), hasher.key(map, "__annulus:log:2"));
        }
    }

    #[test]
    fn a_family_of_keys_lies_together_and_its_hashes_stay_apart() {
        let hasher = KeyHasher::new(7);
        let map = hasher.map("todos");
        let hashes = |prefix: &str| -> Vec<u64> {
            (0..1000).map(|key| hasher.key(map, &format!("{prefix}{key}"))).collect()
        };
        let distinct = |hashes: &[u64], of: fn(u64) -> u64| {
            hashes.iter().map(|&hash| of(hash)).collect::<std::collections::BTreeSet<_>>().len()
        };
        for (prefix, is_family) in
            [("__a:b:", true), ("__::", true), ("__a:", false), ("_a:b:", false), ("a:b:", false)]
        {
            let hashes = hashes(prefix);
            let partitions = distinct(&hashes, |hash| partition(hash).into());
            assert_eq!(partitions == 1, is_family, "{prefix}: {partitions}");
            assert_eq!(distinct(&hashes, |hash| hash), 1000, "{prefix}");
            assert!(distinct(&hashes, |hash| hash & 0xffff) > 950, "{prefix}: the buckets");
            assert!(distinct(&hashes, |hash| hash >> 57) > 120, "{prefix}: the tags");
        }
        let families = ["__a:b:", "__a:c:"].map(|prefix| partition(hashes(prefix)[0]));
        assert_ne!(families[0], families[1]);
        assert_ne!(families[0], partition(hasher.key(hasher.map("other"), "__a:b:1")), "of another map");
    }

    #[test]
    fn the_partitions_of_a_shard_are_one_range_and_those_it_owns() {
        for shards in (1..=SHARDS_MAX).chain([1000]) {
            let mut next = 0;
            for shard in 0..shards {
                let range = partitions_of(shard as ShardIndex, shards);
                assert_eq!(range.start, next, "shard {shard} of {shards}");
                let owned = |partition: u16| owner(u64::from(partition) << PARTITION_SHIFT, shards);
                assert!(range.clone().all(|partition| usize::from(owned(partition)) == shard));
                next = range.end;
            }
            assert_eq!(usize::from(next), PARTITIONS);
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set = ShardSet::first(3);
        set.remove(1);
        set.insert(127);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 2, 127]);
        assert!(set.contains(127) && !set.contains(1) && !set.is_empty());
        assert_eq!(ShardSet::first(128).iter().count(), 128);
    }
}

//! Where cells are in the base, and the rows of `maps`.

use crate::crdt::{MapType, Time};
use crate::handover::{map_type_byte, map_type_of};
use crate::mesh::{KeyHasher, partition};

/// What the base knows of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub id: u32,
    pub map_type: MapType,
    /// Removals up to here may be missing.
    pub pruned_through: Time,
}

impl Row {
    pub const BYTES: usize = 4 + 1 + 8;

    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.id.to_le_bytes());
        bytes[4] = map_type_byte(self.map_type);
        bytes[5..].copy_from_slice(&self.pruned_through.to_bits().to_le_bytes());
        bytes
    }

    pub fn of_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (&map_type, pruned_through) = rest.split_first()?;
        Some(Self {
            id: u32::from_le_bytes(*id),
            map_type: map_type_of(map_type)?,
            pruned_through: Time::from_bits(u64::from_le_bytes(pruned_through.try_into().ok()?)),
        })
    }
}

/// Writes where a cell is in the base, or a block by its bound, over what was in `out`.
pub(super) fn set_cell_key(out: &mut Vec<u8>, map_id: u32, partition: u16, key: &[u8]) {
    out.clear();
    out.extend_from_slice(&map_id.to_be_bytes());
    out.extend_from_slice(&partition.to_be_bytes());
    out.extend_from_slice(key);
}

/// Map id, partition and key, or bound, of what [`set_cell_key`] has written.
pub(super) fn split_cell_key(cell_key: &[u8]) -> Option<(u32, u16, &[u8])> {
    let (map_id, rest) = cell_key.split_first_chunk()?;
    let (partition, key) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*map_id), u16::from_be_bytes(*partition), key))
}

/// The partition of a key, given the hash of its map; `None` if it is no text, which no shard ever writes.
pub(super) fn partition_of(hasher: KeyHasher, map_hash: u64, key: &[u8]) -> Option<u16> {
    Some(partition(hasher.key(map_hash, std::str::from_utf8(key).ok()?)))
}

//! What one chunk of a walk takes from the cells of an owner.
//!
//! Invariant: a chunk looks at no more than [`CHUNK_CELLS_SCANNED_MAX`] entries of the map, whether they are stale, do not
//! pass the filter or are sent, and ends with the cell that fills [`CHUNK_BYTES`]. The next one begins where it stopped.

use crate::crdt::{HashedKey, Map, Time};
use crate::limits::{CHUNK_BYTES, CHUNK_CELLS_SCANNED_MAX, OPS_PER_REQUEST_MAX};
use crate::mesh::Filter;
use crate::shard::maps::pack_cell;

/// What one chunk covers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    pub entries: u32,
    /// The position it ends at, if the tail was not reached.
    pub stopped_at: Option<Time>,
}

impl Chunk {
    /// Encodes what passes the filter and was applied after `position`, oldest change first, until the chunk is full.
    pub fn collect(cells: &Map, filter: Option<&Filter>, position: Time, out: &mut Vec<u8>) -> Self {
        match filter {
            Some(Filter::Keys(keys)) => Self::of_keys(cells, keys, position, out),
            filter => Self::of_map(cells, filter, position, out),
        }
    }

    fn of_map(cells: &Map, filter: Option<&Filter>, position: Time, out: &mut Vec<u8>) -> Self {
        let mut chunk = Self::default();
        let mut seen = position;
        for (scanned, (applied, current)) in cells.log_since(position).enumerate() {
            if out.len() >= CHUNK_BYTES || scanned == CHUNK_CELLS_SCANNED_MAX {
                chunk.stopped_at = Some(seen);
                break;
            }
            seen = applied;
            if let Some((_, cell)) = current
                && filter.is_none_or(|filter| filter.passes(cell.key()))
            {
                pack_cell(out, cell);
                chunk.entries += 1;
            }
        }
        chunk
    }

    /// Named keys are looked up instead of searched for, all of them for each chunk: no more than a chunk may look at, and
    /// every chunk but the last brings [`CHUNK_BYTES`], so that looking them up again costs little beside what is sent.
    fn of_keys(cells: &Map, keys: &[(Box<str>, u64)], position: Time, out: &mut Vec<u8>) -> Self {
        const { assert!(OPS_PER_REQUEST_MAX <= CHUNK_CELLS_SCANNED_MAX) };
        let find = |(key, hash): &(Box<str>, u64)| {
            let cell = cells.cell(cells.find(HashedKey { hash: *hash, bytes: key.as_bytes() })?);
            (cell.applied() > position).then_some(cell)
        };
        let mut found: Vec<_> = keys.iter().filter_map(find).collect();
        found.sort_unstable_by_key(|cell| cell.applied());
        let mut chunk = Self::default();
        let mut seen = position;
        for cell in found {
            if out.len() >= CHUNK_BYTES {
                chunk.stopped_at = Some(seen);
                break;
            }
            pack_cell(out, cell);
            seen = cell.applied();
            chunk.entries += 1;
        }
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{Delta, MapType, Merge, Node, Stamp};
    use crate::mesh::KeyHasher;

    const KEYS: usize = 3 * CHUNK_CELLS_SCANNED_MAX;

    /// Every key is set `rounds` times, in the same order.
    fn written(rounds: usize) -> Map {
        let (mut map, hasher) = (Map::new(MapType::Lww), KeyHasher::new(0));
        let (map_hash, node) = (hasher.map("m"), Node::new(b"n").unwrap());
        let mut time = Time::ZERO;
        for number in (0..rounds).flat_map(|_| 0..KEYS) {
            let key = format!("k{number}");
            let hashed = HashedKey { hash: hasher.key(map_hash, &key), bytes: key.as_bytes() };
            time = time.next();
            let set = Delta::Lww { at: Stamp { time, node }, value: Some(b"1"), expires_ms: 0 };
            assert!(matches!(map.merge(hashed, &set, time), Ok(Merge::Changed(_))));
        }
        map
    }

    /// Goal: what a chunk looks at is bounded also where all of it is stale or filtered away. Method: the place where each
    /// chunk stops tells how many entries it has passed, as there is one for each tick.
    #[test]
    fn a_chunk_stops_among_stale_entries_and_the_next_goes_on_there() {
        let nothing = Filter::Prefix("x".into());
        for (rounds, filter, expected) in [(1, None, KEYS), (2, None, KEYS), (2, Some(&nothing), 0)] {
            let map = written(rounds);
            let (mut position, mut entries, mut chunks) = (Time::ZERO, 0, 0);
            loop {
                let mut out = Vec::new();
                let chunk = Chunk::collect(&map, filter, position, &mut out);
                entries += chunk.entries as usize;
                chunks += 1;
                let Some(stopped_at) = chunk.stopped_at else { break };
                let passed = stopped_at.to_bits() - position.to_bits();
                assert!(stopped_at > position && passed <= CHUNK_CELLS_SCANNED_MAX as u64, "passed {passed}");
                position = stopped_at;
            }
            assert_eq!(entries, expected, "{rounds} rounds");
            assert!(chunks >= rounds * KEYS / CHUNK_CELLS_SCANNED_MAX, "{chunks} chunks");
        }
    }
}

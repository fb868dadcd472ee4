//! The connection table: slots in chunks that never move.
//!
//! One array would double by copying: the old and the new one exist side by side, and what was left behind stays with the
//! allocator. A chunk that has nobody left in it is given back, so that a night costs less than the day before.
//!
//! Invariant: a chunk is on the list of those with room exactly if it has any.

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::connection::Connection;

/// Slots of one chunk: some 100 KiB, which every allocator has at hand and nobody misses.
const CHUNK: usize = 256;

/// See the module.
#[derive(Default)]
pub struct Table {
    chunks: Vec<Slab<Connection>>,
    with_room: Vec<u32>,
    len: usize,
}

impl Table {
    /// Puts into a vacant slot what `make` makes for it; the slot.
    pub fn insert(&mut self, make: impl FnOnce(u32) -> Connection) -> u32 {
        let number = match self.with_room.last() {
            Some(&number) => number as usize,
            None => {
                self.chunks.push(Slab::new());
                self.with_room.push(self.chunks.len() as u32 - 1);
                self.chunks.len() - 1
            }
        };
        let chunk = &mut self.chunks[number];
        if chunk.capacity() == 0 {
            *chunk = Slab::with_capacity(CHUNK);
        }
        let vacant = chunk.vacant_entry();
        let index = (number * CHUNK + vacant.key()) as u32;
        vacant.insert(make(index));
        if chunk.len() == CHUNK {
            self.with_room.pop();
        }
        self.len += 1;
        index
    }

    pub fn get(&self, index: u32) -> Option<&Connection> {
        let (number, slot) = place(index);
        self.chunks.get(number)?.get(slot)
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Connection> {
        let (number, slot) = place(index);
        self.chunks.get_mut(number)?.get_mut(slot)
    }

    /// Takes a connection out of its slot, which is vacant then.
    ///
    /// # Panics
    /// If it is vacant.
    pub fn remove(&mut self, index: u32) -> Connection {
        let (number, slot) = place(index);
        let chunk = &mut self.chunks[number];
        if chunk.len() == CHUNK {
            self.with_room.push(number as u32);
        }
        let connection = chunk.remove(slot);
        // While others have room; and whoever connects next takes one of those.
        if chunk.is_empty() && self.with_room.len() > 1 {
            *chunk = Slab::new();
            if self.with_room.last() == Some(&(number as u32)) {
                let last = self.with_room.len() - 1;
                self.with_room.swap(0, last);
            }
        }
        self.len -= 1;
        connection
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().map(|(_, connection)| connection))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.chunks.iter_mut().flat_map(|chunk| chunk.iter_mut().map(|(_, connection)| connection))
    }
}

const fn place(index: u32) -> (usize, usize) {
    (index as usize / CHUNK, index as usize % CHUNK)
}

impl Index<u32> for Table {
    type Output = Connection;

    #[inline]
    fn index(&self, index: u32) -> &Connection {
        let (number, slot) = place(index);
        &self.chunks[number][slot]
    }
}

impl IndexMut<u32> for Table {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Connection {
        let (number, slot) = place(index);
        &mut self.chunks[number][slot]
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::mesh::ConnectionId;

    fn insert(table: &mut Table) -> u32 {
        table.insert(|index| {
            let id = ConnectionId { index, generation: 1 };
            Connection::new(id, IpAddr::V4(Ipv4Addr::LOCALHOST), 0, 1)
        })
    }

    #[test]
    fn slots_stay_where_they_are_and_vacant_ones_are_taken_first() {
        let mut table = Table::default();
        let first = insert(&mut table);
        let address: *const Connection = &raw const table[first];
        let indices: Vec<u32> = (1..10 * CHUNK).map(|_| insert(&mut table)).collect();
        assert_eq!(indices, (1..10 * CHUNK as u32).collect::<Vec<_>>());
        assert_eq!(address, &raw const table[first]);
        for index in [700, 3, 2_000] {
            assert_eq!(table.remove(index).id.index, index);
            assert!(table.get(index).is_none());
        }
        let mut again = [insert(&mut table), insert(&mut table), insert(&mut table)];
        again.sort_unstable();
        assert_eq!(again, [3, 700, 2_000]);
        assert_eq!(insert(&mut table), 10 * CHUNK as u32, "all others are taken");
        assert_eq!(table.iter().count(), 10 * CHUNK + 1);
    }

    #[test]
    fn chunks_that_nobody_is_in_are_given_back() {
        let mut table = Table::default();
        let indices: Vec<u32> = (0..10 * CHUNK).map(|_| insert(&mut table)).collect();
        for index in indices {
            table.remove(index);
        }
        let held = table.chunks.iter().filter(|chunk| chunk.capacity() > 0).count();
        assert!(table.is_empty() && held <= 1, "{held} chunks are held for nobody");
        assert!((0..10 * CHUNK).all(|_| (insert(&mut table) as usize) < 10 * CHUNK), "and used again");
        assert!(table.chunks.iter().all(|chunk| chunk.capacity() == CHUNK));
    }
}

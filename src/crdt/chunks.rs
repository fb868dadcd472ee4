//! A vector that never moves what it holds: it grows by one chunk, so a map of millions of cells has no write
//! that copies them all, and never owns more than one chunk it does not use.
//!
//! Invariant: all chunks before the last used one are full; chunks behind it are empty and kept for reuse.
//! Only the first chunk grows by doubling, so that a small map stays small.

use std::ops::{Index, IndexMut};

/// `1 << SHIFT` items a chunk.
#[derive(Debug)]
pub struct Chunks<T, const SHIFT: u32> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T, const SHIFT: u32> Chunks<T, SHIFT> {
    const CHUNK: usize = 1 << SHIFT;

    pub const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn push(&mut self, item: T) {
        let chunk = self.len >> SHIFT;
        if chunk == self.chunks.len() {
            self.begin_chunk();
        }
        self.chunks[chunk].push(item);
        self.len += 1;
    }

    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        self.chunks[self.len >> SHIFT].pop()
    }

    pub fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index >> SHIFT)?.get(index % Self::CHUNK)
    }

    #[cold]
    fn begin_chunk(&mut self) {
        let capacity = if self.chunks.is_empty() { 0 } else { Self::CHUNK };
        self.chunks.push(Vec::with_capacity(capacity));
    }

    /// Drops all items from `len` on. Their chunks stay for the next pushes.
    pub fn truncate(&mut self, len: usize) {
        let first = len >> SHIFT;
        let used = self.len.div_ceil(Self::CHUNK);
        for (index, chunk) in self.chunks[..used].iter_mut().enumerate().skip(first) {
            chunk.truncate(if index == first { len % Self::CHUNK } else { 0 });
        }
        self.len = self.len.min(len);
    }

    /// Gives back empty chunks that would only be used beyond `len` items.
    pub fn release_beyond(&mut self, len: usize) {
        self.chunks.truncate(self.len.max(len).div_ceil(Self::CHUNK));
    }

    /// Bytes allocated.
    pub fn heap_bytes(&self) -> usize {
        let rest = self.chunks.len().saturating_sub(1) * Self::CHUNK;
        let items = self.chunks.first().map_or(0, Vec::capacity) + rest;
        items * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

impl<T, const SHIFT: u32> Default for Chunks<T, SHIFT> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T, const SHIFT: u32> Index<usize> for Chunks<T, SHIFT> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.chunks[index >> SHIFT][index % Self::CHUNK]
    }
}

impl<T, const SHIFT: u32> IndexMut<usize> for Chunks<T, SHIFT> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.chunks[index >> SHIFT][index % Self::CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_where_they_were_pushed_after_any_truncation() {
        let mut chunks = Chunks::<usize, 2>::default();
        let mut model = Vec::new();
        for (round, truncated) in [0, 1, 3, 4, 5, 8, 11, 12, 40].into_iter().enumerate() {
            while model.len() < 13 {
                chunks.push(round * 100 + model.len());
                model.push(round * 100 + model.len());
            }
            chunks.truncate(truncated);
            model.truncate(truncated);
            assert_eq!(chunks.len(), model.len());
            assert!((0..model.len()).all(|index| chunks[index] == model[index]), "after {truncated}");
        }
    }

    #[test]
    fn what_was_pushed_last_is_popped_first() {
        let mut chunks = Chunks::<usize, 2>::default();
        for len in [3, 4, 5, 9] {
            (0..len).for_each(|item| chunks.push(item));
            assert_eq!((chunks.get(len - 1), chunks.get(len)), (Some(&(len - 1)), None));
            (0..len).rev().for_each(|item| assert_eq!(chunks.pop(), Some(item)));
            assert_eq!((chunks.pop(), chunks.len()), (None, 0));
        }
    }

    #[test]
    fn emptied_chunks_are_reused_until_released() {
        let mut chunks = Chunks::<u64, 2>::default();
        (0..16).for_each(|item| chunks.push(item));
        let full = chunks.heap_bytes();
        chunks.truncate(1);
        (0..15).for_each(|item| chunks.push(item));
        assert_eq!(chunks.heap_bytes(), full);
        chunks.truncate(1);
        chunks.release_beyond(6);
        assert_eq!(chunks.heap_bytes(), full - 2 * 4 * size_of::<u64>());
    }
}

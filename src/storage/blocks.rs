//! Blocks of a file that are in memory and count instead of what the file has there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::Range;

/// A page of redb: what it writes is whole blocks, but for the header of the file.
pub(super) const BLOCK_BYTES: u64 = 4096;

/// By the number of the block.
#[derive(Debug, Default)]
pub(super) struct Blocks(BTreeMap<u64, Box<[u8]>>);

impl Blocks {
    /// Fills `buffer`. Only what is not here is read from what is `beneath`, which may hold anything in the other places.
    pub fn read(
        &self,
        buffer: &mut [u8],
        offset: u64,
        beneath: impl Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        for (block, within, piece) in pieces(offset, buffer.len()) {
            let Some(content) = self.0.get(&block) else { continue };
            // Neighbours that are not here are read at once.
            if done < piece.start {
                beneath(&mut buffer[done..piece.start], offset + done as u64)?;
            }
            done = piece.end;
            let end = within + piece.len();
            buffer[piece].copy_from_slice(&content[within..end]);
        }
        if done < buffer.len() { beneath(&mut buffer[done..], offset + done as u64) } else { Ok(()) }
    }

    /// Takes in `bytes`, and what is around them in their blocks.
    pub fn write(
        &mut self,
        bytes: &[u8],
        offset: u64,
        beneath: impl Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        for (block, within, piece) in pieces(offset, bytes.len()) {
            // What is wholly written over may be anything by now.
            let is_read = piece.len() < BLOCK_BYTES as usize;
            let content =
                self.content(block, |content, at| if is_read { beneath(content, at) } else { Ok(()) })?;
            content[within..within + piece.len()].copy_from_slice(&bytes[piece]);
        }
        Ok(())
    }

    /// Takes in the blocks of so many bytes at `offset`.
    pub fn hold(
        &mut self,
        offset: u64,
        len: usize,
        beneath: impl Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        pieces(offset, len).try_for_each(|(block, ..)| self.content(block, &beneath).map(drop))
    }

    /// A block, which is filled if it is not here.
    fn content(
        &mut self,
        block: u64,
        fill: impl FnOnce(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<&mut [u8]> {
        match self.0.entry(block) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(place) => {
                let mut content = vec![0; BLOCK_BYTES as usize].into_boxed_slice();
                fill(&mut content, block * BLOCK_BYTES)?;
                Ok(place.insert(content))
            }
        }
    }

    pub fn get(&self, block: u64) -> Option<&[u8]> {
        self.0.get(&block).map(|content| &**content)
    }

    /// The file ends there now; where it grows again it has zeros.
    pub fn cut(&mut self, len: u64) {
        self.0.split_off(&len.div_ceil(BLOCK_BYTES));
        if let Some(last) = self.0.get_mut(&(len / BLOCK_BYTES)) {
            last[(len % BLOCK_BYTES) as usize..].fill(0);
        }
    }

    /// The first block, and where in the file it begins.
    pub fn first(&self) -> Option<(u64, &[u8])> {
        self.0.first_key_value().map(|(block, content)| (block * BLOCK_BYTES, &**content))
    }

    /// The file has it.
    pub fn drop_first(&mut self) {
        self.0.pop_first();
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The pieces, each within one block, of `len` bytes at `offset`: the block, where in it the piece begins, and
/// which of the bytes it is.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % BLOCK_BYTES) as usize;
        let end = len.min(done + BLOCK_BYTES as usize - within);
        let piece = (done < len).then_some((at / BLOCK_BYTES, within, done..end));
        done = end;
        piece
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn what_is_here_is_not_read_beneath_and_all_else_is_in_as_few_reads_as_can_be() {
        let mut blocks = Blocks::default();
        let untouched = |_: &mut [u8], _: u64| -> io::Result<()> { panic!("a whole block is written") };
        blocks.write(&[1; 4096], 4096, untouched).unwrap();
        blocks.write(&[2; 4096], 3 * 4096, untouched).unwrap();
        let read = |offset: u64, len: usize| {
            let reads = RefCell::new(Vec::new());
            let mut buffer = vec![9; len];
            let beneath = |piece: &mut [u8], at: u64| {
                piece.fill(0);
                reads.borrow_mut().push((at, piece.len()));
                Ok(())
            };
            blocks.read(&mut buffer, offset, beneath).unwrap();
            (buffer, reads.into_inner())
        };
        let (all, reads) = read(0, 6 * 4096);
        assert_eq!(reads, [(0, 4096), (2 * 4096, 4096), (4 * 4096, 2 * 4096)]);
        for (block, value) in [0, 1, 0, 2, 0, 0].into_iter().enumerate() {
            assert!(all[block * 4096..(block + 1) * 4096].iter().all(|byte| *byte == value), "block {block}");
        }
        assert_eq!(read(4096 + 10, 100), (vec![1; 100], vec![]));
        assert_eq!(read(4000, 100), ([vec![0; 96], vec![1; 4]].concat(), vec![(4000, 96)]));
    }

    #[test]
    fn part_of_a_block_takes_the_rest_from_beneath_and_a_cut_leaves_zeros() {
        let mut blocks = Blocks::default();
        let sevens = |piece: &mut [u8], _: u64| {
            piece.fill(7);
            Ok(())
        };
        blocks.write(&[1; 10], 4100, sevens).unwrap();
        blocks.write(&[1; 4096], 8192, sevens).unwrap();
        blocks.cut(4106);
        assert_eq!(blocks.first().map(|(at, content)| (at, content[..20].to_vec())), {
            Some((4096, [[7; 4].as_slice(), &[1; 6], &[0; 10]].concat()))
        });
        blocks.drop_first();
        assert!(blocks.is_empty(), "what was behind the cut is gone");
    }
}

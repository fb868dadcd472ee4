//! A block: neighbouring cells of one partition of a map, together one entry of the base's tree. Nobody else knows its bytes.
//!
//! ```text
//! key of the entry     value of the entry
//! ┌────────┬───────────┬───────┐    ┌─ for each cell, sorted by key ─────────────────────┐
//! │ map id │ partition │ bound │    │ key length (2)  image length (4)  key …    image … │
//! └────────┴───────────┴───────┘    └────────────────────────────────────────────────────┘
//! ```
//! Invariant: a block has every cell of its partition above the bound of the block before it, up to its own, which need not be
//! the key of a cell. It is never empty, and has more than [`BLOCK_BYTES`] for one cell alone, whose key is its bound then.

use std::ops::Range;

use crate::handover::Chunk;

/// What redb writes at least, so that a block is one page. With more, a change of one cell would copy more.
const PAGE_BYTES: usize = 4096;
/// Of a page with one entry: its header, where the key and the value end, and the map id and the partition.
const ENTRY_BYTES: usize = 4 + 4 + 4 + 4 + 2;
/// Bytes of cells and bound of a block of several cells.
pub(super) const BLOCK_BYTES: usize = PAGE_BYTES - ENTRY_BYTES;
/// The bound of the last block of a partition: above every key, as keys are text.
pub(super) const END: &[u8] = &[0xFF];

const HEADER_BYTES: usize = Chunk::CELL_HEADER_BYTES;

/// The bytes are no block, from some cell on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockError;

/// The key and the image of a cell.
pub(super) type Cell<'a> = (&'a [u8], &'a [u8]);

/// Reads cell by cell; nothing comes behind an error.
#[derive(Clone)]
pub(super) struct Cells<'a> {
    rest: &'a [u8],
    /// Keys are above this, and up to `bound`.
    last: Option<&'a [u8]>,
    bound: &'a [u8],
    is_over: bool,
}

/// The cells of a block.
pub(super) const fn cells<'a>(block: &'a [u8], bound: &'a [u8]) -> Cells<'a> {
    Cells { rest: block, last: None, bound, is_over: false }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Cell<'a>, BlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over || self.rest.is_empty() && self.last.is_some() {
            return None;
        }
        let Some((key, image, rest)) = Chunk::split_cell(self.rest).filter(|&(key, ..)| self.is_next(key))
        else {
            self.is_over = true;
            return Some(Err(BlockError));
        };
        (self.rest, self.last) = (rest, Some(key));
        Some(Ok((key, image)))
    }
}

impl Cells<'_> {
    fn is_next(&self, key: &[u8]) -> bool {
        self.last.is_none_or(|last| last < key) && key <= self.bound
    }
}

/// How many bytes at the beginning are whole cells: all of them unless the block is damaged.
pub(super) fn sound_bytes(block: &[u8], bound: &[u8]) -> usize {
    let mut cells = cells(block, bound);
    while let Some(Ok(_)) = cells.next() {}
    block.len() - cells.rest.len()
}

/// Whether all of a block can be read.
pub(super) fn is_sound(block: &[u8], bound: &[u8]) -> bool {
    cells(block, bound).all(|cell| cell.is_ok())
}

/// Of cells that are sound, bytes of those before a key.
pub(super) fn bytes_before(cells: &[u8], key: &[u8]) -> usize {
    let mut rest = cells;
    while let Some((_, _, behind)) = Chunk::split_cell(rest).filter(|&(other, ..)| other < key) {
        rest = behind;
    }
    cells.len() - rest.len()
}

/// The first of sound cells if it is that of the key: its image, and the bytes behind it.
pub(super) fn take_cell<'a>(cells: &'a [u8], key: &[u8]) -> Option<Cell<'a>> {
    let (_, image, behind) = Chunk::split_cell(cells).filter(|&(other, ..)| other == key)?;
    Some((image, behind))
}

/// Appends a cell.
pub(super) fn push_cell(out: &mut Vec<u8>, key: &[u8], image: &[u8]) {
    Chunk::write_cell(out, key, image);
}

/// Appends a cell whose image is to come, if it fits; [`end_cell`] takes what this returns.
pub(super) fn begin_cell(out: &mut Vec<u8>, key: &[u8]) -> usize {
    let at = out.len();
    Chunk::write_cell(out, key, &[]);
    at
}

/// All behind the key of the last cell is its image.
pub(super) fn end_cell(out: &mut [u8], at: usize, key: &[u8]) {
    let image_len = out.len() - at - HEADER_BYTES - key.len();
    let image_len = u32::try_from(image_len).expect("CELL_BYTES_CEILING fits");
    out[at + 2..at + HEADER_BYTES].copy_from_slice(&image_len.to_le_bytes());
}

/// Whether cells go into one block.
pub(super) const fn fits(cells_bytes: usize, bound: &[u8]) -> bool {
    cells_bytes + bound.len() <= BLOCK_BYTES
}

/// Whether a block is too small to stand for itself once it has lost something.
pub(super) const fn is_small(block: &[u8]) -> bool {
    block.len() <= BLOCK_BYTES / 3
}

/// Whether two blocks may become one, which has some room then.
pub(super) const fn may_join(left: &[u8], right: &[u8]) -> bool {
    left.len() + right.len() <= BLOCK_BYTES / 4 * 3
}

/// Whether a block has but one cell, and is so large that no other may come to it.
pub(super) fn is_alone(block: &[u8], bound: &[u8]) -> bool {
    !fits(block.len(), bound)
        && Chunk::split_cell(block).is_some_and(|(key, _, rest)| key == bound && rest.is_empty())
}

/// The bound of a block that takes every key below this one.
pub(super) fn bound_below(key: &[u8]) -> Vec<u8> {
    match key.split_last() {
        Some((0, before)) => before.to_vec(),
        Some((last, before)) => [before, &[last - 1], END].concat(),
        None => Vec::new(),
    }
}

/// A block to be written: which of the cells, and its bound.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub cells: Range<usize>,
    pub bound: Vec<u8>,
}

/// Cuts sound cells into blocks of about equal size, as few as can be. The last one is that of `bound`, unless it is too large for that.
pub(super) fn cut(all: &[u8], bound: &[u8]) -> Vec<Piece> {
    let fewest = cut_into(1, all, bound).len();
    cut_into(fewest, all, bound)
}

/// Cuts where a block has its share of so many blocks, or where it would have too much.
fn cut_into(blocks: usize, all: &[u8], bound: &[u8]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut begin, mut at) = (0, 0);
    let mut last: &[u8] = &[];
    while let Some((key, _, rest)) = Chunk::split_cell(&all[at..]) {
        let end = all.len() - rest.len();
        let bound_then = if rest.is_empty() { bound } else { key };
        let has_its_share = at * blocks >= (pieces.len() + 1) * all.len();
        if at > begin && (has_its_share || !fits(end - begin, bound_then)) {
            // Of a cell alone the bound is its key, so what comes before it belongs here.
            let below = Some(key).filter(|key| !fits(end - at, key)).map(bound_below);
            let below = below.filter(|below| fits(at - begin, below));
            pieces.push(Piece { cells: begin..at, bound: below.unwrap_or_else(|| last.to_vec()) });
            begin = at;
        }
        (at, last) = (end, key);
    }
    let bound = if fits(at - begin, bound) { bound } else { last };
    pieces.push(Piece { cells: begin..at, bound: bound.to_vec() });
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random (splitmix64).
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((mixed ^ mixed >> 31) % end as u64) as usize
        }

        /// Cells, sorted by their keys; some keys are long, and some images large.
        fn cells(&mut self, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
            let mut keys: Vec<Vec<u8>> = (0..count)
                .map(|_| {
                    let len = if self.below(20) == 0 { self.below(500) } else { self.below(12) };
                    (0..len).map(|_| b"\0abz\x7F"[self.below(5)]).collect()
                })
                .collect();
            keys.sort();
            keys.dedup();
            let image = |random: &mut Self| match random.below(40) {
                0 => vec![1; 3_000 + random.below(9_000)],
                _ => vec![1; random.below(300)],
            };
            keys.into_iter().map(|key| (key, image(self))).collect()
        }
    }

    fn block(cells: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        cells.iter().for_each(|(key, image)| push_cell(&mut bytes, key, image));
        bytes
    }

    #[test]
    fn a_block_is_the_bytes_that_the_page_draws() {
        let bytes = block(&[(b"a".to_vec(), b"image".to_vec()), (b"bc".to_vec(), b"".to_vec())]);
        assert_eq!(bytes, b"\x01\0\x05\0\0\0aimage\x02\0\0\0\0\0bc");
        let read: Vec<_> = cells(&bytes, END).collect();
        assert_eq!(read, [Ok((&b"a"[..], &b"image"[..])), Ok((b"bc", b""))]);
        assert_eq!(sound_bytes(&bytes, END), bytes.len());
    }

    /// Goal: what is cut is all cells, in blocks that keep the bounds of the module. Method: random cells.
    #[test]
    fn blocks_that_are_cut_have_every_cell_once_within_their_bounds() {
        let mut random = Random(7);
        for round in 0..400 {
            let count = 1 + random.below(200);
            let given = random.cells(count);
            let all = block(&given);
            let bound = if round % 2 == 0 { END.to_vec() } else { given[given.len() - 1].0.clone() };
            let (mut found, mut above, mut last_block) = (Vec::new(), None::<Vec<u8>>, None);
            let pieces = cut(&all, &bound);
            let last = pieces.len() - 1;
            for (index, piece) in pieces.into_iter().enumerate() {
                let bytes = &all[piece.cells];
                let cells: Vec<_> =
                    cells(bytes, &piece.bound).map(|cell| cell.expect("it is sound")).collect();
                assert!(!cells.is_empty());
                assert!(above.as_ref().is_none_or(|above| &**above < cells[0].0), "round {round}");
                if !fits(bytes.len(), &piece.bound) {
                    assert!(is_alone(bytes, &piece.bound), "round {round}: {} cells", cells.len());
                    let below = bound_below(cells[0].0);
                    let (before, above) = last_block.zip(above).unwrap_or((0, below.clone()));
                    assert!(above == below || !fits(before, &below), "round {round}");
                }
                last_block = Some(bytes.len());
                assert!(index < last || piece.bound == bound || !fits(bytes.len(), &bound));
                found.extend(cells.into_iter().map(|(key, image)| (key.to_vec(), image.to_vec())));
                above = Some(piece.bound);
            }
            assert!(found == given, "round {round}");
        }
    }

    #[test]
    fn blocks_of_one_size_are_as_few_as_can_be_and_about_equal() {
        for count in 1..2_000 {
            let given: Vec<_> = (0..count).map(|n| (format!("{n:04}").into_bytes(), vec![0; 90])).collect();
            let all = block(&given);
            let pieces = cut(&all, END);
            // 40 cells of 100 bytes go into one.
            assert_eq!(pieces.len(), all.len().div_ceil(4_000), "{count} cells");
            let least = pieces.iter().map(|piece| piece.cells.len()).min().unwrap_or(0);
            assert!(least * pieces.len() > all.len() / 2, "{least} bytes, {count} cells");
        }
    }

    #[test]
    fn nothing_is_between_a_key_and_the_bound_below_it() {
        for key in ["a", "ab", "b\0", "a\u{1}", "ü", "\0", "a\u{10FFFF}"] {
            let bound = bound_below(key.as_bytes());
            assert!(&*bound < key.as_bytes());
            let mut random = Random(3);
            for _ in 0..10_000 {
                let chars: [char; 6] = ['\0', '\u{1}', 'a', 'b', 'ü', '\u{10FFFF}'];
                let len = random.below(4);
                let other: String = (0..len).map(|_| chars[random.below(6)]).collect();
                assert!(
                    &*bound >= other.as_bytes() || other.as_bytes() >= key.as_bytes(),
                    "{other:?} {key:?}"
                );
            }
        }
    }

    /// Goal: no bytes make the reader panic or go astray. Method: sound blocks with bytes changed, put in and taken out.
    #[test]
    fn damage_is_an_error_and_never_more_than_what_is_there() {
        let mut random = Random(11);
        let mut errors = 0;
        for _ in 0..20_000 {
            let count = 1 + random.below(8);
            let mut bytes = block(&random.cells(count));
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() + 1);
                match random.below(3) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, random.below(256) as u8),
                    _ if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
                    _ => {}
                }
            }
            let sound = sound_bytes(&bytes, END);
            let read: Vec<_> = cells(&bytes, END).collect();
            let whole = read.iter().filter(|cell| cell.is_ok()).count();
            assert_eq!(cells(&bytes[..sound], END).filter(Result::is_ok).count(), whole);
            assert!(read.iter().rev().skip(1).all(Result::is_ok), "nothing comes behind an error");
            assert_eq!(read.len() - whole, usize::from(sound < bytes.len() || bytes.is_empty()));
            errors += read.len() - whole;
            bytes_before(&bytes[..sound], b"ab");
        }
        assert!(errors > 10_000, "{errors}");
    }
}

//! A sorted list of entries by their places, in which each knows its rank.
//!
//! It is a list of runs of [`RUN_ROWS_MAX`] rows at most: finding one is two binary searches, putting one in moves what is behind it
//! in its run, and a rank is the sum of the lengths of the runs before. Invariant: no run is empty, and places ascend.

use std::rc::Rc;

/// Rows of a run: 6 KiB of them, which moves in less than it takes to find the value of one.
const RUN_ROWS_MAX: usize = 256;
/// Bytes that a row takes beside its place: itself, and what counts its place.
const ROW_BYTES: usize = size_of::<Row>() + 2 * size_of::<usize>();

/// Where an entry is among others: bytes that compare as entries do and end with its key (`query/sort.rs`).
#[derive(Clone, Debug)]
pub struct Row {
    place: Rc<[u8]>,
    key_len: u16,
}

impl Row {
    /// # Panics
    /// If the key is longer than any is.
    pub fn new(place: &[u8], key: &[u8]) -> Self {
        debug_assert!(place.ends_with(key));
        let key_len = u16::try_from(key.len()).expect("a key is at most KEY_BYTES_MAX long");
        Self { place: Rc::from(place), key_len }
    }

    pub fn place(&self) -> &[u8] {
        &self.place
    }

    pub fn key(&self) -> &str {
        let key = &self.place[self.place.len() - usize::from(self.key_len)..];
        std::str::from_utf8(key).expect("keys enter as text")
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Rows {
    runs: Vec<Vec<Row>>,
    len: usize,
    bytes: usize,
}

impl Rows {
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory they take.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows before this place.
    pub fn rank(&self, place: &[u8]) -> usize {
        self.rank_by(|row| row.place() < place)
    }

    /// Rows of which this is true, given that these are the first.
    pub fn rank_by(&self, is_before: impl Fn(&Row) -> bool) -> usize {
        let run = self.runs.partition_point(|run| run.last().is_some_and(&is_before));
        let before: usize = self.runs[..run].iter().map(Vec::len).sum();
        before + self.runs.get(run).map_or(0, |run| run.partition_point(is_before))
    }

    /// Whether a row has this place.
    pub fn contains(&self, place: &[u8]) -> bool {
        let run = self.runs.get(self.run_of(place));
        run.is_some_and(|run| run.binary_search_by(|row| row.place().cmp(place)).is_ok())
    }

    /// Rows up to this place.
    pub fn count_through(&self, place: &[u8]) -> usize {
        let rank = self.rank(place);
        rank + usize::from(self.get(rank).is_some_and(|row| row.place() == place))
    }

    pub fn get(&self, mut rank: usize) -> Option<&Row> {
        for run in &self.runs {
            if rank < run.len() {
                return run.get(rank);
            }
            rank -= run.len();
        }
        None
    }

    pub fn last(&self) -> Option<&Row> {
        self.runs.last()?.last()
    }

    /// Rows from this rank on.
    pub fn from(&self, mut rank: usize) -> impl Iterator<Item = &Row> {
        let mut first = 0;
        while self.runs.get(first).is_some_and(|run| run.len() <= rank) {
            rank -= self.runs[first].len();
            first += 1;
        }
        self.runs[first.min(self.runs.len())..].iter().flatten().skip(rank)
    }

    /// Puts a row in whose place no other has; its rank.
    pub fn insert(&mut self, row: Row) -> usize {
        self.len += 1;
        self.bytes += ROW_BYTES + row.place.len();
        let rank = self.rank(row.place());
        if self.runs.is_empty() {
            self.runs.push(Vec::new());
        }
        let index = self.run_of(row.place()).min(self.runs.len() - 1);
        let run = &mut self.runs[index];
        let at = run.partition_point(|other| other.place() < row.place());
        run.insert(at, row);
        if run.len() > RUN_ROWS_MAX {
            let tail = run.split_off(RUN_ROWS_MAX / 2);
            self.runs.insert(index + 1, tail);
        }
        rank
    }

    /// Takes a row out; its rank, if it was there.
    pub fn remove(&mut self, place: &[u8]) -> Option<usize> {
        let index = self.run_of(place);
        let run = self.runs.get_mut(index)?;
        let at = run.binary_search_by(|row| row.place().cmp(place)).ok()?;
        let before: usize = self.runs[..index].iter().map(Vec::len).sum();
        let run = &mut self.runs[index];
        run.remove(at);
        if run.is_empty() {
            self.runs.remove(index);
        }
        self.len -= 1;
        self.bytes -= ROW_BYTES + place.len();
        Some(before + at)
    }

    /// Takes the last row out.
    pub fn pop(&mut self) -> Option<Row> {
        let row = self.last()?.clone();
        self.remove(row.place());
        Some(row)
    }

    /// The first run that may have this place: the number of runs, if it is behind all.
    fn run_of(&self, place: &[u8]) -> usize {
        self.runs.partition_point(|run| run.last().is_some_and(|last| last.place() < place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u32) -> Row {
        let place = format!("{number:05}");
        Row::new(place.as_bytes(), &place.as_bytes()[3..])
    }

    #[test]
    fn rows_keep_their_ranks_however_they_come_and_go() {
        let (mut rows, mut sorted) = (Rows::default(), Vec::new());
        let mut random = 7_u32;
        for step in 0..6_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = (random >> 16) % 2_000;
            let found = sorted.binary_search(&number);
            let place = row(number);
            match found {
                Ok(at) if step % 3 != 0 => {
                    assert_eq!(rows.remove(place.place()), Some(at));
                    sorted.remove(at);
                }
                Ok(_) => {}
                Err(at) => {
                    assert_eq!(rows.remove(place.place()), None);
                    assert_eq!(rows.insert(place), at);
                    sorted.insert(at, number);
                }
            }
        }
        assert!(rows.runs.len() > 3 && rows.len() == sorted.len());
        for (rank, &number) in sorted.iter().enumerate() {
            assert_eq!(rows.get(rank).unwrap().place(), row(number).place());
            assert_eq!(
                (rows.rank(row(number).place()), rows.count_through(row(number).place())),
                (rank, rank + 1)
            );
            let tail: Vec<&[u8]> = rows.from(rank).take(300).map(Row::place).collect();
            let expected: Vec<Row> = sorted[rank..].iter().take(300).map(|&number| row(number)).collect();
            assert!(tail.into_iter().eq(expected.iter().map(Row::place)));
        }
        while let Some(last) = rows.pop() {
            assert_eq!(last.place(), row(sorted.pop().unwrap()).place());
        }
        assert_eq!((rows.len(), rows.bytes(), rows.runs.len()), (0, 0, 0));
    }
}

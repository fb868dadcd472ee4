//! Pages that are written a second time as they are. redb computes the checksums of a transaction when it commits: a page that has
//! left its cache by then is read for that, and written again with the same bytes.
//!
//! Invariant: what is noted of a page is what its file was told last. Notes are digests of 128 bits with a secret of this process, so
//! that nobody can make two pages that are taken for one.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Range;

use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_128_with_secret;

use super::pages::PAGE_BYTES;

/// Pages that are noted: those of 256 MiB, in some 3 MiB. What is written beyond is written twice.
const PAGES_MAX: usize = 64 << 10;
const SECRET_BYTES: usize = 192;

/// See the module.
#[derive(Debug)]
pub(super) struct Repeats {
    secret: [u8; SECRET_BYTES],
    /// By number.
    noted: HashMap<u64, [u8; 16]>,
}

impl Default for Repeats {
    fn default() -> Self {
        let random = RandomState::new();
        let mut secret = [0; SECRET_BYTES];
        for (number, bytes) in secret.chunks_exact_mut(size_of::<u64>()).enumerate() {
            bytes.copy_from_slice(&random.hash_one(number).to_le_bytes());
        }
        Self { secret, noted: HashMap::new() }
    }
}

impl Repeats {
    /// Whether the file has these pages, the first of which has that number, as they are. From now on it is about to be told them,
    /// and nothing is known of those of them that it may not have.
    pub fn is_there(&mut self, first: u64, pages: &[u8]) -> bool {
        let is_noted = |(number, page): (u64, &[u8])| self.noted.get(&number) == Some(&self.digest(page));
        let is_there = (first..).zip(pages.chunks_exact(PAGE_BYTES)).all(is_noted);
        if !is_there {
            self.forget(first..first + (pages.len() / PAGE_BYTES) as u64);
        }
        is_there
    }

    /// The file has been told these pages.
    pub fn note(&mut self, first: u64, pages: &[u8]) {
        for (number, page) in (first..).zip(pages.chunks_exact(PAGE_BYTES)) {
            if self.noted.len() < PAGES_MAX {
                self.noted.insert(number, self.digest(page));
            }
        }
    }

    /// Something else is, or may be, in these pages.
    pub fn forget(&mut self, pages: Range<u64>) {
        if pages.end - pages.start > self.noted.len() as u64 {
            self.noted.retain(|number, _| !pages.contains(number));
        } else {
            for number in pages {
                self.noted.remove(&number);
            }
        }
    }

    /// A commit has ended, behind which no page is written again for the sake of its checksum.
    pub fn clear(&mut self) {
        self.noted = HashMap::new();
    }

    fn digest(&self, page: &[u8]) -> [u8; 16] {
        xxh3_128_with_secret(page, &self.secret).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(fill: u8) -> Vec<u8> {
        vec![fill; PAGE_BYTES]
    }

    #[test]
    fn only_what_was_written_last_is_there() {
        let mut repeats = Repeats::default();
        assert!(!repeats.is_there(1, &page(1)));
        repeats.note(1, &page(1));
        assert!(repeats.is_there(1, &page(1)));
        assert!(!repeats.is_there(2, &page(1)), "another page");
        // Told something else, it may have that, whether or not the write has succeeded.
        assert!(!repeats.is_there(1, &page(2)));
        assert!(!repeats.is_there(1, &page(1)));
        repeats.note(1, &page(1));
        repeats.clear();
        assert!(!repeats.is_there(1, &page(1)));
    }

    #[test]
    fn a_write_of_several_pages_is_there_if_each_is() {
        let mut repeats = Repeats::default();
        let both = [page(1), page(2)].concat();
        repeats.note(7, &both);
        assert!(repeats.is_there(7, &both) && repeats.is_there(8, &page(2)));
        // A part of it is given to something else.
        assert!(!repeats.is_there(8, &page(3)));
        repeats.note(8, &page(3));
        assert!(repeats.is_there(7, &page(1)));
        assert!(!repeats.is_there(7, &both));
        assert!(
            !repeats.is_there(7, &page(1)) && !repeats.is_there(8, &page(3)),
            "both are about to be told"
        );
    }

    #[test]
    fn what_is_forgotten_is_not_there() {
        let mut repeats = Repeats::default();
        for (number, range) in [(5, 5..6), (6, 6..u64::MAX), (7, 0..8)] {
            repeats.note(5, &[page(1), page(2), page(3)].concat());
            repeats.forget(range);
            assert!(!repeats.is_there(number, &page((number - 4) as u8)));
        }
    }

    #[test]
    fn it_is_bounded() {
        let mut repeats = Repeats::default();
        for number in 0..2 * PAGES_MAX as u64 {
            repeats.note(number, &page(0));
        }
        assert_eq!(repeats.noted.len(), PAGES_MAX);
    }
}

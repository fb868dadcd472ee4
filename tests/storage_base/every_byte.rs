//! Which bytes of a data directory may change without `verify` noticing: exactly those that say nothing.
//!
//! Method: one bit is changed after the other, over all bytes of what is small. Of the base, which is a megabyte, each page
//! is tried at a few places: a sum covers all of a page, or nobody reads it.

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use annulus::storage::verify::{Verified, verify};
use annulus::storage::{Fork, StorageError, Timeline};

use crate::crdt_histories::Random;
use crate::data_dir::{DataDir, files};
use crate::journal_files::EPOCH;

const PAGE_BYTES: usize = 4096;
const SUM_BYTES: usize = 4;
/// Three of its bits count: which commit, and how the last process has ended.
const GOD_BYTE: usize = 9;

struct Tried {
    data: DataDir,
    sound: Verified,
    random: Random,
}

impl Tried {
    fn new() -> Self {
        let mut random = Random::from(23);
        let data = DataDir::new(&mut random, 1);
        let first = Timeline { epoch: EPOCH, incarnation: 0 };
        let followed: Result<(Timeline, Option<Fork>), StorageError> =
            Timeline::follow(&data.disk, Some(first), false, || unreachable!("it is the first history"));
        assert_eq!(followed.ok(), Some((first, None)));
        let sound = data.verified();
        data.assert_same(&sound);
        assert_eq!(sound.torn_bytes, 0);
        Self { data, sound, random }
    }

    /// Whether a change of one bit of a byte is noticed; where it is not, everything must be as it was.
    fn is_noticed(&mut self, name: &str, bytes: &[u8], at: usize) -> bool {
        let file = File::options().write(true).open(self.data.folder.0.join(name)).expect("it is there");
        let write = |byte: u8| file.write_all_at(&[byte], at as u64).expect("the byte is there");
        write(bytes[at] ^ 1 << self.random.below(8));
        let verified = verify(&self.data.folder.0, 0, &mut |_| ());
        write(bytes[at]);
        match verified {
            // Without a FORMAT it is no data directory.
            Err(error) => {
                assert!(
                    matches!(error, StorageError::NotOurs { .. } | StorageError::TooNew { .. }),
                    "{error}"
                );
                true
            }
            // Nothing says that the one group of the journal was synced.
            Ok(verified) if !verified.is_sound() || verified.torn_bytes > 0 => true,
            Ok(verified) => {
                assert_eq!(verified, self.sound, "{name} at {at}");
                false
            }
        }
    }

    fn unnoticed(&mut self, name: &str, bytes: &[u8], range: impl Iterator<Item = usize>) -> BTreeSet<usize> {
        range.filter(|&at| !self.is_noticed(name, bytes, at)).collect()
    }
}

#[test]
fn every_byte_of_the_small_files_and_of_the_journal_counts() {
    let mut tried = Tried::new();
    for (name, bytes) in files(&tried.data.folder).into_iter().filter(|(name, _)| !name.starts_with("base")) {
        assert!(["FORMAT", "TIMELINE"].contains(&&*name) || name.starts_with("journal/"), "{name}");
        // Every byte of a journal is tried in `tests/storage_journal`.
        let step = if bytes.len() > 1000 { 17 } else { 1 };
        let unnoticed = tried.unnoticed(&name, &bytes, (0..bytes.len()).step_by(step));
        assert_eq!(unnoticed, BTreeSet::new(), "{name}");
    }
}

#[test]
fn of_the_header_of_the_base_counts_what_redb_takes_from_it() {
    const SLOTS: [Range<usize>; 2] = [64..192, 192..320];
    let mut tried = Tried::new();
    let bytes = files(&tried.data.folder).remove("base.redb").unwrap();
    let other = if bytes[GOD_BYTE] & 1 == 0 { SLOTS[1].clone() } else { SLOTS[0].clone() };
    let unnoticed = tried.unnoticed("base.redb", &bytes, (0..320).filter(|at| *at != GOD_BYTE));
    // Nothing stands there, or what redb computes anew or needs for version 2 only, or the commit before.
    let says_nothing = (10..12).chain(24..64).chain(other);
    assert_eq!(unnoticed, says_nothing.collect());
    let behind = tried.unnoticed("base.redb", &bytes, (320..PAGE_BYTES).step_by(97));
    assert_eq!(behind, (320..PAGE_BYTES).step_by(97).collect());
}

#[test]
fn every_page_of_the_base_in_use_counts_and_so_does_its_sum() {
    let mut tried = Tried::new();
    let all = files(&tried.data.folder);
    let (base, sums) = (&all["base.redb"], &all["base.redb.sums"]);
    let mut used = 0;
    // Some of each kind, as each look reads everything.
    let is_tried = |page: &usize| {
        page % 64 == 1
            || page.is_multiple_of(3)
                && sums.get(page * SUM_BYTES..(page + 1) * SUM_BYTES).is_some_and(|sum| sum != [0; SUM_BYTES])
    };
    for page in (1..base.len() / PAGE_BYTES).filter(is_tried) {
        let places: Vec<usize> =
            (0..2).map(|_| page * PAGE_BYTES + tried.random.below(PAGE_BYTES as u64) as usize).collect();
        let is_used = tried.is_noticed("base.redb", base, places[0]);
        used += usize::from(is_used);
        // Nothing is in the others: no tree leads there.
        for &at in &places[1..] {
            assert_eq!(tried.is_noticed("base.redb", base, at), is_used, "byte {at} of the base");
        }
        let at = page * SUM_BYTES + tried.random.below(SUM_BYTES as u64) as usize;
        if at < sums.len() {
            assert_eq!(tried.is_noticed("base.redb.sums", sums, at), is_used, "byte {at} of the sums");
        }
    }
    assert!(used > 5, "{used} pages are in use");
}

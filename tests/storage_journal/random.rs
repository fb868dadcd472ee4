//! Seeded randomness: each failure names its seed, and `ANNULUS_SEED=<n>` runs that one alone.

use std::ops::Range;

/// Runs `check` for many seeds, or for `ANNULUS_SEED` alone, and says which one failed.
pub fn each_seed(seeds: u64, check: impl Fn(&mut Random)) {
    let chosen = std::env::var("ANNULUS_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    for seed in chosen.map_or(0..seeds, |seed| seed..seed + 1) {
        let _seed = NamesSeed(seed);
        check(&mut Random(seed));
    }
}

struct NamesSeed(u64);

impl Drop for NamesSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with ANNULUS_SEED={}", self.0);
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A number in `range`, which is not empty.
    pub fn within(&mut self, range: Range<usize>) -> usize {
        range.start + self.below(range.len())
    }

    /// True one time in `times`.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// Letters of one to three bytes.
    pub fn text(&mut self, characters: usize) -> String {
        (0..characters).map(|_| ['a', 'Z', '7', 'é', '\u{0}', '€'][self.below(6)]).collect()
    }
}

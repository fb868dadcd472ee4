//! Seeded randomness: a failing run prints its seed, and `ANNULUS_SEED` runs it again.

pub struct Random(u64);

impl Random {
    pub fn from_environment() -> Self {
        let seed = match std::env::var("ANNULUS_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => std::process::id().into(),
        };
        println!("ANNULUS_SEED={seed}");
        Self(seed)
    }

    /// The numbers that follow from `seed`.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

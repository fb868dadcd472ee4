//! The maps of every life: enough that most are cold at any time, and hold more than the memory limit.

use crate::random::Random;

/// What the operations on a map may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Lww,
    /// Values that end by themselves. Their digests change with time, so they are not compared.
    Fleeting,
    Or,
    Counter,
}

const MAPS: usize = 42;
const KEYS: usize = 100;

pub fn all() -> std::ops::Range<usize> {
    0..MAPS
}

pub fn kind(map: usize) -> Kind {
    match map % 7 {
        0..=3 => Kind::Lww,
        4 => Kind::Fleeting,
        5 => Kind::Or,
        _ => Kind::Counter,
    }
}

pub fn name(map: usize) -> String {
    format!("{:?}-{map}", kind(map)).to_lowercase()
}

/// The map of this name.
pub fn named(wanted: &str) -> usize {
    all().find(|&map| name(map) == wanted).unwrap_or_else(|| panic!("{wanted} is none of our maps"))
}

pub fn key(random: &mut Random) -> String {
    format!("k{}", random.below(KEYS))
}

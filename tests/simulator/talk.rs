//! What was said in channels, as far as anybody was told: an offset means the same to everybody, and nothing is said twice.

use std::collections::BTreeMap;

/// Channels that clients are in.
pub const CHANNELS: [&str; 2] = ["talk:0", "talk:1"];

/// See the module. What is said is told apart by its text.
#[derive(Default)]
pub struct Talk {
    /// By channel, epoch and offset.
    said: BTreeMap<(usize, String, u64), Said>,
    /// The channel and the offset of what was said, whoever knows.
    placed: BTreeMap<String, (usize, u64)>,
    /// Lives of the server so far.
    life: u64,
    pub counts: Counts,
}

struct Said {
    text: String,
    /// In which it was given its offset, or was heard of first.
    life: u64,
    is_durable: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub told: u64,
    pub published: u64,
    pub gaps: u64,
    pub recovered: u64,
    pub trimmed: u64,
    pub other_epochs: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.told += other.told;
        self.published += other.published;
        self.gaps += other.gaps;
        self.recovered += other.recovered;
        self.trimmed += other.trimmed;
        self.other_epochs += other.other_epochs;
    }
}

impl Talk {
    /// The process has ended: what was not durable may be gone.
    pub fn ended(&mut self) {
        self.life += 1;
    }

    /// Somebody was told this text under this offset.
    pub fn told(&mut self, channel: usize, epoch: &str, offset: u64, text: &str) {
        self.placed(channel, offset, text);
        let life = self.life;
        let new = Said { text: text.to_owned(), life, is_durable: false };
        let known = self.said.entry((channel, epoch.to_owned(), offset)).or_insert(new);
        assert_eq!(known.text, text, "offset {offset} of {epoch} means two things");
    }

    /// Its offset was told to who has said it.
    pub fn placed(&mut self, channel: usize, offset: u64, text: &str) {
        let known = *self.placed.entry(text.to_owned()).or_insert((channel, offset));
        assert_eq!(known, (channel, offset), "{text} was said twice");
    }

    /// It was told that this is on disk.
    pub fn is_durable(&mut self, channel: usize, epoch: &str, offset: u64) {
        if let Some(said) = self.said.get_mut(&(channel, epoch.to_owned(), offset)) {
            said.is_durable = true;
        }
    }

    /// What is known to be in a channel after `from` and up to `through`, and must be there: it is of this life, or on disk.
    pub fn certain(&self, channel: usize, epoch: &str, from: u64, through: u64) -> Vec<(u64, &str)> {
        let key = |offset| (channel, epoch.to_owned(), offset);
        let found = self.said.range(key(from.saturating_add(1))..=key(through.max(from.saturating_add(1))));
        let is_certain = |(_, said): &(&_, &Said)| said.life == self.life || said.is_durable;
        found
            .filter(|((.., offset), _)| (from + 1..=through).contains(offset))
            .filter(is_certain)
            .map(|((.., offset), said)| (*offset, &*said.text))
            .collect()
    }
}

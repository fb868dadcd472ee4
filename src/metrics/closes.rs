//! How WebSockets ended, by close code.
//!
//! Invariant: the codes that are told apart are a list of ours. A peer may close with any of two thousand others, and what
//! it chooses must not become a series, each of which a scraper keeps for as long as it remembers.

/// What RFC 6455 section 7.4.1 and its registry know, whoever says it, and last what only this server says (`docs/protocol.md`);
/// ascending.
const CODES: [u16; 20] = [
    1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 4001, 4002, 4003,
    4005, 4008, 4009,
];
/// The smallest code that has the meaning its sender gives it (section 7.4.2).
const PRIVATE_MIN: u16 = 3000;
/// The label of all other codes.
const OTHER: &str = "other";

/// Counts of closes.
#[derive(Clone, Debug, Default)]
pub(super) struct Closes {
    by_code: [u64; CODES.len()],
    other: u64,
}

impl Closes {
    /// Counts one that ended with `code`, as the server says or the transport.
    pub(super) fn add_one(&mut self, code: u16) {
        match CODES.binary_search(&code) {
            Ok(index) => self.by_code[index] += 1,
            Err(_) => self.other += 1,
        }
    }

    /// Counts one that the peer ended with `code`. One of ours means nothing in its mouth: it counts with the others.
    pub(super) fn add_one_of_peer(&mut self, code: u16) {
        match code {
            ..PRIVATE_MIN => self.add_one(code),
            PRIVATE_MIN.. => self.other += 1,
        }
    }

    /// Those that ended with `code`; 0 for a code that is not told apart.
    pub(super) fn count(&self, code: u16) -> u64 {
        CODES.binary_search(&code).map_or(0, |index| self.by_code[index])
    }

    /// All of them.
    pub(super) fn total(&self) -> u64 {
        self.by_code.iter().sum::<u64>() + self.other
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (count, other_count) in self.by_code.iter_mut().zip(&other.by_code) {
            *count += other_count;
        }
        self.other += other.other;
    }

    /// Gives `each` the label and the count of those that there were.
    pub(super) fn for_each(&self, mut each: impl FnMut(std::fmt::Arguments<'_>, u64)) {
        for (code, &count) in CODES.iter().zip(&self.by_code).filter(|&(_, &count)| count > 0) {
            each(format_args!("{code}"), count);
        }
        if self.other > 0 {
            each(format_args!("{OTHER}"), self.other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(closes: &Closes) -> Vec<(String, u64)> {
        let mut labels = Vec::new();
        closes.for_each(|label, count| labels.push((label.to_string(), count)));
        labels
    }

    #[test]
    fn whatever_peers_close_with_there_are_few_labels() {
        let mut closes = Closes::default();
        (0..=u16::MAX).for_each(|code| closes.add_one_of_peer(code));
        assert_eq!(labels(&closes).len(), 15, "fourteen codes of the RFC, and all others");
        assert_eq!(closes.total(), 1 << 16);
        (0..=u16::MAX).for_each(|code| closes.add_one(code));
        assert_eq!(labels(&closes).len(), CODES.len() + 1);
    }

    #[test]
    fn a_code_of_ours_counts_only_if_we_said_it() {
        let mut closes = Closes::default();
        closes.add_one(4008);
        closes.add_one_of_peer(4008);
        closes.add_one_of_peer(1001);
        let mut sum = closes.clone();
        sum.add(&closes);
        let expected = [("1001", 2), ("4008", 2), (OTHER, 2)].map(|(label, n)| (label.to_owned(), n));
        assert_eq!(labels(&sum), expected);
        assert_eq!((sum.count(4008), sum.count(4009), sum.count(4321), sum.total()), (2, 0, 0, 6));
    }

    #[test]
    fn codes_are_ascending() {
        assert!(CODES.is_sorted());
    }
}

//! How many messages the limits of a queue have cost its user.

/// Messages that went before the user has acknowledged them or anything later: always the oldest, so one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    count: u64,
    /// The offset of the first, and of the last.
    first: u64,
    last: u64,
    /// When the last of them went.
    at_ms: u64,
}

impl Lost {
    /// Adds some, of which these are the first and the last that may be.
    pub fn add(&mut self, count: u64, (first, last): (u64, u64), now_ms: u64) {
        if count == 0 {
            return;
        }
        if self.count == 0 {
            self.first = first;
        }
        self.count += count;
        self.last = last;
        self.at_ms = now_ms;
    }

    pub const fn is_nothing(&self) -> bool {
        self.count == 0
    }

    /// When the last of them went.
    pub const fn at_ms(&self) -> u64 {
        self.at_ms
    }

    /// How many of them are behind an offset.
    pub fn after(&self, offset: u64) -> u64 {
        if offset < self.first { self.count } else { self.count.min(self.last.saturating_sub(offset)) }
    }

    /// The user has acknowledged an offset: it knows of what was lost up to there.
    pub fn forget_through(&mut self, offset: u64) {
        if offset >= self.last {
            *self = Self::default();
        } else if offset >= self.first {
            self.count = self.after(offset);
            self.first = offset + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_of_what_it_lacks() {
        let mut lost = Lost::default();
        lost.add(0, (1, 1), 5);
        assert!(lost.is_nothing() && lost.after(0) == 0);
        lost.add(2, (7, 8), 10);
        lost.add(3, (9, 11), 20);
        assert_eq!([0, 6, 7, 9, 11, 20].map(|offset| lost.after(offset)), [5, 5, 4, 2, 0, 0]);
        lost.forget_through(6);
        assert_eq!((lost.after(0), lost.at_ms()), (5, 20));
        lost.forget_through(8);
        assert_eq!([0, 8, 9].map(|offset| lost.after(offset)), [3, 3, 2]);
        lost.forget_through(11);
        assert!(lost.is_nothing());
        lost.add(1, (30, 30), 40);
        assert_eq!((lost.after(0), lost.after(29)), (1, 1));
    }
}

//! How many messages a connection may send in a span of time.

/// A span of time, and what may still be sent in it. The next one begins with the first message after its end.
#[derive(Debug, Default)]
pub struct Window {
    ends_ms: u64,
    left: u32,
}

impl Window {
    /// Counts one message; after how many milliseconds to try again if it is one too many. A limit of 0 is none.
    pub fn count(&mut self, limit: u32, span_ms: u32, now_ms: u64) -> Option<u32> {
        if limit == 0 {
            return None;
        }
        if now_ms >= self.ends_ms {
            *self = Self { ends_ms: now_ms + u64::from(span_ms), left: limit };
        }
        if self.left == 0 {
            return Some((self.ends_ms - now_ms) as u32);
        }
        self.left -= 1;
        None
    }

    /// When one more message may come, if none may now.
    pub fn allows_at_ms(&self, limit: u32, now_ms: u64) -> Option<u64> {
        (limit > 0 && self.left == 0 && now_ms < self.ends_ms).then_some(self.ends_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_its_limit_and_begins_anew_after_its_end() {
        let mut window = Window::default();
        let mut count = |now_ms| window.count(2, 1_000, now_ms);
        assert_eq!([count(5_000), count(5_400), count(5_400)], [None, None, Some(600)]);
        assert_eq!([count(5_999), count(6_000), count(6_100), count(6_999)], [Some(1), None, None, Some(1)]);
        assert_eq!(count(20_000), None, "a window begins with its first message");
        assert_eq!([count(20_999), count(20_999)], [None, Some(1)]);
    }

    #[test]
    fn a_full_window_allows_more_at_its_end_and_no_other_waits() {
        let mut window = Window::default();
        assert_eq!(window.allows_at_ms(2, 5_000), None);
        window.count(2, 1_000, 5_000);
        assert_eq!(window.allows_at_ms(2, 5_000), None);
        window.count(2, 1_000, 5_999);
        assert_eq!([5_999, 6_000].map(|now_ms| window.allows_at_ms(2, now_ms)), [Some(6_000), None]);
        assert_eq!(window.allows_at_ms(0, 5_999), None, "no limit");
    }

    #[test]
    fn no_limit_is_never_reached() {
        let mut window = Window::default();
        assert!((0..1_000).all(|_| window.count(0, 1_000, 0).is_none()));
    }
}

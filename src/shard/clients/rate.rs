//! How many messages a connection may send in a span of time.

/// A span of time, and what may still be sent in it. The next one begins with the first message after its end.
#[derive(Debug, Default)]
pub struct Window {
    /// To the microsecond, so that none is shorter than its span.
    ends_us: u64,
    left: u32,
}

impl Window {
    /// Counts one message; after how many milliseconds to try again if it is one too many. A limit of 0 is none.
    pub fn count(&mut self, limit: u32, span_ms: u32, now_us: u64) -> Option<u32> {
        if limit == 0 {
            return None;
        }
        if now_us >= self.ends_us {
            *self = Self { ends_us: now_us + u64::from(span_ms) * 1000, left: limit };
        }
        if self.left == 0 {
            return Some(u32::try_from((self.ends_us - now_us).div_ceil(1000)).unwrap_or(span_ms));
        }
        self.left -= 1;
        None
    }

    /// When one more message may come, if none may now.
    pub fn allows_at_us(&self, limit: u32, now_us: u64) -> Option<u64> {
        (limit > 0 && self.left == 0 && now_us < self.ends_us).then_some(self.ends_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_its_limit_and_begins_anew_after_its_end() {
        let mut window = Window::default();
        let mut count = |now_ms: u64| window.count(2, 1_000, now_ms * 1_000);
        assert_eq!([count(5_000), count(5_400), count(5_400)], [None, None, Some(600)]);
        assert_eq!([count(5_999), count(6_000), count(6_100), count(6_999)], [Some(1), None, None, Some(1)]);
        assert_eq!(count(20_000), None, "a window begins with its first message");
        assert_eq!([count(20_999), count(20_999)], [None, Some(1)]);
    }

    #[test]
    fn a_window_that_begins_within_a_millisecond_is_no_shorter_for_that() {
        let mut window = Window::default();
        assert_eq!(window.count(1, 1_000, 5_000_999), None);
        assert_eq!(window.count(1, 1_000, 5_001_000), Some(1_000));
        assert_eq!([6_000_998, 6_000_999].map(|now_us| window.count(1, 1_000, now_us)), [Some(1), None]);
    }

    #[test]
    fn a_full_window_allows_more_at_its_end_and_no_other_waits() {
        let mut window = Window::default();
        assert_eq!(window.allows_at_us(2, 5_000_700), None);
        window.count(2, 1_000, 5_000_700);
        assert_eq!(window.allows_at_us(2, 5_000_700), None);
        window.count(2, 1_000, 5_999_000);
        let allows_at_us = [6_000_699, 6_000_700].map(|now_us| window.allows_at_us(2, now_us));
        assert_eq!(allows_at_us, [Some(6_000_700), None]);
        assert_eq!(window.allows_at_us(0, 5_999_000), None, "no limit");
    }

    #[test]
    fn no_limit_is_never_reached() {
        let mut window = Window::default();
        assert!((0..1_000).all(|_| window.count(0, 1_000, 0).is_none()));
    }
}

//! A token bucket as one number: when it is full again.
//!
//! Whoever takes tokens moves that moment on by what they take to come back, and may take more while it is no further away than
//! an empty bucket would have it. What is taken at once may be more than there is, as the cost of a message is known only once it
//! is being handled: the bucket is then in debt, and who took so much waits for longer. So over any time no more is taken than
//! the burst, what the rate allows, and one message.

const NS_PER_SECOND: u64 = 1_000_000_000;

/// How fast tokens come back, and how long it takes to fill an empty bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// 0: there is no limit.
    per_second: u64,
    burst_ns: u64,
}

impl Pace {
    pub fn new(per_second: u32, burst_seconds: u32) -> Self {
        Self { per_second: per_second.into(), burst_ns: u64::from(burst_seconds) * NS_PER_SECOND }
    }

    pub const fn is_none(self) -> bool {
        self.per_second == 0
    }

    /// Nanoseconds in which so many tokens come back; 0 where there is no limit.
    pub fn ns_of(self, tokens: u64) -> u64 {
        tokens.saturating_mul(NS_PER_SECOND).checked_div(self.per_second).unwrap_or(0)
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at_ns: u64,
}

impl Bucket {
    /// Nanoseconds until there is a token; 0: there is one.
    pub fn wait_ns(self, pace: Pace, now_ns: u64) -> u64 {
        if pace.is_none() {
            return 0;
        }
        self.full_in_ns(now_ns).saturating_sub(pace.burst_ns.saturating_sub(pace.ns_of(1)))
    }

    /// Takes as many tokens as come back in `ns`.
    pub fn take_ns(&mut self, ns: u64, now_ns: u64) {
        self.full_at_ns = self.full_at_ns.max(now_ns).saturating_add(ns);
    }

    /// Nanoseconds until it is full; 0: it is.
    pub const fn full_in_ns(self, now_ns: u64) -> u64 {
        self.full_at_ns.saturating_sub(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN_NS: u64 = 77 * NS_PER_SECOND;

    /// How many of those that try each `every_ns` for so many seconds are served.
    fn served(pace: Pace, seconds: u64, every_ns: u64) -> u64 {
        let (mut bucket, mut served, mut now_ns) = (Bucket::default(), 0, BEGIN_NS);
        while now_ns < BEGIN_NS + seconds * NS_PER_SECOND {
            if bucket.wait_ns(pace, now_ns) == 0 {
                bucket.take_ns(pace.ns_of(1), now_ns);
                served += 1;
            }
            now_ns += every_ns;
        }
        served
    }

    #[test]
    fn over_a_minute_exactly_the_burst_and_the_rate_are_served() {
        for (per_second, burst_seconds) in [(1, 1), (3, 1), (7, 2), (10, 5), (999, 1), (1000, 60)] {
            let pace = Pace::new(per_second, burst_seconds);
            let allowed = u64::from(per_second) * (u64::from(burst_seconds) + 60);
            let served = served(pace, 60, 90_000);
            assert!(
                served.abs_diff(allowed) <= 1,
                "{per_second}/s burst {burst_seconds}: {served} of {allowed}"
            );
        }
    }

    #[test]
    fn who_waits_as_long_as_it_is_told_is_served_and_not_before() {
        for per_second in [1, 3, 7, 1_000, 1_000_000, u32::MAX] {
            let pace = Pace::new(per_second, 2);
            let (mut bucket, mut now_ns) = (Bucket::default(), BEGIN_NS);
            bucket.take_ns(pace.ns_of(2 * u64::from(per_second)), now_ns);
            for _ in 0..1_000 {
                let wait_ns = bucket.wait_ns(pace, now_ns);
                if wait_ns > 0 {
                    assert_ne!(bucket.wait_ns(pace, now_ns + wait_ns - 1), 0, "{per_second}");
                    now_ns += wait_ns;
                }
                assert_eq!(bucket.wait_ns(pace, now_ns), 0, "{per_second}");
                bucket.take_ns(pace.ns_of(1), now_ns);
            }
        }
    }

    #[test]
    fn what_is_larger_than_the_bucket_is_served_and_paid_for() {
        let pace = Pace::new(1_000, 1);
        let mut bucket = Bucket::default();
        bucket.take_ns(pace.ns_of(5_000), BEGIN_NS);
        assert_eq!(bucket.wait_ns(pace, BEGIN_NS), 4 * NS_PER_SECOND + 1_000_000);
    }

    #[test]
    fn no_limit_is_never_reached() {
        let mut bucket = Bucket::default();
        bucket.take_ns(Pace::default().ns_of(u64::MAX), BEGIN_NS);
        assert_eq!((bucket.wait_ns(Pace::default(), BEGIN_NS), bucket), (0, Bucket { full_at_ns: BEGIN_NS }));
    }
}

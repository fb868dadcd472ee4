//! A distribution of durations. Recording neither allocates nor fails: what is out of bounds counts as the bound.

use hdrhistogram::Histogram;

/// The longest duration told apart from longer ones: a minute. Whatever takes longer is broken, not slow.
const NS_MAX: u64 = 60_000_000_000;
/// Two significant digits: a quantile is within 1 % of the truth, for some 30 KiB a distribution.
const DIGITS: u8 = 2;

/// Durations in nanoseconds since the start of the process.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
    /// Kept beside the histogram, whose own sum is only as exact as its buckets.
    sum_ns: u64,
}

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, NS_MAX, DIGITS);
        Self { histogram: histogram.expect("1 ns to a minute in two digits are valid bounds"), sum_ns: 0 }
    }
}

impl Latency {
    /// Counts one duration of `ns` nanoseconds.
    pub fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns.min(NS_MAX));
        self.sum_ns += ns;
    }

    /// Counts `count` durations of `ns` nanoseconds each: the operations of one batch.
    pub fn record_many(&mut self, ns: u64, count: u64) {
        self.histogram.saturating_record_n(ns.min(NS_MAX), count);
        self.sum_ns += ns * count;
    }

    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Sum of all durations, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The duration, in nanoseconds, that the fraction `quantile` of all durations does not exceed; 0 if
    /// nothing was counted.
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile)
    }

    /// What was recorded since an earlier moment of the same.
    pub fn since(&self, before: &Self) -> Self {
        let mut histogram = self.histogram.clone();
        // It fails only where something was recorded less often than before.
        let _ = histogram.subtract(&before.histogram);
        Self { histogram, sum_ns: self.sum_ns.saturating_sub(before.sum_ns) }
    }

    /// Adds what another shard recorded.
    pub fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("every distribution has the bounds of `default`");
        self.sum_ns += other.sum_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_monotone_and_within_a_hundredth() {
        let mut latency = Latency::default();
        (1..=100_000).for_each(|us| latency.record(us * 1_000));
        let quantiles = [0.5, 0.9, 0.99, 0.999].map(|quantile| latency.quantile_ns(quantile));
        assert!(quantiles.is_sorted(), "{quantiles:?}");
        for (found, wanted) in quantiles.into_iter().zip([50_000_000, 90_000_000, 99_000_000, 99_900_000]) {
            assert!(found.abs_diff(wanted) * 100 <= wanted, "{found} is not within 1 % of {wanted}");
        }
    }

    #[test]
    fn what_was_recorded_since_is_all_that_is_left() {
        let mut latency = Latency::default();
        (0..1_000).for_each(|_| latency.record(5_000_000));
        let before = latency.clone();
        (0..10).for_each(|_| latency.record(1_000));
        let since = latency.since(&before);
        assert_eq!((since.count(), since.sum_ns()), (10, 10_000));
        assert!(since.quantile_ns(0.999) < 2_000, "{}", since.quantile_ns(0.999));
        assert_eq!(latency.since(&latency).count(), 0);
    }

    #[test]
    fn out_of_bounds_counts_as_the_bound() {
        let mut latency = Latency::default();
        latency.record(0);
        latency.record(10 * NS_MAX);
        assert_eq!(latency.count(), 2);
        let longest = latency.quantile_ns(1.0);
        assert!(longest.abs_diff(NS_MAX) * 100 <= NS_MAX, "{longest}");
        assert_eq!(latency.sum_ns(), 10 * NS_MAX);
    }

    #[test]
    fn many_equal_durations_are_recorded_as_one_by_one() {
        let (mut once, mut each) = (Latency::default(), Latency::default());
        once.record_many(1_500, 10);
        (0..10).for_each(|_| each.record(1_500));
        assert_eq!((once.count(), once.sum_ns()), (each.count(), each.sum_ns()));
        assert_eq!(once.quantile_ns(0.5), each.quantile_ns(0.5));
    }
}

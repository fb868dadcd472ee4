//! What happened in a second: the difference of two moments of what shards count.

use serde_json::{Map, Value};

use crate::metrics::{Latency, Metrics, OpKind, OpOutcome};

/// The names of all figures, in their order. Those of the process come last.
pub const NAMES: [&str; COUNT] = [
    "connections",
    "users",
    "subscriptions",
    "maps",
    "cells",
    "rooms",
    "channels",
    "outbox_bytes",
    "map_bytes",
    "journal_pending_bytes",
    "messages_received_per_second",
    "messages_sent_per_second",
    "deliveries_per_second",
    "ops_per_second",
    "received_bytes_per_second",
    "sent_bytes_per_second",
    "turns_per_second",
    "turn_p50_us",
    "turn_p99_us",
    "turn_p999_us",
    "ack_p50_us",
    "ack_p99_us",
    "ack_p999_us",
    "lag_us",
    "sync_p50_us",
    "sync_p99_us",
    "sync_p999_us",
    "cpu_cores",
    "resident_bytes",
];
/// Figures of a shard; the others are of the process alone.
pub const OF_SHARD: usize = 24;
pub const COUNT: usize = 29;

/// One second; what is not known is no number.
#[derive(Clone, Copy, Debug)]
pub struct Figures(pub [f64; COUNT]);

/// The two ends of the second.
pub struct Span<'a> {
    pub before: &'a Metrics,
    pub after: &'a Metrics,
    pub ms: u64,
}

impl Figures {
    /// Of a shard, or of all of them.
    pub fn of(span: &Span<'_>, lag_us: u64) -> Self {
        let Span { before, after, ms } = span;
        let rate = |before: u64, after: u64| per_second(before, after, *ms);
        let (turns, acks) = (after.turn_ns.since(&before.turn_ns), after.op_ns.since(&before.op_ns));
        let [t50, t99, t999] = quantiles(&turns);
        let [a50, a99, a999] = quantiles(&acks);
        let known = [
            after.connections as f64,
            after.users as f64,
            after.subscriptions as f64,
            after.map_names as f64,
            after.cells as f64,
            (after.presence_rooms + after.presence_user_rooms) as f64,
            after.channels as f64,
            after.outbox_bytes as f64,
            after.resident_bytes as f64,
            after.journal_pending_bytes as f64,
            rate(before.messages_received, after.messages_received),
            rate(before.messages_sent, after.messages_sent),
            rate(deliveries(before), deliveries(after)),
            rate(ops(before), ops(after)),
            rate(before.bytes_received, after.bytes_received),
            rate(before.bytes_sent, after.bytes_sent),
            rate(before.turns, after.turns),
            t50,
            t99,
            t999,
            a50,
            a99,
            a999,
            lag_us as f64,
        ];
        let mut all = [f64::NAN; COUNT];
        all[..OF_SHARD].copy_from_slice(&known);
        Self(all)
    }

    /// Adds what only the process has.
    pub const fn with_process(mut self, syncs: [f64; 3], cpu_cores: f64, resident_bytes: f64) -> Self {
        [self.0[24], self.0[25], self.0[26]] = syncs;
        (self.0[27], self.0[28]) = (cpu_cores, resident_bytes);
        self
    }

    /// The first `count` of them by name.
    pub fn shown(&self, count: usize) -> Map<String, Value> {
        let pairs = NAMES.iter().zip(self.0).take(count);
        pairs.map(|(name, value)| ((*name).to_owned(), number(value))).collect()
    }
}

/// The median, and what 1 % and 0.1 % take longer than, in microseconds; no numbers where nothing was counted.
pub fn quantiles(of: &Latency) -> [f64; 3] {
    [0.5, 0.99, 0.999].map(|quantile| match of.count() {
        0 => f64::NAN,
        _ => of.quantile_ns(quantile) as f64 / 1e3,
    })
}

/// A figure as JSON: whole where it is large, as nobody reads further digits.
pub fn number(value: f64) -> Value {
    if value.is_nan() {
        Value::Null
    } else if value.fract() == 0.0 || value >= 100.0 {
        // Below 2^53, as everything that is counted here is.
        Value::from(value.round() as u64)
    } else {
        Value::from((value * 100.0).round() / 100.0)
    }
}

/// By how much a counter grew in each second of so many milliseconds.
pub fn per_second(before: u64, after: u64, ms: u64) -> f64 {
    after.saturating_sub(before) as f64 * 1e3 / ms.max(1) as f64
}

/// Whatever was handed to somebody who listens.
const fn deliveries(of: &Metrics) -> u64 {
    of.deliveries
        + of.publish_deliveries
        + of.channel_deliveries
        + of.presence_deliveries
        + of.direct_deliveries
}

fn ops(of: &Metrics) -> u64 {
    let outcomes = |kind: OpKind| OpOutcome::ALL.iter().map(move |&outcome| of.ops(kind, outcome));
    OpKind::ALL.iter().flat_map(|&kind| outcomes(kind)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_what_was_counted_in_it() {
        let mut before = Metrics::default();
        (before.messages_received, before.connections) = (100, 3);
        before.turn_ns.record(9_000_000);
        let mut after = before.clone();
        (after.messages_received, after.connections) = (600, 5);
        (0..10).for_each(|_| after.turn_ns.record(50_000));
        let figures = Figures::of(&Span { before: &before, after: &after, ms: 500 }, 70);
        let shown = figures.with_process([f64::NAN; 3], 1.256, 1e9).shown(COUNT);
        assert_eq!(
            (&shown["connections"], &shown["messages_received_per_second"]),
            (&5.into(), &1000.into())
        );
        assert!(shown["turn_p999_us"].as_f64().unwrap() < 60.0, "{shown:?}");
        assert_eq!((&shown["ack_p50_us"], &shown["sync_p99_us"]), (&Value::Null, &Value::Null));
        assert_eq!((&shown["cpu_cores"], &shown["lag_us"]), (&1.26.into(), &70.into()));
        assert_eq!(figures.shown(OF_SHARD).len(), OF_SHARD);
    }
}

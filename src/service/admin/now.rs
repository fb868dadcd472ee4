//! The last second, and the last hour of them.
//!
//! One task asks all shards for their numbers each second, as long as anybody may want them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::answer::{Answer, Refusal};
use super::fields::{number, said};
use super::figures::{COUNT, Figures, NAMES, OF_SHARD, Span, number as figure, quantiles};
use super::shards::{Shards, unavailable};
use crate::handover::Progress;
use crate::handover::inspection::{Finding, Inquiry};
use crate::io::{Clock, process};
use crate::metrics::{AdminMetrics, Latency, Metrics};

const INTERVAL_MS: u64 = 1_000;
/// Seconds that are kept.
const KEPT: usize = 3_600;
/// How long seconds are gathered after somebody has asked, where nobody has said that they always are.
const ASKED_MS: u64 = 60_000;

/// One second.
#[derive(Clone)]
struct Second {
    unix_ms: u64,
    sum: [f32; COUNT],
    shards: Vec<[f32; OF_SHARD]>,
}

/// The last of them as it was counted.
struct Latest {
    unix_ms: u64,
    sum: Figures,
    shards: Vec<Figures>,
}

/// What the shards counted when they were last asked.
struct Moment {
    at_us: u64,
    shards: Vec<Metrics>,
    syncs: Latency,
    cpu_seconds: f64,
}

#[derive(Default)]
struct Kept {
    seconds: VecDeque<Second>,
    latest: Option<Latest>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Seconds {
    kept: Arc<Mutex<Kept>>,
    /// When somebody last asked, in milliseconds of the monotonic clock.
    asked_ms: Arc<AtomicU64>,
    metrics: Arc<AdminMetrics>,
    clock: Clock,
}

impl Seconds {
    /// Begins to gather: always, or while somebody asks.
    pub fn start(
        shards: Shards,
        progress: Option<Arc<Progress>>,
        metrics: &Arc<AdminMetrics>,
        clock: Clock,
        is_always: bool,
    ) -> Self {
        let metrics = Arc::clone(metrics);
        let seconds = Self { kept: Arc::default(), asked_ms: Arc::default(), metrics, clock };
        let gathering = seconds.clone();
        tokio::spawn(async move { gathering.gather(&shards, progress.as_deref(), is_always).await });
        seconds
    }

    async fn gather(&self, shards: &Shards, progress: Option<&Progress>, is_always: bool) {
        let mut ticks = interval(Duration::from_millis(INTERVAL_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before: Option<Moment> = None;
        loop {
            ticks.tick().await;
            let now_ms = self.clock.now().timer_ms();
            let asked_ms = self.asked_ms.load(Ordering::Relaxed);
            if !is_always && (asked_ms == 0 || now_ms > asked_ms + ASKED_MS) {
                before = None;
                continue;
            }
            let Ok((moment, lags)) = self.look(shards, progress).await else { continue };
            if let Some(before) = &before {
                self.keep(before, &moment, &lags).await;
            }
            before = Some(moment);
        }
    }

    async fn look(
        &self,
        shards: &Shards,
        progress: Option<&Progress>,
    ) -> Result<(Moment, Vec<u64>), Refusal> {
        let patience = Duration::from_millis(INTERVAL_MS);
        let asking = (0..shards.count()).map(|shard| shards.ask_for(shard, Inquiry::Metrics, patience));
        let mut moment = Moment {
            at_us: 0,
            shards: Vec::with_capacity(shards.count()),
            syncs: progress.map_or_else(Latency::default, |progress| progress.metrics().syncs()),
            cpu_seconds: process::metrics().cpu_seconds.unwrap_or(f64::NAN),
        };
        let mut lags = Vec::with_capacity(shards.count());
        for answered in futures_util::future::join_all(asking).await {
            let answered = answered?;
            let Finding::Metrics(metrics) = answered.finding else { continue };
            moment.shards.push(*metrics);
            lags.push(answered.lag_us);
        }
        moment.at_us = self.clock.now().monotonic_us;
        Ok((moment, lags))
    }

    async fn keep(&self, before: &Moment, after: &Moment, lags: &[u64]) {
        let ms = ((after.at_us - before.at_us) / 1000).max(1);
        let pairs = before.shards.iter().zip(&after.shards).zip(lags);
        let of_shard = |((before, after), lag): ((&Metrics, &Metrics), &u64)| {
            Figures::of(&Span { before, after, ms }, *lag)
        };
        let shards: Vec<Figures> = pairs.map(of_shard).collect();
        let (sum_before, sum_after) = (sum_of(&before.shards), sum_of(&after.shards));
        let span = Span { before: &sum_before, after: &sum_after, ms };
        let syncs = quantiles(&after.syncs.since(&before.syncs));
        let cpu_cores = (after.cpu_seconds - before.cpu_seconds) * 1e3 / ms as f64;
        let resident = process::metrics().resident_bytes.map_or(f64::NAN, |bytes| bytes as f64);
        let lag_us = lags.iter().copied().max().unwrap_or(0);
        self.metrics.lag_us.set(lag_us);
        let sum = Figures::of(&span, lag_us).with_process(syncs, cpu_cores.max(0.0), resident);
        let unix_ms = self.clock.now().unix_ms;
        let second = Second {
            unix_ms,
            sum: sum.0.map(|value| value as f32),
            shards: shards.iter().map(short).collect(),
        };
        let mut kept = self.kept.lock().await;
        kept.latest = Some(Latest { unix_ms, sum, shards });
        if kept.seconds.len() == KEPT {
            kept.seconds.pop_front();
        }
        kept.seconds.push_back(second);
    }

    fn asked(&self) {
        self.asked_ms.store(self.clock.now().timer_ms().max(1), Ordering::Relaxed);
    }

    /// `GET /admin/now`. Who asks first waits for the first second.
    pub async fn now(&self) -> Answer {
        self.asked();
        for _ in 0..40 {
            if let Some(latest) = self.fresh().await {
                return said(&latest);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(unavailable("the shards have not said their numbers yet"))
    }

    async fn fresh(&self) -> Option<Value> {
        let kept = self.kept.lock().await;
        let latest = kept.latest.as_ref()?;
        let is_fresh = latest.unix_ms + 5 * INTERVAL_MS > self.clock.now().unix_ms;
        let shards: Vec<Map<String, Value>> =
            latest.shards.iter().map(|figures| figures.shown(OF_SHARD)).collect();
        is_fresh.then(|| json!({"unix_ms": latest.unix_ms, "sum": latest.sum.shown(COUNT), "shards": shards}))
    }

    /// `GET /admin/history`.
    pub async fn history(&self, asked: &History) -> Answer {
        self.asked();
        let kept = self.kept.lock().await;
        let after = asked.after.unwrap_or(0);
        let limit = asked.limit.unwrap_or(KEPT);
        if limit == 0 || limit > KEPT {
            return Err(super::fields::bad("bad_request", "limit is from 1 to 3600"));
        }
        let fresh = kept.seconds.iter().filter(|second| second.unix_ms > after).count();
        let seconds = || kept.seconds.iter().skip(kept.seconds.len() - fresh.min(limit));
        let column = |place: usize| -> Value { seconds().map(|second| shown(second.sum[place])).collect() };
        let sum: Map<String, Value> =
            NAMES.iter().enumerate().map(|(place, name)| ((*name).to_owned(), column(place))).collect();
        let mut answer = json!({
            "interval_ms": INTERVAL_MS,
            "unix_ms": seconds().map(|second| second.unix_ms).collect::<Vec<_>>(),
            "sum": sum,
        });
        if asked.shards == Some(true) {
            let count = kept.seconds.back().map_or(0, |second| second.shards.len());
            let of_shard = |shard: usize| -> Map<String, Value> {
                let column =
                    |place: usize| seconds().map(|second| shown(second.shards[shard][place])).collect();
                let named = NAMES.iter().take(OF_SHARD).enumerate();
                named.map(|(place, name)| ((*name).to_owned(), column(place))).collect()
            };
            answer["shards"] = (0..count).map(of_shard).collect::<Vec<_>>().into();
        }
        said(&answer)
    }
}

/// What `GET /admin/history` is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    #[serde(default, deserialize_with = "number")]
    after: Option<u64>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<usize>,
    #[serde(default, deserialize_with = "number")]
    shards: Option<bool>,
}

fn shown(value: f32) -> Value {
    figure(f64::from(value))
}

fn short(figures: &Figures) -> [f32; OF_SHARD] {
    std::array::from_fn(|place| figures.0[place] as f32)
}

fn sum_of(shards: &[Metrics]) -> Metrics {
    let mut sum = Metrics::default();
    shards.iter().for_each(|metrics| sum.add(metrics));
    sum
}

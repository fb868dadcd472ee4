//! What the storage counts about itself: written by its threads, read by the shard that renders the page.
//!
//! Invariant: a counter never goes down; a gauge is what is there now.

use std::sync::atomic::{AtomicU64, Ordering};
#[expect(clippy::disallowed_types, reason = "one thread records syncs; a shard looks once a scrape")]
use std::sync::{Mutex, PoisonError};

use super::Latency;
use super::exposition::{Exposition, Kind};
use super::render::summary;

/// One for the whole process.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "as above")]
pub struct StorageMetrics {
    pub groups: Counter,
    pub written_bytes: Counter,
    pub segments: Gauge,
    /// Bytes of the journal that are not folded, and bytes a second that clients may write for that; 0: as many as like.
    pub unfolded_bytes: Gauge,
    pub write_rate_limit: Gauge,
    pub checkpoints: Counter,
    pub compactions: Counter,
    pub folded_records: Counter,
    pub swept_cells: Counter,
    /// When the last checkpoint ended, or the server started; milliseconds since the Unix epoch.
    pub checkpoint_unix_ms: Gauge,
    pub loaded_bytes: Counter,
    pub backups: Counter,
    pub free_bytes: Gauge,
    /// What is to be freed before writes are taken again; 0 while they are.
    pub short_bytes: Gauge,
    sync_ns: Mutex<Latency>,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number as it is now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl StorageMetrics {
    /// How long syncs of the journal have taken so far.
    pub fn syncs(&self) -> Latency {
        self.sync_ns.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts one sync of the journal.
    pub fn record_sync(&self, ns: u64) {
        self.sync_ns.lock().unwrap_or_else(PoisonError::into_inner).record(ns);
    }

    /// A line for each number that tells whether the storage keeps up, for `/healthz`.
    pub fn health(&self, now_unix_ms: u64) -> String {
        let checkpoint_age_ms = now_unix_ms.saturating_sub(self.checkpoint_unix_ms.value());
        let sync_us = |quantile| {
            self.sync_ns.lock().unwrap_or_else(PoisonError::into_inner).quantile_ns(quantile) / 1_000
        };
        format!(
            "sync_p50_us {}\nsync_p99_us {}\nsegments {}\ncheckpoint_age_ms {checkpoint_age_ms}\ndisk_free_bytes {}\ndisk_short_bytes {}\n\
             journal_unfolded_bytes {}\nwrite_rate_limit_bytes {}\n",
            sync_us(0.5),
            sync_us(0.99),
            self.segments.value(),
            self.free_bytes.value(),
            self.short_bytes.value(),
            self.unfolded_bytes.value(),
            self.write_rate_limit.value()
        )
    }

    /// Appends everything in the Prometheus text format.
    pub fn render(&self, now_unix_ms: u64, is_read_only: bool, out: &mut String) {
        let mut page = Exposition::new(out);
        for (name, help, counter) in [
            ("annulus_journal_groups_total", "Groups of changes written to the journal.", &self.groups),
            ("annulus_journal_bytes_total", "Bytes written to the journal.", &self.written_bytes),
            ("annulus_checkpoints_total", "Segments of the journal folded into the base.", &self.checkpoints),
            ("annulus_compactions_total", "Times the base was copied to a smaller file.", &self.compactions),
            ("annulus_folded_records_total", "Records folded into the base.", &self.folded_records),
            ("annulus_swept_cells_total", "Cells on disk that lost an old removal.", &self.swept_cells),
            ("annulus_loaded_bytes_total", "Bytes of cells read from disk.", &self.loaded_bytes),
            ("annulus_backups_total", "Backups taken from the running server.", &self.backups),
        ] {
            page.family(name, Kind::Counter, help);
            page.value(counter.value());
        }
        let help = "Segments of the journal that are complete and not folded yet.";
        page.family("annulus_journal_segments", Kind::Gauge, help);
        page.value(self.segments.value());
        let help = "Bytes of the journal that are not folded yet.";
        page.family("annulus_journal_unfolded_bytes", Kind::Gauge, help);
        page.value(self.unfolded_bytes.value());
        let help =
            "Bytes a second that clients may write, as the journal nears --journal-max-bytes; 0: no limit.";
        page.family("annulus_write_rate_limit_bytes", Kind::Gauge, help);
        page.value(self.write_rate_limit.value());
        let help = "Seconds since the last checkpoint, or since the start.";
        page.family("annulus_checkpoint_age_seconds", Kind::Gauge, help);
        page.value(now_unix_ms.saturating_sub(self.checkpoint_unix_ms.value()) as f64 / 1e3);
        page.family("annulus_disk_free_bytes", Kind::Gauge, "Bytes the disk of the data has free.");
        page.value(self.free_bytes.value());
        let help = "Bytes to be freed there before writes are taken again; 0 while they are.";
        page.family("annulus_disk_short_bytes", Kind::Gauge, help);
        page.value(self.short_bytes.value());
        let help = "1 while writes are refused because less than --disk-reserve is free.";
        page.family("annulus_read_only", Kind::Gauge, help);
        page.value(u8::from(is_read_only));
        let sync_ns = self.sync_ns.lock().unwrap_or_else(PoisonError::into_inner).clone();
        summary(&mut page, "annulus_sync_seconds", "Seconds of each sync of the journal.", &sync_ns);
    }
}

//! What the desk counts about itself: written by its thread, read by the shard that renders the page.

#[expect(clippy::disallowed_types, reason = "one thread records; a shard looks once a scrape")]
use std::sync::{Mutex, PoisonError};

use super::exposition::{Exposition, Kind};
use super::render::summary;
use super::{Counter, Gauge, Latency};

/// Why credentials are refused, as far as it is told apart here.
pub const CREDENTIALS_REFUSED: [&str; 8] =
    ["malformed", "unknown_key", "signature", "time", "audience", "unknown_api_key", "revoked", "forbidden"];

/// One for the whole process.
#[derive(Debug, Default)]
#[expect(clippy::disallowed_types, reason = "as above")]
pub struct DeskMetrics {
    /// Credentials that were believed before.
    pub hits: Gauge,
    /// Those refused, by [`CREDENTIALS_REFUSED`].
    pub refused: [Gauge; CREDENTIALS_REFUSED.len()],
    pub believed_bytes: Gauge,
    /// Times that something else has come into force.
    pub standings: Counter,
    pub files_refused: Counter,
    pub jwks_fetches: Counter,
    pub jwks_failures: Counter,
    verify_ns: Mutex<Latency>,
}

impl DeskMetrics {
    /// Counts one token whose signature was looked at.
    pub fn record_verification(&self, ns: u64) {
        self.verify_ns.lock().unwrap_or_else(PoisonError::into_inner).record(ns);
    }

    /// Appends everything in the Prometheus text format.
    pub fn render(&self, out: &mut String) {
        let mut page = Exposition::new(out);
        let help = "Tokens and API keys that were believed before, so that nothing was verified.";
        page.family("annulus_credential_hits_total", Kind::Counter, help);
        page.value(self.hits.value());
        let help = "Tokens and API keys that were refused.";
        page.family("annulus_credentials_refused_total", Kind::Counter, help);
        for (reason, refused) in CREDENTIALS_REFUSED.iter().zip(&self.refused) {
            page.labelled(format_args!("reason=\"{reason}\""), refused.value());
        }
        let help = "Bytes of what is remembered of those who were believed.";
        page.family("annulus_credential_cache_bytes", Kind::Gauge, help);
        page.value(self.believed_bytes.value());
        for (name, help, counter) in [
            (
                "annulus_standings_total",
                "Times that other rules or revocations came into force.",
                &self.standings,
            ),
            (
                "annulus_auth_files_refused_total",
                "Changed files that could not be used.",
                &self.files_refused,
            ),
            (
                "annulus_jwks_fetches_total",
                "Times that keys were fetched, or were to be.",
                &self.jwks_fetches,
            ),
            ("annulus_jwks_failures_total", "Fetches that brought no keys.", &self.jwks_failures),
        ] {
            page.family(name, Kind::Counter, help);
            page.value(counter.value());
        }
        let verify_ns = self.verify_ns.lock().unwrap_or_else(PoisonError::into_inner).clone();
        summary(
            &mut page,
            "annulus_verify_seconds",
            "Seconds of each look at the signature of a token.",
            &verify_ns,
        );
    }
}

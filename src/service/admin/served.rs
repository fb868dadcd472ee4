//! What all pages of the admin API have at hand.

use serde_json::json;

use super::answer::{Answer, Refusal};
use super::checks::Checks;
use super::clients::Clients;
use super::config::AdminConfig;
use super::draining::Draining;
use super::fields::said;
use super::gateway::Gateway;
use super::guard::{Guard, Who};
use super::kept_lines::KeptLines;
use super::maps::Maps;
use super::now::Seconds;
use super::settings::Settings;
use super::shards::{Shards, other};
use super::storage::Storage;
use crate::handover::inspection::{Finding, Inquiry};
use crate::io::process;
use crate::metrics::{Metrics, Page};
use crate::service::desk::read_rules;
use crate::service::explaining::{self, Question};
use crate::tls::Current;

/// See the module.
pub struct Served {
    pub gateway: Gateway,
    pub config: AdminConfig,
    pub guard: Guard,
    pub shards: Shards,
    pub seconds: Seconds,
    pub storage: Storage,
    pub settings: Settings,
    pub draining: Draining,
    pub checks: Checks,
    pub lines: tokio::sync::Mutex<KeptLines>,
}

impl Served {
    pub const fn clients(&self) -> Clients<'_> {
        Clients { shards: &self.shards, dialects: self.config.dialects }
    }

    pub const fn maps(&self) -> Maps<'_> {
        Maps { shards: &self.shards, hasher: self.config.hasher }
    }

    /// The numbers of all shards together.
    pub async fn metrics(&self) -> Result<Metrics, Refusal> {
        let mut sum = Metrics::default();
        for finding in self.shards.ask_all(|| Inquiry::Metrics).await? {
            let Finding::Metrics(metrics) = finding else { return Err(other()) };
            sum.add(&metrics);
        }
        Ok(sum)
    }

    /// `GET /metrics`.
    pub async fn metrics_page(&self) -> Result<String, Refusal> {
        let config = &self.config;
        let progress = config.on_disk.as_ref().map(|on_disk| &on_disk.progress);
        let page = Page {
            metrics: &self.metrics().await?,
            storage: progress.map(|progress| (progress.metrics(), progress.is_read_only())),
            desk: config.desk.as_deref(),
            tls_reloads: config.tls.as_ref().map(Current::reloads),
            hooks: config.hooks.as_deref(),
            admin: Some(&config.metrics),
            process: process::metrics(),
            unix_ms: config.clock.now().unix_ms,
        };
        Ok(page.render())
    }

    /// Why clients should not come here; `None`: they may.
    pub fn is_unready(&self) -> Option<&'static str> {
        let is_read_only =
            || self.config.on_disk.as_ref().is_some_and(|on_disk| on_disk.progress.is_read_only());
        match () {
            () if self.draining.is_told() => Some("draining"),
            () if is_read_only() => Some("read_only"),
            () => None,
        }
    }

    /// `GET /admin/server`.
    pub fn server_page(&self, who: &Who) -> Answer {
        let started = process::metrics().started_seconds.map(|seconds| (seconds * 1e3) as u64);
        let config = &self.config.config;
        said(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "node": config.node,
            "started_unix_ms": started,
            "unix_ms": self.config.clock.now().unix_ms,
            "shards": self.shards.count(),
            "storage": if self.config.on_disk.is_some() { "disk" } else { "memory" },
            "auth": config.auth.as_str(),
            "listen": config.listen,
            "is_draining": self.draining.is_told(),
            "you": who.0,
        }))
    }

    /// `POST /admin/explain`.
    pub fn explain(&self, question: &Question) -> Answer {
        let bad = |error: &dyn std::fmt::Display| super::fields::bad("bad_request", &error.to_string());
        let Some(file) = &self.config.rules else {
            let note =
                "there are no rules: everybody may do everything, or what the permissions of their token say";
            return said(&json!({
                "user": question.user, "action": question.action, "map": question.map,
                "outcome": "allowed", "rules": [], "note": note,
            }));
        };
        let rules = read_rules(file).map_err(|error| bad(&error))?;
        let explained = explaining::explain(&rules, question).map_err(|error| bad(&error))?;
        let says = (1..).zip(&explained.rules).map(|(rule, says)| json!({"rule": rule, "says": says}));
        said(&json!({
            "user": explained.user, "action": explained.action, "map": question.map,
            "outcome": explained.outcome, "rules": says.collect::<Vec<_>>(), "note": null,
        }))
    }
}

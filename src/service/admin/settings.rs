//! Settings: what they are, where they come from, and changing those that are hot.
//!
//! A change is read as the flag is, by the same code, so that whatever a flag may not be, and whatever does not go together, is refused
//! here, too. Only hot fields of the outcome are taken over.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::answer::{Answer, Refusal};
use super::fields::{bad, said};
use super::shards::{Shards, unavailable};
use crate::config::Config;
use crate::handover::inspection::Inquiry;
use crate::io::{host, log};

const LOG_LEVEL: &str = "log-level";

/// Takes one field over.
type Take = fn(&Config, &mut Config);

/// What can be changed while the server runs; `docs/admin.md` says what each counts for.
const HOT: [(&str, Take); 27] = [
    ("max-connections", |from, to| to.connections_max = from.connections_max),
    ("max-connections-per-ip", |from, to| to.connections_per_ip_max = from.connections_per_ip_max),
    ("max-connections-per-user", |from, to| to.connections_per_user_max = from.connections_per_user_max),
    ("accept-rate", |from, to| to.accepts_per_second_max = from.accepts_per_second_max),
    ("max-handshakes", |from, to| to.handshakes_max = from.handshakes_max),
    ("max-messages-per-second", |from, to| to.messages_per_second_max = from.messages_per_second_max),
    ("max-messages-per-minute", |from, to| to.messages_per_minute_max = from.messages_per_minute_max),
    ("max-bad-messages", |from, to| to.bad_messages_max = from.bad_messages_max),
    ("max-subscriptions", |from, to| to.subscriptions_max = from.subscriptions_max),
    ("max-value-bytes", |from, to| to.value_bytes_max = from.value_bytes_max),
    ("max-query-results", |from, to| to.query_results_max = from.query_results_max),
    ("max-presence-bytes", |from, to| to.presence_bytes_max = from.presence_bytes_max),
    ("connection-rates", |from, to| to.connection_rates = from.connection_rates),
    ("user-rates", |from, to| to.user_rates = from.user_rates),
    ("address-rates", |from, to| to.address_rates = from.address_rates),
    ("heartbeat-ms", |from, to| to.heartbeat_ms = from.heartbeat_ms),
    ("coalesce-delay-us", |from, to| to.coalesce.delay_us = from.coalesce.delay_us),
    ("coalesce-max-bytes", |from, to| to.coalesce.bytes_max = from.coalesce.bytes_max),
    ("coalesce-max-frames", |from, to| to.coalesce.frames_max = from.coalesce.frames_max),
    ("outbox-soft-bytes", |from, to| to.outbox_soft_bytes = from.outbox_soft_bytes),
    ("outbox-hard-bytes", |from, to| to.outbox_hard_bytes = from.outbox_hard_bytes),
    ("min-drain-bytes-per-second", |from, to| {
        to.drain_bytes_per_second_min = from.drain_bytes_per_second_min
    }),
    ("ack-timeout-ms", |from, to| to.ack_timeout_ms = from.ack_timeout_ms),
    ("drain-lead-ms", |from, to| to.drain_lead_ms = from.drain_lead_ms),
    ("drain-ms", |from, to| to.drain_ms = from.drain_ms),
    ("slow-turn-ms", |from, to| to.slow_turn_ms = from.slow_turn_ms),
    ("memory-soft", |from, to| to.memory_soft_bytes = from.memory_soft_bytes),
];

/// A setting as it was at the start.
#[derive(Clone, Debug)]
pub struct Setting {
    /// As the flag is called, without `--`.
    pub name: String,
    pub value: Value,
    /// `default`, `flag`, `variable` or `file`.
    pub source: &'static str,
}

/// What comes of the flags of the start with some others.
pub struct Read {
    pub config: Config,
    /// All settings by name.
    pub values: BTreeMap<String, Value>,
}

/// Reads them: names and values as on a command line.
type Again = dyn Fn(&[(String, String)]) -> Result<Read, String> + Send + Sync;

/// What the command line has said, and how to read it again.
#[derive(Clone)]
pub struct FromFlags {
    pub settings: Vec<Setting>,
    pub again: Arc<Again>,
}

impl fmt::Debug for FromFlags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FromFlags").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    value: &'a Value,
    source: &'static str,
    is_hot: bool,
    was: Option<&'a Value>,
}

struct State {
    config: Arc<Config>,
    changed: BTreeMap<String, Value>,
}

/// See the module.
pub struct Settings {
    from_flags: Option<FromFlags>,
    state: Mutex<State>,
}

impl Settings {
    pub fn new(from_flags: Option<FromFlags>, config: Arc<Config>) -> Self {
        Self { from_flags, state: Mutex::new(State { config, changed: BTreeMap::new() }) }
    }

    /// What counts now.
    pub async fn config(&self) -> Arc<Config> {
        Arc::clone(&self.state.lock().await.config)
    }

    /// `GET /admin/settings`.
    pub async fn page(&self) -> Answer {
        let state = self.state.lock().await;
        let all = self.from_flags.iter().flat_map(|flags| &flags.settings);
        let shown = |setting| shown(setting, &state.changed);
        said(&serde_json::json!({ "settings": all.map(shown).collect::<Vec<_>>() }))
    }

    /// `POST /admin/settings`: all of it, or nothing. `null` takes a change back.
    ///
    /// # Errors
    /// What cannot be changed, or not to that.
    pub async fn change(&self, shards: &Shards, wanted: BTreeMap<String, Value>) -> Result<(), Refusal> {
        let none = || unavailable("this server was not started by a command line");
        let flags = self.from_flags.as_ref().ok_or_else(none)?;
        let mut state = self.state.lock().await;
        let mut changed = state.changed.clone();
        for (name, value) in wanted {
            if !flags.settings.iter().any(|setting| setting.name == name) {
                return Err(bad("bad_request", &format!("there is no setting {name:?}")));
            }
            if !is_hot(&name) {
                let message = format!("{name} is not hot: change the flag and restart");
                return Err(bad("bad_request", &message));
            }
            match value {
                Value::Null => drop(changed.remove(&name)),
                Value::Array(_) | Value::Object(_) => {
                    return Err(bad("bad_request", &format!("{name} is a number or a text")));
                }
                value => drop(changed.insert(name, value)),
            }
        }
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let given: Vec<(String, String)> =
            changed.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let read = (flags.again)(&given).map_err(|error| bad("bad_request", &error))?;
        let mut config = (*state.config).clone();
        HOT.iter().for_each(|(_, take)| take(&read.config, &mut config));
        // As at the start: a socket is a descriptor.
        let (files, count) = (host::open_files(), shards.count());
        config.connections_max = config.connections_max.min(host::connections_possible(files, count));
        let possible = host::handshakes_possible(files, count, config.connections_max);
        config.handshakes_max = config.handshakes_max.min(possible);
        // As they are understood, such as 65536 for "64KiB".
        for (name, value) in &mut changed {
            if let Some(understood) = read.values.get(name) {
                value.clone_from(understood);
            }
        }
        let level = |changed: &BTreeMap<String, Value>| changed.get(LOG_LEVEL).cloned();
        if level(&changed) != level(&state.changed) {
            let filter = read.values.get(LOG_LEVEL).and_then(Value::as_str).unwrap_or("info");
            log::follow(filter).map_err(|error| bad("bad_request", &error))?;
        }
        let config = Arc::new(config);
        shards.ask_all(|| Inquiry::Configure(Arc::clone(&config))).await?;
        (state.config, state.changed) = (config, changed);
        Ok(())
    }
}

fn is_hot(name: &str) -> bool {
    name == LOG_LEVEL || HOT.iter().any(|(hot, _)| *hot == name)
}

fn shown<'a>(setting: &'a Setting, changed: &'a BTreeMap<String, Value>) -> Shown<'a> {
    let Setting { name, value, source } = setting;
    let is_hot = is_hot(name);
    match changed.get(name) {
        Some(now) => Shown { name, value: now, source: "changed", is_hot, was: Some(value) },
        None => Shown { name, value, source, is_hot, was: None },
    }
}

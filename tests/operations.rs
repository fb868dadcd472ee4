//! What whoever runs the server does with it: restarts and upgrades it under a service manager, and watches it.
//!
//! Method: there is no systemd here, so `operations/manager.rs` is as much of one as the protocol needs: a socket that is told
//! (sd_notify(3)), that keeps the descriptors it is sent, and starts the built command with them (sd_listen_fds(3)). What is said of
//! units, rules and names is checked by the tools that read them: systemd-analyze, promtool, prometheus.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests wait for a real server in real time")]
#![allow(clippy::disallowed_types, reason = "what shards must not use, a test may")]

#[path = "operations/dashboard.rs"]
mod dashboard;
#[path = "operations/fleet.rs"]
mod fleet;
#[path = "operations/manager.rs"]
mod manager;
#[path = "operations/restarts.rs"]
mod restarts;
#[path = "operations/units.rs"]
mod units;
#[path = "operations/upgrades.rs"]
mod upgrades;
#[path = "operations/watchdog.rs"]
mod watchdog;
#[path = "operations/watching.rs"]
mod watching;

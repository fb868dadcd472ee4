//! The client in TypeScript (`clients/js`) against the built server, and its package against what bundlers and
//! runtimes ask of one.
//!
//! Method: its tests are vitest's, in `clients/js/*/test`. They start the server, and end it, as often as they need.
//! Those of the page, of the console, of the examples and of what they use run in Chromium. `scripts/setup` installs it, node, and the packages that
//! `package-lock.json` names.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests wait for a real server in real time")]

#[path = "node_run/mod.rs"]
mod node_run;

use std::time::Duration;

/// How long a script may take. A test that waits in vain gives up sooner.
const PATIENCE: Duration = Duration::from_secs(1200);

#[test]
fn the_client_passes_its_tests_on_this_server() {
    run("test");
}

#[test]
fn the_package_is_formatted_typed_and_complete() {
    run("build");
    run("check");
}

/// Runs a script of `clients/js/package.json`.
fn run(script: &str) {
    node_run::run("npm", &["run", script], "clients/js", PATIENCE);
}

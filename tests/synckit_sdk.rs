//! SyncKit's own SDK, as the npm registry has it, against the built server.
//!
//! Method: `tests/synckit_sdk/` holds the cases, for node's own test runner. They start the server, and end it, as
//! often as they need. `scripts/setup` installs node and the packages that `package-lock.json` names; `react` is
//! among them because the SDK imports it even where it is not used.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests wait for a real server in real time")]

#[path = "node_run/mod.rs"]
mod node_run;

use std::time::Duration;

/// How long all cases of a file may take together. One that waits in vain gives up sooner.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn documents_are_edited_by_many() {
    run("documents.test.mjs");
}

#[test]
fn broken_connections_and_restarts_lose_nothing() {
    run("reconnecting.test.mjs");
}

#[test]
fn clients_show_tokens() {
    run("tokens.test.mjs");
}

#[test]
fn both_generations_of_the_sdk_share_a_document() {
    run("newer_sdk.test.mjs");
}

/// Runs the cases of one file.
fn run(file: &str) {
    node_run::run("node", &["--test", "--test-reporter=spec", file], "tests/synckit_sdk", PATIENCE);
}

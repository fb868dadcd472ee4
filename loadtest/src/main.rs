//! The load generator of Annulus: an independent client that knows the protocol, not the server's code.
//!
//! One pinned thread drives all connections over io_uring, checks every byte it is sent, and prints what an
//! operation costs the server. See `--help`.
//!
//! Imports point down this order, and what stands in one pair of braces does not import each other; `tests/layers.rs`
//! reads it here and holds it.
//!
//! ```text
//! main → session → args → scenario → rig → { bench, options, priority } → floor → drive → window → { server, tally } → { fleet, disk, cpu, streams } → { dialect, ring } → { message, clock, polling, frame, resp, report, tls } → { ack, json, value } → failure
//! ```

mod ack;
mod args;
mod bench;
mod clock;
mod cpu;
mod dialect;
mod disk;
mod drive;
mod failure;
mod fleet;
mod floor;
mod frame;
mod json;
mod message;
mod options;
mod polling;
mod priority;
mod report;
mod resp;
mod rig;
mod ring;
mod scenario;
mod server;
mod session;
mod streams;
mod tally;
mod tls;
mod value;
mod window;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

use args::Arguments;
use failure::Failure;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Something was lost, sent twice, out of order or wrong; the same as in the server for "while running".
const EXIT_FAILED: u8 = 1;
/// The arguments do not fit this machine.
const EXIT_SETUP: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match session::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            streams::say(&format!("\nFAILED {failure}\n"));
            ExitCode::from(if matches!(failure, Failure::Setup(_)) { EXIT_SETUP } else { EXIT_FAILED })
        }
    }
}

//! `peers`: the load of `fanout` in channels, on `ws` and on Socket.IO with Node, and on this server, one after the other on
//! the same core. The programs are in `loadtest/peers/`; `scripts/compare-node` installs what they import.
//!
//! `ws` is spoken to in the dialect of channels: its program answers as this server does. Socket.IO is spoken to as its own
//! client does (`dialect/socketio.rs`), with the same data in each message.
//!
//! Checked: each of them as in `fanout`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::fanout::{self, FanoutOptions};
use super::fanout_checks::WINDOW_MAX;
use super::write::value_bytes;
use crate::ack::AckLevel;
use crate::bench::Bench;
use crate::dialect::{Dialect, DialectOptions};
use crate::failure::Failure;
use crate::fleet::Target;
use crate::report::figures::Outcome;
use crate::rig::{Rig, Run};
use crate::server::node;
use crate::server::process::with_server_output;

#[derive(Clone, Debug, clap::Args)]
pub struct PeersOptions {
    /// Who is compared with
    #[arg(long, value_name = "PEERS", default_value = "ws,socket.io", value_delimiter = ',')]
    pub peers: Vec<Peer>,
    /// Connections that are in the channel; one more publishes
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers: u32,
    /// Messages in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=WINDOW_MAX))]
    pub window: u64,
    /// Bytes of one value as JSON text
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub value_bytes: usize,
    /// Folder with the peers' programs and their node_modules
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub peers_dir: PathBuf,
    /// Node to run them with
    #[arg(long, value_name = "FILE", default_value = "node")]
    pub node_bin: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    Ws,
    #[value(name = "socket.io")]
    SocketIo,
}

impl Peer {
    fn program(self) -> &'static str {
        match self {
            Self::Ws => "ws.mjs",
            Self::SocketIo => "socket.io.mjs",
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Self::Ws => Dialect::Channels,
            Self::SocketIo => Dialect::SocketIo,
        }
    }

    /// On the page, and in the names of figures.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Ws => ("ws on Node", "ws"),
            Self::SocketIo => ("Socket.IO on Node", "socket_io"),
        }
    }
}

/// The peers first and this server last, whichever of them ran first: that takes turns.
///
/// # Errors
/// What went wrong on the wire.
pub fn run(rig: &Rig<'_>, options: &PeersOptions, run: &Run) -> Result<Vec<Outcome>, Failure> {
    let peers = || -> Result<Vec<Outcome>, Failure> {
        options.peers.iter().map(|&peer| run_peer(rig, options, run, peer)).collect()
    };
    let (mut outcomes, mut own) = if run.reversed {
        let own = run_own(rig, options, run)?;
        (peers()?, own)
    } else {
        (peers()?, run_own(rig, options, run)?)
    };
    for (peer, outcome) in options.peers.iter().zip(&outcomes) {
        own.figures.set_ratios(peer.names().1, &outcome.figures);
    }
    outcomes.push(own);
    Ok(outcomes)
}

fn run_own(rig: &Rig<'_>, options: &PeersOptions, run: &Run) -> Result<Outcome, Failure> {
    let data = rig.data_dir(false)?;
    let mut server = (!rig.is_remote()).then(|| rig.start_server(data.as_ref(), &[])).transpose()?;
    let bench = rig.bench(server.as_ref(), None, run)?;
    measure(&bench, options, Dialect::Channels, "this server")
        .map_err(|failure| with_server_output(failure, server.as_mut()))
}

fn run_peer(rig: &Rig<'_>, options: &PeersOptions, run: &Run, peer: Peer) -> Result<Outcome, Failure> {
    let launch =
        node::Launch { binary: &options.node_bin, folder: &options.peers_dir, program: peer.program() };
    let mut server = rig.start_alone(|| launch.start())?;
    let bench = rig.bench_at(Target::loopback(server.address), Some(server.pid()), None, run);
    measure(&bench, options, peer.dialect(), peer.names().0)
        .map_err(|failure| with_server_output(failure, Some(&mut server)))
}

fn measure(bench: &Bench, options: &PeersOptions, dialect: Dialect, name: &str) -> Result<Outcome, Failure> {
    let same = FanoutOptions {
        publishers: 1,
        subscribers: options.subscribers,
        window: options.window,
        value_bytes: options.value_bytes,
        ack: AckLevel::default(),
        dialects: DialectOptions { dialect: vec![dialect] },
        any_order: false,
    };
    let mut outcome = fanout::run(bench, &same)?.remove(0);
    let shape = outcome.title.split_once("   ").map_or("", |(_, shape)| shape);
    outcome.title = format!("{name}   {shape}");
    Ok(outcome)
}

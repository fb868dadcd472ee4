//! The command line. Its help is the manual: it says what each scenario measures and what to read off.

use clap::{Args, Parser, Subcommand};

use crate::ack::AckLevel;
use crate::options::Options;
use crate::scenario::bigger::BiggerOptions;
use crate::scenario::direct::DirectOptions;
use crate::scenario::fanout::FanoutOptions;
use crate::scenario::idle::IdleOptions;
use crate::scenario::mixed::MixedOptions;
use crate::scenario::neighbours::NeighboursOptions;
use crate::scenario::peers::PeersOptions;
use crate::scenario::ping::PingOptions;
use crate::scenario::presence::PresenceOptions;
use crate::scenario::queries::QueriesOptions;
use crate::scenario::redis::RedisOptions;
use crate::scenario::shared::SharedOptions;
use crate::scenario::snapshot::SnapshotOptions;
use crate::scenario::start::StartOptions;
use crate::scenario::storm::StormOptions;
use crate::scenario::write::WriteOptions;

/// The load generator of Annulus: drives a server, checks every answer, and says what an operation costs
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 110, after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(subcommand)]
    pub scenario: Option<ScenarioChoice>,

    #[command(flatten)]
    pub options: Options,
}

const AFTER_HELP: &str = "\
Without a scenario, the canonical workload runs and prints one page: ping, write, fan-out with windows 1 and 16. \
Without --url, every run has a server of its own, started on a free port and pinned to --server-core.

What each scenario measures, and what it fails on:
  ping      the round trip of one ping at a time per connection;
            fails on a pong that is not the one asked for
  write     the cost of a merged operation, each on a new key;
            fails on an ack or a key that is missing or doubled, or an ack weaker than was asked
  fanout    the cost of one change at one subscriber;
            fails on a change that is missing, doubled, wrong or out of order
  shared    the time from a write to every screen, when everybody writes to one map and watches it;
            fails on a change as fanout does
  presence  the cost of one state of a member at another's screen, beside the same over a map, and the time to every
            screen; with --join-burst the time until thousands who join and drop at once are counted right, and pings beside;
            fails on a state that is missing, doubled, wrong or out of order, on a wrong count, and on members that stay
  queries   the cost of a change of a map that many live queries look at, and the time to the screens that show it; before
            it the time to the first result of a query; pings beside both;
            fails on a list that is not what its query shows, and on a step that does not fit
  direct    the time until users who come back have the messages that have waited, and from sending one to a user who is
            there; fails on a message that is missing, doubled, wrong or out of order, or comes again once acknowledged
  mixed     reads among edits, and the time from an edit to its delivery;
            fails on a stale read, and on deliveries as fanout does
  idle      the server's memory per connection that does nothing;
            fails on a connection that no longer answers
  storm     the time until all clients that dropped at once are in sync again;
            fails on a client that does not end with the last acked values; with --channels on a message that is missing,
            doubled, wrong or out of order, and on one who is not told that it has recovered
  snapshot  the delay, at p99, of pings while a large map is sent whole to another client;
            fails on a key that is missing, doubled or wrong
  neighbours  the delay of an ordinary client beside one heavy or hostile client at a time, and the server's memory;
            fails, with --check, on a row in which p99 is later by more than 5 ms or memory above what is stored by more
            than 64 MiB, and on one whose server is gone or answers nobody
  start     the time from starting a server with many durable keys to its first answer, after a kill and a stop;
            fails on a key or digest that is not as it was acked
  bigger    the pace of writing and reading a data set many times the server's memory limit;
            fails on a key that is missing or wrong
  redis     the same writes to Redis, as durable as it can be, and to this server, one after the other;
            fails on either as write does
  peers     the same messages over channels of ws and of Socket.IO on Node, and of this server, one after the other;
            fails on each as fanout does (scripts/compare-node installs what it needs)
  floor     what the kernel alone costs for messages of that size; nothing is parsed

How to read the page:
- The cost of an operation is `µs/op` of server CPU. `user` is the part outside the kernel; the kernel samples it, so \
it takes seconds to mean something, and after less than 0.2 s of CPU it is n/a.
- `of the floor` compares with a bare io_uring server that moves the same bytes on the same core without looking at \
them: 100 % is what the kernel allows.
- The load thread polls, unless it shares a core with the server, as waking a sleeping client costs the server what \
no client on another host would; its CPU is shown without the time it found nothing.
- `of maps` compares presence with the same states under the keys of a map; `of ws` and `of Socket.IO` this server's channels \
with theirs.
- `of native` compares another dialect with the native one on the same server; with several --runs they take turns in \
which is first. In SyncKit who writes is sent its own changes, too.
- `of the disk` compares acks that are durable with what the disk itself takes for an append and a sync, measured just \
before, alone; its file system is that of the data directory, or --disk-probe.
- The CPU of a server is that of all its threads and children, on whatever core; not that of the kernel's own threads, \
which write what a file system has promised.
- Throughput is the server's only if its CPU is near 100 %. A WARNING says when the load was the bottleneck.

Exit code:
  0  everything was checked and right
  1  something was lost, sent twice, out of order, wrong, refused or closed
  2  it could not run: arguments, address, cores

Examples:
  loadtest
  loadtest fanout --subscribers 1000 --window 16 --runs 5
  loadtest fanout --dialect native,synckit,channels --runs 5
  loadtest shared --dialect synckit --connections 1000
  loadtest write --rate 200000 --url ws://127.0.0.1:9000/v1
  loadtest write --runs 5 --warm-memory 3GiB
  loadtest write --ack memory,durable --runs 5
  loadtest start --keys 1000000 --data-parent /srv/scratch
  loadtest fanout --any-order --server-args='--cores 0,1'
  loadtest presence --members 1000 --runs 5
  loadtest presence --told count --rooms 10 --members 5000 --everywhere
  loadtest presence --join-burst 10000
  loadtest queries --queries 1000 --entries 100000 --rate 10000
  loadtest direct --messages 100000 --users 1000
  loadtest storm --channels
  loadtest peers --window 16 --runs 5
  loadtest idle --connections 15000 --json idle.json";

#[derive(Clone, Debug, Subcommand)]
pub enum ScenarioChoice {
    /// Round trips: a closed loop of ping and pong
    Ping(PingOptions),
    /// Acked batches of unique keys, closed loop, or open loop with --rate
    Write(WriteOptions),
    /// One map, its publishers and its subscribers: the cost of a delivery
    Fanout(FanoutOptions),
    /// One map, everybody writes to it and watches it: the time from a write to every screen
    Shared(SharedOptions),
    /// Members of rooms, each told of the others: the cost of a delivery beside that of a map, and a burst of joins
    Presence(PresenceOptions),
    /// Live queries of one large map: first results, and changes on many lists
    Queries(QueriesOptions),
    /// Direct messages: queued for users who are away and come back, and to users who are there
    Direct(DirectOptions),
    /// Rooms of clients that read, edit and watch
    Mixed(MixedOptions),
    /// Many silent connections: memory of each
    Idle(IdleOptions),
    /// All clients drop at once and resume with their cursors: time until all are in sync
    Storm(StormOptions),
    /// A large map sent whole to one client: what it delays another one's pings by
    Snapshot(SnapshotOptions),
    /// An ordinary client beside one heavy or hostile client after the other: what it suffers, and what the server holds
    Neighbours(NeighboursOptions),
    /// Starts on many durable keys, after a kill and after a stop: time to the first answer, and to a lazy snapshot
    Start(StartOptions),
    /// Many times more data than memory: writes everything, then reads everything
    Bigger(BiggerOptions),
    /// Redis, and the same load on this server with durable acks
    Redis(RedisOptions),
    /// ws and Socket.IO on Node, and the same load on channels of this server: the cost of a delivery
    Peers(PeersOptions),
    /// The floor alone, for a shape given in bytes; needs no server
    Floor(FloorOptions),
}

impl ScenarioChoice {
    /// Whether some of it is acked as durable and timed, so that the disk is measured before it.
    pub fn is_durable(&self) -> bool {
        match self {
            Self::Write(options) => options.ack.contains(&AckLevel::Durable),
            _ => false,
        }
    }

    /// Whether the server needs a disk for it.
    pub fn needs_disk(&self) -> bool {
        match self {
            Self::Fanout(options) => options.ack == AckLevel::Durable,
            Self::Mixed(options) => options.ack == AckLevel::Durable,
            Self::Start(_) | Self::Bigger(_) | Self::Redis(_) => true,
            _ => self.is_durable(),
        }
    }

    /// What a server of ours is told beyond where it listens and keeps its data.
    pub fn server_arguments(&self) -> Vec<String> {
        match self {
            Self::Bigger(options) => options.server_arguments(),
            Self::Presence(options) => options.server_arguments(),
            _ => Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Args)]
pub struct FloorOptions {
    /// Echo: connections with one request in flight each
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Bytes of a request, or of a publish
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub request_bytes: u32,
    /// Bytes of an answer
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub reply_bytes: u32,
    /// Fan-out instead of echo: connections that get every publish
    #[arg(long, default_value_t = 0)]
    pub subscribers: u32,
    /// Fan-out: publishes in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub window: u64,
    /// Fan-out: bytes of a delivery
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub delivery_bytes: u32,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definitions_of_the_command_line_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_says_what_each_scenario_measures() {
        for scenario in Arguments::command().get_subcommands().filter(|one| one.get_name() != "help") {
            let line = format!("\n  {:<10}", scenario.get_name());
            assert!(AFTER_HELP.contains(&line), "{line:?} is not explained");
        }
    }

    #[test]
    fn common_flags_may_follow_the_scenario() {
        let arguments =
            Arguments::try_parse_from(["loadtest", "ping", "--url", "ws://h:1", "--seconds", "2"]).unwrap();
        assert_eq!(arguments.options.server.url.as_deref(), Some("ws://h:1"));
        assert_eq!(arguments.options.duration.seconds, 2.0);
    }
}

//! What a shard counts about itself: plain numbers, owned by one thread, summed only when somebody asks.
//!
//! Invariant: a counter never goes down; a gauge is what is there now. Nothing here locks, nothing allocates after
//! [`Metrics::default`], and all labels are words and numbers of ours: no peer can make a series.

mod admin;
mod closes;
mod desk;
mod exposition;
mod hooks;
mod latency;
mod ops;
mod page;
mod process;
mod render;
mod storage;
mod tls;

pub use admin::AdminMetrics;
pub use desk::{CREDENTIALS_REFUSED, DeskMetrics};
pub use hooks::HookMetrics;
pub use latency::Latency;
pub use ops::{OpKind, OpOutcome, RateOf, Refusal};
pub use page::Page;
pub use process::ProcessMetrics;
pub use storage::{Counter, Gauge, StorageMetrics};
pub use tls::{TlsFailure, TlsVersion, render_tls_reloads};

use closes::Closes;
use ops::Table;
use tls::Tls;

/// Declares the plain counters and gauges once: the docstring is also the `# HELP` text, and the field is
/// summed and rendered without being named again.
macro_rules! metrics {
    (
        counters { $(#[doc = $counter_help:literal] $counter:ident => $counter_name:literal,)* }
        gauges { $(#[doc = $gauge_help:literal] $gauge:ident => $gauge_name:literal,)* }
    ) => {
        /// Everything one shard counts. A scrape clones it, adds the shards up and renders the sum.
        #[derive(Clone, Debug, Default)]
        pub struct Metrics {
            $(#[doc = $counter_help] pub $counter: u64,)*
            $(#[doc = $gauge_help] pub $gauge: u64,)*
            /// Nanoseconds from the first completion of a turn to its end.
            pub turn_ns: Latency,
            /// Nanoseconds from the receipt of a request to its answer being queued.
            pub op_ns: Latency,
            /// Nanoseconds from the first use of a map that is not in memory until it is.
            pub load_ns: Latency,
            refusals: Table<{ Refusal::ALL.len() }, 1>,
            rate_limited: Table<{ RateOf::ALL.len() }, 1>,
            ops: Table<{ OpKind::ALL.len() }, { OpOutcome::ALL.len() }>,
            closes: Closes,
            tls: Tls,
        }

        impl Metrics {
            fn add_plain(&mut self, other: &Self) {
                $(self.$counter += other.$counter;)*
                $(self.$gauge += other.$gauge;)*
            }

            /// Name, help text and value of every plain counter.
            fn counters(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$(($counter_name, $counter_help, self.$counter),)*].into_iter()
            }

            /// Name, help text and value of every plain gauge.
            fn gauges(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$(($gauge_name, $gauge_help, self.$gauge),)*].into_iter()
            }
        }
    };
}

metrics! {
    counters {
        /// Connections accepted, whatever became of them: WebSockets, pages of plain HTTP, those that were turned away.
        accepts => "annulus_accepts_total",
        /// Connections that became neither a WebSocket nor a page: answered with an HTTP error, or silent too long.
        handshakes_refused => "annulus_handshakes_refused_total",
        /// Headers of the PROXY protocol that trusted proxies have sent.
        proxy_headers => "annulus_proxy_headers_total",
        /// Connections of trusted proxies that began without such a header and had to, or with a wrong one.
        proxy_headers_refused => "annulus_proxy_headers_refused_total",
        /// WebSocket messages received; pings, pongs and closes are none.
        messages_received => "annulus_messages_received_total",
        /// WebSocket messages sent, without pings, pongs, closes and HTTP; what one change makes for a client counts once.
        messages_sent => "annulus_messages_sent_total",
        /// Bytes received from sockets, HTTP included.
        bytes_received => "annulus_bytes_received_total",
        /// Bytes the kernel took from us, HTTP included.
        bytes_sent => "annulus_bytes_sent_total",
        /// Connections that became WebSockets, also those that were then told to come back later.
        handshakes => "annulus_handshakes_total",
        /// Requests answered with an error.
        requests_rejected => "annulus_requests_rejected_total",
        /// Tokens and API keys that were not believed.
        auth_refused => "annulus_auth_refused_total",
        /// Bytes made for answers to reads, as text at most.
        read_bytes => "annulus_read_bytes_total",
        /// Times a connection was not read because this shard or the connection had too much under way.
        reads_paused => "annulus_reads_paused_total",
        /// Writes whose connection was read later for them, as the journal nears --journal-max-bytes.
        writes_slowed => "annulus_writes_slowed_total",
        /// Writes that were divided over several turns, as one had no more work for them.
        writes_divided => "annulus_writes_divided_total",
        /// Messages that were not JSON objects.
        bad_messages => "annulus_bad_messages_total",
        /// Events for the application that were dropped, as the thread of the hooks had no room for them.
        hooks_dropped => "annulus_hooks_dropped_total",
        /// Changes accepted by the owner of their key.
        changes => "annulus_changes_total",
        /// Entries handed to subscribers.
        deliveries => "annulus_deliveries_total",
        /// Snapshots begun.
        snapshots => "annulus_snapshots_total",
        /// Entries sent in snapshots and while catching up.
        snapshot_entries => "annulus_snapshot_entries_total",
        /// Chunks of maps made for subscribers that lack something.
        chunks => "annulus_chunks_total",
        /// Subscriptions that went on from a cursor.
        resumes => "annulus_resumes_total",
        /// Subscriptions whose cursor was of another epoch or too old, so that they began anew.
        resets => "annulus_resets_total",
        /// Send operations completed, HTTP included; annulus_messages_sent_total divided by this: messages per send.
        sends => "annulus_sends_total",
        /// Times a subscriber was over the soft outbound limit and went on with latest states only.
        conflations => "annulus_conflations_total",
        /// Connections closed for being over the hard outbound limit.
        slow_consumers => "annulus_slow_consumers_total",
        /// Envelopes sent to other shards.
        envelopes_sent => "annulus_envelopes_sent_total",
        /// Times a shard stopped taking requests because too much waited for another shard.
        mesh_stalls => "annulus_mesh_stalls_total",
        /// Times the completion queue of a ring was full, so that the kernel kept completions back, or dropped them.
        ring_overflows => "annulus_ring_overflows_total",
        /// Operations of a ring that the kernel refused or failed for want of something of its own, and that were tried again.
        ring_failures => "annulus_ring_failures_total",
        /// Times reading paused because no receive buffer was free.
        buffer_shortages => "annulus_buffer_shortages_total",
        /// Cells removed because their time to live was over.
        expirations => "annulus_expirations_total",
        /// Tombstones forgotten after their retention, and removed tags for which there was no room.
        pruned => "annulus_pruned_total",
        /// Conditions of rules that could not be evaluated for a value, which denies.
        rules_undecided => "annulus_rules_undecided_total",
        /// Writes acknowledged as durable.
        durable_acks => "annulus_durable_acks_total",
        /// Parts of maps that a shard has begun to load; a map counts once for each shard.
        loads => "annulus_map_loads_total",
        /// Loads that failed; they are tried again while anybody waits.
        loads_failed => "annulus_map_loads_failed_total",
        /// Parts of maps that were evicted; a map counts once for each shard.
        evictions => "annulus_map_evictions_total",
        /// Times a member of a room was set or removed.
        presence_changes => "annulus_presence_changes_total",
        /// Changes of members handed to watchers of their rooms.
        presence_deliveries => "annulus_presence_deliveries_total",
        /// Times a watcher was over the soft outbound limit and was sent all members once it had drained.
        presence_conflations => "annulus_presence_conflations_total",
        /// Members that have come into a room over /v1: the first connection of a user there, or one of nobody in particular.
        presence_joined => "annulus_presence_joined_total",
        /// Members that are gone from there: with their last connection, and its grace.
        presence_left => "annulus_presence_left_total",
        /// Times a room has told over /v1 who is in it, or how many.
        presence_ticks => "annulus_presence_ticks_total",
        /// Messages published that nobody keeps.
        publishes => "annulus_publishes_total",
        /// Such messages handed to subscribers.
        publish_deliveries => "annulus_publish_deliveries_total",
        /// Such messages that a subscriber missed because it was over the soft outbound limit.
        publishes_missed => "annulus_publishes_missed_total",
        /// Messages of channels that were given an offset.
        channel_publishes => "annulus_channel_publishes_total",
        /// Such messages handed to members as they were published.
        channel_deliveries => "annulus_channel_deliveries_total",
        /// Such messages handed to who has joined with since, as it had missed them.
        channel_recovered => "annulus_channel_recovered_total",
        /// Such messages that a member missed because it was over the soft outbound limit; it is told which.
        channel_missed => "annulus_channel_missed_total",
        /// Times a member was told that it had missed messages.
        channel_gaps => "annulus_channel_gaps_total",
        /// Direct messages that clients have sent, to a user or to many.
        directs_sent => "annulus_direct_sends_total",
        /// Direct messages to a user that were refused.
        directs_refused => "annulus_direct_refused_total",
        /// Direct messages handed to connections of users.
        direct_deliveries => "annulus_direct_deliveries_total",
        /// Times a connection over the soft outbound limit was sent direct messages later, once it had drained.
        directs_delayed => "annulus_direct_delays_total",
        /// Direct messages to many that a connection missed because it was over the soft outbound limit.
        directs_missed => "annulus_direct_missed_total",
        /// Direct messages that a limit of the queue of their user has cost before it had acknowledged them.
        directs_dropped => "annulus_direct_dropped_total",
        /// Turns of the shards.
        turns => "annulus_turns_total",
        /// Turns that took longer than --slow-turn-ms.
        slow_turns => "annulus_slow_turns_total",
        /// Errors that clients have told of.
        client_errors => "annulus_client_errors_total",
    }
    gauges {
        /// WebSockets open.
        connections => "annulus_connections",
        /// Sockets held, as --max-connections counts: WebSockets, handshakes, what is closing, and the one that asks this.
        sockets => "annulus_sockets",
        /// Users who have said who they are and have connections.
        users => "annulus_users",
        /// Connections of users who have said who they are.
        user_connections => "annulus_user_connections",
        /// Subscriptions held.
        subscriptions => "annulus_subscriptions",
        /// Rooms with members of clients of SyncKit.
        presence_rooms => "annulus_presence_rooms",
        /// Members of these.
        presence_members => "annulus_presence_members",
        /// Rooms with members over /v1.
        presence_user_rooms => "annulus_presence_user_rooms",
        /// Members of rooms over /v1.
        presence_user_members => "annulus_presence_user_members",
        /// Watches of rooms.
        presence_watches => "annulus_presence_watches",
        /// Channels with members or a history.
        channels => "annulus_channels",
        /// Connections in channels, each once for each channel.
        channel_members => "annulus_channel_members",
        /// Messages that channels keep.
        channel_messages => "annulus_channel_messages",
        /// Bytes of what channels keep, and of their names.
        channel_bytes => "annulus_channel_bytes",
        /// Direct messages that are kept until their users acknowledge them.
        directs_queued => "annulus_direct_queued",
        /// Bytes of these, and of the names of users who are blocked.
        direct_bytes => "annulus_direct_bytes",
        /// Maps held; a map counts once for each shard that owns cells of it.
        maps => "annulus_maps",
        /// Maps held by the shard that decides their type, so that each counts once.
        map_names => "annulus_map_names",
        /// Cells held, tombstones included.
        cells => "annulus_cells",
        /// Bytes that maps take in memory, without what the allocator adds.
        resident_bytes => "annulus_map_resident_bytes",
        /// Bytes of records that shards have made and that are not durable.
        journal_pending_bytes => "annulus_journal_pending_bytes",
        /// Bytes waiting in outboxes.
        outbox_bytes => "annulus_outbox_bytes",
        /// Bytes of memory that outboxes hold: frames that many share once, and a send that is under way whole.
        outbox_held_bytes => "annulus_outbox_held_bytes",
        /// Bytes of names and states of members, and once more of names at the connections that have set them.
        presence_bytes => "annulus_presence_bytes",
        /// Bytes that dialects remember of connections, with messages that have come in part, and what they make for many.
        session_bytes => "annulus_session_bytes",
        /// Bytes of answers that are being gathered.
        answers_bytes => "annulus_answers_bytes",
        /// Bytes that answers to requests under way may take.
        owed_bytes => "annulus_owed_bytes",
        /// Bytes of buffers of connections with TLS: what came in part, and what is being sent.
        tls_bytes => "annulus_tls_bytes",
        /// Bytes of requests that wait for their map or because their shard is congested.
        waiting_request_bytes => "annulus_waiting_request_bytes",
        /// Envelopes waiting for other shards.
        mesh_pending_envelopes => "annulus_mesh_pending_envelopes",
        /// Bytes of the envelopes waiting for other shards.
        mesh_pending_bytes => "annulus_mesh_pending_bytes",
    }
}

impl Metrics {
    /// Counts a client that was turned away.
    pub fn count_refusal(&mut self, refusal: Refusal) {
        self.refusals.add_one(refusal as usize, 0);
    }

    /// Counts a message that was refused for a rate.
    pub fn count_rate_limited(&mut self, of: RateOf) {
        self.rate_limited.add_one(of as usize, 0);
    }

    /// Counts one operation on one key.
    pub fn count_op(&mut self, kind: OpKind, outcome: OpOutcome) {
        self.ops.add_one(kind as usize, outcome as usize);
    }

    /// Counts a WebSocket that the server ended with `code`; 1006 stands for one that ended without a close frame.
    pub fn count_close(&mut self, code: u16) {
        self.closes.add_one(code);
    }

    /// Counts a WebSocket that its peer ended with a `code` of its choice.
    pub fn count_close_of_peer(&mut self, code: u16) {
        self.closes.add_one_of_peer(code);
    }

    /// Counts a handshake of TLS that came to its end.
    pub fn count_tls_handshake(&mut self, version: TlsVersion, is_resumed: bool) {
        self.tls.count_handshake(version, is_resumed);
    }

    /// Counts a connection whose TLS came to nothing, or ended badly.
    pub fn count_tls_failure(&mut self, failure: TlsFailure) {
        self.tls.count_failure(failure);
    }

    /// Handshakes of TLS so far of this version.
    pub fn tls_handshakes(&self, version: TlsVersion, is_resumed: bool) -> u64 {
        self.tls.handshakes(version, is_resumed)
    }

    /// Connections so far whose TLS came to nothing for this reason.
    pub fn tls_failures(&self, failure: TlsFailure) -> u64 {
        self.tls.failures(failure)
    }

    /// Connections turned away so far for this reason.
    pub fn refusals(&self, refusal: Refusal) -> u64 {
        self.refusals.count(refusal as usize, 0)
    }

    /// Messages refused so far for a rate of this.
    pub fn rate_limited(&self, of: RateOf) -> u64 {
        self.rate_limited.count(of as usize, 0)
    }

    /// Operations so far of this kind with this outcome.
    pub fn ops(&self, kind: OpKind, outcome: OpOutcome) -> u64 {
        self.ops.count(kind as usize, outcome as usize)
    }

    /// WebSockets that ended with `code` so far; 0 for a code that is counted with others.
    pub fn closes(&self, code: u16) -> u64 {
        self.closes.count(code)
    }

    /// WebSockets that ended so far.
    pub fn closes_total(&self) -> u64 {
        self.closes.total()
    }

    /// Adds what another shard counted: counters, gauges and distributions alike.
    pub fn add(&mut self, other: &Self) {
        self.add_plain(other);
        self.refusals.add(&other.refusals);
        self.rate_limited.add(&other.rate_limited);
        self.ops.add(&other.ops);
        self.closes.add(&other.closes);
        self.tls.add(&other.tls);
        self.turn_ns.add(&other.turn_ns);
        self.op_ns.add(&other.op_ns);
        self.load_ns.add(&other.load_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shard whose every number is `n`, so that a forgotten one shows.
    pub(super) fn uniform(n: u64) -> Metrics {
        let mut metrics = Metrics { accepts: n, cells: n, connections: n, turns: n, ..Metrics::default() };
        for _ in 0..n {
            Refusal::ALL.iter().for_each(|&refusal| metrics.count_refusal(refusal));
            RateOf::ALL.iter().for_each(|&of| metrics.count_rate_limited(of));
            for &kind in &OpKind::ALL {
                OpOutcome::ALL.iter().for_each(|&outcome| metrics.count_op(kind, outcome));
            }
            TlsFailure::ALL.iter().for_each(|&failure| metrics.count_tls_failure(failure));
            for version in TlsVersion::ALL {
                for is_resumed in [false, true] {
                    metrics.count_tls_handshake(version, is_resumed);
                }
            }
            metrics.count_close(1000);
            metrics.turn_ns.record(1_000);
            metrics.op_ns.record(2_000);
        }
        metrics
    }

    #[test]
    fn add_sums_every_part() {
        let mut sum = uniform(2);
        sum.add(&uniform(3));
        assert_eq!((sum.accepts, sum.cells, sum.connections, sum.turns), (5, 5, 5, 5));
        assert!(Refusal::ALL.iter().all(|&refusal| sum.refusals(refusal) == 5));
        assert!(RateOf::ALL.iter().all(|&of| sum.rate_limited(of) == 5));
        assert!(TlsFailure::ALL.iter().all(|&failure| sum.tls_failures(failure) == 5));
        let handshakes = TlsVersion::ALL
            .map(|version| (sum.tls_handshakes(version, false), sum.tls_handshakes(version, true)));
        assert_eq!(handshakes, [(5, 5); 2]);
        for &kind in &OpKind::ALL {
            assert!(OpOutcome::ALL.iter().all(|&outcome| sum.ops(kind, outcome) == 5));
        }
        assert_eq!(sum.closes(1000), 5);
        assert_eq!((sum.turn_ns.count(), sum.turn_ns.sum_ns()), (5, 5_000));
        assert_eq!((sum.op_ns.count(), sum.op_ns.sum_ns()), (5, 10_000));
    }
}

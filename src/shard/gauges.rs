//! What a shard's numbers are at this moment.
//!
//! Invariant: each gauge is kept by its part as it changes, so that a scrape costs the same however many maps, rooms and
//! connections there are. [`Shard::recounted`] says what they must be.

use super::Shard;
use super::account::Use;
use super::channels::ChannelCounts;
use super::clients::Connection;
use super::directs::DirectCounts;
use super::maps::{Journal, MapCounts};
use super::presence::PresenceCounts;
use super::rooms::RoomCounts;
use crate::metrics::Metrics;

impl Shard {
    /// The counters with the gauges as they are now. O(1).
    pub fn metrics_now(&self) -> Metrics {
        let bytes = (self.clients.waiting_bytes(), self.requests.owed_bytes(), self.clients.tls_bytes());
        let kept =
            (self.rooms.counts(), self.presence.counts(), self.channels.counts(), self.directs.counts());
        self.metrics_with(self.maps.counts(), kept, bytes)
    }

    /// Bytes that this shard holds and may free, as far as they are counted. O(1).
    pub fn held_bytes(&self) -> usize {
        let connections = usize::try_from(self.turn.metrics.connections).unwrap_or(usize::MAX);
        let connections = connections.saturating_mul(size_of::<Connection>());
        connections + self.turn.account.clients_bytes() + self.maps_bytes()
    }

    /// Bytes of these that maps take. O(1).
    pub const fn maps_bytes(&self) -> usize {
        self.turn.account.used(Use::Maps)
    }

    /// As [`Self::metrics_now`], with every gauge counted from scratch. O(everything): for tests.
    pub fn recounted(&self) -> Metrics {
        let waiting_bytes = self.clients.iter().map(|connection| connection.outbox.bytes()).sum();
        let bytes = (waiting_bytes, self.requests.recounted_owed_bytes(), self.clients.recounted_tls_bytes());
        let kept = (
            self.rooms.recounted(),
            self.presence.recounted(),
            self.channels.recounted(),
            self.directs.recounted(),
        );
        self.metrics_with(self.maps.recounted(&self.turn), kept, bytes)
    }

    fn metrics_with(
        &self,
        maps: MapCounts,
        (rooms, presence, channels, directs): (RoomCounts, PresenceCounts, ChannelCounts, DirectCounts),
        (outbox_bytes, owed_bytes, tls_bytes): (usize, usize, usize),
    ) -> Metrics {
        let mut metrics = self.turn.metrics.clone();
        metrics.maps = maps.maps;
        metrics.map_names = maps.named;
        metrics.cells = maps.cells;
        metrics.resident_bytes = maps.bytes as u64;
        (metrics.presence_rooms, metrics.presence_members) = (rooms.rooms, rooms.members);
        (metrics.presence_user_rooms, metrics.presence_user_members) = (presence.rooms, presence.members);
        (metrics.channels, metrics.channel_messages) = (channels.channels, channels.messages);
        metrics.channel_bytes = channels.bytes as u64;
        (metrics.directs_queued, metrics.direct_bytes) = (directs.queued, directs.bytes as u64);
        metrics.journal_pending_bytes = self.maps.journal().map_or(0, Journal::backlog_bytes);
        metrics.outbox_bytes = outbox_bytes as u64;
        metrics.owed_bytes = owed_bytes as u64;
        metrics.tls_bytes = tls_bytes as u64;
        metrics.outbox_held_bytes = self.clients.held_bytes() as u64;
        metrics.presence_bytes = (rooms.bytes + self.clients.members_bytes() + presence.bytes) as u64;
        metrics.waiting_request_bytes = self.maps.waiting_bytes() as u64;
        metrics.session_bytes = self.turn.account.used(Use::Sessions) as u64;
        metrics.answers_bytes = self.turn.account.used(Use::Answers) as u64;
        let (envelopes, bytes) = self.turn.outgoing.depth();
        metrics.mesh_pending_envelopes = envelopes as u64;
        metrics.mesh_pending_bytes = bytes as u64;
        metrics
    }
}

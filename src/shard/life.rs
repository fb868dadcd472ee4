//! Timers of connections, and the orderly end of all of them.

use super::clients::Phase;
use super::{Command, Shard};
use crate::limits::{CLOSE_TIMEOUT_MS, DRAIN_HANDSHAKE_MS};
use crate::mesh::ConnectionId;
use crate::wire::Close;
use crate::wire::websocket::{self, Opcode};

/// Timers looked at in one turn, unless that is spent before. Those of connections that were opened together are due together, and a ping to each of
/// fifty thousand in one turn would keep everybody waiting.
const TIMERS_PER_TURN_MAX: usize = 1024;

/// Slots looked at in one turn of a drain at least, whatever else the turn has done: that of 100 000 connections takes half
/// a second of the shortest turns.
const SENT_AWAY_MIN: usize = 64;

/// Where the shard itself is in its life. It only moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Serving,
    /// Told to stop. It says so to who asks how it is, and serves as before until then, so that load balancers can send
    /// clients elsewhere first.
    Leaving {
        until_us: u64,
    },
    /// Sends everybody away, who has a slot from `next` on in this turn and those to come, and ends once all are gone or then
    /// at the latest.
    Draining {
        until_us: u64,
        next: u32,
    },
}

impl Shard {
    pub(super) fn fire_timers(&mut self) {
        let now_ms = self.turn.now.timer_ms();
        for fired in 0..TIMERS_PER_TURN_MAX {
            if fired > 0 && self.turn.is_spent() {
                return;
            }
            let Some(id) = self.clients.next_fired(now_ms) else { return };
            self.check_timer(id, now_ms);
        }
    }

    fn check_timer(&mut self, id: ConnectionId, now_ms: u64) {
        let Some(connection) = self.clients.get_mut(id) else { return };
        match connection.phase {
            Phase::Open => {
                if now_ms < connection.due_ms || self.identity_is_due(id) {
                    self.check_silence(id, now_ms);
                }
            }
            Phase::Disconnected => {}
            _ if now_ms < connection.deadline_ms => {
                let deadline_ms = connection.deadline_ms;
                self.clients.set_timer(id, deadline_ms);
            }
            Phase::Accepted | Phase::Handshake | Phase::Admission => {
                self.turn.metrics.handshakes_refused += 1;
                self.disconnect_for(
                    id,
                    Close::Gone,
                    "no request in --handshake-timeout-ms, or none while draining",
                );
                self.clients.finish(&mut self.turn, id);
            }
            Phase::Flushing | Phase::Lingering => self.clients.finish(&mut self.turn, id),
        }
    }

    /// Pings an open connection that was silent for half of the heartbeat, and closes one that was for all of it.
    fn check_silence(&mut self, id: ConnectionId, now_ms: u64) {
        let heartbeat_ms = self.turn.config.heartbeat_ms;
        let Some(connection) = self.clients.get_mut(id) else { return };
        let silence_ms = now_ms.saturating_sub(connection.heard_at_ms);
        if silence_ms < heartbeat_ms / 2 {
            let check_at_ms = connection.heard_at_ms + heartbeat_ms / 2;
            return self.clients.set_timer(id, check_at_ms);
        }
        let (check_at_ms, is_pinged);
        if connection.is_unheard(&self.turn) {
            // It may say what it likes, or be gone. It is pinged, as proxies and the client itself want to hear, too.
            connection.heard_at_ms = now_ms;
            (check_at_ms, is_pinged) = (now_ms + heartbeat_ms / 2, false);
        } else if silence_ms >= heartbeat_ms {
            return self.disconnect(id, Close::HeartbeatTimeout);
        } else {
            check_at_ms = connection.heard_at_ms + heartbeat_ms;
            is_pinged = std::mem::replace(&mut connection.pinged, true);
        }
        if !is_pinged {
            self.clients
                .send_uncounted(id, self.turn.now, |out| websocket::write_frame(out, Opcode::Ping, &[]));
        }
        self.clients.set_timer(id, check_at_ms);
    }

    /// After `--drain-lead-ms` stops accepting and tells every client to come back later, each at a time of its own; the
    /// shard exits once all are gone, or after `--drain-ms`. Told again, it goes on as it does.
    pub fn drain(&mut self) {
        if self.life == Life::Serving {
            self.life = Life::Leaving {
                until_us: self.turn.now.monotonic_us + self.turn.config.drain_lead_ms * 1000,
            };
        }
    }

    /// Begins to drain once the lead is over, and goes on with it.
    pub(super) fn end_lead(&mut self) {
        match self.life {
            Life::Leaving { until_us } if self.turn.now.monotonic_us >= until_us => {}
            Life::Draining { .. } => return self.send_away(),
            _ => return,
        }
        let until_us = self.turn.now.monotonic_us + self.turn.config.drain_ms * 1000;
        self.life = Life::Draining { until_us, next: 0 };
        self.turn.commands.push(Command::StopAccepting);
        self.send_away();
    }

    /// Tells connections that the server goes away, as many as a turn may. Who connects meanwhile is told with its upgrade.
    fn send_away(&mut self) {
        let end = self.clients.slots();
        for told in 1.. {
            let Life::Draining { next, .. } = &mut self.life else { return };
            if *next >= end || told > SENT_AWAY_MIN && self.turn.is_spent() {
                return;
            }
            let index = *next;
            *next += 1;
            let Some((id, phase)) = self.clients.in_slot(index) else { continue };
            match phase {
                // It may have asked already, and is answered: with the same, or with a page.
                Phase::Accepted | Phase::Handshake | Phase::Admission => self.hurry(id),
                _ => {
                    let close = self.going_away();
                    self.disconnect(id, close);
                }
            }
        }
    }

    /// Whether connections are yet to be told that the server goes away.
    pub(super) fn has_more_to_send_away(&self) -> bool {
        matches!(self.life, Life::Draining { next, .. } if next < self.clients.slots())
    }

    /// Gives a connection that is not open yet what time it has while the server drains.
    pub(super) fn hurry(&mut self, id: ConnectionId) {
        let latest_ms = self.turn.now.timer_ms() + DRAIN_HANDSHAKE_MS;
        if let Some(connection) = self.clients.get_mut(id) {
            let deadline_ms = connection.deadline_ms.min(latest_ms);
            connection.deadline_ms = deadline_ms;
            self.clients.set_timer(id, deadline_ms);
        }
    }

    /// Nobody connects any more.
    pub fn stopped_accepting(&mut self) {
        self.is_accepting = false;
    }

    pub(super) fn going_away(&mut self) -> Close {
        let retry_after_ms = self.turn.random.below(self.turn.config.drain_ms.max(1));
        Close::GoingAway { retry_after_ms: u32::try_from(retry_after_ms).unwrap_or(u32::MAX) }
    }

    /// Whether new clients had better go elsewhere.
    pub(super) fn is_leaving(&self) -> bool {
        self.life != Life::Serving
    }

    pub(super) fn is_draining(&self) -> bool {
        matches!(self.life, Life::Draining { .. })
    }

    /// When the lead or the drain is over, in microseconds of the monotonic clock.
    pub(super) fn next_life_us(&self) -> Option<u64> {
        match self.life {
            Life::Serving => None,
            Life::Leaving { until_us } | Life::Draining { until_us, .. } => Some(until_us),
        }
    }

    /// Whether a drain is over.
    pub(super) fn is_drained(&self) -> bool {
        let is_done = self.requests.unfinished_len() == 0 && !self.maps.has_unjournaled();
        let is_quiet = !self.is_accepting && self.clients.is_empty() && is_done;
        self.drain_ends_us().is_some_and(|ends_us| is_quiet || self.turn.now.monotonic_us >= ends_us)
    }

    /// When the shard exits at the latest, in microseconds of the monotonic clock; `None` before it drains.
    pub(super) fn drain_ends_us(&self) -> Option<u64> {
        // What was acknowledged shall reach the disk, unless the storage takes nothing any more.
        let grace_ms = if self.maps.has_unjournaled() { CLOSE_TIMEOUT_MS } else { 0 };
        match self.life {
            Life::Draining { until_us, .. } => Some(until_us + grace_ms * 1000),
            Life::Serving | Life::Leaving { .. } => None,
        }
    }
}

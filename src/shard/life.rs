//! Timers of connections, and the orderly end of all of them.

use super::clients::Phase;
use super::{Command, Shard};
use crate::config::Config;
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
        pace: Pace,
    },
}

/// How fast connections are sent away: so many, and the next as many an interval later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Connections of one interval; `None`: all at once.
    batch: Option<u32>,
    interval_us: u64,
    /// How many more may be told in this one, and when the next begins.
    left: u32,
    next_us: u64,
    /// When the last of those who are here will be told.
    last_us: u64,
}

impl Pace {
    /// Of one of `shards` that has so many connections.
    fn new(config: &Config, shards: usize, connections: usize, now_us: u64) -> Self {
        let share = config.drain_batch.div_ceil(shards);
        let batch = (share > 0).then(|| u32::try_from(share).unwrap_or(u32::MAX));
        let interval_us = config.drain_interval_ms * 1000;
        let waits = connections.div_ceil(share.max(1)).saturating_sub(1) as u64;
        let last_us = now_us + batch.map_or(0, |_| waits.saturating_mul(interval_us));
        Self { batch, interval_us, left: batch.unwrap_or(0), next_us: now_us + interval_us, last_us }
    }

    /// Whether one more may be told now.
    fn take(&mut self, now_us: u64) -> bool {
        let Some(batch) = self.batch else { return true };
        if self.left == 0 && now_us >= self.next_us {
            (self.left, self.next_us) = (batch, now_us + self.interval_us);
        }
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }

    /// When somebody may be told again; `None`: now.
    fn waits_until_us(&self, now_us: u64) -> Option<u64> {
        (self.batch.is_some() && self.left == 0 && now_us < self.next_us).then_some(self.next_us)
    }
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
        let now_us = self.turn.now.monotonic_us;
        let pace = Pace::new(&self.turn.config, self.turn.shards, self.clients.len(), now_us);
        let until_us = pace.last_us + self.turn.config.drain_ms * 1000;
        self.life = Life::Draining { until_us, next: 0, pace };
        self.turn.commands.push(Command::StopAccepting);
        self.send_away();
    }

    /// Tells connections that the server goes away, as many as a turn and `--drain-batch` may. Who connects meanwhile is told
    /// with its upgrade.
    fn send_away(&mut self) {
        let end = self.clients.slots();
        for told in 1.. {
            let Life::Draining { next, pace, .. } = &mut self.life else { return };
            if *next >= end || told > SENT_AWAY_MIN && self.turn.is_spent() {
                return;
            }
            let index = *next;
            let found = self.clients.in_slot(index);
            match found {
                None => *next += 1,
                // It may have asked already, and is answered: with the same, or with a page.
                Some((id, Phase::Accepted | Phase::Handshake | Phase::Admission)) => {
                    *next += 1;
                    self.hurry(id);
                }
                Some((id, _)) => {
                    if !pace.take(self.turn.now.monotonic_us) {
                        return;
                    }
                    *next += 1;
                    let close = self.going_away();
                    self.disconnect(id, close);
                }
            }
        }
    }

    /// Whether connections are yet to be told that the server goes away.
    pub(super) fn has_more_to_send_away(&self) -> bool {
        let Life::Draining { next, pace, .. } = self.life else { return false };
        next < self.clients.slots() && pace.waits_until_us(self.turn.now.monotonic_us).is_none()
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
        // Not before everybody is told, as nobody is let in until then.
        let left_us = match self.life {
            Life::Draining { pace, .. } => pace.last_us.saturating_sub(self.turn.now.monotonic_us),
            Life::Serving | Life::Leaving { .. } => 0,
        };
        let retry_after_ms = left_us / 1000 + self.turn.random.below(self.turn.config.drain_ms.max(1));
        Close::GoingAway { retry_after_ms: u32::try_from(retry_after_ms).unwrap_or(u32::MAX) }
    }

    /// Whether new clients had better go elsewhere.
    pub(super) fn is_leaving(&self) -> bool {
        self.life != Life::Serving
    }

    pub(super) fn is_draining(&self) -> bool {
        matches!(self.life, Life::Draining { .. })
    }

    /// When the lead, a batch or the drain is over, in microseconds of the monotonic clock.
    pub(super) fn next_life_us(&self) -> Option<u64> {
        match self.life {
            Life::Serving => None,
            Life::Leaving { until_us } => Some(until_us),
            Life::Draining { until_us, next, pace } => {
                let has_more = next < self.clients.slots();
                let batch_us = pace.waits_until_us(self.turn.now.monotonic_us).filter(|_| has_more);
                Some(batch_us.map_or(until_us, |batch_us| batch_us.min(until_us)))
            }
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

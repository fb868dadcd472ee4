//! Connections that hold much memory for peers that take little: who has to go when clients hold too much in all.
//!
//! Invariant: whoever holds more than [`DEBT_BYTES`] is on the list, so that a look costs as much as there are such, and not as
//! there are connections. Who is being closed stays on it until its memory is free, so that nobody goes in its place.

use super::Clients;
use super::connection::Connection;
use crate::mesh::ConnectionId;
use crate::shard::turn::Turn;

/// Bytes of an outbox that are worth a look: less than one chunk of a walk, more than answers that flow.
const DEBT_BYTES: usize = 32 << 10;
/// Milliseconds over which it is measured how fast a peer takes what it is sent: TCP may ask for more only once in
/// seconds.
const WINDOW_MS: u64 = 5_000;
/// Milliseconds for which clients must have held too much before the largest go, which may be healthy: nothing large is
/// begun meanwhile, so a burst of answers is over by then.
const FULL_MS: u64 = 1_000;
/// Milliseconds between two looks.
const LOOK_EVERY_MS: u64 = 100;
/// Entries of the list that are not worth a sweep.
const STALE_MAX: usize = 64;

/// See the module.
#[derive(Default)]
pub struct Debts {
    list: Vec<Debtor>,
    /// How long the list may be before those that are gone are dropped from it.
    swept_at: usize,
    next_look_ms: u64,
    was_pressed: bool,
    /// Since when clients hold more than they may.
    full_since_ms: Option<u64>,
    /// Who has to go, and whether at once.
    due: Vec<(ConnectionId, bool)>,
}

/// One such connection, and since when it is measured what its peer takes.
struct Debtor {
    id: ConnectionId,
    since_ms: u64,
    sent_bytes: u64,
}

impl Debtor {
    fn begin(&mut self, now_ms: u64, connection: &Connection) {
        (self.since_ms, self.sent_bytes) = (now_ms, connection.sent_bytes);
    }
}

impl Clients {
    /// Takes note of what the connection in a slot holds by now.
    #[inline]
    pub(super) fn note_debt(&mut self, index: u32, now_ms: u64) {
        let connection = &mut self.table[index];
        if connection.is_debtor || connection.outbox.held_bytes() <= DEBT_BYTES {
            return;
        }
        connection.is_debtor = true;
        let (id, sent_bytes) = (connection.id, connection.sent_bytes);
        self.debts.list.push(Debtor { id, since_ms: now_ms, sent_bytes });
        if self.debts.list.len() > self.debts.swept_at {
            let mut list = std::mem::take(&mut self.debts.list);
            list.retain(|debtor| self.get(debtor.id).is_some());
            self.debts.swept_at = 2 * list.len() + STALE_MAX;
            self.debts.list = list;
        }
    }

    /// Decides who has to go because clients hold too much, by [`Self::next_due`].
    pub fn collect_debts(&mut self, turn: &Turn) {
        self.soft_bytes = turn.account.soft_bytes(turn.config.outbox_soft_bytes);
        let is_pressed = turn.account.is_pressed();
        let was_pressed = std::mem::replace(&mut self.debts.was_pressed, is_pressed);
        let has_begun = is_pressed && !was_pressed;
        let now_ms = turn.now.timer_ms();
        if !turn.account.is_full() {
            self.debts.full_since_ms = None;
        }
        if !is_pressed || !has_begun && now_ms < self.debts.next_look_ms {
            return;
        }
        self.debts.next_look_ms = now_ms + LOOK_EVERY_MS;
        let mut list = std::mem::take(&mut self.debts.list);
        let (mut slow, mut others, mut going) = (Vec::new(), Vec::new(), 0);
        list.retain_mut(|debtor| {
            let Some(connection) = self.get_mut(debtor.id) else { return false };
            let held = connection.outbox.held_bytes();
            if !connection.is_connected() {
                going += held;
                return true;
            }
            connection.is_debtor = held > DEBT_BYTES / 2;
            if has_begun {
                debtor.begin(now_ms, connection);
            }
            let took_ms = now_ms.saturating_sub(debtor.since_ms);
            let taken = connection.sent_bytes - debtor.sent_bytes;
            let enough = (turn.config.drain_bytes_per_second_min as u64).saturating_mul(took_ms) / 1000;
            let is_slow = took_ms >= WINDOW_MS && taken < enough;
            if took_ms >= WINDOW_MS {
                debtor.begin(now_ms, connection);
            }
            if connection.is_debtor {
                let of_its_kind = if is_slow { &mut slow } else { &mut others };
                of_its_kind.push((held, debtor.id));
            }
            connection.is_debtor
        });
        self.debts.list = list;
        if turn.account.is_full() && self.debts.full_since_ms.is_none() {
            self.debts.full_since_ms = Some(now_ms);
        }
        let has_lasted = self.debts.full_since_ms.is_some_and(|since_ms| now_ms >= since_ms + FULL_MS);
        let (alone, share) = turn.account.shares();
        let held = turn.account.clients_bytes().saturating_sub(going);
        let held = self.have_go(&mut slow, (held, alone), false);
        if has_lasted {
            others.append(&mut slow);
            self.have_go(&mut others, (held, share), true);
        }
    }

    /// Has the largest go until no more than `enough` is held; what is held then.
    fn have_go(
        &mut self,
        debtors: &mut Vec<(usize, ConnectionId)>,
        (mut held, enough): (usize, usize),
        at_once: bool,
    ) -> usize {
        debtors.sort_unstable();
        while held > enough
            && let Some((bytes, id)) = debtors.pop()
        {
            self.debts.due.push((id, at_once));
            held = held.saturating_sub(bytes);
        }
        held
    }

    /// Takes a connection that has to go, and whether nothing more may be sent to it, as even that takes memory.
    pub fn next_due(&mut self) -> Option<(ConnectionId, bool)> {
        self.debts.due.pop()
    }

    /// When [`Self::collect_debts`] has something to do, in milliseconds of the monotonic clock.
    pub fn next_look_ms(&self) -> Option<u64> {
        (self.debts.was_pressed && !self.debts.list.is_empty()).then_some(self.debts.next_look_ms)
    }
}

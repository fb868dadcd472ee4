//! A hashed timing wheel (Varghese and Lauck, 1987) of connections, checked lazily: a place in it says "look at this
//! connection then", and whoever looks decides what is due and when to look again. The connections of a slot are a list
//! through their table, so that a timer costs no memory beside them and is moved without a trace.
//!
//! Invariant: each connection has at most one place. A message that arrives costs the wheel nothing: it only moves
//! `heard_at_ms`.

use super::Clients;
use super::Table;
use crate::mesh::ConnectionId;
use crate::shard::Now;
use crate::shard::turn::Turn;

/// Milliseconds of one tick: how late a timer may fire.
pub const TICK_MS: u64 = 64;
/// Ticks of one round. What is due later is looked at once a round.
const SLOTS: u64 = 512;
const _: () = assert!(SLOTS.is_power_of_two());

/// A shard that is late by this part of the heartbeat has stood still. A client is closed half of the heartbeat after its
/// ping, so that four times less than this in a row take none of them the time to answer.
const STANDSTILLS_IN_HEARTBEAT: u64 = 8;

/// No connection.
const NONE: u32 = u32::MAX;

/// The place of a connection in the wheel.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    /// [`Timer::UNSET`] has one that no clock reaches.
    tick: u64,
    previous: u32,
    next: u32,
}

impl Timer {
    pub const UNSET: Self = Self { tick: u64::MAX, previous: NONE, next: NONE };
}

pub struct Wheel {
    /// The first connection of each slot.
    slots: Box<[u32]>,
    /// The next tick to be looked at.
    tick: u64,
    entries: usize,
    /// The first of those whose tick has come, and that have yet to be taken.
    firing: u32,
}

impl Wheel {
    pub fn new(now_ms: u64) -> Self {
        let slots = (0..SLOTS).map(|_| NONE).collect();
        Self { slots, tick: now_ms / TICK_MS, entries: 0, firing: NONE }
    }

    /// Has the connection in slot `index` looked at once `at_ms` has passed, or after a round if that is sooner, and not at
    /// any other time.
    fn set(&mut self, table: &mut Table, index: u32, at_ms: u64) {
        self.remove(table, index);
        let tick = (at_ms / TICK_MS + 1).clamp(self.tick, self.tick + SLOTS - 1);
        let first = &mut self.slots[(tick % SLOTS) as usize];
        let next = std::mem::replace(first, index);
        table[index].timer = Timer { tick, previous: NONE, next };
        if next != NONE {
            table[next].timer.previous = index;
        }
        self.entries += 1;
    }

    /// Forgets the timer of a connection, if it has one.
    pub fn remove(&mut self, table: &mut Table, index: u32) {
        let Timer { tick, previous, next } = std::mem::replace(&mut table[index].timer, Timer::UNSET);
        if tick == Timer::UNSET.tick {
            return;
        }
        if previous != NONE {
            table[previous].timer.next = next;
        } else if tick < self.tick {
            self.firing = next;
        } else {
            self.slots[(tick % SLOTS) as usize] = next;
        }
        if next != NONE {
            table[next].timer.previous = previous;
        }
        self.entries -= 1;
    }

    /// Takes a connection that is due; call until `None`.
    fn fire(&mut self, table: &mut Table, now_ms: u64) -> Option<u32> {
        while self.firing == NONE {
            if self.tick > now_ms / TICK_MS {
                return None;
            }
            if self.entries == 0 {
                self.tick = now_ms / TICK_MS + 1;
                return None;
            }
            self.firing = std::mem::replace(&mut self.slots[(self.tick % SLOTS) as usize], NONE);
            self.tick += 1;
        }
        let index = self.firing;
        self.remove(table, index);
        Some(index)
    }

    /// When to call [`Self::fire`] again; `None` while there is nothing to look at.
    fn next_ms(&self) -> Option<u64> {
        let next_tick = if self.firing == NONE { self.tick } else { self.tick - 1 };
        (self.entries > 0).then_some(next_tick * TICK_MS)
    }
}

impl Clients {
    /// Has the timer of `id` checked at `at_ms`, and not sooner.
    pub fn set_timer(&mut self, id: ConnectionId, at_ms: u64) {
        if let Some(connection) = self.get(id) {
            // Where something is due for its identity sooner, whoever looks sets it again.
            let at_ms = if connection.is_open() { at_ms.min(connection.due_ms) } else { at_ms };
            self.timers.set(&mut self.table, id.index, at_ms);
        }
    }

    /// The same, or when it is checked anyway, if that is sooner.
    pub fn set_timer_sooner(&mut self, id: ConnectionId, at_ms: u64) {
        if self.get(id).is_some_and(|connection| connection.timer.tick > at_ms / TICK_MS) {
            self.set_timer(id, at_ms);
        }
    }

    /// Takes a connection whose timer is due; call until `None`.
    pub fn next_fired(&mut self, now_ms: u64) -> Option<ConnectionId> {
        let index = self.timers.fire(&mut self.table, now_ms)?;
        Some(self.table[index].id)
    }

    /// Where this shard comes to its turn far later than it wanted to, as after a stop of the process, a pause of the machine
    /// or a turn of seconds, the time in between counts for no connection: deadlines move on by it, and so does silence.
    /// Who had been pinged before is pinged once more, as the answer may be lost or on its way, and has the usual time.
    /// It is one pass over the table each time that the server has stood still for seconds.
    pub fn forgive_standstill(&mut self, turn: &Turn, before: Now) {
        let Some(due_ms) = self.timers.next_ms() else { return };
        let (now_ms, heartbeat_ms) = (turn.now.timer_ms(), turn.config.heartbeat_ms);
        let gap_ms = now_ms.saturating_sub(due_ms.max(before.timer_ms()));
        if gap_ms < (heartbeat_ms / STANDSTILLS_IN_HEARTBEAT).max(TICK_MS) {
            return;
        }
        let pinged_at_ms = now_ms.saturating_sub(heartbeat_ms / 2);
        for connection in self.table.iter_mut() {
            connection.deadline_ms = connection.deadline_ms.saturating_add(gap_ms);
            connection.heard_at_ms = (connection.heard_at_ms + gap_ms).max(pinged_at_ms);
            connection.pinged = false;
        }
    }

    /// When a timer is due, in milliseconds of the monotonic clock.
    pub fn next_timer_ms(&self) -> Option<u64> {
        self.timers.next_ms()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::connection::Connection;
    use super::*;

    fn table(connections: u32) -> Table {
        let mut table = Table::default();
        for _ in 0..connections {
            table.insert(|index| {
                let id = ConnectionId { index, generation: 1 };
                Connection::new(id, IpAddr::V4(Ipv4Addr::LOCALHOST), 0, 1)
            });
        }
        table
    }

    #[test]
    fn an_entry_fires_once_and_never_early() {
        let (mut table, mut wheel) = (table(100), Wheel::new(1_000_000));
        for index in 0..100 {
            wheel.set(&mut table, index, 1_000_000 + u64::from(index) * 100);
        }
        let mut fired = Vec::new();
        for now in 1_000_000..1_012_000 {
            while let Some(index) = wheel.fire(&mut table, now) {
                let due = 1_000_000 + u64::from(index) * 100;
                assert!(now >= due, "{index} at {now} instead of {due}");
                assert!(now <= due + 2 * TICK_MS, "{index} late at {now} instead of {due}");
                fired.push(index);
            }
        }
        fired.sort_unstable();
        assert_eq!(fired, (0..100).collect::<Vec<_>>());
        assert_eq!(wheel.next_ms(), None);
    }

    #[test]
    fn a_timer_that_is_moved_or_removed_fires_then_or_never() {
        // All orders of three neighbours in one slot, also while that slot fires.
        for fires_first in [false, true] {
            for moved in 0..3 {
                let (mut table, mut wheel) = (table(4), Wheel::new(0));
                (0..3).for_each(|index| wheel.set(&mut table, index, 1_000));
                let mut fired = Vec::new();
                if fires_first {
                    wheel.set(&mut table, 3, 1_000);
                    assert_eq!(wheel.fire(&mut table, 2_000), Some(3), "the latest is the first");
                    assert!(wheel.next_ms().is_some_and(|next_ms| next_ms <= 2_000), "more are due");
                }
                wheel.set(&mut table, moved, 5_000);
                wheel.remove(&mut table, (moved + 1) % 3);
                fired.extend(std::iter::from_fn(|| wheel.fire(&mut table, 4_000)));
                assert_eq!(fired, [(moved + 2) % 3]);
                assert_eq!(wheel.fire(&mut table, 6_000), Some(moved));
                assert_eq!((wheel.fire(&mut table, 60_000), wheel.next_ms()), (None, None));
            }
        }
    }

    #[test]
    fn what_is_due_later_than_a_round_is_looked_at_after_one() {
        let (mut table, mut wheel) = (table(1), Wheel::new(0));
        wheel.set(&mut table, 0, SLOTS * TICK_MS * 10);
        let looked_at = (0..=SLOTS * TICK_MS).find(|&now| wheel.fire(&mut table, now).is_some());
        assert!(looked_at.is_some(), "never looked at in the first round");
    }

    #[test]
    fn a_long_sleep_fires_everything_that_passed() {
        let (mut table, mut wheel) = (table(50), Wheel::new(0));
        for index in 0..50 {
            wheel.set(&mut table, index, u64::from(index) * 500);
        }
        let fired = std::iter::from_fn(|| wheel.fire(&mut table, 10_000_000)).count();
        assert_eq!(fired, 50);
    }
}

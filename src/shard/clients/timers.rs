//! A hashed timing wheel (Varghese and Lauck, 1987) of connections, checked lazily: an entry says "look at this
//! connection then", and whoever looks decides what is due and when to look again.
//!
//! Invariant: each connection has one entry that counts, the one whose tick it remembers. A message that
//! arrives therefore costs the wheel nothing: it only moves `heard_at_ms`.

use super::Clients;
use crate::mesh::ConnectionId;

/// Milliseconds of one tick: how late a timer may fire.
pub const TICK_MS: u64 = 64;
/// Ticks of one round. What is due later is looked at once a round.
const SLOTS: u64 = 512;
const _: () = assert!(SLOTS.is_power_of_two());

pub struct Wheel {
    slots: Vec<Vec<(u64, ConnectionId)>>,
    /// The next tick to be looked at.
    tick: u64,
    entries: usize,
    /// Reused for the slot that fires, so that firing allocates nothing in the long run.
    firing: Vec<(u64, ConnectionId)>,
}

impl Wheel {
    pub fn new(now_ms: u64) -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self { slots, tick: now_ms / TICK_MS, entries: 0, firing: Vec::new() }
    }

    /// Looks at `connection` once `at_ms` has passed, or after a round if that is sooner. Returns the tick that
    /// names this entry.
    pub fn insert(&mut self, connection: ConnectionId, at_ms: u64) -> u64 {
        let tick = (at_ms / TICK_MS + 1).clamp(self.tick, self.tick + SLOTS - 1);
        self.slots[(tick % SLOTS) as usize].push((tick, connection));
        self.entries += 1;
        tick
    }

    /// Takes the entries that are due, each with its tick; call until `None`.
    pub fn fire(&mut self, now_ms: u64) -> Option<(u64, ConnectionId)> {
        while self.firing.is_empty() {
            if self.tick > now_ms / TICK_MS {
                return None;
            }
            if self.entries == 0 {
                self.tick = now_ms / TICK_MS + 1;
                return None;
            }
            let slot = &mut self.slots[(self.tick % SLOTS) as usize];
            std::mem::swap(&mut self.firing, slot);
            self.tick += 1;
        }
        self.entries -= 1;
        self.firing.pop()
    }

    /// When to call [`Self::fire`] again; `None` while there is nothing to look at.
    pub fn next_ms(&self) -> Option<u64> {
        (self.entries > 0).then_some(self.tick * TICK_MS)
    }
}

impl Clients {
    /// Has the timer of `id` checked at `at_ms`, and not by any earlier entry of the wheel.
    pub fn set_timer(&mut self, id: ConnectionId, at_ms: u64) {
        let tick = self.timers.insert(id, at_ms);
        if let Some(connection) = self.get_mut(id) {
            connection.timer_tick = tick;
        }
    }

    /// Takes a connection whose timer is due; call until `None`.
    pub fn next_fired(&mut self, now_ms: u64) -> Option<ConnectionId> {
        loop {
            let (tick, id) = self.timers.fire(now_ms)?;
            if self.get(id).is_some_and(|connection| connection.timer_tick == tick) {
                return Some(id);
            }
        }
    }

    /// When a timer is due, in milliseconds of the monotonic clock.
    pub fn next_timer_ms(&self) -> Option<u64> {
        self.timers.next_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> ConnectionId {
        ConnectionId { index, generation: 1 }
    }

    #[test]
    fn an_entry_fires_once_and_never_early() {
        let mut wheel = Wheel::new(1_000_000);
        for index in 0..100 {
            wheel.insert(id(index), 1_000_000 + u64::from(index) * 100);
        }
        let mut fired = Vec::new();
        for now in 1_000_000..1_012_000 {
            while let Some((_, connection)) = wheel.fire(now) {
                let due = 1_000_000 + u64::from(connection.index) * 100;
                assert!(now >= due, "{connection:?} at {now} instead of {due}");
                assert!(now <= due + 2 * TICK_MS, "{connection:?} late at {now} instead of {due}");
                fired.push(connection.index);
            }
        }
        fired.sort_unstable();
        assert_eq!(fired, (0..100).collect::<Vec<_>>());
        assert_eq!(wheel.next_ms(), None);
    }

    #[test]
    fn what_is_due_later_than_a_round_is_looked_at_after_one() {
        let mut wheel = Wheel::new(0);
        wheel.insert(id(1), SLOTS * TICK_MS * 10);
        let looked_at = (0..=SLOTS * TICK_MS).find(|&now| wheel.fire(now).is_some());
        assert!(looked_at.is_some(), "never looked at in the first round");
    }

    #[test]
    fn a_long_sleep_fires_everything_that_passed() {
        let mut wheel = Wheel::new(0);
        for index in 0..50 {
            wheel.insert(id(index), u64::from(index) * 500);
        }
        let fired = std::iter::from_fn(|| wheel.fire(10_000_000)).count();
        assert_eq!(fired, 50);
    }
}

//! The hybrid logical clock of one shard (Kulkarni et al., "Logical Physical Clocks", 2014).
//!
//! Invariant: `last` never goes back, and every tick is greater than all ticks, promises and accepted remote
//! times before it, however the wall clock jumps. It reads no clock itself: the caller brings `now_ms`.

use super::{Node, Stamp, Time};

/// A clock that follows the wall clock while that moves forward, and counts while it does not.
#[derive(Clone, Debug)]
pub struct Clock {
    last: Time,
    node: Node,
}

/// The largest counter of a tick that a server gives, before it carries into the milliseconds: 12 bits, so that
/// `millis * 4096 + counter` orders as ticks do and is an integer that JavaScript counts exactly until 2039, for
/// dialects whose clock is one number. Clients' stamps may use all 16 bits.
pub const COUNTER_MAX: u16 = 4095;

/// A remote time is further ahead of the wall clock than is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is {ahead_ms} ms ahead of this clock")]
pub struct ClockDrift {
    pub ahead_ms: u64,
}

impl Clock {
    pub const fn new(node: Node) -> Self {
        Self { last: Time::ZERO, node }
    }

    /// The next tick, greater than everything this clock has given or seen.
    pub fn tick(&mut self, now_ms: u64) -> Time {
        let next = match self.last {
            last if last.counter() < COUNTER_MAX || last.millis() == Time::MILLIS_MAX => last.next(),
            last => Time::new(last.millis() + 1, 0),
        };
        self.last = next.max(Time::new(now_ms, 0));
        self.last
    }

    /// The next tick as a stamp of this node.
    pub fn stamp(&mut self, now_ms: u64) -> Stamp {
        Stamp { time: self.tick(now_ms), node: self.node }
    }

    /// Moves the clock to at least `now_ms` and promises: every later [`Clock::tick`] is greater than the
    /// returned time. So "all changes up to it" is a closed set, even if none was made.
    pub fn advance(&mut self, now_ms: u64) -> Time {
        self.last = self.last.max(Time::new(now_ms, 0));
        self.last
    }

    /// Takes note of a time that another clock gave, so that later ticks are greater.
    ///
    /// # Errors
    /// [`ClockDrift`] if it is more than `drift_max_ms` ahead of `reference_ms` ([`Reference`]); the clock has not
    /// moved then, so one peer with a wrong clock cannot push it into the future.
    pub fn observe(&mut self, reference_ms: u64, remote: Time, drift_max_ms: u64) -> Result<(), ClockDrift> {
        let ahead_ms = remote.millis().saturating_sub(reference_ms);
        if ahead_ms > drift_max_ms {
            return Err(ClockDrift { ahead_ms });
        }
        self.last = self.last.max(remote);
        Ok(())
    }

    /// Takes note of a time that this data set is at already, however far ahead of the wall clock that is: what another
    /// shard has told, or what was found on the disk.
    pub fn follow(&mut self, known: Time) {
        self.last = self.last.max(known);
    }

    /// The last tick given, promised, followed or observed.
    pub const fn last(&self) -> Time {
        self.last
    }

    pub const fn node(&self) -> Node {
        self.node
    }
}

/// What the stamps of clients are held against: the wall clock at its furthest, going on by the monotonic clock.
///
/// Invariant: it never runs back, and no stamp moves it. So clients cannot push it, however many agree; and where the
/// wall clock was ahead once, clients that followed this server's clock then are still taken.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    /// How far it is from the monotonic clock.
    offset_ms: u64,
}

impl Reference {
    /// At the start of a process whose data set was at `stored`. Up to `drift_max_ms` ahead clients may have pushed that;
    /// what is further ahead only a clock of the host can have been.
    pub fn new(unix_ms: u64, timer_ms: u64, stored: Time, drift_max_ms: u64) -> Self {
        let is_beyond = stored.millis() > unix_ms.saturating_add(drift_max_ms);
        let begin_ms = if is_beyond { stored.millis() } else { unix_ms };
        Self { offset_ms: begin_ms.saturating_sub(timer_ms) }
    }

    /// Where it is now, in Unix milliseconds.
    pub fn now(&mut self, unix_ms: u64, timer_ms: u64) -> u64 {
        self.offset_ms = self.offset_ms.max(unix_ms.saturating_sub(timer_ms));
        self.offset_ms + timer_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock::new(Node::new(b"n").unwrap())
    }

    #[test]
    fn ticks_increase_while_time_is_frozen_or_runs_back() {
        let mut clock = clock();
        let mut last = Time::ZERO;
        for now_ms in [1000, 1000, 1000, 999, 5, 0, 1001, 1001] {
            let tick = clock.tick(now_ms);
            assert!(tick > last, "at {now_ms}");
            last = tick;
        }
        assert_eq!(last, Time::new(1001, 1));
    }

    #[test]
    fn a_frozen_clock_carries_its_counter_into_the_milliseconds() {
        let mut clock = clock();
        clock.tick(7);
        for _ in 0..COUNTER_MAX {
            clock.tick(7);
        }
        assert_eq!(clock.last(), Time::new(7, COUNTER_MAX));
        assert_eq!(clock.tick(7), Time::new(8, 0));
        assert_eq!(clock.tick(8), Time::new(8, 1), "the wall clock catching up does not repeat a tick");
        assert_eq!(clock.observe(8, Time::new(8, u16::MAX), 0), Ok(()));
        assert_eq!(clock.tick(8), Time::new(9, 0), "after a client's larger counter, too");
        assert_eq!(clock.observe(8, Time::MAX, u64::MAX), Ok(()));
        assert_eq!(clock.tick(8), Time::MAX, "there is no later one");
    }

    #[test]
    fn every_tick_after_a_promise_is_greater() {
        let mut clock = clock();
        for (now_ms, then_ms) in [(10, 10), (20, 3), (20, 20), (30, 40)] {
            let promise = clock.advance(now_ms);
            assert!(promise >= Time::new(now_ms, 0));
            assert!(clock.tick(then_ms) > promise);
        }
    }

    #[test]
    fn the_reference_keeps_the_furthest_wall_clock_and_what_was_stored_beyond_the_drift() {
        let mut reference = Reference::new(10_000, 100, Time::new(10_050, 0), 60);
        assert_eq!(reference.now(10_000, 100), 10_000, "clients may have pushed the stored clock so far");
        assert_eq!(reference.now(13_000, 200), 13_000, "the wall clock is ahead");
        assert_eq!(reference.now(10_200, 300), 13_100, "it is right again");
        let mut reference = Reference::new(10_000, 100, Time::new(90_000, 0), 60);
        assert_eq!(reference.now(10_000, 100), 90_000);
        assert_eq!(reference.now(10_400, 500), 90_400);
    }

    #[test]
    fn a_remote_time_moves_the_clock_unless_it_drifts() {
        let mut clock = clock();
        clock.tick(1_000);
        assert_eq!(clock.observe(1_000, Time::new(1_060, 9), 60), Ok(()));
        assert_eq!(clock.tick(1_000), Time::new(1_060, 10));
        let before = clock.last();
        assert_eq!(clock.observe(1_000, Time::new(1_061, 0), 60), Err(ClockDrift { ahead_ms: 61 }));
        assert_eq!(
            clock.observe(1_000, Time::MAX, 60),
            Err(ClockDrift { ahead_ms: Time::MILLIS_MAX - 1_000 })
        );
        assert_eq!(clock.last(), before, "a refused time does not move the clock");
        assert_eq!(clock.observe(1_000, Time::new(3, 0), 60), Ok(()), "the past is no drift");
        assert_eq!(clock.last(), before);
    }
}

//! One connection subscribes to the same map over and over, without waiting for an answer, so that each takes the place of the
//! one before; beside it another client subscribes to an empty map, which must not wait behind all of them.
//!
//! Bound in the server: a walk whose subscription is gone costs nothing, and walks are fair by connection.

use super::behaviour::{Behaviour, Row, store};
use super::crowd::Crowd;
use super::peer::Part;
use super::requests::{fill, subscribe};
use super::volley::Volley;
use crate::clock::now_ns;
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "replaced-subscribes",
    says: "100 000 subscribes of 38 bytes to one map on one connection, beside another's empty one",
    make: |size| Box::new(Replaced { count: size.of(100_000, 20_000), ..Replaced::default() }),
    server_arguments: &[],
};

/// An empty `subscribe` that takes longer has waited for somebody else's.
const EMPTY_NS_MAX: u64 = 50_000_000;
/// How many are queued at a time.
const SOME: usize = 2_000;

#[derive(Default)]
struct Replaced {
    count: usize,
    attacker: usize,
    other: Volley,
    other_index: usize,
    /// Of the other one: since when it waits, and the longest it has waited.
    asked_ns: Option<u64>,
    longest_ns: u64,
}

impl Behaviour for Replaced {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        store(crowd, Part::NATIVE, &fill("replaced", 10_000, 100))?;
        self.attacker = crowd.open(1, Part::NATIVE)?.start;
        let other = crowd.open(1, Part::NATIVE)?;
        self.other_index = other.start;
        self.other = Volley::new(other, vec![subscribe("empty")], 1);
        Ok(())
    }

    fn tick(&mut self, crowd: &mut Crowd, now: u64) -> Result<(), Failure> {
        let request = subscribe("replaced");
        if crowd.outgoing_bytes(self.attacker) == 0 {
            for _ in 0..SOME.min(self.count) {
                crowd.ask(self.attacker, &request);
            }
            self.count -= SOME.min(self.count);
        }
        if crowd.owed(self.other_index) == 0 {
            self.asked_ns = None;
            self.other.tick(crowd);
        }
        let asked_ns = *self.asked_ns.get_or_insert(now);
        self.longest_ns = self.longest_ns.max(now_ns() - asked_ns);
        Ok(())
    }

    fn fault(&self, _: &Crowd) -> Option<String> {
        (self.longest_ns > EMPTY_NS_MAX)
            .then(|| format!("an empty subscribe took {} ms", self.longest_ns / 1_000_000))
    }
}

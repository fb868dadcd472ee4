//! Values with a time to live that end all at once: three times 100 000 keys, a second apart.
//!
//! Bound in the server: what a turn may end, and what it tells of it.

use super::behaviour::{Behaviour, Row, Size, store};
use super::crowd::Crowd;
use super::peer::Part;
use super::requests::{OPS_MAX, subscribe, writes};
use crate::clock::{now_ns, unix_ms};
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "expiries",
    says: "100 000 keys whose time to live ends at once, three times, and who watches them",
    make: |size| Box::new(Expiries { size, ready_ns: 0 }),
    server_arguments: &[],
};

/// Time for storing all of it, and for what comes between the preparation and the measured part besides the victim alone.
const STORING_MS: u64 = 4_000;
/// From the beginning of the measured part to the first end.
const FIRST_MS: u64 = 300;

struct Expiries {
    size: Size,
    ready_ns: u64,
}

impl Behaviour for Expiries {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        let begins_ms = STORING_MS + self.size.alone_ns / 1_000_000;
        self.ready_ns = now_ns() + begins_ms * 1_000_000;
        let (now_ms, keys) = (unix_ms(), self.size.of(100_000, 30_000));
        let apart_ms = self.size.of(1_000, 400) as u64;
        for wave in 0..3 {
            // Stamped, so that all of a wave end in the same millisecond.
            let ttl_ms = begins_ms + FIRST_MS + wave * apart_ms;
            let ops = (0..keys).map(|key| {
                format!(
                    r#"{{"map":"expiries","key":"{wave}-{key}","op":"set","value":1,"at":"{now_ms}:0:load","ttl_ms":{ttl_ms}}}"#
                )
            });
            store(crowd, Part::NATIVE, &writes(ops, OPS_MAX))?;
        }
        store(crowd, Part::NATIVE, &[subscribe("expiries")])
    }

    fn ready_ns(&self) -> u64 {
        self.ready_ns
    }

    fn tick(&mut self, _: &mut Crowd, _: u64) -> Result<(), Failure> {
        Ok(())
    }
}

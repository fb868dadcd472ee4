//! Sockets of one address that connect and say nothing, as many as the server lets it have; beside them clients of another
//! address, one after the other, which must get in.
//!
//! Bound in the server: `--max-connections-per-ip`, which must count from accept on; `--handshake-timeout-ms`.

use super::behaviour::{Behaviour, Row};
use super::crowd::Crowd;
use super::heard::Speaks;
use super::peer::{Part, Reading};
use super::volley::REST_NS;
use crate::failure::Failure;

pub const ROW: Row = Row {
    name: "half-open",
    says: "2 000 silent sockets of one address, beside newcomers of another, at 10 an address and 500 in all",
    make: |_| Box::new(HalfOpen::default()),
    server_arguments: &["--max-connections", "500", "--max-connections-per-ip", "10"],
};

const SILENT: usize = 2_000;
/// Silent sockets that are opened in one turn.
const SILENT_A_TURN: usize = 100;
/// How long one of them that was turned away waits before it comes back.
const SILENT_REST_NS: u64 = 10 * REST_NS;
/// A newcomer that is not greeted by then was kept out.
const GREETED_NS_MAX: u64 = 500_000_000;

#[derive(Default)]
struct HalfOpen {
    silent: std::ops::Range<usize>,
    newcomer: Option<usize>,
    /// Whether the newcomer is on its way in.
    is_waiting: bool,
    began_ns: u64,
    greeted: u64,
    kept_out: u64,
}

impl Behaviour for HalfOpen {
    fn tick(&mut self, crowd: &mut Crowd, now: u64) -> Result<(), Failure> {
        if self.silent.len() < SILENT {
            let part = Part { speaks: Speaks::Nothing, reading: Reading::All, source: Some(2) };
            let some = crowd.add(SILENT_A_TURN, part)?;
            self.silent.start = some.start - self.silent.len();
            self.silent.end = some.end;
            return Ok(());
        }
        self.silent.clone().for_each(|index| crowd.reopen(index, SILENT_REST_NS));
        let Some(index) = self.newcomer else {
            self.newcomer = Some(crowd.add(1, Part { source: Some(3), ..Part::NATIVE })?.start);
            (self.is_waiting, self.began_ns) = (true, now);
            return Ok(());
        };
        if self.is_waiting {
            let is_greeted = crowd.is_open(index);
            if !is_greeted && !crowd.is_ended(index) && now < self.began_ns + GREETED_NS_MAX {
                return Ok(());
            }
            self.greeted += u64::from(is_greeted);
            self.kept_out += u64::from(!is_greeted);
            self.is_waiting = false;
            crowd.drop_peer(index);
        } else if now > self.began_ns + REST_NS {
            (self.is_waiting, self.began_ns) = (true, now);
            crowd.reopen(index, 0);
        }
        Ok(())
    }

    fn fault(&self, _: &Crowd) -> Option<String> {
        (self.kept_out > 0 || self.greeted == 0)
            .then(|| format!("{} of {} newcomers were kept out", self.kept_out, self.kept_out + self.greeted))
    }
}

//! What a data set holds, counted in one way by everything that copies, checks, exports or imports one.

use std::fmt;

use serde::Serialize;

use super::stored::Glance;

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Those without a key included.
    pub maps: u64,
    /// Keys at which a reader sees a value.
    pub keys: u64,
    /// Other keys, which are remembered for what was removed there.
    pub tombstones: u64,
}

impl Counts {
    /// Keys of either kind.
    pub const fn cells(&self) -> u64 {
        self.keys + self.tombstones
    }

    /// Counts a key whose image was looked at. A value whose time is up at `now_ms` is none any more.
    pub(super) fn add(&mut self, glance: &Glance, now_ms: u64) {
        let has_ended = glance.expires_ms != 0 && glance.expires_ms <= now_ms;
        if glance.is_live && !has_ended {
            self.keys += 1;
        } else {
            self.tombstones += 1;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { maps, keys, tombstones } = self;
        write!(formatter, "{maps} maps, {keys} keys, {tombstones} tombstones")
    }
}

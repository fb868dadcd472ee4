//! Watches the room on the disk: below `--disk-reserve` writes are refused, so that there is always enough left to
//! fold and to stop in order.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::parts::Parts;
use crate::io::volume;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Free bytes beyond the reserve at which writes are taken again; else a server at the edge would refuse and take
/// them by turns.
const MARGIN_BYTES: u64 = 32 << 20;

/// Looks until `stop` loses its other end.
pub(super) fn run(parts: &Parts, stop: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(INTERVAL) {
        look(parts);
    }
}

/// Looks once.
pub(super) fn look(parts: &Parts) {
    let directory = parts.disk.root();
    let free = match volume::free_bytes(directory) {
        Ok(free) => free,
        Err(error) => {
            tracing::debug!("free space of {} is not known: {error}", directory.display());
            return;
        }
    };
    parts.progress.metrics().free_bytes.set(free);
    let (reserve, was_read_only) = (parts.config.disk_reserve_bytes, parts.progress.is_read_only());
    let is_read_only = is_read_only(was_read_only, free, reserve);
    if is_read_only == was_read_only {
        return;
    }
    parts.progress.set_read_only(is_read_only);
    let (free_mib, reserve_mib) = (free >> 20, reserve >> 20);
    if is_read_only {
        tracing::warn!(
            "the disk has {free_mib} MiB left, less than --disk-reserve {reserve_mib} MiB: writes are refused with \
             read_only until there is room"
        );
    } else {
        tracing::info!("the disk has {free_mib} MiB left again: writes are taken");
    }
}

fn is_read_only(was: bool, free: u64, reserve: u64) -> bool {
    let enough = if was { reserve.saturating_add(MARGIN_BYTES) } else { reserve };
    free < enough
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_taken_again_only_with_room_to_spare() {
        let reserve = 256 << 20;
        assert!(!is_read_only(false, reserve, reserve));
        assert!(is_read_only(false, reserve - 1, reserve));
        assert!(is_read_only(true, reserve + MARGIN_BYTES - 1, reserve));
        assert!(!is_read_only(true, reserve + MARGIN_BYTES, reserve));
        assert!(!is_read_only(false, 0, 0), "0 means no reserve");
    }
}

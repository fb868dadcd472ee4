//! The end of the process where it is not orderly.

use crate::io::log;

/// Exit code after a second signal, or after a fault of the storage: the end was not orderly.
pub const EXIT_AT_ONCE: i32 = 1;

/// Says what happened and ends the process at once, so that nothing is acknowledged that may be lost.
pub fn end_process(what: &str, error: &dyn std::error::Error) -> ! {
    tracing::error!("{what}: {error}; ending at once, start again once the disk is well");
    log::exit(EXIT_AT_ONCE);
}

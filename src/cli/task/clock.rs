//! `annulus clock`: how far a data directory is ahead of the wall clock, and a copy that is not.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::{TaskError, check_there, say};
use crate::config::DataMode;
use crate::io::Clock;
use crate::storage::clock::{self, SetBackOptions};

/// Says where the clock is, or sets it back.
pub(super) fn run(
    data_dir: &Path,
    set_back: Option<&Path>,
    drift_max_ms: u64,
    mode: DataMode,
) -> Result<(), TaskError> {
    check_there(data_dir)?;
    let now_ms = Clock::start().now().unix_ms;
    let instead = "stop the server first, or take an `annulus backup` and look at that";
    let stored_ms = clock::stored(data_dir).map_err(TaskError::in_use(instead))?.millis();
    let ahead_ms = stored_ms.saturating_sub(now_ms);
    let shown = |ms| humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms));
    say(&format!("wall clock    {}", shown(now_ms)));
    say(&format!("stored clock  {}", shown(stored_ms.min(SHOWN_MS_MAX))));
    say(&match ahead_ms {
        0 => "not ahead".to_owned(),
        _ => format!("ahead by      {}", clock::roughly(ahead_ms)),
    });
    let Some(target) = set_back else {
        return if ahead_ms > drift_max_ms { Err(TaskError::ClockAhead) } else { Ok(()) };
    };
    let epoch = getrandom::u64().map_err(TaskError::Random)?;
    let (ticks, copied) = clock::set_back(data_dir, target, SetBackOptions { now_ms, epoch, mode })?;
    say(&format!("{}: {copied}, {ticks} ticks set back", target.display()));
    Ok(())
}

/// The last millisecond that can be shown: the end of the year 9999.
const SHOWN_MS_MAX: u64 = 253_402_300_799_999;

//! The clock of a data set that no server uses: how far it is, and how it is set back.
//!
//! A server's clock never runs back, so one that has once been at a wrong time stays there. Setting it back makes a copy in
//! which everything of the future is dated to just before now, in the same order, under another epoch: clients that come with
//! a cursor start anew.

use std::collections::BTreeSet;
use std::io::{BufReader, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::export::{ExportOptions, export};
use super::import::{ImportOptions, Imported, import_redated};
use super::line::{Line, Reader};
use super::offline::Offline;
use super::recovery::unfolded_segments;
use super::{Format, Segment, StorageError};
use crate::config::DataMode;
use crate::crdt::{COUNTER_MAX, Delta, Stamp, Time};

/// Ticks of one millisecond.
const TICKS_PER_MS: u64 = COUNTER_MAX as u64 + 1;

/// The latest tick of the data set in `data_dir`: a server there starts above it.
///
/// # Errors
/// As [`export`].
pub fn stored(data_dir: &Path) -> Result<Time, StorageError> {
    Offline::read(data_dir, |offline| {
        let base = offline.base()?;
        let (_, recovered) = offline.tail(base.folded(), false)?;
        Ok(recovered.clock.max(base.clock()))
    })
}

/// A tick that the data set in `data_dir` has reached, read from the base and the newest segments of the journal that are not
/// folded. As the clocks of shards follow each other the latest tick is hardly later, but this takes as long whatever the
/// journal has piled up, and goes on over damage.
///
/// # Errors
/// As [`export`].
pub fn stored_at_least(data_dir: &Path) -> Result<Time, StorageError> {
    Offline::read(data_dir, |offline| {
        let base = offline.base()?;
        let (_, mut names) = unfolded_segments(&offline.disk, base.folded())?;
        // The last one may have no record yet.
        let newest = names.split_off(names.len().saturating_sub(2));
        let mut latest = base.clock();
        for (_, name) in newest {
            let segment = Segment::read(&offline.disk, &name, offline.format.epoch)?;
            let readable = segment.records().map_while(Result::ok);
            latest = readable.fold(latest, |latest, (_, record)| latest.max(record.applied));
        }
        Ok(latest)
    })
}

/// A length of time in its two largest units, such as `13years 11months`: no more is of interest where a clock is ahead.
pub fn roughly(ms: u64) -> String {
    let exact = humantime::format_duration(Duration::from_millis(ms)).to_string();
    exact.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// What the copy is to be.
#[derive(Clone, Copy, Debug)]
pub struct SetBackOptions {
    /// The wall clock, in unix milliseconds.
    pub now_ms: u64,
    /// Its new one.
    pub epoch: u64,
    /// Who else may read it.
    pub mode: DataMode,
}

/// Writes a copy of the data set of `source` into `target`, which must be empty or not there: see the module. How many
/// ticks were moved, and what was written.
///
/// # Errors
/// As [`export`] and [`super::import::import`]; [`StorageError::NotOurs`] if there is something in `target`.
pub fn set_back(
    source: &Path,
    target: &Path,
    options: SetBackOptions,
) -> Result<(usize, Imported), StorageError> {
    if std::fs::read_dir(target).is_ok_and(|mut found| found.next().is_some()) {
        let file = target.display().to_string();
        return Err(StorageError::NotOurs { file, what: "is not empty" });
    }
    let SetBackOptions { now_ms, epoch, mode } = options;
    // As they are: what has ended stays a value until it is loaded.
    let options = ExportOptions { maps: &[], now_ms: 0 };
    let mut ticks = Collector { now: Time::new(now_ms, u16::MAX), ..Collector::default() };
    export(source, options, &mut ticks, &mut |_| {})?;
    let redating = Redating::new(&ticks, now_ms);
    let format = Offline::read(source, |offline| Ok(offline.format.clone()))?;
    let fresh = Format { epoch, ..format };
    let importing = ImportOptions { now_ms: redating.end_ms, ahead_ms_max: 0, fresh, mode };

    let (reader, writer) = std::io::pipe().map_err(StorageError::io("open", "a pipe"))?;
    let (exported, imported) = thread::scope(|scope| {
        let exporting = scope.spawn(move || export(source, options, writer, &mut |_| {}));
        let imported =
            import_redated(target, importing, Some(&redating), BufReader::new(reader), &mut |_| {});
        (exporting.join(), imported)
    });
    // A copy that is short of anything must not look like one.
    let result = match exported {
        Ok(Ok(_)) => imported,
        Ok(Err(error)) => imported.and(Err(error)),
        Err(panic) => std::panic::resume_unwind(panic),
    };
    if result.is_err() {
        let _ = std::fs::remove_dir_all(target);
    }
    Ok((redating.ahead.len(), result?))
}

/// Takes an export and keeps its ticks that are ahead.
#[derive(Default)]
struct Collector {
    now: Time,
    /// The latest that is not.
    past: Time,
    ahead: BTreeSet<u64>,
    line: Vec<u8>,
    reader: Reader,
}

impl Collector {
    fn note(&mut self, tick: Time) {
        if tick > self.now {
            self.ahead.insert(tick.to_bits());
        } else {
            self.past = self.past.max(tick);
        }
    }

    fn take_line(&mut self) {
        let (mut text, mut reader) = (std::mem::take(&mut self.line), std::mem::take(&mut self.reader));
        let mut found = Vec::new();
        // An export is never wrong; if it were, the import would say so.
        if let Ok(tape) = reader.parse(&mut text)
            && let Ok(Line { map_type, cell: Some(cell), .. }) = Line::of(&tape)
        {
            found.push(cell.applied);
            let _ = reader.deltas(map_type, &cell, &mut |delta, removed| {
                found.extend(removed);
                found.extend(delta.stamped());
                if let Delta::CounterAbsorbed { through, .. } = delta {
                    found.push(*through);
                }
            });
        }
        found.into_iter().for_each(|tick| self.note(tick));
        text.clear();
        (self.line, self.reader) = (text, reader);
    }
}

impl Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for part in bytes.split_inclusive(|&octet| octet == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.take_line();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Where ticks of the future go: to one each, in their order, above all that are not of the future.
pub(super) struct Redating {
    ahead: Vec<u64>,
    begin_ms: u64,
    /// The first millisecond after all of them.
    end_ms: u64,
}

impl Redating {
    fn new(ticks: &Collector, now_ms: u64) -> Self {
        let ahead: Vec<u64> = ticks.ahead.iter().copied().collect();
        let taken_ms = (ahead.len() as u64).div_ceil(TICKS_PER_MS);
        let begin_ms = now_ms.saturating_sub(taken_ms).max(ticks.past.millis() + 1);
        Self { ahead, begin_ms, end_ms: (begin_ms + taken_ms).max(now_ms) }
    }

    pub fn time(&self, tick: Time) -> Time {
        match self.ahead.binary_search(&tick.to_bits()) {
            Ok(place) => {
                let place = place as u64;
                Time::new(self.begin_ms + place / TICKS_PER_MS, (place % TICKS_PER_MS) as u16)
            }
            Err(_) => tick,
        }
    }

    /// The same with another date. A value that ends goes along, unless it ends before its own stamp, as the wall clock
    /// that its end was counted by was right then.
    pub fn delta<'a>(&self, delta: &Delta<'a>) -> Delta<'a> {
        let redated = |at: &Stamp| Stamp { time: self.time(at.time), node: at.node };
        match *delta {
            Delta::Lww { at, value, expires_ms } => {
                let new = redated(&at);
                let back_ms = at.time.millis().saturating_sub(new.time.millis());
                let goes_along = expires_ms >= at.time.millis();
                Delta::Lww { at: new, value, expires_ms: expires_ms - if goes_along { back_ms } else { 0 } }
            }
            Delta::OrAdd { tag, value, at } => Delta::OrAdd { tag, value, at: redated(&at) },
            Delta::CounterAbsorbed { count, through } => {
                Delta::CounterAbsorbed { count, through: self.time(through) }
            }
            other => other,
        }
    }
}

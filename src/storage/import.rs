//! Merges lines that [`super::export`] has written into a data directory that no server uses.
//!
//! Merging is what makes it safe: importing again, or over newer data, changes nothing that should stay.
//!
//! Invariant: a cell that an import has changed in a data set with a past is newer than every cursor ever given
//! out, so that clients which resume are told of it. In a new data set there are no cursors, and ticks stay as they
//! were, so that removals keep their age. The clock of the data set is afterwards no earlier than any stamp in it, as it
//! is where servers alone have written: what is stamped from then on wins.

use std::collections::HashMap;
use std::fmt;
use std::io::BufRead;
use std::path::Path;

use serde::Serialize;

use super::base::Base;
use super::clock::{Redating, roughly};
use super::fold::Folded;
use super::line::{Fault, Line, Reader};
use super::merging::{Merged, Place, sort_by_region};
use super::offline::CACHE_BYTES;
use super::stored::Source;
use super::{
    Counts, Disk, Format, HostDisk, JOURNAL_FOLDER, Lock, RecoveryOptions, StorageError, check_ours, recover,
};
use crate::config::DataMode;
use crate::crdt::{Delta, MapType, Time};
use crate::handover::{Batch, read_record, seal};
use crate::mesh::KeyHasher;

/// What the import needs to know of the world.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The wall clock, in unix milliseconds.
    pub now_ms: u64,
    /// How far the stamps of lines may be ahead of it, unless the data set is there already.
    pub ahead_ms_max: u64,
    /// What a data directory that is not there yet gets for life.
    pub fresh: Format,
    /// Who else may read what is made.
    pub mode: DataMode,
}

/// How much was imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// What the lines tell of, whether it was known already or not.
    pub counts: Counts,
    pub lines: u64,
    /// Cells that changed; the others knew what the line said, or better.
    pub changed: u64,
    /// Tags and replica slots beyond what one key may hold; they were left out.
    pub refused: u64,
}

impl fmt::Display for Imported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, lines, changed, refused } = self;
        write!(formatter, "{counts} in {lines} lines; {changed} keys changed")?;
        match refused {
            0 => Ok(()),
            _ => write!(formatter, ", {refused} tags or slots left out, as their keys are full"),
        }
    }
}

/// Records of one transaction.
const TRANSACTION_RECORDS: u32 = 16 << 10;
/// Bytes of one transaction, by which large values end it earlier.
const TRANSACTION_BYTES: usize = 32 << 20;

/// Merges every line of `input` into a data directory, which is made if it is not there. `progress` is called
/// after each transaction.
///
/// # Errors
/// [`StorageError::Import`] for a line that is wrong or has a stamp too far ahead, with everything before it imported;
/// [`StorageError::InUse`] and whatever else keeps a server from starting there; [`StorageError::Io`] also if
/// `input` cannot be read.
pub fn import(
    data_dir: &Path,
    options: ImportOptions,
    input: impl BufRead,
    progress: &mut dyn FnMut(&Imported),
) -> Result<Imported, StorageError> {
    import_redated(data_dir, options, None, input, progress)
}

/// As [`import`], with other dates where `redating` says so.
pub(super) fn import_redated(
    data_dir: &Path,
    options: ImportOptions,
    redating: Option<&Redating>,
    input: impl BufRead,
    progress: &mut dyn FnMut(&Imported),
) -> Result<Imported, StorageError> {
    check_ours(data_dir)?;
    let holder = format!("`annulus import`, process {}", std::process::id());
    let _lock = Lock::take_with(data_dir, options.mode, &holder)?;
    let disk = HostDisk::with_mode(data_dir, options.mode)
        .map_err(StorageError::io("open", data_dir.display().to_string()))?;
    let format = Format::load_or_create(&disk, || options.fresh)?;
    let base = Base::open(&disk, KeyHasher::new(format.secret), CACHE_BYTES)?;
    fold_journal(&disk, &base, format.epoch)?;

    let now = Time::new(options.now_ms, 0);
    let has_past = base.clock() != Time::ZERO;
    let mut importing = Importing {
        ticks: if has_past {
            Ticks::New(base.clock().max(now))
        } else {
            Ticks::Kept { latest: now.max(Time::ZERO.next()) }
        },
        base: &base,
        redating,
        now_ms: options.now_ms,
        stamped_ms_max: now.millis().saturating_add(options.ahead_ms_max).max(base.clock().millis()),
        types: HashMap::new(),
        batch: Batch::default(),
        imported: Imported::default(),
        progress,
        places: Vec::new(),
    };
    let read = importing.read(input);
    // Whatever ended it, what was read before counts.
    importing.write()?;
    read.map(|()| importing.imported)
}

/// Brings everything into the base, whose clock is then the latest tick of all.
pub(super) fn fold_journal(disk: &dyn Disk, base: &Base, epoch: u64) -> Result<(), StorageError> {
    let options = RecoveryOptions { epoch, folded: base.folded(), salvage: false, read_only: false };
    let recovered = recover(disk, options, &mut |_, _| {})?;
    for segment in &recovered.segments {
        base.fold(disk, &segment.name, epoch)?;
        disk.remove(&segment.name).map_err(StorageError::io("remove", &segment.name))?;
    }
    disk.sync_folder(JOURNAL_FOLDER).map_err(StorageError::io("sync", JOURNAL_FOLDER))
}

/// Which tick a cell gets that a line changes.
enum Ticks {
    /// The next one; this was the last.
    New(Time),
    /// The one in the line, unless it is of the future.
    Kept { latest: Time },
}

impl Ticks {
    fn of(&mut self, exported: Time) -> Time {
        match self {
            Self::New(last) => {
                *last = last.next();
                *last
            }
            Self::Kept { latest } => exported.clamp(Time::ZERO.next(), *latest),
        }
    }

    /// When a tag counts as removed, or a slot as changed.
    fn of_part(&self, exported: Time, of_cell: Time) -> Time {
        match self {
            Self::New(_) => of_cell,
            Self::Kept { .. } => exported.clamp(Time::ZERO.next(), of_cell),
        }
    }
}

struct Importing<'a> {
    base: &'a Base,
    /// Values that have ended before count as tombstones.
    now_ms: u64,
    /// The latest that a stamp may be: where the data set is already, or so far ahead of now.
    stamped_ms_max: u64,
    ticks: Ticks,
    redating: Option<&'a Redating>,
    /// Of the maps met.
    types: HashMap<String, MapType>,
    batch: Batch,
    imported: Imported,
    progress: &'a mut dyn FnMut(&Imported),
    places: Vec<Place>,
}

impl Importing<'_> {
    fn read(&mut self, mut input: impl BufRead) -> Result<(), StorageError> {
        let (mut reader, mut text) = (Reader::default(), Vec::new());
        for number in 1.. {
            text.clear();
            let read = input.read_until(b'\n', &mut text);
            if read.map_err(StorageError::io("read", "what is imported"))? == 0 {
                break;
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let of_line = |fault: Fault| StorageError::Import { line: number, fault: fault.to_owned() };
            let tape = reader.parse(&mut text).map_err(of_line)?;
            let line = Line::of(&tape).map_err(of_line)?;
            self.check_type(number, &line)?;
            self.take(&mut reader, &line).map_err(|fault| StorageError::Import { line: number, fault })?;
            self.imported.lines += 1;
            if self.batch.records >= TRANSACTION_RECORDS || self.batch.bytes.len() >= TRANSACTION_BYTES {
                self.write()?;
            }
        }
        Ok(())
    }

    fn check_type(&mut self, number: u64, line: &Line<'_>) -> Result<(), StorageError> {
        let known = match self.types.get(line.map) {
            Some(known) => *known,
            None => {
                let known = self.base.map_type(line.map)?.unwrap_or(line.map_type);
                self.types.insert(line.map.to_owned(), known);
                self.imported.counts.maps += 1;
                known
            }
        };
        if known == line.map_type {
            return Ok(());
        }
        let fault = format!("map {:?} is {}, not {}", line.map, known.as_str(), line.map_type.as_str());
        Err(StorageError::Import { line: number, fault })
    }

    /// Puts what a line says into the batch, all of it or nothing.
    fn take(&mut self, reader: &mut Reader, line: &Line<'_>) -> Result<(), String> {
        let Self { ticks, batch, redating, now_ms, stamped_ms_max, .. } = self;
        let redated = |tick| redating.map_or(tick, |redating| redating.time(tick));
        let Some(cell) = &line.cell else {
            batch.push_type(line.map, line.map_type, Time::ZERO);
            return Ok(());
        };
        let applied = ticks.of(redated(cell.applied));
        let before = (batch.bytes.len(), batch.records);
        let (mut is_live, mut latest) = (false, Time::ZERO);
        let taken = reader.deltas(line.map_type, cell, &mut |delta, dated| {
            is_live |= match delta {
                Delta::Lww { value, expires_ms, .. } => {
                    value.is_some() && (*expires_ms == 0 || expires_ms > now_ms)
                }
                Delta::OrAdd { .. } | Delta::Counter { .. } | Delta::CounterAbsorbed { .. } => true,
                Delta::OrRemove { .. } => false,
            };
            let applied = dated.map_or(applied, |dated| ticks.of_part(redated(dated), applied));
            let delta = redating.map_or(*delta, |redating| redating.delta(delta));
            latest = latest.max(delta.stamped().unwrap_or(latest));
            batch.push(line.map, cell.key.as_bytes(), &delta, applied);
        });
        let taken = match taken {
            Ok(()) if latest.millis() > *stamped_ms_max => Err(too_far_ahead(latest.millis() - *now_ms)),
            taken => taken.map_err(str::to_owned),
        };
        if taken.is_err() {
            batch.bytes.truncate(before.0);
            batch.records = before.1;
        } else if is_live {
            self.imported.counts.keys += 1;
        } else {
            self.imported.counts.tombstones += u64::from(batch.records > before.1);
        }
        taken
    }

    /// Merges the batch into the base.
    fn write(&mut self) -> Result<(), StorageError> {
        let Batch { mut bytes, records, .. } = std::mem::take(&mut self.batch);
        if records == 0 {
            return Ok(());
        }
        seal(&mut bytes, 1, 0);
        let mut merging = self.base.begin_merge(Source::Import, Folded::default())?;
        self.places.clear();
        let mut offset = 0;
        while let Ok(record) = read_record(&bytes[offset as usize..], 0) {
            if let Some(region) = merging.meet(&record)? {
                self.places.push(Place::new(region, offset, record.key));
            }
            offset += u32::try_from(record.bytes).expect("a record has its length in 32 bits");
        }
        sort_by_region(&mut self.places);
        let merged = merging.write(&bytes, &mut self.places)?;
        // Nobody tells this base how much room there is.
        let (merged, folded) = merging.end(merged)?;
        debug_assert_eq!(merged, Merged::All, "there is room without end");
        debug_assert_eq!(folded.records, u64::from(records), "lines keep the limits of records");
        self.imported.changed += folded.cells;
        self.imported.refused += folded.skipped;
        (self.progress)(&self.imported);
        Ok(())
    }
}

/// A stamp of the future wins over everybody until then, and would take the clock of the data set along.
fn too_far_ahead(ahead_ms: u64) -> String {
    let ahead = roughly(ahead_ms);
    format!(
        "at is {ahead} ahead of the wall clock, more than --max-clock-drift-ms: is the clock of this host right? \
         --allow-future imports it, and `annulus clock --set-back` then dates it to now"
    )
}

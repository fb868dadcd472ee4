//! Maps as JSON Lines, one line a cell, for people, other programs, and [`super::import`].
//!
//! ```text
//! {"map":"todos","type":"lww","key":"t1","applied":"1700000000200:0","value":{"done":false},"at":"1700000000200:0:n1"}
//! {"map":"todos","type":"lww","key":"t2","applied":"1700000000200:1","deleted":true,"at":"1700000000100:0:phone"}
//! {"map":"tags","type":"or","key":"t1","applied":"1700000000300:0","values":[{"tag":"a","value":1,"at":"…"}],"removed":[{"tag":"b","applied":"1700000000300:0"}]}
//! {"map":"views","type":"counter","key":"t1","applied":"1700000000400:0","slots":[{"replica":"phone","added":12,"subtracted":3}]}
//! {"map":"empty","type":"lww"}
//! ```
//!
//! `applied` is a tick as milliseconds and counter: as one number it would be more than many programs count to.
//! A value with a time to live also has `"expires_ms"`. A map without cells has a line for its type.

use std::fmt;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::base::Reading;
use super::offline::Offline;
use super::stored::Glance;
use super::view::{View, Visitor, WHOLE};
use super::{Base, Counts, StorageError, Tail};
use crate::crdt::{Count, Delta, MapType, Stamp, Time};
use crate::handover::{Image, Part};
use crate::wire::json::{write_integer, write_string};

/// What to export.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions<'a> {
    /// The maps; all if none is given.
    pub maps: &'a [String],
    /// The wall clock, in unix milliseconds: values that have ended before count as tombstones.
    pub now_ms: u64,
}

/// How much was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    pub counts: Counts,
    pub bytes: u64,
}

impl fmt::Display for Exported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, bytes } = self;
        write!(formatter, "{counts}; {bytes} bytes")
    }
}

/// Cells between two calls of the progress.
const PROGRESS_CELLS: u64 = 16 << 10;
/// Bytes that are collected before they are written.
const WRITE_BYTES: usize = 64 << 10;

/// Writes maps of a data directory that no server uses, such as a backup. Changes nothing in it. `progress` is
/// called now and then.
///
/// # Errors
/// [`StorageError::NoSuchMap`] before anything is written; [`StorageError::InUse`] and whatever else keeps a server
/// from starting there; [`StorageError::Io`] also if `out` does not take the lines.
pub fn export(
    data_dir: &Path,
    options: ExportOptions<'_>,
    out: impl Write,
    progress: &mut dyn FnMut(&Exported),
) -> Result<Exported, StorageError> {
    Offline::read(data_dir, |offline| {
        let base = offline.base()?;
        let (tail, _) = offline.tail(base.folded(), false)?;
        base.follow(&tail)?;
        write_maps(&base, &tail, data_dir, options, out, progress)
    })
}

/// Writes maps of a base that a server uses, as of one moment: what is folded now is in the lines, and nothing that
/// comes later. What the server writes meanwhile goes to other pages of the base, so its file grows by that much.
///
/// # Errors
/// As [`export`], without those of a journal. `data_dir` is named in them.
pub fn export_folded(
    base: &Base,
    data_dir: &Path,
    options: ExportOptions<'_>,
    out: impl Write,
    progress: &mut dyn FnMut(&Exported),
) -> Result<Exported, StorageError> {
    let nothing = Tail::new(base.hasher, base.folded());
    write_maps(base, &nothing, data_dir, options, out, progress)
}

pub(super) fn write_maps(
    base: &Base,
    tail: &Tail,
    data_dir: &Path,
    ExportOptions { maps, now_ms }: ExportOptions<'_>,
    out: impl Write,
    progress: &mut dyn FnMut(&Exported),
) -> Result<Exported, StorageError> {
    let snapshot = base.snapshot()?;
    let mut names = all_maps(&Reading::of(&snapshot)?.map_names()?, tail);
    if let Some(map) = maps.iter().find(|&map| names.binary_search(map).is_err()) {
        let directory = data_dir.display().to_string();
        return Err(StorageError::NoSuchMap { map: map.clone(), directory });
    }
    names.retain(|name| maps.is_empty() || maps.contains(name));
    let mut writer = Writer {
        out,
        progress,
        now_ms,
        exported: Exported::default(),
        lines: Vec::new(),
        map: String::new(),
        map_type: MapType::Lww,
    };
    for map in names {
        let view = View::open_at(base, &snapshot, tail, &map)?;
        // A map has a type as long as anybody knows its name.
        let Some(map_type) = view.map_type else { continue };
        (writer.map, writer.map_type) = (map, map_type);
        let cells = writer.exported.counts.cells();
        view.visit(WHOLE, Time::ZERO, &mut writer)?;
        if writer.exported.counts.cells() == cells {
            writer.begin_line();
            writer.lines.extend_from_slice(b"}\n");
        }
        writer.exported.counts.maps += 1;
    }
    writer.finish()
}

/// The names of all maps, sorted, of what the base and the tail know.
pub(super) fn all_maps(base: &[String], tail: &Tail) -> Vec<String> {
    let mut names = [base, &tail.maps()].concat();
    names.sort_unstable();
    names.dedup();
    names
}

struct Writer<'a, W> {
    out: W,
    progress: &'a mut dyn FnMut(&Exported),
    now_ms: u64,
    exported: Exported,
    /// Not written yet.
    lines: Vec<u8>,
    map: String,
    map_type: MapType,
}

impl<W: Write> Visitor for Writer<'_, W> {
    fn cell(&mut self, key: &[u8], image: &[u8], glance: &Glance) -> Result<bool, StorageError> {
        let damaged = || StorageError::damaged_cell(&self.map, key);
        let key_text = std::str::from_utf8(key).map_err(|_| damaged())?;
        let (_, parts) = Image::parts(image).map_err(|_| damaged())?;
        let parts = parts.collect::<Result<Vec<_>, _>>().map_err(|_| damaged())?;

        self.begin_line();
        self.lines.extend_from_slice(b",\"key\":");
        write_string(&mut self.lines, key_text);
        self.lines.extend_from_slice(b",\"applied\":");
        write_time(&mut self.lines, glance.applied);
        write_state(&mut self.lines, self.map_type, &parts);
        self.lines.extend_from_slice(b"}\n");

        self.exported.counts.add(glance, self.now_ms);
        if self.lines.len() >= WRITE_BYTES {
            self.write_lines()?;
        }
        if self.exported.counts.cells().is_multiple_of(PROGRESS_CELLS) {
            (self.progress)(&self.exported);
        }
        Ok(true)
    }
}

impl<W: Write> Writer<'_, W> {
    fn begin_line(&mut self) {
        self.lines.extend_from_slice(b"{\"map\":");
        write_string(&mut self.lines, &self.map);
        self.lines.extend_from_slice(b",\"type\":");
        write_string(&mut self.lines, self.map_type.as_str());
    }

    fn write_lines(&mut self) -> Result<(), StorageError> {
        self.out.write_all(&self.lines).map_err(StorageError::io("write", "the export"))?;
        self.exported.bytes += self.lines.len() as u64;
        self.lines.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Exported, StorageError> {
        self.write_lines()?;
        self.out.flush().map_err(StorageError::io("write", "the export"))?;
        (self.progress)(&self.exported);
        Ok(self.exported)
    }
}

/// Appends what the deltas of a cell are together, as further members of its line.
fn write_state(out: &mut Vec<u8>, map_type: MapType, parts: &[Part<'_>]) {
    match map_type {
        MapType::Lww => parts.iter().for_each(|part| write_lww(out, &part.delta)),
        MapType::Or => {
            out.extend_from_slice(b",\"values\":");
            write_list(out, parts, write_tagged);
            out.extend_from_slice(b",\"removed\":");
            write_list(out, parts, write_removed);
        }
        MapType::Counter => {
            parts.iter().for_each(|part| write_absorbed(out, &part.delta));
            out.extend_from_slice(b",\"slots\":");
            write_list(out, parts, write_slot);
        }
    }
}

/// Appends an array of what `write` makes of the parts; it writes nothing for those that do not belong there.
fn write_list(out: &mut Vec<u8>, parts: &[Part<'_>], write: impl Fn(&mut Vec<u8>, &Part<'_>)) {
    out.push(b'[');
    let start = out.len();
    for part in parts {
        let before = out.len();
        if before > start {
            out.push(b',');
        }
        let behind_comma = out.len();
        write(out, part);
        if out.len() == behind_comma {
            out.truncate(before);
        }
    }
    out.push(b']');
}

fn write_lww(out: &mut Vec<u8>, delta: &Delta<'_>) {
    let Delta::Lww { at, value, expires_ms } = delta else { return };
    match value {
        Some(value) => {
            out.extend_from_slice(b",\"value\":");
            out.extend_from_slice(value);
        }
        None => out.extend_from_slice(b",\"deleted\":true"),
    }
    if *expires_ms != 0 {
        out.extend_from_slice(b",\"expires_ms\":");
        write_integer(out, *expires_ms);
    }
    out.extend_from_slice(b",\"at\":");
    write_stamp(out, at);
}

fn write_tagged(out: &mut Vec<u8>, part: &Part<'_>) {
    let Delta::OrAdd { tag, value, at } = part.delta else { return };
    out.extend_from_slice(b"{\"tag\":");
    write_string(out, tag);
    out.extend_from_slice(b",\"value\":");
    out.extend_from_slice(value);
    out.extend_from_slice(b",\"at\":");
    write_stamp(out, &at);
    out.push(b'}');
}

fn write_removed(out: &mut Vec<u8>, part: &Part<'_>) {
    let Delta::OrRemove { tag } = part.delta else { return };
    out.extend_from_slice(b"{\"tag\":");
    write_string(out, tag);
    out.extend_from_slice(b",\"applied\":");
    write_time(out, part.applied);
    out.push(b'}');
}

fn write_absorbed(out: &mut Vec<u8>, delta: &Delta<'_>) {
    let &Delta::CounterAbsorbed { count: Count(count), through } = delta else { return };
    // No JSON number, as it may be beyond what one holds.
    out.extend_from_slice(b",\"absorbed\":{\"count\":\"");
    write_integer(out, count);
    out.extend_from_slice(b"\",\"through\":");
    write_time(out, through);
    out.push(b'}');
}

fn write_slot(out: &mut Vec<u8>, part: &Part<'_>) {
    let Delta::Counter { replica, added, subtracted } = part.delta else { return };
    out.extend_from_slice(b"{\"replica\":");
    write_string(out, replica.as_str());
    out.extend_from_slice(b",\"added\":");
    write_integer(out, added);
    out.extend_from_slice(b",\"subtracted\":");
    write_integer(out, subtracted);
    out.extend_from_slice(b",\"counted\":");
    write_time(out, part.applied);
    out.push(b'}');
}

fn write_stamp(out: &mut Vec<u8>, stamp: &Stamp) {
    out.push(b'"');
    stamp.write_to(out);
    out.push(b'"');
}

fn write_time(out: &mut Vec<u8>, time: Time) {
    out.push(b'"');
    write_integer(out, time.millis());
    out.push(b':');
    write_integer(out, time.counter());
    out.push(b'"');
}

//! What is found at start: reads the journal, tells a torn tail from damage, and makes the files fit to go on.
//!
//! A crash leaves at most one file with a fault, the last one, and only behind what was synced: each segment was
//! synced before the next was created, and marks say what had been synced when they were written. Every other
//! fault is damage: the disk has lost what it had promised to keep.
//!
//! Invariant: never panics and yields nothing that was not written, whatever the files hold. Nothing is changed
//! before every file was read; a crash in here leaves files that are recovered in the same way again.

use std::ops::Range;

use super::scan::{Flaw, Found, Gap, Scan};
use super::segment::{SEGMENT_HEADER_BYTES, Segment, first_sequence};
use super::{Disk, JOURNAL_FOLDER, StorageError, salvage};
use crate::crdt::Time;
use crate::handover::{Body, Fault, Record};

/// How to recover.
#[derive(Clone, Copy, Debug)]
pub struct RecoveryOptions {
    pub epoch: u64,
    /// Records up to this sequence number are in the base.
    pub folded: u64,
    /// Go on over damage, with everything that verifies.
    pub salvage: bool,
    /// Change nothing on the disk.
    pub read_only: bool,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Index into [`Recovered::segments`].
    pub segment: u32,
    pub offset: u32,
    pub bytes: u32,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The segments with something that is not folded, oldest first; synced, unless read only.
    pub segments: Vec<RecoveredSegment>,
    /// Of the next record to be written.
    pub next_sequence: u64,
    /// The newest tick of any record that was read.
    pub clock: Time,
    /// Those that are not folded, marks left out.
    pub records: u64,
    /// What was being written when the server stopped. It was never reported durable.
    pub torn: Option<Torn>,
    /// Damage, with `salvage` only.
    pub lost: Vec<Lost>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredSegment {
    /// Relative to the data directory.
    pub name: String,
    /// What the checksums of its records begin with.
    pub salt: u32,
    /// The sequence number behind its last record.
    pub next_sequence: u64,
    pub bytes: u64,
}

/// The end of the last file, which was cut off; a file without a single record was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    pub file: String,
    pub offset: u64,
    pub bytes: u64,
}

/// Bytes that were synced once and can no longer be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub file: String,
    /// Of the file as it was found; salvaging writes it anew.
    pub offset: u64,
    /// 0: what should follow here is not there at all.
    pub bytes: u64,
    /// Records that should be here and are in no file, marks included; 0 also if nobody can tell how many.
    pub records: u64,
    pub fault: String,
}

/// Reads all segments that are not folded and calls `each`, in order, for every record that verifies and is not
/// folded. Then cuts a torn tail off, removes what is folded, and syncs what is left.
///
/// With `salvage` damaged files are written anew first, without the damage.
///
/// # Errors
/// [`StorageError::Damaged`] without `salvage`, [`StorageError::NotOurs`], [`StorageError::TooNew`],
/// [`StorageError::Io`]. Nothing was changed then, and what `each` was given is worth nothing.
pub fn recover(
    disk: &dyn Disk,
    options: RecoveryOptions,
    each: &mut dyn FnMut(&Record<'_>, Location),
) -> Result<Recovered, StorageError> {
    let (mut folded, mut names) = unfolded_segments(disk, options.folded)?;
    let mut lost = Vec::new();
    if options.salvage && !options.read_only {
        lost = salvage::repair(disk, &names, options)?;
        names = segments(disk)?;
        // One that is folded stays so, even if the one that said it was removed.
        names.retain(|(_, name)| !folded.contains(name));
    }

    let mut reading = Reading::new(options, lost, each);
    for (index, (first, name)) in names.iter().enumerate() {
        let next_first = names.get(index + 1).map(|(first, _)| *first);
        let read = if options.salvage { Segment::read_what_can_be } else { Segment::read };
        reading.read(&read(disk, name, options.epoch)?, *first, next_first)?;
    }
    folded.append(&mut reading.to_remove);
    let unsynced_from = reading.unsynced_from();
    let (recovered, cut) = (reading.recovered, reading.cut);
    if !options.read_only {
        settle(disk, &recovered, cut, unsynced_from, &folded)?;
    }
    Ok(recovered)
}

/// The first sequence numbers and names of segments, in order.
pub(super) type Names = Vec<(u64, String)>;

/// The names of the segments that are wholly folded, and the others: that the next one begins at or before the
/// first record which is not folded says so without a look.
pub(super) fn unfolded_segments(disk: &dyn Disk, folded: u64) -> Result<(Vec<String>, Names), StorageError> {
    let mut names = segments(disk)?;
    let is_folded = |pair: &&[(u64, String)]| pair[1].0.saturating_sub(1) <= folded;
    let count = names.windows(2).take_while(is_folded).count();
    let unfolded = names.split_off(count);
    Ok((names.into_iter().map(|(_, name)| name).collect(), unfolded))
}

fn segments(disk: &dyn Disk) -> Result<Names, StorageError> {
    let listed = disk.list(JOURNAL_FOLDER).map_err(StorageError::io("list", JOURNAL_FOLDER))?;
    let with_first = |name: String| Some((first_sequence(&name)?, format!("{JOURNAL_FOLDER}/{name}")));
    let mut names: Names = listed.into_iter().filter_map(with_first).collect();
    names.sort_unstable();
    Ok(names)
}

/// Makes the files what was recovered. In this order a crash in here leaves nothing that looks like damage.
fn settle(
    disk: &dyn Disk,
    recovered: &Recovered,
    cut: Option<(String, u64)>,
    unsynced_from: u64,
    to_remove: &[String],
) -> Result<(), StorageError> {
    for name in to_remove {
        disk.remove(name).map_err(StorageError::io("remove", name))?;
    }
    if let Some((name, len)) = cut {
        let file = disk.open(&name).map_err(StorageError::io("open", &name))?;
        file.set_len(len).map_err(StorageError::io("cut", &name))?;
    }
    if let Some(RecoveredSegment { name, bytes, .. }) = recovered.segments.last() {
        rewrite(disk, name, unsynced_from..*bytes)?;
    }
    // Clients may be told of all this from now on, and what was read may have been in the cache only.
    for RecoveredSegment { name, .. } in &recovered.segments {
        let file = disk.open(name).map_err(StorageError::io("open", name))?;
        file.sync().map_err(StorageError::io("sync", name))?;
    }
    disk.sync_folder(JOURNAL_FOLDER).map_err(StorageError::io("sync", JOURNAL_FOLDER))
}

/// Writes what was read once more. If a sync of it failed before, the kernel has it in memory and counts it as
/// written, so that a sync alone would say yes and do nothing; the next power cut would take it.
fn rewrite(disk: &dyn Disk, name: &str, range: Range<u64>) -> Result<(), StorageError> {
    let file = disk.open(name).map_err(StorageError::io("open", name))?;
    let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
    file.read_at(&mut bytes, range.start).map_err(StorageError::io("read", name))?;
    file.write_at(&bytes, range.start).map_err(StorageError::io("write", name))
}

/// The pass over all files.
struct Reading<'a> {
    options: RecoveryOptions,
    each: &'a mut dyn FnMut(&Record<'_>, Location),
    recovered: Recovered,
    /// The file read before, and its size.
    previous: Option<(String, u64)>,
    to_remove: Vec<String>,
    /// A file that keeps only so many bytes.
    cut: Option<(String, u64)>,
    /// Groups of the file at hand that no mark calls synced: the sequence number and the offset of each.
    unsynced: Vec<(u64, u64)>,
}

impl<'a> Reading<'a> {
    fn new(
        options: RecoveryOptions,
        lost: Vec<Lost>,
        each: &'a mut dyn FnMut(&Record<'_>, Location),
    ) -> Self {
        let recovered = Recovered {
            segments: Vec::new(),
            next_sequence: options.folded.saturating_add(1),
            clock: Time::ZERO,
            records: 0,
            torn: None,
            lost,
        };
        Self {
            options,
            each,
            recovered,
            previous: None,
            to_remove: Vec::new(),
            cut: None,
            unsynced: Vec::new(),
        }
    }

    /// The offset in the last file from which on nobody has said that it is synced.
    fn unsynced_from(&self) -> u64 {
        match self.unsynced.first() {
            // The header goes with the first group.
            Some((_, offset)) if *offset == SEGMENT_HEADER_BYTES as u64 => 0,
            Some((_, offset)) => *offset,
            None => 0,
        }
    }

    /// Reads one file; `next_first` is what the one behind it begins with.
    fn read(&mut self, segment: &Segment, first: u64, next_first: Option<u64>) -> Result<(), StorageError> {
        if first > self.recovered.next_sequence {
            self.missing_before(segment, first)?;
        }
        let mut scan = segment.scan();
        self.unsynced.clear();
        let mut evidence = Evidence::new(segment, next_first, self.options.folded);
        let (mut end, mut has_records, mut lacks_end) = (first, false, false);
        while let Some(found) = scan.next() {
            match found {
                Found::Record { offset, record } => {
                    (end, has_records) = (scan.expected(), true);
                    self.record(&record, offset);
                }
                Found::Gap(gap) if evidence.was_synced(&gap, &scan) => {
                    if gap.next.is_none() {
                        // What the end of the file lacks is reported here, not with the next file.
                        (end, lacks_end) = (next_first.unwrap_or(end), true);
                    }
                    self.damage(lost(segment, &gap, next_first))?;
                }
                Found::Gap(gap) => {
                    self.tear(segment, &gap, scan);
                    break;
                }
            }
        }
        let is_last = next_first.is_none();
        if is_last && !has_records && !lacks_end {
            self.tear_all(segment);
        }
        self.recovered.next_sequence = self.recovered.next_sequence.max(end);
        if has_records && end > self.options.folded.saturating_add(1) {
            self.keep(segment, end);
        } else {
            self.to_remove.push(segment.name().to_owned());
            self.cut = None;
        }
        self.previous = Some((segment.name().to_owned(), segment.bytes().len() as u64));
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>, offset: usize) {
        self.recovered.clock = self.recovered.clock.max(record.applied);
        if let Body::Mark { synced_through } = record.body {
            self.unsynced.retain(|(sequence, _)| *sequence > synced_through);
            self.unsynced.push((record.sequence, offset as u64));
        }
        if record.sequence <= self.options.folded {
            return;
        }
        self.recovered.records += u64::from(!matches!(record.body, Body::Mark { .. }));
        // A file whose size needs more than 32 bits is not read, and there is not room for 2^32 files.
        let segment = self.recovered.segments.len() as u32;
        (self.each)(record, Location { segment, offset: offset as u32, bytes: record.bytes as u32 });
    }

    fn keep(&mut self, segment: &Segment, next_sequence: u64) {
        let size = segment.bytes().len() as u64;
        self.recovered.segments.push(RecoveredSegment {
            name: segment.name().to_owned(),
            salt: segment.salt(),
            next_sequence,
            bytes: self.cut.as_ref().map_or(size, |(_, len)| *len),
        });
    }

    /// `behind` goes on behind the gap.
    fn tear(&mut self, segment: &Segment, gap: &Gap, behind: Scan<'_>) {
        let (file, offset) = (segment.name().to_owned(), gap.offset as u64);
        self.cut = Some((file.clone(), offset));
        let end = if segment.is_prepared() { gap.end(behind) } else { segment.bytes().len() };
        let bytes = end as u64 - offset;
        self.recovered.torn = (bytes > 0).then_some(Torn { file, offset, bytes });
    }

    /// There is no record in it.
    fn tear_all(&mut self, segment: &Segment) {
        let torn = self.recovered.torn.take();
        let bytes = torn.map_or(segment.bytes().len() as u64, |torn| torn.offset + torn.bytes);
        if bytes > 0 && !segment.is_blank() {
            self.recovered.torn = Some(Torn { file: segment.name().to_owned(), offset: 0, bytes });
        }
    }

    /// The segment begins later than it should.
    fn missing_before(&mut self, segment: &Segment, first: u64) -> Result<(), StorageError> {
        let expected = self.recovered.next_sequence;
        let (file, offset) = self.previous.take().unwrap_or_else(|| (segment.name().to_owned(), 0));
        self.damage(missing(file, offset, expected..first))
    }

    fn damage(&mut self, lost: Lost) -> Result<(), StorageError> {
        if !self.options.salvage {
            let Lost { file, offset, fault, .. } = lost;
            return Err(StorageError::Damaged { file, offset, fault });
        }
        self.recovered.lost.push(lost);
        Ok(())
    }
}

/// What tells a torn tail from damage.
pub(super) struct Evidence<'a> {
    segment: &'a Segment,
    next_first: Option<u64>,
    folded: u64,
    /// The largest number that a mark behind the first gap calls synced.
    marked: Option<u64>,
}

impl<'a> Evidence<'a> {
    /// For one segment; `next_first` is what the one behind it begins with.
    pub fn new(segment: &'a Segment, next_first: Option<u64>, folded: u64) -> Self {
        Self { segment, next_first, folded, marked: None }
    }

    /// Whether what should be where `gap` is had been synced once, so that the gap is damage; `behind` goes on
    /// behind the gap.
    pub fn was_synced(&mut self, gap: &Gap, behind: &Scan<'_>) -> bool {
        // A file is begun only after the one before was synced.
        self.next_first.is_some()
            || gap.expected <= self.folded
            // The next group was begun after everything before it was there.
            || gap.flaw != Flaw::Header && gap.next == Some(gap.expected)
            // Its checksum is right: it was written as a whole, by something that knows more.
            || gap.flaw == Flaw::Record(Fault::Content)
            // No crash leaves what a disk refuses to give.
            || self.segment.unreadable_in(gap.range()).is_some()
            // For a later gap the same marks will do: one before it cannot know of what is in it.
            || *self.marked.get_or_insert_with(|| newest_mark(behind.clone())) >= gap.expected
    }
}

/// The largest number that a mark calls synced; 0: there is none.
fn newest_mark(scan: Scan<'_>) -> u64 {
    let marked = scan.filter_map(|found| match found {
        Found::Record { record: Record { body: Body::Mark { synced_through }, .. }, .. } => {
            Some(synced_through)
        }
        _ => None,
    });
    marked.max().unwrap_or(0)
}

/// What is lost with a gap.
pub(super) fn lost(segment: &Segment, gap: &Gap, next_first: Option<u64>) -> Lost {
    let end = gap.next.or(next_first).unwrap_or(gap.expected);
    let file = segment.name().to_owned();
    if gap.flaw == Flaw::Missing {
        return missing(file, gap.offset as u64, gap.expected..end);
    }
    Lost {
        file,
        offset: gap.offset as u64,
        bytes: gap.bytes as u64,
        records: end.saturating_sub(gap.expected),
        fault: segment.unreadable_in(gap.range()).unwrap_or_else(|| gap.flaw.to_string()),
    }
}

/// Records that are in no file, though files before and behind are there.
pub(super) fn missing(file: String, offset: u64, sequences: Range<u64>) -> Lost {
    let Range { start, end } = sequences;
    let fault = format!("the records {start} to {} should be here and are not", end - 1);
    Lost { file, offset, bytes: 0, records: end - start, fault }
}

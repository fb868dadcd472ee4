//! The checkpoint: has complete segments folded into the base, step by step (`folding.rs`), and deletes them.
//!
//! Invariant: a segment is deleted only after everything in it is in the base that the next start will find, and what is said
//! to be folded is.
//!
//! Folds have the lowest priority, so what they share with the thread that writes the journal they hold for one look only
//! (`segments.rs`, `types.rs`, `shards.rs`): who waits for a lock waits for a thread that may not get a core for long.

use super::ending;
use super::folding::{At, Folding};
use super::parts::Parts;
use super::segments::Pace;
use crate::io::{allocator, host};
use crate::storage::{BASE_FILE, Compaction, Disk, FinishedSegment, StorageError};

/// Cells a checkpoint looks at for old removals: about a tenth of what it folds from a full segment of small changes.
const SWEEP_CELLS: usize = 50_000;

/// How long it is until another try to make the base smaller, as a multiple of the last, which came to nothing.
const COMPACTION_PAUSE: u64 = 10;
const COMPACTION_PAUSE_NS_MIN: u64 = 60_000_000_000;
/// The same after one that made the file hardly smaller.
const USELESS_PAUSE_NS: u64 = 3_600_000_000_000;

/// Folds what is finished until the storage stops.
pub(super) fn run(parts: &Parts, pace: Pace) {
    if pace == Pace::Idle
        && let Err(error) = host::yield_to_all()
    {
        tracing::warn!("the checkpoint thread cannot lower its priority, so shards may notice it: {error}");
    }
    let mut compact_from_ns = 0;
    while let Some(segments) = parts.segments.next(pace) {
        let bytes_of = |segments: &[FinishedSegment]| segments.iter().map(|segment| segment.bytes).sum();
        parts.pressure.fold_began(bytes_of(&segments), parts.clock.elapsed_ns());
        let result = fold(parts, &segments, pace);
        // The thread may rest for long now, and what it holds would be missing elsewhere.
        allocator::give_back();
        let folded = &segments[..result.as_ref().map_or(0, |(count, _)| *count)];
        parts.pressure.fold_ended(bytes_of(folded), parts.clock.elapsed_ns());
        match result {
            // In the hands of this thread, so that the other one does not try the same.
            Ok((_, At::WithoutRoom)) => parts.room.await_fold(),
            Ok(_) => {}
            // It was waiting for room when the storage stopped. What it had not committed, the next start folds.
            Err(_) if parts.room.is_stopping() => return,
            Err(error) => ending::end_process("the journal cannot be folded into the base", &error),
        }
        let is_whole = folded.len() == segments.len();
        if is_whole && pace == Pace::Idle && parts.clock.elapsed_ns() >= compact_from_ns {
            match compact(parts, pace) {
                Ok(from_ns) => compact_from_ns = from_ns,
                Err(error) => ending::end_process("a smaller base cannot take the place of the base", &error),
            }
        }
        if is_whole {
            parts.room.folded();
        }
        parts.segments.folded(folded.len());
        folded.iter().for_each(|segment| use_again_or_delete(parts, segment));
        parts.progress.metrics().segments.set(parts.segments.waiting() as u64);
    }
}

/// Folds segments; how many of them are wholly in the base, and where it has ended.
fn fold(parts: &Parts, segments: &[FinishedSegment], pace: Pace) -> Result<(usize, At), StorageError> {
    let began_ns = parts.clock.elapsed_ns();
    let may_go_on = || parts.segments.may_go_on(pace);
    let unix_ms = || parts.clock.now().unix_ms;
    let mut folding = Folding::new(segments.to_vec(), SWEEP_CELLS);
    let (count, at) = loop {
        let at = folding.step(&parts.data_set(), unix_ms(), &may_go_on)?;
        // Else the next start would find neither.
        parts.base_place.check().map_err(StorageError::io("rely on", BASE_FILE))?;
        match at {
            At::Within if may_go_on() => {}
            At::InBase => {}
            At::Within | At::WithoutRoom => break (folding.give_up(&parts.data_set(), unix_ms())?, at),
            At::End => break (segments.len(), at),
        }
    };
    if count > 0 {
        // They may have waited for something they can evict.
        (0..parts.shards.count()).for_each(|shard| parts.shards.wake(shard));
    }
    let folded = folding.folded();
    tracing::debug!(
        first = segments[0].name,
        segments = count,
        records = folded.records,
        cells = folded.cells,
        transactions = folded.transactions,
        swept = folding.swept(),
        ms = (parts.clock.elapsed_ns() - began_ns) / 1_000_000,
        "folded"
    );
    Ok((count, at))
}

/// Gives back what the file of the base has free, if it is most of it, while nobody folds and nobody is in a hurry. When to
/// look again.
fn compact(parts: &Parts, pace: Pace) -> Result<u64, StorageError> {
    let began_ns = parts.clock.elapsed_ns();
    if !matches!(parts.base.is_worth_compacting(), Ok(true)) {
        return Ok(began_ns);
    }
    // Before its names change, as what is there under them is about to be removed.
    parts.base_place.check().map_err(StorageError::io("rely on", BASE_FILE))?;
    let compaction = parts.base.compact(&parts.disk, &|| parts.segments.may_go_on(pace))?;
    let ended_ns = parts.clock.elapsed_ns();
    match compaction {
        Compaction::Done { before, after } => {
            parts.base_place.renew().map_err(StorageError::io("read", BASE_FILE))?;
            parts.progress.metrics().compactions.add(1);
            let ms = (ended_ns - began_ns) / 1_000_000;
            tracing::info!(
                "{BASE_FILE} had {before} bytes, most of them free, and has {after} now; it took {ms} ms"
            );
            // Where there is nothing to gain, there will not be for a while.
            let pause_ns = if after <= before / 2 { COMPACTION_PAUSE_NS_MIN } else { USELESS_PAUSE_NS };
            return Ok(ended_ns + pause_ns);
        }
        Compaction::Interrupted => {}
        Compaction::Failed(error) => tracing::warn!("{BASE_FILE} cannot be made smaller, and stays: {error}"),
    }
    Ok(ended_ns + (COMPACTION_PAUSE * (ended_ns - began_ns)).max(COMPACTION_PAUSE_NS_MIN))
}

/// What stays of a folded segment is deleted at the next start, as the base knows that it is folded.
fn use_again_or_delete(parts: &Parts, segment: &FinishedSegment) {
    let FinishedSegment { name, .. } = segment;
    // Where room is short, that is what folds are for.
    if !parts.progress.is_read_only() {
        match parts.spares.recycle(&parts.disk, segment) {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => return tracing::warn!("{name} is folded and cannot be used again: {error}"),
        }
    }
    match parts.disk.remove(name) {
        Ok(()) => parts.spares.deleted(segment),
        Err(error) => tracing::warn!("{name} is folded and cannot be deleted: {error}"),
    }
}

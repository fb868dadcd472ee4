//! Makes redb check a file before it trusts it.
//!
//! After a clean end, and after a crash too with quick repair, redb reads its tables without comparing a checksum, and
//! a damaged page ends in a panic. What has it compare them all is the state of a file that lost its power in a
//! commit of one phase. So the header, which has no checksum, is checked here, and is then shown to redb in that
//! state; from the checksum in its commit slot on, each page vouches for the next.
//!
//! ```text
//! 0        9   10  12          16              20                24      28         32     64       192      320
//! ┌────────┬───┬───┬───────────┬───────────────┬─────────────────┬───────┬──────────┬──────┬────────┬────────┐
//! │ magic  │god│   │ page size │ header pages  │ pages of region │ whole │ trailing │ …    │ slot 0 │ slot 1 │
//! └────────┴───┴───┴───────────┴───────────────┴─────────────────┴───────┴──────────┴──────┴────────┴────────┘
//!  god: 1 which slot counts, 2 not ended cleanly, 4 commit of two phases
//!  slot: version (1) … transaction (8 at 104) checksum (16 at 112: xxh3-128 of what is before it)
//! ```

use std::io;

use redb::{RepairSession, StorageBackend};
use xxhash_rust::xxh3::xxh3_128;

const HEADER_BYTES: usize = 320;
const MAGIC: [u8; 9] = *b"redb\x1A\x0A\xA9\x0D\x0A";
const GOD_BYTE: usize = 9;
const WHICH_SLOT: u8 = 1;
const IS_UNCLEAN: u8 = 2;
const TWO_PHASES: u8 = 4;
const PAGE_BYTES: u64 = 4096;
/// Pages of a region: before its data, and of data.
const REGION_HEADER_PAGES: u64 = 130;
const REGION_DATA_PAGES: u64 = 1 << 20;
/// What stands at 12, 16 and 20 of every file that this version of redb makes.
const GEOMETRY: [u32; 3] = [PAGE_BYTES as u32, REGION_HEADER_PAGES as u32, REGION_DATA_PAGES as u32];
const GEOMETRY_AT: usize = 12;
/// Regions that are whole, and the pages of the last one. redb computes them anew from the length of an unclean file.
const REGIONS_AT: usize = 24;
const SLOTS_AT: usize = 64;
const SLOT_BYTES: usize = 128;
const SLOT_CHECKSUM_AT: usize = 112;
const SLOT_TRANSACTION_AT: usize = 104;
const VERSION: u8 = 3;

/// Checks the header and changes it so that redb, when it opens this, checks everything else. Says what is wrong,
/// if something is.
///
/// # Errors
/// Of the backend.
pub(super) fn check_everything(backend: &impl StorageBackend) -> io::Result<Result<(), String>> {
    let len = backend.len()?;
    if !is_len(len) {
        return Ok(Err(format!("{len} bytes is no length that the file can have")));
    }
    let mut header = backend.read(0, HEADER_BYTES)?;
    match show_unclean(&mut header) {
        Some(()) => backend.write(0, &header).map(Ok),
        None => Ok(Err("the header of the file is wrong".to_owned())),
    }
}

/// Checks the header alone, for whoever checks the pages as they are read. Says what is wrong, if something is.
///
/// # Errors
/// Of the backend.
pub(super) fn check_header(backend: &impl StorageBackend) -> io::Result<Result<(), String>> {
    let len = backend.len()?;
    if !is_len(len) {
        return Ok(Err(format!("{len} bytes is no length that the file can have")));
    }
    let mut header = backend.read(0, HEADER_BYTES)?;
    let is_sound = are_regions_within(&header, len) && show_unclean(&mut header).is_some();
    Ok(if is_sound { Ok(()) } else { Err("the header of the file is wrong".to_owned()) })
}

/// Takes out a commit that was prepared and nothing more, as a crash leaves it. redb would go back to the one before and leave
/// it there, and after a clean end the current one would look as if it were not the last. Takes no room on the disk.
///
/// # Errors
/// Of the backend.
pub(super) fn forget_prepared(backend: &impl StorageBackend) -> io::Result<()> {
    let mut header = backend.read(0, HEADER_BYTES)?;
    let is_in_two_phases = header[GOD_BYTE] & (IS_UNCLEAN | TWO_PHASES) == IS_UNCLEAN | TWO_PHASES;
    let Some((current, other)) = slots(&header).filter(|_| is_in_two_phases) else { return Ok(()) };
    let newest = transaction_of(current);
    if newest.is_none() || transaction_of(other) <= newest {
        return Ok(());
    }
    let both = [current, current].concat();
    header[SLOTS_AT..HEADER_BYTES].copy_from_slice(&both);
    backend.write(0, &header)?;
    backend.sync_data(false)
}

/// The slot that counts, and the other one.
fn slots(header: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = header.get(SLOTS_AT..SLOTS_AT + SLOT_BYTES)?;
    let second = header.get(SLOTS_AT + SLOT_BYTES..HEADER_BYTES)?;
    Some(if header.get(GOD_BYTE)? & WHICH_SLOT == 0 { (first, second) } else { (second, first) })
}

/// Whether the regions that the header tells of lie within the file.
fn are_regions_within(header: &[u8], len: u64) -> bool {
    let number =
        |at: usize| header.get(at..)?.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
    let (Some(whole), Some(trailing)) = (number(REGIONS_AT), number(REGIONS_AT + 4)) else { return false };
    let trailing = if trailing > 0 { REGION_HEADER_PAGES + trailing } else { 0 };
    let pages = 1 + whole * (REGION_HEADER_PAGES + REGION_DATA_PAGES) + trailing;
    trailing <= REGION_HEADER_PAGES + REGION_DATA_PAGES && whole + trailing > 0 && pages * PAGE_BYTES <= len
}

/// Whether a file of so many bytes can be cut into regions.
const fn is_len(len: u64) -> bool {
    let pages = (len / PAGE_BYTES).saturating_sub(1);
    let trailing = pages % (REGION_HEADER_PAGES + REGION_DATA_PAGES);
    let is_cut = trailing > 0 && trailing <= REGION_HEADER_PAGES;
    pages > 0 && len.is_multiple_of(PAGE_BYTES) && !is_cut
}

/// `None` if the header is damaged.
fn show_unclean(header: &mut [u8]) -> Option<()> {
    let number = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let geometry = [number(GEOMETRY_AT)?, number(GEOMETRY_AT + 4)?, number(GEOMETRY_AT + 8)?];
    if !header.starts_with(&MAGIC) || geometry != GEOMETRY {
        return None;
    }
    let god = *header.get(GOD_BYTE)?;
    let (current, other) = slots(header)?;
    // A newer commit than the current one was only prepared, which does not happen before a clean end: see `forget_prepared`.
    let other_is_newer = transaction_of(other).is_some_and(|other| Some(other) > transaction_of(current));
    if other_is_newer && god & IS_UNCLEAN == 0 {
        return None;
    }
    transaction_of(current)?;
    // In both places, so that there is nothing to roll back to.
    let slots = [current, current].concat();
    header.get_mut(SLOTS_AT..HEADER_BYTES)?.copy_from_slice(&slots);
    *header.get_mut(GOD_BYTE)? = IS_UNCLEAN;
    let one_page = [0_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat();
    header.get_mut(REGIONS_AT..REGIONS_AT + one_page.len())?.copy_from_slice(&one_page);
    Some(())
}

/// The number of the commit in a slot that verifies.
fn transaction_of(slot: &[u8]) -> Option<u64> {
    let (content, checksum) = slot.split_at_checked(SLOT_CHECKSUM_AT)?;
    let is_whole = content.first() == Some(&VERSION) && checksum == xxh3_128(content).to_le_bytes();
    let transaction = content.get(SLOT_TRANSACTION_AT..)?.first_chunk()?;
    is_whole.then(|| u64::from_le_bytes(*transaction))
}

/// Stops redb where it would go back to the commit before, as the current one does not verify.
pub(super) fn abort_rollback(session: &mut RepairSession) {
    // 0.0 is the beginning and 0.6 the end of the check; only a rollback says anything between.
    if (0.1..0.5).contains(&session.progress()) {
        session.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::backend::LayeredBackend;

    /// The file of a new base, as redb makes it.
    fn fresh() -> Vec<u8> {
        let path = std::env::temp_dir().join(format!("annulus-header-{}", std::process::id()));
        let database = redb::Builder::new().create_with_file_format_v3(true).create(&path).unwrap();
        drop(database);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        bytes
    }

    fn check(bytes: &[u8]) -> Result<(), String> {
        let backend = LayeredBackend::new(None).unwrap();
        backend.set_len(bytes.len() as u64).unwrap();
        backend.write(0, bytes).unwrap();
        check_everything(&backend).unwrap()
    }

    #[test]
    fn a_header_of_this_redb_passes_and_a_change_of_what_counts_does_not() {
        let sound = fresh();
        assert_eq!(check(&sound), Ok(()));
        let current = if sound[GOD_BYTE] & WHICH_SLOT == 0 { SLOTS_AT } else { SLOTS_AT + SLOT_BYTES };
        for at in (0..GOD_BYTE).chain(GEOMETRY_AT..REGIONS_AT).chain(current..current + SLOT_BYTES) {
            let mut damaged = sound.clone();
            damaged[at] ^= 0x10;
            assert!(check(&damaged).is_err(), "byte {at}");
        }
        let mut damaged = sound.clone();
        damaged[GOD_BYTE] ^= WHICH_SLOT;
        assert!(check(&damaged).is_err(), "the commit before");
        for len in [0, 1, PAGE_BYTES as usize, 50 * PAGE_BYTES as usize, sound.len() - 1] {
            assert!(check(&sound[..len]).is_err(), "{len} bytes");
        }
    }
}

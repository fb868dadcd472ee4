//! A base that is mostly free pages, and the smaller one that takes its place.

use annulus::crdt::{Stamp, Time};
use annulus::handover::Chunk;
use annulus::storage::{BASE_FILE, Base, Compaction, Disk, LoadRequest};

use crate::crdt_histories::{Change, What, node};
use crate::disks::{MemoryDisk, on_each_disk};
use crate::journal_files::{EPOCH, JournalFiles};
use crate::model::{Accepted, Loaded, load, no_tail, open_base, records_of};

/// Enough for a file that is worth it.
const KEYS: u64 = 40_000;
const FEW_KEYS: u64 = 4_000;
const VALUE_BYTES: usize = 300;
const KEPT: u64 = 10;

fn change(number: u64, applied: Time, value: Option<Vec<u8>>) -> Accepted {
    let what = What::Lww { at: Stamp { time: applied, node: node(0) }, value, expires_ms: 0 };
    Accepted { change: Change { key: format!("{number:06}").into_bytes(), what }, applied }
}

/// Many keys of which one in [`KEPT`] is left, and nothing of the others.
fn mostly_free(disk: &dyn Disk, keys: u64) -> Base {
    let base = open_base(disk);
    let mut journal = JournalFiles::new(disk);
    let sets = (0..keys).map(|n| change(n, Time::new(1 + n, 0), Some(vec![b'1'; VALUE_BYTES])));
    base.fold(disk, &journal.write(&records_of("m", &sets.collect::<Vec<_>>())), EPOCH)
        .expect("the disk does what it is told");
    let deleted = (0..keys).filter(|n| n % KEPT > 0);
    let deletes = deleted.map(|n| change(n, Time::new(keys + 1 + n, 0), None));
    base.fold(disk, &journal.write(&records_of("m", &deletes.collect::<Vec<_>>())), EPOCH)
        .expect("the disk does what it is told");
    while !base.sweep(Time::new(3 * keys, 0), 0, 10_000).expect("the disk does what it is told").is_complete {
    }
    base
}

fn loaded(base: &Base, keys: u64) -> Loaded {
    let loaded = load(base, &no_tail(), "m", 1, Time::ZERO);
    assert_eq!(loaded.state.len() as u64, keys / KEPT);
    loaded
}

fn file_bytes(disk: &dyn Disk) -> u64 {
    disk.open(BASE_FILE)
        .expect("the disk does what it is told")
        .size()
        .expect("the disk does what it is told")
}

#[test]
fn a_base_of_free_pages_shrinks_to_what_is_used_while_it_is_read() {
    on_each_disk(|disk| {
        let base = mostly_free(disk, KEYS);
        let (before, used) = (loaded(&base, KEYS), base.used_bytes().unwrap());
        let long = file_bytes(disk);
        assert!(base.is_worth_compacting().unwrap(), "{used} of {long} bytes");

        // Whoever reads goes on with what it has begun with.
        let mut compacted = None;
        let mut cells = 0;
        let request = LoadRequest { map: "m", owner: 0, shards: 1, forget_before: Time::ZERO };
        let mut take = |chunk: Chunk| {
            cells += chunk.iter().count() as u64;
            compacted.get_or_insert_with(|| base.compact(disk, &|| true).unwrap());
            true
        };
        base.load(&no_tail(), &request, &mut take).unwrap();
        assert_eq!(cells, KEYS / KEPT);
        let short = file_bytes(disk);
        assert!(
            matches!(compacted, Some(Compaction::Done { before, after }) if (before, after) == (long, short))
        );
        assert!(short <= 2 * used + (4 << 20), "{short} bytes for {used} of {long}");
        assert!(loaded(&base, KEYS) == before);
        let used_then = base.used_bytes().unwrap();
        assert!((used / 10 * 9..=used).contains(&used_then), "in fewer blocks: {used_then} of {used}");
        assert!(!base.is_worth_compacting().unwrap());
        assert!(disk.list("").unwrap().iter().all(|name| !name.ends_with(".new")));

        // It is the base from now on.
        let folded = base.folded();
        let mut journal = JournalFiles::new(disk);
        journal.next_sequence = folded + 1;
        let more = change(KEYS, Time::new(5 * KEYS, 0), Some(b"2".to_vec()));
        base.fold(disk, &journal.write(&records_of("m", &[more])), EPOCH).unwrap();
        drop(base);
        let base = open_base(disk);
        assert_eq!(load(&base, &no_tail(), "m", 1, Time::ZERO).state.len() as u64, KEYS / KEPT + 1);
        assert!(base.folded() > folded && base.used_bytes().unwrap() > used_then);
    });
}

#[test]
fn a_copy_that_is_given_up_leaves_nothing_and_changes_nothing() {
    let disk = MemoryDisk::default();
    let base = mostly_free(&disk, FEW_KEYS);
    let before = loaded(&base, FEW_KEYS);
    let mut left = 1;
    for fails in [false, true] {
        if fails {
            // The disk fails in the middle of it.
            disk.fail_after_syncs(2);
        }
        let outcome = base.compact(&disk, &|| fails);
        if fails {
            assert!(matches!(outcome, Ok(Compaction::Failed(_)) | Err(_)), "{outcome:?}");
            break;
        }
        assert!(matches!(outcome, Ok(Compaction::Interrupted)));
        assert_eq!(loaded(&base, FEW_KEYS), before);
        assert!(disk.list("").unwrap().iter().all(|name| !name.ends_with(".new")));
        left -= 1;
    }
    assert_eq!(left, 0);
}

/// Goal: the power may go at any moment. Method: each sync of it, of files and of the folder, fails in turn; what was synced is
/// opened, and compacted again.
#[test]
fn a_power_cut_at_any_sync_of_a_copy_leaves_the_one_or_the_other() {
    let original = MemoryDisk::default();
    let before = loaded(&mostly_free(&original, FEW_KEYS), FEW_KEYS);
    for syncs in 1.. {
        let disk = original.after_power_cut();
        let base = open_base(&disk);
        disk.fail_after_syncs(syncs);
        let outcome = base.compact(&disk, &|| true);
        let is_over = matches!(outcome, Ok(Compaction::Done { .. }));
        assert!(is_over || disk.has_failed(), "{outcome:?}");
        drop(base);

        let disk = disk.after_power_cut();
        let base = open_base(&disk);
        assert_eq!(loaded(&base, FEW_KEYS), before, "after {syncs} syncs");
        assert!(disk.list("").unwrap().iter().all(|name| !name.ends_with(".new")));
        if is_over {
            assert!(syncs > 6, "it has synced only {syncs} times");
            return;
        }
    }
}

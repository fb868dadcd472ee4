//! What is before a record that drops all maps is gone, wherever it is found and whenever the power goes.

use annulus::crdt::{Map, MapType, Time};
use annulus::storage::backup::{self, CopyOptions};
use annulus::storage::export::{ExportOptions, export};
use annulus::storage::{Base, Disk, Format, StorageError};

use crate::crdt_histories::Random;
use crate::data_dir::{DataDir, format, verified};
use crate::disks::{MemoryDisk, TempFolder, each_seed_on_each_disk};
use crate::journal_files::{EPOCH, JournalFiles, batch_of_clear};
use crate::loading::many;
use crate::model::{
    Accepted, HASHER, Loaded, accepted_history, load, no_tail, open_base, records_of, recovered_tail,
    state_of,
};

const CACHE_BYTES: usize = 8 << 20;
const CLEARED: Time = Time::new(1 << 40, 0);

fn load_all(base: &Base, disk: &dyn Disk) -> Loaded {
    let tail = recovered_tail(disk, base);
    base.follow(&tail).expect("the base can be written");
    load(base, &tail, "m", 2, Time::ZERO)
}

fn assert_is(loaded: &Loaded, map: &Map) {
    assert_eq!(loaded.map_type, Some(map.map_type()));
    assert_eq!(loaded.state, state_of(map));
    assert_eq!(loaded.digest, map.digest());
}

/// One segment of each: before, the clear with something before and something after it, and after. The map has
/// another type then, and some of the same keys.
struct Journal {
    names: Vec<String>,
    after: Map,
}

fn journal(random: &mut Random, disk: &dyn Disk) -> Journal {
    let (before, _) = accepted_history(random, MapType::Or, 200);
    let (after, after_map) = accepted_history(random, MapType::Lww, 200);
    let [before_early, before_late] = halves(&before);
    let [after_early, after_late] = halves(&after);
    let mut files = JournalFiles::new(disk);
    let mut middle = records_of("m", before_late);
    middle.bytes.extend(batch_of_clear(CLEARED).bytes);
    middle.bytes.extend(records_of("m", after_early).bytes);
    let batches = [records_of("m", before_early), middle, records_of("m", after_late)];
    let names = batches.iter().map(|batch| files.write(batch)).collect();
    Journal { names, after: after_map }
}

fn halves(changes: &[Accepted]) -> [&[Accepted]; 2] {
    <[_; 2]>::from(changes.split_at(changes.len() / 2))
}

#[test]
fn only_what_came_after_is_there_however_much_of_it_is_folded() {
    each_seed_on_each_disk(|random, disk| {
        let journal = journal(random, disk);
        for folded in 0..=3 {
            let base = open_base(disk);
            if folded > 0 {
                let name = &journal.names[folded - 1];
                let result = base.fold(disk, name, EPOCH).unwrap();
                assert_eq!((result.has_cleared, result.skipped), (folded == 2, 0));
            }
            let cleared = base.cleared_through().unwrap();
            assert_eq!(cleared, if folded >= 2 { CLEARED } else { Time::ZERO }, "{folded} folded");
            drop(base);
            // What it changes in following is not for the next round.
            let base = Base::open_unchanged(disk, HASHER, CACHE_BYTES).unwrap();
            if folded == 1 {
                assert!(!load(&base, &no_tail(), "m", 1, Time::ZERO).state.is_empty());
            }
            assert_is(&load_all(&base, disk), &journal.after);
            assert_eq!(base.cleared_through().unwrap(), CLEARED);
            assert!(base.clock() >= CLEARED);
        }
    });
}

#[test]
fn a_clear_that_is_found_at_start_is_followed_once() {
    let disk = MemoryDisk::default();
    let journal = journal(&mut Random::from(3), &disk);
    let base = open_base(&disk);
    base.fold(&disk, &journal.names[0], EPOCH).unwrap();
    let tail = recovered_tail(&disk, &base);
    base.follow(&tail).expect("the base can be written");
    assert!(load(&base, &no_tail(), "m", 1, Time::ZERO).state.is_empty());
    for name in &journal.names {
        let folded = base.fold(&disk, name, EPOCH).unwrap();
        assert!(!folded.has_cleared, "the base has followed it already");
    }
    base.follow(&tail).expect("the base can be written");
    assert_is(&load(&base, &no_tail(), "m", 2, Time::ZERO), &journal.after);
}

#[test]
fn a_power_cut_at_any_sync_leaves_what_came_after_and_nothing_else() {
    for syncs in 1.. {
        let disk = MemoryDisk::default();
        let journal = journal(&mut Random::from(7), &disk);
        let base = open_base(&disk).with_transaction_records(30);
        disk.fail_after_syncs(syncs);
        let fold = |base: &Base, disk: &dyn Disk| -> Result<(), StorageError> {
            journal.names.iter().try_for_each(|name| base.fold(disk, name, EPOCH).map(drop))
        };
        let result = fold(&base, &disk);
        assert_eq!(result.is_err(), disk.has_failed());
        let disk = disk.after_power_cut();
        let base = open_base(&disk).with_transaction_records(30);
        assert_is(&load_all(&base, &disk), &journal.after);
        fold(&base, &disk).unwrap();
        assert_is(&load(&base, &no_tail(), "m", 2, Time::ZERO), &journal.after);
        if result.is_ok() {
            assert!(syncs > 8, "the fold has synced only {syncs} times");
            return;
        }
    }
}

#[test]
fn new_maps_never_get_the_place_of_dropped_ones() {
    let disk = MemoryDisk::default();
    let mut files = JournalFiles::new(&disk);
    let base = open_base(&disk);
    let mut fold = |batch| base.fold(&disk, &files.write(&batch), EPOCH).unwrap();
    fold(records_of("old", &many(10, 1)));
    fold(batch_of_clear(CLEARED));
    fold(records_of("new", &many(3, 1)));
    fold(records_of("old", &many(2, 1)));
    for (map, cells) in [("new", 3), ("old", 2)] {
        assert_eq!(load(&base, &no_tail(), map, 2, Time::ZERO).state.len(), cells, "{map}");
    }
}

#[test]
fn copies_exports_and_checks_follow_a_clear_that_is_not_folded() {
    for folded in 0..=2 {
        let mut source = DataDir::new(&mut Random::from(5), folded);
        let base = open_base(&source.disk);
        let mut files = JournalFiles::new(&source.disk);
        files.next_sequence = source.next_sequence;
        let (accepted, map) = accepted_history(&mut Random::from(6), MapType::Counter, 50);
        let mut batch = batch_of_clear(CLEARED);
        batch.bytes.extend(records_of("lww-1", &accepted).bytes);
        source.segments.push(files.write(&batch));
        source.maps.clear();
        source.maps.insert("lww-1".to_owned(), map);
        let target = TempFolder::new();
        drop(base);
        backup::copy_stopped(&source.folder.0, &target.0, CopyOptions::default(), &mut |_| ()).unwrap();
        source.assert_same(&source.verified());
        source.assert_same(&verified(&target));
        let mut lines = Vec::new();
        let exported =
            export(&target.0, ExportOptions { maps: &[], now_ms: 0 }, &mut lines, &mut |_| ()).unwrap();
        assert_eq!(exported.counts.maps, 1, "{}", String::from_utf8_lossy(&lines));
    }
}

#[test]
fn a_copy_remembers_when_all_maps_were_dropped() {
    let source = TempFolder::new();
    let disk = annulus::storage::HostDisk::new(&source.0).unwrap();
    Format::load_or_create(&disk, format).unwrap();
    let base = open_base(&disk);
    base.fold(&disk, &JournalFiles::new(&disk).write(&batch_of_clear(CLEARED)), EPOCH).unwrap();
    let target = TempFolder::new();
    backup::copy(&base, &disk, &target.0, CopyOptions::default(), &mut |_| ()).unwrap();
    let copy = open_base(&annulus::storage::HostDisk::new(&target.0).unwrap());
    assert_eq!(copy.cleared_through().unwrap(), CLEARED);
}

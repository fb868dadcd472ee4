//! What a fold leaves in the base: the merged state, whatever came how often, and whenever the power went.

use std::cell::Cell;
use std::collections::HashSet;

use annulus::crdt::{MapType, Time};
use annulus::storage::{Base, Disk, StorageError};

use crate::crdt_histories::Random;
use crate::disks::{MemoryDisk, each_seed_on_each_disk, on_each_disk};
use crate::journal_files::{EPOCH, JournalFiles, batch_of_type};
use crate::loading::many;
use crate::model::{
    Accepted, HASHER, TYPES, accepted_history, load, no_tail, open_base, records_of, state_of,
};

/// Small enough that folds of ten thousand records take several transactions.
const SMALL_TRANSACTION_RECORDS: usize = 4 << 10;

/// Goal: replay is merging. Method: the records of a history are dealt to segments at random, in any order and
/// some of them twice; what is folded must be the map that took them as they came.
#[test]
fn segments_in_any_order_and_twice_fold_to_the_merged_state() {
    each_seed_on_each_disk(|random, disk| {
        let base = open_base(disk);
        let mut journal = JournalFiles::new(disk);
        let histories = TYPES.map(|map_type| accepted_history(random, map_type, 150));
        let mut segments: Vec<(MapType, Vec<Accepted>)> = Vec::new();
        for (map_type, (accepted, _)) in TYPES.iter().zip(&histories) {
            for piece in accepted.chunks(15 + random.below(40) as usize) {
                segments.push((*map_type, piece.to_vec()));
                if random.below(3) == 0 {
                    segments.push((*map_type, piece.to_vec()));
                }
            }
        }
        random.shuffle(&mut segments);
        for (map_type, mut records) in segments {
            if random.below(2) == 0 {
                random.shuffle(&mut records);
            }
            let name = journal.write(&records_of(map_type.as_str(), &records));
            let folded = base.fold(disk, &name, EPOCH).unwrap();
            assert_eq!((folded.skipped, folded.damaged), (0, 0));
            assert_eq!(folded.through, journal.next_sequence - 1);
            assert_eq!(base.folded(), folded.through);
        }
        for (map_type, (_, map)) in TYPES.iter().zip(&histories) {
            let loaded = load(&base, &no_tail(), map_type.as_str(), 1, Time::ZERO);
            assert_eq!(loaded.state, state_of(map));
            assert_eq!(loaded.digest, map.digest());
            assert_eq!(loaded.map_type, Some(*map_type));
            assert_eq!(base.map_type(map_type.as_str()).unwrap(), Some(*map_type));
        }
        // No tick comes before a stamp that is there, as one of a client may be ahead of the tick it was imported with.
        let stamped = histories.iter().flat_map(|(accepted, _)| accepted);
        let stamped = stamped.filter_map(|accepted| accepted.change.what.delta().stamped());
        let clock = histories.iter().map(|(_, map)| map.last_applied()).chain(stamped).max();
        assert_eq!(Some(base.clock()), clock);
    });
}

#[test]
fn a_segment_that_was_folded_is_not_folded_again() {
    on_each_disk(|disk| {
        let base = open_base(disk);
        let (accepted, _) = accepted_history(&mut Random::from(1), MapType::Counter, 100);
        let name = JournalFiles::new(disk).write(&records_of("views", &accepted));
        let first = base.fold(disk, &name, EPOCH).unwrap();
        assert!(first.records > accepted.len() as u64 && first.cells > 0);
        let second = base.fold(disk, &name, EPOCH).unwrap();
        assert_eq!((second.records, second.cells, second.transactions), (0, 0, 0));
        assert_eq!(second.through, first.through);
    });
}

#[test]
fn a_fold_that_is_interrupted_goes_on_where_it_stopped() {
    let disk = MemoryDisk::default();
    let base = open_base(&disk).with_transaction_records(SMALL_TRANSACTION_RECORDS);
    // More than two transactions.
    let accepted = many(15_000, 10);
    let name = JournalFiles::new(&disk).write(&records_of("todos", &accepted));
    let mut records = 0;
    let mut interruptions = 0;
    loop {
        let folded = base.fold_while(&disk, &[&name], EPOCH, &|| false).unwrap();
        records += folded.records;
        assert_eq!(base.folded(), folded.through);
        if !folded.is_interrupted {
            break;
        }
        assert_eq!(folded.transactions, 1);
        interruptions += 1;
    }
    assert_eq!(interruptions, 2);
    let loaded = load(&base, &no_tail(), "todos", 1, Time::ZERO);
    assert_eq!(loaded.state.len(), accepted.len());
    // The type of the map and the mark of the group are records, too.
    assert!((accepted.len() as u64..=accepted.len() as u64 + 2).contains(&records), "{records}");
}

/// Goal: segments that wait are one transaction, which writes each cell once, and what comes out is as if they had been folded one
/// by one. Method: each key is in all of them.
#[test]
fn segments_that_wait_are_folded_at_once() {
    for map_type in MapType::ALL {
        let (accepted, map) = accepted_history(&mut Random::from(21), map_type, 600);
        let disk = MemoryDisk::default();
        let mut journal = JournalFiles::new(&disk);
        let names: Vec<String> =
            accepted.chunks(200).map(|part| journal.write(&records_of("todos", part))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let base = open_base(&disk);
        let folded = base.fold_while(&disk, &names, EPOCH, &|| true).unwrap();
        let keys: HashSet<&[u8]> = accepted.iter().map(|accepted| &*accepted.change.key).collect();
        assert_eq!(folded.transactions, 1);
        assert!(folded.cells <= keys.len() as u64, "{} cells of {} keys", folded.cells, keys.len());
        assert_eq!(folded.through + 1, journal.next_sequence);
        assert_eq!(load(&base, &no_tail(), "todos", 1, Time::ZERO).state, state_of(&map));
    }
}

/// Goal: who must not go on waits for no more than some records, whatever a transaction has, and leaves nothing of it in the base.
#[test]
fn a_transaction_is_given_up_within_a_window() {
    let disk = MemoryDisk::default();
    let base = open_base(&disk);
    let accepted = many(15_000, 10);
    let mut journal = JournalFiles::new(&disk);
    let names =
        [&accepted[..8_000], &accepted[8_000..]].map(|part| journal.write(&records_of("todos", part)));
    let names = [&*names[0], &*names[1]];
    let asked = Cell::new(0);
    let may_go_on = || {
        asked.set(asked.get() + 1);
        asked.get() < 2
    };
    let folded = base.fold_while(&disk, &names, EPOCH, &may_go_on).unwrap();
    assert!(folded.is_interrupted && !folded.lacks_room);
    assert_eq!((folded.transactions, base.folded(), asked.get()), (0, 0, 2));
    assert_eq!(base.map_type("todos").unwrap(), None);
    let folded = base.fold_while(&disk, &names, EPOCH, &|| true).unwrap();
    assert_eq!((folded.transactions, folded.cells), (1, accepted.len() as u64));
    assert_eq!(load(&base, &no_tail(), "todos", 1, Time::ZERO).state.len(), accepted.len());
}

#[test]
fn a_type_alone_makes_the_map_and_what_does_not_fit_it_stops_the_fold() {
    on_each_disk(|disk| {
        let base = open_base(disk);
        let mut journal = JournalFiles::new(disk);
        assert_eq!(base.map_type("empty").unwrap(), None);
        base.fold(disk, &journal.write(&batch_of_type("empty", MapType::Or)), EPOCH).unwrap();
        assert_eq!(base.map_type("empty").unwrap(), Some(MapType::Or));

        let other = journal.write(&batch_of_type("empty", MapType::Lww));
        let (accepted, _) = accepted_history(&mut Random::from(1), MapType::Lww, 10);
        let cells = journal.write(&records_of("empty", &accepted));
        for name in [&other, &cells] {
            let before = base.folded();
            let error = base.fold(disk, name, EPOCH).unwrap_err().to_string();
            assert!(error.contains("\"empty\"") && error.contains("nothing was dropped"), "{error}");
            assert_eq!(base.folded(), before, "it is still to be folded");
        }
        let base = base.salvaging(true);
        assert_eq!(base.fold(disk, &other, EPOCH).unwrap().skipped, 1);
        let cells = base.fold(disk, &cells, EPOCH).unwrap();
        assert_eq!((cells.skipped, cells.cells), (accepted.len() as u64, 0));
        assert_eq!(base.map_type("empty").unwrap(), Some(MapType::Or));
        assert!(load(&base, &no_tail(), "empty", 2, Time::ZERO).state.is_empty());
    });
}

#[test]
fn a_base_opened_again_is_as_it_was() {
    on_each_disk(|disk| {
        let (accepted, map) = accepted_history(&mut Random::from(5), MapType::Or, 300);
        let base = open_base(disk);
        let name = JournalFiles::new(disk).write(&records_of("tags", &accepted));
        base.fold(disk, &name, EPOCH).unwrap();
        let before = (base.folded(), base.clock());
        drop(base);
        let base = open_base(disk);
        assert_eq!((base.folded(), base.clock()), before);
        assert_eq!(load(&base, &no_tail(), "tags", 3, Time::ZERO).state, state_of(&map));
    });
}

/// Goal: no crash in a fold loses or doubles anything. Method: the disk fails at each sync in turn, which ends the
/// fold wherever it is; the base is opened from what was synced and the journal is folded again.
#[test]
fn a_power_cut_at_any_sync_of_a_fold_loses_nothing() {
    let mut random = Random::from(11);
    // More than two transactions.
    let (accepted, map) = accepted_history(&mut random, MapType::Counter, 200);
    let noise = accepted_noise(10_000);
    for syncs in 1.. {
        let disk = MemoryDisk::default();
        let mut journal = JournalFiles::new(&disk);
        let names =
            [journal.write(&records_of("noise", &noise)), journal.write(&records_of("views", &accepted))];
        let base = open_base(&disk).with_transaction_records(SMALL_TRANSACTION_RECORDS);
        disk.fail_after_syncs(syncs);
        let fold = |base: &Base, disk: &dyn Disk| {
            names.iter().try_for_each(|name| base.fold(disk, name, EPOCH).map(drop))
        };
        let result = fold(&base, &disk);
        let is_over = !disk.has_failed();
        assert_eq!(result.is_ok(), is_over, "a fold ends well exactly if the disk did");

        let disk = disk.after_power_cut();
        // A process that does nothing, and ends well.
        drop(open_base(&disk));
        let base = open_base(&disk).with_transaction_records(SMALL_TRANSACTION_RECORDS);
        assert!(base.folded() < journal.next_sequence);
        if is_over {
            // Who was told that all is folded deletes the segments.
            names.iter().for_each(|name| disk.remove(name).unwrap());
        } else {
            fold(&base, &disk).unwrap();
        }
        assert_eq!(load(&base, &no_tail(), "views", 2, Time::ZERO).state, state_of(&map));
        assert_eq!(load(&base, &no_tail(), "noise", 1, Time::ZERO).state.len(), noise.len());
        if is_over {
            assert!(syncs > 8, "the fold has synced only {syncs} times");
            return;
        }
    }
}

/// Goal: a process that goes on after a failed sync, as a supervisor starts another, does not count on what was lost with it.
/// Method: each sync of a fold fails in turn; another process opens the base, folds or does not, and then the power goes.
#[test]
fn what_a_failed_sync_has_lost_is_not_counted_on_by_the_next_process() {
    let (accepted, map) = accepted_history(&mut Random::from(12), MapType::Counter, 200);
    let noise = accepted_noise(10_000);
    for (syncs, folds_again) in (0..).flat_map(|syncs| [(syncs, false), (syncs, true)]) {
        let disk = MemoryDisk::default();
        let mut journal = JournalFiles::new(&disk);
        let names =
            [journal.write(&records_of("noise", &noise)), journal.write(&records_of("views", &accepted))];
        let open = |disk: &MemoryDisk| open_base(disk).with_transaction_records(SMALL_TRANSACTION_RECORDS);
        let fold = |base: &Base, disk: &dyn Disk| {
            names.iter().try_for_each(|name| base.fold(disk, name, EPOCH).map(drop))
        };
        let base = open(&disk);
        disk.lose_after_syncs(syncs);
        let result = fold(&base, &disk);
        if !disk.has_lost() {
            assert!(syncs > 8, "the fold has synced only {syncs} times");
            return;
        }
        assert!(result.is_err(), "sync {syncs} has failed");
        drop(base);
        let next = open(&disk);
        if folds_again {
            fold(&next, &disk).unwrap();
        }
        let disk = disk.after_power_cut();
        let base = open(&disk);
        fold(&base, &disk).unwrap();
        assert_eq!(load(&base, &no_tail(), "views", 2, Time::ZERO).state, state_of(&map));
        assert_eq!(load(&base, &no_tail(), "noise", 1, Time::ZERO).state.len(), noise.len());
    }
}

fn accepted_noise(count: u64) -> Vec<Accepted> {
    use crate::crdt_histories::{Change, What, node};
    let change = |number: u64| Accepted {
        change: Change {
            key: format!("noise-{number}").into_bytes(),
            what: What::Counter { replica: node(1), added: number + 1, subtracted: 0 },
        },
        applied: Time::new(1 + number, 0),
    };
    (0..count).map(change).collect()
}

#[test]
fn a_damaged_record_stops_the_fold_and_is_named() {
    on_each_disk(|disk| {
        let base = open_base(disk);
        let (accepted, _) = accepted_history(&mut Random::from(1), MapType::Lww, 100);
        let name = JournalFiles::new(disk).write(&records_of("todos", &accepted));
        disk.open(&name).unwrap().write_at(b"XX", 1000).unwrap();
        match base.fold(disk, &name, EPOCH).unwrap_err() {
            StorageError::Damaged { file, offset, .. } => {
                assert_eq!(file, name);
                assert!((900..=1000).contains(&offset), "{offset}");
            }
            other => panic!("{other}"),
        }
        let other_data_set = base.fold(disk, &name, EPOCH + 1).unwrap_err();
        assert!(matches!(other_data_set, StorageError::NotOurs { .. }));
    });
}

#[test]
fn a_base_that_was_not_made_to_the_end_is_made_anew() {
    on_each_disk(|disk| {
        let half = disk.create("base.redb.new").unwrap();
        half.write_at(b"half a base", 0).unwrap();
        let base = Base::open(disk, HASHER, 1 << 20).unwrap();
        assert_eq!((base.folded(), base.clock()), (0, Time::ZERO));
        assert!(disk.list("").unwrap().iter().all(|name| name != "base.redb.new"));
    });
}

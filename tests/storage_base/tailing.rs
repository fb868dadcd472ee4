//! Maps that are loaded after a restart: the base and what was not folded yet.

use annulus::crdt::{MapType, Stamp, Time};
use annulus::storage::Disk;

use crate::crdt_histories::{Change, Random, What};
use crate::disks::{MemoryDisk, each_seed_on_each_disk, on_each_disk};
use crate::journal_files::{EPOCH, JournalFiles, batch_of_type};
use crate::loading::many;
use crate::model::{
    Accepted, TYPES, accepted_history, load, open_base, records_of, recovered_tail, state_of,
};

/// Goal: base and tail together are everything, at every stage of a checkpoint. Method: segments are folded one
/// by one, and before and after each the maps are loaded: with the tail as of the start, less what was dropped.
#[test]
fn base_and_tail_together_are_everything_while_checkpoints_go_on() {
    each_seed_on_each_disk(|random, disk| {
        let base = open_base(disk);
        let mut journal = JournalFiles::new(disk);
        let histories = TYPES.map(|map_type| accepted_history(random, map_type, 120));
        let mut segments = Vec::new();
        for start in (0..120).step_by(30) {
            let mut batch = annulus::handover::Batch::default();
            for (map_type, (accepted, _)) in TYPES.iter().zip(&histories) {
                let piece = &accepted[start.min(accepted.len())..(start + 30).min(accepted.len())];
                batch.bytes.extend(records_of(map_type.as_str(), piece).bytes);
            }
            segments.push((journal.write(&batch), journal.next_sequence - 1));
        }
        let folded_before = random.below(segments.len() as u64 + 1) as usize;
        for (name, _) in &segments[..folded_before] {
            base.fold(disk, name, EPOCH).unwrap();
        }

        let tail = recovered_tail(disk, &base);
        let check = |stage: &str| {
            for (map_type, (_, map)) in TYPES.iter().zip(&histories) {
                for shards in [1, 3] {
                    let loaded = load(&base, &tail, map_type.as_str(), shards, Time::ZERO);
                    assert_eq!(loaded.state, state_of(map), "{stage}");
                    assert_eq!(loaded.digest, map.digest());
                    assert_eq!(loaded.map_type, Some(*map_type));
                }
            }
        };
        check("after the start");
        for (name, last) in &segments[folded_before..] {
            base.fold(disk, name, EPOCH).unwrap();
            check("folded, and still in the tail");
            disk.remove(name).unwrap();
            check("the file deleted");
            tail.drop_through(*last);
            check("dropped");
        }
        assert_eq!((tail.records(), tail.maps()), (0, Vec::new()));
    });
}

#[test]
fn cells_and_types_that_are_only_in_the_tail_are_there() {
    on_each_disk(|disk| {
        let base = open_base(disk);
        let mut journal = JournalFiles::new(disk);
        let (accepted, map) = accepted_history(&mut Random::from(3), MapType::Or, 50);
        journal.write(&records_of("tags", &accepted));
        journal.write(&batch_of_type("empty", MapType::Counter));
        let tail = recovered_tail(disk, &base);
        assert_eq!(tail.maps(), ["empty", "tags"]);
        assert_eq!(tail.map_type("empty"), Some(MapType::Counter));
        assert_eq!(load(&base, &tail, "tags", 2, Time::ZERO).state, state_of(&map));
        let empty = load(&base, &tail, "empty", 2, Time::ZERO);
        assert_eq!((empty.map_type, empty.state.len()), (Some(MapType::Counter), 0));
        assert_eq!(load(&base, &tail, "nothing", 2, Time::ZERO).map_type, None);
    });
}

/// Goal: a record that the base has is not merged a second time, whatever was forgotten in between. Method: the owner has
/// forgotten a removal, so a set with an older stamp was accepted; all of it is folded, and still in the tail.
#[test]
fn a_removal_that_was_forgotten_does_not_come_back_with_the_tail() {
    on_each_disk(|disk| {
        let base = open_base(disk);
        let mut journal = JournalFiles::new(disk);
        let change = |ms: u64, applied: u64, value: Option<&[u8]>| Accepted {
            change: Change {
                key: b"k".to_vec(),
                what: What::Lww {
                    at: Stamp::parse(&format!("{ms}:0:n")).unwrap(),
                    value: value.map(<[u8]>::to_vec),
                    expires_ms: 0,
                },
            },
            applied: Time::new(applied, 0),
        };
        let accepted = [change(100, 100, None), change(50, 200, Some(b"1"))];
        let names = accepted.each_ref().map(|one| journal.write(&records_of("todos", [one])));
        let tail = recovered_tail(disk, &base);
        let expected = load(&base, &tail, "todos", 1, Time::ZERO).state;
        for name in &names {
            base.fold(disk, name, EPOCH).unwrap();
            assert_eq!(load(&base, &tail, "todos", 1, Time::ZERO).state, expected);
        }
        assert_eq!(expected[&b"k"[..]].0, Time::new(200, 0));
    });
}

#[test]
fn a_segment_that_is_partly_folded_stays_in_the_tail() {
    let disk = MemoryDisk::default();
    let base = open_base(&disk);
    let mut journal = JournalFiles::new(&disk);
    journal.write(&records_of("todos", &many(100, 10)));
    let tail = recovered_tail(&disk, &base);
    tail.drop_through(journal.next_sequence - 2);
    assert_eq!(tail.records(), 100);
    tail.drop_through(journal.next_sequence - 1);
    assert_eq!(tail.records(), 0);
}

#[test]
fn a_record_that_is_no_longer_there_is_named() {
    let disk = MemoryDisk::default();
    let base = open_base(&disk);
    let name = JournalFiles::new(&disk).write(&records_of("todos", &many(100, 10)));
    let tail = recovered_tail(&disk, &base);
    disk.open(&name).unwrap().write_at(b"X", 3_000).unwrap();
    let request =
        annulus::storage::LoadRequest { map: "todos", owner: 0, shards: 1, forget_before: Time::ZERO };
    let error = base.load(&tail, &request, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains(&name) && error.contains("29"), "{error}");
}

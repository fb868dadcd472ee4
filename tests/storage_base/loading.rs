//! What shards get of a map, however many there are.

use std::collections::BTreeSet;

use annulus::crdt::Time;
use annulus::handover::Image;
use annulus::limits::LOOKED_UP_BYTES_MAX;
use annulus::storage::{LoadRequest, StorageError};
use redb::{Database, ReadableTable, Table};

use crate::crdt_histories::{Change, What, each_seed, node};
use crate::disks::{MemoryDisk, TempFolder, each_seed_on_each_disk, on_each_disk};
use crate::journal_files::{EPOCH, JournalFiles};
use crate::layout::BLOCKS;
use crate::model::{
    Accepted, HASHER, TYPES, accepted_history, load, no_tail, open_base, part, records_of, recovered_tail,
    state_of,
};

#[test]
fn any_number_of_shards_gets_the_whole_map_each_its_own_part() {
    each_seed_on_each_disk(|random, disk| {
        let base = open_base(disk);
        let mut journal = JournalFiles::new(disk);
        for map_type in TYPES {
            let (accepted, map) = accepted_history(random, map_type, 200);
            base.fold(disk, &journal.write(&records_of(map_type.as_str(), &accepted)), EPOCH).unwrap();
            for shards in [1, 2, 3, 7, 128] {
                let loaded = load(&base, &no_tail(), map_type.as_str(), shards, Time::ZERO);
                assert_eq!(loaded.state, state_of(&map), "{shards} shards");
                assert_eq!(loaded.digest, map.digest());
            }
        }
    });
}

#[test]
fn an_unknown_map_is_one_empty_last_chunk_without_a_type() {
    on_each_disk(|disk| {
        let loaded = load(&open_base(disk), &no_tail(), "nothing", 3, Time::ZERO);
        assert_eq!(loaded, crate::model::Loaded::default());
    });
}

#[test]
fn a_large_map_comes_in_chunks_and_stops_when_told() {
    let disk = MemoryDisk::default();
    let base = open_base(&disk);
    let accepted = many(3_000, 1_000);
    base.fold(&disk, &JournalFiles::new(&disk).write(&records_of("todos", &accepted)), EPOCH).unwrap();
    let loaded = load(&base, &no_tail(), "todos", 1, Time::ZERO);
    assert_eq!(loaded.state.len(), accepted.len());
    let mut chunks = 0;
    let request = LoadRequest { map: "todos", owner: 0, shards: 2, forget_before: Time::ZERO };
    base.load(&no_tail(), &request, &mut |chunk| {
        assert!(!chunk.is_last);
        chunks += 1;
        chunks < 5
    })
    .unwrap();
    assert_eq!(chunks, 5);
}

#[test]
fn removals_before_the_given_tick_are_left_out_and_told_of() {
    each_seed(|random| {
        let disk = MemoryDisk::default();
        let base = open_base(&disk);
        let mut journal = JournalFiles::new(&disk);
        for map_type in TYPES {
            let (accepted, mut map) = accepted_history(random, map_type, 150);
            base.fold(&disk, &journal.write(&records_of(map_type.as_str(), &accepted)), EPOCH).unwrap();
            let forget_before = Time::from_bits(random.below(map.last_applied().to_bits() + 2));
            let digest = map.digest();
            let _ = map.prune(forget_before, usize::MAX);
            let loaded = load(&base, &no_tail(), map_type.as_str(), 3, forget_before);
            assert_eq!(loaded.state, state_of(&map));
            assert_eq!(loaded.pruned_through, map.pruned_through());
            assert_eq!(loaded.digest, digest, "readers see the same");
        }
    });
}

/// Goal: what is looked up is what a load gives. Method: all keys of a history, and some unknown, of which part is in the base
/// and part in the tail of the journal, some at a time.
#[test]
fn cells_that_are_looked_up_are_those_of_a_load() {
    each_seed_on_each_disk(|random, disk| {
        let base = open_base(disk);
        let mut journal = JournalFiles::new(disk);
        for map_type in TYPES {
            let (accepted, map) = accepted_history(random, map_type, 200);
            let (early, late) = accepted.split_at(accepted.len() / 2);
            base.fold(disk, &journal.write(&records_of(map_type.as_str(), early)), EPOCH).unwrap();
            journal.write(&records_of(map_type.as_str(), late));
            let tail = recovered_tail(disk, &base);
            let forget_before = Time::from_bits(random.below(map.last_applied().to_bits() + 2));
            let expected = load(&base, &tail, map_type.as_str(), 1, forget_before).state;
            let keys: Vec<&str> = expected.keys().map(|key| std::str::from_utf8(key).unwrap()).collect();
            let mut found = BTreeSet::new();
            for keys in keys.chunks(3) {
                let wanted = keys.iter().copied().chain(["unknown"]);
                let chunk = base.look_up(&tail, map_type.as_str(), wanted, forget_before).unwrap().unwrap();
                assert_eq!((chunk.map_type, chunk.iter().count()), (Some(map_type), keys.len()));
                for (key, image) in chunk.iter() {
                    let (applied, parts) = Image::parts(image).unwrap();
                    let parts = parts.map(|part| part.unwrap());
                    let parts: Vec<_> = parts.map(|one| part(What::of(&one.delta), one.applied)).collect();
                    assert_eq!((applied, parts), expected[key]);
                    found.insert(key.to_vec());
                }
            }
            assert_eq!(found.len(), expected.len());
        }
    });
}

#[test]
fn what_is_too_much_is_not_looked_up() {
    let disk = MemoryDisk::default();
    let base = open_base(&disk);
    let accepted = many(10, LOOKED_UP_BYTES_MAX / 4);
    base.fold(&disk, &JournalFiles::new(&disk).write(&records_of("todos", &accepted)), EPOCH).unwrap();
    for (keys, is_found) in
        [(&["key-1", "key-2", "key-3"][..], true), (&["key-1", "key-2", "key-3", "key-4"], false)]
    {
        let found = base.look_up(&no_tail(), "todos", keys.iter().copied(), Time::ZERO).unwrap();
        assert_eq!(found.is_some(), is_found);
    }
}

/// Goal: damage is an error that names the cell, or, with `--salvage`, the cell is absent. Method: the block of one key is
/// overwritten in the file of the base by redb itself, by one with a damaged image, and by something that is no block.
#[test]
fn a_damaged_image_or_block_is_named_and_left_out_by_salvage() {
    let nonsense = [&[5, 0, 8, 0, 0, 0][..], b"key-3", b"nonsense"].concat();
    for (block, name_of_it) in [(&*nonsense, "\"key-3\""), (&nonsense[..12], "partition")] {
        let folder = TempFolder::new();
        let disk = annulus::storage::HostDisk::new(&folder.0).unwrap();
        let accepted = many(10, 10);
        let base = open_base(&disk);
        let mut journal = JournalFiles::new(&disk);
        base.fold(&disk, &journal.write(&records_of("todos", &accepted)), EPOCH).unwrap();
        drop(base);
        overwrite_block(&folder, |_| block.to_vec());

        let base = open_base(&disk);
        let request = LoadRequest { map: "todos", owner: 0, shards: 1, forget_before: Time::ZERO };
        let is_named = |error: StorageError| {
            let text = error.to_string();
            assert!(text.contains(name_of_it) && text.contains("\"todos\""), "{text}");
        };
        is_named(base.load(&no_tail(), &request, &mut |_| true).unwrap_err());
        let again = Accepted { applied: Time::new(99, 0), ..many(4, 20)[3].clone() };
        let name = journal.write(&records_of("todos", [&again]));
        is_named(base.fold(&disk, &name, EPOCH).unwrap_err());
        let swept = base.sweep(Time::new(1, 0), 0, 100).unwrap();
        assert_eq!((swept.damaged, swept.forgotten), (1, 0));

        let base = base.salvaging(true);
        assert_eq!(load(&base, &no_tail(), "todos", 2, Time::ZERO).state.len(), 9);
        assert_eq!(base.fold(&disk, &name, EPOCH).unwrap().damaged, 1);
        assert_eq!(load(&base, &no_tail(), "todos", 2, Time::ZERO).state.len(), 10);
    }
}

/// Puts what is made of the block of `key-3` of `todos`, which has a partition for itself, in its place.
pub fn overwrite_block(folder: &TempFolder, made_of: impl FnOnce(&[u8]) -> Vec<u8>) {
    let partition = annulus::mesh::partition(HASHER.key(HASHER.map("todos"), "key-3"));
    let entry_key = [&[0, 0, 0, 0][..], &partition.to_be_bytes(), &[0xFF]].concat();
    change_blocks(folder, |blocks| {
        let block = made_of(blocks.get(&*entry_key).expect("it is whole").expect("it is there").value());
        blocks.insert(&*entry_key, &*block).expect("it is whole");
    });
}

/// Has redb itself change the blocks of a base that nobody has open.
pub fn change_blocks(folder: &TempFolder, change: impl FnOnce(&mut Table<'_, &[u8], &[u8]>)) {
    let database = Database::open(folder.0.join("base.redb")).expect("it is whole");
    let writing = database.begin_write().expect("it is whole");
    change(&mut writing.open_table(BLOCKS).expect("it is whole"));
    writing.commit().expect("it is whole");
    drop(database);
    // They are not of this.
    std::fs::remove_file(folder.0.join("base.redb.sums")).expect("it is whole");
}

/// Values of so many bytes each, set one after the other.
pub fn many(count: u64, value_bytes: usize) -> Vec<Accepted> {
    let change = |number: u64| {
        let applied = Time::new(1_000 + number, 0);
        let at = annulus::crdt::Stamp { time: applied, node: node(1) };
        let value = Some(format!("\"{}\"", "v".repeat(value_bytes)).into_bytes());
        let what = What::Lww { at, value, expires_ms: 0 };
        Accepted { change: Change { key: format!("key-{number}").into_bytes(), what }, applied }
    };
    (0..count).map(change).collect()
}

/// Measures; run it with `cargo test --release --test storage_base -- --ignored --nocapture a_million`.
#[test]
#[ignore = "a measurement, and needs half a minute and a gigabyte"]
fn a_million_cells_are_loaded_and_folded_this_fast() {
    let folder = TempFolder::new();
    let disk = annulus::storage::HostDisk::new(&folder.0).unwrap();
    let base = annulus::storage::Base::open(&disk, HASHER, 256 << 20).unwrap();
    let mut journal = JournalFiles::new(&disk);
    let accepted = many(1_000_000, 98);
    let names: Vec<String> =
        accepted.chunks(250_000).map(|piece| journal.write(&records_of("todos", piece))).collect();
    measured("folding a million records", || {
        for name in &names {
            base.fold(&disk, name, EPOCH).unwrap();
        }
    });
    drop(base);
    let request = LoadRequest { map: "todos", owner: 0, shards: 2, forget_before: Time::ZERO };
    for cache_bytes in [16 << 20, 1 << 30] {
        let base = annulus::storage::Base::open(&disk, HASHER, cache_bytes).unwrap();
        for _ in 0..3 {
            measured(&format!("loading them with a cache of {} MiB", cache_bytes >> 20), || {
                base.load(&no_tail(), &request, &mut |_| true).unwrap();
            });
        }
    }
    let empty = TempFolder::new();
    let empty = annulus::storage::HostDisk::new(&empty.0).unwrap();
    let base = annulus::storage::Base::open(&empty, HASHER, 1 << 20).unwrap();
    let mut tail = no_tail();
    measured("recovering them", || tail = crate::model::recovered_tail(&disk, &base));
    assert_eq!(accepted.len(), tail.records());
    for _ in 0..3 {
        measured("loading them from the tail", || {
            base.load(&tail, &request, &mut |_| true).unwrap();
        });
    }
}

/// Prints how long `act` takes, and how much of that on the processor: other things may be running.
#[expect(clippy::disallowed_methods, reason = "it measures wall time")]
fn measured(what: &str, act: impl FnOnce()) {
    let cpu_ms = || {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
        stat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).expect("it begins with nanoseconds")
            / 1_000_000
    };
    let (started, cpu_before) = (std::time::Instant::now(), cpu_ms());
    act();
    println!("{what}: {} ms, {} ms of them on a core", started.elapsed().as_millis(), cpu_ms() - cpu_before);
}

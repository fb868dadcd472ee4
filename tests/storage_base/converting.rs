//! A base of an earlier version, which had an entry for each cell, in `cells`.

use std::collections::BTreeMap;

use annulus::crdt::Time;
use annulus::storage::verify::verify;
use annulus::storage::{Base, Disk, Format, HostDisk};
use redb::{Database, ReadableTable, TableDefinition};

use crate::data_dir::format;
use crate::disks::{MemoryDisk, TempFolder};
use crate::journal_files::{EPOCH, JournalFiles};
use crate::layout::{BLOCKS, NUMBERS, database, set};
use crate::model::{HASHER, Loaded, load, no_tail, open_base, records_of};

const CELLS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("cells");

/// A directory as an earlier version has left it, with some maps and nothing in the journal.
fn old_directory(folder: &TempFolder) -> (HostDisk, BTreeMap<String, Loaded>) {
    let disk = HostDisk::new(&folder.0).expect("it is whole");
    Format::load_or_create(&disk, format).expect("it is whole");
    let base = open_base(&disk);
    let mut journal = JournalFiles::new(&disk);
    let mut maps = BTreeMap::new();
    for (map, count, bytes) in [("m", 600, 100), ("few", 3, 9_000), ("one", 1, 0)] {
        let sets: Vec<_> = (0..count).map(|n| set(&format!("key-{n}"), 1 + n, Some(bytes))).collect();
        base.fold(&disk, &journal.write(&records_of(map, &sets)), EPOCH).expect("it is whole");
        maps.insert(map.to_owned(), load(&base, &no_tail(), map, 1, Time::ZERO));
    }
    drop(base);
    for name in disk.list("journal").expect("it is whole") {
        disk.remove(&format!("journal/{name}")).expect("it is whole");
    }
    let database = Database::open(disk.path("base.redb")).expect("it is whole");
    let writing = database.begin_write().expect("it is whole");
    {
        let blocks = writing.open_table(BLOCKS).expect("it is whole");
        let mut cells = writing.open_table(CELLS).expect("it is whole");
        for entry in blocks.iter().expect("it is whole") {
            let (key, block) = entry.expect("it is whole");
            let mut rest = block.value();
            while !rest.is_empty() {
                let key_len = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
                let image_len = u32::from_le_bytes([rest[2], rest[3], rest[4], rest[5]]) as usize;
                let (cell, behind) = rest.split_at(6 + key_len + image_len);
                let cell_key = [&key.value()[..6], &cell[6..6 + key_len]].concat();
                cells.insert(&*cell_key, &cell[6 + key_len..]).expect("it is whole");
                rest = behind;
            }
        }
    }
    writing.delete_table(BLOCKS).expect("it is whole");
    // The first versions did not say.
    writing.open_table(NUMBERS).expect("it is whole").remove("used").expect("it is whole");
    writing.commit().expect("it is whole");
    drop(database);
    std::fs::remove_file(folder.0.join("base.redb.sums")).expect("it is whole");
    let text = std::fs::read_to_string(folder.0.join("FORMAT")).expect("it is whole");
    let body = text.replace("annulus-data 2", "annulus-data 1");
    let body = &body[..body.find("crc32c").expect("it is whole")];
    let sum = crc32c::crc32c(body.as_bytes());
    std::fs::write(folder.0.join("FORMAT"), format!("{body}crc32c {sum:08x}\n")).expect("it is whole");
    (disk, maps)
}

fn assert_same(base: &Base, maps: &BTreeMap<String, Loaded>) {
    for (map, loaded) in maps {
        assert!(load(base, &no_tail(), map, 1, Time::ZERO) == *loaded, "{map}");
    }
}

#[test]
fn a_base_of_an_earlier_version_is_read_as_it_is_and_converted_once_it_is_to_change() {
    let folder = TempFolder::new();
    let (disk, maps) = old_directory(&folder);
    let verified = verify(&folder.0, 0, &mut |_| ()).expect("it is whole");
    assert!(verified.is_sound(), "{verified}");
    assert_eq!(verified.counts().keys, 604);
    assert_same(&Base::open_unchanged(&disk, HASHER, 1 << 20).expect("it is whole"), &maps);
    let is_old = || database(&disk).begin_read().expect("it is whole").open_table(CELLS).is_ok();
    std::fs::remove_file(folder.0.join("base.redb.sums")).unwrap_or_default();
    assert!(is_old());

    Format::load_or_create(&disk, || unreachable!("there is one")).expect("it is whole");
    assert!(
        std::fs::read_to_string(folder.0.join("FORMAT"))
            .expect("it is whole")
            .starts_with("annulus-data 2\n")
    );
    for _ in 0..2 {
        let base = open_base(&disk);
        assert_same(&base, &maps);
        drop(base);
        assert!(!is_old());
        assert!(disk.list("").expect("it is whole").iter().all(|name| !name.ends_with(".new")));
    }
    let verified_again = verify(&folder.0, 0, &mut |_| ()).expect("it is whole");
    assert_eq!(verified_again, verified);
    // It goes on as any other.
    let base = open_base(&disk);
    let mut journal = JournalFiles::new(&disk);
    journal.next_sequence = base.folded() + 1;
    base.fold(&disk, &journal.write(&records_of("m", &[set("more", 9_999, Some(1))])), EPOCH)
        .expect("it is whole");
    assert_eq!(load(&base, &no_tail(), "m", 1, Time::ZERO).state.len(), 601);
}

/// Goal: the power may go at any moment of the conversion. Method: each sync of it fails in turn.
#[test]
fn a_power_cut_at_any_sync_of_a_conversion_leaves_the_one_or_the_other() {
    let folder = TempFolder::new();
    let (_, maps) = old_directory(&folder);
    let bytes = std::fs::read(folder.0.join("base.redb")).expect("it is whole");
    for syncs in 1.. {
        let disk = MemoryDisk::default();
        let file = disk.create("base.redb").expect("it is whole");
        file.write_at(&bytes, 0).expect("it is whole");
        file.sync().expect("it is whole");
        disk.sync_folder("").expect("it is whole");
        disk.fail_after_syncs(syncs);
        let opened = Base::open(&disk, HASHER, 1 << 20);
        let is_over = !disk.has_failed();
        // The last one is of the file that has gone.
        assert!(opened.is_ok() || !is_over);
        drop(opened);
        let disk = disk.after_power_cut();
        assert_same(&open_base(&disk), &maps);
        if is_over {
            assert!(syncs > 6, "it has synced only {syncs} times");
            return;
        }
    }
}

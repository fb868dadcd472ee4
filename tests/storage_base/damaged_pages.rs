//! A damaged page of the base is an error that names it, for whoever needs the page and for nobody else, and never a panic.
//!
//! Method: one page after the other is changed through another file, in a base that is open and in one that is opened then.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use annulus::crdt::Time;
use annulus::handover::Batch;
use annulus::storage::export::{ExportOptions, export};
use annulus::storage::verify::verify;
use annulus::storage::{Base, Disk, HostDisk, LoadRequest, StorageError, backup};

use crate::crdt_histories::Random;
use crate::data_dir::{format, overwrite};
use crate::disks::{MemoryDisk, TempFolder};
use crate::journal_files::{EPOCH, JournalFiles};
use crate::loading::many;
use crate::model::{HASHER, no_tail, open_base, records_of};

const PAGE_BYTES: u64 = 4096;
/// So little of the base in memory that a load reads the file.
const CACHE_BYTES: usize = 64 << 10;

/// A base of several maps that reach over many pages; the records of it are folded and gone.
struct Large {
    folder: TempFolder,
    disk: HostDisk,
    file: File,
    next_sequence: u64,
}

impl Large {
    fn new() -> Self {
        let folder = TempFolder::new();
        let disk = HostDisk::new(&folder.0).expect("the temporary folder takes files");
        annulus::storage::Format::load_or_create(&disk, format).expect("the folder is empty");
        let mut batch = Batch::default();
        for map in MAPS {
            batch.bytes.extend(records_of(map, &many(150, 500)).bytes);
        }
        let mut journal = JournalFiles::new(&disk);
        let segment = journal.write(&batch);
        let next_sequence = journal.next_sequence;
        open_base(&disk).fold(&disk, &segment, EPOCH).expect("it is whole");
        disk.remove(&segment).expect("it is there");
        let file = File::options().read(true).write(true).open(folder.0.join("base.redb"));
        let file = file.expect("it is there");
        Self { folder, disk, file, next_sequence }
    }

    /// Those that were written at any time, the header left out.
    fn pages(&self) -> Vec<u64> {
        let sums = fs::read(self.folder.0.join("base.redb.sums")).expect("it is there");
        let written = (1..).zip(sums.chunks(4).skip(1)).filter(|(_, sum)| **sum != [0; 4]);
        written.map(|(page, _)| page).filter(|page| *page > REGION_HEADER_PAGES).collect()
    }
}

/// Behind the header; only older versions of the format read them.
const REGION_HEADER_PAGES: u64 = 130;

const MAPS: [&str; 3] = ["todos", "tags", "views"];

fn load(base: &Base, map: &str) -> Result<usize, StorageError> {
    let request = LoadRequest { map, owner: 0, shards: 1, forget_before: Time::ZERO };
    let mut cells = 0;
    base.load(&no_tail(), &request, &mut |chunk| {
        cells += chunk.iter().count();
        true
    })?;
    Ok(cells)
}

/// Changes a bit of a page as long as `act` runs, and what it has written there stays.
fn with_damage<T>(file: &File, page: u64, random: &mut Random, act: impl FnOnce() -> T) -> T {
    let read = || {
        let mut bytes = vec![0; PAGE_BYTES as usize];
        file.read_exact_at(&mut bytes, page * PAGE_BYTES).expect("the page is there");
        bytes
    };
    let sound = read();
    let mut damaged = sound.clone();
    damaged[random.below(PAGE_BYTES) as usize] ^= 1 << random.below(8);
    let write = |bytes: &[u8]| file.write_all_at(bytes, page * PAGE_BYTES).expect("the page is there");
    write(&damaged);
    let done = catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| panic!("page {page} makes it panic"));
    if read() == damaged {
        write(&sound);
    }
    done
}

fn assert_names(error: &StorageError, page: u64) {
    let text = error.to_string();
    assert!(text.contains(&format!("byte {} of base.redb", page * PAGE_BYTES)), "{text}");
}

fn is_refusal(error: &StorageError) -> bool {
    matches!(error, StorageError::DamagedBase { .. } | StorageError::Base(_))
}

#[test]
fn a_load_that_meets_a_damaged_page_fails_alone() {
    let large = Large::new();
    let Large { disk, file, .. } = &large;
    let base = Base::open(disk, HASHER, CACHE_BYTES).unwrap();
    let mut random = Random::from(3);
    let (mut failed, mut of_one_map) = (0, 0);
    for page in large.pages() {
        let base = &base;
        let loaded = with_damage(file, page, &mut random, || MAPS.map(|map| load(base, map)));
        for loaded in &loaded {
            match loaded {
                Ok(cells) => assert_eq!(*cells, 150),
                Err(error) => assert!(is_refusal(error), "{error}"),
            }
        }
        let errors: Vec<_> = loaded.iter().filter_map(|loaded| loaded.as_ref().err()).collect();
        if let Some(error) = errors.first() {
            assert_names(error, page);
            failed += 1;
        }
        of_one_map += usize::from(errors.len() == 1);
    }
    assert!(failed > 20 && of_one_map > 20, "{failed} pages were needed, {of_one_map} by one map");
    assert_eq!(MAPS.map(|map| load(&base, map).unwrap()), [150; 3], "nothing of it stays");
}

/// Goal: one moment in which the disk does nothing costs what is asked in it. Method: a load meets damage, whereupon the base is
/// opened anew, which fails once as well, as the length of its file cannot be synced.
#[test]
fn a_base_that_could_not_be_opened_anew_is_opened_at_the_next_try() {
    let disk = MemoryDisk::default();
    let segment = JournalFiles::new(&disk).write(&records_of("todos", &many(150, 500)));
    open_base(&disk).fold(&disk, &segment, EPOCH).unwrap();
    let base = Base::open(&disk, HASHER, 0).unwrap();
    let file = disk.open("base.redb").unwrap();
    let mut sound = vec![0; file.size().unwrap() as usize];
    file.read_at(&mut sound, 0).unwrap();
    let mut damaged = sound.clone();
    let pages = damaged.chunks_mut(PAGE_BYTES as usize).skip(REGION_HEADER_PAGES as usize + 1);
    pages.for_each(|page| page[7] ^= 1);
    file.write_at(&damaged, 0).unwrap();
    assert!(is_refusal(&load(&base, "todos").unwrap_err()));
    file.write_at(&sound, 0).unwrap();
    disk.lose_after_syncs(0);
    assert!(matches!(load(&base, "todos").unwrap_err(), StorageError::Io { what: "sync", .. }));
    assert!(disk.has_lost());
    assert_eq!(load(&base, "todos").unwrap(), 150);
}

#[test]
fn a_fold_that_meets_a_damaged_page_ends_with_an_error_and_changes_nothing() {
    let large = Large::new();
    let Large { disk, file, next_sequence, .. } = &large;
    let mut journal = JournalFiles::new(disk);
    journal.next_sequence = *next_sequence;
    let mut base = open_base(disk);
    let mut random = Random::from(5);
    let mut failed = 0;
    for page in large.pages().into_iter().step_by(6) {
        drop(base);
        base = Base::open(disk, HASHER, CACHE_BYTES).unwrap();
        let segment =
            journal.write(&records_of("tags", many(150, 501).iter().skip(page as usize % 150).step_by(40)));
        let before = base.folded();
        let folded = with_damage(file, page, &mut random, || base.fold(disk, &segment, EPOCH));
        if let Err(error) = folded {
            assert!(is_refusal(&error), "{error}");
            assert_names(&error, page);
            assert_eq!(base.folded(), before);
            base.fold(disk, &segment, EPOCH).unwrap();
            failed += 1;
        }
        assert_eq!(load(&base, "tags").unwrap(), 150);
    }
    assert!(failed > 2, "{failed}");
}

#[test]
fn a_base_that_is_damaged_before_it_is_opened_is_refused_or_read_and_never_a_panic() {
    let large = Large::new();
    let Large { folder, disk, file, .. } = &large;
    let mut random = Random::from(7);
    let mut needed = BTreeSet::new();
    // The header has no sum, so more of it is tried.
    let header = (0..8).map(|_| 0);
    for page in header.chain(large.pages().into_iter().step_by(8)) {
        let names = ["base.redb", "base.redb.sums"].map(|name| folder.0.join(name));
        let before = names.clone().map(|path| fs::read(path).unwrap());
        let outcomes = with_damage(file, page, &mut random, || look_at_everything(&large));
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert!(is_refusal(&error), "{error}");
            needed.insert(page);
        }
        names.iter().zip(&before).for_each(|(path, bytes)| overwrite(path, bytes));
        let base = open_base(disk);
        assert_eq!(MAPS.map(|map| load(&base, map).unwrap()), [150; 3]);
    }
    assert!(needed.len() > 5, "{}", needed.len());
}

/// Every way to open a base: of a server, of whoever reads it, and of whoever checks it.
fn look_at_everything(large: &Large) -> [Result<(), StorageError>; 4] {
    let folder = &large.folder.0;
    let target = TempFolder::new();
    let options = backup::CopyOptions { now_ms: 0, mode: annulus::config::DataMode::OWNER };
    let load_all = |base: Base| MAPS.iter().try_for_each(|map| load(&base, map).map(drop));
    [
        export(folder, ExportOptions { maps: &[], now_ms: 0 }, &mut Vec::new(), &mut |_| ()).map(drop),
        backup::copy_stopped(folder, &target.0, options, &mut |_| ()).map(drop),
        verify(folder, 0, &mut |_| ()).map(drop),
        Base::open(&large.disk, HASHER, CACHE_BYTES).and_then(load_all),
    ]
}

/// A directory of an earlier version has no sums, and whoever does not trust them removes them.
#[test]
fn a_base_without_sums_is_checked_once_and_gets_them() {
    let large = Large::new();
    let Large { folder, disk, file, .. } = &large;
    let sums = folder.0.join("base.redb.sums");
    let mut random = Random::from(11);
    let before = fs::read(folder.0.join("base.redb")).unwrap();
    let mut refused = 0;
    for page in large.pages().into_iter().step_by(16) {
        let _ = fs::remove_file(&sums);
        let outcomes = with_damage(file, page, &mut random, || look_at_everything(&large));
        let errors: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert!(errors.iter().all(is_refusal), "{errors:?}");
        refused += usize::from(!errors.is_empty());
        overwrite(&folder.0.join("base.redb"), &before);
    }
    assert!(refused > 2, "{refused}");
    let _ = fs::remove_file(&sums);
    assert_eq!(load(&open_base(disk), "todos").unwrap(), 150);
    let sums = fs::read(&sums).unwrap();
    assert!(sums.chunks(4).skip(1).filter(|sum| **sum != [0; 4]).count() > 60);
}

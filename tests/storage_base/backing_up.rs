//! A backup is a data directory with everything that was there when it began, whatever goes on meanwhile.

use annulus::crdt::Time;
use annulus::storage::{Format, HostDisk, StorageError, backup};

use crate::crdt_histories::Random;
use crate::data_dir::{DataDir, files, format, verified};
use crate::disks::TempFolder;
use crate::journal_files::{EPOCH, JournalFiles};
use crate::loading::many;
use crate::model::{load, no_tail, open_base, records_of};

/// Goal: the copy is one moment of the original. Method: the original is folded and swept while it is copied, from
/// within the copy's own progress.
#[test]
fn a_copy_taken_while_checkpoints_go_on_has_the_same_digests() {
    for folded in 0..=2 {
        for seed in 0..4 {
            let source = DataDir::new(&mut Random::from(seed), folded);
            let base = open_base(&source.disk);
            let segments = &source.segments[folded..];
            let target = TempFolder::new();
            let mut rest = segments.iter();
            let copied = backup::copy(&base, &source.disk, segments, &target.0, &mut |_| {
                if let Some(name) = rest.next() {
                    base.fold(&source.disk, name, EPOCH).unwrap();
                    base.sweep(Time::ZERO, 0, 100).unwrap();
                }
            })
            .unwrap();
            assert_eq!(copied.segments, segments.len() as u64);
            assert_eq!(Format::load(&HostDisk::new(&target.0).unwrap()).unwrap(), format());
            source.assert_same(&verified(&target));
        }
    }
}

#[test]
fn a_copy_of_more_than_one_transaction_is_whole() {
    let source = TempFolder::new();
    let disk = HostDisk::new(&source.0).unwrap();
    Format::load_or_create(&disk, format).unwrap();
    let base = open_base(&disk);
    let name = JournalFiles::new(&disk).write(&records_of("todos", &many(140_000, 1)));
    base.fold(&disk, &name, EPOCH).unwrap();
    let target = TempFolder::new();
    let copied = backup::copy(&base, &disk, &[], &target.0.join("deep/below"), &mut |_| ()).unwrap();
    assert_eq!((copied.maps, copied.cells, copied.segments), (1, 140_000, 0));
    let copy = HostDisk::new(&target.0.join("deep/below")).unwrap();
    let copy_base = open_base(&copy);
    assert_eq!((copy_base.folded(), copy_base.clock()), (base.folded(), base.clock()));
    let [original, copied] = [&base, &copy_base].map(|base| load(base, &no_tail(), "todos", 2, Time::ZERO));
    assert_eq!(original, copied);

    // New maps get ids of their own in the copy, too.
    let mut journal = JournalFiles::new(&copy);
    journal.next_sequence = base.folded() + 1;
    copy_base.fold(&copy, &journal.write(&records_of("more", &many(3, 1))), EPOCH).unwrap();
    assert_eq!(load(&copy_base, &no_tail(), "todos", 1, Time::ZERO).state.len(), 140_000);
}

#[test]
fn a_target_with_something_in_it_is_refused_and_left_alone() {
    let source = DataDir::new(&mut Random::from(1), 1);
    let target = TempFolder::new();
    std::fs::write(target.0.join("mine"), "precious").unwrap();
    let base = open_base(&source.disk);
    let error = backup::copy(&base, &source.disk, &[], &target.0, &mut |_| ()).unwrap_err();
    assert!(matches!(error, StorageError::NotEmpty { .. }), "{error}");
    assert_eq!(std::fs::read_dir(&target.0).unwrap().count(), 1);
}

#[test]
fn a_copy_that_was_not_finished_is_no_data_directory() {
    let source = DataDir::new(&mut Random::from(1), 1);
    let target = TempFolder::new();
    let base = open_base(&source.disk);
    let missing = ["journal/00000000000000ff.log".to_owned()];
    let segments = [&source.segments[1..], &missing].concat();
    backup::copy(&base, &source.disk, &segments, &target.0, &mut |_| ()).unwrap_err();
    assert!(!files(&target).contains_key("FORMAT") && !files(&target).is_empty());
    let error = Format::load_or_create(&HostDisk::new(&target.0).unwrap(), format).unwrap_err();
    assert!(matches!(error, StorageError::NotOurs { .. }), "{error}");
}

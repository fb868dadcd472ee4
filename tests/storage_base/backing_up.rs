//! A backup is a data directory with everything that was there when it began, whatever goes on meanwhile.

use annulus::crdt::Time;
use annulus::service::follow_timeline;
use annulus::storage::backup::{self, CopyOptions};
use annulus::storage::export::{ExportOptions, export_folded};
use annulus::storage::{Counts, Fork, Format, HostDisk, StorageError, Timeline};

use crate::crdt_histories::{Random, What};
use crate::data_dir::{DataDir, files, format, verified};
use crate::disks::TempFolder;
use crate::journal_files::{EPOCH, JournalFiles};
use crate::loading::many;
use crate::model::{Accepted, load, no_tail, open_base, records_of};

/// What [`many`] makes, with other values, all set later.
fn changed(count: u64) -> Vec<Accepted> {
    let mut all = many(count, 2);
    for Accepted { change, applied } in &mut all {
        *applied = Time::new(applied.millis() + 1_000_000, 0);
        if let What::Lww { at, .. } = &mut change.what {
            at.time = *applied;
        }
    }
    all
}

#[test]
fn a_copy_of_a_stopped_server_has_its_journal_too_and_changes_nothing() {
    for folded in 0..=2 {
        for seed in 0..4 {
            let source = DataDir::new(&mut Random::from(seed), folded);
            let before = files(&source.folder);
            let target = TempFolder::new();
            let copied =
                backup::copy_stopped(&source.folder.0, &target.0, CopyOptions::default(), &mut |_| ())
                    .unwrap();
            assert_eq!(Format::load(&HostDisk::new(&target.0).unwrap()).unwrap(), format());
            let verified = verified(&target);
            source.assert_same(&verified);
            assert_eq!((copied.counts, copied.damaged, verified.segments), (verified.counts(), 0, 0));
            assert!(files(&source.folder) == before);
        }
    }
}

/// Goal: what clients know of the original is not taken for something that the copy had, even where nothing had happened yet.
#[test]
fn a_copy_of_nothing_is_a_copy_and_no_new_data_set() {
    let source = DataDir::new(&mut Random::from(1), 2);
    let target = TempFolder::new();
    backup::copy_stopped(&source.folder.0, &target.0, CopyOptions::default(), &mut |_| ()).unwrap();
    let disk = HostDisk::new(&target.0).unwrap();
    let start = |fresh| follow_timeline(&disk, &format(), Time::ZERO, false, fresh).unwrap();
    let own = Timeline { epoch: EPOCH + 1, incarnation: 3 };
    assert_eq!(start([EPOCH + 1, 2]), (own, Some(Fork::Copied)));
    assert_eq!(start([EPOCH + 2, 4]), (own, None));
}

#[test]
fn a_copy_of_a_damaged_journal_is_refused_before_anything_is_made() {
    let source = DataDir::new(&mut Random::from(1), 0);
    let path = source.folder.0.join(&source.segments[0]);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let target = TempFolder::new();
    let error =
        backup::copy_stopped(&source.folder.0, &target.0, CopyOptions::default(), &mut |_| ()).unwrap_err();
    assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read_dir(&target.0).unwrap().count(), 0);
}

/// Goal: the copy is one moment of the original. Method: within the copy's own progress, after its first transaction,
/// every cell of the original gets another value and some are swept.
#[test]
fn a_copy_taken_while_checkpoints_go_on_is_of_one_moment() {
    let source = TempFolder::new();
    let disk = HostDisk::new(&source.0).unwrap();
    Format::load_or_create(&disk, format).unwrap();
    let base = open_base(&disk);
    let mut journal = JournalFiles::new(&disk);
    base.fold(&disk, &journal.write(&records_of("todos", &many(140_000, 20))), EPOCH).unwrap();
    let original = load(&base, &no_tail(), "todos", 2, Time::ZERO);
    let (folded, clock) = (base.folded(), base.clock());
    let mut later = Some(journal.write(&records_of("todos", &changed(140_000))));
    let target = TempFolder::new();
    let copied =
        backup::copy(&base, &disk, &target.0.join("deep/below"), CopyOptions::default(), &mut |copied| {
            if let Some(name) = later.take() {
                assert!(copied.counts.cells() < 140_000, "there is more to copy");
                base.fold(&disk, &name, EPOCH).unwrap();
                base.sweep(Time::ZERO, 0, 100).unwrap();
            }
        })
        .unwrap();
    assert_eq!(copied.counts, Counts { maps: 1, keys: 140_000, tombstones: 0 });
    assert_ne!(load(&base, &no_tail(), "todos", 2, Time::ZERO), original);
    let copy = HostDisk::new(&target.0.join("deep/below")).unwrap();
    let copy_base = open_base(&copy);
    assert_eq!((copy_base.folded(), copy_base.clock()), (folded, clock));
    assert_eq!(load(&copy_base, &no_tail(), "todos", 2, Time::ZERO), original);

    // New maps get ids of their own in the copy, too.
    let mut journal = JournalFiles::new(&copy);
    journal.next_sequence = copy_base.folded() + 1;
    copy_base.fold(&copy, &journal.write(&records_of("more", &many(3, 1))), EPOCH).unwrap();
    assert_eq!(load(&copy_base, &no_tail(), "todos", 1, Time::ZERO).state.len(), 140_000);
}

/// The same of an export, whose first lines are written before the change.
#[test]
fn an_export_taken_while_checkpoints_go_on_is_of_one_moment() {
    let source = TempFolder::new();
    let disk = HostDisk::new(&source.0).unwrap();
    Format::load_or_create(&disk, format).unwrap();
    let base = open_base(&disk);
    let mut journal = JournalFiles::new(&disk);
    for map in ["a", "b"] {
        base.fold(&disk, &journal.write(&records_of(map, &many(20_000, 1))), EPOCH).unwrap();
    }
    let exported = |later: Option<String>| {
        let (mut lines, mut later) = (Vec::new(), later);
        let options = ExportOptions { maps: &[], now_ms: 0 };
        let exported = export_folded(&base, &source.0, options, &mut lines, &mut |exported| {
            if let Some(name) = later.take() {
                assert!(exported.counts.cells() < 40_000, "there is more to write");
                base.fold(&disk, &name, EPOCH).unwrap();
            }
        });
        (exported.unwrap(), String::from_utf8(lines).unwrap())
    };
    let before = exported(None);
    assert_eq!(before.0.counts, Counts { maps: 2, keys: 40_000, tombstones: 0 });
    let later = ["a", "b", "c"].map(|map| records_of(map, &changed(20_000)).bytes).concat();
    let batch = annulus::handover::Batch { bytes: later, ..records_of("c", &changed(20_000)) };
    let name = journal.write(&batch);
    assert!(exported(Some(name)) == before, "what comes later is not in it");
    assert_eq!(exported(None).0.counts, Counts { maps: 3, keys: 60_000, tombstones: 0 });
}

#[test]
fn a_target_with_something_in_it_is_refused_and_left_alone() {
    let source = DataDir::new(&mut Random::from(1), 1);
    let target = TempFolder::new();
    std::fs::write(target.0.join("mine"), "precious").unwrap();
    let base = open_base(&source.disk);
    let error =
        backup::copy(&base, &source.disk, &target.0, CopyOptions::default(), &mut |_| ()).unwrap_err();
    assert!(matches!(error, StorageError::NotEmpty { .. }), "{error}");
    assert_eq!(std::fs::read_dir(&target.0).unwrap().count(), 1);
}

/// Method: the progress, which is told before `FORMAT` is there, keeps what there is by then.
#[test]
fn a_copy_that_was_not_finished_is_no_data_directory() {
    let source = DataDir::new(&mut Random::from(1), 1);
    let (target, half) = (TempFolder::new(), TempFolder::new());
    backup::copy_stopped(&source.folder.0, &target.0, CopyOptions::default(), &mut |_| {
        std::fs::create_dir_all(half.0.join("journal")).unwrap();
        for (name, bytes) in files(&target) {
            std::fs::write(half.0.join(name), bytes).unwrap();
        }
    })
    .unwrap();
    assert!(!files(&half).contains_key("FORMAT") && !files(&half).is_empty());
    let error = Format::load_or_create(&HostDisk::new(&half.0).unwrap(), format).unwrap_err();
    assert!(matches!(error, StorageError::NotOurs { .. }), "{error}");
}

//! What `verify` says of directories that are whole, and of damaged ones.

use std::fs;

use annulus::storage::export::{ExportOptions, export};
use annulus::storage::verify::verify;
use annulus::storage::{Lock, StorageError};

use crate::crdt_histories::{EXPIRED_MS, Random};
use crate::data_dir::{DataDir, files, overwrite, verified};
use crate::disks::TempFolder;
use crate::model::open_base;

#[test]
fn digests_and_counts_are_those_of_the_maps() {
    for seed in 0..4 {
        for folded in 0..=2 {
            let data = DataDir::new(&mut Random::from(seed), folded);
            let before = files(&data.folder);
            let verified = data.verified();
            data.assert_same(&verified);
            assert!(verified.is_sound() && verified.to_string().ends_with("everything verifies"));
            assert_eq!(verified.segments, 2 - folded as u64);
            assert!(files(&data.folder) == before, "the files are as they were");
        }
    }
}

#[test]
fn values_whose_time_is_up_count_as_deleted() {
    let mut data = DataDir::new(&mut Random::from(7), 1);
    for map in data.maps.values_mut() {
        let mut tick = map.last_applied();
        while map.next_expiry_ms().is_some() {
            let before = tick;
            map.expire(EXPIRED_MS, &mut 1, |_| before.next());
            tick = map.last_applied();
        }
    }
    data.assert_same(&verify(&data.folder.0, EXPIRED_MS, &mut |_| ()).unwrap());
}

#[test]
fn a_base_that_was_not_closed_verifies() {
    let data = DataDir::new(&mut Random::from(7), 2);
    let base = open_base(&data.disk);
    base.sweep(annulus::crdt::Time::ZERO, 0, 10).unwrap();
    let copy = TempFolder::new();
    fs::create_dir(copy.0.join("journal")).unwrap();
    for (name, bytes) in files(&data.folder) {
        fs::write(copy.0.join(name), bytes).unwrap();
    }
    data.assert_same(&verified(&copy));
    drop(base);
}

/// Goal: no damage is overlooked, and none ends the process. Method: each file is overwritten in one place after the
/// other; what is found then is either everything as before, or damage.
#[test]
fn damage_anywhere_is_found_and_never_a_panic() {
    let mut random = Random::from(17);
    let data = DataDir::new(&mut random, 1);
    let sound = data.verified();
    let mut found = 0;
    for (name, bytes) in files(&data.folder).into_iter().filter(|(name, _)| name != "FORMAT") {
        // Most of a small base is pages that nothing is in yet.
        let used: Vec<usize> = (0..bytes.len()).filter(|&offset| bytes[offset] != 0).collect();
        for _ in 0..120 {
            let mut damaged = bytes.clone();
            let offset = *random.pick(&used);
            for byte in damaged.iter_mut().skip(offset).take(1 + random.below(40) as usize) {
                *byte ^= 1 << random.below(8);
            }
            overwrite(&data.folder.0.join(&name), &damaged);
            let verified = data.verified();
            // Nothing behind the one group of the journal says that it was synced.
            let is_found = !verified.is_sound() || verified.torn_bytes > 0;
            assert!(is_found || verified.maps == sound.maps, "{name} at {offset}: {verified}");
            found += usize::from(is_found);
        }
        overwrite(&data.folder.0.join(&name), &bytes);
    }
    assert!(found > 130, "{found}");
    assert_eq!(data.verified(), sound);
}

/// Goal: whoever reads needs no right to write and leaves nothing behind, not even the file of the lock.
#[test]
fn a_directory_without_a_lock_file_or_a_journal_is_read_and_stays_so() {
    let data = DataDir::new(&mut Random::from(7), 2);
    fs::remove_dir(data.folder.0.join("journal")).unwrap();
    let everything = || {
        let mut names: Vec<_> =
            fs::read_dir(&data.folder.0).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = everything();
    assert_eq!(before, ["FORMAT", "base.redb", "base.redb.sums"]);
    data.assert_same(&data.verified());
    let mut lines = Vec::new();
    export(&data.folder.0, ExportOptions { maps: &[], now_ms: 0 }, &mut lines, &mut |_| ()).unwrap();
    assert!(!lines.is_empty());
    assert_eq!(everything(), before);
}

/// Goal: nothing is changed while it is read. Method: the server comes between two maps.
#[test]
fn no_server_begins_meanwhile() {
    let data = DataDir::new(&mut Random::from(7), 1);
    let mut server = None;
    data.assert_same(
        &verify(&data.folder.0, 0, &mut |_| server = Some(Lock::take(&data.folder.0, "it"))).unwrap(),
    );
    assert!(matches!(server, Some(Err(StorageError::InUse { .. }))));
}

#[test]
fn what_is_no_data_directory_is_left_alone() {
    let folder = TempFolder::new();
    let error = verify(&folder.0, 0, &mut |_| ()).unwrap_err();
    assert!(matches!(error, StorageError::NotOurs { .. }), "{error}");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
    let data = DataDir::new(&mut Random::from(1), 1);
    let _lock = Lock::take(&data.folder.0, "a server").unwrap();
    assert!(matches!(verify(&data.folder.0, 0, &mut |_| ()), Err(StorageError::InUse { .. })));
}

//! The clock of a data directory: how far it is ahead, and a copy that is not.

use annulus::config::DataMode;
use annulus::crdt::{MapType, Time};
use annulus::storage::clock::{SetBackOptions, set_back, stored, stored_at_least};
use annulus::storage::import::ImportOptions;
use annulus::storage::{Format, HostDisk, StorageError};

use crate::data_dir::{files, format};
use crate::disks::TempFolder;
use crate::exporting::{NOW_MS, exported, imported, options};
use crate::journal_files::{EPOCH, JournalFiles, batch_of_clear, batch_of_type};
use crate::model::open_base;

const OPTIONS: SetBackOptions = SetBackOptions { now_ms: NOW_MS, epoch: 77, mode: DataMode::OWNER };
/// Fourteen years.
const AHEAD_MS: u64 = 14 * 365 * 24 * 3_600_000;

/// A data set with these four ticks, in milliseconds and counters, and a value that ends.
fn lines(times: &[(u64, u64); 4], ends_ms: u64) -> String {
    let [(past, p), (first, f), (second, s), (third, t)] = *times;
    format!(
        concat!(
            r#"{{"map":"a","type":"lww","key":"k1","applied":"{past}:{p}","value":1,"at":"{past}:{p}:n1"}}"#,
            "\n",
            r#"{{"map":"a","type":"lww","key":"k2","applied":"{second}:{s}","value":2,"expires_ms":{ends},"at":"{first}:{f}:phone"}}"#,
            "\n",
            r#"{{"map":"a","type":"lww","key":"k3","applied":"{third}:{t}","deleted":true,"at":"{second}:{s}:n1"}}"#,
            "\n",
            r#"{{"map":"b","type":"or","key":"k","applied":"{third}:{t}","values":[{{"tag":"x","value":3,"at":"{first}:{f}:n1"}}],"removed":[{{"tag":"z","applied":"{second}:{s}"}}]}}"#,
            "\n",
            r#"{{"map":"c","type":"counter","key":"k","applied":"{second}:{s}","slots":[{{"replica":"n1","added":5,"subtracted":3,"counted":"{second}:{s}"}}]}}"#,
            "\n",
            r#"{{"map":"d","type":"counter"}}"#,
            "\n",
        ),
        past = past,
        p = p,
        first = first,
        f = f,
        second = second,
        s = s,
        third = third,
        t = t,
        ends = ends_ms,
    )
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_is_of_the_future_is_dated_to_just_before_now_in_its_order() {
    let source = TempFolder::new();
    let ahead_ms = NOW_MS + AHEAD_MS;
    let ahead = [(NOW_MS - 9_000, 4), (ahead_ms - 60_000, 7), (ahead_ms - 60_000, 65_535), (ahead_ms, 0)];
    imported(&source.0, options(ahead_ms, 1), &lines(&ahead, ahead_ms + 5_000)).unwrap();
    assert_eq!(stored(&source.0).unwrap().millis(), ahead_ms);
    let before = files(&source);

    let target = TempFolder::new();
    let (ticks, copied) = set_back(&source.0, &target.0, OPTIONS).unwrap();
    assert_eq!((ticks, copied.lines, copied.refused), (3, 6, 0));
    let just_before = NOW_MS - 1;
    let right = [ahead[0], (just_before, 0), (just_before, 1), (just_before, 2)];
    // Its end is as far behind its stamp as it was.
    assert_eq!(
        sorted(&exported(&target.0)),
        sorted(&lines(&right, just_before + 65_000)),
        "in the order of the stamps"
    );
    assert!(stored(&target.0).unwrap().millis() <= NOW_MS);
    assert!(files(&source) == before, "the files are as they were");
    let [old, new] =
        [&source, &target].map(|folder| Format::load(&HostDisk::new(&folder.0).unwrap()).unwrap());
    assert_eq!((new.epoch, new.node), (77, old.node), "cursors of the former epoch start anew");
}

#[test]
fn what_is_not_ahead_stays_and_so_does_an_end_that_a_right_clock_has_given() {
    let source = TempFolder::new();
    let ahead_ms = NOW_MS + AHEAD_MS;
    // The latest of the past is later than where the future would begin.
    let times = [(NOW_MS, 9), (ahead_ms, 0), (ahead_ms, 1), (ahead_ms, 2)];
    imported(&source.0, options(ahead_ms + 1, 1), &lines(&times, NOW_MS + 1_000)).unwrap();
    let target = TempFolder::new();
    set_back(&source.0, &target.0, OPTIONS).unwrap();
    let right = [(NOW_MS, 9), (NOW_MS + 1, 0), (NOW_MS + 1, 1), (NOW_MS + 1, 2)];
    assert_eq!(sorted(&exported(&target.0)), sorted(&lines(&right, NOW_MS + 1_000)));
}

#[test]
fn a_copy_goes_nowhere_where_something_is() {
    let source = TempFolder::new();
    imported(&source.0, options(NOW_MS, 1), "").unwrap();
    let target = TempFolder::new();
    std::fs::write(target.0.join("mine"), "x").unwrap();
    let error = set_back(&source.0, &target.0, OPTIONS).unwrap_err();
    assert!(matches!(error, StorageError::NotOurs { .. }), "{error}");
    assert!(target.0.join("mine").is_file());
    let nothing = source.0.join("nothing");
    assert!(set_back(&nothing, &target.0.join("new"), OPTIONS).is_err());
    assert!(!target.0.join("new").exists(), "nothing is left of a copy that failed");
}

/// Goal: an import cannot make a data set whose own clock is behind a stamp in it, or one that is ahead unasked.
#[test]
fn stamps_of_the_future_are_refused_or_take_the_clock_along() {
    let future_ms = NOW_MS + AHEAD_MS;
    let line = |key: &str, at_ms: u64| {
        format!(r#"{{"map":"a","type":"lww","key":"{key}","applied":"5:0","value":1,"at":"{at_ms}:3:n"}}"#)
    };
    let add = format!(
        r#"{{"map":"b","type":"or","key":"k","applied":"5:0","values":[{{"tag":"x","value":1,"at":"{future_ms}:3:n"}}]}}"#
    );
    let folder = TempFolder::new();
    imported(&folder.0, options(NOW_MS, 1), &line("near", NOW_MS + 60_000)).unwrap();
    assert_eq!(
        stored(&folder.0).unwrap(),
        Time::new(NOW_MS + 60_000, 3),
        "no server is behind what is there"
    );
    for far in [line("far", NOW_MS + 60_001), line("far", future_ms), add.clone()] {
        let error =
            imported(&folder.0, options(NOW_MS, 1), &format!("{}\n{far}", line("before", 7))).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("line 2") && said.contains("--allow-future"), "{said}");
    }
    let error = imported(&folder.0, options(NOW_MS, 1), &add).unwrap_err().to_string();
    assert!(error.contains("13years"), "{error}");
    let lines = exported(&folder.0);
    assert!(lines.contains("before") && !lines.contains("far") && !lines.contains("\"b\""), "{lines}");
    assert_eq!(stored(&folder.0).unwrap().millis(), NOW_MS + 60_000);

    for far in [line("far", future_ms), add.clone()] {
        let folder = TempFolder::new();
        let allowing = ImportOptions { ahead_ms_max: u64::MAX, ..options(NOW_MS, 1) };
        imported(&folder.0, allowing, &far).unwrap();
        assert_eq!(stored(&folder.0).unwrap(), Time::new(future_ms, 3));
        // Its clock is there already, so that this changes nothing.
        assert_eq!(imported(&folder.0, options(NOW_MS, 1), &exported(&folder.0)).unwrap().changed, 0);
        let target = TempFolder::new();
        set_back(&folder.0, &target.0, OPTIONS).unwrap();
        assert!(stored(&target.0).unwrap().millis() <= NOW_MS);
    }
}

/// Goal: a quick look sees a clock that is ahead, wherever it is written. Method: the base, the last segment, and the last but
/// one are in turn the only place; the journal before them is damaged, and nobody reads it.
#[test]
fn a_quick_look_reads_the_base_and_the_newest_segments() {
    let ahead_ms = NOW_MS + AHEAD_MS;
    let folder = TempFolder::new();
    let disk = HostDisk::new(&folder.0).unwrap();
    Format::load_or_create(&disk, format).unwrap();
    let mut journal = JournalFiles::new(&disk);
    let base = open_base(&disk);
    base.fold(&disk, &journal.write(&batch_of_type("a", MapType::Lww)), EPOCH).unwrap();
    drop(base);
    assert_eq!(stored_at_least(&folder.0).unwrap(), Time::new(1, 0), "the base");
    let old = journal.write(&batch_of_clear(Time::new(7, 0)));
    assert_eq!(stored_at_least(&folder.0).unwrap(), Time::new(7, 0), "the last segment");
    journal.write(&batch_of_clear(Time::new(ahead_ms, 5)));
    journal.write(&batch_of_clear(Time::new(8, 0)));
    assert_eq!(stored(&folder.0).unwrap(), Time::new(ahead_ms, 5));
    std::fs::write(folder.0.join(&old), "nonsense").unwrap();
    assert!(stored(&folder.0).is_err());
    assert_eq!(stored_at_least(&folder.0).unwrap(), Time::new(ahead_ms, 5), "the last but one");
}

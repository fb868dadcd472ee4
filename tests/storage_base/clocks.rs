//! The clock of a data directory: how far it is ahead, and a copy that is not.

use annulus::config::DataMode;
use annulus::storage::clock::{SetBackOptions, set_back, stored};
use annulus::storage::{Format, HostDisk, StorageError};

use crate::data_dir::files;
use crate::disks::TempFolder;
use crate::exporting::{NOW_MS, exported, imported, options};

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
            r#"{{"map":"c","type":"counter","key":"k","applied":"{second}:{s}","slots":[{{"replica":"n1","added":5,"subtracted":3}}]}}"#,
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

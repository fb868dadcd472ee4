//! Lines out and in again: nothing is lost, nothing is changed, and what is wrong is named.

use std::path::Path;

use annulus::config::DataMode;
use annulus::crdt::Time;
use annulus::storage::export::{ExportOptions, export};
use annulus::storage::import::{ImportOptions, Imported, import};
use annulus::storage::{Format, HostDisk, Lock, StorageError};

use crate::crdt_histories::Random;
use crate::data_dir::{DataDir, files, format, verified};
use crate::disks::TempFolder;
use crate::journal_files::{EPOCH, JournalFiles};
use crate::loading::many;
use crate::model::{load, no_tail, open_base, records_of};

/// All maps, before any value has ended.
const ALL: ExportOptions<'_> = ExportOptions { maps: &[], now_ms: 0 };

pub fn exported(folder: &Path) -> String {
    let mut lines = Vec::new();
    let exported = export(folder, ALL, &mut lines, &mut |_| ()).expect("nothing is wrong with it");
    assert_eq!(exported.bytes, lines.len() as u64);
    String::from_utf8(lines).expect("JSON is UTF-8")
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = lines.lines().collect();
    lines.sort_unstable();
    lines
}

pub fn options(now_ms: u64, secret: u64) -> ImportOptions {
    ImportOptions {
        now_ms,
        ahead_ms_max: 60_000,
        fresh: Format { secret, ..format() },
        mode: DataMode::OWNER,
    }
}

pub fn imported(folder: &Path, options: ImportOptions, lines: &str) -> Result<Imported, StorageError> {
    import(folder, options, lines.as_bytes(), &mut |_| ())
}

pub const NOW_MS: u64 = 2_000_000_000_000;

#[test]
fn what_was_exported_is_the_same_once_imported() {
    for seed in 0..6 {
        let source = DataDir::new(&mut Random::from(seed), seed as usize % 3);
        let lines = exported(&source.folder.0);
        for secret in [format().secret, 99] {
            let target = TempFolder::new();
            let first = imported(&target.0, options(NOW_MS, secret), &lines).unwrap();
            assert_eq!((first.lines, first.refused), (lines.lines().count() as u64, 0));
            source.assert_same(&verified(&target));
            assert_eq!(sorted(&exported(&target.0)), sorted(&lines));

            let again = imported(&target.0, options(NOW_MS, secret), &lines).unwrap();
            assert_eq!((again.lines, again.changed), (first.lines, 0), "merging is idempotent");
            assert_eq!(sorted(&exported(&target.0)), sorted(&lines));
        }
    }
}

#[test]
fn an_export_changes_nothing_and_takes_only_the_maps_asked_for() {
    let source = DataDir::new(&mut Random::from(3), 1);
    let before = files(&source.folder);
    let mut lines = Vec::new();
    let names = ["or-1".to_owned(), "empty".to_owned()];
    export(&source.folder.0, ExportOptions { maps: &names, ..ALL }, &mut lines, &mut |_| ()).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    let is_asked_for =
        |line: &str| line.starts_with(r#"{"map":"or-1","#) || line == r#"{"map":"empty","type":"or"}"#;
    assert!(lines.lines().count() > 5 && lines.lines().all(is_asked_for), "{lines}");
    assert!(files(&source.folder) == before, "the files are as they were");

    let mut lines = Vec::new();
    let unknown = export(
        &source.folder.0,
        ExportOptions { maps: &["or-1".to_owned(), "nothing".to_owned()], ..ALL },
        &mut lines,
        &mut |_| (),
    )
    .unwrap_err();
    assert!(matches!(unknown, StorageError::NoSuchMap { map, .. } if map == "nothing"));
    assert!(lines.is_empty(), "nothing is written before all of it is known to be there");
    let _lock = Lock::take(&source.folder.0, "a server").unwrap();
    let in_use = export(&source.folder.0, ALL, Vec::new(), &mut |_| ()).unwrap_err();
    assert!(in_use.to_string().contains("a server"), "{in_use}");
}

/// The lines of the documentation, and what their parts mean.
#[test]
fn lines_have_the_form_that_is_documented() {
    let folder = TempFolder::new();
    let lines = concat!(
        r#"{"map":"a","type":"lww","key":"k1","applied":"5:1","value":null,"expires_ms":77,"at":"4:0:n1"}"#,
        "\n",
        r#"{"map":"a","type":"lww","key":"k2","applied":"5:2","deleted":true,"at":"4:0:phone"}"#,
        "\n",
        r#"{"map":"b","type":"or","key":"k","applied":"9:0","values":[{"tag":"x","value":[1,"é\n"],"at":"3:0:n1"},{"tag":"y","value":{"a":1,"b":2},"at":"3:1:n1"}],"removed":[{"tag":"z","applied":"7:0"}]}"#,
        "\n",
        r#"{"map":"c","type":"counter","key":"k","applied":"9:0","slots":[{"replica":"n1","added":9007199254740991,"subtracted":3,"counted":"9:0"}]}"#,
        "\n",
        r#"{"map":"c","type":"counter","key":"l","applied":"9:1","absorbed":{"count":"-18014398509481990","through":"7:5"},"slots":[]}"#,
        "\n",
        r#"{"map":"d","type":"counter"}"#,
        "\n",
    );
    imported(&folder.0, options(NOW_MS, 1), lines).unwrap();
    assert_eq!(sorted(&exported(&folder.0)), sorted(lines));
}

#[test]
fn values_that_people_wrote_become_canonical() {
    let folder = TempFolder::new();
    let line = r#" { "value" : {"b": 1.0, "a": [ ] }, "at":"4:0:n", "applied":"5:0","key":"k","type":"lww","map":"m"} "#;
    imported(&folder.0, options(NOW_MS, 1), &format!("\n{line}\r\n\n")).unwrap();
    let expected =
        r#"{"map":"m","type":"lww","key":"k","applied":"5:0","value":{"a":[],"b":1},"at":"4:0:n"}"#;
    assert_eq!(exported(&folder.0).trim(), expected);
}

/// Goal: clients that resume are told of what was imported. Method: the ticks of changed cells are above the clock,
/// and those that knew the line already keep theirs.
#[test]
fn over_older_data_changed_cells_are_newer_than_every_cursor() {
    let folder = TempFolder::new();
    let disk = HostDisk::new(&folder.0).unwrap();
    Format::load_or_create(&disk, format).unwrap();
    let mut journal = JournalFiles::new(&disk);
    let values = many(20, 5);
    let base = open_base(&disk);
    base.fold(&disk, &journal.write(&records_of("todos", &values[..10])), EPOCH).unwrap();
    drop(base);
    journal.write(&records_of("todos", &values[10..]));
    let clock = values[19].applied;

    let line = |key: &str, at: &str| {
        format!(r#"{{"map":"todos","type":"lww","key":"{key}","applied":"3:0","deleted":true,"at":"{at}"}}"#)
    };
    let lines = [line("key-1", "900:0:n"), line("key-2", "5000:0:n"), line("new", "1:0:n")].join("\n");
    let result = imported(&folder.0, options(1, 0), &lines).unwrap();
    assert_eq!((result.lines, result.changed), (3, 2), "the older one loses");

    let base = open_base(&disk);
    let loaded = load(&base, &no_tail(), "todos", 1, Time::ZERO);
    assert_eq!(loaded.state.len(), 21, "what was in the journal is in the base");
    for (key, (applied, _)) in &loaded.state {
        let is_changed = key == b"key-2" || key == b"new";
        assert_eq!(*applied > clock, is_changed, "{}", String::from_utf8_lossy(key));
    }
    assert!(base.clock() > clock);
}

/// A removal keeps winning against what is older: an import tells of no removal that was forgotten.
#[test]
fn an_older_line_does_not_bring_back_what_was_removed() {
    let folder = TempFolder::new();
    let removed = concat!(
        r#"{"map":"a","type":"lww","key":"k","applied":"5:2","deleted":true,"at":"4:0:n"}"#,
        "\n",
        r#"{"map":"b","type":"or","key":"k","applied":"9:0","values":[],"removed":[{"tag":"z","applied":"7:0"}]}"#,
    );
    let older = concat!(
        r#"{"map":"a","type":"lww","key":"k","applied":"6:0","value":1,"at":"3:0:n"}"#,
        "\n",
        r#"{"map":"b","type":"or","key":"k","applied":"6:0","values":[{"tag":"z","value":1,"at":"3:0:n"}],"removed":[]}"#,
    );
    assert_eq!(imported(&folder.0, options(NOW_MS, 1), removed).unwrap().changed, 2);
    let before = exported(&folder.0);
    assert_eq!(imported(&folder.0, options(NOW_MS, 1), older).unwrap().changed, 0);
    assert_eq!(exported(&folder.0), before);
}

#[test]
fn a_wrong_line_is_named_and_what_is_before_it_is_in() {
    let good = r#"{"map":"m","type":"lww","key":"k","applied":"5:0","value":1,"at":"4:0:n"}"#;
    let long_key = "k".repeat(513);
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    let wrong = [
        ("nonsense", "JSON"),
        ("[]", "JSON"),
        (r#"{"type":"lww"}"#, "map"),
        (r#"{"map":"","type":"lww"}"#, "map"),
        (r#"{"map":"m","type":"set"}"#, "type"),
        (r#"{"map":"m","type":"or"}"#, "\"m\" is lww, not or"),
        (r#"{"map":"m","type":"lww","key":7,"applied":"5:0","value":1,"at":"4:0:n"}"#, "key"),
        (
            &format!(
                r#"{{"map":"m","type":"lww","key":"{long_key}","applied":"5:0","value":1,"at":"4:0:n"}}"#
            ),
            "key",
        ),
        (r#"{"map":"m","type":"lww","key":"k","value":1,"at":"4:0:n"}"#, "applied"),
        (r#"{"map":"m","type":"lww","key":"k","applied":"5","value":1,"at":"4:0:n"}"#, "applied"),
        (r#"{"map":"m","type":"lww","key":"k","applied":"5:0","value":1,"at":"4:0"}"#, "at"),
        (r#"{"map":"m","type":"lww","key":"k","applied":"5:0","at":"4:0:n"}"#, "value"),
        (r#"{"map":"m","type":"lww","key":"k","applied":"5:0","deleted":false,"at":"4:0:n"}"#, "deleted"),
        (
            r#"{"map":"m","type":"lww","key":"k","applied":"5:0","value":1,"deleted":true,"at":"4:0:n"}"#,
            "deleted",
        ),
        (
            r#"{"map":"m","type":"lww","key":"k","applied":"5:0","value":1,"expires_ms":-1,"at":"4:0:n"}"#,
            "expires",
        ),
        (
            &format!(r#"{{"map":"m","type":"lww","key":"k","applied":"5:0","value":{deep},"at":"4:0:n"}}"#),
            "JSON",
        ),
        (
            r#"{"map":"o","type":"or","key":"k","applied":"5:0","values":[{"tag":"","value":1,"at":"4:0:n"}]}"#,
            "tag",
        ),
        (r#"{"map":"o","type":"or","key":"k","applied":"5:0","values":{}}"#, "array"),
        (r#"{"map":"o","type":"or","key":"k","applied":"5:0","values":[{"tag":"a","at":"4:0:n"}]}"#, "value"),
        (
            r#"{"map":"c","type":"counter","key":"k","applied":"5:0","slots":[{"replica":"a b","added":1,"subtracted":0}]}"#,
            "replica",
        ),
        (
            r#"{"map":"c","type":"counter","key":"k","applied":"5:0","slots":[{"replica":"a","added":9007199254740992,"subtracted":0}]}"#,
            "total",
        ),
        (
            r#"{"map":"c","type":"counter","key":"k","applied":"5:0","slots":[{"replica":"a","added":1}]}"#,
            "total",
        ),
    ];
    for (line, about) in wrong {
        let folder = TempFolder::new();
        let error = imported(&folder.0, options(NOW_MS, 1), &format!("{good}\n{line}\n{good}")).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, StorageError::Import { line: 2, .. }), "{line}: {text}");
        assert!(text.contains(about), "{line}: {text}");
        assert_eq!(exported(&folder.0).trim(), good, "{line}");
    }
}

#[test]
fn a_map_of_another_type_is_a_conflict_that_names_it() {
    let source = DataDir::new(&mut Random::from(2), 1);
    let before = source.verified();
    let line = r#"{"map":"lww-1","type":"counter"}"#;
    let error = imported(&source.folder.0, options(NOW_MS, 1), line).unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("\"lww-1\" is lww, not counter"), "{error}");
    assert_eq!(source.verified().maps, before.maps);
}

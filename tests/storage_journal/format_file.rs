//! `FORMAT`: written once and whole, and refused unless it is exactly what was written.

use std::collections::BTreeMap;

use annulus::storage::{Disk, Format, StorageError, segment_name};

use crate::memory_disk::MemoryDisk;
use crate::random::{Random, each_seed};

fn format() -> Format {
    Format { epoch: 0xE90C, secret: u64::MAX, node: "n-1_x.example".to_owned() }
}

fn never() -> Format {
    panic!("there is one")
}

fn text() -> Vec<u8> {
    let disk = MemoryDisk::default();
    Format::load_or_create(&disk, format).unwrap();
    disk.files()["FORMAT"].clone()
}

fn load(text: &[u8]) -> Result<Format, StorageError> {
    let disk = MemoryDisk::with_files(&BTreeMap::from([("FORMAT".to_owned(), text.to_vec())]));
    let loaded = Format::load(&disk);
    let again = Format::load_or_create(&disk, never);
    assert_eq!(format!("{loaded:?}"), format!("{again:?}"));
    loaded
}

#[test]
fn it_is_the_text_that_the_page_draws() {
    let text = String::from_utf8(text()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..4],
        ["annulus-data 2", "epoch 000000000000e90c", "secret ffffffffffffffff", "node n-1_x.example"]
    );
    assert!(lines[4].starts_with("crc32c ") && lines.len() == 5, "{text}");
    assert_eq!(load(text.as_bytes()).unwrap(), format());
}

#[test]
fn a_new_directory_gets_one_and_keeps_it() {
    let disk = MemoryDisk::default();
    assert!(matches!(Format::load(&disk), Err(StorageError::NotOurs { .. })));
    assert_eq!(Format::load_or_create(&disk, format).unwrap(), format());
    disk.cut_power(&mut Random(3));
    assert_eq!(Format::load_or_create(&disk, never).unwrap(), format());
}

#[test]
fn a_newer_version_is_refused_whatever_else_it_says() {
    for text in ["annulus-data 3\n", "annulus-data 70000\nepoch none\n"] {
        assert!(matches!(load(text.as_bytes()), Err(StorageError::TooNew { known: 2, .. })), "{text}");
    }
}

/// Goal: a program that knows version 1 alone refuses the directory from the first change on. Method: the text that it has written.
#[test]
fn an_earlier_version_is_read_and_gets_this_one_where_it_is_to_change() {
    let text = String::from_utf8(text()).unwrap().replace("annulus-data 2", "annulus-data 1");
    let body = &text[..text.find("crc32c").unwrap()];
    let old = format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes()));
    let disk = MemoryDisk::with_files(&BTreeMap::from([("FORMAT".to_owned(), old.clone().into_bytes())]));
    assert_eq!(Format::load(&disk).unwrap(), format());
    assert_eq!(disk.files()["FORMAT"], old.as_bytes());
    assert_eq!(Format::load_or_create(&disk, never).unwrap(), format());
    disk.cut_power(&mut Random(3));
    assert!(disk.files()["FORMAT"].starts_with(b"annulus-data 2\n"));
    assert_eq!(Format::load(&disk).unwrap(), format());
    assert!(load(old.replace("data 1", "data 0").as_bytes()).is_err());
}

#[test]
fn any_change_and_any_cut_is_refused() {
    let text = text();
    for at in 0..text.len() {
        assert!(load(&text[..at]).is_err(), "cut at {at}");
        for pattern in 1..=u8::MAX {
            let mut changed = text.clone();
            changed[at] ^= pattern;
            assert!(load(&changed).is_err(), "{pattern:#x} at {at}");
        }
    }
    assert!(load(&[&text[..], b"more\n"].concat()).is_err());
}

#[test]
fn a_directory_with_data_never_gets_a_new_one() {
    for name in ["base.redb".to_owned(), segment_name(1)] {
        let disk = MemoryDisk::with_files(&BTreeMap::from([(name, Vec::new())]));
        assert!(matches!(Format::load_or_create(&disk, never), Err(StorageError::NotOurs { .. })));
    }
}

#[test]
fn a_power_cut_while_it_is_written_leaves_all_of_it_or_none() {
    let mut left = [0; 2];
    for changes in 0..8 {
        each_seed(40, |random| {
            let disk = MemoryDisk::default();
            disk.fail_after(changes);
            let _ = Format::load_or_create(&disk, format);
            disk.cut_power(random);
            let is_there = disk.open("FORMAT").is_ok();
            let other = Format { epoch: 1, ..format() };
            let expected = if is_there { format() } else { other.clone() };
            assert_eq!(Format::load_or_create(&disk, || other).unwrap(), expected);
        });
        let disk = MemoryDisk::default();
        disk.fail_after(changes);
        left[usize::from(Format::load_or_create(&disk, format).is_ok())] += 1;
    }
    assert!(left[0] > 3 && left[1] > 0, "some were in the middle of it: {left:?}");
}

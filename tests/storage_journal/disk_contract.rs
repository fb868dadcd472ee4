//! What the storage relies on with every disk. A new one gets a line in [`each_disk`].

use std::io::ErrorKind;
use std::path::PathBuf;

use annulus::storage::{Disk, HostDisk, replace_file};

use crate::memory_disk::MemoryDisk;

/// Runs `check` on a new disk of each kind.
fn each_disk(name: &str, check: impl Fn(&dyn Disk)) {
    check(&MemoryDisk::default());
    let directory = Directory::new(name);
    check(&HostDisk::new(&directory.0).unwrap());
}

/// A folder of the host that goes when this does.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("annulus-disk-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn content(disk: &dyn Disk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; file.size().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn what_was_written_is_read_through_every_handle() {
    each_disk("handles", |disk| {
        let first = disk.create("journal/a").unwrap();
        let second = disk.open("journal/a").unwrap();
        first.write_at(b"hello", 0).unwrap();
        second.write_at(b"J", 0).unwrap();
        second.write_at(b"!", 7).unwrap();
        assert_eq!(content(disk, "journal/a"), b"Jello\0\0!", "a hole is zero");
        let mut middle = [0; 3];
        first.read_at(&mut middle, 1).unwrap();
        assert_eq!(&middle, b"ell");
        first.sync().unwrap();
        disk.sync_folder("journal").unwrap();
        disk.sync_folder("").unwrap();
    });
}

#[test]
fn a_read_over_the_end_is_an_error() {
    each_disk("end", |disk| {
        let file = disk.create("a").unwrap();
        file.write_at(b"123", 0).unwrap();
        for (len, offset) in [(4, 0), (1, 3), (1, 100)] {
            let error = file.read_at(&mut vec![0; len], offset).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{len} bytes at {offset}");
        }
        file.read_at(&mut [], 3).unwrap();
    });
}

#[test]
fn a_file_gets_the_length_it_is_told() {
    each_disk("length", |disk| {
        let file = disk.create("a").unwrap();
        assert_eq!(file.size().unwrap(), 0);
        file.write_at(b"123456", 0).unwrap();
        file.set_len(2).unwrap();
        assert_eq!(content(disk, "a"), b"12");
        file.set_len(4).unwrap();
        assert_eq!(content(disk, "a"), b"12\0\0", "what was cut off does not come back");
    });
}

#[test]
fn names_that_are_there_and_are_not_are_told() {
    each_disk("names", |disk| {
        assert_eq!(disk.open("a").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.remove("a").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.rename("a", "b").unwrap_err().kind(), ErrorKind::NotFound);
        disk.create("a").unwrap();
        assert_eq!(disk.create("a").unwrap_err().kind(), ErrorKind::AlreadyExists);
    });
}

#[test]
fn folders_are_listed_in_order_and_without_each_other() {
    each_disk("lists", |disk| {
        assert!(disk.list("").unwrap().is_empty(), "a folder is no file");
        assert!(disk.list("journal").unwrap().is_empty());
        for name in ["journal/b", "z", "journal/a", "journal/00c", "a"] {
            disk.create(name).unwrap();
        }
        assert_eq!(disk.list("journal").unwrap(), ["00c", "a", "b"]);
        assert_eq!(disk.list("").unwrap(), ["a", "z"]);
        disk.remove("journal/a").unwrap();
        assert_eq!(disk.list("journal").unwrap(), ["00c", "b"]);
    });
}

#[test]
fn a_renamed_file_replaces_the_other() {
    each_disk("rename", |disk| {
        disk.create("old").unwrap().write_at(b"old content", 0).unwrap();
        disk.create("new").unwrap().write_at(b"new", 0).unwrap();
        disk.rename("new", "old").unwrap();
        assert_eq!(content(disk, "old"), b"new");
        assert_eq!(disk.list("").unwrap(), ["old"]);
    });
}

#[test]
fn a_handle_outlives_the_name_of_its_file() {
    each_disk("outlives", |disk| {
        let file = disk.create("a").unwrap();
        file.write_at(b"123", 0).unwrap();
        disk.remove("a").unwrap();
        disk.create("a").unwrap().write_at(b"other", 0).unwrap();
        let mut bytes = [0; 3];
        file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"123");
    });
}

#[test]
fn a_replaced_file_has_the_new_content_whatever_was_left_before() {
    each_disk("replace", |disk| {
        disk.create("journal/a.tmp").unwrap().write_at(b"of a process that ended", 0).unwrap();
        replace_file(disk, "journal/a", b"first").unwrap();
        replace_file(disk, "journal/a", b"2nd").unwrap();
        assert_eq!(content(disk, "journal/a"), b"2nd");
        assert_eq!(disk.list("journal").unwrap(), ["a"]);
    });
}

#[test]
fn a_disk_that_is_only_read_changes_nothing_and_makes_nothing() {
    let directory = Directory::new("read-only");
    let missing = HostDisk::read_only(&directory.0);
    assert_eq!(missing.list("journal").unwrap(), Vec::<String>::new());
    assert_eq!(missing.open("a").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!directory.0.exists());

    HostDisk::new(&directory.0).unwrap().create("a").unwrap().write_at(b"kept", 0).unwrap();
    let disk = HostDisk::read_only(&directory.0);
    for result in [disk.create("b").map(drop), disk.rename("a", "b"), disk.remove("a")] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    }
    let file = disk.open("a").unwrap();
    assert!(file.write_at(b"lost", 0).is_err() && file.set_len(0).is_err());
    assert_eq!(content(&disk, "a"), b"kept");
}

//! A whole data directory on the host, partly folded, as a server leaves it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use annulus::crdt::Map;
use annulus::storage::verify::{Verified, verify};
use annulus::storage::{Disk, Format, HostDisk};

use crate::crdt_histories::Random;
use crate::disks::TempFolder;
use crate::journal_files::{EPOCH, JournalFiles, batch_of_type};
use crate::model::{SECRET, TYPES, accepted_history, open_base, records_of};

pub struct DataDir {
    pub folder: TempFolder,
    pub disk: HostDisk,
    /// What is in it, by the name of the map.
    pub maps: BTreeMap<String, Map>,
    /// Every segment; the first of them are folded.
    pub segments: Vec<String>,
    /// Of the next record.
    pub next_sequence: u64,
}

pub fn format() -> Format {
    Format { epoch: EPOCH, secret: SECRET, node: "n1".to_owned() }
}

impl DataDir {
    /// Two maps of each type, each in two segments, and an empty one; so many of the segments are folded.
    pub fn new(random: &mut Random, folded: usize) -> Self {
        let folder = TempFolder::new();
        let disk = HostDisk::new(&folder.0).expect("the temporary folder takes files");
        Format::load_or_create(&disk, format).expect("the folder is empty");
        let base = open_base(&disk);
        let mut journal = JournalFiles::new(&disk);
        let mut batches = [batch_of_type("empty", annulus::crdt::MapType::Or), Default::default()];
        let mut maps = BTreeMap::new();
        for map_type in TYPES {
            for name in [format!("{}-1", map_type.as_str()), format!("{} \"2\" ✓", map_type.as_str())] {
                let (accepted, map) = accepted_history(random, map_type, 100);
                let (early, late) = accepted.split_at(accepted.len() / 2);
                for (batch, records) in batches.iter_mut().zip([early, late]) {
                    batch.bytes.extend(records_of(&name, records).bytes);
                }
                maps.insert(name, map);
            }
        }
        let segments: Vec<String> = batches.iter().map(|batch| journal.write(batch)).collect();
        for name in &segments[..folded] {
            base.fold(&disk, name, EPOCH).expect("it is whole");
            disk.remove(name).expect("it is there");
        }
        maps.insert("empty".to_owned(), Map::new(annulus::crdt::MapType::Or));
        let next_sequence = journal.next_sequence;
        Self { folder, disk, maps, segments, next_sequence }
    }

    /// Asserts that a directory has these maps, and nothing is wrong with it.
    pub fn assert_same(&self, verified: &Verified) {
        assert_eq!(verified.damage, Vec::<String>::new());
        let found: Vec<_> = verified.maps.iter().map(|map| &*map.map).collect();
        assert_eq!(found, self.maps.keys().collect::<Vec<_>>());
        for (found, map) in verified.maps.iter().zip(self.maps.values()) {
            assert_eq!(found.digest, format!("{:016x}", map.digest()), "{}", found.map);
            assert_eq!(found.map_type, map.map_type().as_str());
            assert_eq!(found.keys, map.live_entries() as u64);
            assert_eq!(found.tombstones, (map.cells() - map.live_entries()) as u64);
        }
    }

    /// As [`verify`] finds it, before any value has ended.
    pub fn verified(&self) -> Verified {
        verified(&self.folder)
    }
}

pub fn verified(folder: &TempFolder) -> Verified {
    verify(&folder.0, 0, &mut |_| ()).expect("it is a data directory")
}

/// Every file of a folder but the lock, with its content.
pub fn files(folder: &TempFolder) -> BTreeMap<String, Vec<u8>> {
    let disk = HostDisk::new(&folder.0).expect("it is there");
    let mut files = BTreeMap::new();
    for (prefix, of) in [("", ""), ("journal/", "journal")] {
        for name in disk.list(of).expect("it can be listed") {
            let bytes = std::fs::read(disk.path(&format!("{prefix}{name}"))).expect("it can be read");
            if name != "LOCK" {
                files.insert(format!("{prefix}{name}"), bytes);
            }
        }
    }
    files
}

/// Gives a file other content in its place: ext4 would write one that was cut off before to the disk at once.
pub fn overwrite(path: &Path, bytes: &[u8]) {
    let file = File::options().write(true).open(path).expect("it is there");
    let written = file.set_len(bytes.len() as u64).and_then(|()| file.write_all_at(bytes, 0));
    written.expect("it takes what it had");
}

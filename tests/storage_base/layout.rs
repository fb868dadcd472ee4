//! How cells lie in the tree of the base: in blocks, each of which is one page, and is read and written once for all that a fold
//! changes in it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annulus::crdt::{Stamp, Time};
use annulus::handover::Image;
use annulus::mesh::partition;
use annulus::storage::{Base, Disk, DiskFile, HostDisk, LoadRequest};
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableTable, ReadableTableMetadata, StorageBackend, TableDefinition};

use crate::crdt_histories::{Change, Random, What, each_seed, node};
use crate::disks::{MemoryDisk, TempFolder};
use crate::journal_files::{EPOCH, JournalFiles};
use crate::loading::change_blocks;
use crate::model::{Accepted, HASHER, no_tail, open_base, records_of};

pub const BLOCKS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("blocks");
pub const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Of a page, but for what redb and the key of the entry take.
const BLOCK_BYTES: usize = 4096 - 18;

/// Where a cell is; then its image.
type Cells = BTreeMap<(u16, Vec<u8>), Vec<u8>>;

/// A base that nobody has open, as redb sees it. What is written to it is gone afterwards.
pub fn database(disk: &dyn Disk) -> Database {
    let file = disk.open("base.redb").expect("it is whole");
    let mut bytes = vec![0; file.size().expect("it is whole") as usize];
    file.read_at(&mut bytes, 0).expect("it is whole");
    let backend = InMemoryBackend::new();
    backend.set_len(bytes.len() as u64).expect("it is whole");
    backend.write(0, &bytes).expect("it is whole");
    Database::builder().create_with_backend(backend).expect("it is whole")
}

/// The cells of the only map of a base. Checks that blocks are what they should be; how many they are.
fn cells_in_blocks(disk: &dyn Disk) -> (Cells, u64) {
    let reading = database(disk).begin_read().expect("it is whole");
    let blocks = reading.open_table(BLOCKS).expect("it is whole");
    let (mut cells, mut used, mut above) = (Cells::new(), 0, None);
    for entry in blocks.iter().expect("it is whole") {
        let (key, block) = entry.expect("it is whole");
        let (prefix, bound) = key.value().split_at(6);
        let partition = u16::from_be_bytes([prefix[4], prefix[5]]);
        used += (key.value().len() + block.value().len()) as u64;
        let (mut rest, mut count) = (block.value(), 0);
        assert!(!rest.is_empty());
        while !rest.is_empty() {
            let key_len = usize::from(u16::from_le_bytes([rest[0], rest[1]]));
            let image_len = u32::from_le_bytes([rest[2], rest[3], rest[4], rest[5]]) as usize;
            let (cell, behind) = rest.split_at(6 + key_len + image_len);
            let key = cell[6..6 + key_len].to_vec();
            assert!(above.as_ref().is_none_or(|above| *above < (partition, key.clone())), "keys ascend");
            assert!(&*key <= bound);
            above = Some((partition, key.clone()));
            assert!(cells.insert((partition, key), cell[6 + key_len..].to_vec()).is_none());
            (rest, count) = (behind, count + 1);
        }
        let is_large = block.value().len() + bound.len() > BLOCK_BYTES;
        assert!(
            !is_large || count == 1 && above.is_some_and(|above| above.1 == bound),
            "{count} in {bound:?}"
        );
        above = Some((partition, bound.to_vec()));
    }
    let numbers = reading.open_table(NUMBERS).expect("it is whole");
    assert_eq!(numbers.get("used").expect("it is whole").expect("it is whole").value(), used);
    (cells, blocks.len().expect("it is whole"))
}

/// What a load gives, in the same form.
fn cells_loaded(base: &Base) -> Cells {
    let mut cells = Cells::new();
    let request = LoadRequest { map: "m", owner: 0, shards: 1, forget_before: Time::ZERO };
    base.load(&no_tail(), &request, &mut |chunk| {
        for (key, image) in chunk.iter() {
            let hash = HASHER.key(HASHER.map("m"), std::str::from_utf8(key).expect("it is whole"));
            cells.insert((partition(hash), key.to_vec()), image.to_vec());
        }
        true
    })
    .expect("it is whole");
    cells
}

/// Keys of one partition, as many cells of it are needed for several blocks.
fn keys_of_a_partition(count: usize) -> Vec<String> {
    let map = HASHER.map("m");
    let keys = (0_u64..).map(|number| format!("key-{number}"));
    keys.filter(|key| partition(HASHER.key(map, key)) == 7).take(count).collect()
}

pub fn set(key: &str, tick: u64, value: Option<usize>) -> Accepted {
    let applied = Time::new(tick, 0);
    let at = Stamp { time: applied, node: node(1) };
    let value = value.map(|bytes| format!("\"{}\"", "v".repeat(bytes)).into_bytes());
    let what = What::Lww { at, value, expires_ms: 0 };
    Accepted { change: Change { key: key.as_bytes().to_vec(), what }, applied }
}

/// Goal: whatever is folded and swept, blocks are sorted, within their bounds, one page each and never empty, and what is in them is what
/// a map with an entry for each key would have. Method: random writes and deletes of random sizes to two partitions' keys and others.
#[test]
fn blocks_keep_their_bounds_whatever_is_folded_and_swept() {
    each_seed(|random| {
        let disk = MemoryDisk::default();
        let mut keys = keys_of_a_partition(80);
        keys.extend((0..80).map(|number| format!("other-{number}")));
        let mut model: BTreeMap<String, (u64, Option<usize>)> = BTreeMap::new();
        let mut journal_at = 1;
        let mut tick = 1_000;
        for _ in 0..4 {
            let base = open_base(&disk);
            for _ in 0..2 {
                let deletes = random.below(3) == 0;
                let count = 1 + random.below(if deletes { 150 } else { 60 });
                let changes: Vec<Accepted> = (0..count)
                    .map(|_| {
                        tick += 1;
                        let key = random.pick(&keys).clone();
                        let value = match random.below(30) {
                            0 => Some(4_000 + random.below(9_000) as usize),
                            _ if deletes => None,
                            _ => Some(random.below(600) as usize),
                        };
                        model.insert(key.clone(), (tick, value));
                        set(&key, tick, value)
                    })
                    .collect();
                let mut journal = JournalFiles::new(&disk);
                journal.next_sequence = journal_at;
                let name = journal.write(&records_of("m", &changes));
                journal_at = journal.next_sequence;
                base.fold(&disk, &name, EPOCH).expect("it is whole");
                disk.remove(&name).expect("it is whole");
            }
            if random.below(2) == 0 {
                let before = tick - random.below(100);
                while !base.sweep(Time::new(before, 0), 0, 37).expect("it is whole").is_complete {}
                model.retain(|_, (tick, value)| value.is_some() || *tick >= before);
            }
            let loaded = cells_loaded(&base);
            drop(base);
            let (stored, _) = cells_in_blocks(&disk);
            assert_eq!(stored.len(), model.len());
            assert!(stored == loaded);
            for (key, (tick, value)) in &model {
                let hash = HASHER.key(HASHER.map("m"), key);
                let image = &stored[&(partition(hash), key.as_bytes().to_vec())];
                let (applied, mut parts) = Image::parts(image).expect("it is whole");
                assert_eq!(applied, Time::new(*tick, 0));
                let expected = set(key, *tick, *value).change.what;
                assert_eq!(
                    What::of(&parts.next().expect("it is whole").expect("it is whole").delta),
                    expected
                );
            }
        }
    });
}

#[test]
fn cells_that_were_deleted_leave_few_blocks_and_then_none() {
    let disk = MemoryDisk::default();
    let keys = keys_of_a_partition(1_000);
    let sets: Vec<_> = keys.iter().map(|key| set(key, 1, Some(100))).collect();
    let deletes: Vec<_> = keys.iter().map(|key| set(key, 2, None)).collect();
    let (kept, gone): (Vec<_>, Vec<_>) =
        deletes.into_iter().enumerate().partition(|(number, _)| number.is_multiple_of(10));
    let mut journal = JournalFiles::new(&disk);
    let mut blocks = Vec::new();
    for changes in [
        sets,
        gone.into_iter().map(|(_, delete)| delete).collect(),
        kept.into_iter().map(|(_, delete)| delete).collect(),
    ] {
        let base = open_base(&disk);
        base.fold(&disk, &journal.write(&records_of("m", &changes)), EPOCH).expect("it is whole");
        while !base.sweep(Time::new(9, 0), 0, 100).expect("it is whole").is_complete {}
        drop(base);
        blocks.push(cells_in_blocks(&disk).1);
    }
    let [all, tenth, none] = blocks[..] else { panic!("{blocks:?}") };
    assert!((35..60).contains(&all), "{blocks:?}");
    assert!(tenth <= all / 5, "{blocks:?}");
    assert_eq!(none, 0);
}

/// Goal: damage takes no cell of another block with it. Method: the second block of a partition shrinks, so that it would take in the
/// first one, which is small and damaged.
#[test]
fn a_damaged_block_is_not_joined_with_its_neighbour() {
    const DAMAGED: &[u8] = b"nonsense that is no cell";
    let folder = TempFolder::new();
    let disk = HostDisk::new(&folder.0).expect("it is whole");
    let mut journal = JournalFiles::new(&disk);
    let keys = keys_of_a_partition(100);
    let sets: Vec<_> = keys.iter().map(|key| set(key, 1, Some(100))).collect();
    let base = open_base(&disk);
    base.fold(&disk, &journal.write(&records_of("m", &sets)), EPOCH).expect("it is whole");
    drop(base);
    let mut entries = Vec::new();
    change_blocks(&folder, |blocks| {
        let keys = blocks.iter().expect("it is whole").take(2);
        entries = keys.map(|entry| entry.expect("it is whole").0.value().to_vec()).collect();
        blocks.insert(&*entries[0], DAMAGED).expect("it is whole");
    });
    let of_second = |key: &&String| entries[0][6..] < *key.as_bytes() && *key.as_bytes() <= entries[1][6..];
    let deletes: Vec<_> = keys.iter().filter(of_second).skip(1).map(|key| set(key, 2, None)).collect();
    assert!(deletes.len() > 10);

    let base = open_base(&disk);
    base.fold(&disk, &journal.write(&records_of("m", &deletes)), EPOCH).expect("it is whole");
    while !base.sweep(Time::new(9, 0), 0, 100).expect("it is whole").is_complete {}
    drop(base);
    change_blocks(&folder, |blocks| {
        let bytes = |entry: &[u8]| blocks.get(entry).unwrap().map(|block| block.value().to_vec());
        assert_eq!(bytes(&entries[0]).as_deref(), Some(DAMAGED));
        assert!(bytes(&entries[1]).is_some_and(|block| block.len() < 300), "it has one cell");
    });
}

/// Counts bytes that are read from the base and written to it.
#[derive(Debug, Default)]
struct Counting(MemoryDisk, Arc<[AtomicU64; 2]>);

#[derive(Debug)]
struct CountedFile(Arc<dyn DiskFile>, Arc<[AtomicU64; 2]>);

impl Counting {
    /// Since the last call.
    fn take(&self) -> [u64; 2] {
        self.1.each_ref().map(|count| count.swap(0, Ordering::Relaxed))
    }

    fn counted(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        if name.starts_with("base.redb") { Arc::new(CountedFile(file, Arc::clone(&self.1))) } else { file }
    }
}

impl Disk for Counting {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.counted(name, self.0.open(name)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.counted(name, self.0.create(name)?))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.0.list(folder)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.0.sync_folder(folder)
    }

    fn birth(&self, name: &str) -> io::Result<String> {
        self.0.birth(name)
    }
}

impl DiskFile for CountedFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.1[0].fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1[1].fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.0.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// Goal: a large cell costs its neighbours nothing. Method: the bytes of folds of cells before and behind one of 16 MiB.
#[test]
fn a_large_cell_is_neither_read_nor_written_for_its_neighbours() {
    const LARGE: usize = 16 << 20;
    let disk = Counting::default();
    let mut journal = JournalFiles::new(&disk);
    let base = Base::open(&disk, HASHER, 0).expect("it is whole");
    let mut keys = keys_of_a_partition(60);
    keys.sort();
    let mut tick = 0;
    let mut fold = |changes: &[(usize, usize)]| {
        tick += 1;
        let changes: Vec<_> =
            changes.iter().map(|&(key, bytes)| set(&keys[key], tick, Some(bytes))).collect();
        let name = journal.write(&records_of("m", &changes));
        disk.take();
        base.fold(&disk, &name, EPOCH).expect("it is whole");
        disk.take()
    };
    fold(&[(30, LARGE)]);
    // The first one before it finds it, and leaves it as it is.
    let [read, written] = fold(&[(29, 10), (31, 10)]);
    assert!(read >= LARGE as u64 && written < (LARGE / 2) as u64, "{read} bytes read and {written} written");
    for key in (0..60).filter(|key| *key != 30) {
        let [read, written] = fold(&[(key, 50)]);
        // A commit by itself takes some MiB without a cache.
        let bytes = (LARGE / 2) as u64;
        assert!(read < bytes && written < bytes, "key {key}: {read} bytes read and {written} written");
    }
    assert_eq!(cells_loaded(&base).len(), 60);
    // It may become small, and large again.
    for bytes in [10, LARGE, 10] {
        fold(&[(30, bytes)]);
        assert_eq!(cells_loaded(&base).len(), 60);
    }
}

/// Goal: a fold of many records for each block reads and writes it once. Method: each cell of a map, in random order, again.
#[test]
fn a_dense_fold_writes_the_base_once() {
    let disk = Counting::default();
    let mut journal = JournalFiles::new(&disk);
    let base = Base::open(&disk, HASHER, 1 << 20).expect("it is whole");
    let mut keys: Vec<String> = (0..100_000).map(|number| format!("key-{number}")).collect();
    let mut random = Random::from(3);
    for tick in [1, 2] {
        random.shuffle(&mut keys);
        let changes: Vec<_> = keys.iter().map(|key| set(key, tick, Some(80))).collect();
        let name = journal.write(&records_of("m", &changes));
        disk.take();
        base.fold(&disk, &name, EPOCH).expect("it is whole");
    }
    let [read, written] = disk.take();
    let used = base.used_bytes().expect("it is whole");
    // A page has its checksum in the commit, which reads it for that. It is full to two thirds and more.
    assert!(written < 2 * used && read < 4 * used, "{read} bytes read, {written} written, {used} used");
}

//! What folds and loads cost. Nothing here can fail:
//! `cargo test --release --test storage_base -- --ignored --nocapture --test-threads 1 measuring`.

use std::fs;

use annulus::crdt::{Delta, Stamp, Time};
use annulus::handover::Batch;
use annulus::storage::{BASE_FILE, Base, HostDisk, LoadRequest};

use crate::crdt_histories::{Random, node};
use crate::disks::TempFolder;
use crate::journal_files::{EPOCH, JournalFiles};
use crate::model::{HASHER, no_tail};

const KEYS: u64 = 1_000_000;
const SEGMENT_RECORDS: u64 = 400_000;
/// What a server without a limit of memory runs with.
const CACHE_BYTES: usize = 64 << 20;
const DENSE_RECORDS: u64 = 3_000_000;
const SPARSE_RECORDS: u64 = 30_000;

#[test]
#[ignore = "a measurement, and needs a minute and two gigabytes"]
fn a_million_keys_of_small_values() {
    measure(20);
}

#[test]
#[ignore = "a measurement, and needs a minute and three gigabytes"]
fn a_million_keys_of_a_hundred_bytes() {
    measure(100);
}

fn measure(value_bytes: usize) {
    let folder = TempFolder::new();
    let disk = HostDisk::new(&folder.0).expect("the temporary folder takes files");
    let base = Base::open(&disk, HASHER, CACHE_BYTES).expect("a new base");
    let mut writes =
        Writes { journal: JournalFiles::new(&disk), random: Random::from(1), now: 0, value_bytes };
    let file_mib = || fs::metadata(folder.0.join(BASE_FILE)).map_or(0, |file| file.len() >> 20);
    let mut in_order: Vec<u64> = (0..KEYS).collect();
    writes.random.shuffle(&mut in_order);

    println!("{KEYS} keys, values of {value_bytes} bytes");
    let mut fold = |what: &str, keys: &mut dyn Iterator<Item = u64>| {
        let names = writes.segments(keys);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let cost = Cost::of(|| base.fold_while(&disk, &names, EPOCH, &|| true).expect("all is sound"));
        let (folded, cost) = cost;
        let each = |cost: u64| cost as f64 / folded.records as f64;
        println!(
            "{what}: {} records, {} transactions, {:.2} us of CPU each, {:.0} B written each, {:.0} B read, {} ms; file {} MiB",
            folded.records,
            folded.transactions,
            each(cost.cpu_us),
            each(cost.written),
            each(cost.read),
            cost.wall_ms,
            file_mib()
        );
        for name in names {
            fs::remove_file(folder.0.join(name)).expect("it is there");
        }
    };
    fold("filling", &mut in_order.into_iter());
    let mut random = Random::from(2);
    for _ in 0..3 {
        fold("dense", &mut (0..DENSE_RECORDS).map(|_| random.below(KEYS)));
    }
    for _ in 0..5 {
        fold("sparse", &mut (0..SPARSE_RECORDS).map(|_| random.below(KEYS)));
    }
    println!("used: {} MiB", base.used_bytes().expect("it is sound") >> 20);
    let request = LoadRequest { map: "todos", owner: 0, shards: 1, forget_before: Time::ZERO };
    for _ in 0..3 {
        let ((), cost) = Cost::of(|| base.load(&no_tail(), &request, &mut |_| true).expect("all is sound"));
        println!("load: {} ms of CPU, {} ms, {} MiB read", cost.cpu_us / 1000, cost.wall_ms, cost.read >> 20);
    }
}

/// Segments of records of one map.
struct Writes<'a> {
    journal: JournalFiles<'a>,
    random: Random,
    now: u64,
    value_bytes: usize,
}

impl Writes<'_> {
    fn segments(&mut self, keys: &mut dyn Iterator<Item = u64>) -> Vec<String> {
        let value = vec![b'1'; self.value_bytes];
        let mut names = Vec::new();
        let mut batch = Batch::default();
        for key in keys {
            self.now += 1;
            let at = Stamp { time: Time::new(1_700_000_000_000 + self.now, 0), node: node(1) };
            let delta = Delta::Lww { at, value: Some(&value), expires_ms: 0 };
            batch.push("todos", format!("key-{key:07}").as_bytes(), &delta, at.time);
            if u64::from(batch.records) >= SEGMENT_RECORDS {
                names.push(self.journal.write(&std::mem::take(&mut batch)));
            }
        }
        if batch.records > 0 {
            names.push(self.journal.write(&batch));
        }
        names
    }
}

/// What this thread has done.
struct Cost {
    cpu_us: u64,
    wall_ms: u64,
    written: u64,
    read: u64,
}

impl Cost {
    #[expect(clippy::disallowed_methods, reason = "it measures wall time")]
    fn of<T>(act: impl FnOnce() -> T) -> (T, Self) {
        let now = || {
            let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
            let io = fs::read_to_string("/proc/thread-self/io").expect("Linux has it");
            let cpu: u64 = stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds");
            let field = |name: &str| -> u64 {
                let found = io.lines().find_map(|line| line.strip_prefix(name));
                found.and_then(|value| value.trim().parse().ok()).expect("a number")
            };
            (cpu / 1000, field("wchar:"), field("rchar:"), std::time::Instant::now())
        };
        let before = now();
        let result = act();
        let after = now();
        let cost = Self {
            cpu_us: after.0 - before.0,
            written: after.1 - before.1,
            read: after.2 - before.2,
            wall_ms: u64::try_from((after.3 - before.3).as_millis()).unwrap_or(u64::MAX),
        };
        (result, cost)
    }
}

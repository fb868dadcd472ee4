//! A disk without room. Goal: nothing that was acknowledged as durable is lost, whoever reads is served, and the server
//! goes on by itself once there is room. Method: the built command on a small file system of its own, which it and a
//! ballast beside it fill; it is killed and started there, too.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use annulus::storage::verify::verify;
use simd_json::prelude::*;

use crate::client::{Client, by_key, set};
use crate::process::{Running, annulus};
use crate::server::{await_for, await_that, get};
use crate::small_disk::SmallDisk;

const MIB: u64 = 1 << 20;
/// A thread of the lowest priority does it, and builds or other tests may have both cores.
const FOLDED_WITHIN: Duration = Duration::from_secs(60);

/// Operations of one write.
const OPS: usize = 200;
const VALUE_BYTES: usize = 1000;

/// What one writer was promised: of each key the last value that was acknowledged as durable, and one that is newer and
/// may be there.
struct Writer {
    /// Keys are spread over the whole base, so that a fold touches all of it.
    keys: usize,
    rounds: Vec<Promise>,
    next: usize,
}

#[derive(Clone, Copy, Default)]
struct Promise {
    acked: u64,
    sent: u64,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    Durable,
    /// It was taken and did not get to the disk in time.
    Late,
    ReadOnly,
}

impl Writer {
    fn new(keys: usize) -> Self {
        Self { keys, rounds: vec![Promise::default(); keys], next: 0 }
    }

    /// Writes the next keys, in an order in which neighbours are far apart.
    fn write(&mut self, client: &mut Client) -> Written {
        let places: Vec<usize> = (self.next..self.next + OPS).map(|n| n * 7919 % self.keys).collect();
        let ops: Vec<String> = places
            .iter()
            .map(|&place| {
                self.rounds[place].sent += 1;
                set("m", &key(place), value(place, self.rounds[place].sent))
            })
            .collect();
        let ack = client.ask(&format!(r#"{{"type":"write","ack":"durable","ops":[{}]}}"#, ops.join(",")));
        if let Some(rejected) = ack.get("rejected") {
            let code = &rejected[0]["code"];
            if *code == "timeout" {
                // The map is still being loaded.
                return Written::Late;
            }
            assert_eq!(*code, "read_only");
            places.iter().for_each(|&place| self.rounds[place].sent -= 1);
            return Written::ReadOnly;
        }
        self.next += OPS;
        if ack.get("timeout").is_some() {
            return Written::Late;
        }
        assert_eq!(ack["level"], "durable", "{ack}");
        places.iter().for_each(|&place| self.rounds[place].acked = self.rounds[place].sent);
        Written::Durable
    }

    fn write_until(&mut self, client: &mut Client, what: Written) {
        let began = Instant::now();
        while self.write(client) != what {
            assert!(began.elapsed() < Duration::from_secs(60), "{what:?} does not come");
        }
    }

    /// Writes until nothing is taken any more, though the journal may give back at first what it has spare.
    fn fill_up(&mut self, client: &mut Client) {
        loop {
            self.write_until(client, Written::ReadOnly);
            let refused = Instant::now();
            while self.write(client) == Written::ReadOnly {
                if refused.elapsed() > Duration::from_millis(2_500) {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Everything promised is there.
    fn check(&self, client: &mut Client) {
        let promised: Vec<usize> = (0..self.keys).filter(|&place| self.rounds[place].acked > 0).collect();
        for places in promised.chunks(OPS) {
            let keys: Vec<String> = places.iter().map(|&place| format!("\"{}\"", key(place))).collect();
            let request = format!(r#"{{"type":"read","map":"m","keys":[{}]}}"#, keys.join(","));
            let mut answer = client.ask(&request);
            // A large map may be loading yet.
            for _ in 0..10 {
                if answer.get("code").is_some_and(|code| *code == "timeout") {
                    answer = client.ask(&request);
                }
            }
            let entries = by_key(
                answer
                    .get("entries")
                    .and_then(|entries| entries.as_array())
                    .unwrap_or_else(|| panic!("{answer}")),
            );
            for &place in places {
                let entry = entries.get(&key(place)).unwrap_or_else(|| panic!("{} is lost", key(place)));
                let text = entry["value"].as_str().unwrap();
                let round: u64 = text.split(' ').next().unwrap().parse().unwrap();
                let Promise { acked, sent } = self.rounds[place];
                assert!((acked..=sent).contains(&round), "{}: {round}, not {acked} to {sent}", key(place));
            }
        }
    }

    fn acked(&self) -> usize {
        self.rounds.iter().filter(|promise| promise.acked > 0).count()
    }
}

fn key(place: usize) -> String {
    format!("k{place:06}")
}

fn value(place: usize, round: u64) -> String {
    format!("\"{round} {:->width$}\"", place, width = VALUE_BYTES)
}

/// Watches what is free, and asks whether the server is there, for as long as a fold and its next tries take.
fn lowest_free(disk: &SmallDisk, server: &mut Running, time: Duration) -> u64 {
    let (began, mut lowest) = (Instant::now(), u64::MAX);
    while began.elapsed() < time {
        lowest = lowest.min(disk.free_bytes());
        assert_eq!(server.ended(), None, "the server has ended with {lowest} bytes free");
        thread::sleep(Duration::from_millis(2));
    }
    lowest
}

/// What a server with a full disk does for its users and for who looks after it.
fn serves_who_reads(server: &Running, disk: &SmallDisk, data: &Path, writer: &Writer, name: &str) {
    let mut client = Client::connect(server.address);
    writer.check(&mut client);
    assert!(client.subscribe(r#""map":"m""#).entries.len() >= writer.acked());
    let health = get(server.address, "/healthz");
    assert!(health.contains("read_only") && !health.contains("disk_short_bytes 0\n"), "{health}");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let exported = annulus(&["export", "--data-dir", &text(data)]).output().unwrap();
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let lines = exported.stdout.iter().filter(|&&byte| byte == b'\n').count();
    assert!(lines >= writer.acked(), "{lines} lines of {} keys", writer.acked());
    let copy = disk.elsewhere().join(name);
    let copied = annulus(&["backup", "--data-dir", &text(data), &text(&copy)]).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let verified = verify(&copy, 0, &mut |_| ()).unwrap();
    assert!(verified.is_sound(), "{verified}");
    let copied: u64 = verified.maps.iter().map(|map| map.keys).sum();
    assert!(copied >= writer.acked() as u64, "{copied} of {} keys", writer.acked());
    fs::remove_dir_all(copy).unwrap();
}

/// Fills the disk, looks, kills the server, starts it on the full disk, looks, makes room, and sees it go on.
fn fills_up(disk: &SmallDisk, flags: &[&str], mut writer: Writer, least_free: u64) {
    let data = disk.path().join("data");
    fs::create_dir(&data).unwrap();
    let mut server = Running::on_disk(&data, flags);
    disk.take_until(disk.free_bytes() / 2, "ballast");
    let mut client = Client::connect(server.address);
    writer.fill_up(&mut client);
    lowest_free(disk, &mut server, Duration::from_secs(2));
    serves_who_reads(&server, disk, &data, &writer, "first");
    server.kill();

    // As a log beside it that goes on.
    disk.take_until(least_free, "more");
    let mut server = Running::on_disk(&data, flags);
    lowest_free(disk, &mut server, Duration::from_secs(3));
    let mut client = Client::connect(server.address);
    writer.fill_up(&mut client);
    serves_who_reads(&server, disk, &data, &writer, "second");
    assert!(server.said(&["read_only", "MiB"]));

    disk.give("ballast");
    disk.give("more");
    await_that("writes to be taken again", || writer.write(&mut client) == Written::Durable);
    await_for(FOLDED_WITHIN, "everything to be folded", || {
        get(server.address, "/healthz").contains("segments 0\n")
    });
    writer.check(&mut client);
    server.stop();
    let verified = verify(&data, 0, &mut |_| ()).unwrap();
    assert!(verified.is_sound(), "{verified}");
    let server = Running::on_disk(&data, flags);
    writer.check(&mut Client::connect(server.address));
    server.stop();
}

#[test]
fn a_full_disk_with_a_reserve_ends_nothing_and_is_left_by_itself() {
    let Some(disk) = SmallDisk::new(200 * MIB) else { return };
    let flags = ["--segment-bytes", "2MiB", "--disk-reserve", "16MiB", "--checkpoint-interval-ms", "500"];
    fills_up(&disk, &flags, Writer::new(200_003), 10 * MIB);
}

#[test]
fn a_full_disk_without_a_reserve_ends_nothing_and_is_left_by_itself() {
    let Some(disk) = SmallDisk::new(100 * MIB) else { return };
    let flags = ["--segment-bytes", "2MiB", "--disk-reserve", "0", "--ack-timeout-ms", "500"];
    fills_up(&disk, &flags, Writer::new(200_003), 0);
}

/// A number of `/healthz`.
pub fn gauge(server: &Running, name: &str) -> u64 {
    let health = get(server.address, "/healthz");
    let line = health.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{health}"));
    line.trim().parse().unwrap()
}

// Without a reserve nothing keeps the room of the next fold: it has to be said what that takes, and what is freed must not
// go to the journal instead.
#[test]
fn a_disk_too_full_to_fold_says_what_to_free_and_that_is_enough() {
    let Some(disk) = SmallDisk::new(150 * MIB) else { return };
    let data = disk.path().join("data");
    fs::create_dir(&data).unwrap();
    let flags = ["--segment-bytes", "8MiB", "--disk-reserve", "0", "--ack-timeout-ms", "500"];
    let (mut server, mut writer) = (Running::on_disk(&data, &flags), Writer::new(200_003));
    disk.take_until(60 * MIB, "ballast");
    let mut client = Client::connect(server.address);
    writer.fill_up(&mut client);
    for _ in 0..2 {
        await_that("what to free to be said", || gauge(&server, "disk_short_bytes ") > 8 * MIB);
        assert!(gauge(&server, "segments ") > 0);
        await_that("the log to say it", || server.said(&["no room to fold", "MiB there"]));
        server.kill();
        server = Running::on_disk(&data, &flags);
        client = Client::connect(server.address);
    }
    await_that("what to free to be said", || gauge(&server, "disk_short_bytes ") > 8 * MIB);
    disk.give_bytes("ballast", gauge(&server, "disk_short_bytes "));
    await_for(FOLDED_WITHIN, "everything to be folded", || gauge(&server, "segments ") == 0);
    await_that("writes to be taken again", || writer.write(&mut client) == Written::Durable);
    assert_eq!(gauge(&server, "disk_short_bytes "), 0);
    writer.check(&mut client);
    server.stop();
}

// A fold that copies the whole base wants as much as the base has, and is done in smaller steps.
#[test]
fn a_fold_after_a_kill_leaves_the_journal_its_room() {
    let Some(disk) = SmallDisk::new(160 * MIB) else { return };
    let data = disk.path().join("data");
    fs::create_dir(&data).unwrap();
    // Nothing is folded, as the segment is not full and no interval passes.
    let flags = ["--segment-bytes", "64MiB", "--disk-reserve", "32MiB"];
    let mut server = Running::on_disk(&data, &flags);
    let mut writer = Writer::new(24_000);
    let mut client = Client::connect(server.address);
    while writer.next < 24_000 {
        assert_eq!(writer.write(&mut client), Written::Durable);
    }
    server.stop();
    // All of it into the base, where each page is written once more by what follows.
    server = Running::on_disk(&data, &flags);
    await_for(FOLDED_WITHIN, "everything to be folded", || {
        get(server.address, "/healthz").contains("segments 0\n")
    });
    client = Client::connect(server.address);
    while writer.next < 40_000 {
        assert_eq!(writer.write(&mut client), Written::Durable);
    }
    server.kill();
    disk.take_until(34 * MIB, "ballast");
    server = Running::on_disk(&data, &flags);
    let lowest = lowest_free(&disk, &mut server, Duration::from_secs(5));
    assert!(lowest >= 7 * MIB, "{lowest} bytes were left");
    writer.check(&mut Client::connect(server.address));
    server.kill();
}

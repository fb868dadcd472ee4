//! One data directory, through many starts and sudden ends.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use annulus::storage::verify::verify;
use simd_json::prelude::*;

use crate::client::Client;
use crate::maps::{self, Kind};
use crate::power::PowerDisk;
use crate::promises::Promises;
use crate::random::Random;
use crate::replica::{Cell, Stamp};
use crate::server::{Flags, Server, metric, metrics};
use crate::subscriber::Subscriber;
use crate::tally::Tally;
use crate::writer::{Writer, now_ms};

const WRITERS: usize = 5;
const SUBSCRIBERS: usize = 2;
/// Microseconds that clients write in a round.
const LONGEST: usize = 600_000;
const LONGEST_RECORDED: usize = 6_000_000;
const GONE: &str = "the server is not killed meanwhile";

/// Entries and hash of each map.
type Digests = BTreeMap<usize, (u64, String)>;

/// What a life is lived on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// The disk of this host; processes are killed.
    Kills,
    /// As with kills, on a disk that is recorded: rounds are longer, so that more is in a record.
    Recorded,
    /// No disk, and every ack is believed.
    Memory,
    /// A file system that loses its power. Without syncs every ack is believed.
    PowerCuts { fsync_never: bool },
}

impl World {
    /// Every ack is taken for a durable one, to see that what is lost is missed.
    const fn is_believing(self) -> bool {
        matches!(self, Self::Memory | Self::PowerCuts { fsync_never: true })
    }
}

/// See the module.
pub struct Life {
    root: PathBuf,
    random: Random,
    world: World,
    data_dir: PathBuf,
    power: Option<PowerDisk>,
    starts: usize,
    /// How long starts took lately.
    start_ms: u64,
    promises: Mutex<Promises>,
    writers: Vec<Writer>,
    subscribers: Vec<Subscriber>,
    tally: Tally,
}

impl Life {
    /// Rounds of one life: enough for checkpoints of checkpoints, few enough to read all each time.
    pub const ROUNDS: u64 = 10;

    pub fn new(seed: u64, world: World) -> Self {
        let has_power = matches!(world, World::PowerCuts { .. });
        let power = has_power.then(|| PowerDisk::new(&root(seed)).unwrap());
        let data_dir = power.as_ref().map_or_else(|| root(seed).join("data"), PowerDisk::data_dir);
        Self { power, ..Self::on(data_dir, seed, world, Promises::default()) }
    }

    /// On a directory of somebody else, of which so much was promised.
    pub fn on(data_dir: PathBuf, seed: u64, world: World, promises: Promises) -> Self {
        let root = root(seed);
        fs::create_dir_all(&root).unwrap();
        Self {
            root,
            data_dir,
            random: Random::new(seed),
            world,
            power: None,
            starts: 0,
            start_ms: 100,
            promises: Mutex::new(promises),
            writers: (0..WRITERS).map(|index| Writer::new(index, seed)).collect(),
            subscribers: (0..SUBSCRIBERS).map(|_| Subscriber::default()).collect(),
            tally: Tally::default(),
        }
    }

    /// Starts, compares, writes, and ends in the middle of it.
    pub fn round(&mut self) {
        for _ in 0..self.random.pick(&[0, 0, 0, 1, 2]) {
            self.kill_at_start();
        }
        let (mut server, mut address) = self.start();
        let digests = self.compare(address);
        if self.random.per_mille(300) {
            self.stop(server);
            self.verify(&digests);
            (server, address) = self.start();
            self.compare_digests(address, &digests);
        }
        self.write(address, server);
        self.tally.rounds += 1;
    }

    /// Starts, compares, and ends with nothing written meanwhile.
    pub fn look(&mut self) {
        let (server, address) = self.start();
        let digests = self.compare(address);
        if self.random.per_mille(200) {
            server.terminate();
            self.verify(&digests);
        } else {
            server.kill();
        }
    }

    /// One last look, an orderly end, and nothing is left on the disk of this host.
    pub fn end(&mut self) {
        let (server, address) = self.start();
        let digests = self.compare(address);
        server.terminate();
        self.verify(&digests);
        self.forget();
    }

    /// Leaves nothing behind.
    pub fn forget(&mut self) {
        drop(self.power.take());
        fs::remove_dir_all(&self.root).unwrap();
    }

    pub fn promises(&mut self) -> &mut Promises {
        self.promises.get_mut().unwrap()
    }

    /// Where everything is; it stays there.
    pub fn keep(&self) -> String {
        self.root.display().to_string()
    }

    pub fn take_tally(&mut self) -> Tally {
        let mut tally = std::mem::take(&mut self.tally);
        self.writers.iter_mut().for_each(|writer| tally.add(&std::mem::take(&mut writer.tally)));
        tally
    }

    fn spawn(&mut self) -> Server {
        self.starts += 1;
        self.tally.starts += 1;
        let log = self.root.join(format!("start-{:03}.log", self.starts));
        Server::start(&self.flags(), &log)
    }

    fn start(&mut self) -> (Server, SocketAddr) {
        let began = Instant::now();
        let mut server = self.spawn();
        let address = server.address();
        let client = Client::connect(address).unwrap_or_else(|_| panic!("{}", server.log_text()));
        self.start_ms = began.elapsed().as_millis() as u64;
        self.tally.start_ms_max = self.tally.start_ms_max.max(self.start_ms);
        let time = client.hello.get_str("time").expect("hello tells the time");
        if !self.world.is_believing() {
            self.promises.lock().unwrap().check_clock(&Stamp::parse(time));
        }
        (server, address)
    }

    fn flags(&mut self) -> Flags {
        // One shard or two, on either core; a host with one carries both.
        let cores = self.random.pick(&["0", "0,1", "0,1", "1"]);
        let cores = if thread::available_parallelism().unwrap().get() > 1 { cores } else { "0" };
        let cores = cores.to_owned();
        if self.world == World::Memory {
            return Flags { cores, storage: ["--storage", "memory"].map(str::to_owned).into() };
        }
        let data_dir = self.data_dir.display().to_string();
        let mut storage = vec!["--storage", "disk", "--data-dir", &data_dir];
        storage.extend(["--segment-bytes", "1MiB", "--disk-reserve", "1MiB"]);
        storage.extend(["--checkpoint-interval-ms", self.random.pick(&["20", "100", "1000", "60000"])]);
        storage.extend(["--memory-limit", self.random.pick(&["2MiB", "2MiB", "4MiB", "1GiB"])]);
        if self.world == (World::PowerCuts { fsync_never: true }) {
            storage.extend(["--fsync", "never"]);
        } else if self.random.per_mille(150) {
            let interval = ["--fsync", "interval", "--fsync-interval-ms", self.random.pick(&["1", "30"])];
            storage.extend(interval);
        }
        Flags { cores, storage: storage.into_iter().map(str::to_owned).collect() }
    }

    /// Kills a server that may not have finished its recovery, or its first start.
    fn kill_at_start(&mut self) {
        let server = self.spawn();
        thread::sleep(Duration::from_micros(self.random.below(self.start_ms as usize * 1500) as u64));
        server.kill();
        self.tally.kills_at_start += 1;
    }

    /// Ends the server while nobody writes.
    fn stop(&mut self, server: Server) {
        if self.random.per_mille(500) {
            server.terminate();
            self.tally.terms += 1;
        } else {
            server.kill();
            self.tally.kills += 1;
        }
    }

    /// Reads every map, anew and from the cursors of those who watched it, and compares it with what was promised.
    fn compare(&mut self, address: SocketAddr) -> Digests {
        let mut reader = Subscriber::default();
        let everything: Vec<usize> = maps::all().collect();
        drop(reader.come_back(address, &everything).expect(GONE));
        let promises = self.promises.lock().unwrap();
        for (map, watch) in &reader.watches {
            self.tally.checked += promises.check(*map, &watch.replica, now_ms(), "a new reader");
        }
        for subscriber in &mut self.subscribers {
            let watched: Vec<usize> = subscriber.watches.keys().copied().collect();
            let (_, resumed) = subscriber.come_back(address, &watched).expect(GONE);
            self.tally.resumed += resumed;
            for (map, watch) in &subscriber.watches {
                self.tally.checked += promises.check(*map, &watch.replica, now_ms(), "who resumed");
                let truth = &reader.watches[map].replica;
                let missed = watch.replica.lacks(truth).filter(|_| maps::kind(*map) != Kind::Counter);
                assert!(missed.is_none(), "who resumed {} has not heard of {missed:?}", maps::name(*map));
            }
        }
        drop(promises);
        let digests = digests(address);
        for (map, (entries, _)) in &digests {
            let live = |cell: &&Cell| match cell {
                Cell::Lww { value, .. } => value.is_some(),
                Cell::Or { live, .. } => !live.is_empty(),
                Cell::Counter(_) => true,
            };
            let live = reader.watches[map].replica.cells.values().filter(live).count() as u64;
            assert_eq!(*entries, live, "the digest of {} counts otherwise", maps::name(*map));
        }
        digests
    }

    /// Nothing was written since: everything is as it was before.
    fn compare_digests(&mut self, address: SocketAddr, before: &Digests) {
        let after = digests(address);
        for (map, digest) in before {
            assert_eq!(after[map], *digest, "the digest of {} after another start", maps::name(*map));
        }
        self.tally.digests += before.len() as u64;
    }

    /// What `annulus verify` says of the directory that no server uses: all is sound, and as it was told.
    fn verify(&mut self, told: &Digests) {
        if self.world == World::Memory {
            return;
        }
        let verified = verify(&self.data_dir, now_ms(), &mut |_| ()).expect("a data directory");
        assert!(verified.is_sound(), "{verified}");
        for (map, (entries, hash)) in told {
            let name = maps::name(*map);
            let found = verified.maps.iter().find(|found| found.map == name);
            let found = found.map_or((0, None), |found| (found.keys, Some(found.digest.as_str())));
            assert_eq!(found.0, *entries, "keys of {name} that verify finds");
            assert!(found.1.is_none_or(|found| found == hash), "the digest of {name} that verify finds");
        }
        self.tally.digests += told.len() as u64;
    }

    /// Lets everybody write and watch, and ends the server at some moment.
    fn write(&mut self, address: SocketAddr, server: Server) {
        let longest = if self.world == World::Recorded { LONGEST_RECORDED } else { LONGEST };
        let time = Duration::from_micros(self.random.between(1_000, longest) as u64);
        let is_orderly = self.random.per_mille(150);
        let watched: Vec<Vec<usize>> = self.subscribers.iter().map(|_| some_maps(&mut self.random)).collect();
        let (promises, is_believing) = (&self.promises, self.world.is_believing());
        let power = self.power.as_ref();
        // What comes once the cut has begun does not count, as it would not with the power gone, and nothing else is let pass. A sync
        // that is under way then may return success without its data: a trace had one that began 4 ms before the cut and ended 0.1 ms
        // behind it, whose acks and cursors, all later, named ticks 8 ms above what was found.
        let is_deaf = &AtomicBool::new(false);
        let page = thread::scope(|scope| {
            for (subscriber, maps) in self.subscribers.iter_mut().zip(&watched) {
                scope.spawn(move || {
                    if let Ok((client, _)) = subscriber.come_back(address, maps) {
                        subscriber.listen(client, is_deaf);
                    }
                });
            }
            for writer in &mut self.writers {
                scope.spawn(move || writer.run(address, promises, is_believing, is_deaf));
            }
            thread::sleep(time);
            let page = metrics(address);
            match power {
                _ if is_orderly => server.terminate(),
                None => server.kill(),
                Some(power) => {
                    is_deaf.store(true, Ordering::SeqCst);
                    power.cut().unwrap();
                    drop(server);
                }
            }
            page
        });
        if let Some(power) = power {
            if is_orderly {
                power.cut().unwrap();
            }
            power.restore().unwrap();
        }
        let mut promises = self.promises.lock().unwrap();
        if is_orderly {
            promises.ended_in_order();
            self.tally.terms += 1;
        } else {
            promises.was_killed();
            self.tally.kills += 1;
        }
        self.tally.evictions += metric(&page, "annulus_map_evictions_total");
        self.tally.loads += metric(&page, "annulus_map_loads_total");
        self.tally.folds += metric(&page, "annulus_checkpoints_total");
    }
}

/// The logs of a life, and its data where that is nowhere else.
fn root(seed: u64) -> PathBuf {
    std::env::temp_dir().join(format!("annulus-crash-{}-{seed}", std::process::id()))
}

fn some_maps(random: &mut Random) -> Vec<usize> {
    let mut maps: Vec<usize> = (0..random.between(1, 4)).map(|_| random.below(maps::all().len())).collect();
    maps.sort_unstable();
    maps.dedup();
    maps
}

/// Of every map whose digest time alone does not change, as two connections are told it.
fn digests(address: SocketAddr) -> Digests {
    let ask = |map: usize, client: &mut Client| {
        let name = maps::name(map);
        let answer = client.ask(&format!(r#"{{"type":"digest","map":"{name}"}}"#)).expect(GONE);
        assert_eq!(answer["type"], "digest", "{answer}");
        (answer.get_u64("entries").unwrap(), answer.get_str("hash").unwrap().to_owned())
    };
    let mut clients = [(); 2].map(|()| Client::connect(address).expect(GONE));
    let stable = maps::all().filter(|&map| maps::kind(map) != Kind::Fleeting);
    let digest = |map: usize| {
        let [one, other] = clients.each_mut().map(|client| ask(map, client));
        assert_eq!(one, other, "two connections are told two digests of {}", maps::name(map));
        (map, one)
    };
    stable.map(digest).collect()
}

//! What one seed makes of the world: how many shards and clients, how small the limits, how often what fails.

use annulus::config::{ChannelBounds, Coalesce, Config, DialectPath, Fsync, Presence, QueryIndex};

use crate::random::Random;

/// The name of the server in stamps it gives.
pub const NODE: &str = "sim";
/// The most shards a process has.
pub const SHARDS_MAX: usize = 5;
/// The most clients, observers aside.
pub const CLIENTS_MAX: usize = 9;

/// Milliseconds that a member is away at most: less than it takes until nothing moves any more.
pub const GRACE_MS_MAX: u64 = 200;
/// Indexes for queries that a node keeps, or none.
const INDEXES: [&str; 3] = ["*:n", "*:kind", "*:by"];

/// What the operations on a map may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Lww,
    Or,
    /// Counts both ways.
    Counter,
    /// Counts up only, so that each count is delivered once and in order.
    Rising,
    /// Clients disagree on the type: the first write must fix it for all.
    Contested,
}

#[derive(Clone, Debug)]
pub struct MapSpec {
    pub name: String,
    pub kind: Kind,
}

/// How maps are kept on disk, and what happens to the disk and the process.
#[derive(Clone, Debug)]
pub struct StorageSpec {
    pub fsync: Fsync,
    pub segment_bytes: usize,
    /// Of spare files; 0: there are none.
    pub spare_bytes: u64,
    pub checkpoint_interval_us: u64,
    /// Bytes of the base that redb keeps in memory.
    pub cache_bytes: usize,
    /// Records that are folded in one transaction.
    pub transaction_records: usize,
    /// The longest time between two folds, and that a thread stands still in the middle of something.
    pub fold_us: u64,
    /// Times in a thousand steps of a fold or a load that it does.
    pub rests_per_mille: usize,
    /// How long removals are remembered.
    pub retention_ms: u64,
    /// Times in a hundred thousand steps that the process or the power ends, and that something is wrong with the
    /// disk.
    pub crashes: usize,
    pub disk_faults: usize,
    /// Times in a hundred thousand steps that the disk is found almost full, or has room again.
    pub read_only_turns: usize,
    /// Times in a thousand syncs that one takes longer than anybody waits.
    pub stalls_per_mille: usize,
    /// Times in a thousand loads that one fails.
    pub failed_loads_per_mille: usize,
}

/// See the module.
pub struct Scenario {
    pub shards: usize,
    pub queue_envelopes: usize,
    pub clients: usize,
    /// How many of them, at the end, speak SyncKit.
    pub clients_synckit: usize,
    pub steps: usize,
    pub config: Config,
    pub maps: Vec<MapSpec>,
    /// How many of them anybody subscribes to before all is over.
    pub maps_watched: usize,
    pub keys: usize,
    /// The most bytes of padding a value has.
    pub padding_bytes: usize,
    /// Bytes the kernel takes for one peer before it makes a send wait.
    pub kernel_bytes: usize,
    /// Times in a thousand client steps that the transport fails in some way.
    pub faults_per_mille: usize,
    /// Times in a thousand client steps that a client stops reading for a while.
    pub stalls_per_mille: usize,
    /// Times in a thousand steps that a shard gets no turn for a while.
    pub starvation_per_mille: usize,
    /// The most microseconds that pass at once, clock jumps aside.
    pub pauses_us: usize,
    /// Times in ten thousand steps that the clock jumps.
    pub jumps: usize,
    /// How far the wall clocks of some shards are from that of the first.
    pub skew_ms: i64,
    /// Removals are forgotten during the run. Clients then hear their own changes, as what is older than a forgotten removal may
    /// come back.
    pub forgets: bool,
    /// Whether clients bring stamps and tags of their own. With removals that are forgotten nobody knows what is at such a key
    /// then, but all servers say the same of it.
    pub brings_stamps: bool,
    /// Requests without an answer past which a client waits.
    pub asked_max: usize,
    /// Operations of one write; all of them fit into a message.
    pub ops_max: usize,
    /// The network is fast enough for large values to get anywhere.
    pub is_heavy: bool,
    /// Nobody can be conflated and there is one shard: a writer must never hear itself, at any time.
    pub never_conflates: bool,
    /// `None`: memory storage.
    pub storage: Option<StorageSpec>,
}

impl Scenario {
    pub fn of(random: &mut Random) -> Self {
        let is_heavy = random.per_mille(60);
        let shards = if is_heavy { random.between(2, 3) } else { random.between(1, SHARDS_MAX) };
        let clients = random.between(2, CLIENTS_MAX);
        // A map of 10 000 keys: what is wrong only there is wrong in production.
        let is_large = !is_heavy && random.per_mille(30);
        let is_tight = !is_heavy && !is_large && random.per_mille(100);
        let forgets = random.per_mille(200);
        let never_conflates = shards == 1 && random.per_mille(500);
        let mut maps = maps(random);
        if is_tight || is_heavy {
            // The others have keys that grow without end.
            maps.retain(|map| !matches!(map.kind, Kind::Or | Kind::Contested));
            maps.push(MapSpec { name: "map-tight".to_owned(), kind: Kind::Lww });
        }
        let keeps = random.per_mille(600);
        if keeps {
            // Cold ones, too.
            for index in 0..random.below(10) {
                maps.push(MapSpec { name: format!("map-more-{index}"), ..maps[index % maps.len()].clone() });
            }
        }
        let mut config = config(random, clients, shards, maps.len());
        if never_conflates || is_heavy {
            config.outbox_hard_bytes = 256 << 20;
        }
        if never_conflates {
            config.outbox_soft_bytes = 64 << 20;
        }
        if is_tight {
            // All there is fits, but not many answers at once.
            config.outbox_hard_bytes = config.outbox_soft_bytes + (80 << 10);
        }
        assert!(config.outbox_soft_bytes < config.outbox_hard_bytes, "no server starts with these limits");
        if forgets {
            config.tombstone_retention_ms = random.between(200, 3_000) as u64;
        }
        let storage = keeps.then(|| storage(random, &mut config));
        let maps_watched = random.between(1, maps.len());
        let queue_envelopes = if is_heavy { 1 } else { random.pick(&[1, 1, 2, 3, 4, 24, 64]) };
        let clients_synckit = random.pick(&[0, 0, 1, clients / 2, clients - 1]);
        Self {
            storage,
            shards,
            queue_envelopes,
            clients,
            clients_synckit,
            steps: if is_heavy || is_large {
                random.between(2000, 6000)
            } else {
                random.between(1000, 40_000)
            },
            config,
            keys: if is_large { 10_000 } else { random.pick(&[1, 3, 8, 30]) },
            padding_bytes: match (is_heavy, is_tight) {
                _ if is_large => 0,
                (true, _) => 190_000,
                (_, true) => 300,
                _ => random.pick(&[0, 20, 300, 3000]),
            },
            kernel_bytes: random.pick(&[1, 50, 1000, 20_000, 1 << 20])
                + if is_heavy || is_large { 1 << 20 } else { 0 },
            faults_per_mille: random.pick(&[0, 2, 8, 30]),
            stalls_per_mille: random.pick(&[0, 5, 30]),
            starvation_per_mille: random.pick(&[0, 2, 10]) + if is_heavy { 10 } else { 0 },
            asked_max: if is_tight { 400 } else { random.pick(&[5, 60, 300]) },
            ops_max: match (is_heavy, is_large) {
                (true, _) => 4,
                (_, true) => 1000,
                _ => 8,
            },
            is_heavy,
            jumps: random.pick(&[0, 0, 5, 20]),
            skew_ms: [0, 3, 1_000][clients % 3],
            forgets,
            brings_stamps: !forgets || clients_synckit == 0 && clients.is_multiple_of(2),
            never_conflates,
            maps,
            maps_watched,
            pauses_us: random.pick(&[3_000, 3_000, 30_000]),
        }
    }
}

impl Scenario {
    /// Whether a subscription cannot fail, and misses nothing that is written after it.
    pub fn subscribes_always(&self) -> bool {
        self.storage.is_none() && self.config.subscriptions_max >= self.maps.len() && self.jumps == 0
    }

    /// Whether a message may be asked to be on disk before it is answered.
    pub fn keeps_durable_channels(&self) -> bool {
        self.config.channel_history.is_durable && self.storage.is_some() && self.config.offers_durable
    }

    /// Whether a map may come to have nothing, and be none.
    pub fn forgets_maps(&self) -> bool {
        self.forgets && self.storage.is_none()
    }

    /// Whether a crash while nothing moves loses nothing.
    pub fn keeps_all_at_rest(&self) -> bool {
        self.storage.as_ref().is_some_and(|spec| spec.fsync != Fsync::Never)
    }
}

/// Small segments, and often too little memory for all maps, so that everything happens all the time.
fn storage(random: &mut Random, config: &mut Config) -> StorageSpec {
    let fsync = match random.below(10) {
        0 => Fsync::Never,
        1..3 => Fsync::Interval { ms: random.pick(&[1, 20, 200]) },
        _ => Fsync::Always,
    };
    // For observers of any number of shards.
    config.connections_max += 4 * SHARDS_MAX;
    config.offers_durable = fsync != Fsync::Never;
    config.memory_limit_bytes = random.pick(&[0, 1, 1, 20_000, 100_000]);
    StorageSpec {
        fsync,
        segment_bytes: random.pick(&[500, 5_000, 50_000, 1 << 20]),
        spare_bytes: match fsync {
            Fsync::Always => random.pick(&[0, 8 << 10, 16 << 10, 64 << 10]),
            _ => 0,
        },
        checkpoint_interval_us: random.pick(&[1_000, 20_000, 1_000_000]),
        cache_bytes: random.pick(&[0, 16 << 10, 1 << 20]),
        transaction_records: random.pick(&[1, 5, 1000]),
        fold_us: random.pick(&[0, 3_000, 60_000, 300_000]),
        rests_per_mille: random.pick(&[0, 100, 400]),
        retention_ms: config.tombstone_retention_ms,
        crashes: random.pick(&[0, 10, 30, 100]),
        disk_faults: random.pick(&[0, 30, 100, 300]),
        read_only_turns: random.pick(&[0, 0, 0, 50]),
        stalls_per_mille: random.pick(&[0, 0, 3]),
        failed_loads_per_mille: random.pick(&[0, 0, 50]),
    }
}

fn maps(random: &mut Random) -> Vec<MapSpec> {
    let count = random.between(1, 6);
    let kinds = [Kind::Lww, Kind::Or, Kind::Counter, Kind::Rising, Kind::Contested, Kind::Lww];
    let spec = |index: usize| MapSpec { name: format!("map-{index}"), kind: kinds[index] };
    let first = random.below(kinds.len());
    (0..count).map(|index| spec((first + index) % kinds.len())).collect()
}

fn config(random: &mut Random, clients: usize, shards: usize, maps: usize) -> Config {
    let soft_bytes = random.pick(&[300, 1000, 5000, 100_000]);
    // A slow reader may be closed; one that reads must not be, so there is room for a chunk from each shard
    // and for answers beyond the soft limit.
    let hard_bytes = soft_bytes + random.pick(&[4, 40]) * (600 << 10);
    Config {
        node: NODE.to_owned(),
        dialects: vec![DialectPath::NATIVE, annulus::dialect::synckit::PATH],
        connections_max: clients + 4 * shards + random.pick(&[0, 2, 100]),
        connections_per_ip_max: random.pick(&[0, 0, 3, 5]),
        accepts_per_second_max: random.pick(&[0, 0, 0, 50]),
        handshake_timeout_ms: random.pick(&[100, 10_000]),
        heartbeat_ms: random.pick(&[2_000, 20_000]),
        value_bytes_max: 200_000,
        // So that no key of a long life is full.
        cell_bytes_max: 64 << 20,
        query_indexes: random
            .pick(&[&[][..], &INDEXES])
            .iter()
            .map(|index| QueryIndex::parse(index).expect("it names a map and a field"))
            .collect(),
        subscriptions_max: random.pick(&[1000, 1000, maps.saturating_sub(1).max(1)]),
        coalesce: random.pick(&[
            Coalesce::LOW_LATENCY,
            Coalesce::LOW_LATENCY,
            Coalesce { delay_us: 1_000, bytes_max: 2_000, frames_max: 5 },
            Coalesce::HIGH_THROUGHPUT,
        ]),
        outbox_soft_bytes: soft_bytes,
        outbox_hard_bytes: hard_bytes,
        channel_history: ChannelBounds {
            messages: random.pick(&[0, 3, 30, 1_000]),
            bytes: random.pick(&[1_500, 1 << 20, 1 << 20]),
            ttl_ms: random.pick(&[300, 3_600_000, 3_600_000]),
            is_durable: random.per_mille(500),
        },
        ack_timeout_ms: random.pick(&[50, 5_000, 5_000]),
        drain_ms: 2_000,
        presence: Presence {
            tick_ms: random.pick(&[1, 50]),
            grace_ms: random.pick(&[0, 30, GRACE_MS_MAX]),
            full_max: random.pick(&[1, 3, 200]),
            ..Presence::default()
        },
        ..Config::default()
    }
}

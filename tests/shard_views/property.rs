//! Whatever the rules, and whatever happens: nobody is told what it may not see, and everybody ends with what it may.

use std::collections::{BTreeMap, BTreeSet};

use crate::grants::{ALL, rule};
use crate::naive::{Rules, WHO};
use crate::random::Random;
use crate::replica::{Replica, Told, entries};
use crate::world::{Client, World};

const MAPS: [&str; 3] = ["lww", "or", "counter"];
const KEYS: [&str; 6] = ["u1", "u2", "v1", "v2", "x1", "x2"];
const CLIENTS: usize = 5;
const STEPS: usize = 250;

/// What has ever been at a key: by map, key and tag.
type History = BTreeMap<(usize, String, String), BTreeSet<String>>;

/// A subscriber to one map.
struct Reader {
    client: Client,
    map: usize,
    /// The number of the grant that it has, and those that it has had since it had last taken everything.
    grant: usize,
    had: BTreeSet<usize>,
    prefix: &'static str,
    replica: Replica,
    is_stalled: bool,
}

struct Run {
    random: Random,
    world: World,
    rules: Rules,
    writers: Vec<Client>,
    readers: Vec<Reader>,
    history: History,
    count: BTreeMap<String, i64>,
    next_tag: usize,
    told: usize,
    left: usize,
}

/// Goal: see the module. Method: rules at random, and an oracle that asks each of them about every value that was ever there.
/// Writers on each shard change keys of maps of all types, some values end; readers come and go, are slow, have filters, change
/// who they are and come back with cursors. Each entry told is one that the oracle allows; when all is quiet each reader has
/// exactly what the oracle says of what one who sees everything has.
#[test]
fn nobody_is_told_what_it_may_not_see_and_everybody_ends_with_what_it_may() {
    let seeds: u64 = std::env::var("SEEDS").map_or(300, |seeds| seeds.parse().unwrap());
    let first: u64 = std::env::var("SEED").map_or(0, |seed| seed.parse().unwrap());
    let (mut told, mut left, mut resets) = (0, 0, 0);
    for seed in first..first + seeds {
        let mut run = Run::new(seed);
        (0..STEPS).for_each(|_| run.step(seed));
        run.end(seed);
        (told, left) = (told + run.told, left + run.left);
        resets += run.readers.iter().map(|reader| reader.replica.resets).sum::<u32>();
    }
    println!("{told} entries, {left} gone, {resets} resets");
    assert!(seeds < 300 || told > 20_000 && left > 4_000 && resets > 2_000);
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let rules = Rules::random(&mut random);
        let claims = WHO.map(|who| who.claims());
        rule(&rules.text(), &claims.each_ref().map(|claims| &**claims));
        let shards = random.between(1, 2);
        let mut world = World::with(shards, |config| {
            (config.outbox_soft_bytes, config.outbox_hard_bytes) = (8 << 10, 8 << 20);
        });
        let writers = (0..shards).map(|shard| world.connect(shard)).collect();
        let (readers, history, count) = (Vec::new(), History::new(), BTreeMap::new());
        let mut run =
            Self { random, world, rules, writers, readers, history, count, next_tag: 0, told: 0, left: 0 };
        (0..30).for_each(|_| run.write());
        for map in 0..MAPS.len() {
            run.subscribe(map, ALL, "", None);
        }
        (0..CLIENTS).for_each(|_| run.join());
        run
    }

    fn step(&mut self, seed: u64) {
        let reader = self.random.between(MAPS.len(), self.readers.len() - 1);
        match self.random.below(20) {
            0 => self.change_view(seed, reader),
            1 => self.leave(seed, reader),
            2 => {
                let Reader { client, is_stalled, .. } = &mut self.readers[reader];
                *is_stalled = !*is_stalled;
                if *is_stalled { self.world.stall(*client) } else { self.world.resume(*client) }
            }
            3 => self.world.take_all(self.readers[reader].client),
            4 => {
                let ms = self.random.below(300) as u64;
                self.world.pass_ms(ms);
            }
            5..7 => (0..self.random.below(4)).for_each(|_| self.world.turn()),
            7..10 => self.world.settle(),
            _ => self.write(),
        }
        self.take(seed);
    }

    fn value(&mut self) -> String {
        let pad = "x".repeat(self.random.pick(&[0, 10, 1_000, 3_000]));
        let (n, team) = (self.random.below(8), self.random.pick(&["a", "b"]));
        match self.random.below(6) {
            0 => n.to_string(),
            1 => format!(r#"{{"pad":"{pad}"}}"#),
            _ => format!(r#"{{"n":{n},"pad":"{pad}","team":"{team}"}}"#),
        }
    }

    fn write(&mut self) {
        let writer = self.random.below(self.writers.len());
        let (map, key) = (self.random.below(MAPS.len()), self.random.pick(&KEYS));
        let value = self.value();
        let remember = |history: &mut History, tag: &str, value: &str| {
            history.entry((map, key.to_owned(), tag.to_owned())).or_default().insert(value.to_owned());
        };
        let name = MAPS[map];
        let text = match (map, self.random.below(4)) {
            (0, 0) => format!("delete {name} {key}"),
            (0, what) => {
                remember(&mut self.history, "", &value);
                let ttl = if what == 1 { " 200" } else { "" };
                format!("set {name} {key} {value}{ttl}")
            }
            (1, 0) => {
                let tags: Vec<String> = (0..self.random.between(1, 3)).map(|_| self.known_tag()).collect();
                format!("remove {name} {key} {}", tags.join(" "))
            }
            (1, 1) if self.random.per_mille(300) => format!("delete {name} {key}"),
            (1, _) => {
                self.next_tag += 1;
                let tag = format!("t{}", self.next_tag);
                remember(&mut self.history, &tag, &value);
                format!("add {name} {key} {tag} {value}")
            }
            _ => {
                let by = self.random.between(0, 6) as i64 - 2;
                let count = self.count.entry(key.to_owned()).or_default();
                *count += by;
                remember(&mut self.history, "", &count.to_string());
                format!("count {name} {key} {by}")
            }
        };
        // Sums in between are known where one connection counts.
        let writer = if map == 2 { 0 } else { writer };
        self.world.send(self.writers[writer], &format!("{ALL} {text}"));
    }

    fn known_tag(&mut self) -> String {
        format!("t{}", self.random.below(self.next_tag + 2))
    }

    /// A grant that may read the map at all.
    fn grant(&mut self) -> usize {
        1 + self.random.below(WHO.len())
    }

    fn join(&mut self) {
        let (map, grant) = (self.random.below(MAPS.len()), self.grant());
        let prefix = self.random.pick(&["", "", "u"]);
        self.subscribe(map, grant, prefix, None);
    }

    fn subscribe(&mut self, map: usize, grant: usize, prefix: &'static str, since: Option<(Replica, usize)>) {
        let shard = self.random.below(self.writers.len());
        let client = self.world.connect(shard);
        let filter = if prefix.is_empty() { String::new() } else { format!(" prefix {prefix}") };
        let cursor = since.as_ref().and_then(|(replica, _)| replica.cursor.clone());
        let from = cursor.map_or_else(String::new, |cursor| format!(" since {cursor}"));
        let mut had = BTreeSet::from([grant]);
        had.extend(since.as_ref().map(|(_, had)| *had));
        let replica = since.map(|(replica, _)| replica).unwrap_or_default();
        let readable = grant == ALL || crate::words::may_read(grant, MAPS[map]);
        if readable {
            self.world.send(client, &format!("{grant} subscribe {}{filter}{from}", MAPS[map]));
        }
        self.readers.push(Reader { client, map, grant, had, prefix, replica, is_stalled: false });
    }

    /// A reader comes back with what it had last, as somebody else perhaps.
    fn leave(&mut self, seed: u64, reader: usize) {
        self.take(seed);
        let Reader { client, map, grant, prefix, mut replica, .. } = self.readers.swap_remove(reader);
        self.world.fail(client);
        let now = if self.random.per_mille(300) { self.grant() } else { grant };
        replica.break_off();
        if !crate::words::may_read(now, MAPS[map]) {
            replica = Replica::default();
        }
        let since = replica.cursor.is_some().then_some((replica, grant));
        self.subscribe(map, now, prefix, since);
    }

    fn change_view(&mut self, seed: u64, reader: usize) {
        let grant = self.grant();
        if !self.readers[reader].is_stalled {
            self.world.settle();
            self.take(seed);
        }
        let reader = &mut self.readers[reader];
        let name = MAPS[reader.map];
        let could_read = crate::words::may_read(reader.grant, name);
        if !could_read || !crate::words::may_read(grant, name) {
            return;
        }
        self.world.send(reader.client, &format!("{grant} view {name}"));
        reader.grant = grant;
        reader.had.insert(grant);
        let is_stalled = reader.is_stalled;
        let client = reader.client;
        if is_stalled {
            return;
        }
        // What it had taken before was all of before: from here on it is told nothing that only who it was might see.
        if let Some(reader) = self.readers.iter_mut().find(|reader| reader.client == client) {
            reader.had = BTreeSet::from([grant]);
        }
    }

    /// Takes what readers have been told, which must be allowed.
    fn take(&mut self, seed: u64) {
        for reader in &mut self.readers {
            for text in self.world.received(reader.client) {
                if reader.grant != ALL {
                    for told in entries(&text) {
                        self.told += 1;
                        let (rules, history) = (&self.rules, &self.history);
                        self.left += usize::from(is_gone(&told));
                        let is_allowed = reader
                            .had
                            .iter()
                            .any(|&grant| is_allowed((rules, grant), history, reader.map, &told));
                        assert!(is_allowed, "seed {seed}: {told:?} to {:?} by {}", reader.had, rules.text());
                    }
                }
                reader.replica.take(&text);
            }
        }
    }

    fn end(&mut self, seed: u64) {
        for reader in &mut self.readers {
            self.world.resume(reader.client);
            reader.is_stalled = false;
        }
        self.world.settle();
        self.take(seed);
        for reader in MAPS.len()..self.readers.len() {
            let Reader { map, grant, prefix, ref replica, .. } = self.readers[reader];
            let who = WHO[grant - 1];
            let mut expected = self.readers[map].replica.visible();
            expected.retain(|(key, _), value| {
                let seen = self.rules.seen(who, key, Some(value));
                *value = seen.clone().unwrap_or_default();
                key.starts_with(prefix) && seen.is_some()
            });
            let visible = replica.visible();
            assert_eq!(visible, expected, "seed {seed}, {} of {who:?} by {}", MAPS[map], self.rules.text());
        }
    }
}

fn is_gone(told: &Told) -> bool {
    matches!(told, Told::Value { value: None, .. } | Told::Count { count: None, .. } | Told::Removed { .. })
}

/// Whether somebody may be told that, given all that has ever been.
fn is_allowed((rules, grant): (&Rules, usize), history: &History, map: usize, told: &Told) -> bool {
    let who = WHO[grant - 1];
    let nothing = BTreeSet::new();
    let ever = |key: &String, tag: &str| history.get(&(map, key.clone(), tag.to_owned())).unwrap_or(&nothing);
    let is_of_keys = |key: &str| rules.is_about_keys() && rules.seen(who, key, None).is_some();
    let could_be_seen = |key: &String, tag: &str| {
        ever(key, tag).iter().any(|value| rules.seen(who, key, Some(value)).is_some()) || is_of_keys(key)
    };
    let was_seen_as = |key: &String, tag: &str, told: &String| {
        ever(key, tag).iter().any(|value| rules.seen(who, key, Some(value)).as_ref() == Some(told))
    };
    match told {
        Told::Value { key, value: Some(value), .. } => was_seen_as(key, "", value),
        Told::Count { key, count: Some(count) } => was_seen_as(key, "", count),
        Told::Tag { key, tag, value } => was_seen_as(key, tag, value),
        Told::Value { key, value: None, .. } | Told::Count { key, count: None } => could_be_seen(key, ""),
        Told::Removed { key, tag } => could_be_seen(key, tag),
    }
}

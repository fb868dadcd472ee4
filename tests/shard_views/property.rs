//! Whatever the rules, and whatever happens: nobody is told what it may not see, everybody ends with what it may, and nothing is
//! written that may not be.

use std::collections::BTreeMap;

use crate::guarded::Guarded;
use crate::history::{History, is_allowed, is_gone};
use crate::host::{ALL, Host};
use crate::naive::{Doing, Rules, Who};
use crate::random::Random;
use crate::readers::Reader;
use crate::replica::{Replica, entries};
use crate::world::Client;

pub const MAPS: [&str; 3] = ["lww", "or", "counter"];
/// The last stays as it is, so that each map is of the type that it is meant to be of.
pub const KEYS: [&str; 7] = ["u1", "u2", "v1", "v2", "x1", "x2", "x3"];
pub const CHANGING: &[&str] = KEYS.split_at(6).0;
const CLIENTS: usize = 5;
const STEPS: usize = 250;

pub struct Run {
    pub random: Random,
    pub host: Host,
    /// All that were in force, the last of them are.
    pub rules: Vec<Rules>,
    /// They may do everything, one on each shard.
    writers: Vec<Client>,
    pub guarded: Vec<Guarded>,
    /// Those of [`MAPS`] who see everything, and others.
    pub readers: Vec<Reader>,
    history: History,
    count: BTreeMap<String, i64>,
    next_tag: usize,
    /// Whether somebody guarded has asked for something since all was quiet, and whether rules are new since then.
    pub is_asking: bool,
    pub are_rules_new: bool,
    pub seen: Seen,
}

/// How much of what has happened.
#[derive(Default)]
pub struct Seen {
    told: usize,
    left: usize,
    resets: u32,
    refused: usize,
    pub written: usize,
    /// Subscriptions that ended, or did not begin, as nothing of the map may be seen.
    pub out: usize,
}

/// Goal: see the module. Method: rules at random, and an oracle that asks each of them about every value that was ever there.
/// Writers on each shard who may do everything change keys of maps of all types, some values end, and others write what their
/// grants allow, or try to. Readers come and go, are slow, have filters, show other tokens and come back with cursors; other rules
/// come into force. Each entry told is one that the oracle allows; when all is quiet each reader has exactly what the oracle says
/// of what one who sees everything has, and each writer was refused as often as it had to be.
#[test]
fn nobody_is_told_what_it_may_not_see_and_everybody_ends_with_what_it_may() {
    let seeds: u64 = std::env::var("SEEDS").map_or(300, |seeds| seeds.parse().unwrap());
    let first: u64 = std::env::var("SEED").map_or(0, |seed| seed.parse().unwrap());
    let mut all = Seen::default();
    for seed in first..first + seeds {
        let mut run = Run::new(seed);
        (0..STEPS).for_each(|_| run.step(seed));
        run.end(seed);
        let Seen { told, left, refused, written, out, .. } = run.seen;
        (all.told, all.left, all.out) = (all.told + told, all.left + left, all.out + out);
        (all.refused, all.written) = (all.refused + refused, all.written + written);
        all.resets += run.readers.iter().map(|reader| reader.replica.resets).sum::<u32>();
    }
    let Seen { told, left, resets, refused, written, out } = all;
    println!("{told} entries, {left} gone, {resets} resets; {written} written, {refused} refused; {out} out");
    assert!(seeds < 300 || told > 20_000 && left > 4_000 && resets > 2_000);
    assert!(seeds < 300 || written > 1_000 && refused > 2_000 && out > 200);
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let rules = Rules::random(&mut random);
        let shards = random.between(1, 2);
        let mut host = Host::with(shards, &rules.text(), |config| {
            (config.outbox_soft_bytes, config.outbox_hard_bytes) = (8 << 10, 8 << 20);
        });
        let writers = (0..shards).map(|shard| host.connect(shard, ALL)).collect();
        let guarded = (0..shards).map(|shard| {
            let who = Who::random(&mut random);
            Guarded { client: host.connect(shard, &who.token()), who, refused: 0, is_to_be_refused: 0 }
        });
        let guarded = guarded.collect();
        let mut run = Self {
            random,
            host,
            rules: vec![rules],
            writers,
            guarded,
            readers: Vec::new(),
            history: History::new(),
            count: BTreeMap::new(),
            next_tag: 0,
            is_asking: false,
            are_rules_new: false,
            seen: Seen::default(),
        };
        run.begin();
        (0..30).for_each(|_| run.write());
        for map in 0..MAPS.len() {
            run.subscribe(map, None, "", Replica::default());
        }
        (0..CLIENTS).for_each(|_| run.join());
        run
    }

    /// What stays.
    fn begin(&mut self) {
        let (key, writer) = (KEYS[6], self.writers[0]);
        self.remember(0, key, "", "1");
        self.remember(1, key, "t", "1");
        self.counted(key, 1);
        let [lww, or, counter] = MAPS;
        let what =
            [format!("set {lww} {key} 1"), format!("add {or} {key} t 1"), format!("count {counter} {key} 1")];
        self.host.done(writer, &what.each_ref().map(|text| &**text));
    }

    fn step(&mut self, seed: u64) {
        let reader = self.random.between(MAPS.len(), self.readers.len() - 1);
        match self.random.below(23) {
            0 if self.random.per_mille(300) => self.change_rules(seed),
            0 => self.change_view(seed, reader),
            1 => self.leave(seed, reader),
            2 => {
                let Reader { client, is_stalled, .. } = &mut self.readers[reader];
                *is_stalled = !*is_stalled;
                if *is_stalled { self.host.stall(*client) } else { self.host.resume(*client) }
            }
            3 => self.host.take_all(self.readers[reader].client),
            4 => {
                let ms = self.random.below(300) as u64;
                self.host.pass_ms(ms);
            }
            5..7 => (0..self.random.below(4)).for_each(|_| self.host.turn()),
            7..10 => self.settle(),
            10..12 => self.write_guarded(),
            12 if self.random.per_mille(300) => self.renew_guarded(seed),
            12 => self.read_guarded(),
            _ => self.write(),
        }
        self.take(seed);
    }

    pub fn settle(&mut self) {
        self.host.settle();
        (self.is_asking, self.are_rules_new) = (false, false);
    }

    pub fn in_force(&self) -> &Rules {
        self.rules.last().unwrap()
    }

    pub fn value(&mut self) -> String {
        let pad = "x".repeat(self.random.pick(&[0, 10, 1_000, 3_000]));
        let (n, team) = (self.random.below(8), self.random.pick(&["a", "b"]));
        match self.random.below(6) {
            0 => n.to_string(),
            1 => format!(r#"{{"pad":"{pad}"}}"#),
            _ => format!(r#"{{"n":{n},"pad":"{pad}","team":"{team}"}}"#),
        }
    }

    pub fn remember(&mut self, map: usize, key: &str, tag: &str, value: &str) {
        let values = self.history.entry((map, key.to_owned(), tag.to_owned())).or_default();
        values.insert(value.to_owned());
    }

    fn write(&mut self) {
        let writer = self.random.below(self.writers.len());
        let (map, key) = (self.random.below(MAPS.len()), self.random.pick(CHANGING));
        let value = self.value();
        let name = MAPS[map];
        let text = match (map, self.random.below(4)) {
            (0, 0) => format!("delete {name} {key}"),
            (0, what) => {
                self.remember(map, key, "", &value);
                let ttl = if what == 1 { " 200" } else { "" };
                format!("set {name} {key} {value}{ttl}")
            }
            (1, 0) => {
                let tags: Vec<String> = (0..self.random.between(1, 3)).map(|_| self.known_tag()).collect();
                format!("remove {name} {key} {}", tags.join(" "))
            }
            (1, 1) if self.random.per_mille(300) => format!("delete {name} {key}"),
            (1, _) => {
                let tag = self.new_tag();
                self.remember(map, key, &tag, &value);
                format!("add {name} {key} {tag} {value}")
            }
            _ => self.count(key),
        };
        // Sums in between are known where one connection counts.
        let writer = if map == 2 { 0 } else { writer };
        self.host.send(self.writers[writer], &text);
    }

    fn count(&mut self, key: &str) -> String {
        let by = self.random.between(0, 6) as i64 - 2;
        self.counted(key, by);
        format!("count {} {key} {by}", MAPS[2])
    }

    pub fn counted(&mut self, key: &str, by: i64) {
        let count = self.count.entry(key.to_owned()).or_default();
        *count += by;
        let count = count.to_string();
        self.remember(2, key, "", &count);
    }

    pub fn new_tag(&mut self) -> String {
        self.next_tag += 1;
        format!("t{}", self.next_tag)
    }

    fn known_tag(&mut self) -> String {
        format!("t{}", self.random.below(self.next_tag + 2))
    }

    /// Other rules come into force, while anything may be under way but what somebody guarded has asked for.
    fn change_rules(&mut self, seed: u64) {
        let is_quiet = self.is_asking || self.random.per_mille(500);
        if is_quiet {
            self.settle();
            self.take(seed);
        }
        let rules = Rules::random(&mut self.random);
        self.host.stand(&rules.text());
        self.rules.push(rules);
        self.are_rules_new = true;
        if is_quiet {
            // It is in the end of a turn that connections are looked at again.
            self.host.turn();
        }
        let number = self.rules.len() - 1;
        self.readers.iter_mut().for_each(|reader| reader.rules_change(number, is_quiet));
    }

    /// Takes what everybody has been told, which must be allowed.
    pub fn take(&mut self, seed: u64) {
        let Self { host, rules, history, seen, .. } = self;
        for reader in &mut self.readers {
            for text in host.received(reader.client) {
                let is_admin = reader.who.is_none();
                for told in entries(&text).iter().filter(|_| !is_admin) {
                    seen.told += 1;
                    seen.left += usize::from(is_gone(told));
                    let may = |&(rules_of, who): &(usize, Who)| {
                        is_allowed((&rules[rules_of], Doing::Subscribing, who), history, reader.map, told)
                    };
                    let texts: Vec<_> = reader.had.iter().map(|(number, _)| rules[*number].text()).collect();
                    assert!(
                        reader.had.iter().any(may),
                        "seed {seed}: {told:?} to {:?} by {texts:?}",
                        reader.had
                    );
                }
                reader.take(&text, rules, seen);
            }
        }
        for guarded in &mut self.guarded {
            for text in host.received(guarded.client) {
                seen.refused += usize::from(text == "rejected forbidden");
                guarded.refused += usize::from(text == "rejected forbidden");
                let Some(map) = MAPS.iter().position(|name| text.split(' ').nth(1) == Some(name)) else {
                    assert!(["rejected forbidden", "authenticated"].contains(&&*text), "seed {seed}: {text}");
                    continue;
                };
                let in_force = (rules.last().unwrap(), Doing::Reading, guarded.who);
                for told in entries(&text) {
                    assert!(
                        is_allowed(in_force, history, map, &told),
                        "seed {seed}: {told:?} {:?}",
                        guarded.who
                    );
                }
            }
        }
    }

    /// What somebody sees who sees so much of what one who sees everything has.
    fn expected(
        &self,
        doing: Doing,
        who: Who,
        map: usize,
        prefix: &str,
    ) -> BTreeMap<(String, String), String> {
        let mut expected = self.readers[map].replica.visible();
        expected.retain(|(key, _), value| {
            let seen = self.in_force().seen(doing, who, key, Some(value));
            *value = seen.clone().unwrap_or_default();
            key.starts_with(prefix) && seen.is_some()
        });
        expected
    }

    fn end(&mut self, seed: u64) {
        for reader in &mut self.readers {
            self.host.resume(reader.client);
            reader.is_stalled = false;
        }
        self.settle();
        // A value that ends is read no more a little before that is told.
        self.host.pass_ms(300);
        self.take(seed);
        let text = self.in_force().text();
        for Reader { map, who, prefix, replica, is_out, .. } in &self.readers[MAPS.len()..] {
            let who = who.unwrap();
            assert!(
                *is_out || self.in_force().allow(Doing::Subscribing),
                "seed {seed}: of {who:?} by {text}"
            );
            if !is_out {
                let expected = self.expected(Doing::Subscribing, who, *map, prefix);
                assert_eq!(replica.visible(), expected, "seed {seed}, {} of {who:?} by {text}", MAPS[*map]);
            }
        }
        for index in 0..self.guarded.len() {
            let Guarded { client, who, refused, is_to_be_refused } = self.guarded[index];
            assert_eq!(refused, is_to_be_refused, "seed {seed}: of {who:?} by {text}");
            if !self.in_force().allow(Doing::Reading) {
                continue;
            }
            for (map, name) in MAPS.into_iter().enumerate() {
                let mut read = Replica::default();
                let answer = self.host.ask(client, &format!("read {name} {}", KEYS.join(",")));
                answer.iter().for_each(|text| read.take(text));
                let expected = self.expected(Doing::Reading, who, map, "");
                assert_eq!(read.visible(), expected, "seed {seed}, {name} read by {who:?} by {text}");
            }
        }
    }
}

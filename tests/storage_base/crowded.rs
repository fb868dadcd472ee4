//! Keys with more removals or slots than they may have: what the base makes of the records of an owner that forgets early.

use std::collections::BTreeSet;

use annulus::crdt::{Delta, Map, MapType, Merge, Node, Refused, Removal, Stamp, State, Time};
use annulus::limits::TAGS_PER_KEY_MAX;

use crate::crdt_histories::{Change, What, hashed, node};
use crate::disks::MemoryDisk;
use crate::journal_files::{EPOCH, JournalFiles};
use crate::model::{Accepted, Loaded, load, no_tail, open_base, records_of, recovered_tail};

const KEY: &[u8] = b"k";

/// The owner of one key, which forgets as the shard does.
struct Owner {
    map: Map,
    tick: Time,
    records: Vec<Accepted>,
    forgotten: usize,
}

impl Owner {
    fn record(&mut self, what: What) {
        self.records.push(Accepted { change: Change { key: KEY.to_vec(), what }, applied: self.tick });
    }

    fn add(&mut self, tag: &str) -> bool {
        self.tick = self.tick.next();
        let at = Stamp { time: self.tick, node: node(0) };
        let add = Delta::OrAdd { tag, value: b"1", at };
        loop {
            match self.map.merge(hashed(KEY), &add, self.tick) {
                Err(Refused::Crowded(lack)) => {
                    self.forgotten += self.map.make_room(hashed(KEY), lack).forgotten;
                }
                Ok(Merge::Changed(_)) => {
                    self.record(What::of(&add));
                    return true;
                }
                Ok(Merge::Lost) => return false,
                Err(refused) => panic!("{tag}: {refused}"),
            }
        }
    }

    fn remove(&mut self, tags: &[String]) {
        self.tick = self.tick.next();
        let mut gone = Vec::new();
        loop {
            let mut tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            let mut removal = Removal::Tags(&mut tags);
            let each = |tag: &str| gone.push(tag.to_owned());
            match self.map.remove(hashed(KEY), &mut removal, self.tick, usize::MAX, &mut 0, each) {
                Err(Refused::Crowded(lack)) => {
                    self.forgotten += self.map.make_room(hashed(KEY), lack).forgotten;
                }
                removed => {
                    removed.expect("unknown tags are few");
                    break;
                }
            }
        }
        gone.into_iter().for_each(|tag| self.record(What::OrRemove { tag }));
    }

    fn state(&self) -> (BTreeSet<String>, BTreeSet<(String, Time)>) {
        let state = crate::model::state_of(&self.map);
        tags_of(&state[KEY].1)
    }
}

/// The live tags, and the removed ones with their ticks.
fn tags_of(parts: &[(What, Option<Time>)]) -> (BTreeSet<String>, BTreeSet<(String, Time)>) {
    let (mut live, mut removed) = (BTreeSet::new(), BTreeSet::new());
    for (what, applied) in parts {
        match what {
            What::OrAdd { tag, .. } => live.insert(tag.clone()),
            What::OrRemove { tag } => removed.insert((tag.clone(), applied.expect("a removal has its tick"))),
            _ => unreachable!(),
        };
    }
    (live, removed)
}

fn check(owner: &Owner, loaded: &Loaded) {
    let (live, removed) = owner.state();
    let (stored_live, stored_removed) = tags_of(&loaded.state[KEY].1);
    assert_eq!(stored_live, live);
    assert!(stored_removed.is_superset(&removed), "what the owner remembers is remembered");
    assert!(stored_live.len() + stored_removed.len() <= TAGS_PER_KEY_MAX);
    assert!(loaded.pruned_through <= owner.map.pruned_through(), "nothing else was forgotten");
    assert!(stored_removed.iter().all(|(_, applied)| *applied > loaded.pruned_through), "and that is told");
}

/// Goal: the base has what the owner has, however much that has forgotten early: all live tags, and every removal the owner
/// remembers. Method: a key that is added to and removed from far beyond its limit, singly and many at once, with tags that come
/// again; folded in pieces, loaded with a tail and without, and evicted in between.
#[test]
fn what_an_owner_forgets_early_is_forgotten_in_the_base_and_nothing_else() {
    const ROUNDS: usize = 40_000;
    const PIECE: usize = 20_000;
    // What the owner has forgotten of late, and the base need not have.
    const LATE: usize = 14_000;
    let disk = MemoryDisk::default();
    let base = open_base(&disk);
    let mut journal = JournalFiles::new(&disk);
    let mut owner = Owner { map: Map::new(MapType::Or), tick: Time::ZERO, records: Vec::new(), forgotten: 0 };
    let name = |n: usize| format!("{:05}", n * 7919 % 100_000);
    let mut came_again = 0;
    for round in 0..ROUNDS {
        assert!(owner.add(&name(round)));
        match round % 1_000 {
            // These stay.
            0 => {}
            // Of some nobody has heard.
            999 => owner.remove(&(0..500).map(|n| format!("unknown {round} {n}")).collect::<Vec<_>>()),
            _ => owner.remove(&[name(round)]),
        }
        if round % 100 == 50 && round >= LATE {
            // An add that is late by more than is remembered, and a removal that comes again.
            came_again += usize::from(owner.add(&name(round - LATE)));
            owner.remove(&[name(round - LATE)]);
            owner.remove(&[name(round - LATE + 1)]);
        }
        if round % PIECE == PIECE - 1 {
            let segment = journal.write(&records_of("m", &std::mem::take(&mut owner.records)));
            check(&owner, &load(&base, &recovered_tail(&disk, &base), "m", 1, Time::ZERO));
            base.fold(&disk, &segment, EPOCH).unwrap();
            let loaded = load(&base, &no_tail(), "m", 1, Time::ZERO);
            check(&owner, &loaded);
            if round < ROUNDS / 2 {
                let (applied, parts) = &loaded.state[KEY];
                let mut map = Map::new(MapType::Or);
                let parts = parts.iter().map(|(what, removed)| (what.delta(), removed.unwrap_or(*applied)));
                map.restore(hashed(KEY), *applied, parts).unwrap();
                map.finish_restore(loaded.pruned_through);
                assert_eq!(map.digest(), owner.map.digest());
                owner.map = map;
            }
        }
    }
    assert!(owner.forgotten > ROUNDS / 2 && came_again > 50, "{} {came_again}", owner.forgotten);
}

/// Goal: the base has what the owner has of a counter, slot by slot, whatever was absorbed. Method: replicas that count once, and
/// some that go on, in a counter with room for ten; folded in pieces, loaded with a tail and without, and evicted in between.
#[test]
fn what_an_owner_absorbs_is_absorbed_in_the_base() {
    const ROUNDS: u64 = 300;
    const REPLICAS_MAX: u64 = 10;
    let disk = MemoryDisk::default();
    let base = open_base(&disk);
    let mut journal = JournalFiles::new(&disk);
    let mut map = Map::new(MapType::Counter);
    let (mut records, mut absorbed, mut count) = (Vec::new(), 0, 0);
    for round in 1..=ROUNDS {
        let tick = Time::new(round, 0);
        let mut accept = |map: &mut Map, delta: &Delta<'_>| {
            let merged = map.merge_within(hashed(KEY), delta, tick, 64 * REPLICAS_MAX as usize);
            if let Ok(Merge::Changed(_)) = merged {
                let change = Change { key: KEY.to_vec(), what: What::of(delta) };
                records.push(Accepted { change, applied: tick });
            }
            merged
        };
        // Every fifth round one of three counts on, which come often enough to keep their slots.
        let (name, by) =
            if round % 5 == 0 { (format!("stays {}", round % 3), 7) } else { (round.to_string(), -3) };
        let replica = Node::new(name.replace(' ', "-").as_bytes()).unwrap();
        let slot = map.increment(hashed(KEY), replica, by).unwrap();
        if let Err(refused) = accept(&mut map, &slot) {
            assert!(matches!(refused, Refused::Crowded(_)), "{refused}");
            let absorption = map.absorption(hashed(KEY), Time::new(round.saturating_sub(20), 0));
            let latest = map.absorption(hashed(KEY), Time::new(round - 5, 0)).unwrap();
            assert!(accept(&mut map, &absorption.unwrap_or(latest)).is_ok());
            assert!(matches!(accept(&mut map, &slot), Ok(Merge::Changed(_))));
            absorbed += 1;
        }
        count += i128::from(by);
        assert_eq!(counted(&map), count);
        if round % 50 == 30 {
            let segment = journal.write(&records_of("m", &std::mem::take(&mut records)));
            let loaded = load(&base, &recovered_tail(&disk, &base), "m", 1, Time::ZERO);
            assert_eq!((&loaded.state, loaded.digest), (&crate::model::state_of(&map), map.digest()));
            base.fold(&disk, &segment, EPOCH).unwrap();
            let loaded = load(&base, &no_tail(), "m", 1, Time::ZERO);
            assert_eq!((&loaded.state, loaded.digest), (&crate::model::state_of(&map), map.digest()));
            let (applied, parts) = &loaded.state[KEY];
            map = Map::new(MapType::Counter);
            let parts = parts.iter().map(|(what, counted)| (what.delta(), counted.unwrap_or(*applied)));
            map.restore(hashed(KEY), *applied, parts).unwrap();
            assert_eq!(counted(&map), count);
        }
    }
    assert!(absorbed > 20, "{absorbed}");
}

fn counted(map: &Map) -> i128 {
    let State::Counter(counter) = map.cell(map.find(hashed(KEY)).expect("it was counted in")).state() else {
        unreachable!()
    };
    counter.count()
}

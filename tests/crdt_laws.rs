//! The laws every CRDT must keep, over seeded random histories of every map type (`crdt_histories/`).

mod crdt_histories;

use std::collections::{BTreeMap, BTreeSet};

use annulus::crdt::{Delta, Lack, Map, MapType, Merge, Refused, Removal, Stamp, State, Time};
use annulus::limits::{COUNTER_TOTAL_MAX, KEY_BYTES_MAX, TAG_BYTES_MAX, TAGS_PER_KEY_MAX};
use crdt_histories::{
    Change, EXPIRED_MS, Replica, What, assert_same, each_seed, exported, hashed, hashed_well, history, node,
    removed_of,
};

/// A new CRDT gets its name here, and an arm in `history`.
const TYPES: [MapType; 3] = [MapType::Lww, MapType::Or, MapType::Counter];

#[test]
fn deltas_in_any_order_and_any_number_converge() {
    each_seed(|random| {
        for map_type in TYPES {
            let history = history(random, map_type, 120);
            let mut first = Replica::new(map_type);
            first.merge_all(&history);
            for _ in 0..4 {
                let mut repeated = history.clone();
                repeated.extend((0..60).map(|_| random.pick(&history).clone()));
                random.shuffle(&mut repeated);
                let mut other = Replica::new(map_type);
                other.merge_all(&repeated);
                assert_same(&first, &other);
            }
        }
    });
}

#[test]
fn merging_states_is_commutative_associative_and_idempotent() {
    each_seed(|random| {
        for map_type in TYPES {
            let [a, b, c] = [30, 40, 50].map(|len| {
                let mut replica = Replica::new(map_type);
                replica.merge_all(&history(random, map_type, len));
                replica
            });
            let join = |left: &Replica, right: &Replica| {
                let mut joined = Replica::new(map_type);
                joined.merge_all(&left.exported());
                joined.merge_all(&right.exported());
                joined
            };
            assert_same(&join(&a, &b), &join(&b, &a));
            assert_same(&join(&join(&a, &b), &c), &join(&a, &join(&b, &c)));
            assert_same(&join(&a, &a), &a);
            let mut again = join(&a, &b);
            let changes = again.changes;
            again.merge_all(&a.exported());
            again.merge_all(&b.exported());
            assert_eq!(again.changes, changes, "what is known already is lost, not a change");
        }
    });
}

#[test]
fn deltas_and_whole_states_lead_to_the_same() {
    each_seed(|random| {
        for map_type in TYPES {
            let (mine, theirs) = (history(random, map_type, 80), history(random, map_type, 80));
            let [mut by_deltas, mut by_state, mut sender] = [(); 3].map(|()| Replica::new(map_type));
            by_deltas.merge_all(&mine);
            by_deltas.merge_all(&theirs);
            by_state.merge_all(&mine);
            sender.merge_all(&theirs);
            let mut state = sender.exported();
            random.shuffle(&mut state);
            by_state.merge_all(&state);
            assert_same(&by_deltas, &by_state);
        }
    });
}

#[test]
fn a_lost_delta_leaves_no_trace() {
    each_seed(|random| {
        for map_type in TYPES {
            let mut replica = Replica::new(map_type);
            for change in history(random, map_type, 200) {
                let seen = |replica: &Replica| {
                    (replica.map.last_applied(), replica.map.digest(), replica.map.heap_bytes())
                };
                let before = seen(&replica);
                if replica.merge(&change).is_none() {
                    assert_eq!(seen(&replica), before);
                } else {
                    assert!(replica.map.last_applied() > before.0);
                    assert_eq!(replica.merge(&change), None, "the same again is lost");
                }
            }
        }
    });
}

#[test]
fn replicas_that_expire_at_different_moments_converge_without_telling_each_other() {
    each_seed(|random| {
        let history = history(random, MapType::Lww, 150);
        let mut first: Option<Replica> = None;
        for _ in 0..4 {
            let mut replica = Replica::new(MapType::Lww);
            let mut arrivals = history.clone();
            random.shuffle(&mut arrivals);
            let mut now_ms = 0;
            for change in &arrivals {
                replica.merge(change);
                if random.below(4) == 0 {
                    now_ms += random.below(40);
                    replica.expire(now_ms);
                }
            }
            replica.expire(EXPIRED_MS);
            assert_eq!(replica.map.next_expiry_ms(), None, "everything has come up");
            assert_same(first.as_ref().unwrap_or(&replica), &replica);
            first.get_or_insert(replica);
        }
        let mut late = Replica::new(MapType::Lww);
        late.merge_all(&history);
        late.merge_all(&first.as_ref().unwrap().exported());
        late.expire(EXPIRED_MS);
        assert_same(&late, &first.unwrap());
    });
}

#[test]
fn a_walk_resumed_at_every_step_sees_every_latest_state_once() {
    each_seed(|random| {
        for map_type in TYPES {
            let history = history(random, map_type, 400);
            let mut changes = history.iter();
            let mut replica = Replica::new(map_type);
            for change in changes.by_ref().take(100) {
                replica.merge(change);
            }
            let mut position = Time::ZERO;
            let mut met = BTreeSet::new();
            let mut heard: BTreeMap<Vec<u8>, Vec<Change>> = BTreeMap::new();
            while changes.len() > 0 || replica.map.since(position).next().is_some() {
                for (_, cell) in replica.map.since(position).take(random.below(3) as usize) {
                    assert!(cell.applied() > position, "oldest first");
                    position = cell.applied();
                    assert!(met.insert((cell.key().to_vec(), position)), "a duplicate");
                    heard.insert(cell.key().to_vec(), exported(cell));
                }
                for change in changes.by_ref().take(random.below(5) as usize) {
                    replica.merge(change);
                }
                if random.below(20) == 0 {
                    replica.expire(random.below(EXPIRED_MS));
                }
            }
            assert_eq!(heard, replica.entries());
            assert_eq!(position, replica.map.last_applied());
        }
    });
}

#[test]
fn digest_counts_and_bytes_are_what_they_are_from_scratch_after_every_step() {
    each_seed(|random| {
        for map_type in TYPES {
            let mut replica = Replica::new(map_type);
            for (step, change) in history(random, map_type, 300).iter().enumerate() {
                replica.merge(change);
                match random.below(12) {
                    0 => replica.expire(random.below(EXPIRED_MS)),
                    1 => {
                        let back = random.below(60);
                        let last = replica.map.last_applied().to_bits();
                        let before = (replica.map.digest(), replica.map.live_entries());
                        let budget = 1 + random.below(5) as usize;
                        replica.map.prune(Time::from_bits(last.saturating_sub(back)), budget);
                        let after = (replica.map.digest(), replica.map.live_entries());
                        assert_eq!(before, after, "pruning shows");
                    }
                    _ => {}
                }
                assert!(replica.map.is_consistent(), "{map_type:?}, step {step}");
                for (index, cell) in replica.map.since(Time::ZERO) {
                    assert_eq!(replica.map.find(hashed(cell.key())), Some(index));
                }
            }
            let mut rebuilt = Replica::new(map_type);
            rebuilt.merge_all(&replica.exported());
            assert_same(&replica, &rebuilt);
        }
    });
}

#[test]
fn pruning_forgets_exactly_the_removals_applied_before() {
    each_seed(|random| {
        for map_type in [MapType::Lww, MapType::Or] {
            let mut replica = Replica::new(map_type);
            let mut removals: BTreeMap<(Vec<u8>, String), Time> = BTreeMap::new();
            for change in history(random, map_type, 300) {
                let Some(index) = replica.merge(&change) else { continue };
                let cell = replica.map.cell(index);
                if map_type == MapType::Lww {
                    removals.remove(&(cell.key().to_vec(), String::new()));
                }
                for tag in removed_of(cell) {
                    removals.entry((cell.key().to_vec(), tag)).or_insert(cell.applied());
                }
            }
            let last = replica.map.last_applied().to_bits();
            for before in [last / 4, last / 2, last - 1, last + 1].map(Time::from_bits) {
                let due: Vec<Time> = removals.values().copied().filter(|&applied| applied < before).collect();
                removals.retain(|_, &mut applied| applied >= before);
                let through = due.iter().copied().max().unwrap_or(replica.map.pruned_through());
                let mut forgotten = 0;
                loop {
                    let pruned = replica.map.prune(before, 1 + random.below(9) as usize);
                    forgotten += pruned.forgotten;
                    if !pruned.has_more {
                        break;
                    }
                }
                assert_eq!(forgotten, due.len());
                assert_eq!(replica.map.pruned_through(), through);
                assert_eq!(replica.removed(), removals.keys().cloned().collect());
                assert_eq!(replica.map.next_prune().is_none(), removals.is_empty());
                assert!(replica.map.next_prune().is_none_or(|next| next >= before));
                assert!(replica.map.is_consistent());
            }
            assert_eq!(replica.map.cells(), replica.map.live_entries(), "what holds nothing is gone");
        }
    });
}

#[test]
fn pruning_ahead_of_time_does_not_miss_what_is_removed_later() {
    let mut replica = Replica::new(MapType::Lww);
    let ahead = Time::new(u64::MAX, 0);
    let mut bytes = 0;
    for counter in 0..10_000 {
        let mut change = set_until(counter, 500);
        replica.merge(&change);
        replica.map.prune(ahead, 10);
        assert_eq!(replica.map.cells(), 1);
        let What::Lww { at, value, .. } = &mut change.what else { unreachable!() };
        (*value, at.node) = (None, node(1));
        replica.merge(&change);
        assert_eq!(replica.map.prune(ahead, 10).forgotten, 1);
        assert_eq!((replica.map.cells(), replica.map.find(hashed(b"k"))), (0, None));
        assert!(replica.map.is_consistent());
        if counter == 1_000 {
            bytes = replica.map.heap_bytes();
        }
    }
    assert_eq!(replica.map.heap_bytes(), bytes, "places are used again");
}

/// A set of `k`; `counter` makes its stamp.
fn set_until(counter: u16, expires_ms: u64) -> Change {
    let at = Stamp { time: Time::new(1, counter), node: node(0) };
    Change { key: b"k".to_vec(), what: What::Lww { at, value: Some(b"1".to_vec()), expires_ms } }
}

#[test]
fn a_value_lives_until_its_own_expiry_and_no_longer() {
    let mut replica = Replica::new(MapType::Lww);
    for (counter, expires_ms) in [(1, 100), (2, 300), (3, 200), (4, 250)] {
        replica.merge(&set_until(counter, expires_ms));
    }
    assert!(replica.map.next_expiry_ms().unwrap() <= 250);
    replica.expire(249);
    assert_eq!((replica.map.live_entries(), replica.map.next_expiry_ms()), (1, Some(250)));
    replica.expire(250);
    assert_eq!((replica.map.live_entries(), replica.map.cells()), (0, 1));
    assert_eq!(replica.map.next_expiry_ms(), None);
    replica.merge(&set_until(5, 400));
    replica.merge(&set_until(6, 0));
    replica.expire(EXPIRED_MS);
    assert_eq!(replica.map.live_entries(), 1, "a set without expiry takes the expiry away");
}

#[test]
fn a_key_that_is_set_and_deleted_without_end_costs_nothing_more() {
    let mut replica = Replica::new(MapType::Lww);
    let mut bytes = 0;
    for round in 1..20_000 {
        let mut change = set_until(round, u64::from(20_000 - round));
        if let (0, What::Lww { value, .. }) = (round % 2, &mut change.what) {
            *value = None;
        }
        replica.merge(&change);
        if round == 1_001 {
            bytes = replica.map.heap_bytes();
        }
    }
    assert_eq!(replica.map.heap_bytes(), bytes);
}

#[test]
fn a_delta_of_another_type_or_over_a_limit_changes_nothing() {
    let at = Stamp { time: Time::new(1, 0), node: node(0) };
    let long_tag = "t".repeat(TAG_BYTES_MAX + 1);
    let too_many = COUNTER_TOTAL_MAX + 1;
    let too_large = [
        (MapType::Or, Delta::OrAdd { tag: &long_tag, value: b"1", at }),
        (MapType::Or, Delta::OrRemove { tag: &long_tag }),
        (MapType::Counter, Delta::Counter { replica: node(0), added: too_many, subtracted: 0 }),
        (MapType::Counter, Delta::Counter { replica: node(0), added: 0, subtracted: too_many }),
    ];
    for (map_type, delta) in too_large {
        for target in TYPES {
            let mut map = Map::new(target);
            let reason = if target == map_type { Refused::TooLarge } else { Refused::MapType };
            assert_eq!(map.merge(hashed(b"k"), &delta, Time::new(1, 0)), Err(reason));
            assert_eq!((map.cells(), map.digest()), (0, 0));
        }
    }
    let long_key = vec![b'k'; KEY_BYTES_MAX + 1];
    let set = Delta::Lww { at, value: Some(b"1"), expires_ms: 0 };
    let merged = Map::new(MapType::Lww).merge(hashed(&long_key), &set, Time::new(1, 0));
    assert_eq!(merged, Err(Refused::TooLarge));
}

#[test]
fn an_increment_is_the_slot_after_it_and_stops_at_the_limit() {
    let mut map = Map::new(MapType::Counter);
    for (tick, (replica, by)) in [(0, 5), (1, -7), (0, -1), (1, 4)].into_iter().enumerate() {
        let delta = map.increment(hashed(b"k"), node(replica), by).unwrap();
        let merged = map.merge(hashed(b"k"), &delta, Time::new(1, tick as u16));
        assert!(matches!(merged, Ok(Merge::Changed(_))));
    }
    let State::Counter(counter) = map.cell(map.find(hashed(b"k")).unwrap()).state() else { unreachable!() };
    assert_eq!(counter.count(), 1);
    assert_eq!(map.increment(hashed(b"k"), node(0), i64::MAX), None);
    assert_eq!(map.increment(hashed(b"new"), node(0), i64::MAX), None);
    assert_eq!(Map::new(MapType::Or).increment(hashed(b"k"), node(0), 1), None);
}

/// Goal: a removal of many tags is what its deltas are, which is what the journal keeps of it. Method: the deltas of every
/// removal, merged one by one into another map.
#[test]
fn a_removal_of_many_tags_is_one_change_and_the_sum_of_its_deltas() {
    each_seed(|random| {
        let [mut at_once, mut one_by_one] = [(); 2].map(|()| Map::new(MapType::Or));
        let mut tick = Time::ZERO;
        for change in history(random, MapType::Or, 200) {
            tick = tick.next();
            if let What::OrAdd { value, .. } = &change.what {
                for map in [&mut at_once, &mut one_by_one] {
                    assert!(map.merge(hashed(&change.key), &change.what.delta(), tick).is_ok());
                }
                if random.below(8) > 0 {
                    continue;
                }
                tick = tick.next();
                let mut removal = if random.below(3) == 0 { Removal::All } else { Removal::Value(value) };
                remove(&mut at_once, &mut one_by_one, &change.key, &mut removal, tick);
            } else {
                let names: Vec<String> =
                    (0..random.below(9)).map(|_| format!("t{}", random.below(8))).collect();
                let mut tags: Vec<&str> = names.iter().map(String::as_str).collect();
                remove(&mut at_once, &mut one_by_one, &change.key, &mut Removal::Tags(&mut tags), tick);
            }
        }
        let state = |map: &Map| map.since(Time::ZERO).map(|(_, cell)| exported(cell)).collect::<Vec<_>>();
        assert_eq!(state(&at_once), state(&one_by_one));
        assert_eq!(at_once.digest(), one_by_one.digest());
        let [pruned, others] = [&mut at_once, &mut one_by_one].map(|map| map.prune(tick.next(), usize::MAX));
        assert_eq!(pruned.forgotten, others.forgotten);
    });
}

fn remove(at_once: &mut Map, one_by_one: &mut Map, key: &[u8], removal: &mut Removal<'_, '_>, tick: Time) {
    let before = at_once.last_applied();
    let mut tags = Vec::new();
    let removed =
        at_once.remove(hashed(key), removal, tick, usize::MAX, &mut 0, |tag| tags.push(tag.to_owned()));
    assert_eq!(removed, Ok(tags.len()));
    for tag in &tags {
        let merged = one_by_one.merge(hashed(key), &Delta::OrRemove { tag }, tick);
        assert!(matches!(merged, Ok(Merge::Changed(_))), "{tag} was removed before");
    }
    assert_eq!(at_once.last_applied(), if tags.is_empty() { before } else { tick });
    assert_eq!(at_once.since(before).count(), usize::from(!tags.is_empty()), "one change");
    assert!(at_once.is_consistent() && one_by_one.is_consistent());
}

#[test]
fn a_cell_grows_no_further_than_allowed_and_a_larger_one_is_kept_and_shrinks() {
    let at = Stamp { time: Time::new(1, 0), node: node(0) };
    let mut tick = Time::new(1, 0);
    let mut next = || {
        tick = tick.next();
        tick
    };
    let mut stored = Map::new(MapType::Or);
    for tag in ["a", "b", "c"] {
        assert!(stored.merge(hashed(b"k"), &Delta::OrAdd { tag, value: &[b'1'; 100], at }, next()).is_ok());
    }
    // Put back as storage does: no bound is asked for.
    let cell = stored.cell(stored.find(hashed(b"k")).unwrap());
    let mut map = Map::new(MapType::Or);
    for change in exported(cell) {
        map.restore(hashed(b"k"), next(), [(change.what.delta(), Time::ZERO)]).unwrap();
    }
    map.finish_restore(Time::ZERO);
    assert_eq!(map.digest(), stored.digest());
    let seen = |map: &Map| (map.digest(), map.heap_bytes(), map.last_applied());
    let (before, bytes_max) = (seen(&map), 400);
    let add = |tag, value| Delta::OrAdd { tag, value, at };
    let longer = Delta::OrAdd { tag: "a", value: &[b'2'; 101], at };
    for delta in [add("d", b"1"), longer] {
        assert_eq!(map.merge_within(hashed(b"k"), &delta, next(), bytes_max), Err(Refused::CellFull));
    }
    let mut names = ["u", "v", "w"];
    let mut many = Removal::Tags(&mut names);
    assert_eq!(
        map.remove(hashed(b"k"), &mut many, next(), bytes_max, &mut 0, |_| ()),
        Err(Refused::CellFull)
    );
    assert_eq!(seen(&map), before, "nothing has changed");
    let mut value = Removal::Value(&[b'1'; 100]);
    let removed = map.remove(hashed(b"k"), &mut value, next(), bytes_max, &mut 0, |_| ());
    assert_eq!(removed, Ok(3));
    let merged = map.merge_within(hashed(b"k"), &add("d", b"1"), next(), bytes_max);
    assert!(matches!(merged, Ok(Merge::Changed(_))), "it has shrunk");

    let mut counters = Map::new(MapType::Counter);
    let slot = |number| Delta::Counter { replica: node(number), added: 1, subtracted: 0 };
    let merged = [0, 1, 0, 2].map(|number| counters.merge_within(hashed(b"k"), &slot(number), next(), 130));
    assert!(matches!(merged, [Ok(_), Ok(_), Ok(_), Err(Refused::Crowded(_))]), "{merged:?}");
    assert!(counters.is_consistent());
}

/// Goal: a key goes on however much is added and removed, and only live tags fill it. Method: a hundred thousand tags, in no
/// order, beside some that stay; what is remembered of them, and what forgetting some costs each.
#[test]
fn what_is_added_and_removed_without_end_is_forgotten_early_and_the_live_tags_stay() {
    const ROUNDS: u64 = 100_000;
    let at = Stamp { time: Time::new(1, 0), node: node(0) };
    for (live, bytes_max) in [(0, usize::MAX), (TAGS_PER_KEY_MAX - 1, usize::MAX), (100, 20_000)] {
        let mut map = Map::new(MapType::Or);
        let (mut tick, mut passed, mut bytes) = (Time::ZERO, 0, 0);
        let names: Vec<String> = (0..live).map(|tag| format!("live {tag}")).collect();
        for tag in &names {
            tick = tick.next();
            assert!(map.merge(hashed(b"k"), &Delta::OrAdd { tag, value: b"1", at }, tick).is_ok());
        }
        let digest = map.digest();
        for round in 0..ROUNDS {
            let tag = format!("{:x}", round.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let add = Delta::OrAdd { tag: &tag, value: b"2", at };
            tick = tick.next();
            if let Err(Refused::Crowded(lack)) = map.merge_within(hashed(b"k"), &add, tick, bytes_max) {
                passed += map.make_room(hashed(b"k"), lack).passed;
                assert!(map.merge_within(hashed(b"k"), &add, tick, bytes_max).is_ok(), "round {round}");
            }
            tick = tick.next();
            let mut removal = [&*tag];
            let removed =
                map.remove(hashed(b"k"), &mut Removal::Tags(&mut removal), tick, bytes_max, &mut 0, |_| ());
            assert_eq!(removed, Ok(1), "round {round}");
            if round == ROUNDS / 2 {
                bytes = map.heap_bytes();
            }
        }
        assert_eq!((map.digest(), map.cells()), (digest, 1));
        assert!(map.heap_bytes() <= 2 * bytes, "{} bytes, {bytes} at half time", map.heap_bytes());
        assert!(passed <= 4 * ROUNDS as usize, "{passed} tags looked at");
        assert!(Time::ZERO < map.pruned_through() && map.pruned_through() < tick, "older cursors start over");
        assert!(map.is_consistent());
        let State::OrSet(set) = map.cell(map.find(hashed(b"k")).unwrap()).state() else { unreachable!() };
        let remembered: Vec<Time> = set.removed_at().map(|(_, applied)| applied).collect();
        assert!(remembered.iter().all(|&applied| applied > map.pruned_through()), "oldest first");
        while map.prune(tick.next(), 1).has_more {}
        assert_eq!((map.next_prune(), map.live_entries()), (None, usize::from(live > 0)));
        assert!(map.is_consistent());
    }
}

#[test]
fn live_tags_at_the_limit_refuse_more_and_nothing_is_forgotten_for_it() {
    let at = Stamp { time: Time::new(1, 0), node: node(0) };
    let mut map = Map::new(MapType::Or);
    let mut tick = Time::ZERO;
    let names: Vec<String> = (0..TAGS_PER_KEY_MAX).map(|tag| tag.to_string()).collect();
    for tag in &names {
        tick = tick.next();
        assert!(map.merge(hashed(b"k"), &Delta::OrAdd { tag, value: b"1", at }, tick).is_ok());
    }
    let add = Delta::OrAdd { tag: "new", value: b"1", at };
    assert_eq!(map.merge(hashed(b"k"), &add, tick.next()), Err(Refused::TooLarge));
    let mut unknown = Removal::Tags(&mut ["new"]);
    let removed = map.remove(hashed(b"k"), &mut unknown, tick.next(), usize::MAX, &mut 0, |_| ());
    assert_eq!(removed, Err(Refused::TooLarge));
    let mut known = Removal::Tags(&mut ["7"]);
    assert!(map.remove(hashed(b"k"), &mut known, tick.next(), usize::MAX, &mut 0, |_| ()).is_ok());
    let lack = Lack { parts: 1, bytes: 0 };
    assert_eq!(map.merge(hashed(b"k"), &add, tick.next().next()), Err(Refused::Crowded(lack)));
    // No room that could be made is enough.
    let value = vec![b'1'; 1_000];
    let large = Delta::OrAdd { tag: "new", value: &value, at };
    let bytes_max = map.heap_bytes() / 2;
    let merged = map.merge_within(hashed(b"k"), &large, tick.next().next(), bytes_max);
    assert_eq!(merged, Err(Refused::CellFull));
    assert_eq!(map.pruned_through(), Time::ZERO);
}

#[test]
fn several_removals_may_share_one_tick() {
    let at = Stamp { time: Time::new(1, 0), node: node(0) };
    let mut map = Map::new(MapType::Or);
    for (tick, tag) in ["a", "b", "c"].into_iter().enumerate() {
        let add = Delta::OrAdd { tag, value: b"1", at };
        assert!(map.merge(hashed(b"k"), &add, Time::new(1, tick as u16)).is_ok());
    }
    for tag in ["a", "c"] {
        assert!(map.merge(hashed(b"k"), &Delta::OrRemove { tag }, Time::new(2, 0)).is_ok());
    }
    assert_eq!(map.since(Time::new(1, 2)).count(), 1);
    assert!(map.is_consistent());
    assert_eq!(map.prune(Time::new(3, 0), 10).forgotten, 2);
}

/// Sets key `number` at the next tick; without a value it is deleted.
fn write(map: &mut Map, tick: &mut Time, number: usize, value: Option<&[u8]>, expires_ms: u64) {
    *tick = tick.next();
    let at = Stamp { time: *tick, node: node(0) };
    let delta = Delta::Lww { at, value, expires_ms };
    let merged = map.merge(hashed_well(&number.to_le_bytes()), &delta, *tick);
    assert!(matches!(merged, Ok(Merge::Changed(_))));
}

/// Goal: one tombstone behind many keys that are written again and again costs each write nothing. Method: when the map is
/// to be pruned stays the same until it is pruned, and then every entry passed over counts, once in all.
#[test]
fn a_tombstone_behind_a_stale_prefix_is_found_once_and_within_the_budget() {
    const KEYS: usize = 20_000;
    const BUDGET: usize = 256;
    let (mut map, mut tick) = (Map::new(MapType::Lww), Time::ZERO);
    (0..KEYS).for_each(|number| write(&mut map, &mut tick, number, Some(b"1"), 0));
    write(&mut map, &mut tick, KEYS, None, 0);
    let tombstone = tick;
    assert_eq!(map.next_prune(), Some(tombstone), "live cells before it are no reason to prune");
    for number in 0..KEYS {
        write(&mut map, &mut tick, number, Some(b"2"), 0);
        assert_eq!(map.next_prune(), Some(tombstone), "after key {number}");
    }
    let (mut passed, mut forgotten) = (0, 0);
    loop {
        let pruned = map.prune(tombstone.next(), BUDGET);
        assert!(pruned.passed <= BUDGET + 1, "{pruned:?}");
        passed += pruned.passed;
        forgotten += pruned.forgotten;
        if !pruned.has_more {
            break;
        }
    }
    assert_eq!((forgotten, map.next_prune()), (1, None));
    assert!((1..=KEYS + 1).contains(&passed), "passed {passed}");
    assert!(map.is_consistent());
}

#[test]
fn what_pruning_has_passed_over_is_not_passed_again() {
    const KEYS: usize = 1_000;
    let (mut map, mut tick) = (Map::new(MapType::Lww), Time::ZERO);
    let (mut passed, mut writes, mut forgotten) = (0, 0, 0);
    for round in 0..40 {
        for number in 0..KEYS {
            let value: Option<&[u8]> = if (number + round) % 10 == 0 { None } else { Some(b"1") };
            write(&mut map, &mut tick, number, value, 0);
            writes += 1;
            // What was applied within the last three hundred ticks is remembered.
            let before = Time::from_bits(tick.to_bits().saturating_sub(300));
            while map.next_prune().is_some_and(|next| next < before) {
                let pruned = map.prune(before, 16);
                passed += pruned.passed;
                forgotten += pruned.forgotten;
            }
        }
    }
    assert!(forgotten > 0 && passed <= writes, "{passed} passed, {writes} writes, {forgotten} forgotten");
    assert!(map.is_consistent());
}

#[test]
fn expiries_that_were_put_off_count_towards_the_budget() {
    const KEYS: usize = 5_000;
    let (mut map, mut tick) = (Map::new(MapType::Lww), Time::ZERO);
    for expires_ms in [100, 500] {
        (0..KEYS).for_each(|number| write(&mut map, &mut tick, number, Some(b"1"), expires_ms));
    }
    write(&mut map, &mut tick, KEYS, Some(b"1"), 101);
    let (mut calls, mut ended) = (0, 0);
    while map.next_expiry_ms().is_some_and(|due_ms| due_ms <= 200) {
        let mut budget = 100;
        let mut now = tick;
        while map.expire(200, &mut budget, |_| now.next()).is_some() {
            now = map.last_applied();
            ended += 1;
        }
        tick = now;
        calls += 1;
    }
    assert_eq!((calls, ended), (KEYS / 100 + 1, 1));
    assert!(map.is_consistent());
}

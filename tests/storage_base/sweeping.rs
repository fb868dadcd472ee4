//! What the sweep takes out of the base: what may be forgotten, all of it, and nothing else.

use annulus::crdt::{MapType, Time};
use annulus::storage::LoadRequest;

use crate::crdt_histories::{Change, What, node};
use crate::disks::{MemoryDisk, TempFolder, each_seed_on_each_disk};
use crate::journal_files::{EPOCH, JournalFiles};
use crate::loading::overwrite_block;
use crate::model::{Accepted, TYPES, accepted_history, load, no_tail, open_base, records_of, state_of};

/// Goal: the sweep and the pruning of a map in memory forget the same. Method: both, at a random tick.
#[test]
fn a_sweep_forgets_what_a_map_in_memory_would_and_says_so() {
    each_seed_on_each_disk(|random, disk| {
        let base = open_base(disk);
        let mut journal = JournalFiles::new(disk);
        // Without expiries, which are swept by another rule.
        let mut histories = TYPES.map(|map_type| accepted_history(random, map_type, 150));
        let forget_before = Time::from_bits(random.below(120));
        for (map_type, (accepted, map)) in TYPES.iter().zip(&mut histories) {
            base.fold(disk, &journal.write(&records_of(map_type.as_str(), &*accepted)), EPOCH).unwrap();
            let _ = map.prune(forget_before, usize::MAX);
        }
        let budget = 1 + random.below(20) as usize;
        let mut rounds = 0;
        while !base.sweep(forget_before, 0, budget).unwrap().is_complete {
            rounds += 1;
            assert!(rounds < 100, "the walk goes on where it stopped");
        }
        for (map_type, (_, map)) in TYPES.iter().zip(&histories) {
            // A tick before which nothing is left to forget: what is missing was swept.
            let loaded = load(&base, &no_tail(), map_type.as_str(), 2, Time::ZERO);
            assert_eq!(loaded.state, state_of(map));
            assert_eq!(loaded.pruned_through, map.pruned_through());
            assert_eq!(loaded.digest, map.digest());
        }
        let again = base.sweep(forget_before, 0, usize::MAX).unwrap();
        assert_eq!((again.forgotten, again.is_complete), (0, true));
    });
}

#[test]
fn a_value_that_ended_before_is_gone_and_every_cursor_is_too_old() {
    let disk = MemoryDisk::default();
    let base = open_base(&disk);
    let value = |key: &str, expires_ms: u64| {
        let at = annulus::crdt::Stamp { time: Time::new(10, 0), node: node(1) };
        let what = What::Lww { at, value: Some(b"1".to_vec()), expires_ms };
        Accepted { change: Change { key: key.into(), what }, applied: Time::new(10, expires_ms as u16) }
    };
    let values = [value("stays", 0), value("ended", 499), value("ends", 500)];
    base.fold(&disk, &JournalFiles::new(&disk).write(&records_of("sessions", &values)), EPOCH).unwrap();
    let swept = base.sweep(Time::new(500, 0), 9_000, 100).unwrap();
    assert_eq!((swept.examined, swept.forgotten, swept.is_complete), (3, 1, true));
    let loaded = load(&base, &no_tail(), "sessions", 1, Time::ZERO);
    let keys: Vec<_> = loaded.state.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
    assert_eq!(keys, ["ends", "stays"]);
    assert_eq!(loaded.pruned_through, Time::new(9_000, 0));
}

/// Goal: a sweep has no part of a block go because it cannot be read. Method: a value that has ended, with damage behind it in its
/// block, is swept by walks that see the damage and by one that stops before.
#[test]
fn a_damaged_block_stays_as_it_is() {
    for budget in [1, 100] {
        let folder = TempFolder::new();
        let disk = annulus::storage::HostDisk::new(&folder.0).unwrap();
        let base = open_base(&disk);
        let at = annulus::crdt::Stamp { time: Time::new(10, 0), node: node(1) };
        let what = What::Lww { at, value: Some(b"1".to_vec()), expires_ms: 499 };
        let ended = Accepted { change: Change { key: b"key-3".to_vec(), what }, applied: Time::new(10, 0) };
        base.fold(&disk, &JournalFiles::new(&disk).write(&records_of("todos", [&ended])), EPOCH).unwrap();
        drop(base);
        overwrite_block(&folder, |block| [block, b"nonsense"].concat());

        let base = open_base(&disk);
        for _ in 0..3 {
            assert_eq!(base.sweep(Time::new(500, 0), 9_000, budget).unwrap().forgotten, 0);
        }
        let request = LoadRequest { map: "todos", owner: 0, shards: 1, forget_before: Time::ZERO };
        let error = base.load(&no_tail(), &request, &mut |_| true).unwrap_err().to_string();
        assert!(error.contains("partition") && error.contains("\"todos\""), "{error}");
    }
}

/// Goal: a write that the owner took, because it had forgotten the removal that is newer, is not lost when the
/// removal is still in the base. Method: such a history, folded together and piece by piece, and from the tail.
#[test]
fn a_write_older_than_a_forgotten_removal_survives_that_removal_on_disk() {
    let at = |millis: u64| annulus::crdt::Stamp { time: Time::new(millis, 0), node: node(1) };
    let change = |key: &str, what: What, applied: u64| Accepted {
        change: Change { key: key.into(), what },
        applied: Time::new(applied, 0),
    };
    let lww = [
        change("k", What::Lww { at: at(5), value: Some(b"1".to_vec()), expires_ms: 0 }, 5),
        change("k", What::Lww { at: at(9), value: None, expires_ms: 0 }, 10),
        change("k", What::Lww { at: at(7), value: Some(b"2".to_vec()), expires_ms: 0 }, 100),
    ];
    let add = |value: &[u8]| What::OrAdd { tag: "t".to_owned(), value: value.to_vec(), at: at(5) };
    let or = [
        change("k", add(b"1"), 5),
        change("k", What::OrRemove { tag: "t".to_owned() }, 10),
        change("k", add(b"1"), 100),
    ];
    for (map_type, history) in [(MapType::Lww, lww), (MapType::Or, or)] {
        for pieces in [vec![3], vec![1, 1, 1], vec![2, 1], vec![1, 2]] {
            for folded in 0..=pieces.len() {
                let disk = MemoryDisk::default();
                let base = open_base(&disk);
                let mut journal = JournalFiles::new(&disk);
                let (mut names, mut rest) = (Vec::new(), &history[..]);
                for piece in &pieces {
                    let (records, behind) = rest.split_at(*piece);
                    names.push(journal.write(&records_of("m", records)));
                    rest = behind;
                }
                for name in &names[..folded] {
                    base.fold(&disk, name, EPOCH).unwrap();
                }
                let tail = crate::model::recovered_tail(&disk, &base);
                let loaded = load(&base, &tail, "m", 1, Time::ZERO);
                let (applied, parts) = &loaded.state[&b"k"[..]];
                assert_eq!(*applied, Time::new(100, 0), "{map_type:?} {pieces:?} {folded}");
                assert_eq!(parts.iter().map(|(what, _)| what).collect::<Vec<_>>(), [&history[2].change.what]);
                assert_eq!(loaded.pruned_through, Time::new(10, 0), "cursors before it must start over");
            }
        }
    }
}

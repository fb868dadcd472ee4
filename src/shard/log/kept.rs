//! The entries of a log as cells of a map.
//!
//! ```text
//!  __annulus:head        {"epoch":"…","life":"…","reserved":2048,"slots":1001,"undone":[[7,1024]]}
//!  __annulus:log:<place> [offset, time, expires, "from", data]        places 0 … slots − 1, in a ring
//!
//!    … │ live, in the order of offsets … last │ next: empty, or what has just fallen out │ …
//! ```
//! A ring has one place more than its log may have entries. So the next entry never takes the place of one that is live, and
//! takes that of the one that fell out last: a log that is full costs no removals. Whatever else goes is deleted.
//!
//! Invariant: `next` is never live. Offsets up to `reserved` may have been given by the last life of the server whose head is
//! stored. Whatever a crash has undone, heads too, another life goes on so far above, by chance, that none is given twice.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::entries::{Bounds, Entries, Entry};
use super::own_map::{self, OwnMap};
use crate::limits::TTL_MS_MAX;
use crate::shard::maps::{MapSlot, Maps};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;
use crate::wire::json::{write_integer, write_string};

const HEAD: &str = "__annulus:head";
const PLACE: &str = "__annulus:log:";
/// Offsets that are reserved at once: one more write in so many.
const RESERVED_AT_ONCE: u64 = 1024;
/// Offsets that another life of the server skips, at the most. What the one before has given without any of it, nor a head,
/// being durable is some hundreds at the most, so that both meet less than once in ten thousand such crashes.
const SKIPPED_MAX: u64 = 1 << 24;
/// Ranges of undone offsets that are remembered; past it the two oldest become one.
const UNDONE_MAX: usize = 32;

/// See the module.
#[derive(Debug)]
pub struct Kept {
    map: OwnMap,
    slots: u32,
    /// Where the next entry goes.
    next: u32,
    /// What is there has fallen out of the log, and is not deleted.
    is_next_stale: bool,
    /// Offsets up to here may be given.
    reserved: u64,
}

/// The cell that is no entry. Its fields are sorted, as in canonical JSON.
#[derive(Serialize, Deserialize)]
struct Head {
    epoch: String,
    life: String,
    reserved: u64,
    slots: u32,
    undone: Vec<(u64, u64)>,
}

impl Kept {
    /// What is kept in a map, whose cells are here.
    pub fn open(
        turn: &mut Turn,
        maps: &mut Maps,
        (map, slot): (OwnMap, MapSlot),
        bounds: Bounds,
    ) -> (Entries, Self) {
        let slots = u32::try_from(bounds.entries + 1).unwrap_or(u32::MAX);
        let head = map.get(turn, maps, slot, HEAD).and_then(|head| serde_json::from_slice::<Head>(head).ok());
        let Some(head) = head else {
            let kept = Self { map, slots, next: 0, is_next_stale: false, reserved: 0 };
            return (Entries::new(turn.random.any()), kept);
        };
        let stored = read_entries(turn, maps, slot);
        let ring = Ring { slots: head.slots, next: next_after(stored.last(), head.slots) };
        let (live, stale) = ring.split(stored, turn.now.unix_ms);
        let survived = live.last().map(|entry| entry.offset);
        let is_same_life = head.life == hex(turn.life);
        let skipped = if is_same_life { 0 } else { turn.random.below(SKIPPED_MAX) };
        let last = head.reserved + skipped;
        let undone = undone(head.undone, survived, last);
        // That of a copy of the data set is another one: its original goes on with other messages.
        let epoch = u64::from_str_radix(&head.epoch, 16).unwrap_or_default() ^ turn.epoch;
        let mut kept =
            Self { map, slots: head.slots, next: ring.next, is_next_stale: false, reserved: head.reserved };
        stale.into_iter().for_each(|place| kept.delete(turn, maps, place));
        let mut live = VecDeque::from(live);
        if kept.slots != slots {
            kept.resize(turn, maps, &mut live, slots);
        }
        (Entries::restored(epoch, live, last, undone), kept)
    }

    pub const fn map(&self) -> &OwnMap {
        &self.map
    }

    /// Bounds that its ring has room for: one that is open keeps its size.
    pub fn narrow(&self, bounds: Bounds) -> Bounds {
        Bounds { entries: bounds.entries.min(self.slots as usize - 1), ..bounds }
    }

    /// Sees to it that `offset` is given to nothing else after a crash.
    pub fn reserve(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        entries: &Entries,
        offset: u64,
    ) -> Result<(), Reject> {
        if offset <= self.reserved {
            return Ok(());
        }
        let reserved = offset + RESERVED_AT_ONCE - 1;
        self.write_head(turn, maps, entries, reserved)?;
        self.reserved = reserved;
        Ok(())
    }

    /// Keeps an entry; its place.
    pub fn keep(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        entry: &Entry,
        ttl_ms: u64,
    ) -> Result<u32, Reject> {
        let place = self.next;
        self.write_entry(turn, maps, (place, entry), ttl_ms)?;
        self.next = (place + 1) % self.slots;
        self.is_next_stale = false;
        Ok(place)
    }

    /// Takes note that an entry has left the log.
    pub fn forget(&mut self, turn: &mut Turn, maps: &mut Maps, entry: &Entry) {
        let Some(place) = entry.place else { return };
        if place == self.next {
            self.is_next_stale = true;
            return;
        }
        if entry.expires_ms > turn.now.unix_ms {
            self.delete(turn, maps, place);
        }
        if std::mem::take(&mut self.is_next_stale) {
            self.delete(turn, maps, self.next);
        }
    }

    /// Nothing is left of the log.
    pub fn erase(mut self, turn: &mut Turn, maps: &mut Maps) {
        if self.reserved == 0 {
            return self.map.release(maps);
        }
        if self.map.ready(turn, maps).is_err() {
            return;
        }
        if std::mem::take(&mut self.is_next_stale) {
            self.delete(turn, maps, self.next);
        }
        let deleted = self.map.delete(turn, maps, HEAD);
        debug_assert!(deleted.is_ok(), "the cell is there");
        self.map.release(maps);
    }

    /// All cells are gone.
    pub fn clear(&mut self) {
        (self.next, self.is_next_stale, self.reserved) = (0, false, 0);
    }

    /// The log is left as it is, and goes on at the next offset.
    pub fn close(mut self, turn: &mut Turn, maps: &mut Maps, entries: &Entries) {
        if self.map.ready(turn, maps).is_err() {
            return;
        }
        if std::mem::take(&mut self.is_next_stale) {
            self.delete(turn, maps, self.next);
        }
        // Where it cannot be written, the log goes on above what is reserved.
        if self.reserved > entries.last() {
            let _ = self.write_head(turn, maps, entries, entries.last());
        }
        self.map.release(maps);
    }

    fn write_head(
        &self,
        turn: &mut Turn,
        maps: &mut Maps,
        entries: &Entries,
        reserved: u64,
    ) -> Result<(), Reject> {
        let head = Head {
            epoch: hex(entries.epoch() ^ turn.epoch),
            life: hex(turn.life),
            reserved,
            slots: self.slots,
            undone: entries.undone().to_vec(),
        };
        let value = serde_json::to_vec(&head).expect("plain fields always serialize");
        self.map.set(turn, maps, HEAD, (&value, None))
    }

    fn write_entry(
        &self,
        turn: &mut Turn,
        maps: &mut Maps,
        (place, entry): (u32, &Entry),
        ttl_ms: u64,
    ) -> Result<(), Reject> {
        let mut value = Vec::with_capacity(64 + entry.from.len() + entry.data.len());
        value.push(b'[');
        for number in [entry.offset, entry.time_ms, entry.expires_ms] {
            write_integer(&mut value, number);
            value.push(b',');
        }
        write_string(&mut value, &entry.from);
        value.push(b',');
        value.extend_from_slice(&entry.data);
        value.push(b']');
        self.map.set(turn, maps, &key(place), (&value, Some(ttl_ms.clamp(1, TTL_MS_MAX))))
    }

    fn delete(&self, turn: &mut Turn, maps: &mut Maps, place: u32) {
        // A removal of what is there needs no more memory than what it takes away.
        let deleted = self.map.delete(turn, maps, &key(place));
        debug_assert!(deleted.is_ok(), "the cell is there");
    }

    /// Moves what is live, the newest of it, to a ring of another size.
    fn resize(&mut self, turn: &mut Turn, maps: &mut Maps, live: &mut VecDeque<Entry>, slots: u32) {
        live.iter().filter_map(|entry| entry.place).for_each(|place| self.delete(turn, maps, place));
        while live.len() >= slots as usize {
            live.pop_front();
        }
        (self.slots, self.next) = (slots, 0);
        live.retain_mut(|entry| {
            let ttl_ms = entry.expires_ms - turn.now.unix_ms;
            entry.place = self.keep(turn, maps, &entry.clone(), ttl_ms).ok();
            entry.place.is_some()
        });
    }
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn key(place: u32) -> String {
    format!("{PLACE}{place}")
}

/// Entries of a map, with their places, in the order of their offsets.
fn read_entries(turn: &mut Turn, maps: &Maps, slot: MapSlot) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (key, value) in own_map::entries(maps, slot) {
        turn.spend(work::CELL + work::copied(value.len()));
        entries.extend(key.strip_prefix(PLACE).and_then(|place| read_entry(place, value)));
    }
    entries.sort_unstable_by_key(|entry: &Entry| entry.offset);
    entries
}

fn read_entry(place: &str, value: &[u8]) -> Option<Entry> {
    type Fields<'a> = (u64, u64, u64, String, &'a RawValue);
    let (offset, time_ms, expires_ms, from, data): Fields<'_> = serde_json::from_slice(value).ok()?;
    let data = data.get().as_bytes().into();
    Some(Entry { offset, place: Some(place.parse().ok()?), time_ms, expires_ms, from: from.into(), data })
}

fn next_after(last: Option<&Entry>, slots: u32) -> u32 {
    last.and_then(|last| last.place).map_or(0, |place| (place + 1) % slots)
}

/// A ring as it was left.
struct Ring {
    slots: u32,
    next: u32,
}

impl Ring {
    /// What of it is live, and the places of what is not and must go.
    fn split(&self, stored: Vec<Entry>, now_ms: u64) -> (Vec<Entry>, Vec<u32>) {
        let is_live = |entry: &Entry| {
            entry.place.is_some_and(|place| place < self.slots && place != self.next)
                && entry.expires_ms > now_ms
        };
        let (live, stale): (Vec<Entry>, Vec<Entry>) = stored.into_iter().partition(is_live);
        // What is over ends by itself.
        let stale = stale.into_iter().filter(|entry| entry.expires_ms > now_ms);
        (live, stale.filter_map(|entry| entry.place).collect())
    }
}

/// The ranges of before, and that of what has not survived.
fn undone(mut before: Vec<(u64, u64)>, survived: Option<u64>, last: u64) -> Vec<(u64, u64)> {
    // Where nothing is left, everything is gone, and nobody can say what of it has ever been there.
    let Some(survived) = survived else { return Vec::new() };
    before.retain(|&(start, _)| start <= survived);
    if survived < last {
        before.push((survived + 1, last));
    }
    while before.len() > UNDONE_MAX {
        let (start, _) = before.remove(0);
        before[0].0 = start;
    }
    before
}

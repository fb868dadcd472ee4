//! What whoever runs the server is told of maps and their keys.

use super::counts::counted;
use super::{Cells, MapSlot, Maps};
use crate::crdt::{Cell, HashedKey, MapType, State, Time};
use crate::handover::inspection::{KeyDetail, KeyRow, KeysOf, MapPart, MapRow, Share, Walk};
use crate::limits::{
    INSPECTED_BYTES_MAX, INSPECTED_KEY_BYTES_MAX, INSPECTED_SLOTS_MAX, INSPECTED_TAGS_MAX,
    INSPECTED_VALUE_BYTES_MAX,
};
use crate::shard::turn::Turn;
use crate::wire::json::write_string;

impl Maps {
    /// Maps whose names this shard owns, from a slot on.
    pub fn inspect(&self, turn: &Turn, walk: Walk, prefix: &str, wanted: Option<MapType>) -> Share<MapRow> {
        self.table.inspect(walk, |map| {
            let map_type = map.map_type()?;
            let is_home = turn.owner(map.interest.hash()) == turn.index;
            let is_meant =
                map.interest.name().starts_with(prefix) && wanted.is_none_or(|wanted| wanted == map_type);
            (is_home && is_meant).then(|| MapRow { map: Box::from(&**map.interest.name()), map_type })
        })
    }

    /// What there is here of a map, but for who hears of it.
    pub fn part(&self, slot: Option<MapSlot>) -> MapPart {
        const ABSENT: MapPart = MapPart {
            state: "absent",
            map_type: None,
            keys: 0,
            cells: 0,
            bytes: 0,
            subscribers: 0,
            feeds: 0,
        };
        let Some(map) = slot.and_then(|slot| self.table.get(slot)) else { return ABSENT };
        let state = match map.cells {
            Cells::Unloaded => "unloaded",
            Cells::Loading(_) | Cells::Claiming(_) => "loading",
            Cells::Untyped => "untyped",
            Cells::Typed(_) => "loaded",
        };
        let cells = map.typed();
        MapPart {
            state,
            map_type: cells.map(|cells| cells.map_type().as_str()),
            keys: cells.map_or(0, |cells| cells.live_entries() as u64),
            cells: cells.map_or(0, |cells| cells.cells() as u64),
            bytes: map.heap_bytes() as u64,
            ..ABSENT
        }
    }

    /// Keys of a map, from the last place to the first.
    pub fn inspect_keys(&self, slot: Option<MapSlot>, prefix: &str, walk: Walk) -> KeysOf {
        let map = slot.and_then(|slot| self.table.get(slot));
        let cells = match map.map(|map| &map.cells) {
            Some(Cells::Typed(cells)) => cells,
            None if !self.is_stored => return KeysOf::Nothing,
            None | Some(Cells::Unloaded | Cells::Loading(_)) => return KeysOf::Unloaded,
            Some(Cells::Untyped | Cells::Claiming(_)) => return KeysOf::Nothing,
        };
        let mut keys = Share::<KeyRow>::empty();
        let mut bytes = 0;
        for (place, cell) in cells.backwards((walk.from > 0).then_some(walk.from)) {
            keys.looked_at += 1;
            if cell.key().starts_with(prefix.as_bytes()) {
                let row = row(cell, INSPECTED_VALUE_BYTES_MAX);
                bytes += row.key.len() + row.value.as_ref().map_or(0, |value| value.len());
                keys.rows.push(row);
            }
            let is_enough = keys.rows.len() >= walk.rows_max as usize
                || keys.looked_at >= INSPECTED_SLOTS_MAX
                || bytes >= INSPECTED_BYTES_MAX;
            if is_enough {
                // The place of the last one, behind which is what is left; there is nothing before the first.
                keys.next = (place > 0).then_some(place);
                break;
            }
        }
        KeysOf::Loaded(keys)
    }

    /// A key with its stamps, if it is in memory and there is anything under it; and whether the disk may know more.
    pub fn inspect_key(&self, slot: Option<MapSlot>, key: HashedKey<'_>) -> (Option<KeyDetail>, bool) {
        let Some(map) = slot.and_then(|slot| self.table.get(slot)) else { return (None, self.is_stored) };
        let may_be_stored = matches!(map.cells, Cells::Unloaded | Cells::Loading(_));
        let Some(cells) = map.typed() else { return (None, may_be_stored) };
        let detail = cells.find(key).map(|index| {
            let cell = cells.cell(index);
            let state = state(cell);
            KeyDetail { row: row(cell, 0), map_type: cells.map_type(), state }
        });
        (detail, false)
    }

    /// Whether some maps are counted as they are, and keep what they must; their slots are from one on. Where to go on.
    pub fn check(
        &self,
        turn: &Turn,
        from: MapSlot,
        looks: u32,
        mut fault: impl FnMut(String),
    ) -> Option<MapSlot> {
        let end = self.table.slot_count();
        let until = from.saturating_add(looks).min(end);
        for slot in from..until {
            let Some(map) = self.table.get(slot) else { continue };
            let name = map.interest.name();
            let (is, was) = (counted(turn, map), map.counted);
            if !was.is_to_be_counted() && !was.is_alike(is) {
                fault(format!("map {name:?} is counted as something else than it is"));
            }
            if self.table.find(name, map.interest.hash()) != Some(slot) {
                fault(format!("map {name:?} is not found by its name"));
            }
        }
        (until < end).then_some(until)
    }
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

/// A key of a list. Of a value of more than `value_bytes_max` is said that it is cut.
fn row(cell: &Cell, value_bytes_max: usize) -> KeyRow {
    let mut value = Vec::new();
    let mut is_cut = false;
    if cell.is_live() {
        let mut out = Capped { out: &mut value, bytes_max: value_bytes_max, is_cut: &mut is_cut };
        match cell.state() {
            State::Lww(lww) => out.push(lww.value().unwrap_or(b"null")),
            State::Counter(counter) => out.push(format!("\"{}\"", counter.count()).as_bytes()),
            State::OrSet(set) => {
                out.push(b"[");
                for (number, tagged) in set.live().enumerate() {
                    if *out.is_cut {
                        break;
                    }
                    if number > 0 {
                        out.push(b",");
                    }
                    out.push(tagged.value());
                }
                out.push(b"]");
            }
        }
    }
    KeyRow {
        key: text(cell.key()),
        is_live: cell.is_live(),
        bytes: cell_bytes(cell),
        applied: cell.applied(),
        value: (cell.is_live() && !is_cut).then(|| text(&value)),
        is_cut,
    }
}

/// Bytes that are taken until they are too many.
struct Capped<'a> {
    out: &'a mut Vec<u8>,
    bytes_max: usize,
    is_cut: &'a mut bool,
}

impl Capped<'_> {
    fn push(&mut self, bytes: &[u8]) {
        *self.is_cut |= self.out.len() + bytes.len() > self.bytes_max;
        if !*self.is_cut {
            self.out.extend_from_slice(bytes);
        }
    }
}

/// Bytes of the key and what is under it.
fn cell_bytes(cell: &Cell) -> usize {
    let state = match cell.state() {
        State::Lww(lww) => lww.value().map_or(0, <[u8]>::len),
        State::OrSet(set) => set.bytes(),
        State::Counter(counter) => counter.slots().len() * size_of::<Time>() * 4,
    };
    cell.key().len() + state
}

/// What is under a key, as JSON.
fn state(cell: &Cell) -> Box<str> {
    let mut out = Vec::new();
    match cell.state() {
        State::Lww(lww) => {
            let value = lww.value().unwrap_or(b"null");
            let is_cut = value.len() > INSPECTED_KEY_BYTES_MAX;
            out.extend_from_slice(b"{\"value\":");
            out.extend_from_slice(if is_cut { b"null" } else { value });
            out.extend_from_slice(b",\"stamp\":\"");
            lww.at().write_to(&mut out);
            let expires = match lww.expires_ms() {
                0 => "null".to_owned(),
                at_ms => at_ms.to_string(),
            };
            out.extend_from_slice(
                format!("\",\"expires_unix_ms\":{expires},\"is_cut\":{is_cut}}}").as_bytes(),
            );
        }
        State::OrSet(set) => {
            let mut room = INSPECTED_KEY_BYTES_MAX;
            let mut is_cut =
                set.live().len() > INSPECTED_TAGS_MAX || set.removed().len() > INSPECTED_TAGS_MAX;
            out.extend_from_slice(b"{\"tags\":[");
            for (number, tagged) in set.live().take(INSPECTED_TAGS_MAX).enumerate() {
                if tagged.value().len() > room {
                    is_cut = true;
                    break;
                }
                room -= tagged.value().len();
                out.extend_from_slice(if number > 0 { b",{\"tag\":" } else { b"{\"tag\":" });
                write_string(&mut out, tagged.tag());
                out.extend_from_slice(b",\"value\":");
                out.extend_from_slice(tagged.value());
                out.extend_from_slice(b",\"stamp\":\"");
                tagged.at().write_to(&mut out);
                out.extend_from_slice(b"\"}");
            }
            out.extend_from_slice(format!("],\"live\":{},\"removed\":[", set.live().len()).as_bytes());
            for (number, (tag, at)) in set.removed_at().take(INSPECTED_TAGS_MAX).enumerate() {
                out.extend_from_slice(if number > 0 { b",{\"tag\":" } else { b"{\"tag\":" });
                write_string(&mut out, tag);
                out.extend_from_slice(format!(",\"removed\":{}}}", tick(at)).as_bytes());
            }
            out.extend_from_slice(format!("],\"is_cut\":{is_cut}}}").as_bytes());
        }
        State::Counter(counter) => {
            let is_cut = counter.slots().len() > INSPECTED_TAGS_MAX;
            out.extend_from_slice(format!("{{\"value\":\"{}\",\"slots\":[", counter.count()).as_bytes());
            for (number, (node, totals, at)) in counter.slots().take(INSPECTED_TAGS_MAX).enumerate() {
                let comma = if number > 0 { "," } else { "" };
                let (added, subtracted) = (totals.added, totals.subtracted);
                let slot = format!(
                    "{comma}{{\"node\":\"{}\",\"added\":\"{added}\",\"subtracted\":\"{subtracted}\",\"applied\":{}}}",
                    node.as_str(),
                    tick(at)
                );
                out.extend_from_slice(slot.as_bytes());
            }
            let absorbed = counter.absorbed().map_or(0, |(count, _)| count);
            out.extend_from_slice(format!("],\"absorbed\":\"{absorbed}\",\"is_cut\":{is_cut}}}").as_bytes());
        }
    }
    text(&out)
}

/// A tick, as JSON.
fn tick(at: Time) -> String {
    format!("{{\"unix_ms\":{},\"logical\":{}}}", at.millis(), at.counter())
}

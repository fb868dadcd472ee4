//! Checks a data directory that no server uses: its small files, every record, every page in use with both its checksums,
//! every image, and the digest of each map, as a server would tell it. Changes nothing, and goes on over damage.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::export::all_maps;
use super::load::Part;
use super::offline::{CACHE_BYTES, Offline};
use super::stored::Glance;
use super::view::{View, Visitor, WHOLE};
use super::{BASE_FILE, Base, Counts, StorageError, Tail, Timeline, timeline};
use crate::crdt::{HashedKey, Map, MapType, Refused, Time};
use crate::handover::Image;
use crate::mesh::KeyHasher;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub maps: Vec<VerifiedMap>,
    /// Files of the journal that are not folded, and the records in them.
    pub segments: u64,
    pub records: u64,
    /// Bytes at the end of the journal that were being written when the server stopped: no damage, as nothing of
    /// them was ever reported durable.
    pub torn_bytes: u64,
    /// What cannot be read, each in one sentence.
    pub damage: Vec<String>,
}

/// One map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifiedMap {
    pub map: String,
    #[serde(rename = "type")]
    pub map_type: &'static str,
    /// Keys at which a reader sees a value.
    pub keys: u64,
    /// Other keys, which are remembered for what was removed there.
    pub tombstones: u64,
    /// The hash that the protocol's `digest` answers with.
    pub digest: String,
}

impl Verified {
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }

    /// Of all maps together.
    pub fn counts(&self) -> Counts {
        let none = Counts { maps: self.maps.len() as u64, ..Counts::default() };
        self.maps.iter().fold(none, |counts, map| Counts {
            keys: counts.keys + map.keys,
            tombstones: counts.tombstones + map.tombstones,
            ..counts
        })
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for VerifiedMap { map, map_type, keys, tombstones, digest } in &self.maps {
            writeln!(
                formatter,
                "{map:?}: {map_type}, {keys} keys, {tombstones} tombstones, digest {digest}"
            )?;
        }
        writeln!(formatter, "{}", self.counts())?;
        write!(formatter, "journal: {} records in {} segments", self.records, self.segments)?;
        if self.torn_bytes > 0 {
            write!(formatter, ", and {} bytes of a write that was cut short", self.torn_bytes)?;
        }
        for damage in &self.damage {
            write!(formatter, "\ndamaged: {damage}")?;
        }
        if self.is_sound() { write!(formatter, "\neverything verifies") } else { Ok(()) }
    }
}

/// Reads everything. Values whose time is up at `now_ms`, in unix milliseconds, count as deleted, as a server
/// would have it. `progress` is called with what is known so far, after each map.
///
/// # Errors
/// [`StorageError::NotOurs`] without a `FORMAT` that can be read, [`StorageError::InUse`],
/// [`StorageError::TooNew`], [`StorageError::Io`]. Damage is no error, but part of the result.
pub fn verify(
    data_dir: &Path,
    now_ms: u64,
    progress: &mut dyn FnMut(&Verified),
) -> Result<Verified, StorageError> {
    Offline::read(data_dir, |offline| verify_offline(offline, now_ms, progress))
}

fn verify_offline(
    offline: &Offline,
    now_ms: u64,
    progress: &mut dyn FnMut(&Verified),
) -> Result<Verified, StorageError> {
    let mut verified = Verified::default();
    if !Timeline::is_whole(&offline.disk)? {
        verified.damage.push(format!("{}: it is not what was written", timeline::NAME));
    }
    let base = verified.open_base(offline);
    let folded = base.as_ref().map_or(0, Base::folded);
    let tail = verified.read_journal(offline, folded)?;
    if let Some(base) = &base {
        base.follow(&tail)?;
        let names = match base.begin_read().and_then(|reading| reading.map_names()) {
            Ok(names) => names,
            Err(error) => {
                verified.damage.push(error.to_string());
                Vec::new()
            }
        };
        for map in all_maps(&names, &tail) {
            verified.read_map(base, &tail, &map, now_ms);
            progress(&verified);
        }
    }
    Ok(verified)
}

impl Verified {
    /// `None` if there is nothing that could be read safely.
    fn open_base(&mut self, offline: &Offline) -> Option<Base> {
        let opened = Base::open_checked(&offline.disk, offline.hasher(), CACHE_BYTES);
        opened.inspect_err(|error| self.damage.push(format!("{BASE_FILE}: {error}"))).ok()
    }

    fn read_journal(&mut self, offline: &Offline, folded: u64) -> Result<Tail, StorageError> {
        let (tail, recovered) = offline.tail(folded, true)?;
        self.segments = recovered.segments.len() as u64;
        self.records = recovered.records;
        self.torn_bytes = recovered.torn.map_or(0, |torn| torn.bytes);
        self.damage.extend(recovered.lost.iter().map(|lost| {
            let super::Lost { file, offset, bytes, records, fault } = lost;
            format!("{file} at byte {offset}: {fault}; {bytes} bytes and {records} records are lost")
        }));
        Ok(tail)
    }

    fn read_map(&mut self, base: &Base, tail: &Tail, map: &str, now_ms: u64) {
        let mut checking = Checking { part: Part::default(), damage: &mut self.damage };
        let view = View::open(base, tail, map, WHOLE);
        let visited = view.and_then(|view| {
            view.visit(WHOLE, Time::ZERO, &mut checking)?;
            Ok(view.map_type)
        });
        let part = checking.part;
        match visited {
            Ok(None) => {}
            Ok(Some(map_type)) => match restore(part, base.hasher, map, map_type) {
                Ok(restored) => self.maps.push(VerifiedMap::of(map, restored, now_ms)),
                Err(refused) => self.damage.push(format!("map {map:?}: {refused}")),
            },
            Err(error) => self.damage.push(format!("map {map:?}: {error}")),
        }
    }
}

impl VerifiedMap {
    fn of(name: &str, mut map: Map, now_ms: u64) -> Self {
        let (mut tick, mut budget) = (map.last_applied(), usize::MAX);
        while map.next_expiry_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            map.expire(now_ms, &mut budget, |_| {
                tick = tick.next();
                tick
            });
        }
        Self {
            map: name.to_owned(),
            map_type: map.map_type().as_str(),
            keys: map.live_entries() as u64,
            tombstones: (map.cells() - map.live_entries()) as u64,
            digest: format!("{:016x}", map.digest()),
        }
    }
}

/// Gathers the cells of a map and notes which are damaged.
struct Checking<'a> {
    part: Part,
    damage: &'a mut Vec<String>,
}

impl Visitor for Checking<'_> {
    fn cell(&mut self, key: &[u8], image: &[u8], glance: &Glance) -> Result<bool, StorageError> {
        self.part.cell(key, image, glance)
    }

    fn damaged(&mut self, error: StorageError) -> Result<(), StorageError> {
        self.damage.push(error.to_string());
        Ok(())
    }
}

/// Puts the cells into a map, as a shard does.
fn restore(part: Part, hasher: KeyHasher, name: &str, map_type: MapType) -> Result<Map, Refused> {
    let mut map = Map::new(map_type);
    let map_hash = hasher.map(name);
    part.give_out(&name.into(), Some(map_type), Time::ZERO).try_for_each(|chunk| {
        chunk.iter().try_for_each(|(key, image)| {
            let Ok(key_text) = std::str::from_utf8(key) else { return Ok(()) };
            let Ok((applied, parts)) = Image::parts(image) else { return Ok(()) };
            let hashed = HashedKey { hash: hasher.key(map_hash, key_text), bytes: key };
            map.restore(hashed, applied, parts.flatten().map(|part| (part.delta, part.applied)))
        })
    })?;
    map.finish_restore(Time::ZERO);
    Ok(map)
}

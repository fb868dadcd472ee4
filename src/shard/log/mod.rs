//! Logs: what was said in a channel or to a user, the newest of it in memory, and what must outlast the process as cells of a map
//! of the server's own (docs/messaging.md).
//!
//! A log lives at its home, the shard that owns the name of its map, and with it every cell of that.
//!
//! order: mod → kept → { entries, own_map }

mod entries;
mod kept;
mod own_map;

use std::sync::Arc;

pub use entries::{Bounds, Entries, Entry, Lost};
pub use own_map::{OwnMap, entries as own_entries};

use super::maps::{MapSlot, Maps};
use super::turn::Turn;
use crate::wire::Reject;
use kept::Kept;

#[cfg(test)]
mod tests;

/// See the module.
#[derive(Debug)]
pub struct Log {
    entries: Entries,
    /// The way to the disk; `None`: in memory only.
    kept: Option<Kept>,
}

/// What is to be said.
#[derive(Clone, Debug)]
pub struct Draft {
    pub from: Arc<str>,
    /// Canonical JSON.
    pub data: Box<[u8]>,
    /// How long it is kept.
    pub ttl_ms: u64,
    /// Whether it must outlast the process, where its log does.
    pub is_kept: bool,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    pub offset: u64,
    /// Entries that had to go for it before their time.
    pub dropped: u64,
}

impl Log {
    /// One that nobody has heard of, and that ends with this process.
    pub fn in_memory(turn: &mut Turn) -> Self {
        Self { entries: Entries::new(turn.random.any()), kept: None }
    }

    /// One that outlasts the process, as it was left; it ends with the process where maps are not on disk.
    ///
    /// # Errors
    /// The slot of its map, whose cells are not here yet: whoever asks waits for it, with [`Maps::park_request`].
    pub fn open(turn: &mut Turn, maps: &mut Maps, map: OwnMap, bounds: Bounds) -> Result<Self, MapSlot> {
        if maps.journal().is_none() {
            return Ok(Self::in_memory(turn));
        }
        let slot = map.ready(turn, maps)?;
        let (entries, kept) = Kept::open(turn, maps, (map, slot), bounds);
        Ok(Self { entries, kept: Some(kept) })
    }

    /// Whether it may be changed now.
    ///
    /// # Errors
    /// As [`Self::open`]: its cells had to leave memory meanwhile.
    pub fn ready(&self, turn: &mut Turn, maps: &mut Maps) -> Result<(), MapSlot> {
        self.kept.as_ref().map_or(Ok(()), |kept| kept.map().ready(turn, maps).map(drop))
    }

    /// What it has.
    pub const fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Whether it outlasts the process.
    pub const fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Says something, under the next offset. It must be [`Self::ready`].
    ///
    /// # Errors
    /// There is no memory for more, and nothing has changed.
    pub fn push(
        &mut self,
        turn: &mut Turn,
        maps: &mut Maps,
        bounds: Bounds,
        draft: Draft,
    ) -> Result<Pushed, Reject> {
        let Draft { from, data, ttl_ms, is_kept } = draft;
        let time_ms = turn.now.unix_ms;
        let offset = self.entries.last() + 1;
        let mut entry = Entry { offset, place: None, time_ms, expires_ms: time_ms + ttl_ms, from, data };
        if let Some(kept) = &mut self.kept {
            kept.reserve(turn, maps, &self.entries, offset)?;
            if is_kept {
                entry.place = Some(kept.keep(turn, maps, &entry, ttl_ms)?);
            }
        }
        self.entries.push(entry);
        Ok(Pushed { offset, dropped: self.trim(turn, maps, bounds) })
    }

    /// Drops what is over `bounds`, and what is over; how many went before their time. It must be [`Self::ready`].
    pub fn trim(&mut self, turn: &mut Turn, maps: &mut Maps, bounds: Bounds) -> u64 {
        let now_ms = turn.now.unix_ms;
        let bounds = self.kept.as_ref().map_or(bounds, |kept| kept.narrow(bounds));
        let mut dropped = 0;
        while let Some(entry) = self.entries.trim(bounds, now_ms) {
            dropped += u64::from(entry.expires_ms > now_ms);
            if let Some(kept) = &mut self.kept {
                kept.forget(turn, maps, &entry);
            }
        }
        dropped
    }

    /// Drops what is over, but leaves its cells, which end by themselves: so its map need not be there.
    pub fn expire(&mut self, now_ms: u64) {
        const ALL: Bounds = Bounds { entries: usize::MAX, bytes: usize::MAX };
        while self.entries.trim(ALL, now_ms).is_some() {}
    }

    /// Drops everything up to `offset`, which nobody needs any more; how much. It must be [`Self::ready`].
    pub fn drop_through(&mut self, turn: &mut Turn, maps: &mut Maps, offset: u64) -> u64 {
        let mut dropped = 0;
        while let Some(entry) = self.entries.drop_through(offset) {
            dropped += 1;
            if let Some(kept) = &mut self.kept {
                kept.forget(turn, maps, &entry);
            }
        }
        dropped
    }

    /// Forgets a log of which nothing is left, and that it ever was if it is [`Self::ready`]: the next of its name is another.
    pub fn erase(self, turn: &mut Turn, maps: &mut Maps) {
        if let Some(kept) = self.kept {
            kept.erase(turn, maps);
        }
    }

    /// Forgets all entries, as all maps were dropped. Offsets go on.
    pub fn clear(&mut self) {
        while self.entries.drop_through(u64::MAX).is_some() {}
        if let Some(kept) = &mut self.kept {
            kept.clear();
        }
    }

    /// Lets go of a log that is not needed for now. If it is [`Self::ready`], it goes on without a gap in its offsets when it is
    /// opened again.
    pub fn close(self, turn: &mut Turn, maps: &mut Maps) {
        if let Some(kept) = self.kept {
            kept.close(turn, maps, &self.entries);
        }
    }
}

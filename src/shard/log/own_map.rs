//! Maps of the server's own: where their keys live, and how one is written. No client can name one.

use std::sync::Arc;

use crate::crdt::{HashedKey, MapType, State};
use crate::limits::OWN_PREFIX;
use crate::mesh::{Action, At, CHANNEL_MAP, KeyHasher, USER_MAP, Write};
use crate::shard::maps::{MapSlot, Maps};
use crate::shard::turn::Turn;
use crate::wire::Reject;

/// The name of one. All of its keys begin with [`OWN_PREFIX`], so that they belong to the home of the name.
#[derive(Clone, Debug)]
pub struct OwnMap {
    name: Arc<str>,
    hash: u64,
}

impl OwnMap {
    /// Of what a channel keeps.
    pub fn of_channel(hasher: &KeyHasher, channel: &str) -> Self {
        Self { name: [CHANNEL_MAP, channel].concat().into(), hash: hasher.channel(channel) }
    }

    /// Of what is kept for a user.
    pub fn of_user(hasher: &KeyHasher, user: &str) -> Self {
        Self { name: [USER_MAP, user].concat().into(), hash: hasher.user(user) }
    }

    /// The slot of the map at its home, if its cells are there.
    ///
    /// # Errors
    /// The slot, for which whoever asks waits with [`Maps::park_request`], if [`Maps::may_wait_for`] allows that.
    pub fn ready(&self, turn: &mut Turn, maps: &mut Maps) -> Result<MapSlot, MapSlot> {
        debug_assert_eq!(turn.owner(self.hash), turn.index, "only its home has the map");
        let slot = maps.find_or_insert(&self.name, self.hash);
        if maps.must_wait(turn, slot) { Err(slot) } else { Ok(slot) }
    }

    /// Writes the value of a key, which is canonical JSON.
    ///
    /// # Errors
    /// There is no memory for more.
    pub fn set(
        &self,
        turn: &mut Turn,
        maps: &mut Maps,
        key: &str,
        (value, ttl_ms): (&[u8], Option<u64>),
    ) -> Result<(), Reject> {
        self.write(turn, maps, key, Action::Set { value, at: At::Now, ttl_ms })
    }

    /// Deletes a key, if it is there.
    ///
    /// # Errors
    /// There is no memory for more.
    pub fn delete(&self, turn: &mut Turn, maps: &mut Maps, key: &str) -> Result<(), Reject> {
        self.write(turn, maps, key, Action::Delete { at: At::Now, map_type: Some(MapType::Lww) })
    }

    fn write(&self, turn: &mut Turn, maps: &mut Maps, key: &str, action: Action<'_>) -> Result<(), Reject> {
        debug_assert!(key.starts_with(OWN_PREFIX));
        let key_hash = turn.hasher.key(self.hash, key);
        let write = Write { map: &self.name, map_hash: self.hash, key, key_hash, action, view: None };
        match maps.ready_slot(turn, None, &write) {
            Some(slot) => maps.apply(turn, slot, &write, None).map(drop),
            None => Err(Reject::LoadFailed { retry_after_ms: RETRY_AFTER_MS }),
        }
    }

    /// The value of a key, if it has one.
    pub fn get<'m>(&self, turn: &Turn, maps: &'m Maps, slot: MapSlot, key: &str) -> Option<&'m [u8]> {
        let cells = maps[slot].typed()?;
        let hash = turn.hasher.key(self.hash, key);
        match cells.cell(cells.find(HashedKey { hash, bytes: key.as_bytes() })?).state() {
            State::Lww(lww) => lww.value(),
            State::OrSet(_) | State::Counter(_) => None,
        }
    }

    /// Forgets the place of a map that was looked for, and in which nothing was.
    pub fn release(&self, maps: &mut Maps) {
        if let Some(slot) = maps.find(&self.name, self.hash) {
            maps.release_if_unused(slot);
        }
    }
}

/// What is told whoever meets a map that is not there, which nobody should.
const RETRY_AFTER_MS: u32 = 1_000;

/// Keys and values of a map, of those that have one, in no order.
pub fn entries(maps: &Maps, slot: MapSlot) -> impl Iterator<Item = (&str, &[u8])> {
    let cells = maps[slot].typed().into_iter().flat_map(|cells| cells.since(crate::crdt::Time::ZERO));
    cells.filter_map(|(_, cell)| match cell.state() {
        State::Lww(lww) => Some((std::str::from_utf8(cell.key()).ok()?, lww.value()?)),
        State::OrSet(_) | State::Counter(_) => None,
    })
}

//! The home of a room: its members, the connections of each, and who is away.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Presence, Slot};
use crate::config::Config;
use crate::hooks::{Happened, Kind, Place};
use crate::limits::{PRESENCE_CROWD_BYTES_MAX, PRESENCE_FULL_BYTES_MAX};
use crate::mesh::{Person, ReplyTo, Writer};
use crate::shard::rooms::{Rooms, USER};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

/// What a member takes beside its name and state.
const MEMBER_BYTES: usize = 160;

/// See the module.
#[derive(Default)]
pub struct Home {
    /// By name, so that lists have an order that lasts. Those of other dialects, too.
    pub members: BTreeMap<Box<str>, Member>,
    /// Those of `/v1`.
    pub own: usize,
    pub bytes: usize,
    /// Whose change is yet to be told, and what was told of it last.
    pub changed: BTreeMap<Box<str>, Option<Seen>>,
    /// There are too many to be named, so that counts are told.
    pub is_large: bool,
    /// The count that all were told last; `None`: everybody by name, or not all the same.
    pub counted: Option<u64>,
    /// Who has joined or watches, and has no answer yet.
    pub to_answer: Vec<ReplyTo>,
    /// Whether members are shown to clients of other dialects, and the clock that these were told last.
    pub is_shown: bool,
    pub clock: u64,
    pub told_at_us: Option<u64>,
    pub due_us: Option<u64>,
}

/// One member.
pub struct Member {
    /// Canonical JSON.
    pub state: Arc<[u8]>,
    since_ms: u64,
    /// Its connections, in order; none of a client of another dialect.
    ties: Vec<Tie>,
    /// It has none, and is gone then, in milliseconds of the monotonic clock.
    away_until_ms: Option<u64>,
    pub is_client: bool,
}

/// What is told of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    state: Arc<[u8]>,
    since_ms: u64,
    connections: u32,
    is_away: bool,
}

#[derive(Clone, Copy)]
struct Tie {
    by: Writer,
    grace_ms: u32,
}

/// Somebody who comes into a room.
pub struct Joining<'a> {
    pub reply: ReplyTo,
    pub room: &'a str,
    pub member: &'a str,
    pub state: Option<&'a [u8]>,
    pub grace_ms: u32,
}

impl Member {
    pub fn as_told<'a>(&'a self, name: &'a str) -> Person<'a> {
        let (since_ms, connections) = (self.since_ms, self.connections());
        Person { name, state: &self.state, since_ms, connections, is_away: self.away_until_ms.is_some() }
    }

    pub fn seen(&self) -> Seen {
        let (state, since_ms) = (Arc::clone(&self.state), self.since_ms);
        Seen { state, since_ms, connections: self.connections(), is_away: self.away_until_ms.is_some() }
    }

    /// Its connections.
    pub fn tied(&self) -> impl Iterator<Item = Writer> {
        self.ties.iter().map(|tie| tie.by)
    }

    fn connections(&self) -> u32 {
        if self.is_client { 1 } else { u32::try_from(self.ties.len()).unwrap_or(u32::MAX) }
    }
}

fn bytes_of(name: &str, state: &[u8]) -> usize {
    MEMBER_BYTES + name.len() + state.len()
}

impl Home {
    fn is_too_large(&self, config: &Config) -> bool {
        self.members.len() > config.presence.full_max || self.bytes > PRESENCE_FULL_BYTES_MAX
    }

    /// Whether it is so far below what can be told by name that it will not be above it again soon.
    pub fn is_small_again(&self, config: &Config) -> bool {
        let below = |max: usize| max - max / 4;
        self.members.len() <= below(config.presence.full_max) && self.bytes <= below(PRESENCE_FULL_BYTES_MAX)
    }
}

impl Presence {
    /// A connection is one of a member from now on, who is answered by [`Self::answer_later`].
    ///
    /// # Errors
    /// The room is full, or there is no memory for more.
    pub(super) fn member_joins(
        &mut self,
        turn: &mut Turn,
        rooms: &mut Rooms,
        joining: &Joining<'_>,
    ) -> Result<Slot, Reject> {
        let Joining { room, member, state, grace_ms, .. } = *joining;
        turn.spend(work::CELL + work::copied(state.map_or(0, <[u8]>::len)));
        let slot = self.open(turn, rooms, room);
        let home = self.table[slot].home.as_mut().expect("it was opened");
        let before = home.members.get(member).map(|found| bytes_of(member, &found.state));
        let after = match (state, before) {
            (None, Some(before)) => before,
            (state, _) => bytes_of(member, state.unwrap_or(b"null")),
        };
        if let Err(reject) = has_room(turn, home.bytes, before.unwrap_or(0), after) {
            self.release_if_unused(slot);
            return Err(reject);
        }
        let tie = Tie { by: joining.reply.writer(), grace_ms };
        let seen = home.members.get(member).map(Member::seen);
        match home.members.get_mut(member) {
            Some(found) => {
                if let Some(state) = state.filter(|state| **state != *found.state) {
                    found.state = state.into();
                }
                turn.spend(work::copied(found.ties.len() * size_of::<Tie>()));
                match found.ties.binary_search_by_key(&tie.by, |tie| tie.by) {
                    Ok(place) => found.ties[place] = tie,
                    Err(place) => found.ties.insert(place, tie),
                }
                if let Some(until_ms) = found.away_until_ms.take() {
                    self.away.remove(&(until_ms, slot, member.into()));
                }
            }
            None => {
                let state = state.unwrap_or(b"null").into();
                let since_ms = turn.now.unix_ms;
                let new = Member { state, since_ms, ties: vec![tie], away_until_ms: None, is_client: false };
                home.members.insert(member.into(), new);
                self.came(turn, slot, member);
            }
        }
        self.add_bytes(slot, before.unwrap_or(0), after);
        self.has_changed(turn, slot, member, seen);
        Ok(slot)
    }

    /// A member has another state.
    ///
    /// # Errors
    /// It is not there, or there is no memory for more.
    pub(super) fn member_updates(
        &mut self,
        turn: &mut Turn,
        (room, member): (&str, &str),
        state: &[u8],
    ) -> Result<(), Reject> {
        turn.spend(work::CELL + work::copied(state.len()));
        let slot = self.find(turn, room).ok_or(Reject::NotJoined)?;
        let home = self.table[slot].home.as_mut().ok_or(Reject::NotJoined)?;
        let found = home.members.get_mut(member).ok_or(Reject::NotJoined)?;
        if *found.state == *state {
            return Ok(());
        }
        let (before, after) = (bytes_of(member, &found.state), bytes_of(member, state));
        has_room(turn, home.bytes, before, after)?;
        let seen = found.seen();
        found.state = state.into();
        self.add_bytes(slot, before, after);
        self.has_changed(turn, slot, member, Some(seen));
        Ok(())
    }

    /// A connection is no longer one of a member. If it was the last, the member is gone, or, where it may come back, away.
    pub(super) fn member_leaves(
        &mut self,
        turn: &mut Turn,
        (room, member): (&str, &str),
        by: Writer,
        is_final: bool,
    ) {
        turn.spend(work::CELL);
        let Some(slot) = self.find(turn, room) else { return };
        let Some(home) = &mut self.table[slot].home else { return };
        let Some(found) = home.members.get_mut(member) else { return };
        let Ok(place) = found.ties.binary_search_by_key(&by, |tie| tie.by) else { return };
        turn.spend(work::copied(found.ties.len() * size_of::<Tie>()));
        let seen = found.seen();
        let tie = found.ties.remove(place);
        if found.ties.is_empty() {
            if is_final || tie.grace_ms == 0 {
                return self.member_goes(turn, (slot, member), seen);
            }
            let until_ms = turn.now.timer_ms() + u64::from(tie.grace_ms);
            found.away_until_ms = Some(until_ms);
            self.away.insert((until_ms, slot, member.into()));
        }
        self.has_changed(turn, slot, member, Some(seen));
    }

    /// Those whose grace is over are gone.
    pub(super) fn end_graces(&mut self, turn: &mut Turn) {
        let now_ms = turn.now.timer_ms();
        while !turn.is_over()
            && self.away.first().is_some_and(|&(until_ms, ..)| until_ms <= now_ms)
            && let Some((_, slot, member)) = self.away.pop_first()
        {
            turn.spend(work::CELL);
            let home = self.table[slot].home.as_ref();
            let seen = home.and_then(|home| home.members.get(&member)).map(Member::seen);
            if let Some(seen) = seen {
                self.member_goes(turn, (slot, &member), seen);
            }
        }
    }

    /// The last connection of a member is gone for good.
    fn member_goes(&mut self, turn: &mut Turn, (slot, member): (Slot, &str), seen: Seen) {
        let Some(home) = &mut self.table[slot].home else { return };
        let Some(gone) = home.members.remove(member) else { return };
        self.add_bytes(slot, bytes_of(member, &gone.state), 0);
        self.went(turn, slot, member);
        self.has_changed(turn, slot, member, Some(seen));
        self.release_if_unused(slot);
    }

    /// A member of `/v1` has come into a room: its first connection has.
    fn came(&mut self, turn: &mut Turn, slot: Slot, member: &str) {
        self.tell_application(turn, slot, member, Kind::Joined);
        turn.metrics.presence_joined += 1;
        let Some(home) = &mut self.table[slot].home else { return };
        home.own += 1;
        self.counts.members += 1;
        self.counts.rooms += u64::from(home.own == 1);
    }

    /// It is gone from there: its last connection is, and its grace is over.
    fn went(&mut self, turn: &mut Turn, slot: Slot, member: &str) {
        self.tell_application(turn, slot, member, Kind::Left);
        turn.metrics.presence_left += 1;
        let Some(home) = &mut self.table[slot].home else { return };
        home.own -= 1;
        self.counts.members -= 1;
        self.counts.rooms -= u64::from(home.own == 0);
    }

    fn tell_application(&self, turn: &mut Turn, slot: Slot, member: &str, kind: Kind) {
        let name = self.table[slot].interest.name();
        if !turn.happenings.hears(kind, name) {
            return;
        }
        let (place, name) = (Place::Room, Arc::clone(name));
        let user = member.strip_prefix(USER).map(Into::into);
        let what = match kind {
            Kind::Joined => Happened::Joined { place, name, user },
            _ => Happened::Left { place, name, user },
        };
        turn.happenings.tell(turn.now.unix_ms, what);
    }

    /// A client of another dialect is in a room of that name, with this state; `None`: no longer.
    pub(super) fn client_changes(
        &mut self,
        turn: &mut Turn,
        slot: Slot,
        member: &str,
        client: Option<(Arc<[u8]>, u64)>,
    ) {
        turn.spend(work::CELL);
        let Some(home) = &mut self.table[slot].home else { return };
        let seen = home.members.get(member).map(Member::seen);
        let before = seen.as_ref().map(|seen| bytes_of(member, &seen.state));
        let after = client.as_ref().map_or(0, |(state, _)| bytes_of(member, state));
        match client {
            Some((state, since_ms)) => {
                let client =
                    Member { state, since_ms, ties: Vec::new(), away_until_ms: None, is_client: true };
                home.members.insert(member.into(), client);
            }
            None => drop(home.members.remove(member)),
        }
        if before.is_some() || after > 0 {
            self.add_bytes(slot, before.unwrap_or(0), after);
            self.has_changed(turn, slot, member, seen);
        }
    }

    /// A room has a home here from now on, with the clients of other dialects that are in it.
    pub(super) fn open(&mut self, turn: &mut Turn, rooms: &mut Rooms, room: &str) -> Slot {
        let slot = self.find_or_insert(turn, room);
        if self.table[slot].home.is_none() {
            self.table[slot].home = Some(Box::default());
            self.counts.homes += 1;
            self.meet_clients(turn, rooms, slot);
        }
        slot
    }

    fn add_bytes(&mut self, slot: Slot, before: usize, after: usize) {
        let Some(home) = &mut self.table[slot].home else { return };
        home.bytes = home.bytes + after - before;
        self.counts.bytes = self.counts.bytes + after - before;
    }

    /// Something of a member, of which that was seen before, has changed. It is told with the next tick; who joins and leaves between
    /// two is not told of.
    fn has_changed(&mut self, turn: &Turn, slot: Slot, member: &str, seen: Option<Seen>) {
        let Some(home) = &mut self.table[slot].home else { return };
        if !home.is_large && home.is_too_large(&turn.config) {
            home.is_large = true;
            home.changed.clear();
        }
        if !home.is_large {
            let is_there = home.members.contains_key(member);
            match home.changed.get(member) {
                None => drop(home.changed.insert(member.into(), seen)),
                Some(None) if !is_there => drop(home.changed.remove(member)),
                Some(_) => {}
            }
        }
        self.schedule(turn, slot);
    }
}

/// Whether a room of so many bytes may take other ones in the place of some.
fn has_room(turn: &mut Turn, bytes: usize, before: usize, after: usize) -> Result<(), Reject> {
    let more = after.saturating_sub(before);
    if more > 0 && bytes + more > PRESENCE_CROWD_BYTES_MAX {
        return Err(Reject::TooLarge("the room has as many members, or as much of their states, as it may"));
    }
    turn.account.refuses_states(more).map_or(Ok(()), Err)
}

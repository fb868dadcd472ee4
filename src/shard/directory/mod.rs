//! Which connections a user has, known to one shard: the home of its name. Only who has been believed is in here.
//!
//! ```text
//!  a connection's shard ──Enter──► home: is there room? ──Entered: its place, or why not──► it opens ──Settled──► home: who
//!                       ──Left───► once it is gone                 Displaced ◄── has another session goes (`replace`) ◄──┘
//! ```
//! What the home does to one connection is in the order in which it happens, for all shards. So of two that come at the same
//! moment one is the first, and one session stays. A connection that ends before its answer has come is taken out again by whoever
//! gets the answer.
//!
//! Invariant: each connection of a user is on the user's list, at the place that it knows, until it has left or was displaced; a
//! user is here while it has any.

mod inspect;

use std::sync::Arc;

use hashbrown::HashTable;

use super::slots::{self, Slots};
use super::turn::Turn;
use super::work;
use crate::config::{Config, Sessions};
use crate::mesh::{KeyHasher, Writer};
use crate::metrics::Refusal;

/// Places of a list that is not made smaller.
const LIST_MIN: usize = 16;

/// See the module.
pub struct Directory {
    connections_max: usize,
    sessions: Sessions,
    users: Slots<User>,
    /// Users by the hashes of their names.
    by_name: HashTable<u32>,
    present: Slots<Present>,
    /// Counts those that have entered.
    entered: u64,
}

struct User {
    name: Arc<str>,
    /// Its connections, in no order.
    present: Vec<u32>,
    /// How many of them each session has, by its hash, where that matters: few, as those of all but one are about to go.
    of_session: Vec<(u64, usize)>,
}

struct Present {
    by: Writer,
    session: Option<Box<str>>,
    user: u32,
    /// Where it is on the user's list.
    at: u32,
    /// Its place in the order of all that have entered.
    number: u64,
    hears_directs: bool,
}

/// A connection that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    pub place: u32,
    /// It is the only one of its user.
    pub is_first: bool,
}

impl Directory {
    pub fn new(config: &Config) -> Self {
        Self {
            connections_max: config.connections_per_user_max,
            sessions: config.sessions,
            users: Slots::default(),
            by_name: HashTable::new(),
            present: Slots::default(),
            entered: 0,
        }
    }

    /// Goes on with another limit, which counts for who comes from then on.
    pub const fn configure(&mut self, config: &Config) {
        self.connections_max = config.connections_per_user_max;
    }

    /// Whether it is to be told once a connection is open.
    pub fn wants_settled(&self) -> bool {
        self.sessions == Sessions::Replace
    }

    /// Puts a connection on the list of its user, if that may have one more.
    ///
    /// # Errors
    /// [`Refusal::PerUser`], or [`Refusal::Session`] where there is one of another session.
    pub fn enter(
        &mut self,
        turn: &mut Turn,
        by: Writer,
        user: &Arc<str>,
        (session, hears_directs): (Option<Box<str>>, bool),
    ) -> Result<Entered, Refusal> {
        turn.spend(work::CELL);
        let session_hash = hash_of_session(&turn.hasher, session.as_deref());
        let found = self.find(&turn.hasher, user);
        if let Some(user) = found {
            self.may_enter(user, session_hash)?;
        }
        let user = found.unwrap_or_else(|| self.insert_user(&turn.hasher, user));
        self.entered += 1;
        let at = slots::slot(self.users[user].present.len());
        let number = self.entered;
        let place = self.present.insert(|_| Present { by, session, user, at, number, hears_directs });
        self.users[user].present.push(place);
        if self.sessions != Sessions::Append {
            self.users[user].count_session(session_hash);
        }
        turn.metrics.user_connections += 1;
        turn.metrics.users += u64::from(found.is_none());
        Ok(Entered { place, is_first: found.is_none() })
    }

    fn may_enter(&self, user: u32, session_hash: u64) -> Result<(), Refusal> {
        let user = &self.users[user];
        let (all, of_session) = (user.present.len(), || user.of_session(session_hash));
        if self.sessions == Sessions::Reject && of_session() < all {
            return Err(Refusal::Session);
        }
        // Those of other sessions go to make room.
        let counted = if self.sessions == Sessions::Replace { of_session() } else { all };
        let is_full = self.connections_max > 0 && counted >= self.connections_max;
        if is_full { Err(Refusal::PerUser) } else { Ok(()) }
    }

    /// A connection has left; its user, if it was the last. It may have been displaced, and be none any more.
    pub fn leave(&mut self, turn: &mut Turn, place: u32, by: Writer) -> Option<Arc<str>> {
        turn.spend(work::CELL);
        if self.is_at(place, by) { self.remove(turn, place) } else { None }
    }

    /// A connection is open: where one session replaces another, those of its user go that entered before and have another. What
    /// has entered since decides for itself once it is open.
    pub fn settled(
        &mut self,
        turn: &mut Turn,
        place: u32,
        by: Writer,
        mut displace: impl FnMut(&mut Turn, Writer),
    ) {
        if !self.is_at(place, by) || !self.wants_settled() {
            return;
        }
        let newest = &self.present[place];
        let (user, number) = (&self.users[newest.user], newest.number);
        if user.of_session.len() < 2 {
            return;
        }
        turn.spend(work::RECEIVER * user.present.len() as u64);
        let is_displaced = |&&other: &&u32| {
            let other = &self.present[other];
            other.number < number && other.session != newest.session
        };
        let displaced: Vec<u32> = user.present.iter().filter(is_displaced).copied().collect();
        for place in displaced {
            displace(turn, self.present[place].by);
            self.remove(turn, place);
        }
    }

    /// The connections of a user, and the session of each. O(1), and what the caller takes of them.
    pub fn of_user(&self, hasher: &KeyHasher, user: &str) -> impl Iterator<Item = (Writer, Option<&str>)> {
        let places = self.find(hasher, user).map_or(&[][..], |user| &self.users[user].present);
        places.iter().map(|&place| (self.present[place].by, self.present[place].session.as_deref()))
    }

    /// The connections of a user that direct messages are for.
    pub fn hearers_of(&self, hasher: &KeyHasher, user: &str) -> impl Iterator<Item = Writer> {
        let places = self.find(hasher, user).map_or(&[][..], |user| &self.users[user].present);
        let present = places.iter().map(|&place| &self.present[place]);
        present.filter(|present| present.hears_directs).map(|present| present.by)
    }

    fn is_at(&self, place: u32, by: Writer) -> bool {
        self.present.get(place).is_some_and(|present| present.by == by)
    }

    /// Takes a connection off its user's list; the user, if it was the last.
    fn remove(&mut self, turn: &mut Turn, place: u32) -> Option<Arc<str>> {
        let Present { session, user: slot, at, .. } = self.present.remove(place);
        let user = &mut self.users[slot];
        user.present.swap_remove(at as usize);
        if user.present.capacity() > 4 * user.present.len().max(LIST_MIN) {
            user.present.shrink_to(2 * user.present.len());
        }
        if let Some(&moved) = user.present.get(at as usize) {
            self.present[moved].at = at;
        }
        if self.sessions != Sessions::Append {
            user.forget_session(hash_of_session(&turn.hasher, session.as_deref()));
        }
        turn.metrics.user_connections -= 1;
        if !user.present.is_empty() {
            return None;
        }
        let hash = turn.hasher.user(&user.name);
        if let Ok(entry) = self.by_name.find_entry(hash, |&found| found == slot) {
            entry.remove();
        }
        turn.metrics.users -= 1;
        Some(self.users.remove(slot).name)
    }

    fn find(&self, hasher: &KeyHasher, user: &str) -> Option<u32> {
        self.by_name.find(hasher.user(user), |&slot| *self.users[slot].name == *user).copied()
    }

    fn insert_user(&mut self, hasher: &KeyHasher, name: &Arc<str>) -> u32 {
        let make = |_| User { name: Arc::clone(name), present: Vec::new(), of_session: Vec::new() };
        let slot = self.users.insert(make);
        let users = &self.users;
        self.by_name.insert_unique(hasher.user(name), slot, |&slot| hasher.user(&users[slot].name));
        slot
    }
}

impl User {
    fn of_session(&self, hash: u64) -> usize {
        self.of_session.iter().find(|(found, _)| *found == hash).map_or(0, |&(_, count)| count)
    }

    fn count_session(&mut self, hash: u64) {
        match self.of_session.iter_mut().find(|(found, _)| *found == hash) {
            Some((_, count)) => *count += 1,
            None => self.of_session.push((hash, 1)),
        }
    }

    fn forget_session(&mut self, hash: u64) {
        if let Some(at) = self.of_session.iter().position(|(found, _)| *found == hash) {
            self.of_session[at].1 -= 1;
            if self.of_session[at].1 == 0 {
                self.of_session.swap_remove(at);
            }
        }
    }
}

/// What tells sessions apart: with the secret of this process, so that nobody makes two alike.
fn hash_of_session(hasher: &KeyHasher, session: Option<&str>) -> u64 {
    session.map_or(0, |session| hasher.map(session))
}

//! A client that comes back with a cursor is told the difference, as long as that is small.
//!
//! Nobody remembers what it was shown. But owners know which keys have changed since, and that decides it, as an entry that has not
//! changed is where it was among all others that have not:
//! - what has changed and is shown is told, what has changed and is not shown is told as gone;
//! - an entry that has not changed, is shown at `rank`, and was not, had `limit` others before it then. All but `rank` of these have
//!   changed. So where `rank` and the number of changed keys together are below the limit, it was shown. Others are told as if they
//!   were new;
//! - what else the client has is behind all that, as nothing before it has changed, and is cut off by the count.
//!
//! Owners are asked once the feed is complete, and what they say is about that list: where anything of it changes before all have
//! answered, the client is told all of it, as one is who was away for long.

use std::sync::Arc;

use super::Queries;
use super::feeds::{Feed, QueryFeeds, State};
use super::returning::Resume;
use crate::crdt::Time;
use crate::limits::{CHUNK_BYTES, CHUNK_CELLS_SCANNED_MAX, OPS_PER_REQUEST_MAX};
use crate::mesh::{
    Answer, ChangedKeys, Filter, Item, Names, Request, ShardIndex, Span, SubscriptionRef, pack_name,
};
use crate::shard::lists::{ListStep, push_list_step};
use crate::shard::maps::{Lens, Maps};
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Cursor;

/// Keys that one owner names at most, and that are told as gone.
const KEYS_MAX: usize = OPS_PER_REQUEST_MAX;
/// Bytes of a difference; what is more is told from the start.
const DIFFERENCE_BYTES_MAX: usize = 4 * CHUNK_BYTES;

/// What a client that resumes is told.
#[derive(Debug, Default)]
pub struct Difference {
    pub entries: Vec<u8>,
    pub gone: Vec<u8>,
    pub count: usize,
}

impl Queries {
    /// Asks owners what has changed since a cursor, if that is any use; whether it is.
    pub(super) fn ask_changed(
        &mut self,
        turn: &mut Turn,
        maps: &Maps,
        (own, since): (SubscriptionRef, Cursor),
    ) -> bool {
        let subscription = &mut self.feeds.subscriptions[own.slot as usize];
        let feed = &mut self.feeds.feeds[subscription.feed as usize];
        let is_of_it = since.epoch == turn.epoch && since.scope == feed.scope && maps.is_known(since.time);
        let looks_at_values = feed.view.as_ref().is_some_and(|view| view.need_values());
        if !is_of_it || looks_at_values || feed.shown().first > 0 {
            return false;
        }
        let mut resume = Resume::new(since.time);
        let own_keys = changed_keys(turn, maps, (&feed.map, feed.filter.as_deref()), since.time);
        resume.take(turn.index, own_keys.as_deref());
        for owner in turn.others() {
            let (map, filter) = (feed.map.clone(), feed.filter.clone());
            let asked = ChangedKeys { subscription: own, map, filter, since: since.time };
            turn.outgoing.push(owner, Item::Request(Request::ChangedKeys(Box::new(asked))));
        }
        feed.resuming.push(own);
        subscription.resume = Some(Box::new(resume));
        true
    }

    /// Another shard asks what has changed.
    pub fn changed_asked(&mut self, turn: &mut Turn, maps: &Maps, (from, asked): (ShardIndex, ChangedKeys)) {
        let ChangedKeys { subscription, map, filter, since } = asked;
        let keys = changed_keys(turn, maps, (&map, filter.as_deref()), since);
        let envelope = turn.outgoing.filling(from);
        let keys = keys.map(|keys| Span::append(&mut envelope.bytes, &keys));
        envelope.items.push(Item::Answer(Answer::ChangedKeys { subscription, keys }));
    }

    /// Another owner has said what has changed.
    pub fn changed_answered(&mut self, owner: ShardIndex, own: SubscriptionRef, keys: Option<&[u8]>) {
        let subscription = self.feeds.subscriptions.get_mut(own.slot as usize);
        let Some(subscription) = subscription.filter(|subscription| subscription.serial == own.serial) else {
            return;
        };
        if let Some(resume) = &mut subscription.resume {
            resume.take(owner, keys);
            self.feeds.waiting.push_back(own);
        }
    }
}

impl QueryFeeds {
    /// Takes the difference to what a subscription was shown; `None`: it is told everything.
    pub(super) fn take_difference(&mut self, turn: &mut Turn, own: SubscriptionRef) -> Option<Difference> {
        let subscription = &mut self.subscriptions[own.slot as usize];
        let feed = &mut self.feeds[subscription.feed as usize];
        feed.resuming.retain(|&other| other != own);
        if let State::Waiting { since, .. } = &mut subscription.state {
            *since = None;
        }
        let resume = subscription.resume.take()?;
        if resume.is_void { None } else { difference(turn, feed, &resume) }
    }
}

fn difference(turn: &mut Turn, feed: &Feed, resume: &Resume) -> Option<Difference> {
    let mut changed: Vec<&str> = Names(&resume.changed).collect();
    changed.sort_unstable();
    changed.dedup();
    let limit = feed.shown().end;
    let mut difference = Difference::default();
    for (rank, row) in feed.shown_rows().enumerate() {
        difference.count += 1;
        let listed = feed.entries.get(row.key())?;
        let is_news = listed.applied > resume.since
            || rank + resume.count >= limit
            || changed.binary_search(&row.key()).is_ok();
        if is_news {
            push_list_step(&mut difference.entries, ListStep::Stands, rank, |out| {
                out.extend_from_slice(&listed.packed);
            });
            if difference.entries.len() > DIFFERENCE_BYTES_MAX {
                return None;
            }
        }
    }
    turn.spend(work::PASSED_OVER * difference.count as u64);
    let mut lens = feed.view.as_deref().map(|parts| Lens::new(parts, &feed.map));
    for key in changed {
        let is_shown = feed.entries.get(key).is_some_and(|listed| feed.rows.rank(listed.row.place()) < limit);
        if !is_shown && lens.as_mut().is_none_or(|lens| lens.passes(key)) {
            pack_name(key, &mut difference.gone);
        }
    }
    Some(difference)
}

/// The keys of this shard that have changed since, packed; `None`: it cannot say, or they are too many.
fn changed_keys(
    turn: &mut Turn,
    maps: &Maps,
    (map, filter): (&Arc<str>, Option<&Filter>),
    since: Time,
) -> Option<Vec<u8>> {
    let slot = maps.find(map, turn.hasher.map(map));
    if since < maps.forgotten_through(slot) {
        return None;
    }
    let (mut keys, mut looked_at, mut count) = (Vec::new(), 0, 0);
    let Some(cells) = maps[slot?].typed() else { return (!maps.may_be_stored()).then_some(keys) };
    for (_, current) in cells.log_since(since) {
        looked_at += 1;
        turn.spend(work::PASSED_OVER);
        let Some((_, cell)) =
            current.filter(|(_, cell)| filter.is_none_or(|filter| filter.passes(cell.key())))
        else {
            continue;
        };
        count += 1;
        if count > KEYS_MAX || keys.len() > CHUNK_BYTES || looked_at > CHUNK_CELLS_SCANNED_MAX {
            return None;
        }
        pack_name(std::str::from_utf8(cell.key()).expect("keys enter as text"), &mut keys);
    }
    Some(keys)
}

//! The subscribers' side of queries: what owners show of theirs is one list here, of which a part is shown, and subscribers are told
//! what becomes of that.
//!
//! ```text
//!  owner 0 ──► its first  ┐                       ┌──► subscription, told each change
//!  owner 1 ──► its first  ├─► one list ─► shown ──┤
//!  owner 2 ──► its first  ┘                       └──► subscription that waits: told all of it, once there is room
//! ```
//! Of each owner there are as many as are shown in all, so the first of all of them are the first of the map. Equal queries of one
//! map, with one filter and one view, share a feed.
//!
//! Invariant: whoever is current has been told exactly what is shown, but for `steps`, which the end of the turn tells.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use slab::Slab;

use super::returning::Resume;
use super::rows::{Row, Rows};
use super::shown::{Shown, Step};
use crate::auth::rules::Parts;
use crate::crdt::Time;
use crate::limits::{QUERY_RESULT_BYTES_MAX, SCRATCH_BYTES_MAX};
use crate::mesh::{
    ConnectionId, EntryPacker, EntryState, Filter, Item, OpenQuery, QueryNews, QueryRef, QueryStep,
    QuerySteps, Request, ShardIndex, ShardSet, Standing, SubscriptionRef,
};
use crate::query::{Fields, Paths, Query};
use crate::shard::feeds::scope_of;
use crate::shard::lists::{ListStep, push_list_step};
use crate::shard::slots;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::{Cursor, Reject, Scope, Ticket};

/// More is not told at once.
pub(super) const TOO_LARGE: Reject = Reject::TooLarge("what the query shows has more than 4 MiB");
/// Bytes that an entry of a list takes beside itself.
const LISTED_BYTES: usize = 128;

/// See the module.
#[derive(Default)]
pub struct QueryFeeds {
    pub(super) feeds: Slab<Feed>,
    by_scope: HashTable<u32>,
    pub(super) subscriptions: Slab<Subscription>,
    /// Feeds with something to tell.
    pub(super) touched: Vec<u32>,
    /// Subscriptions that are to be told all that is shown.
    pub(super) waiting: VecDeque<SubscriptionRef>,
    /// Feeds that have come to an end, and why.
    pub(super) ended: Vec<(u32, Reject)>,
    /// Feeds that nobody needs any more, with the bytes they took, which are freed a part at a time.
    pub(super) unused: VecDeque<(Feed, usize)>,
    pub(super) bytes: usize,
    fields: Fields,
    place: Vec<u8>,
}

/// What subscribers of one query, with one filter and view, are told.
pub(super) struct Feed {
    pub serial: u32,
    pub map: Arc<str>,
    pub filter: Option<Arc<Filter>>,
    pub view: Option<Arc<Parts>>,
    query: Arc<Query>,
    pub scope: Scope,
    paths: Paths,
    slots: Vec<u32>,
    pub rows: Rows,
    pub entries: HashMap<Box<str>, Listed>,
    /// Bytes of the entries.
    bytes: usize,
    /// Owners that have told all that they are to.
    complete: ShardSet,
    /// Whether all have, once.
    pub is_ready: bool,
    /// Up to where everything has been told.
    pub told: Time,
    /// What is yet to be told of what is shown.
    pub steps: Vec<u8>,
    pub steps_count: u32,
    is_touched: bool,
    pub subscribers: Vec<u32>,
    /// Those of them for whom owners have been asked what has changed.
    pub resuming: Vec<SubscriptionRef>,
}

/// An entry of a list.
pub(super) struct Listed {
    pub row: Row,
    pub applied: Time,
    /// [`crate::mesh::Entries`].
    pub packed: Box<[u8]>,
}

/// One connection's interest in a query.
pub(super) struct Subscription {
    pub serial: u32,
    pub connection: ConnectionId,
    pub feed: u32,
    /// Its place among the subscribers of the feed.
    place: u32,
    /// The request that it came with, by which its client knows it.
    pub query: Ticket,
    pub state: State,
    pub resume: Option<Box<Resume>>,
}

/// The map of a feed that nobody needs to be told of any more.
pub(super) type Closed = (Arc<str>, QueryRef);

/// What a subscription is to be told next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All that is shown: the answer to its request, where that is owed.
    Waiting { is_owed: bool, since: Option<Cursor>, reset: bool },
    /// What changes.
    Current,
}

/// Which feed a subscriber wants.
pub(super) struct Wanted {
    pub map: Arc<str>,
    pub filter: Option<Arc<Filter>>,
    pub view: Option<Arc<Parts>>,
    pub query: Arc<Query>,
}

impl Wanted {
    fn scope(&self) -> Scope {
        let scope = scope_of(&self.map, self.filter.as_deref(), self.view.as_deref());
        scope.query(self.query.digest())
    }
}

impl Feed {
    pub fn shown(&self) -> Shown {
        Shown { first: self.query.offset(), end: self.query.end() }
    }

    /// Rows that are shown, in order.
    pub fn shown_rows(&self) -> impl Iterator<Item = &Row> {
        let Shown { first, end } = self.shown();
        self.rows.from(first).take(end - first)
    }

    /// What its subscribers would want through another view.
    pub fn with_view(&self, view: Option<Arc<Parts>>) -> Wanted {
        let Self { map, filter, query, .. } = self;
        Wanted { map: map.clone(), filter: filter.clone(), view, query: query.clone() }
    }

    /// Takes the buffer of steps back.
    pub fn recycle(&mut self, mut steps: Vec<u8>) {
        steps.clear();
        steps.shrink_to(SCRATCH_BYTES_MAX);
        self.steps = steps;
    }

    pub fn is_complete(&self, shards: usize) -> bool {
        self.complete == ShardSet::first(shards)
    }

    fn memory(&self) -> usize {
        self.bytes + self.rows.bytes() + LISTED_BYTES * self.entries.len()
    }
}

impl QueryFeeds {
    /// Puts a subscription among those of its feed, which is asked for if there is none.
    pub(super) fn join(
        &mut self,
        turn: &mut Turn,
        wanted: Wanted,
        (connection, query, state): (ConnectionId, Ticket, State),
    ) -> (SubscriptionRef, Option<OpenQuery>) {
        let scope = wanted.scope();
        let found = self.by_scope.find(scope.hash(), |&slot| {
            let feed = &self.feeds[slot as usize];
            feed.scope == scope
                && feed.map == wanted.map
                && feed.query == wanted.query
                && feed.filter == wanted.filter
                && feed.view == wanted.view
        });
        let (slot, opened) = match found {
            Some(&slot) => (slot, None),
            None => self.insert(turn, scope, wanted),
        };
        let feed = &mut self.feeds[slot as usize];
        let (serial, place) = (turn.next_serial(), slots::slot(feed.subscribers.len()));
        let subscription = Subscription { serial, connection, feed: slot, place, query, state, resume: None };
        let own = slots::slot(self.subscriptions.insert(subscription));
        feed.subscribers.push(own);
        (SubscriptionRef { slot: own, serial }, opened)
    }

    fn insert(&mut self, turn: &mut Turn, scope: Scope, wanted: Wanted) -> (u32, Option<OpenQuery>) {
        let Wanted { map, filter, view, query } = wanted;
        let mut paths = Paths::default();
        let entry = self.feeds.vacant_entry();
        let (slot, serial) = (slots::slot(entry.key()), turn.next_serial());
        entry.insert(Feed {
            serial,
            map: map.clone(),
            filter: filter.clone(),
            view: view.clone(),
            scope,
            slots: query.paths().iter().map(|path| paths.enter(path)).collect(),
            query: query.clone(),
            paths,
            rows: Rows::default(),
            entries: HashMap::new(),
            bytes: 0,
            complete: ShardSet::EMPTY,
            is_ready: false,
            told: Time::ZERO,
            steps: Vec::new(),
            steps_count: 0,
            is_touched: false,
            subscribers: Vec::new(),
            resuming: Vec::new(),
        });
        self.bytes += query.bytes();
        let feeds = &self.feeds;
        self.by_scope.insert_unique(scope.hash(), slot, |&slot| feeds[slot as usize].scope.hash());
        let open = OpenQuery { feed: QueryRef { slot, serial }, map, filter, view, query };
        for owner in turn.others() {
            turn.outgoing.push(owner, Item::Request(Request::OpenQuery(Box::new(open.clone()))));
        }
        (slot, Some(open))
    }

    /// Takes a subscription out of its feed; the feed, if that was its last: nobody needs to be told of it any more.
    pub(super) fn leave(
        &mut self,
        turn: &mut Turn,
        ended: SubscriptionRef,
    ) -> Option<(Subscription, Option<Closed>)> {
        let subscription = self.subscriptions.get(ended.slot as usize)?;
        if subscription.serial != ended.serial {
            return None;
        }
        let subscription = self.subscriptions.remove(ended.slot as usize);
        let feed = &mut self.feeds[subscription.feed as usize];
        feed.resuming.retain(|&other| other != ended);
        feed.subscribers.swap_remove(subscription.place as usize);
        if let Some(&moved) = feed.subscribers.get(subscription.place as usize) {
            self.subscriptions[moved as usize].place = subscription.place;
        }
        let closed = feed.subscribers.is_empty().then(|| self.end_feed(turn, subscription.feed));
        Some((subscription, closed))
    }

    fn end_feed(&mut self, turn: &mut Turn, slot: u32) -> Closed {
        let feed = self.feeds.remove(slot as usize);
        self.bytes -= feed.query.bytes();
        if let Ok(entry) = self.by_scope.find_entry(feed.scope.hash(), |&candidate| candidate == slot) {
            entry.remove();
        }
        let (of, memory) = (QueryRef { slot, serial: feed.serial }, feed.memory());
        for owner in turn.others() {
            let close = Request::CloseQuery { map: feed.map.clone(), feed: of };
            turn.outgoing.push(owner, Item::Request(close));
        }
        let map = feed.map.clone();
        self.unused.push_back((feed, memory));
        (map, of)
    }

    /// Frees what nobody needs any more, as much as the turn has work for, and something in any case.
    pub(super) fn free_unused(&mut self, turn: &mut Turn) {
        let mut has_freed = false;
        while !(has_freed && turn.is_spent())
            && let Some((feed, memory)) = self.unused.front_mut()
        {
            has_freed = true;
            let Some(row) = feed.rows.pop() else {
                self.bytes -= *memory;
                self.unused.pop_front();
                continue;
            };
            let packed = feed.entries.remove(row.key()).map_or(0, |listed| listed.packed.len());
            turn.spend(work::CELL + work::copied(packed));
        }
    }

    /// An owner has told what becomes of a query.
    pub fn news_arrived(&mut self, turn: &mut Turn, owner: ShardIndex, news: QueryNews<QuerySteps<'_>>) {
        let slot = news.feed.slot;
        let Some(feed) = self.feeds.get_mut(slot as usize).filter(|feed| feed.serial == news.feed.serial)
        else {
            return;
        };
        let memory = feed.memory();
        if !news.steps.0.is_empty() {
            for resuming in &feed.resuming {
                if let Some(resume) = &mut self.subscriptions[resuming.slot as usize].resume {
                    resume.news_arrived(owner);
                }
            }
        }
        turn.spend(work::decoded(news.steps.0.len()));
        for step in news.steps {
            turn.spend(work::CELL);
            match step {
                QueryStep::Put { applied, entry, packed } => {
                    let EntryState::Value { value: Some(value), .. } = entry.state else {
                        feed.take_out(entry.key);
                        continue;
                    };
                    feed.paths.read(Some(value), &mut self.fields);
                    self.place.clear();
                    feed.query.write_place(&self.fields, &feed.slots, entry.key.as_bytes(), &mut self.place);
                    let row = Row::new(&self.place, entry.key.as_bytes());
                    feed.put(entry.key, Listed { row, applied, packed: packed.into() });
                }
                QueryStep::Out { key } => feed.take_out(key),
            }
        }
        match news.standing {
            Standing::Complete => feed.complete.insert(owner),
            Standing::Lacking => feed.complete.remove(owner),
            Standing::Refused(reject) => self.ended.push((slot, reject)),
        }
        if feed.bytes > QUERY_RESULT_BYTES_MAX * turn.shards {
            self.ended.push((slot, TOO_LARGE));
        }
        self.bytes = self.bytes + feed.memory() - memory;
        if !mem::replace(&mut feed.is_touched, true) {
            self.touched.push(slot);
        }
    }

    /// Takes the next feed with something to tell.
    pub(super) fn take_touched(&mut self) -> Vec<u32> {
        let touched = mem::take(&mut self.touched);
        for &slot in &touched {
            if let Some(feed) = self.feeds.get_mut(slot as usize) {
                feed.is_touched = false;
            }
        }
        touched
    }
}

impl Feed {
    fn put(&mut self, key: &str, listed: Listed) {
        let old = self.entries.get(key).map(|known| known.row.clone());
        let new = listed.row.clone();
        self.bytes += listed.packed.len();
        if let Some(known) = self.entries.insert(key.into(), listed) {
            self.bytes -= known.packed.len();
        }
        self.replace(old.as_ref(), Some(&new));
    }

    fn take_out(&mut self, key: &str) {
        let Some(known) = self.entries.remove(key) else { return };
        self.bytes -= known.packed.len();
        self.replace(Some(&known.row), None);
    }

    fn replace(&mut self, old: Option<&Row>, new: Option<&Row>) {
        let (shown, is_ready) = (self.shown(), self.is_ready);
        let Self { rows, entries, steps, steps_count, .. } = self;
        shown.replace(rows, old, new, |step, rank, row| {
            if !is_ready {
                return;
            }
            *steps_count += 1;
            let step = match step {
                Step::Enter => ListStep::Enter,
                Step::Update => ListStep::Update,
                Step::Leave => ListStep::Leave,
            };
            push_list_step(steps, step, rank, |out| match entries.get(row.key()) {
                Some(listed) if step != ListStep::Leave => out.extend_from_slice(&listed.packed),
                _ => EntryPacker(out).gone(row.key()),
            });
        });
    }
}

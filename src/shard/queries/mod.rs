//! Live queries: which entries of a map match, in what order, and how that changes. `docs/queries.md` says what queries mean,
//! `docs/architecture.md` (Live queries) how a change gets to those who see it.
//!
//! ```text
//!  change ─► looking.rs: who looks at it ─► kept.rs: its place among those that come first ─► watchers.rs: steps to each shard
//!            scan.rs, walk.rs: the first                                                        │
//!  subscribers ◄─ tell.rs ◄─ what is shown of one list (feeds.rs, shown.rs, rows.rs) ◄──────────┘
//! ```
//!
//! order: subscribe → tell → { looking, resume, scan } → walk → { feeds, watchers } → idle → owned → groups →
//! { index, kept, lookers, shown, returning } → rows

mod feeds;
mod groups;
mod idle;
mod index;
mod kept;
mod lookers;
mod looking;
mod owned;
mod resume;
mod returning;
mod rows;
mod scan;
mod shown;
mod subscribe;
mod tell;
mod walk;
mod watchers;

pub use subscribe::SubscribeQuery;

use feeds::QueryFeeds;
use owned::Owned;

use super::clients::Clients;
use super::maps::Maps;
use super::turn::Turn;
use crate::mesh::{OpenQuery, QueryNews, QueryRef, QuerySteps, ShardIndex};
use crate::wire::Reject;

/// See the module.
#[derive(Default)]
pub struct Queries {
    owned: Owned,
    feeds: QueryFeeds,
}

impl Queries {
    /// Subscriptions held.
    pub fn subscriptions(&self) -> usize {
        self.feeds.subscriptions.len()
    }

    /// What is kept, in bytes.
    pub const fn bytes(&self) -> usize {
        self.owned.bytes + self.feeds.bytes
    }

    /// Whether any other shard has ever asked for a query here.
    pub const fn has_watchers_elsewhere(&self) -> bool {
        self.owned.has_watchers_elsewhere()
    }

    /// Whether a scan is under way, or rows are to be told to other shards.
    pub fn has_scans(&self) -> bool {
        self.owned.has_work()
    }

    /// Another shard asks for a query.
    pub fn open(&mut self, turn: &mut Turn, maps: &mut Maps, from: ShardIndex, open: OpenQuery) {
        self.owned.open(turn, maps, from, open);
    }

    /// Another shard needs a query no more.
    pub fn close(&mut self, turn: &mut Turn, maps: &mut Maps, of: (ShardIndex, &str), feed: QueryRef) {
        self.owned.close(turn, maps, of, feed);
    }

    /// What waited for a map goes on.
    pub fn map_released(&mut self, turn: &Turn, maps: &Maps, map: &str) {
        self.owned.map_released(turn, maps, map);
    }

    /// What waited for a map has waited in vain.
    pub fn map_refused(&mut self, turn: &mut Turn, maps: &mut Maps, map: &str, reject: Reject) {
        self.owned.map_refused(turn, maps, (map, reject));
    }

    /// All maps were dropped.
    pub fn clear(&mut self) {
        self.owned.clear();
    }

    /// Another owner has told what becomes of a query.
    pub fn news_arrived(&mut self, turn: &mut Turn, owner: ShardIndex, news: QueryNews<QuerySteps<'_>>) {
        self.feeds.news_arrived(turn, owner, news);
    }

    /// Looks at what has changed and was told.
    pub fn look(&mut self, turn: &mut Turn, maps: &mut Maps) {
        while let Some(batch) = maps.take_queried() {
            self.owned.take_batch(turn, maps, &batch);
            maps.recycle_batch(batch);
        }
    }

    /// Looks at what has changed, goes on with scans unless the shard `is_quiet`, and tells everybody.
    pub fn end_turn(&mut self, turn: &mut Turn, clients: &mut Clients, maps: &mut Maps, is_quiet: bool) {
        self.look(turn, maps);
        if !is_quiet {
            self.owned.run(turn, maps);
        }
        self.feeds.free_unused(turn);
        self.owned.flush(turn);
        for news in self.owned.take_own_news() {
            let QueryNews { feed, standing, .. } = news;
            let news = QueryNews { feed, steps: QuerySteps(&news.steps), standing };
            self.feeds.news_arrived(turn, turn.index, news);
        }
        self.tell(turn, clients, maps);
    }
}

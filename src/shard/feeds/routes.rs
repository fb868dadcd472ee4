//! Which feeds of a map a key concerns. They are found by the key, so that a change costs those that are told of it, however
//! many other filters subscribers of its map have.
//!
//! ```text
//!  key ─► hash ───────────────────────► feeds of these keys
//!      └► hash of each of its beginnings that is as long as some prefix ─► the feeds of that prefix
//! ```
//! A view whose keys all begin with certain texts has these for prefixes. One that may show any key is asked about each change.
//!
//! Invariant: every feed is in exactly one of the tables, for its whole life, and found once for a key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};

use super::FeedSlot;
use crate::auth::rules::Parts;
use crate::mesh::Filter;
use crate::shard::maps::MapSlot;

/// See the module.
#[derive(Default)]
pub struct Routes {
    maps: HashMap<MapSlot, OfMap>,
    /// Hashes of map and key, and who wants it.
    keys: BTreeSet<(u64, FeedSlot)>,
    prefixes: HashTable<Route>,
}

/// What kinds of feeds a map has.
#[derive(Default)]
struct OfMap {
    /// That of all its keys.
    all: Option<FeedSlot>,
    /// Feeds of keys.
    keyed: usize,
    /// Feeds of all its keys, of which a view shows some.
    viewed: Vec<FeedSlot>,
    /// Feeds with views that look at values.
    looking: usize,
    /// How long prefixes are, and how many feeds have one of that length.
    lengths: BTreeMap<usize, usize>,
}

/// A prefix.
struct Route {
    hash: u64,
    map: MapSlot,
    feed: FeedSlot,
    prefix: Box<str>,
}

/// A feed, and what it is for. `seed` is the hash of its map.
#[derive(Clone, Copy)]
pub struct Routed<'a> {
    pub map: MapSlot,
    pub seed: u64,
    pub feed: FeedSlot,
    pub filter: Option<&'a Arc<Filter>>,
    pub view: Option<&'a Arc<Parts>>,
}

impl<'a> Routed<'a> {
    /// With what all of its keys begin, if that is how they are found.
    fn prefixes(&self) -> Option<Vec<&'a str>> {
        match (self.filter.map(|filter| &**filter), self.view) {
            (Some(Filter::Prefix(prefix)), _) => Some(vec![prefix]),
            (None, Some(view)) => view.key_beginnings(),
            _ => None,
        }
    }

    fn looks_at_values(&self) -> bool {
        self.view.is_some_and(|view| view.need_values())
    }
}

impl Routes {
    pub fn insert(&mut self, routed: Routed<'_>) {
        let Routed { map, seed, feed, filter, view } = routed;
        let of_map = self.maps.entry(map).or_default();
        of_map.looking += usize::from(routed.looks_at_values());
        if let Some(Filter::Keys(keys)) = filter.map(|filter| &**filter) {
            of_map.keyed += 1;
            self.keys.extend(keys.iter().map(|&(_, hash)| (hash, feed)));
            return;
        }
        let Some(prefixes) = routed.prefixes() else {
            match view {
                None => of_map.all = Some(feed),
                Some(_) => of_map.viewed.push(feed),
            }
            return;
        };
        for prefix in prefixes {
            *of_map.lengths.entry(prefix.len()).or_default() += 1;
            let hash = Beginning::hash_of(seed, prefix);
            let route = Route { hash, map, feed, prefix: prefix.into() };
            self.prefixes.insert_unique(hash, route, |route| route.hash);
        }
    }

    pub fn remove(&mut self, routed: Routed<'_>) {
        let Routed { map, seed, feed, filter, view } = routed;
        let Some(of_map) = self.maps.get_mut(&map) else { return };
        of_map.looking -= usize::from(routed.looks_at_values());
        if let Some(Filter::Keys(keys)) = filter.map(|filter| &**filter) {
            of_map.keyed -= 1;
            for &(_, hash) in keys {
                self.keys.remove(&(hash, feed));
            }
        } else if let Some(prefixes) = routed.prefixes() {
            for prefix in prefixes {
                of_map.lose_length(prefix.len());
                let is_it = |route: &Route| route.feed == feed && *route.prefix == *prefix;
                if let Ok(entry) = self.prefixes.find_entry(Beginning::hash_of(seed, prefix), is_it) {
                    entry.remove();
                }
            }
        } else if view.is_none() {
            of_map.all = None;
        } else {
            of_map.viewed.retain(|&viewed| viewed != feed);
        }
        if of_map.all.is_none() && !of_map.is_filtered() {
            self.maps.remove(&map);
        }
    }

    /// Whether any feed of a map has a view that looks at values.
    pub fn looks_at_values(&self, map: MapSlot) -> bool {
        self.maps.get(&map).is_some_and(|of_map| of_map.looking > 0)
    }

    /// The feeds of a map whose views may show any key, each by its place.
    pub fn viewed(&self, map: MapSlot, place: usize) -> Option<FeedSlot> {
        self.maps.get(&map)?.viewed.get(place).copied()
    }

    /// The feed of all keys of a map.
    pub fn of_all(&self, map: MapSlot) -> Option<FeedSlot> {
        self.maps.get(&map)?.all
    }

    /// Whether any feed of a map is for some of its keys only.
    pub fn is_filtered(&self, map: MapSlot) -> bool {
        self.maps.get(&map).is_some_and(OfMap::is_filtered)
    }

    /// Calls `found` with each feed of a map whose prefix the key begins with, or that may name it: two keys may have the same
    /// hash. How often something was looked up: no more than the key is long, and once.
    pub fn find(
        &self,
        (map, seed): (MapSlot, u64),
        (key, hash): (&[u8], u64),
        mut found: impl FnMut(FeedSlot),
    ) -> usize {
        let Some(of_map) = self.maps.get(&map) else { return 0 };
        let mut lookups = 0;
        if of_map.keyed > 0 {
            lookups += 1;
            self.keys.range((hash, 0)..=(hash, FeedSlot::MAX)).for_each(|&(_, feed)| found(feed));
        }
        let (mut beginning, mut seen) = (Beginning::of(seed), 0);
        for &len in of_map.lengths.keys().take_while(|&&len| len <= key.len()) {
            beginning.extend(&key[seen..len]);
            seen = len;
            lookups += 1;
            let is_it = |route: &&Route| route.map == map && route.prefix.as_bytes() == &key[..len];
            let routes = self.prefixes.iter_hash(beginning.hash());
            routes.filter(is_it).for_each(|route| found(route.feed));
        }
        lookups
    }
}

impl OfMap {
    fn is_filtered(&self) -> bool {
        self.keyed > 0 || !self.lengths.is_empty() || !self.viewed.is_empty()
    }

    fn lose_length(&mut self, len: usize) {
        if let Some(count) = self.lengths.get_mut(&len) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&len);
            }
        }
    }
}

/// The hash of the beginning of a key, which grows byte by byte: that of every beginning costs one pass over the key.
struct Beginning(u64);

impl Beginning {
    const fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn extend(&mut self, bytes: &[u8]) {
        // FNV-1a from a secret, with a wider multiplier (that of SplitMix64), and a rotation so that high bits come back down.
        self.0 = bytes.iter().fold(self.0, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0xBF58_476D_1CE4_E5B9).rotate_left(23)
        });
    }

    const fn hash(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn hash_of(seed: u64, prefix: &str) -> u64 {
        let mut beginning = Self::of(seed);
        beginning.extend(prefix.as_bytes());
        beginning.hash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Identity;
    use crate::auth::rules::{Action, Rules, View};
    use crate::mesh::KeyHasher;

    const FILTERS: u32 = 10_000;

    struct World {
        routes: Routes,
        hasher: KeyHasher,
        filters: Vec<(MapSlot, Option<Arc<Filter>>)>,
    }

    impl World {
        fn key_hash(&self, map: MapSlot, key: &str) -> u64 {
            self.hasher.key(self.seed(map), key)
        }

        fn seed(&self, map: MapSlot) -> u64 {
            self.hasher.map(&map.to_string())
        }

        fn routed(&self, feed: FeedSlot) -> Routed<'_> {
            let (map, filter) = &self.filters[feed as usize];
            Routed { map: *map, seed: self.seed(*map), feed, filter: filter.as_ref(), view: None }
        }

        fn add(&mut self, map: MapSlot, filter: Option<Filter>) -> FeedSlot {
            let feed = self.filters.len() as FeedSlot;
            self.filters.push((map, filter.map(Arc::new)));
            let mut routes = std::mem::take(&mut self.routes);
            routes.insert(self.routed(feed));
            self.routes = routes;
            feed
        }

        fn keys(&mut self, map: MapSlot, keys: &[&str]) -> FeedSlot {
            let seed = self.seed(map);
            let hasher = self.hasher;
            self.add(map, Some(Filter::keys(keys.iter().copied(), |key| hasher.key(seed, key))))
        }

        fn prefix(&mut self, map: MapSlot, prefix: &str) -> FeedSlot {
            self.add(map, Some(Filter::Prefix(prefix.into())))
        }

        fn remove(&mut self, feed: FeedSlot) {
            let mut routes = std::mem::take(&mut self.routes);
            routes.remove(self.routed(feed));
            self.routes = routes;
        }

        fn found(&self, map: MapSlot, key: &str) -> (Vec<FeedSlot>, usize) {
            let mut found = Vec::new();
            let hash = self.key_hash(map, key);
            let lookups =
                self.routes.find((map, self.seed(map)), (key.as_bytes(), hash), |feed| found.push(feed));
            found.sort_unstable();
            (found, lookups)
        }
    }

    fn world() -> World {
        World { routes: Routes::default(), hasher: KeyHasher::new(3), filters: Vec::new() }
    }

    #[test]
    fn a_key_finds_its_feeds_among_ten_thousand_with_a_few_lookups() {
        let mut world = world();
        for n in 0..FILTERS {
            world.prefix(1, &format!("user:{n:05}:"));
            world.keys(1, &[&format!("order:{n:05}"), "shared"]);
        }
        let all = world.add(1, None);
        assert_eq!(world.found(1, "user:00700:name"), (vec![2 * 700], 2));
        assert_eq!(world.found(1, "order:00700"), (vec![2 * 700 + 1], 2), "it is as long as a prefix");
        assert_eq!(world.found(1, "nobody"), (vec![], 1));
        assert_eq!(world.found(1, "shared").0.len(), FILTERS as usize);
        assert_eq!(world.found(2, "user:00700:name"), (vec![], 0), "of another map");
        assert_eq!((world.routes.of_all(1), world.routes.of_all(2)), (Some(all), None));
        for feed in 0..=all {
            world.remove(feed);
        }
        let Routes { maps, keys, prefixes } = &world.routes;
        assert!(maps.is_empty() && keys.is_empty() && prefixes.is_empty(), "nothing is left behind");
    }

    #[test]
    fn every_prefix_of_a_key_is_found_and_one_that_ends_later_is_not() {
        let mut world = world();
        let key = "é".repeat(100);
        let beginnings: Vec<&str> = (0..=100).map(|len| &key[..2 * len]).collect();
        let feeds: Vec<FeedSlot> = beginnings.iter().map(|prefix| world.prefix(1, prefix)).collect();
        let other = world.prefix(2, "é");
        assert_eq!(world.found(1, &key), (feeds.clone(), 101));
        assert_eq!(world.found(1, "éé").0, feeds[..3]);
        assert_eq!(world.found(2, "éé"), (vec![other], 1));
        world.remove(feeds[1]);
        assert_eq!(world.found(1, "éé"), (vec![feeds[0], feeds[2]], 2));
        assert_eq!(world.found(1, "x"), (vec![feeds[0]], 1));
    }

    /// What a rules file with these keys of a map shows to the user `u`.
    fn view(keys: &str, when: &str) -> Arc<Parts> {
        let text = format!("[[rule]]\nallow = [\"read\"]\nmaps = [\"**\"]\n{keys}when = {when:?}\n");
        let claims = serde_json::from_str(r#"{"sub":"u"}"#).unwrap();
        let identity = Identity::of_claims(&claims, "roles").unwrap();
        match Arc::new(Rules::parse(&text).unwrap()).grant(&identity).view(Action::Read, "1") {
            View::Parts(parts) => parts,
            view => panic!("{view:?}"),
        }
    }

    #[test]
    fn a_view_is_found_by_what_its_keys_begin_with_once_or_asked_about_each() {
        let mut world = world();
        let of_keys = view("keys = [\"a*\", \"ab*\", \"{user.id}:**\"]\n", "true");
        let of_values = view("", "value.n > 1");
        let prefix = world.prefix(1, "a");
        let mut routes = std::mem::take(&mut world.routes);
        let seed = world.seed(1);
        let routed = |feed, view| Routed { map: 1, seed, feed, filter: None, view: Some(view) };
        routes.insert(routed(10, &of_keys));
        routes.insert(routed(11, &of_values));
        world.routes = routes;
        assert_eq!(world.found(1, "abc").0, [prefix, 10], "another feed has the same prefix");
        assert_eq!((world.found(1, "u:1").0, world.found(1, "x").0), (vec![10], vec![]));
        assert_eq!((world.routes.viewed(1, 0), world.routes.viewed(1, 1)), (Some(11), None));
        assert!(world.routes.looks_at_values(1) && world.routes.is_filtered(1));
        let mut routes = std::mem::take(&mut world.routes);
        routes.remove(routed(11, &of_values));
        assert!(!routes.looks_at_values(1));
        routes.remove(routed(10, &of_keys));
        world.routes = routes;
        world.remove(prefix);
        let Routes { maps, keys, prefixes } = &world.routes;
        assert!(maps.is_empty() && keys.is_empty() && prefixes.is_empty(), "nothing is left behind");
    }
}

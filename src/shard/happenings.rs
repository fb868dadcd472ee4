//! What the application is told of: events of this shard on their way to the thread of the hooks.
//!
//! Invariant: nobody waits for it. What the thread has no room for is dropped, and counted. Where no hook is about an event, it
//! costs one branch.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::handover::EventsPort;
use crate::hooks::{Event, Happened, HookSet, Kind};
use crate::limits::{HOOK_CHANGED_BYTES_MAX, HOOK_CHANGED_KEYS_MAX, OWN_PREFIX};
use crate::metrics::HookMetrics;

/// See the module.
#[derive(Default)]
pub struct Happenings {
    port: Option<EventsPort>,
    /// `None`: nobody wants to hear of anything.
    wanted: Option<Arc<HookSet>>,
    wants_changes: bool,
    /// Maps that this turn has changed, and where each is.
    changed: Vec<ChangedMap>,
    places: HashMap<Arc<str>, usize>,
    has_told: bool,
    dropped: u64,
}

/// Keys that have changed since the last event of this map.
struct ChangedMap {
    map: Arc<str>,
    is_wanted: bool,
    keys: Vec<Box<str>>,
    bytes: usize,
}

impl Happenings {
    pub fn connect(&mut self, port: EventsPort) {
        self.port = Some(port);
    }

    /// What the thread counts, if there is one.
    pub fn metrics(&self) -> Option<&HookMetrics> {
        self.port.as_ref().map(|port| &*port.metrics)
    }

    /// From now on these hooks are in force.
    pub fn want(&mut self, hooks: Option<&Arc<HookSet>>) {
        self.wanted = hooks.filter(|_| self.port.is_some()).cloned();
        self.wants_changes = self.wants(Kind::Changed);
    }

    /// Whether any hook is about events of this kind.
    #[inline]
    pub fn wants(&self, kind: Kind) -> bool {
        self.wanted.as_ref().is_some_and(|hooks| hooks.wants_any(kind))
    }

    /// Whether any hook is about such an event.
    #[inline]
    pub fn hears(&self, kind: Kind, name: &str) -> bool {
        self.wanted.as_ref().is_some_and(|hooks| hooks.wants(kind, name))
    }

    /// Tells the application of something that has happened, if it wants to hear of it.
    pub fn tell(&mut self, unix_ms: u64, what: Happened) {
        let Some(hooks) = &self.wanted else { return };
        if hooks.wants(what.kind(), what.name()) {
            self.push(unix_ms, what);
        }
    }

    /// Whether any hook is about changes.
    #[inline]
    pub const fn wants_changes(&self) -> bool {
        self.wants_changes
    }

    /// Takes note that a key has changed.
    pub fn changed(&mut self, unix_ms: u64, map: &Arc<str>, key: &str) {
        let place = self.place(map);
        let changed = &mut self.changed[place];
        // Often the same key follows itself.
        if !changed.is_wanted || changed.keys.last().is_some_and(|last| **last == *key) {
            return;
        }
        changed.bytes += key.len();
        changed.keys.push(key.into());
        if changed.keys.len() >= HOOK_CHANGED_KEYS_MAX || changed.bytes >= HOOK_CHANGED_BYTES_MAX / 2 {
            changed.bytes = 0;
            let keys = std::mem::take(&mut changed.keys);
            self.push(unix_ms, Happened::Changed { map: Arc::clone(map), keys });
        }
    }

    fn place(&mut self, map: &Arc<str>) -> usize {
        if let Some(last) = self.changed.last()
            && Arc::ptr_eq(&last.map, map)
        {
            return self.changed.len() - 1;
        }
        if let Some(&place) = self.places.get(map) {
            return place;
        }
        // What the server keeps for itself is nobody's business.
        let is_own = map.starts_with(OWN_PREFIX);
        let is_wanted = !is_own && self.wanted.as_ref().is_some_and(|hooks| hooks.wants(Kind::Changed, map));
        let place = self.changed.len();
        self.changed.push(ChangedMap { map: Arc::clone(map), is_wanted, keys: Vec::new(), bytes: 0 });
        self.places.insert(Arc::clone(map), place);
        place
    }

    fn push(&mut self, unix_ms: u64, what: Happened) {
        let Some(port) = &mut self.port else { return };
        let is_taken = port.push(Event { unix_ms, what });
        self.has_told |= is_taken;
        self.dropped += u64::from(!is_taken);
    }

    /// Tells what the turn has changed. Events that were dropped since the last time, and whether the thread is to be woken.
    pub fn flush(&mut self, unix_ms: u64) -> (u64, bool) {
        if !self.changed.is_empty() {
            self.places.clear();
            for ChangedMap { map, keys, .. } in std::mem::take(&mut self.changed) {
                if !keys.is_empty() {
                    self.push(unix_ms, Happened::Changed { map, keys });
                }
            }
        }
        (std::mem::take(&mut self.dropped), std::mem::take(&mut self.has_told))
    }
}

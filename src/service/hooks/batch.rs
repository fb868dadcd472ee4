//! Events as they are sent.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::hooks::{Event, Happened, subject_token};
use crate::limits::{HOOK_CHANGED_BYTES_MAX, HOOK_CHANGED_KEYS_MAX};

/// One event, made once for all who hear of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Encoded {
    pub id: Box<str>,
    pub unix_ms: u64,
    /// What follows in subjects of NATS: the kind, and the name as one token.
    pub subject: Box<str>,
    pub json: Vec<u8>,
}

impl Encoded {
    pub fn new(event: &Event, id: String) -> Self {
        let subject = format!("{}.{}", event.what.kind().name(), subject_token(event.what.name()));
        Self { unix_ms: event.unix_ms, subject: subject.into(), json: event.encode(&id), id: id.into() }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.id.len() + self.subject.len() + self.json.len()
    }
}

/// Events as a JSON array.
pub fn array(events: &[Rc<Encoded>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + events.iter().map(|event| event.json.len() + 1).sum::<usize>());
    out.push(b'[');
    for (place, event) in events.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&event.json);
    }
    out.push(b']');
    out
}

/// Changes of maps, gathered so that a map is one event in a batch.
#[derive(Default)]
pub struct Changes {
    maps: HashMap<Arc<str>, Changed>,
}

struct Changed {
    unix_ms: u64,
    keys: BTreeSet<Box<str>>,
    bytes: usize,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }

    /// Adds keys of a map. What is complete by that: an event has a bound.
    pub fn add(&mut self, unix_ms: u64, map: Arc<str>, keys: Vec<Box<str>>) -> Option<Event> {
        let begun = || Changed { unix_ms, keys: BTreeSet::new(), bytes: 0 };
        let changed = self.maps.entry(Arc::clone(&map)).or_insert_with(begun);
        for key in keys {
            let bytes = key.len();
            changed.bytes += if changed.keys.insert(key) { bytes } else { 0 };
        }
        let is_full = changed.keys.len() >= HOOK_CHANGED_KEYS_MAX || changed.bytes >= HOOK_CHANGED_BYTES_MAX;
        is_full.then(|| self.maps.remove(&map).map(|changed| changed.event(map))).flatten()
    }

    /// Takes everything.
    pub fn take(&mut self) -> impl Iterator<Item = Event> + use<> {
        std::mem::take(&mut self.maps).into_iter().map(|(map, changed)| changed.event(map))
    }
}

impl Changed {
    fn event(self, map: Arc<str>) -> Event {
        let keys = self.keys.into_iter().collect();
        Event { unix_ms: self.unix_ms, what: Happened::Changed { map, keys } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(event: &Event) -> usize {
        let Happened::Changed { keys, .. } = &event.what else { panic!("a change") };
        keys.len()
    }

    #[test]
    fn a_map_is_one_event_with_each_key_once_until_it_is_full() {
        let mut changes = Changes::default();
        assert_eq!(changes.add(1, "m".into(), vec!["a".into(), "b".into()]), None);
        assert_eq!(changes.add(2, "m".into(), vec!["b".into()]), None);
        assert_eq!(changes.add(3, "n".into(), vec!["b".into()]), None);
        let mut taken: Vec<Event> = changes.take().collect();
        taken.sort_by_key(|event| event.unix_ms);
        assert_eq!(
            taken.iter().map(|event| (event.unix_ms, keys(event))).collect::<Vec<_>>(),
            [(1, 2), (3, 1)]
        );
        let many = (0..HOOK_CHANGED_KEYS_MAX).map(|number| number.to_string().into()).collect();
        let full = changes.add(4, "m".into(), many).expect("it is full");
        assert!(keys(&full) == HOOK_CHANGED_KEYS_MAX && changes.is_empty());
    }
}

//! What a client has that merges what it is told, as `docs/protocol.md` says.

use std::collections::{BTreeMap, BTreeSet};

/// What a client has of one map.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    values: BTreeMap<String, (u64, Option<String>)>,
    counts: BTreeMap<String, String>,
    tags: BTreeMap<(String, String), String>,
    removed: BTreeSet<(String, String)>,
    /// What the snapshot under way has brought.
    snapshot: Option<Box<Self>>,
    /// Snapshots that were complete, and that began anew.
    pub snapshots: u32,
    pub resets: u32,
    pub cursor: Option<String>,
}

/// One entry, by what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Value {
        key: String,
        stamp: u64,
        value: Option<String>,
    },
    /// `None`: gone.
    Count {
        key: String,
        count: Option<String>,
    },
    Tag {
        key: String,
        tag: String,
        value: String,
    },
    Removed {
        key: String,
        tag: String,
    },
}

impl Told {
    /// What a word of an entry says.
    pub fn of(word: &str) -> Self {
        if let Some((entry, stamp)) = word.rsplit_once('#') {
            let (key, value) = entry.split_once('=').unwrap();
            let value = (!value.is_empty()).then(|| value.to_owned());
            return Self::Value { key: key.to_owned(), stamp: stamp.parse().unwrap(), value };
        }
        let at = word.find(['+', '-', '=']).unwrap();
        let (key, rest) = (word[..at].to_owned(), &word[at + 1..]);
        match &word[at..=at] {
            "=" => Self::Count { key, count: (!rest.is_empty()).then(|| rest.to_owned()) },
            "-" => Self::Removed { key, tag: rest.to_owned() },
            _ => {
                let (tag, value) = rest.split_once('=').unwrap();
                Self::Tag { key, tag: tag.to_owned(), value: value.to_owned() }
            }
        }
    }
}

/// The entries of a snapshot, a change or an answer.
pub fn entries(text: &str) -> Vec<Told> {
    let is_entry = |word: &&str| !word.starts_with('^') && word.contains(['=', '+', '-']);
    text.split(' ').skip(2).filter(is_entry).map(Told::of).collect()
}

impl Replica {
    /// Takes one message in.
    pub fn take(&mut self, text: &str) {
        let entries = entries(text);
        entries.iter().for_each(|told| self.merge(told));
        let words: Vec<&str> = text.split(' ').collect();
        if words[0] != "snapshot" {
            return;
        }
        let snapshot = self.snapshot.get_or_insert_default();
        entries.iter().for_each(|told| snapshot.merge(told));
        if words[2] != "last" {
            return;
        }
        let snapshot = self.snapshot.take().unwrap();
        self.snapshots += 1;
        if words.get(3) == Some(&"reset") {
            let (snapshots, resets) = (self.snapshots, self.resets + 1);
            *self = Self { snapshots, resets, ..*snapshot };
        }
        self.cursor = words.last().and_then(|word| word.strip_prefix('^')).map(str::to_owned);
    }

    /// Its connection has ended. What it has been told of a snapshot without the end of it belongs to no cursor that it has, and
    /// may be of another view.
    pub fn break_off(&mut self) {
        if self.snapshot.take().is_some() {
            *self = Self::default();
        }
    }

    fn merge(&mut self, told: &Told) {
        match told.clone() {
            Told::Value { key, stamp, value } => {
                let new = (stamp, value.is_none(), value.clone());
                let is_newer = self
                    .values
                    .get(&key)
                    .is_none_or(|(stamp, value)| new > (*stamp, value.is_none(), value.clone()));
                if is_newer {
                    self.values.insert(key, (stamp, value));
                }
            }
            Told::Count { key, count: Some(count) } => drop(self.counts.insert(key, count)),
            Told::Count { key, count: None } => drop(self.counts.remove(&key)),
            Told::Tag { key, tag, value } => {
                if !self.removed.contains(&(key.clone(), tag.clone())) {
                    self.tags.insert((key, tag), value);
                }
            }
            Told::Removed { key, tag } => {
                self.tags.remove(&(key.clone(), tag.clone()));
                self.removed.insert((key, tag));
            }
        }
    }

    /// What its user sees: values by key, and by key and tag.
    pub fn visible(&self) -> BTreeMap<(String, String), String> {
        let values = self.values.iter().filter_map(|(key, (_, value))| Some((key, value.clone()?)));
        let counts = self.counts.iter().map(|(key, count)| (key, count.clone()));
        let of_keys = values.chain(counts).map(|(key, value)| ((key.clone(), String::new()), value));
        of_keys.chain(self.tags.clone()).collect()
    }
}

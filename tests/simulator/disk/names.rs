//! The names of files. Creating, renaming and removing are certain to survive a power cut once their folder is
//! synced.

use std::collections::BTreeMap;

use crate::random::Random;

#[derive(Clone, Debug)]
enum Change {
    Link(String, u64),
    Unlink(String),
    Rename(String, String, u64),
}

/// See the module.
#[derive(Default)]
pub struct Names {
    live: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    /// By folder, oldest first.
    pending: BTreeMap<String, Vec<Change>>,
}

impl Names {
    pub fn find(&self, name: &str) -> Option<u64> {
        self.live.get(name).copied()
    }

    /// The inodes that have a name.
    pub fn live(&self) -> impl Iterator<Item = u64> {
        self.live.values().copied()
    }

    /// The names of the files in a folder, without it.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let here = |name: &&String| folder_of(name) == folder;
        let last = |name: &String| name.rsplit('/').next().unwrap_or(name).to_owned();
        self.live.keys().filter(here).map(last).collect()
    }

    pub fn link(&mut self, name: &str, inode: u64) {
        self.change(Change::Link(name.to_owned(), inode));
    }

    pub fn unlink(&mut self, name: &str) {
        self.change(Change::Unlink(name.to_owned()));
    }

    pub fn rename(&mut self, from: &str, to: &str, inode: u64) {
        self.change(Change::Rename(from.to_owned(), to.to_owned(), inode));
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.live, &change);
        let (Change::Link(name, _) | Change::Unlink(name) | Change::Rename(name, ..)) = &change;
        self.pending.entry(folder_of(name).to_owned()).or_default().push(change);
    }

    pub fn sync(&mut self, folder: &str) {
        for change in self.pending.remove(folder).unwrap_or_default() {
            apply(&mut self.durable, &change);
        }
    }

    /// Of the changes of each folder none may have arrived, or those up to some moment, or just any.
    pub fn lose_power(&mut self, random: &mut Random) {
        for changes in std::mem::take(&mut self.pending).into_values() {
            let mode = random.below(3);
            let first = random.below(changes.len() + 1);
            for (place, change) in changes.iter().enumerate() {
                let has_arrived = match mode {
                    0 => false,
                    1 => place < first,
                    _ => random.per_mille(500),
                };
                if has_arrived {
                    apply(&mut self.durable, change);
                }
            }
        }
        self.live = self.durable.clone();
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: &Change) {
    match change {
        Change::Link(name, inode) => drop(names.insert(name.clone(), *inode)),
        Change::Unlink(name) => drop(names.remove(name)),
        Change::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
    }
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

//! Readers of the property: who they are, who they have been, and what that makes of what they are told.

use std::collections::BTreeSet;

use crate::host::{ALL, auth};
use crate::naive::{Doing, Rules, Who};
use crate::property::{MAPS, Run, Seen};
use crate::replica::Replica;
use crate::world::Client;

/// A subscriber to one map.
pub struct Reader {
    pub client: Client,
    pub map: usize,
    /// `None`: one who may do everything.
    pub who: Option<Who>,
    /// By which rules it is told, by their number, and who it is to them: now, and since it had last taken everything.
    pub had: BTreeSet<(usize, Who)>,
    pub prefix: &'static str,
    pub replica: Replica,
    pub is_stalled: bool,
    /// It has been told that it may see nothing of its map.
    pub is_out: bool,
}

impl Reader {
    /// Other rules come into force; `is_quiet`: they are, and all that was under way before has been told.
    pub fn rules_change(&mut self, number: usize, is_quiet: bool) {
        let Some(who) = self.who.filter(|_| !self.is_out) else { return };
        if is_quiet && !self.is_stalled {
            self.had = BTreeSet::from([(number, who)]);
            return;
        }
        // The server may know it yet by another token.
        let by_others: Vec<_> = self.had.iter().map(|&(_, who)| (number, who)).collect();
        self.had.extend(by_others);
    }

    /// Takes one message in, the entries of which are allowed.
    pub fn take(&mut self, text: &str, rules: &[Rules], seen: &mut Seen) {
        if text == "authenticated" {
            return;
        }
        if text == "rejected forbidden" || text == format!("forbidden {}", MAPS[self.map]) {
            let may = |&(number, _): &(usize, Who)| rules[number].allow(Doing::Subscribing);
            assert!(!self.had.iter().all(may), "{:?} may see something of {}", self.had, MAPS[self.map]);
            // Nothing may be told after that.
            (self.is_out, self.had, self.replica) = (true, BTreeSet::new(), Replica::default());
            seen.out += 1;
            return;
        }
        self.replica.take(text);
    }
}

impl Run {
    pub fn join(&mut self) {
        let (map, who) = (self.random.below(MAPS.len()), Who::random(&mut self.random));
        let prefix = self.random.pick(&["", "", "u"]);
        self.subscribe(map, Some(who), prefix, Replica::default());
    }

    pub fn subscribe(&mut self, map: usize, who: Option<Who>, prefix: &'static str, since: Replica) {
        let shard = self.random.below(self.host.nodes.len());
        let client = self.host.connect(shard, &who.map_or(ALL.to_owned(), Who::token));
        self.settle();
        let filter = if prefix.is_empty() { String::new() } else { format!(" prefix {prefix}") };
        let from = since.cursor.as_ref().map_or_else(String::new, |cursor| format!(" since {cursor}"));
        let had: BTreeSet<_> = who.into_iter().map(|who| (self.rules.len() - 1, who)).collect();
        self.host.send(client, &format!("subscribe {}{filter}{from}", MAPS[map]));
        self.readers.push(Reader {
            client,
            map,
            who,
            had,
            prefix,
            replica: since,
            is_stalled: false,
            is_out: false,
        });
    }

    /// A reader comes back with what it had last, with another token perhaps.
    pub fn leave(&mut self, seed: u64, reader: usize) {
        self.take(seed);
        let Reader { client, map, who, prefix, mut replica, .. } = self.readers.swap_remove(reader);
        self.host.fail(client);
        let is_other = self.random.per_mille(300);
        let who = who.map(|who| if is_other { who.changed(&mut self.random) } else { who });
        replica.break_off();
        self.subscribe(map, who, prefix, replica);
    }

    /// A reader shows another token. If it takes what it is sent, it is told nothing from here on that only who it was might see.
    pub fn change_view(&mut self, seed: u64, reader: usize) {
        let Reader { client, is_stalled, is_out, who, .. } = self.readers[reader];
        let Some(who) = who.map(|who| who.changed(&mut self.random)) else { return };
        let now = (self.rules.len() - 1, who);
        if !is_stalled {
            self.settle();
            self.take(seed);
        }
        self.host.send(client, &auth(&who.token()));
        let reader = &mut self.readers[reader];
        reader.who = Some(who);
        if is_out {
            return;
        }
        reader.had.insert(now);
        if !is_stalled {
            reader.had = BTreeSet::from([now]);
            // The token is read in the first, and in the end of the second the view is another.
            (0..2).for_each(|_| self.host.turn());
        }
    }
}

//! Those of the property who write and read what their grants say.

use crate::host::auth;
use crate::naive::{Doing, Who};
use crate::property::{CHANGING, KEYS, MAPS, Run};
use crate::world::Client;

/// One who writes and reads what its grant says, and how often it was refused and is to be.
pub struct Guarded {
    pub client: Client,
    pub who: Who,
    pub refused: usize,
    pub is_to_be_refused: usize,
}

impl Run {
    /// Begins something of one who is guarded, by rules that are in force by then.
    fn ask_guarded(&mut self) -> usize {
        if self.are_rules_new {
            self.settle();
        }
        self.is_asking = true;
        self.random.below(self.guarded.len())
    }

    /// What is refused is in no history, so that nobody may be told of it.
    pub fn write_guarded(&mut self) {
        let (map, key) = (self.random.below(MAPS.len()), self.random.pick(CHANGING));
        let by = self.random.between(0, 6) as i64 - 2;
        let value = if map == 2 { by.to_string() } else { self.value() };
        if map == 2 {
            // Sums in between are known where nobody else counts.
            self.settle();
        }
        let index = self.ask_guarded();
        let tag = self.new_tag();
        let Guarded { client, who, .. } = self.guarded[index];
        let may = self.in_force().seen(Doing::Writing, who, key, Some(&value)).is_some();
        match map {
            _ if !may => self.guarded[index].is_to_be_refused += 1,
            0 => self.remember(map, key, "", &value),
            1 => self.remember(map, key, &tag, &value),
            _ => self.counted(key, by),
        }
        self.seen.written += usize::from(may);
        let text = match map {
            0 => format!("set {} {key} {value}", MAPS[map]),
            1 => format!("add {} {key} {tag} {value}", MAPS[map]),
            _ => format!("count {} {key} {value}", MAPS[map]),
        };
        self.host.send(client, &text);
        if map == 2 {
            self.settle();
        }
    }

    pub fn read_guarded(&mut self) {
        let (index, map) = (self.ask_guarded(), self.random.below(MAPS.len()));
        let is_refused = !self.in_force().allow(Doing::Reading);
        self.guarded[index].is_to_be_refused += usize::from(is_refused);
        self.host.send(self.guarded[index].client, &format!("read {} {}", MAPS[map], KEYS.join(",")));
    }

    pub fn renew_guarded(&mut self, seed: u64) {
        self.settle();
        self.take(seed);
        let index = self.random.below(self.guarded.len());
        let Guarded { client, who, .. } = &mut self.guarded[index];
        *who = who.changed(&mut self.random);
        self.host.send(*client, &auth(&who.token()));
        self.settle();
    }
}

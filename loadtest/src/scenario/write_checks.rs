//! What `write` is owed beside its acks: the echo of every operation in a dialect that sends it, and at the end that
//! the maps hold what was acked.
//!
//! The maps are read in the native dialect, whatever they were written in: a SyncKit document is a map.

use crate::failure::Failure;
use crate::fleet::Wire;
use crate::json;
use crate::message::{Message, Request, key_number};
use crate::value::{Stamp, Values};

/// Where each writer writes.
pub struct Places {
    /// One for all writers, or one for each.
    pub maps: Vec<String>,
    /// `c<writer>-`, by writer.
    pub prefixes: Vec<String>,
}

impl Places {
    pub fn map(&self, writer: usize) -> &str {
        &self.maps[writer % self.maps.len()]
    }

    /// The writers of a map.
    pub fn writers(&self, map: usize) -> impl Iterator<Item = usize> {
        (map..self.prefixes.len()).step_by(self.maps.len())
    }
}

/// Keys read back from each end of what a writer wrote: no more than 1000 fit in one read.
const READ_BACK_MAX: u64 = 500;

/// Echoes one writer has had: that each came once is known from how many came and what their numbers add up to.
#[derive(Default)]
pub struct Echoes {
    count: u64,
    sum: u128,
}

impl Echoes {
    /// Takes the echo of operation `sequence`. `sent`: operations sent so far.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for one that was never sent; [`Failure::Duplicated`] when one came twice, noticed when as many
    /// came as were sent.
    pub fn accept(&mut self, sequence: u64, sent: u64) -> Result<(), Failure> {
        if sequence >= sent {
            return Err(Failure::Wrong(format!("the echo of operation {sequence} came before it was sent")));
        }
        self.count += 1;
        self.sum += u128::from(sequence);
        let all = u128::from(sent) * u128::from(sent - 1) / 2;
        if self.count > sent || (self.count == sent && self.sum != all) {
            return Err(Failure::Duplicated(format!(
                "among the echoes of {sent} operations, up to {sequence}, one came twice"
            )));
        }
        Ok(())
    }
}

/// Checks the maps after the end.
pub struct Proof {
    request: Request,
    /// The connection that asks for all writers; `None`: each writer asks for itself.
    prover: Option<usize>,
    /// By writer: sequences that were asked for and have not come.
    reading: Vec<Vec<u64>>,
    pub is_under_way: bool,
    /// Operations whose keys were read after the end and held what was written.
    pub read_back: u64,
}

impl Proof {
    pub fn new(writers: usize, prover: Option<usize>) -> Self {
        Self {
            request: Request::default(),
            prover,
            reading: vec![Vec::new(); writers],
            is_under_way: false,
            read_back: 0,
        }
    }

    /// Whether this connection speaks the native dialect for this purpose only.
    pub fn is_prover(&self, connection: usize) -> bool {
        self.prover == Some(connection)
    }

    /// Asks for the first and last of the operations of a writer, `each_end` of each as far as they fit in one read.
    /// `total`: how many there are, at least one.
    pub fn ask_read_back(
        &mut self,
        wire: &mut Wire<'_>,
        places: &Places,
        writer: usize,
        each_end: u64,
        total: u64,
    ) {
        let each_end = each_end.min(READ_BACK_MAX).min(total);
        let reading = &mut self.reading[writer];
        *reading = (0..each_end).chain(total - each_end..total).collect();
        reading.sort_unstable();
        reading.dedup();
        let (map, prefix) = (places.map(writer), places.prefixes[writer].as_str());
        let text = self.request.read(writer as u64, map, prefix, reading.iter().copied());
        wire.send(self.prover.unwrap_or(writer), text);
    }

    /// # Errors
    /// [`Failure::Lost`], [`Failure::Wrong`] or [`Failure::Duplicated`] for an answer that is not what was written.
    pub fn check_read_back(
        &mut self,
        message: &Message<'_>,
        places: &Places,
        values: &Values,
    ) -> Result<(), Failure> {
        let writer = message.id.map_or(usize::MAX, |id| id as usize);
        let Some(reading) = self.reading.get_mut(writer) else {
            return Err(Failure::Wrong(format!("an answer to the read {:?}", message.id)));
        };
        let (map, prefix) = (places.map(writer), places.prefixes[writer].as_str());
        let asked = reading.len();
        message.each_entry(|entry| {
            let key = key_number(entry.key, prefix)?;
            let stamp = values.read(entry.value)?;
            if stamp != (Stamp { writer: writer as u32, sequence: key }) {
                return Err(Failure::Wrong(format!("key {prefix}{key} holds the value {stamp:?}")));
            }
            let place = reading.binary_search(&key);
            place.map(|place| reading.remove(place)).map(drop).map_err(|_| {
                Failure::Duplicated(format!("key {prefix}{key} was read back twice or was not asked for"))
            })
        })?;
        if let Some(key) = reading.first() {
            let count = reading.len();
            let what = format!(
                "{count} of {asked} acked operations are not in the map {map}, the first is {prefix}{key}"
            );
            return Err(Failure::Lost(what));
        }
        self.read_back += asked as u64;
        Ok(())
    }

    /// Asks how much each map holds; returns how many answers there will be.
    pub fn ask_digests(&mut self, wire: &mut Wire<'_>, places: &Places) -> usize {
        for (number, map) in places.maps.iter().enumerate() {
            wire.send(self.prover.unwrap_or(number), self.request.digest(number as u64, map));
        }
        places.maps.len()
    }
}

/// Checks that a map holds as many entries as were acked.
///
/// # Errors
/// [`Failure::Lost`] when it does not.
pub fn check_digest(message: &Message<'_>, acked: u64) -> Result<(), Failure> {
    match json::number(message.entries) {
        Some(entries) if entries == acked => Ok(()),
        Some(entries) => Err(Failure::Lost(format!("{acked} unique keys were acked, the map has {entries}"))),
        None => Err(Failure::Wrong("a digest without a number of entries".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoes_may_come_in_any_order_but_once_each() {
        let mut echoes = Echoes::default();
        for sequence in [2, 0, 1, 4, 3] {
            echoes.accept(sequence, 5).unwrap();
        }
        assert!(matches!(echoes.accept(7, 7), Err(Failure::Wrong(_))));
        assert!(matches!(echoes.accept(1, 5), Err(Failure::Duplicated(_))));
    }

    #[test]
    fn echo_that_came_twice_in_the_place_of_another_is_noticed() {
        let mut echoes = Echoes::default();
        echoes.accept(0, 3).unwrap();
        echoes.accept(1, 3).unwrap();
        assert!(matches!(echoes.accept(1, 3), Err(Failure::Duplicated(_))));
    }
}

//! Queries over the mesh: a shard with subscribers of one asks every owner, and each tells what of its own is shown.
//!
//! ```text
//! kind u8 | PUT: applied u64, one entry ([`super::Entries`]) | OUT: key_len u16, key      steps, one after the other
//! ```

use std::sync::Arc;

use super::entry::{Entries, Entry, pack_name, take_name, take_number};
use super::{Filter, Span, SubscriptionRef};
use crate::auth::rules::Parts;
use crate::crdt::Time;
use crate::query::Query;
use crate::wire::Reject;

/// A feed of a query, on the shard of its subscribers. It may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryRef {
    pub slot: u32,
    pub serial: u32,
}

/// Tell this feed the first entries of the receiver that match, and what becomes of them.
#[derive(Clone)]
pub struct OpenQuery {
    pub feed: QueryRef,
    pub map: Arc<str>,
    pub filter: Option<Arc<Filter>>,
    /// What its subscribers may see; `None`: everything.
    pub view: Option<Arc<Parts>>,
    pub query: Arc<Query>,
}

/// Which keys of the receiver have changed since, please: a client of the sender has come back.
pub struct ChangedKeys {
    pub subscription: SubscriptionRef,
    pub map: Arc<str>,
    pub filter: Option<Arc<Filter>>,
    pub since: Time,
}

/// What an owner tells a feed.
#[derive(Clone, Copy, Debug)]
pub struct QueryNews<T> {
    pub feed: QueryRef,
    /// [`QuerySteps`].
    pub steps: T,
    pub standing: Standing,
}

/// How far the feed has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All that it is to be told. Whatever changes from now on follows in this queue.
    Complete,
    /// Some of it is yet to be found, or to be told.
    Lacking,
    /// Nothing more comes.
    Refused(Reject),
}

impl<T> QueryNews<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> QueryNews<U> {
        QueryNews { feed: self.feed, steps: change(self.steps), standing: self.standing }
    }
}

impl QueryNews<Span> {
    pub fn of(self, bytes: &[u8]) -> QueryNews<QuerySteps<'_>> {
        self.map(|steps| QuerySteps(steps.of(bytes)))
    }
}

/// What becomes of one entry of an owner.
#[derive(Clone, Copy, Debug)]
pub enum QueryStep<'a> {
    /// It is shown, as it is now.
    Put { applied: Time, entry: Entry<'a>, packed: &'a [u8] },
    /// It is shown no more.
    Out { key: &'a str },
}

const PUT: u8 = 1;
const OUT: u8 = 2;

/// Packed steps, one by one. They come from its own functions alone, so reading them cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct QuerySteps<'a>(pub &'a [u8]);

impl QuerySteps<'_> {
    /// Appends an entry that `pack` appends.
    pub fn push_put(out: &mut Vec<u8>, applied: Time, pack: impl FnOnce(&mut Vec<u8>)) {
        out.push(PUT);
        out.extend_from_slice(&applied.to_bits().to_le_bytes());
        pack(out);
    }

    pub fn push_out(out: &mut Vec<u8>, key: &str) {
        out.push(OUT);
        pack_name(key, out);
    }
}

impl<'a> Iterator for QuerySteps<'a> {
    type Item = QueryStep<'a>;

    fn next(&mut self) -> Option<QueryStep<'a>> {
        let (&kind, mut rest) = self.0.split_first()?;
        let step = if kind == PUT {
            let applied = Time::from_bits(u64::from_le_bytes(take_number(&mut rest)));
            let mut entries = Entries::new(rest);
            let entry = entries.next()?;
            let packed = &rest[..rest.len() - entries.packed().len()];
            rest = entries.packed();
            QueryStep::Put { applied, entry, packed }
        } else {
            QueryStep::Out { key: take_name(&mut rest) }
        };
        self.0 = rest;
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::{Node, Stamp};
    use crate::mesh::EntryPacker;

    #[test]
    fn steps_come_back_as_they_were_packed() {
        let at = Stamp { time: Time::new(5, 1), node: Node::new(b"n").unwrap() };
        let mut packed = Vec::new();
        QuerySteps::push_put(&mut packed, Time::new(7, 0), |out| {
            EntryPacker(out).value("a", &at, Some(b"1"))
        });
        QuerySteps::push_out(&mut packed, "é");
        QuerySteps::push_put(&mut packed, Time::new(8, 0), |out| {
            EntryPacker(out).value("b", &at, Some(b"[]"))
        });
        let read: Vec<String> = QuerySteps(&packed)
            .map(|step| match step {
                QueryStep::Put { applied, entry, packed } => {
                    format!("{} {} {}", applied.millis(), entry.key, packed.len())
                }
                QueryStep::Out { key } => key.to_owned(),
            })
            .collect();
        assert_eq!(read, ["7 a 19", "é", "8 b 20"]);
    }
}

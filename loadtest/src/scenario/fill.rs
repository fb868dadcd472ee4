//! A map with many keys, before something is measured on it, and whether somebody was sent all of it.
//!
//! Key `k<number>` holds the value of that number, so that every value can be known again without remembering any.

use std::ops::Range;

use super::setup::{Question, ask_each};
use crate::ack::AckLevel;
use crate::bench::Bench;
use crate::failure::{Failure, excerpt};
use crate::fleet::Fleet;
use crate::json;
use crate::message::{Message, Request, Set, key_number};
use crate::value::{Stamp, Values};

/// Operations of one request.
const FILL_OPS: u64 = 500;
pub const PREFIX: &str = "k";

#[derive(Clone, Copy)]
pub struct Filled<'a> {
    pub map: &'a str,
    pub values: &'a Values,
    pub keys: u64,
}

/// The value of a key.
pub fn stamp(key: u64) -> Stamp {
    Stamp { writer: 0, sequence: key }
}

/// Sets all keys, through all connections of `range` at once, and waits until all is acked.
///
/// # Errors
/// [`Failure::Refused`] or [`Failure::Weaker`] for acks that are not what was asked, or [`Failure::Timeout`].
pub fn fill(
    fleet: &mut Fleet,
    range: Range<usize>,
    filled: &Filled<'_>,
    ack: AckLevel,
    bench: &Bench,
) -> Result<(), Failure> {
    for first in (0..filled.keys).step_by(FILL_OPS as usize * range.len()) {
        let requests = (filled.keys - first).div_ceil(FILL_OPS).min(range.len() as u64) as usize;
        let some = range.start..range.start + requests;
        let mut question = Part { request: Request::asking(ack), filled, first, connection: range.start };
        // The acks of a request are kept apart by the connection that sent it.
        ask_each(fleet, some, &mut question, bench.timing.timeout_ns)?;
    }
    Ok(())
}

struct Part<'a> {
    request: Request,
    filled: &'a Filled<'a>,
    /// Key of the first operation on the first connection.
    first: u64,
    connection: usize,
}

impl Part<'_> {
    fn keys(&self, index: usize) -> Range<u64> {
        let first = self.first + (index - self.connection) as u64 * FILL_OPS;
        first..(first + FILL_OPS).min(self.filled.keys)
    }
}

impl Question for Part<'_> {
    fn ask(&mut self, index: usize) -> &[u8] {
        let keys = self.keys(index);
        let sets =
            keys.clone().map(|key| Set { map: self.filled.map, prefix: PREFIX, key, stamp: stamp(key) });
        self.request.write(keys.start, self.filled.values, sets)
    }

    fn answer(&mut self, index: usize, message: &[u8]) -> Result<bool, Failure> {
        let keys = self.keys(index);
        Message::read(message)?.expect_ack(keys.start, keys.end - keys.start, self.request.ack())?;
        Ok(true)
    }
}

/// Which keys of a filled map somebody was sent.
pub struct WholeMap {
    had: Vec<bool>,
    had_count: usize,
}

impl WholeMap {
    pub fn new(keys: u64) -> Self {
        Self { had: vec![false; keys as usize], had_count: 0 }
    }

    pub fn clear(&mut self) {
        self.had.fill(false);
        self.had_count = 0;
    }

    /// Takes the entries of one chunk; returns how many they are.
    ///
    /// # Errors
    /// [`Failure::Wrong`] for a key or value nobody wrote, [`Failure::Duplicated`] for a key that has come already.
    pub fn take(&mut self, message: &Message<'_>, values: &Values) -> Result<u64, Failure> {
        let mut count = 0;
        message.each_entry(|entry| {
            let key = key_number(entry.key, PREFIX)?;
            let found = values.read(entry.value)?;
            let had = usize::try_from(key).ok().and_then(|key| self.had.get_mut(key));
            let Some(had) = had.filter(|_| found == stamp(key)) else {
                return Err(Failure::Wrong(format!("key {key} with the value {found:?}")));
            };
            if std::mem::replace(had, true) {
                return Err(Failure::Duplicated(format!("key {key} is twice in one snapshot")));
            }
            self.had_count += 1;
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// # Errors
    /// [`Failure::Lost`] when a key has not come.
    pub fn expect_all(&self) -> Result<(), Failure> {
        let Some(key) = self.had.iter().position(|had| !had) else { return Ok(()) };
        let missing = self.had.len() - self.had_count;
        Err(Failure::Lost(format!("{missing} keys are not in the snapshot, the first is {key}")))
    }

    pub fn missing(&self) -> Failure {
        let (had, keys) = (self.had_count, self.had.len());
        Failure::Lost(format!("a snapshot stopped after {had} of {keys} keys"))
    }
}

/// Asks for the digest of a filled map and insists that it has as many entries as were acked.
pub struct AskDigest<'a> {
    request: Request,
    filled: Filled<'a>,
    /// The hash over all its cells.
    pub hash: String,
}

impl<'a> AskDigest<'a> {
    pub fn of(filled: Filled<'a>) -> Self {
        Self { request: Request::default(), filled, hash: String::new() }
    }
}

impl Question for AskDigest<'_> {
    fn ask(&mut self, index: usize) -> &[u8] {
        self.request.digest(index as u64, self.filled.map)
    }

    fn answer(&mut self, _: usize, message: &[u8]) -> Result<bool, Failure> {
        let message = Message::read(message)?;
        message.expect("digest")?;
        let Filled { map, keys, .. } = self.filled;
        self.hash = excerpt(message.hash);
        match json::number(message.entries) {
            Some(entries) if entries == keys => Ok(true),
            Some(entries) => {
                Err(Failure::Lost(format!("{keys} keys of {map} were acked, the map has {entries}")))
            }
            None => Err(Failure::Wrong("a digest without a number of entries".to_owned())),
        }
    }
}

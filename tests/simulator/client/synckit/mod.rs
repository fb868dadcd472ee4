//! A client that speaks SyncKit, on the same maps as the others.
//!
//! There are two kinds. An application of the **SDK** shows what it writes at once, names no requests, sends back the
//! clocks it has seen, and knows of each field the greatest version. What it writes next must win over all that it shows, for
//! which its own counter must be the largest of the numbers it was told. A **reader of answers**, as SyncKit's own tests
//! are, names its requests and takes each answer for all there is.
//!
//! Not compared, because SyncKit's wire cannot tell it:
//!
//! - A clock is a stamp without its node, and counters above 4095 are one: clients of `/v1` here make no two stamps that
//!   differ in nothing else.
//! - A value that ends keeps its clock, so that an application which was not subscribed meanwhile may keep it, too, and any
//!   where the text of the value is the larger ([`Document::may_lack`]).
//! - An answer or a delta carries no cursor: what a crash has undone would stay, so it ends the application.
//! - A removal that the server forgets while a reader is too slow for it reaches nobody (as on `/v1` without a reset).

mod answers;
mod check;
mod connection;
mod fields;
mod message;
mod requests;
mod sets;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fields::{DELETED, Fields, SERVER, Version};

use super::Context;
use crate::client::op::ENDS;
use crate::replica::Stamp;
use crate::scenario::NODE;

/// See the module.
pub struct SyncKit {
    /// The name it gives itself.
    name: String,
    is_sdk: bool,
    /// Whether this connection speaks JSON in text frames.
    is_text: bool,
    /// How the values begin that it writes on this connection.
    mark: String,
    next_id: u64,
    /// The server has answered to a write that names it, and so knows its name.
    is_named: bool,
    documents: BTreeMap<usize, Document>,
    /// Requests for the state of a document without their answers.
    requests: BTreeMap<usize, VecDeque<Request>>,
    /// Writes without their acks, by what these will name.
    writes: BTreeMap<String, Write>,
    /// Writes that were refused; which ones shows when all others are acknowledged.
    refused: BTreeMap<Kind, usize>,
    pings: usize,
    /// Messages that cannot be read.
    unreadable: usize,
    /// What was told of each field on this connection: never older than before.
    told: BTreeMap<(usize, String), (u64, String)>,
    /// Its own writes on this connection whose values were not heard and acknowledged yet, by their numbers.
    own: BTreeMap<u64, Own>,
    /// The latest of its own writes that was heard, of each field.
    own_heard: BTreeMap<(usize, String), u64>,
    /// Documents it has unsubscribed from on this connection.
    left: BTreeSet<usize>,
    /// Messages to be sent.
    outgoing: Vec<Vec<u8>>,
}

/// A document that it is subscribed to, or asks for.
#[derive(Debug, Default)]
struct Document {
    /// The state has come.
    is_live: bool,
    /// It has subscribed by a write: nobody told it what was there before.
    is_partial: bool,
    /// Values that have ended may still be here: it asked for the state of what it knew already.
    may_have_more: bool,
    fields: Fields,
    /// What its set shows; applications of the SDK have one in each document.
    elements: BTreeSet<String>,
    /// The clocks it has seen, by client.
    clock: BTreeMap<String, u64>,
    /// The largest clock that it was told after the server had learned its name.
    named_through: u64,
    /// Fields and elements whose writes may not have reached the server, although it shows them.
    unclear: BTreeSet<String>,
    /// Elements it does not show, although what took them away was refused: until the server speaks of them, by itself or
    /// with a state, which has all there are.
    unclear_removed: BTreeSet<String>,
    /// Deltas per field, since it was last cleared.
    heard: BTreeMap<String, usize>,
}

/// A request for the state of a document.
struct Request {
    code: u8,
    id: Option<String>,
    /// It has unsubscribed since: there must be an answer, which says nothing of what it has now.
    is_left: bool,
}

/// What an error says of a write: its map, and whether it was a batch.
type Kind = (usize, bool);

struct Write {
    kind: Kind,
    /// When it was sent, in microseconds.
    sent_us: u64,
    ops: Vec<Op>,
    /// Elements it adds to a set.
    added: Vec<String>,
    /// Elements it removes, or clears away.
    removed: Vec<String>,
}

struct Op {
    number: u64,
    field: String,
    /// The largest clock that it was sent with: that of the server is larger.
    seen: u64,
}

/// One of its writes, as far as is known of it.
#[derive(Default)]
struct Own {
    is_acked: bool,
    /// The clock it came back with, and its value.
    heard: Option<(u64, String)>,
}

impl SyncKit {
    pub fn new(client: &str, is_sdk: bool) -> Self {
        Self {
            name: format!("client-{client}"),
            is_sdk,
            is_text: false,
            mark: String::new(),
            next_id: 0,
            is_named: false,
            documents: BTreeMap::new(),
            requests: BTreeMap::new(),
            writes: BTreeMap::new(),
            refused: BTreeMap::new(),
            pings: 0,
            unreadable: 0,
            told: BTreeMap::new(),
            own: BTreeMap::new(),
            own_heard: BTreeMap::new(),
            left: BTreeSet::new(),
            outgoing: Vec::new(),
        }
    }

    /// A connection begins; its values will begin with `mark`.
    pub fn connected(&mut self, mark: String, context: &mut Context<'_>) {
        self.mark = mark;
        self.is_text = !self.is_sdk && context.random.per_mille(400);
    }

    /// The connection is over, with everything that was under way. Of what it has, it keeps all or nothing.
    pub fn disconnected(&mut self, context: &mut Context<'_>) {
        for write in std::mem::take(&mut self.writes).into_values() {
            context.oracle.ambiguous += write.ops.len() as u64;
            self.mark_unclear(write);
        }
        if context.random.per_mille(500) {
            self.documents.clear();
        }
        self.documents.retain(|_, document| document.is_live && !document.is_partial);
        for document in self.documents.values_mut() {
            document.is_live = false;
            document.may_have_more = true;
        }
        self.requests.clear();
        self.refused.clear();
        self.told.clear();
        self.own.clear();
        self.own_heard.clear();
        self.left.clear();
        self.is_named = false;
        self.outgoing.clear();
        (self.pings, self.unreadable) = (0, 0);
    }

    /// The server may have lost what it has told.
    pub fn server_crashed(&mut self) {
        self.documents.clear();
    }

    /// Requests without an answer.
    pub fn asked(&self) -> usize {
        let requests: usize = self.requests.values().map(VecDeque::len).sum();
        let refused: usize = self.refused.values().sum();
        requests + self.writes.len() - refused + self.pings + self.unreadable
    }

    /// Documents it is subscribed to.
    pub fn subscriptions(&self) -> usize {
        self.documents.len()
    }

    /// Whether it has all of what it is subscribed to.
    pub fn is_settled(&self) -> bool {
        self.documents.values().all(|document| document.is_live)
    }

    /// Messages to be sent, and whether they are text.
    pub fn take_outgoing(&mut self) -> (bool, Vec<Vec<u8>>) {
        (self.is_text, std::mem::take(&mut self.outgoing))
    }

    pub fn clear_heard(&mut self) {
        self.documents.values_mut().for_each(|document| document.heard.clear());
    }

    /// Times that it heard of `field`, if it is subscribed.
    pub fn heard(&self, map: usize, field: &str) -> Option<usize> {
        Some(self.documents.get(&map)?.heard.get(field).copied().unwrap_or(0))
    }

    fn mark_unclear(&mut self, write: Write) {
        if let Some(document) = self.documents.get_mut(&write.kind.0).filter(|_| self.is_sdk) {
            document.unclear.extend(write.ops.into_iter().map(|op| op.field).chain(write.added));
            document.unclear_removed.extend(write.removed);
        }
    }
}

impl Document {
    /// The largest clock it has seen.
    fn seen(&self) -> u64 {
        self.clock.values().copied().max().unwrap_or(0)
    }

    fn see(&mut self, clock: &[(String, u64)]) {
        for (name, count) in clock {
            let known = self.clock.entry(name.clone()).or_default();
            *known = count.max(known).to_owned();
        }
    }

    /// Whether it may still show a field that is gone.
    fn may_lack(&self, field: &str) -> bool {
        // Of two states with one clock the SDK keeps the larger text, so that a value with fields outlasts its end.
        let stays = |version: &Version| self.may_have_more || *version.value > *DELETED;
        let ends = |version: &&Version| version.value.contains(ENDS);
        self.fields.get(field).filter(ends).is_some_and(stays)
    }

    /// Takes what the server tells of a field.
    fn tell(&mut self, field: &str, clock: u64, value: String) {
        self.fields.merge(field, Version { clock, client: SERVER.to_owned(), value });
    }
}

/// The stamp of a write that was heard with this clock: the server has given it.
fn stamp_of(clock: u64) -> Stamp {
    Stamp::of_clock(clock, NODE)
}

//! Documents: who is subscribed, and the whole state on request.
//!
//! A document is a map. Its state is asked for with `subscribe`, as the SDK does, or with `sync_request`; both subscribe. The
//! shard sends it in chunks, the dialect in one message, so chunks are collected until the last has come. Requests for one
//! document that wait at the same time share one state, as many of them as there is room for; the others share the next. A
//! state answers no request that came while it was collected: it may lack what that client has written before.

use super::changes::Changes;
use super::conversation::Conversation;
use super::document::{Document, Limits, Stage, StateRequest};
use super::frame::Framing;
use super::refusal::{Reason, Refusal};
use super::{replies, state};
use crate::crdt::Time;
use crate::mesh::Entries;
use crate::shard::Caller;
use crate::shard::{From, Now, Shard, SnapshotEnd, Subscribe};
use crate::wire::{Reject, Ticket};

/// What is said when a `subscribe` fails.
pub const SUBSCRIBE_FAILED: &str = "Subscribe failed";

/// Bytes of the requests of one connection that wait, past which it is not read: some two thousand.
const WAITING_BYTES_MAX: usize = 256 << 10;

/// The ticket of a subscription.
pub const TICKET: u8 = b's';

/// Subscribes to the document and answers with its state, in its turn: of one connection one state at a time is collected
/// and sent, however many it asks for, so that neither this server nor the outbox holds more.
///
/// # Errors
/// Why there may be no more subscriptions.
pub fn ask(
    shard: &mut Shard,
    caller: Caller,
    document: &str,
    request: StateRequest,
) -> Result<(), Reason<'static>> {
    admit(shard, caller, document)?;
    let Some(session) = shard.session(caller) else { return Ok(()) };
    let conversation = Conversation::of(session);
    let Some(entry) = conversation.documents.get_mut(document) else { return Ok(()) };
    let knows_more = entry.stage != Stage::Unsubscribed;
    conversation.waiting_bytes += request.bytes();
    entry.waiting.push_back(request);
    // Of one that is queued or on its way the turn comes.
    if entry.waiting.len() == 1 && entry.stage != Stage::Ignoring {
        (entry.stage, entry.knows_more) = (Stage::Queued, knows_more);
        conversation.queue.push_back(document.to_owned());
    }
    collect_next(shard, caller);
    Ok(())
}

/// Counts a document that the connection is about to subscribe to, or to watch.
///
/// # Errors
/// Why there may be no more.
pub fn admit(shard: &mut Shard, caller: Caller, document: &str) -> Result<(), Reason<'static>> {
    let limits = Limits::of(shard.config());
    let Some(session) = shard.session(caller) else { return Ok(()) };
    Conversation::of(session).documents.admit(document, limits).map(|_| ())
}

/// Begins to collect the next state that was asked for, if none is under way and the peer takes what it is sent.
pub fn collect_next(shard: &mut Shard, caller: Caller) {
    let has_room = shard.has_room(caller);
    // A state is asked for on behalf of a peer that has less than the soft limit waiting.
    let room = shard.config().outbox_hard_bytes - shard.config().outbox_soft_bytes;
    let Some(session) = shard.session(caller) else { return };
    let conversation = Conversation::of(session);
    let mut next = None;
    while next.is_none() && has_room && !conversation.is_collecting {
        let Some(name) = conversation.queue.pop_front() else { break };
        if let Some(document) = conversation.documents.get_mut(&name)
            && document.stage == Stage::Queued
        {
            document.stage = Stage::Collecting;
            (document.state, document.room) = (Vec::new(), room);
            document.answering = document.waiting.len();
            conversation.is_collecting = true;
            next = Some(name);
        }
    }
    let takes_requests = conversation.waiting_bytes <= WAITING_BYTES_MAX;
    // Of one that is on its way only some requests may be answered, or it may be asked for again before it has passed.
    if !conversation.queue.is_empty() || conversation.is_collecting {
        shard.call_when_drained(caller);
    }
    shard.take_requests(caller, takes_requests);
    if let Some(name) = next {
        // What is removed from now on is in no state that is collected, and has a later stamp; so has what was removed before
        // and is still on its way in the subscription that ends here.
        let now = Time::new(shard.now().unix_ms, 0);
        let told = shard.told_through(caller, &name).map_or(now, |told| told.min(now));
        let conversation = shard.session(caller).map(Conversation::of);
        if let Some(document) = conversation.and_then(|known| known.documents.get_mut(&name)) {
            document.told = told;
        }
        subscribe(shard, caller, &name, From::Everything);
    }
}

/// Subscribes who writes, so that what it writes comes back to it.
///
/// # Errors
/// Why there may be no more subscriptions.
pub fn join(shard: &mut Shard, caller: Caller, document: &str) -> Result<(), Reason<'static>> {
    admit(shard, caller, document)?;
    let known =
        shard.session(caller).and_then(|session| Conversation::of(session).documents.get_mut(document));
    let Some(known) = known else { return Ok(()) };
    known.knows_more |= matches!(known.stage, Stage::Queued | Stage::Collecting);
    if known.stage == Stage::Unsubscribed {
        known.stage = Stage::Recent;
        subscribe(shard, caller, document, From::Now);
    }
    Ok(())
}

fn subscribe(shard: &mut Shard, caller: Caller, map: &str, from: From) {
    let ticket = Ticket::new(&[&[TICKET], map.as_bytes()]);
    shard.subscribe(caller, Some(ticket), Subscribe { map, from, filter: None, echo: true });
}

/// Ends the subscription, and that of its awareness. Who still waits for the state is told that none will come.
pub fn leave(shard: &mut Shard, caller: Caller, document: &str) {
    shard.unwatch_presence(caller, document);
    let Some(session) = shard.session(caller) else { return };
    let conversation = Conversation::of(session);
    let Some(left) = conversation.documents.remove(document) else { return };
    conversation.is_collecting &= !left.is_collecting();
    conversation.waiting_bytes -= left.waiting.iter().map(StateRequest::bytes).sum::<usize>();
    shard.unsubscribe(caller, document);
    for request in left.waiting {
        let reason = Reason::of(Reject::Cancelled);
        replies::refuse(shard, caller, Refusal::Failed { what: request.failure, document, reason });
    }
    collect_next(shard, caller);
}

/// The document could not be subscribed to: who waits for its state is told.
pub fn failed(
    conversation: &mut Conversation,
    framing: Framing,
    name: &str,
    reject: Reject,
    now: Now,
    out: &mut Vec<u8>,
) {
    let Some(document) = conversation.documents.get_mut(name) else { return };
    // It goes on to count until the client leaves it, as it may be watched.
    let document = std::mem::take(document);
    conversation.is_collecting &= !document.is_collecting();
    conversation.waiting_bytes -= document.waiting.iter().map(StateRequest::bytes).sum::<usize>();
    for request in &document.waiting {
        let refusal = Refusal::Failed { what: request.failure, document: name, reason: Reason::of(reject) };
        replies::write_refusal(conversation, framing, refusal, now, out);
    }
}

/// A chunk of the state has come.
pub fn collected(
    conversation: &mut Conversation,
    framing: Framing,
    name: &str,
    entries: Entries<'_>,
    end: SnapshotEnd,
    now: Now,
    out: &mut Vec<u8>,
) {
    let is_last = end != SnapshotEnd::More;
    let Some(document) = conversation.documents.get_mut(name) else { return };
    match document.stage {
        Stage::Collecting => document.collect(entries),
        Stage::Unsubscribed | Stage::Queued | Stage::Recent | Stage::Live => {
            let client = conversation.clock_name.as_ref();
            Changes { framing, document: name, client }.write(out, entries);
        }
        Stage::Ignoring => {}
    }
    if document.stage == Stage::Collecting && (is_last || document.is_too_large()) {
        let passed = Document { stage: Stage::Ignoring, ..Document::default() };
        let mut whole = std::mem::replace(document, passed);
        state::answer_all(conversation, framing, name, &mut whole, now, out);
        if let Some(document) = conversation.documents.get_mut(name) {
            document.waiting = whole.waiting;
        }
    }
    if is_last
        && let Some(document) = conversation.documents.get_mut(name)
        && document.stage != Stage::Queued
    {
        conversation.is_collecting &= !document.is_collecting();
        document.stage = Stage::Live;
        if !document.waiting.is_empty() {
            (document.stage, document.knows_more) = (Stage::Queued, true);
            conversation.queue.push_back(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::config::Config;
    use crate::crdt::{Node, Stamp};
    use crate::dialect::synckit::frame::clock_number;
    use crate::mesh::EntryPacker;
    use crate::wire::{Cursor, Scope};

    const ASKED: Time = Time::new(50, 0);

    /// What a client that names no request is told of a document with these keys: when each was changed, and its value.
    fn told(knows_more: bool, keys: &[(&str, Time, Option<&str>)]) -> String {
        let mut conversation = Conversation::default();
        let waiting = VecDeque::from([StateRequest { id: None, wants_fields: true, failure: "" }]);
        conversation.waiting_bytes = waiting[0].bytes();
        let document = Document {
            stage: Stage::Collecting,
            waiting,
            answering: 1,
            room: usize::MAX,
            told: ASKED,
            knows_more,
            ..Document::default()
        };
        *conversation.documents.admit("d", Limits::of(&Config::default())).unwrap() = document;
        let mut packed = Vec::new();
        for &(key, time, value) in keys {
            let at = Stamp { time, node: Node::new(b"n").unwrap() };
            EntryPacker(&mut packed).value(key, &at, value.map(str::as_bytes));
        }
        let cursor = Cursor { epoch: 1, time: Time::ZERO, scope: Scope::UNKNOWN };
        let end = SnapshotEnd::Last { cursor, resumed: false, reset: false };
        let mut out = Vec::new();
        let (now, entries) = (Now { unix_ms: 60, monotonic_us: 0 }, Entries::new(&packed));
        collected(&mut conversation, Framing::Text, "d", entries, end, now, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_state_has_the_clock_of_its_oldest_field() {
        let told = told(false, &[("old", Time::new(10, 3), Some("1")), ("new", Time::new(40, 0), Some("2"))]);
        let oldest = clock_number(Time::new(10, 3));
        let state = format!(r#""state":{{"old":1,"new":2}},"deltas":[],"clock":{{"server":{oldest}}}"#);
        assert!(told.contains(&state), "a later change with a clock between them must win: {told}");
    }

    #[test]
    fn the_latest_removals_are_told_and_to_who_knows_the_fields_all_since_it_asked() {
        let names: Vec<String> = (0..1_500).map(|n| format!("f{n:04}")).collect();
        let removed = |from: Time| -> Vec<_> {
            let time = |n| Time::new(from.millis(), n as u16);
            names.iter().enumerate().map(|(n, name)| (&**name, time(n), None)).collect()
        };
        for (knows_more, time, expected) in
            [(false, ASKED, 1_000), (true, ASKED, 1_500), (true, Time::new(49, 0), 1_000)]
        {
            let told = told(knows_more, &removed(time));
            assert!(told.contains(r#""state":{}"#), "{told:.200}");
            assert_eq!(
                told.matches(r#""value":{"__deleted":true}"#).count(),
                expected,
                "{knows_more} {time:?}"
            );
            assert!(told.contains(r#""field":"f1499""#));
            assert_eq!(told.contains(r#""field":"f0499""#), expected > 1_000);
        }
    }

    #[test]
    fn elements_that_are_gone_are_removed_before_the_others_are_added() {
        let told = told(
            false,
            &[
                ("__synckit:set:1", Time::new(9, 0), Some("1")),
                ("__synckit:set:cleared", Time::new(10, 0), Some("0")),
                ("__synckit:set:2", Time::new(11, 0), Some("2")),
                ("__synckit:set:3", Time::new(12, 0), None),
            ],
        );
        let steps = [r#""remove","value":1"#, r#""remove","value":3"#, r#""add","value":2"#];
        let places = steps.map(|step| told.find(step).unwrap_or_else(|| panic!("no {step}: {told}")));
        assert!(places.is_sorted(), "{told}");
        assert!(!told.contains(r#""clear""#) && !told.contains(r#""add","value":1"#), "{told}");
    }
}

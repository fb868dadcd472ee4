//! Documents: who is subscribed, and the whole state on request.
//!
//! A document is a map. Its state is asked for with `subscribe`, as the SDK does, or with `sync_request`; both subscribe. The
//! shard sends it in chunks, the dialect in one message, so chunks are collected until the last has come, of one document of
//! a connection at a time, and of few connections (`line.rs`). Requests for one document that wait at the same time share one
//! state, as many of them as there is room for; the others share the next. A state answers no request that came while it was
//! collected: it may lack what that client has written before.

use super::changes::Changes;
use super::conversation::Conversation;
use super::document::{Collecting, Limits, Stage, StateRequest};
use super::frame::Framing;
use super::line::Line;
use super::refusal::{Reason, Refusal};
use super::{answers, replies};
use crate::crdt::Time;
use crate::mesh::Entries;
use crate::shard::{Caller, From, Now, Parts, Shard, SnapshotEnd, Subscribe};
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

/// Begins to collect the next state that was asked for, if none is under way, the peer takes what it is sent, and there is a
/// place; then those of others who wait for one.
pub fn collect_next(shard: &mut Shard, caller: Caller) {
    begin(shard, caller);
    look_at_line(shard);
}

/// Lets those go on who wait in line, as far as there is room, or whoever keeps them waiting go.
pub fn look_at_line(shard: &mut Shard) {
    while let Some(next) = shard.commons().of::<Line>().next() {
        begin(shard, next);
        // Who has nothing to collect any more is in nobody's way.
        shard.commons().of::<Line>().forget_first(next);
    }
    let now_ms = shard.now().timer_ms();
    if let Some(slow) = shard.commons().of::<Line>().next_slow(now_ms) {
        shard.close_slow(slow);
    }
}

fn begin(shard: &mut Shard, caller: Caller) {
    let has_room = shard.has_room(caller);
    let now_ms = shard.now().timer_ms();
    let Some(session) = shard.session(caller) else { return };
    let conversation = Conversation::of(session);
    let reading = conversation.reading.take_if(|_| has_room);
    let is_in_line = std::mem::take(&mut conversation.is_in_line);
    let wants = has_room && conversation.collecting.is_none() && conversation.has_queued();
    let line = shard.commons().of::<Line>();
    if let Some(reading) = reading {
        line.end_reading(reading);
    }
    let may_begin = wants && line.enter(caller, is_in_line, now_ms);
    if !wants && is_in_line {
        line.forget(caller.connection());
    }
    let Some(session) = shard.session(caller) else { return };
    let conversation = Conversation::of(session);
    conversation.is_in_line = wants && !may_begin;
    let is_under_way = may_begin || conversation.collecting.is_some() || conversation.reading.is_some();
    let takes_requests = conversation.waiting_bytes <= WAITING_BYTES_MAX;
    // Of one that is on its way only some requests may be answered, or it may be asked for again before it has passed.
    if is_under_way || !conversation.queue.is_empty() {
        shard.call_when_drained(caller);
    }
    shard.take_requests(caller, takes_requests);
    if may_begin {
        collect(shard, caller);
    }
}

/// Collects the first state that was asked for, for which there is a place.
fn collect(shard: &mut Shard, caller: Caller) {
    // A state is asked for on behalf of a peer that has less than the soft limit waiting.
    let room = shard.config().outbox_hard_bytes - shard.config().outbox_soft_bytes;
    let now = Time::new(shard.now().unix_ms, 0);
    let Some(session) = shard.session(caller) else { return };
    let conversation = Conversation::of(session);
    conversation.place = Some(caller);
    let Some(name) = conversation.queue.pop_front() else { return };
    // What is removed from now on is in no state that is collected, and has a later stamp; so has what was removed before
    // and is still on its way in the subscription that ends here.
    let told = shard.told_through(caller, &name).map_or(now, |told| told.min(now));
    let Some(session) = shard.session(caller) else { return };
    let conversation = Conversation::of(session);
    if let Some(document) = conversation.documents.get_mut(&name) {
        document.stage = Stage::Collecting;
        conversation.collecting = Some(Collecting::new(name.clone(), &document.waiting, room, told));
    }
    subscribe(shard, caller, &name, From::Everything);
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
    let place = if left.is_collecting() { conversation.place.take() } else { None };
    conversation.collecting.take_if(|_| left.is_collecting());
    conversation.waiting_bytes -= left.waiting.iter().map(StateRequest::bytes).sum::<usize>();
    if let Some(caller) = place {
        shard.commons().of::<Line>().leave(caller.connection());
    }
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
    conversation.collecting.take_if(|_| document.is_collecting());
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
    let changes = Changes { framing, document: name, client: conversation.clock_name.as_ref() };
    match (document.stage, &mut conversation.collecting) {
        (Stage::Collecting, Some(collecting)) => {
            collecting.collect(entries, |text| changes.pass_on(out, text));
            collecting.is_whole = is_last;
            if collecting.is_too_large() {
                document.stage = Stage::Ignoring;
                collecting.clear();
                let (answering, reason) = (collecting.answering, answers::no_room(collecting.room));
                refuse_first(conversation, framing, name, answering, reason, now, out);
            }
        }
        (Stage::Ignoring, Some(collecting)) => collecting.is_whole = is_last,
        _ => {
            changes.write(out, entries);
            if is_last && document.stage != Stage::Queued {
                document.stage = Stage::Live;
            }
        }
    }
}

/// Refuses the first of those who wait for the state of a document.
fn refuse_first(
    conversation: &mut Conversation,
    framing: Framing,
    name: &str,
    count: usize,
    reason: Reason<'_>,
    now: Now,
    out: &mut Vec<u8>,
) {
    let Some(document) = conversation.documents.get_mut(name) else { return };
    let refused: Vec<StateRequest> = document.waiting.drain(..count).collect();
    for request in refused {
        conversation.waiting_bytes -= request.bytes();
        let refusal = Refusal::Failed { what: request.failure, document: name, reason };
        replies::write_refusal(conversation, framing, refusal, now, out);
    }
}

/// Answers those who wait for a state if all of it has come; who else may begin to collect one now.
pub fn answer(
    conversation: &mut Conversation,
    line: &mut Line,
    framing: Framing,
    now: Now,
    out: &mut Parts<'_>,
) -> Option<Caller> {
    if let Some(collected) = conversation.collecting.take_if(|collecting| collecting.is_whole) {
        let name = &*collected.name;
        let stage = conversation.documents.get_mut(name).map(|document| document.stage);
        if stage == Some(Stage::Collecting) {
            answers::answer_all(conversation, line, framing, &collected, now, out);
        }
        if let Some(document) = conversation.documents.get_mut(name) {
            document.stage = Stage::Live;
            if !document.waiting.is_empty() {
                (document.stage, document.knows_more) = (Stage::Queued, true);
                conversation.queue.push_back(collected.name);
            }
        }
    }
    conversation.end_collecting(line);
    line.next()
}

/// The connection is gone; who may begin to collect a state now.
pub fn closed(conversation: &mut Conversation, line: &mut Line, caller: Caller) -> Option<Caller> {
    conversation.collecting = None;
    if conversation.is_in_line {
        line.forget(caller.connection());
    }
    conversation.end_collecting(line);
    conversation.end_reading(line);
    line.ended(caller.connection());
    line.next()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::config::Config;
    use crate::crdt::{Node, Stamp};
    use crate::dialect::synckit::document::Document;
    use crate::dialect::synckit::frame::clock_number;
    use crate::mesh::EntryPacker;
    use crate::shard::{BufferPool, Outbox};
    use crate::wire::{Cursor, Scope};

    const ASKED: Time = Time::new(50, 0);

    /// What a client that names no request is told of a document with these keys: when each was changed, and its value.
    fn told(knows_more: bool, keys: &[(&str, Time, Option<&str>)]) -> String {
        told_and_left(knows_more, keys).0
    }

    /// The same, and what is remembered of the client then.
    fn told_and_left(knows_more: bool, keys: &[(&str, Time, Option<&str>)]) -> (String, Conversation) {
        let mut conversation = Conversation::default();
        let waiting = VecDeque::from([StateRequest { id: None, wants_fields: true, failure: "" }]);
        conversation.waiting_bytes = waiting[0].bytes();
        conversation.collecting = Some(Collecting::new("d".to_owned(), &waiting, usize::MAX / 2, ASKED));
        let document = Document { stage: Stage::Collecting, waiting, knows_more };
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
        assert!(out.is_empty(), "what is collected waits for its end");
        let (mut outbox, mut pool) = (Outbox::default(), BufferPool::default());
        outbox.append_parts(&mut pool, |parts| {
            answer(&mut conversation, &mut Line::default(), Framing::Text, now, parts);
        });
        outbox.start_send();
        let told = outbox.in_flight().collect::<Vec<_>>().concat();
        (String::from_utf8_lossy(&told).into_owned(), conversation)
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

    #[test]
    fn of_what_is_of_no_use_a_thousand_keys_are_deleted_at_a_time() {
        let keys: Vec<String> = (0..5_000).map(|n| format!("__synckit:set:{n}")).collect();
        let cleared = ("__synckit:set:cleared", Time::new(10, 0), Some("0"));
        let elements = keys.iter().map(|key| (&**key, Time::new(9, 0), Some("1")));
        let (_, left) = told_and_left(false, &elements.chain([cleared]).collect::<Vec<_>>());
        assert_eq!(left.to_forget.len(), 1_000);
    }
}

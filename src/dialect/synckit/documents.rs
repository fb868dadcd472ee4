//! Documents: who is subscribed, and the whole state on request.
//!
//! A document is a map. Its state is asked for with `subscribe`, as the SDK does, or with `sync_request`; both subscribe. The
//! shard sends it in chunks, the dialect in one message, so chunks are collected until the last has come, of one document of
//! a connection at a time, and of few connections (`line.rs`). Requests for one document that wait at the same time share one
//! state, as many of them as there is room for; the others share the next. A state answers no request that came while it was
//! collected: it may lack what that client has written before.

use super::conversation::Conversation;
use super::document::{Collecting, Limits, Stage, StateRequest};
use super::frame::{Framing, STATE_BYTES_CEILING};
use super::line::Line;
use super::refusal::{Reason, Refusal};
use super::replies;
use crate::crdt::Time;
use crate::shard::{Caller, From, Now, Shard, Subscribe, work};
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
    // It may have waited long, and have other rights by now.
    let Some(caller) = shard.current(caller) else { return };
    let has_room = shard.has_room(caller);
    let now_ms = shard.now().timer_ms();
    let Some(session) = shard.session(caller) else { return };
    let conversation = Conversation::of(session);
    let reading = conversation.reading.take_if(|_| has_room);
    let in_line = conversation.in_line.take();
    let wants = has_room && conversation.collecting.is_none() && conversation.has_queued();
    let line = shard.commons().of::<Line>();
    if let Some(reading) = reading {
        line.end_reading(reading);
    }
    let waits = if wants {
        line.enter(caller, in_line, now_ms)
    } else {
        line.forget(in_line);
        None
    };
    let may_begin = wants && waits.is_none();
    let Some(session) = shard.session(caller) else { return };
    let conversation = Conversation::of(session);
    conversation.in_line = waits;
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
    let room = room.min(STATE_BYTES_CEILING);
    let now = Time::new(shard.now().unix_ms, 0);
    let Some(session) = shard.session(caller) else { return };
    let conversation = Conversation::of(session);
    conversation.place = Some(caller);
    let Some(name) = conversation.queue.pop_front() else { return };
    // What is removed from now on is in no state that is collected, and has a later stamp; so has what was removed before
    // and is still on its way in the subscription that ends here.
    let told = shard.told_through(caller, &name).map_or(now, |told| told.min(now));
    let version = shard.commons().of::<Line>().version(&name);
    let Some(session) = shard.session(caller) else { return };
    let conversation = Conversation::of(session);
    if let Some(document) = conversation.documents.get_mut(&name) {
        document.stage = Stage::Collecting;
        conversation.collecting = Some(Collecting::new(name.clone(), version, &document.waiting, room, told));
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
    conversation.give_up(&left);
    if let Some(caller) = conversation.take_place() {
        shard.commons().of::<Line>().leave(caller.connection());
    }
    shard.unsubscribe(caller, document);
    if left.is_collecting() {
        // Changes of other documents wait no longer.
        shard.answer(caller);
    }
    shard.spend(work::FRAME * left.waiting.len() as u64);
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
    conversation.give_up(&document);
    for request in &document.waiting {
        let refusal = Refusal::Failed { what: request.failure, document: name, reason: Reason::of(reject) };
        replies::write_refusal(conversation, framing, refusal, now, out);
    }
}

//! Answers to those who have asked for the state of a document, once it is collected.

use std::rc::Rc;

use super::changes::Changes;
use super::conversation::Conversation;
use super::document::Collecting;
use super::frame::{ClockName, Framing};
use super::line::Line;
use super::made::{MadeState, time_of};
use super::refusal::{Reason, Refusal};
use super::replies;
use super::state::State;
use crate::mesh::Entry;
use crate::shard::{Now, Parts};

/// Keys of no use that one connection deletes with its next message, at most. What is left is found again.
const FORGOTTEN_MAX: usize = 1_000;

/// Answers those for whom the state was collected, as far as there is room. Who has none alone is refused: who is refused is
/// still connected, and who is sent more than there is room for would not be. Others wait for the next state.
pub fn answer_all(
    conversation: &mut Conversation,
    line: &mut Line,
    framing: Framing,
    collected: &Collecting,
    now: Now,
    out: &mut Parts<'_>,
) {
    let name = &*collected.name;
    let state = made(conversation, line, framing, collected, now.timer_ms());
    let Some(document) = conversation.documents.get_mut(name) else { return };
    let mut waiting = std::mem::take(&mut document.waiting);
    let knows_more = document.knows_more;
    let (mut taken, mut sends_fields, mut is_answered) = (state.rest_bytes(), false, false);
    for _ in 0..collected.answering {
        let Some(request) = waiting.pop_front() else { break };
        let adds_fields = request.wants_fields && !sends_fields;
        let bytes = state.answer_bytes() + if adds_fields { state.fields_bytes() } else { 0 };
        let has_room = taken + bytes <= collected.room;
        if !has_room && is_answered {
            waiting.push_front(request);
            break;
        }
        conversation.waiting_bytes -= request.bytes();
        if !has_room {
            let refusal =
                Refusal::Failed { what: request.failure, document: name, reason: no_room(collected.room) };
            out.own(|out| replies::write_refusal(conversation, framing, refusal, now, out));
            continue;
        }
        taken += bytes;
        is_answered = true;
        sends_fields |= adds_fields;
        let id = conversation.next_id(now.unix_ms);
        state.answer(name, &request, conversation.clock_name.as_ref(), id, out);
    }
    if sends_fields {
        let client = conversation.clock_name.as_ref();
        state.write_fields(client, out);
        if knows_more && state.removed_before.is_some_and(|newest| newest >= collected.told) {
            write_news(line, framing, collected, &state, client, out);
        }
        taken += state.write_removed_fields(name, client, collected.room - taken, out);
    }
    if is_answered {
        state.write_rest(collected.room - taken, out);
    }
    if let Some(document) = conversation.documents.get_mut(name) {
        document.waiting = waiting;
    }
}

/// Why a request is refused whose answer has no room.
pub fn no_room(room: usize) -> Reason<'static> {
    Reason::too_large("the state of the document has no room", room).flag("--outbox-hard-bytes")
}

/// The state as it is sent, made once for all who are sent this version of it.
fn made(
    conversation: &mut Conversation,
    line: &mut Line,
    framing: Framing,
    collected: &Collecting,
    now_ms: u64,
) -> Rc<MadeState> {
    let name = &*collected.name;
    let key = line.key(framing, name, collected.packed());
    let made = line.find(key).unwrap_or_else(|| {
        let state = State::of(name, collected.entries(), &mut line.compared);
        let room = FORGOTTEN_MAX.saturating_sub(conversation.to_forget.len());
        let to_forget = state.of_no_use.iter().take(room);
        let to_forget = to_forget.map(|&(key, at)| (name.to_owned(), key.to_owned(), at));
        conversation.to_forget.extend(to_forget);
        let made = Rc::new(MadeState::of(&state, framing, name));
        line.keep(key, &made);
        made
    });
    conversation.end_reading(line);
    conversation.reading = conversation.place.and_then(|caller| line.begin_reading(key, caller, now_ms));
    made
}

/// Appends older removals than everybody is told of: those since who knows more of the document was told everything.
fn write_news(
    line: &mut Line,
    framing: Framing,
    collected: &Collecting,
    state: &MadeState,
    client: Option<&ClockName>,
    out: &mut Parts<'_>,
) {
    let entries = State::of(&collected.name, collected.entries(), &mut line.compared).removed_fields;
    let is_news = |entry: &&Entry<'_>| {
        time_of(entry) >= collected.told
            && state.removed_before.is_some_and(|newest| time_of(entry) <= newest)
    };
    let news = entries.iter().filter(is_news).copied();
    let changes = Changes { framing, document: &collected.name, client };
    out.own(|out| changes.write(out, news));
}

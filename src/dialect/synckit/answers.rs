//! Answers to those who have asked for the state of a document, once it is collected.

use std::collections::VecDeque;

use super::conversation::Conversation;
use super::document::Collecting;
use super::frame::Framing;
use super::made::MadeState;
use super::refusal::{Reason, Refusal};
use super::replies;
use crate::crdt::Stamp;
use crate::shard::{Now, Parts};

/// Keys of no use that one connection deletes with its next message, at most. What is left is found again.
const FORGOTTEN_MAX: usize = 1_000;

/// Answers those for whom the state was collected, as far as there is room. Who has none alone is refused: who is refused is
/// still connected, and who is sent more than there is room for would not be. Others wait for the next state.
pub fn answer_all(
    conversation: &mut Conversation,
    framing: Framing,
    collected: &Collecting,
    state: &MadeState,
    now: Now,
    out: &mut Parts<'_>,
) {
    let name = &*collected.name;
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
            taken += state.write_news(name, client, (collected.told, collected.room - taken), out);
        }
        taken += state.write_removed_fields(name, client, collected.room - taken, out);
    }
    if is_answered {
        state.write_rest(collected.room - taken, out);
    }
    if let Some(document) = conversation.documents.get_mut(name) {
        // Of a list without requests no memory is kept.
        document.waiting = if waiting.is_empty() { VecDeque::new() } else { waiting };
    }
}

/// Why a request is refused whose answer has no room.
pub fn no_room(room: usize) -> Reason<'static> {
    Reason::too_large("the state of the document has no room", room).flag("--outbox-hard-bytes")
}

/// Takes note of what was found to be of no use in the state of a document.
pub fn note_of_no_use(conversation: &mut Conversation, document: &str, of_no_use: Vec<(String, Stamp)>) {
    let room = FORGOTTEN_MAX.saturating_sub(conversation.to_forget.len());
    let to_forget = of_no_use.into_iter().take(room).map(|(key, at)| (document.to_owned(), key, at));
    conversation.to_forget.extend(to_forget);
}

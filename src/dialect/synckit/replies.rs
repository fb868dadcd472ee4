//! Messages that answer one connection, and how each is framed.

use super::conversation::Conversation;
use super::frame::{Code, Fields, Framing, write_message};
use super::refusal::Refusal;
use crate::dialect::places::SYNCKIT_TEXT;
use crate::shard::Caller;
use crate::shard::{Now, Shard};

/// Sends one message at once.
pub fn reply(shard: &mut Shard, caller: Caller, code: Code, write: impl FnOnce(&mut Fields<'_>)) {
    let unix_ms = shard.now().unix_ms;
    let framing = framing_of(shard, caller);
    let Some(session) = shard.session(caller) else { return };
    let message_id = Conversation::of(session).next_id(unix_ms);
    shard.send_urgent(caller, |out| write_message(out, framing, code, message_id, write));
}

/// Says at once why a message is refused.
pub fn refuse(shard: &mut Shard, caller: Caller, refusal: Refusal<'_>) {
    shard.count_refusal();
    reply(shard, caller, Code::Error, |reply| refusal.write_to(reply));
}

/// Appends why a request failed that the engine was asked for.
pub fn write_refusal(
    conversation: &mut Conversation,
    framing: Framing,
    refusal: Refusal<'_>,
    now: Now,
    out: &mut Vec<u8>,
) {
    let id = conversation.next_id(now.unix_ms);
    write_message(out, framing, Code::Error, id, |fields| refusal.write_to(fields));
}

fn framing_of(shard: &Shard, caller: Caller) -> Framing {
    if shard.dialect_index(caller) == SYNCKIT_TEXT { Framing::Text } else { Framing::Binary }
}

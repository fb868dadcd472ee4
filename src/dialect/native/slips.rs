//! What a strict connection is refused that any other is not.

use super::encode::{self, text_frame};
use super::strict::{self, Slip};
use crate::shard::Caller;
use crate::shard::Shard;
use crate::wire::Ticket;
use crate::wire::json::Object;

/// Refuses a message with a slip in it; whether there is one.
pub fn refuses_slip(shard: &mut Shard, caller: Caller, ticket: Option<&Ticket>, object: &Object<'_>) -> bool {
    let Err(Slip { code, message }) = strict::check(object) else { return false };
    shard.count_refusal();
    shard.send_urgent(caller, |out| text_frame(out, |out| encode::refusal(out, ticket, code, &message)));
    true
}

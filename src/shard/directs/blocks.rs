//! Who has nothing to do with whom. Each of the two has a home, which is asked when a message comes to it; so each has a list.

use std::sync::Arc;

use super::mailbox::List;
use super::{Around, Directs, refuse};
use crate::limits::DIRECT_BLOCKS_MAX;
use crate::mesh::{BlockRequest, DirectAnswer, DirectRequest, Item, Request};
use crate::shard::AckLevel;
use crate::shard::caller::Asked;
use crate::shard::requests::DirectWait;
use crate::wire::Reject;

impl Directs {
    /// Has a user block another, or no longer; [`super::super::DirectEvent::Blocked`] follows.
    pub fn block(
        &mut self,
        around: &mut Around<'_>,
        asked: Asked,
        (user, other): (&Arc<str>, &str),
        is_blocked: bool,
    ) {
        let Around { turn, clients, requests, .. } = around;
        let asked = (asked.connection(), asked.ticket);
        let waiting = DirectWait::Block { user: other.into(), is_blocked };
        let reply = requests.wait_for_direct(turn, clients, asked, waiting, (1, 0));
        let block =
            BlockRequest { reply: Some(reply), user: Arc::clone(user), other: other.into(), is_blocked };
        let home = turn.owner(turn.hasher.user(other));
        if home == turn.index {
            self.block_other_asked(around, block);
        } else {
            let request = Request::Direct(Box::new(DirectRequest::BlockOther(block)));
            turn.outgoing.push(home, Item::Request(request));
        }
    }

    /// The home of who is blocked takes note, and hands it on.
    pub fn block_other_asked(&mut self, around: &mut Around<'_>, block: BlockRequest) {
        let BlockRequest { user, other, is_blocked, reply } = &block;
        let (reply, is_blocked) = (*reply, *is_blocked);
        if let Some(reject) = refuses(around, user, is_blocked) {
            return refuse(around, DirectRequest::Block(block), reject);
        }
        let slot = match self.open(around.turn, around.maps, other) {
            Ok(slot) => slot,
            Err(map) => return self.park(around, map, (DirectRequest::BlockOther(block), Vec::new())),
        };
        let set = self.change(around.turn, around.maps, slot, |mailbox, turn, maps| {
            mailbox.set(turn, maps, (List::BlockedBy, user), is_blocked)
        });
        if let Err(reject) = set {
            return refuse(around, DirectRequest::Block(block), reject);
        }
        if reply.is_none() {
            return;
        }
        let turn = &mut *around.turn;
        let home = turn.owner(turn.hasher.user(user));
        if home == turn.index {
            self.block_asked(around, block);
        } else {
            turn.outgoing.push(home, Item::Request(Request::Direct(Box::new(DirectRequest::Block(block)))));
        }
    }

    /// The home of who blocks takes note, if there is room for one more, and answers.
    pub fn block_asked(&mut self, around: &mut Around<'_>, block: BlockRequest) {
        let BlockRequest { reply, user, other, is_blocked } = &block;
        let (reply, is_blocked) = (*reply, *is_blocked);
        let slot = match self.open(around.turn, around.maps, user) {
            Ok(slot) => slot,
            Err(map) => return self.park(around, map, (DirectRequest::Block(block), Vec::new())),
        };
        let outcome = self.change(around.turn, around.maps, slot, |mailbox, turn, maps| {
            let is_new = is_blocked && !mailbox.has(List::Blocked, other);
            if is_new && mailbox.blocked_len() >= DIRECT_BLOCKS_MAX {
                return Err(Reject::TooLarge("this user has blocked as many as it may"));
            }
            mailbox.set(turn, maps, (List::Blocked, other), is_blocked)
        });
        if outcome.is_err() && is_blocked {
            self.unblock_other(around, BlockRequest { reply: None, is_blocked: false, ..block });
        }
        if let Some(reply) = reply {
            around.answer(reply, DirectAnswer::Blocked { reply, outcome });
        }
    }

    /// What the home of the other has taken note of is not to be.
    fn unblock_other(&mut self, around: &mut Around<'_>, block: BlockRequest) {
        let turn = &mut *around.turn;
        let home = turn.owner(turn.hasher.user(&block.other));
        if home == turn.index {
            self.block_other_asked(around, block);
        } else {
            let request = Request::Direct(Box::new(DirectRequest::BlockOther(block)));
            turn.outgoing.push(home, Item::Request(request));
        }
    }
}

/// Why nobody may be blocked for now.
fn refuses(around: &mut Around<'_>, user: &str, is_blocked: bool) -> Option<Reject> {
    let Around { turn, maps, .. } = around;
    let is_full = is_blocked && turn.account.refuses_queued(user.len());
    let overloaded = is_full.then_some(Reject::Overloaded { retry_after_ms: RETRY_AFTER_MS });
    overloaded.or_else(|| maps.refuses_writes(turn, AckLevel::Memory))
}

/// What a client is told to wait.
const RETRY_AFTER_MS: u32 = 1_000;

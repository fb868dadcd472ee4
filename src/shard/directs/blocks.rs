//! Who has nothing to do with whom. Each of the two has a home, which is asked when a message comes to it; so each has a list.

use std::sync::Arc;

use super::mailbox::List;
use super::{Around, Directs, ask, refuse};
use crate::limits::DIRECT_BLOCKS_MAX;
use crate::mesh::{BlockRequest, DirectAnswer, DirectRequest};
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
        self.ask_home_of_other(around, block);
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
            ask(turn, home, DirectRequest::Block(block));
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
            // What the home of the other has taken note of is not to be.
            self.ask_home_of_other(around, BlockRequest { reply: None, is_blocked: false, ..block });
        }
        if let Some(reply) = reply {
            around.answer(reply, DirectAnswer::Blocked { reply, outcome });
        }
    }

    fn ask_home_of_other(&mut self, around: &mut Around<'_>, block: BlockRequest) {
        let turn = &mut *around.turn;
        let home = turn.owner(turn.hasher.user(&block.other));
        if home == turn.index {
            self.block_other_asked(around, block);
        } else {
            ask(turn, home, DirectRequest::BlockOther(block));
        }
    }
}

/// Why nobody may be blocked for now.
fn refuses(around: &mut Around<'_>, user: &str, is_blocked: bool) -> Option<Reject> {
    let Around { turn, maps, .. } = around;
    let overloaded = if is_blocked { turn.account.refuses_queued(user.len()) } else { None };
    overloaded.or_else(|| maps.refuses_writes(turn, AckLevel::Memory))
}

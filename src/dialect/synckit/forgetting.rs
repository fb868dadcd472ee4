//! What was found to be of no use when a state was made: it is deleted with the next message of whoever asked for that.

use super::conversation::Conversation;
use crate::crdt::Stamp;
use crate::mesh::{Action, At};
use crate::shard::Caller;
use crate::shard::{AckLevel, Op, Ops, Shard};
use crate::wire::Reject;

/// Deletes what was found to be of no use, texts that others contain and elements that were cleared, exactly as it was found:
/// what its client has written anew since then has a later stamp, which wins.
pub fn forget(shard: &mut Shard, caller: Caller) {
    let Some(session) = shard.session(caller) else { return };
    let to_forget = std::mem::take(&mut Conversation::of(session).to_forget);
    if !to_forget.is_empty() {
        shard.write(caller, None, AckLevel::None, Deletions(to_forget.iter()));
    }
}

struct Deletions<'a>(std::slice::Iter<'a, (String, String, Stamp)>);

impl Ops for Deletions<'_> {
    fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.clone().map(|(document, key, _)| (document.as_str(), key.as_str()))
    }

    fn for_each(self, _: &mut Vec<u8>, mut carry_out: impl FnMut(Result<&Op<'_>, Reject>)) {
        for (document, key, at) in self.0 {
            let action = Action::Delete { at: At::Given(*at), map_type: None };
            carry_out(Ok(&Op { map: document, key, action }));
        }
    }
}

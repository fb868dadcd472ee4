//! The operations of a `write` as the shard takes them: values canonical, tags packed.

use super::message::{self, Ops};
use crate::limits::TAG_BYTES_MAX;
use crate::mesh::{Action, TagList};
use crate::shard;
use crate::wire::Reject;
use crate::wire::json::Value;

/// See the module.
pub struct Operations<'a> {
    ops: Ops<'a>,
    value_bytes_max: usize,
}

impl<'a> Operations<'a> {
    /// Refuses values of more than `value_bytes_max` bytes as canonical JSON.
    pub fn new(ops: Ops<'a>, value_bytes_max: usize) -> Self {
        Self { ops, value_bytes_max }
    }
}

impl shard::Ops for Operations<'_> {
    fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ops.targets()
    }

    fn for_each(self, scratch: &mut Vec<u8>, mut carry_out: impl FnMut(Result<&shard::Op<'_>, Reject>)) {
        for op in self.ops {
            scratch.clear();
            let prepared = op.and_then(|op| {
                let action = prepare(op.action, scratch, self.value_bytes_max)?;
                Ok(shard::Op { map: op.map, key: op.key, action })
            });
            carry_out(prepared.as_ref().map_err(|&reject| reject));
        }
    }
}

/// Puts the operation's value, in canonical form, or its tags into `scratch`.
fn prepare<'a>(
    action: message::Action<'a>,
    scratch: &'a mut Vec<u8>,
    value_bytes_max: usize,
) -> Result<Action<'a>, Reject> {
    let mut canonical = |value: &Value<'_>| {
        value.write_canonical(scratch);
        if scratch.len() > value_bytes_max {
            return Err(Reject::TooLarge("the value is over --max-value-bytes"));
        }
        Ok(())
    };
    Ok(match action {
        message::Action::Set { value, at, ttl_ms } => {
            canonical(&value)?;
            Action::Set { value: scratch, at: at.into(), ttl_ms }
        }
        message::Action::Delete { at, map_type } => Action::Delete { at: at.into(), map_type },
        message::Action::Add { value, tag, at } => {
            canonical(&value)?;
            Action::Add { value: scratch, tag, at: at.into() }
        }
        message::Action::RemoveTags(tags) => {
            for tag in tags {
                debug_assert!(tag.len() <= TAG_BYTES_MAX);
                TagList::push(scratch, tag);
            }
            Action::RemoveTags { tags: TagList(scratch) }
        }
        message::Action::RemoveValue(value) => {
            canonical(&value)?;
            Action::RemoveValue { value: scratch }
        }
        message::Action::Increment { by } => Action::Increment { by },
        message::Action::IncrementTotals { replica, added, subtracted } => {
            Action::IncrementTotals { replica, added, subtracted }
        }
    })
}

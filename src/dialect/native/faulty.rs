//! Messages that the parser refuses. Where only values in them are wrong, what is at fault is refused, with its reason,
//! and the rest is carried out: an operation of a `write`, else the request. Where they are no JSON, they are refused
//! with the `id` that stands before the fault.

use super::message::{Message, Request};
use super::operations::Operations;
use super::slips::refuses_slip;
use crate::limits::{PARSE_PADDING_BYTES, REQUEST_ID_BYTES_MAX};
use crate::shard::Caller;
use crate::shard::{self, Shard};
use crate::wire::json::{Diagnosis, Fault, Faults, Found, Refused, Step, What};
use crate::wire::{Close, Payload, Reject, Ticket};

/// The members whose faults have a meaning of their own.
const NAMES: &[&str] = &["id", "ops", "map", "key", "keys", "prefix", "room", "channel"];

/// Bytes of an `id` as JSON: each may be an escape.
const ID_JSON_BYTES_MAX: usize = 6 * REQUEST_ID_BYTES_MAX + 2;

/// Handles a message that was refused.
///
/// # Errors
/// Why the connection must end, where there were too many that are no JSON.
pub fn handle(
    shard: &mut Shard,
    caller: Caller,
    refused: Refused,
    mut payload: Payload<'_>,
    is_strict: bool,
) -> Result<(), Close> {
    match refused.diagnose(&mut payload, NAMES) {
        Diagnosis::Mended(faults) => handle_mended(shard, caller, &faults, payload, is_strict),
        Diagnosis::Broken { fault, id: place } => {
            let ticket = place.and_then(|place| ticket_of(shard, &payload.bytes()[place]));
            shard.bad_message(caller, ticket.as_ref(), Reject::BadJson(fault))
        }
    }
}

fn handle_mended(
    shard: &mut Shard,
    caller: Caller,
    faults: &Faults,
    payload: Payload<'_>,
    is_strict: bool,
) -> Result<(), Close> {
    let Ok(object) = shard.parser().parse(payload) else {
        return shard.bad_message(caller, None, Reject::BadJson(Fault { what: What::Unclear, byte: 0 }));
    };
    let message = Message::new(&object);
    let has_id = !faults.found.iter().any(|found| matches!(found.path[..], [Step::Member("id"), ..]));
    let ticket = message.id().filter(|_| has_id).map(|request_id| request_id.to_ticket());
    let mut wrong_as_a_whole =
        faults.found.iter().filter(|found| !faults.are_all || operation_of(found).is_none());
    match (wrong_as_a_whole.next(), message.request()) {
        (Some(found), _) => shard.reject(caller, ticket.as_ref(), reject_of(found)),
        (None, _) if is_strict && refuses_slip(shard, caller, ticket.as_ref(), &object) => {}
        (None, Ok(Request::Write { ack, ops })) => {
            let operations = Operations::new(ops, shard.config().value_bytes_max);
            shard.write(caller, ticket, ack, FaultyOperations::new(operations, &faults.found));
        }
        // No other request has operations.
        (None, Ok(_)) => shard.reject(caller, ticket.as_ref(), reject_of(&faults.found[0])),
        (None, Err(reject)) => shard.reject(caller, ticket.as_ref(), reject),
    }
    shard.parser().recycle(object);
    Ok(())
}

/// The `id` of a message as its answer repeats it, from where it stands.
pub fn ticket_of(shard: &mut Shard, json: &[u8]) -> Option<Ticket> {
    if json.len() > ID_JSON_BYTES_MAX {
        return None;
    }
    let mut alone = [b"{\"id\":", json, b"}"].concat();
    let len = alone.len();
    alone.resize(len + PARSE_PADDING_BYTES, 0);
    let object = shard.parser().parse(Payload::new(&mut alone, len)).ok()?;
    let ticket = Message::new(&object).id().map(|request_id| request_id.to_ticket());
    shard.parser().recycle(object);
    ticket
}

/// The operation that is at fault, if it is not the request as a whole.
fn operation_of(found: &Found) -> Option<usize> {
    match found.path[..] {
        [Step::Member("ops"), Step::Element(index), ..] => Some(index),
        _ => None,
    }
}

fn reject_of(found: &Found) -> Reject {
    let member = if operation_of(found).is_some() { found.path.get(2) } else { found.path.first() };
    match member {
        Some(Step::Member("map" | "key" | "keys" | "prefix" | "room" | "channel")) => {
            Reject::KeyFault(found.fault)
        }
        _ => Reject::ValueFault(found.fault),
    }
}

/// The operations of a `write`, some of which are at fault.
struct FaultyOperations<'a> {
    operations: Operations<'a>,
    /// Why each is refused, by its place.
    rejects: Vec<Option<Reject>>,
}

impl<'a> FaultyOperations<'a> {
    fn new(operations: Operations<'a>, faults: &[Found]) -> Self {
        let mut rejects = vec![None; shard::Ops::targets(&operations).count()];
        for found in faults {
            if let Some(reject) = operation_of(found).and_then(|index| rejects.get_mut(index)) {
                reject.get_or_insert(reject_of(found));
            }
        }
        Self { operations, rejects }
    }
}

impl shard::Ops for FaultyOperations<'_> {
    fn targets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.operations.targets()
    }

    fn for_each(self, scratch: &mut Vec<u8>, mut carry_out: impl FnMut(Result<&shard::Op<'_>, Reject>)) {
        let mut rejects = self.rejects.into_iter();
        self.operations.for_each(scratch, |op| {
            let reject = rejects.next().flatten();
            carry_out(reject.map_or(op, Err));
        });
    }
}

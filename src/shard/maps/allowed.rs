//! What rules that look at values make of an operation, at the owner of its key, who alone knows what is there.
//!
//! They are asked before anything else, whether the operation would lose or not, so that a refusal tells what the rules say
//! of what is there and nothing more. Who may not change some fields has them kept: what is written is made of both.

use super::{MapSlot, Maps};
use crate::auth::rules::{Asked, Facts, Parts};
use crate::crdt::{OrSet, State};
use crate::mesh::{Action, Merged, Write, Writer};
use crate::metrics::OpOutcome;
use crate::shard::turn::Turn;
use crate::shard::work;
use crate::wire::Reject;

const TOO_MUCH: Reject = Reject::TooLarge("rules would have to look at more values than one operation may");
const KEPT: Reject = Reject::TooLarge("with the fields that are kept the value is longer than one may be");

impl Maps {
    /// Applies an operation as far as the rules allow it.
    #[cold]
    pub(super) fn ask_and_apply(
        &mut self,
        turn: &mut Turn,
        slot: MapSlot,
        (write, parts): (&Write<'_>, &Parts),
        writer: Option<Writer>,
    ) -> Result<Merged, Reject> {
        let mut asked = Asked::default();
        let made = self.made_of(turn, slot, (write, parts), &mut asked);
        turn.count_asked(asked);
        match made {
            Err(reject) => {
                turn.metrics.count_op(super::apply::op_kind(&write.action), OpOutcome::Rejected);
                Err(reject)
            }
            Ok(None) => self.apply_allowed(turn, slot, write, writer),
            // It is not what its writer knows, who is told like everybody else.
            Ok(Some(value)) => {
                let mut action = write.action.with_value(&value);
                // With its fields a value keeps its end.
                if let Action::Set { ttl_ms: ttl_ms @ None, .. } = &mut action {
                    *ttl_ms = self.left_ms(turn, slot, write);
                }
                self.apply_allowed(turn, slot, &Write { action, ..*write }, None)
            }
        }
    }

    /// How long the value that is there has yet to live, if it ends.
    fn left_ms(&self, turn: &Turn, slot: MapSlot, write: &Write<'_>) -> Option<u64> {
        let Some(State::Lww(lww)) = self.find_state(slot, write) else { return None };
        (lww.expires_ms() > turn.now.unix_ms).then(|| lww.expires_ms() - turn.now.unix_ms)
    }

    /// What is written in place of the value that was sent; `None`: that, or nothing is.
    fn made_of(
        &self,
        turn: &Turn,
        slot: MapSlot,
        (write, parts): (&Write<'_>, &Parts),
        asked: &mut Asked,
    ) -> Result<Option<Vec<u8>>, Reject> {
        let state = self.find_state(slot, write);
        let Write { map, key, .. } = *write;
        let count = || match state {
            Some(State::Counter(counter)) => Some(counter.count()),
            _ => None,
        };
        match write.action {
            Action::Set { value, ttl_ms, .. } => {
                let facts = Facts::new(map, key, Some(value), live_value(turn, state));
                let made = written(turn, parts, &facts, asked)?;
                if ttl_ms.is_some() {
                    // It will be gone, so who writes it must be allowed to delete it.
                    let outcome = made.as_deref().or(Some(value));
                    Removed { write, parts, asked }.may_go(outcome)?;
                }
                Ok(made)
            }
            Action::Add { value, tag, .. } => {
                // A tag that is there gets another value.
                let current = match (state, tag) {
                    (Some(State::OrSet(set)), Some(tag)) => set.live_tag(tag).map(|tagged| tagged.value()),
                    _ => None,
                };
                written(turn, parts, &Facts::new(map, key, Some(value), current), asked)
            }
            Action::Increment { by } => counts(write, parts, (by.into(), count()), asked),
            Action::IncrementTotals { replica, added, subtracted } => {
                let known = match state {
                    Some(State::Counter(counter)) => counter.totals(&replica),
                    _ => Default::default(),
                };
                let ahead = |told: u64, known: u64| i128::from(told.saturating_sub(known));
                let by = ahead(added, known.added) - ahead(subtracted, known.subtracted);
                counts(write, parts, (by, count()), asked)
            }
            Action::Delete { .. } | Action::RemoveTags { .. } | Action::RemoveValue { .. } => {
                let mut removal = Removed { write, parts, asked };
                removal.check(turn, state).map(|()| None)
            }
        }
    }
}

fn written(
    turn: &Turn,
    parts: &Parts,
    facts: &Facts<'_>,
    asked: &mut Asked,
) -> Result<Option<Vec<u8>>, Reject> {
    let sent = facts.value.unwrap_or_default();
    let written = parts.written(facts, asked).ok_or(Reject::Forbidden)?;
    if *written == *sent {
        return Ok(None);
    }
    if written.len() > turn.config.value_bytes_max.max(sent.len()) {
        return Err(KEPT);
    }
    Ok(Some(written.into_owned()))
}

/// The value of an increment is what is added.
fn counts(
    write: &Write<'_>,
    parts: &Parts,
    (by, count): (i128, Option<i128>),
    asked: &mut Asked,
) -> Result<Option<Vec<u8>>, Reject> {
    let (by, count) = (by.to_string(), count.map(|count| count.to_string()));
    let current = count.as_ref().map(String::as_bytes);
    let facts = Facts::new(write.map, write.key, Some(by.as_bytes()), current);
    parts.written(&facts, asked).map(|_| None).ok_or(Reject::Forbidden)
}

/// The value that is there and has not ended.
fn live_value<'a>(turn: &Turn, state: Option<State<'a>>) -> Option<&'a [u8]> {
    let Some(State::Lww(lww)) = state else { return None };
    let is_over = lww.expires_ms() != 0 && lww.expires_ms() <= turn.now.unix_ms;
    lww.value().filter(|_| !is_over)
}

/// A removal, which is allowed if all that would be gone may be.
struct Removed<'a> {
    write: &'a Write<'a>,
    parts: &'a Parts,
    asked: &'a mut Asked,
}

impl Removed<'_> {
    fn check(&mut self, turn: &Turn, state: Option<State<'_>>) -> Result<(), Reject> {
        match (self.write.action, state) {
            // Whether any tag has it is not told.
            (Action::RemoveValue { value }, _) => self.may_go(Some(value)),
            (Action::RemoveTags { tags }, state) => {
                let set = match state {
                    Some(State::OrSet(set)) => Some(set),
                    _ => None,
                };
                let value_of = |tag: &str| Some(set?.live_tag(tag)?.value());
                tags.iter().try_for_each(|tag| self.may_go(value_of(tag)))
            }
            (_, Some(State::OrSet(set))) if has_any(set) => {
                set.live().try_for_each(|tagged| self.may_go(Some(tagged.value())))
            }
            (_, Some(State::Counter(counter))) => self.may_go(Some(counter.count().to_string().as_bytes())),
            (_, state) => self.may_go(live_value(turn, state)),
        }
    }

    fn may_go(&mut self, value: Option<&[u8]>) -> Result<(), Reject> {
        let facts = Facts::new(self.write.map, self.write.key, value, value);
        let fields = self.parts.fields(&facts, self.asked);
        if !fields.is_some_and(|fields| fields.is_every()) {
            return Err(Reject::Forbidden);
        }
        // Only who may remove all that was looked at so far learns that there is more.
        if self.asked.work as u64 > work::CONNECTION_MAX { Err(TOO_MUCH) } else { Ok(()) }
    }
}

fn has_any(set: &OrSet) -> bool {
    set.live().len() > 0
}

//! Ties: operations on one key to which several clients give one stamp, as if they had one name, or one tag. Without
//! many of them on purpose no part of the order beyond the stamp would ever matter.

use super::{Client, Context, Op, OpKind};
use crate::replica::{Cell, Stamp};
use crate::scenario::Kind;

/// How the tags of ties begin. What is under one of them may change, so that nobody knows what removing a value removes.
pub const TIE_TAG: &str = "tie-";
/// How the keys of ties end. Nothing else is written there, as it would win over all of them before anybody looks.
pub const TIE_KEY: &str = "-tie";
/// The furthest that a tie is ahead of the wall clock: less than the drift that servers allow.
const AHEAD_MS_MAX: u64 = 30_000;

/// In what the operations of a tie differ. What is decided by one is decided for all that come after it, so that a tie which
/// differs in everything says nothing of the last of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Varies {
    Value,
    End,
    Deletion,
    Node,
}

/// What clients agree on.
pub struct Tie {
    map: usize,
    kind: Kind,
    key: String,
    millis: u64,
    varies: Varies,
    /// Operations that are still to come.
    left: usize,
}

impl Client {
    /// Now and then an operation of the tie that is on, or of a new one. SyncKit's clients see no node, no end and no
    /// deletion in a stamp: there are none with those.
    pub(super) fn tie_op(&mut self, context: &mut Context<'_>) -> Option<Op> {
        let has_ties = context.scenario.clients_synckit == 0 && context.scenario.brings_stamps;
        if !has_ties || !context.random.per_mille(300) {
            return None;
        }
        if context.tie.is_none() {
            *context.tie = self.begin_tie(context);
        }
        let tie = context.tie.as_mut()?;
        tie.left -= 1;
        let (map, kind, key) = (tie.map, tie.kind, tie.key.clone());
        let (millis, varies) = (tie.millis, tie.varies);
        if tie.left == 0 {
            *context.tie = None;
        }
        let kind = if kind == Kind::Or {
            tied_add(millis, varies, context)
        } else {
            tied_write(millis, varies, context)
        };
        Some(self.op(map, key, kind, context))
    }

    fn begin_tie(&self, context: &mut Context<'_>) -> Option<Tie> {
        let map = context.random.below(context.scenario.maps.len());
        let kind = match context.scenario.maps[map].kind {
            Kind::Contested => context.random.pick(&[Kind::Lww, Kind::Or]),
            kind @ (Kind::Lww | Kind::Or) => kind,
            Kind::Counter | Kind::Rising => return None,
        };
        let key = format!("{}{TIE_KEY}", super::requests::key(context));
        // Later than what is there, or all of them would lose.
        let there = context.oracle.floor_of_key(map, &key);
        let there_ms = there.as_ref().and_then(Cell::latest).map_or(0, |at| at.millis);
        let latest_ms = context.unix_ms.max(self.told.millis).max(there_ms) + 1;
        let millis = latest_ms.min(context.unix_ms + AHEAD_MS_MAX);
        let varies = context.random.pick(&[Varies::Value, Varies::End, Varies::Deletion, Varies::Node]);
        Some(Tie { varies, map, kind, key, millis, left: context.random.between(2, 12) })
    }
}

/// Few values, ends and nodes, so that states are often equal but for one of them.
fn tied_write(millis: u64, varies: Varies, context: &mut Context<'_>) -> OpKind {
    let at = Some(stamp(millis, varies, context));
    if varies >= Varies::Deletion && context.random.per_mille(150) {
        return OpKind::Delete { at };
    }
    let ends = if varies >= Varies::End { [None, None, Some(1_500), Some(3_000)] } else { [None; 4] };
    OpKind::Set { value: format!("\"{}\"", value(context)), at, ttl_ms: context.random.pick(&ends) }
}

/// Values of one tag are ordered by stamp, then value; in half of the ties servers give some of the stamps.
fn tied_add(millis: u64, varies: Varies, context: &mut Context<'_>) -> OpKind {
    let has_stamp = varies < Varies::Deletion || context.random.per_mille(800);
    let at = has_stamp.then(|| stamp(millis, varies, context));
    let tag = Some(format!("{TIE_TAG}{millis}-{}", context.random.below(2)));
    OpKind::Add { value: value(context), tag, at }
}

fn stamp(millis: u64, varies: Varies, context: &mut Context<'_>) -> Stamp {
    let node = if varies == Varies::Node { context.random.pick(&["tab", "tac"]) } else { "tab" };
    Stamp { millis, counter: 0, node: node.to_owned() }
}

fn value(context: &mut Context<'_>) -> String {
    format!("tied-{}", context.random.below(4))
}

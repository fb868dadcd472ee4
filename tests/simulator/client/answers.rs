//! What the server says, checked against what was asked.

use std::collections::VecDeque;

use simd_json::OwnedValue;
use simd_json::prelude::*;

use super::watch::{Rules, Watch};
use super::{Asked, Client, Context, Op, OpKind, Stage};
use crate::link::Link;
use crate::oracle::Answer;
use crate::replica::{Cell, Replica, Stamp};
use crate::types::Sight;

/// Codes an operation of the simulator may be refused with, and those it may be refused with where maps are on a
/// disk that is full or slow beside them.
const OP_CODES: [&str; 3] = ["map_type", "clock_drift", "timeout"];
const STORAGE_OP_CODES: [&str; 3] = ["overloaded", "read_only", "load_failed"];
/// Codes a request of the simulator may be refused with.
const REQUEST_CODES: [&str; 5] =
    ["bad_json", "unknown_type", "too_many_subscriptions", "timeout", "cancelled"];

impl Client {
    pub(super) fn handle_text(&mut self, payload: Vec<u8>, link: &mut Link, context: &mut Context<'_>) {
        let mut bytes = payload.clone();
        let message = simd_json::to_owned_value(&mut bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&payload)));
        let kind = message.get_str("type").expect("every message has a type").to_owned();
        self.check_is_not_refused(&message);
        if !std::mem::replace(&mut self.has_hello, true) {
            assert_eq!(kind, "hello", "the first message");
            if self.stage == Stage::Greeting {
                self.stage = Stage::Open;
                let time = message.get_str("time").expect("hello tells the time");
                context.oracle.saw_time(&Stamp::parse(time));
                self.introduce(&message, link, context);
                self.resubscribe(link, context);
                self.take_lists_up(link, context);
            }
            return;
        }
        let id = message.get_u64("id");
        if self.hear_of_list(&kind, &message) {
            return;
        }
        match &kind[..] {
            "change" => self.handle_change(&message, context),
            "message" | "gap" => self.handle_talk(&kind, &message, context),
            "direct" => self.letter_arrived(&message, context),
            "snapshot" => self.handle_snapshot(&message, id, context),
            "error" => self.handle_error(&message, id, link, context),
            "authenticated" => self.handle_authenticated(&message, id, link, context),
            "auth.expiring" => self.handle_expiry(link, context),
            "ack" if id.is_some_and(|id| self.unanswered.contains_key(&id)) => {
                panic!("an ack nobody asked for")
            }
            "pong" if id.is_none() => {}
            _ if kind.starts_with("presence.") => self.hear_of_room(&kind, &message),
            _ => {
                let id = id.unwrap_or_else(|| panic!("no id: {message}"));
                let asked = self.answered(id, &message);
                match (&asked, &kind[..]) {
                    (Asked::Join { .. }, "joined")
                    | (Asked::Leave, "left")
                    | (Asked::Publish { .. }, "published")
                    | (Asked::History { .. }, "history") => {
                        self.handle_talked(id, &asked, &message, context);
                    }
                    _ => self.handle_answer(asked, &kind, &message, context),
                }
            }
        }
    }

    /// What the request with this `id` had asked for, which has no other final answer.
    pub(super) fn answered(&mut self, id: u64, message: &OwnedValue) -> Asked {
        let asked = self.asked.remove(&id);
        let asked = asked.unwrap_or_else(|| panic!("answered twice, or not asked: {message}"));
        if let Asked::Subscribe { map } | Asked::Unsubscribe { map, .. } = asked {
            let first = self.in_order.get_mut(&map).and_then(VecDeque::pop_front);
            assert_eq!(first, Some(id), "an answer has overtaken that of an earlier request: {message}");
        }
        asked
    }

    fn handle_answer(&mut self, asked: Asked, kind: &str, message: &OwnedValue, context: &mut Context<'_>) {
        let map_of = |map: usize| {
            assert_eq!(message.get_str("map"), Some(&context.scenario.maps[map].name[..]), "{message}");
        };
        match (asked, kind) {
            (Asked::Ping, "pong") | (Asked::EndList, "unsubscribed") => {}
            (Asked::Letter { number, is_durable }, "sent") => {
                self.letter_sent((number, is_durable), message, context);
            }
            (Asked::Write { ops, wants_durable, told }, "ack") => {
                self.handle_ack(ops, wants_durable, &told, message, context);
            }
            (Asked::Read { map, keys, floor }, "entries") => {
                map_of(map);
                let mut read = Replica::default();
                for entry in message.get_array("entries").expect("entries") {
                    let (key, cell) = Cell::of_entry(entry);
                    cell.latest().into_iter().for_each(|at| self.was_told(at));
                    assert!(keys.contains(&key), "{key} was not asked for");
                    assert!(!self.cannot_see(&key), "{key} is hidden");
                    assert!(read.merge(&key, &cell), "{key} was answered twice");
                }
                for (key, floor) in keys.iter().zip(&floor) {
                    let cell = read.cells.get(key);
                    let is_there =
                        floor.as_ref().is_none_or(|floor| cell.is_some_and(|cell| cell.covers(floor)));
                    assert!(is_there || context.scenario.forgets, "{key} reads {cell:?}, acked {floor:?}");
                }
            }
            (Asked::Unsubscribe { map, watch: ended }, "unsubscribed") => {
                map_of(map);
                let watch = self.watches.get_mut(&map).filter(|watch| Some(watch.id) == ended);
                if let Some(watch) = watch {
                    match watch.next.take() {
                        // A later subscribe is on its way.
                        Some(next) => *watch = *next,
                        None => drop(self.watches.remove(&map)),
                    }
                }
            }
            (Asked::Digest { map }, "digest") => {
                map_of(map);
                let hash = message.get_str("hash").expect("a hash").to_owned();
                assert_eq!(hash.len(), 16);
                self.digests.insert(map, (message.get_u64("entries").expect("a number of entries"), hash));
            }
            (asked, _) => panic!("{asked:?} was answered with {message}"),
        }
    }

    /// Notes a stamp that the server has told.
    fn was_told(&mut self, stamp: &Stamp) {
        if stamp.time() > self.told.time() {
            self.told = stamp.clone();
        }
    }

    fn was_told_entries(&mut self, message: &OwnedValue) {
        for entry in message.get_array("entries").expect("entries") {
            let (_, cell) = Cell::of_entry(entry);
            cell.latest().into_iter().for_each(|at| self.was_told(at));
        }
    }

    fn handle_change(&mut self, message: &OwnedValue, context: &mut Context<'_>) {
        let (map, name) = named_map(message, context);
        self.was_told_entries(message);
        let own = format!("{}.{}.", self.name, self.connection);
        let rules = Rules {
            forgets: context.scenario.forgets,
            is_strict: context.is_calm || context.scenario.never_conflates,
        };
        let watch = self.watches.get_mut(&map).unwrap_or_else(|| panic!("{name} is not watched: {message}"));
        watch.change(message, name, context.scenario.maps[map].kind, &own, rules);
    }

    fn handle_snapshot(&mut self, message: &OwnedValue, id: Option<u64>, context: &mut Context<'_>) {
        let (map, name) = named_map(message, context);
        self.was_told_entries(message);
        if let Some(map_type) = message.get_str("map_type") {
            let map_type = ["lww", "or", "counter"].into_iter().find(|known| *known == map_type);
            let map_type = map_type.expect("a type of map");
            // A type that is on a disk stays.
            let left_at = context.scenario.storage.is_some().then_some("");
            let asked_us = self.watches.get(&map).map_or(0, |watch| watch.began_us);
            let sight = Sight { map, map_type, asked_us, now_us: context.now_us, left_at };
            context.oracle.saw_type(&sight, false);
        }
        let watch = self.watches.get_mut(&map).unwrap_or_else(|| panic!("{name} is not watched: {message}"));
        // A peer that has fallen too far behind is told anew without having asked.
        assert!(id.is_some() || context.scenario.forgets || watch.must_reset, "a snapshot nobody asked for");
        while let Some(id) = id.filter(|id| *id != watch.id) {
            assert!(watch.next.is_some(), "a snapshot for request {id} that is over: {message}");
            watch.begin_next();
        }
        let kind = context.scenario.maps[map].kind;
        watch.chunk(message, name, kind, context.scenario, context.now_us);
        let is_last = watch.is_live;
        if let Some(id) = id {
            assert!(self.asked.contains_key(&id), "answered already: {message}");
            if is_last {
                self.answered(id, message);
            }
        }
    }

    fn handle_error(
        &mut self,
        message: &OwnedValue,
        id: Option<u64>,
        link: &mut Link,
        context: &mut Context<'_>,
    ) {
        let code = message.get_str("code").expect("an error has a code");
        let Some(id) = id else {
            return match code {
                "token_expired" => self.handle_expiry(link, context),
                "auth_failed" => self.handle_auth_failed(None, message, context),
                code => assert_eq!(code, "bad_json"),
            };
        };
        if self.rooms.is_asked(id) {
            return self.rooms.refused(id, code);
        }
        if let Some(operations) = self.unanswered.get_mut(&id) {
            assert!(may_refuse(code, context), "{message}");
            *operations = operations.checked_sub(1).expect("an error for each operation at most");
            return;
        }
        match (self.answered(id, message), code) {
            (Asked::Ping, "unknown_type") => {}
            (Asked::Letter { .. }, code) => self.letter_refused(code, message),
            (asked @ Asked::Auth { .. }, "auth_failed") => {
                self.handle_auth_failed(Some(&asked), message, context)
            }
            (Asked::Read { .. } | Asked::Digest { .. }, "timeout" | "load_failed") => {}
            // What waits for all clients takes what memory there is for it.
            (Asked::Read { .. }, "overloaded") if context.scenario.config.memory_limit_bytes > 0 => {
                assert!(message.get_u64("retry_after_ms").is_some(), "{message}");
            }
            (Asked::Subscribe { map }, "too_many_subscriptions") => {
                // There is room for what takes the place of another, so this one is the first.
                let watch = self.watches.remove(&map).expect("it was asked for");
                assert_eq!(watch.id, id, "a subscription in the place of another was refused");
                if let Some(next) = watch.next {
                    self.watches.insert(map, *next);
                }
            }
            // The map could not be loaded. What was before it is over, too.
            (Asked::Subscribe { map }, "timeout" | "load_failed") if context.scenario.storage.is_some() => {
                let mut watch = self.watches.remove(&map).expect("it was asked for");
                while watch.id != id {
                    watch = *watch.next.take().expect("it was asked for, and is not over");
                }
                if let Some(next) = watch.next {
                    self.watches.insert(map, *next);
                }
            }
            (Asked::Subscribe { map }, "cancelled") => {
                self.watches.get_mut(&map).expect("it was asked for").cancel(id);
            }
            (
                asked @ (Asked::Join { .. } | Asked::Leave | Asked::Publish { .. } | Asked::History { .. }),
                code,
            ) => self.talk_refused(id, &asked, code),
            (asked, code) => panic!("{asked:?} was refused with {code}: {REQUEST_CODES:?} are expected"),
        }
    }

    fn handle_ack(
        &mut self,
        ops: Vec<Op>,
        wants_durable: bool,
        told: &Stamp,
        message: &OwnedValue,
        context: &mut Context<'_>,
    ) {
        let stamps = message.get_array("stamps").expect("an ack has stamps");
        assert_eq!(stamps.len(), ops.len(), "one stamp for each operation: {message}");
        let rejected: Vec<(usize, &str)> = message
            .get_array("rejected")
            .into_iter()
            .flatten()
            .map(|rejected| {
                let code = rejected.get_str("code").expect("a code");
                (rejected.get_usize("index").expect("an index"), code)
            })
            .collect();
        let is_late = message.get_bool("timeout") == Some(true);
        let is_durable = message.get_str("level") == Some("durable");
        assert!(wants_durable || !is_durable, "more than was asked for: {message}");
        let applied = message.get_usize("applied").expect("a number of operations");
        assert!(is_late || applied + rejected.len() == ops.len(), "{message}");
        let can_be_durable = context.scenario.config.offers_durable && wants_durable;
        assert!(is_durable || is_late || !can_be_durable || applied == 0, "{message}");
        for (index, op) in ops.into_iter().enumerate() {
            let stamp = stamps[index].as_str().map(Stamp::parse);
            if let Some(stamp) = &stamp {
                // Whatever the client had awaited or heard when it sent this, on any shard, is earlier.
                let is_own = op.own_stamp().is_some();
                assert!(is_own || stamp.time() > told.time(), "{op:?} has {stamp:?}, told {told:?} before");
                self.was_told(stamp);
            }
            if let Some((_, code)) = rejected.iter().find(|(rejected, _)| *rejected == index) {
                assert!(may_refuse(code, context), "{op:?} was refused with {code}");
                assert!(*code != "clock_drift" || op.is_far_ahead(), "{op:?} was refused as drifting");
                assert!(*code != "timeout" || is_late, "{op:?} timed out in time: {message}");
                match op.kind {
                    _ if *code == "timeout" => self.unclear(op, context),
                    OpKind::Increment { by } => {
                        context.oracle.increment_answered(op.map, &op.key, by, Answer::Refused);
                    }
                    _ => {}
                }
            } else if stamp.is_some() || !is_late && !op.has_stamp() {
                self.acked(op, stamp, is_durable, context);
            } else {
                assert!(is_late, "{op:?} was acked without its stamp: {message}");
                self.unclear(op, context);
            }
        }
    }

    fn acked(&mut self, op: Op, stamp: Option<Stamp>, is_durable: bool, context: &mut Context<'_>) {
        context.oracle.acked += 1;
        context.oracle.acked_durable += u64::from(is_durable);
        let left_at = match context.scenario.storage {
            // A type that is on a disk stays.
            Some(_) => Some(""),
            None => op.leaves_something().then_some(&op.key[..]),
        };
        let (map, map_type, asked_us) = (op.map, op.kind.map_type(), op.made_us);
        let sight = Sight { map, map_type, asked_us, now_us: context.now_us, left_at };
        let is_of_now = context.oracle.saw_type(&sight, is_durable);
        if let (Some(own), Some(stamp)) = (op.own_stamp(), &stamp) {
            assert_eq!(own, stamp, "the stamp the client brought");
        }
        if let (None, Some(stamp)) = (op.own_stamp(), &stamp) {
            self.note_given(&op, stamp);
            context.oracle.saw_stamp(stamp, is_durable);
        }
        match &op.kind {
            OpKind::Increment { by } => {
                let answer = if is_durable { Answer::AppliedDurably } else { Answer::Applied };
                context.oracle.increment_answered(op.map, &op.key, *by, answer);
            }
            OpKind::Totals { totals } => {
                context.oracle.totals_acked(op.map, &op.key, self.index, *totals, is_durable);
            }
            _ => {}
        }
        let Some(cell) = op.outcome(stamp).filter(|_| is_of_now) else { return };
        context.oracle.acked(op.map, &op.key, &cell, is_durable);
        if context.scenario.forgets {
            // It hears its own changes, and may have heard of their removal, which nobody remembers any more.
            return;
        }
        // Whoever does not hear its own changes has to make them; the others may.
        if let Some(watch) = self.watches.get_mut(&op.map) {
            merge_own(watch, &op.key, &cell);
        }
        if let Some(kept) = self.kept.get_mut(&op.map) {
            merge_own(kept, &op.key, &cell);
        }
    }

    /// It will not be known whether this operation was applied.
    pub(super) fn unclear(&mut self, op: Op, context: &mut Context<'_>) {
        context.oracle.ambiguous += 1;
        self.mark_unclear(&op);
    }
}

fn may_refuse(code: &str, context: &Context<'_>) -> bool {
    OP_CODES.contains(&code) || context.scenario.storage.is_some() && STORAGE_OP_CODES.contains(&code)
}

fn merge_own(watch: &mut Watch, key: &str, cell: &Cell) {
    if watch.spec.filter.passes(key) {
        if watch.spec.bare {
            // What others did before this began is not told either, so this is not all there is.
            watch.unclear.insert(key.to_owned());
        } else if watch.is_live {
            watch.replica.merge(key, cell);
        } else {
            watch.own.merge(key, cell);
        }
    }
    if let Some(next) = &mut watch.next {
        merge_own(next, key, cell);
    }
}

fn named_map<'a>(message: &OwnedValue, context: &Context<'a>) -> (usize, &'a str) {
    let name = message.get_str("map").expect("a map");
    let maps = &context.scenario.maps;
    let map = maps.iter().position(|map| map.name == name).expect("a map of the scenario");
    (map, &maps[map].name)
}

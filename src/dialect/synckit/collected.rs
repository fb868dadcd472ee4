//! The state of a document as it comes from its owners, is made, and answers those who wait for it.

use super::answers;
use super::changes::Changes;
use super::conversation::Conversation;
use super::document::{Stage, StateRequest};
use super::frame::Framing;
use super::line::{Line, StateKey};
use super::refusal::{Reason, Refusal};
use super::replies;
use super::unfinished::{Held, Unfinished};
use crate::dialect::places::SYNCKIT;
use crate::mesh::Entries;
use crate::shard::{Answered, Caller, Commons, Now, Parts, Shard, SnapshotEnd, work};

/// Units of work of making states that fit into a turn whatever else it has done, so that they get done.
const MAKING_UNITS_MIN: u64 = work::TURN_MAX / 8;

/// A chunk of the state has come.
pub fn collected(
    conversation: &mut Conversation,
    framing: Framing,
    name: &str,
    entries: Entries<'_>,
    end: SnapshotEnd,
    now: Now,
    out: &mut Vec<u8>,
) {
    let is_last = end != SnapshotEnd::More;
    let Some(document) = conversation.documents.get_mut(name) else { return };
    let changes = Changes { framing, document: name, client: conversation.clock_name.as_ref() };
    match (document.stage, &mut conversation.collecting) {
        (Stage::Collecting, Some(collecting)) => {
            collecting.collect(entries, |text| changes.pass_on(out, text));
            collecting.is_whole = is_last;
            if collecting.is_too_large() {
                document.stage = Stage::Ignoring;
                collecting.clear();
                let (answering, reason) = (collecting.answering, answers::no_room(collecting.room));
                refuse_first(conversation, framing, name, answering, reason, now, out);
            }
        }
        (Stage::Ignoring, Some(collecting)) => collecting.is_whole = is_last,
        _ => {
            changes.write(out, entries);
            if is_last && document.stage != Stage::Queued {
                document.stage = Stage::Live;
            }
        }
    }
}

/// Refuses the first of those who wait for the state of a document.
fn refuse_first(
    conversation: &mut Conversation,
    framing: Framing,
    name: &str,
    count: usize,
    reason: Reason<'_>,
    now: Now,
    out: &mut Vec<u8>,
) {
    let Some(document) = conversation.documents.get_mut(name) else { return };
    let refused: Vec<StateRequest> = document.waiting.drain(..count).collect();
    for request in refused {
        conversation.waiting_bytes -= request.bytes();
        let refusal = Refusal::Failed { what: request.failure, document: name, reason };
        replies::write_refusal(conversation, framing, refusal, now, out);
    }
}

/// Answers those who wait for a state, if all of it has come and it was made; who else may begin to collect one now. If it is
/// yet to be made, changes wait for it: they are told after it.
pub fn answer(
    conversation: &mut Conversation,
    commons: &mut Commons,
    framing: Framing,
    now: Now,
    out: &mut Parts<'_>,
) -> Answered {
    let line = commons.of::<Line>();
    if let Some(mut collected) = conversation.collecting.take_if(|collecting| collecting.is_whole) {
        let stage = conversation.documents.get_mut(&collected.name).map(|document| document.stage);
        if stage == Some(Stage::Collecting) {
            let key = StateKey::new(framing, collected.version());
            let Some(state) = line.find(key) else {
                if let Some(caller) = conversation.place {
                    line.make(key, &collected.name, std::mem::take(&mut collected.parts), caller);
                }
                let next = line.next();
                conversation.collecting = Some(collected);
                commons.go_on(SYNCKIT);
                return Answered { next, holds_changes: true };
            };
            conversation.end_reading(line);
            conversation.reading =
                conversation.place.and_then(|caller| line.begin_reading(key, caller, now.timer_ms()));
            answers::note_of_no_use(conversation, &collected.name, line.take_of_no_use());
            answers::answer_all(conversation, framing, &collected, &state, now, out);
        }
        if let Some(document) = conversation.documents.get_mut(&collected.name) {
            document.stage = Stage::Live;
            if !document.waiting.is_empty() {
                (document.stage, document.knows_more) = (Stage::Queued, true);
                conversation.queue.push_back(collected.name);
            }
        }
    }
    conversation.end_collecting(line);
    Answered { next: line.next(), holds_changes: false }
}

/// Goes on with the states that are being made, as far as this turn's work allows, and answers those who wait for one that is
/// done.
pub fn make_on(shard: &mut Shard) {
    let enough = work::TURN_MAX.max(shard.work() + MAKING_UNITS_MIN);
    for _ in 0..shard.commons().of::<Line>().making() {
        if shard.work() >= enough {
            break;
        }
        let (units, done) = shard.commons().of::<Line>().make_on();
        shard.spend(units);
        for caller in done {
            shard.answer(caller);
        }
        shard.commons().of::<Line>().end_finished();
    }
    if shard.commons().of::<Line>().making() > 0 {
        shard.commons().go_on(SYNCKIT);
    }
}

/// The connection is gone; who may begin to collect a state now.
pub fn closed(conversation: &mut Conversation, commons: &mut Commons, caller: Caller) -> Option<Caller> {
    commons.of::<Unfinished>().changed(caller, conversation.chunks.held(), Held::default());
    let line = commons.of::<Line>();
    conversation.collecting = None;
    line.forget(conversation.in_line.take());
    conversation.end_collecting(line);
    conversation.end_reading(line);
    line.ended(caller.connection());
    line.next()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::config::Config;
    use crate::crdt::{Node, Stamp, Time};
    use crate::dialect::synckit::document::{Collecting, Document, Limits};
    use crate::dialect::synckit::frame::clock_number;
    use crate::mesh::{ConnectionId, EntryPacker};
    use crate::shard::{BufferPool, Outbox};
    use crate::wire::{Cursor, Scope};

    const ASKED: Time = Time::new(50, 0);

    /// What a client that names no request is told of a document with these keys: when each was changed, and its value.
    fn told(knows_more: bool, keys: &[(&str, Time, Option<&str>)]) -> String {
        told_and_left(knows_more, keys).0
    }

    /// The same, and what is remembered of the client then.
    fn told_and_left(knows_more: bool, keys: &[(&str, Time, Option<&str>)]) -> (String, Conversation) {
        let mut conversation = Conversation::default();
        let waiting = VecDeque::from([StateRequest { id: None, wants_fields: true, failure: "" }]);
        conversation.waiting_bytes = waiting[0].bytes();
        let mut commons = Commons::default();
        let version = commons.of::<Line>().version("d");
        conversation.collecting =
            Some(Collecting::new("d".to_owned(), version, &waiting, usize::MAX / 2, ASKED));
        conversation.place = Some(Caller::of_test(ConnectionId { index: 1, generation: 1 }));
        let document = Document { stage: Stage::Collecting, waiting, knows_more };
        *conversation.documents.admit("d", Limits::of(&Config::default())).unwrap() = document;
        let mut packed = Vec::new();
        for &(key, time, value) in keys {
            let at = Stamp { time, node: Node::new(b"n").unwrap() };
            EntryPacker(&mut packed).value(key, &at, value.map(str::as_bytes));
        }
        let cursor = Cursor { epoch: 1, time: Time::ZERO, scope: Scope::UNKNOWN };
        let end = SnapshotEnd::Last { cursor, resumed: false, reset: false };
        let mut out = Vec::new();
        let (now, entries) = (Now { unix_ms: 60, monotonic_us: 0 }, Entries::new(&packed));
        collected(&mut conversation, Framing::Text, "d", entries, end, now, &mut out);
        assert!(out.is_empty(), "what is collected waits for its end");
        let (mut outbox, mut pool) = (Outbox::default(), BufferPool::default());
        let mut answered = |commons: &mut Commons| {
            let framing = Framing::Text;
            outbox.append_parts(&mut pool, |parts| answer(&mut conversation, commons, framing, now, parts))
        };
        assert!(answered(&mut commons).holds_changes, "it is yet to be made");
        while commons.of::<Line>().make_on().1.is_empty() {}
        assert!(!answered(&mut commons).holds_changes);
        outbox.start_send();
        let told = outbox.in_flight().collect::<Vec<_>>().concat();
        (String::from_utf8_lossy(&told).into_owned(), conversation)
    }

    #[test]
    fn a_state_has_the_clock_of_its_oldest_field() {
        let told = told(false, &[("old", Time::new(10, 3), Some("1")), ("new", Time::new(40, 0), Some("2"))]);
        let oldest = clock_number(Time::new(10, 3));
        let state = format!(r#""state":{{"old":1,"new":2}},"deltas":[],"clock":{{"server":{oldest}}}"#);
        assert!(told.contains(&state), "a later change with a clock between them must win: {told}");
    }

    #[test]
    fn the_latest_removals_are_told_and_to_who_knows_the_fields_all_since_it_asked() {
        let names: Vec<String> = (0..1_500).map(|n| format!("f{n:04}")).collect();
        let removed = |from: Time| -> Vec<_> {
            let time = |n| Time::new(from.millis(), n as u16);
            names.iter().enumerate().map(|(n, name)| (&**name, time(n), None)).collect()
        };
        for (knows_more, time, expected) in
            [(false, ASKED, 1_000), (true, ASKED, 1_500), (true, Time::new(49, 0), 1_000)]
        {
            let told = told(knows_more, &removed(time));
            assert!(told.contains(r#""state":{}"#), "{told:.200}");
            assert_eq!(
                told.matches(r#""value":{"__deleted":true}"#).count(),
                expected,
                "{knows_more} {time:?}"
            );
            assert!(told.contains(r#""field":"f1499""#));
            assert_eq!(told.contains(r#""field":"f0499""#), expected > 1_000);
        }
    }

    #[test]
    fn elements_that_are_gone_are_removed_before_the_others_are_added() {
        let told = told(
            false,
            &[
                ("__synckit:set:1", Time::new(9, 0), Some("1")),
                ("__synckit:set:cleared", Time::new(10, 0), Some("0")),
                ("__synckit:set:2", Time::new(11, 0), Some("2")),
                ("__synckit:set:3", Time::new(12, 0), None),
            ],
        );
        let steps = [r#""remove","value":1"#, r#""remove","value":3"#, r#""add","value":2"#];
        let places = steps.map(|step| told.find(step).unwrap_or_else(|| panic!("no {step}: {told}")));
        assert!(places.is_sorted(), "{told}");
        assert!(!told.contains(r#""clear""#) && !told.contains(r#""add","value":1"#), "{told}");
    }

    #[test]
    fn of_what_is_of_no_use_a_thousand_keys_are_deleted_at_a_time() {
        let keys: Vec<String> = (0..5_000).map(|n| format!("__synckit:set:{n}")).collect();
        let cleared = ("__synckit:set:cleared", Time::new(10, 0), Some("0"));
        let elements = keys.iter().map(|key| (&**key, Time::new(9, 0), Some("1")));
        let (_, left) = told_and_left(false, &elements.chain([cleared]).collect::<Vec<_>>());
        assert_eq!(left.to_forget.len(), 1_000);
    }
}

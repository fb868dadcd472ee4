//! The queues between one shard and the thread of the hooks, which tells the application what happens and asks it questions.
//!
//! Invariant: neither side ever waits for the other. An event that finds no room is dropped, and counted; a question is put only
//! while there is room for its answer, and each has one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use crate::hooks::{Event, Question, Verdict};
use crate::limits::{HOOK_QUEUE_BYTES_MAX, HOOK_QUEUE_EVENTS, QUESTIONS_ASKED_MAX};
use crate::mesh::ConnectionId;
use crate::metrics::HookMetrics;

/// A question to the application.
#[derive(Debug)]
pub struct Ask {
    pub connection: ConnectionId,
    /// Tells apart what one connection asks.
    pub serial: u32,
    pub question: Arc<Question>,
    /// The body of the request.
    pub body: Vec<u8>,
}

/// The answer to each [`Ask`].
#[derive(Debug)]
pub struct Answered {
    pub connection: ConnectionId,
    pub serial: u32,
    pub verdict: Verdict,
}

/// The shard's ends.
#[derive(Debug)]
pub struct HooksPort {
    pub events: EventsPort,
    pub questions: QuestionsPort,
}

/// The shard's end for events.
#[derive(Debug)]
pub struct EventsPort {
    to_hooks: Producer<Event>,
    bytes: Arc<AtomicUsize>,
    /// What the thread counts, for who is asked for it.
    pub metrics: Arc<HookMetrics>,
}

/// The shard's end for questions.
#[derive(Debug)]
pub struct QuestionsPort {
    pub to_hooks: Producer<Ask>,
    pub from_hooks: Consumer<Answered>,
}

/// The thread's end.
#[derive(Debug)]
pub struct HooksEnd {
    events: Consumer<Event>,
    bytes: Arc<AtomicUsize>,
    pub questions: Consumer<Ask>,
    pub answers: Producer<Answered>,
}

impl EventsPort {
    /// Hands on an event; whether there was room for it.
    pub fn push(&mut self, event: Event) -> bool {
        let bytes = event.what.bytes();
        if self.bytes.load(Ordering::Relaxed) + bytes > HOOK_QUEUE_BYTES_MAX {
            return false;
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_taken = self.to_hooks.push(event).is_ok();
        if !is_taken {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_taken
    }
}

impl HooksEnd {
    /// The next event.
    pub fn pop_event(&mut self) -> Option<Event> {
        let event = self.events.pop().ok()?;
        self.bytes.fetch_sub(event.what.bytes(), Ordering::Relaxed);
        Some(event)
    }

    /// Whether there is anything.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.questions.is_empty()
    }
}

/// The queues for `shards` shards, whose thread counts in `metrics`.
pub fn connect_hooks(shards: usize, metrics: &Arc<HookMetrics>) -> Vec<(HooksPort, HooksEnd)> {
    let pair = |_| {
        let (events_in, events) = RingBuffer::new(HOOK_QUEUE_EVENTS);
        let (to_hooks, questions) = RingBuffer::new(QUESTIONS_ASKED_MAX);
        let (answers, from_hooks) = RingBuffer::new(QUESTIONS_ASKED_MAX);
        let (bytes, metrics) = (Arc::<AtomicUsize>::default(), Arc::clone(metrics));
        let events_port = EventsPort { to_hooks: events_in, bytes: Arc::clone(&bytes), metrics };
        let port = HooksPort { events: events_port, questions: QuestionsPort { to_hooks, from_hooks } };
        (port, HooksEnd { events, bytes, questions, answers })
    };
    (0..shards).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::Happened;

    fn event(keys: usize) -> Event {
        let keys = (0..keys).map(|_| "k".repeat(500).into()).collect();
        Event { unix_ms: 0, what: Happened::Changed { map: "m".into(), keys } }
    }

    #[test]
    fn what_finds_no_room_is_not_taken_and_room_comes_back() {
        let (mut port, mut end) = connect_hooks(1, &Arc::default()).pop().expect("a pair");
        let large = (0..).take_while(|_| port.events.push(event(100))).count();
        assert!((60..90).contains(&large), "by bytes: {large}");
        while end.pop_event().is_some() {}
        let small = (0..).take_while(|_| port.events.push(event(0))).count();
        assert_eq!(small, HOOK_QUEUE_EVENTS, "by number");
        assert!(end.pop_event().is_some() && port.events.push(event(0)) && !port.events.push(event(0)));
        while end.pop_event().is_some() {}
        assert!(end.is_empty() && end.bytes.load(Ordering::Relaxed) == 0);
    }
}

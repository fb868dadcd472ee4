//! One shard with its driver: what `src/io/driver.rs` does with a ring, done with [`Link`]s, and every
//! promise the shard makes to its driver checked.

use std::collections::VecDeque;

use annulus::limits::PARSE_PADDING_BYTES;
use annulus::mesh::ConnectionId;
use annulus::metrics::Metrics;
use annulus::shard::{Command, Now, Shard, Transport, work};

use crate::link::{Completion, Link, Sending};
use crate::random::Random;
use crate::trace::Trace;

/// Units of work that one turn may do: what it may begin, the message that it ends with, of which it reads all and carries out
/// some, and what other shards have changed and answered, which is taken at once.
const WORK_PER_TURN_MAX: u64 = 2 * work::TURN_MAX;
/// Turns without an event or a command that a shard may ask for one right after the other.
const IDLE_TURNS_MAX: u32 = 3000;

/// Of the turns at moments that this divides, the gauges are held against what they are from scratch: by the clock, so that
/// no seed means anything else for it.
const GAUGES_CHECKED_EVERY_US: u64 = 16;

/// See the module. Links are named by their index in the world.
pub struct Node {
    pub index: usize,
    pub shard: Shard,
    /// Clients that wait to be accepted.
    pub backlog: VecDeque<usize>,
    /// The link in each slot of the shard's connection table.
    slots: Vec<Option<usize>>,
    /// Links with completions the driver has not seen.
    pub pending: Vec<usize>,
    /// Links whose receive must be armed again.
    starved: Vec<usize>,
    pub is_woken: bool,
    /// The storage is to be woken.
    pub wakes_storage: bool,
    /// The desk is to be woken.
    pub wakes_desk: bool,
    /// The application is to be woken.
    pub wakes_application: bool,
    /// When the shard wants its next turn, whatever happens.
    pub deadline_us: Option<u64>,
    pub starved_until_us: u64,
    /// How far its wall clock is from that of the world.
    pub skew_ms: i64,
    /// Told to stop accepting, which it does once nobody waits to be accepted.
    pub is_stopping: bool,
    pub is_listening: bool,
    pub is_exited: bool,
    pub accepted: u64,
    pub released: u64,
    idle_turns: u32,
    /// The most that one turn did, in units of work.
    pub work_max: u64,
    commands: Vec<Command>,
}

impl Node {
    pub fn new(index: usize, shard: Shard) -> Self {
        Self {
            index,
            shard,
            backlog: VecDeque::new(),
            slots: Vec::new(),
            pending: Vec::new(),
            starved: Vec::new(),
            is_woken: false,
            wakes_storage: false,
            wakes_desk: false,
            wakes_application: false,
            deadline_us: None,
            starved_until_us: 0,
            skew_ms: 0,
            is_stopping: false,
            is_listening: true,
            is_exited: false,
            accepted: 0,
            released: 0,
            idle_turns: 0,
            work_max: 0,
            commands: Vec::new(),
        }
    }

    /// Whether the driver would return from its wait.
    pub fn is_runnable(&self, now_us: u64) -> bool {
        let has_event = !self.backlog.is_empty() || !self.pending.is_empty() || !self.starved.is_empty();
        let has_event = has_event || self.is_stopping && self.is_listening;
        let is_due = self.deadline_us.is_some_and(|deadline_us| deadline_us <= now_us);
        !self.is_exited && (has_event || self.is_woken || is_due)
    }

    pub fn open_slots(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// One turn. Returns the shards to wake.
    pub fn turn(
        &mut self,
        now: Now,
        links: &mut [Link],
        random: &mut Random,
        trace: &mut Trace,
    ) -> Vec<usize> {
        let now = Now { unix_ms: now.unix_ms.saturating_add_signed(self.skew_ms), ..now };
        let mut has_event = std::mem::take(&mut self.is_woken);
        for link in std::mem::take(&mut self.starved) {
            self.receive(link, links);
        }
        self.shard.start_turn(now);
        while let Some(link) = self.backlog.pop_front() {
            has_event = true;
            self.accept(link, links);
            if random.per_mille(300) {
                break;
            }
        }
        if self.is_stopping && self.is_listening && self.backlog.is_empty() {
            has_event = true;
            self.is_listening = false;
            self.shard.stopped_accepting();
        }
        // Completions of one connection come in order; those of different ones, in any.
        let mut pending = std::mem::take(&mut self.pending);
        while !pending.is_empty() {
            has_event = true;
            let link = pending.swap_remove(random.below(pending.len()));
            while let Some(completion) = links[link].completions.pop_front() {
                self.deliver(link, completion, links, trace);
                if random.per_mille(200) {
                    break;
                }
            }
            if !links[link].completions.is_empty() {
                self.pending.push(link);
                if random.per_mille(300) {
                    break;
                }
            }
        }
        pending.iter().for_each(|link| {
            if !self.pending.contains(link) {
                self.pending.push(*link);
            }
        });
        self.shard.drain_mesh();
        self.shard.end_turn();
        self.work_max = self.work_max.max(self.shard.work());
        assert!(self.work_max <= WORK_PER_TURN_MAX, "{} units of work in one turn", self.work_max);
        if now.monotonic_us.is_multiple_of(GAUGES_CHECKED_EVERY_US) {
            self.check_gauges();
        }
        let woken = self.carry_out_commands(links);
        self.deadline_us = self.shard.wait_us().map(|wait_us| now.monotonic_us + wait_us);
        let is_idle = !has_event && self.commands.is_empty() && self.shard.wait_us() == Some(0);
        self.idle_turns = if is_idle { self.idle_turns + 1 } else { 0 };
        assert!(self.idle_turns < IDLE_TURNS_MAX, "shard {} spins", self.index);
        self.commands.clear();
        woken
    }

    /// The gauges that the shard keeps as they change are what they are from scratch.
    fn check_gauges(&self) {
        let (kept, counted) = (self.shard.metrics_now(), self.shard.recounted());
        let gauges = |of: &Metrics| {
            let rooms = [of.presence_rooms, of.presence_members];
            ([of.maps, of.map_names, of.cells, of.resident_bytes, of.outbox_bytes], rooms)
        };
        assert_eq!(gauges(&kept), gauges(&counted), "gauges of shard {}", self.index);
    }

    fn accept(&mut self, index: usize, links: &mut [Link]) {
        let link = &mut links[index];
        self.accepted += u64::from(self.is_listening);
        let id = if self.is_listening { self.shard.accepted(link.address, Transport::Plain) } else { None };
        let Some(id) = id else {
            link.is_over = true;
            link.downstream_end = true;
            return;
        };
        let slot = id.index as usize;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        assert!(self.slots[slot].is_none(), "a slot got a new tenant while its transport is open");
        self.slots[slot] = Some(index);
        link.id = Some(id);
        self.receive(index, links);
    }

    fn receive(&mut self, index: usize, links: &mut [Link]) {
        let link = &mut links[index];
        if link.wanted && !link.receiving && !link.closing && !link.is_over {
            link.receiving = true;
            link.is_armed = true;
            link.is_cancelled = false;
        }
    }

    fn deliver(&mut self, index: usize, completion: Completion, links: &mut [Link], trace: &mut Trace) {
        let link = &mut links[index];
        let id = link.id.expect("completions come after the accept");
        assert!(!link.is_over, "the slot was given back before the last completion");
        match &completion {
            Completion::End | Completion::ReceiveFailed | Completion::Disarmed => link.receiving = false,
            Completion::Sent(bytes) => {
                let sending = link.sending.take().expect("a send was under way");
                let in_flight = self.in_flight(id);
                assert_eq!(in_flight, sending.bytes, "bytes in flight have changed");
                trace.note_bytes(&in_flight[..*bytes]);
            }
            Completion::SendFailed => link.sending = None,
            Completion::Received(bytes) => trace.note_bytes(bytes),
        }
        if link.closing {
            return self.release_if_quiet(index, links);
        }
        match completion {
            Completion::Received(mut bytes) => {
                let len = bytes.len();
                bytes.resize(len + PARSE_PADDING_BYTES, 0xEE);
                self.shard.received(id, &mut bytes, len);
            }
            Completion::End => self.shard.received_end(id),
            Completion::Disarmed if link.wanted => self.starved.push(index),
            Completion::Disarmed => {}
            Completion::ReceiveFailed | Completion::SendFailed => self.shard.failed(id),
            Completion::Sent(bytes) => self.shard.sent(id, bytes),
        }
    }

    fn carry_out_commands(&mut self, links: &mut [Link]) -> Vec<usize> {
        let mut commands = std::mem::take(&mut self.commands);
        self.shard.take_commands(&mut commands);
        let mut woken = Vec::new();
        for &command in &commands {
            match command {
                Command::Send(id) => self.send(id, links),
                Command::PauseReading(id) => {
                    if let Some(index) = self.link_of(id) {
                        links[index].wanted = false;
                        links[index].is_cancelled = links[index].receiving;
                    }
                }
                Command::ResumeReading(id) => {
                    if let Some(index) = self.link_of(id) {
                        links[index].wanted = true;
                        self.receive(index, links);
                    }
                }
                Command::Shutdown(id) => {
                    let link = &mut links[self.link_of(id).expect("a shutdown of what is open")];
                    assert!(link.sending.is_none(), "a shutdown while a send is under way");
                    assert!(!link.is_shut_down, "two shutdowns");
                    link.is_shut_down = true;
                    link.downstream_end = true;
                }
                Command::Close(id) => {
                    let index = self.link_of(id).expect("a close of what is open");
                    assert!(!links[index].closing, "two closes");
                    links[index].closing = true;
                    links[index].downstream_end = true;
                    self.release_if_quiet(index, links);
                }
                Command::Wake(target) => woken.push(usize::from(target)),
                Command::WakeStorage => self.wakes_storage = true,
                Command::WakeDesk => self.wakes_desk = true,
                Command::WakeHooks => self.wakes_application = true,
                Command::WakeAdmin => unreachable!("nobody asks"),
                Command::StopAccepting => self.is_stopping = true,
                Command::Exit => {
                    assert!(!self.is_exited, "two exits");
                    self.is_exited = true;
                }
            }
        }
        self.commands = commands;
        woken
    }

    fn send(&mut self, id: ConnectionId, links: &mut [Link]) {
        let link = &mut links[self.link_of(id).expect("a send on what is open")];
        assert!(!link.is_shut_down, "a send after a shutdown");
        assert!(link.sending.is_none(), "two sends under way");
        if !link.closing {
            let bytes = self.in_flight(id);
            link.sending = Some(Sending { bytes, is_completed: false });
        }
    }

    fn in_flight(&self, id: ConnectionId) -> Vec<u8> {
        self.shard.in_flight(id).collect::<Vec<_>>().concat()
    }

    fn link_of(&self, id: ConnectionId) -> Option<usize> {
        self.slots.get(id.index as usize).copied().flatten()
    }

    fn release_if_quiet(&mut self, index: usize, links: &mut [Link]) {
        let link = &mut links[index];
        if link.is_quiet() {
            let id = link.id.expect("only what was accepted is closed");
            assert!(link.completions.is_empty(), "completions after the last");
            link.is_over = true;
            self.slots[id.index as usize] = None;
            self.released += 1;
            self.shard.released(id);
        }
    }
}

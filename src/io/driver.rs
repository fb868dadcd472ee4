//! The loop of one shard thread: completions in, commands out.
//!
//! ```text
//! loop {
//!     ring.turn()          submit, wait, collect            the only blocking call
//!     deliver(completion)  each one to the shard
//!     shard.drain_mesh()   what other shards sent
//!     shard.end_turn()
//!     carry_out(command)   queue sends, wakes, closes
//! }
//! ```

mod completions;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::Shutdown;

use super::allocator::{Allocated, REST_US};
use super::control::{Beside, Control, Event, Signal};
use super::failures::Telling;
use super::listener::Listener;
use super::operation::{Completion, Operation};
use super::ring::{Ring, Turned};
use super::sockets::Sockets;
use super::{Clock, listener};
use crate::limits::ACCEPT_LINGER_MS;
use crate::mesh::{ConnectionId, ShardIndex};
use crate::shard::{Command, Shard, Transport};

/// Waits of at least this are ended by the timer.
const LONG_WAIT: Duration = Duration::from_millis(2);

/// A fan-out to fewer connections goes out at once.
const COMPANY_SENDS_MIN: usize = 64;
/// Nanoseconds without an arrival after which a larger one goes out: a client writes its next message of a burst sooner.
const COMPANY_GAP_NS: u64 = 16_000 * PATIENCE;
/// Nanoseconds for each of its sends after which it goes out in any case: a send takes more than thirty times as long.
const COMPANY_NS_PER_SEND: u64 = 64 * PATIENCE;
/// Tests share their cores with others, and what they send may arrive late.
const PATIENCE: u64 = if cfg!(test) { 10_000 } else { 1 };

/// Receives of a connection whose peer has sent more than the shard would take, each of which was all there was, before it
/// is trusted again to send no more than that.
const RECEIVES_ONE_BY_ONE: u8 = 32;

/// Whether connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    Everyone,
    /// Until then, in microseconds of the monotonic clock, those who had begun to connect. Whoever waits to be accepted
    /// when a listener is closed is reset by the kernel, so nobody must.
    Begun {
        until_us: u64,
    },
    /// The accepts under way are being cancelled.
    Ending,
    Nobody,
}

/// See the module.
pub struct Driver {
    ring: Ring,
    shard: Shard,
    clock: Clock,
    control: Control,
    beside: Beside,
    sockets: Sockets,
    /// Emptied when accepting has ended, unless they are handed over.
    listeners: Vec<Listener>,
    /// Addresses from this one on speak TLS.
    tls_from: usize,
    accepting: Accepting,
    /// Listeners whose accept has ended and must be armed again.
    unarmed: Vec<u32>,
    /// Connections whose receive has ended and is armed again by the next turn: for want of a buffer, or as it was for one
    /// only.
    receive_next: Vec<ConnectionId>,
    /// The ring of each shard, to wake it.
    rings: Arc<[RawFd]>,
    commands: Vec<Command>,
    completed: Vec<Completion>,
    /// When the armed timer completes, in microseconds of the monotonic clock.
    timer_us: Option<u64>,
    /// When accepting goes on after it failed.
    accept_at_us: u64,
    /// What has failed and is asked for once more, and when.
    later: Vec<Operation>,
    later_at_us: u64,
    telling: Telling,
    allocated: Allocated,
    /// The monotonic clock at the end of the last turn.
    now_us: u64,
}

impl Driver {
    pub fn new(
        ring: Ring,
        shard: Shard,
        clock: Clock,
        control: Control,
        beside: Beside,
        listeners: Vec<Listener>,
        rings: Arc<[RawFd]>,
    ) -> Self {
        let tls_from = shard.config().listen.len();
        Self {
            ring,
            shard,
            clock,
            control,
            beside,
            sockets: Sockets::default(),
            unarmed: (0..listeners.len() as u32).collect(),
            tls_from,
            listeners,
            accepting: Accepting::Everyone,
            receive_next: Vec::new(),
            rings,
            commands: Vec::new(),
            completed: Vec::new(),
            timer_us: None,
            accept_at_us: 0,
            later: Vec::new(),
            later_at_us: 0,
            telling: Telling::default(),
            allocated: Allocated::default(),
            now_us: 0,
        }
    }

    /// Serves until the shard has drained. Returns the listeners that are handed over.
    ///
    /// # Errors
    /// Only such as make the ring unusable.
    pub fn run(mut self) -> io::Result<Vec<Listener>> {
        self.start();
        while !self.turn()? {}
        Ok(if self.hands_over() { self.listeners } else { Vec::new() })
    }

    fn start(&mut self) {
        self.ring.queue_control(self.control.event());
    }

    /// Whether the shard has ended.
    fn turn(&mut self) -> io::Result<bool> {
        let mut completed = std::mem::take(&mut self.completed);
        self.arm();
        let wait = self.wait();
        let turned = self.ring.turn(wait, &mut completed)?;
        let began_ns = self.clock.elapsed_ns();
        let has_rested =
            completed.iter().all(Completion::is_timer) && began_ns / 1000 - self.now_us >= REST_US;
        if has_rested {
            // Before anything is queued: a full queue is submitted at once, and a receive of it may fill a buffer.
            self.ring.buffers().give_back_pages();
        }
        self.now_us = began_ns / 1000;
        self.shard.start_turn(self.clock.now());
        self.take_in(turned, &completed);
        self.await_company(&mut completed)?;
        self.completed = completed;
        self.wind_down_accepting();
        self.shard.drain_mesh();
        self.shard.end_turn();
        if self.carry_out_commands() {
            return Ok(true);
        }
        self.allocated.note(self.shard.held_bytes(), self.shard.maps_bytes());
        if has_rested && self.allocated.is_much_freed() {
            self.allocated.give_back();
        }
        let ended_ns = self.clock.elapsed_ns();
        self.now_us = ended_ns / 1000;
        self.shard.turn_took_ns(ended_ns - began_ns);
        Ok(false)
    }

    /// Before a large fan-out, takes in what arrives at once: each of its sends then carries it, too.
    fn await_company(&mut self, completed: &mut Vec<Completion>) -> io::Result<()> {
        let mut sends = self.shard.planned_sends();
        if sends < COMPANY_SENDS_MIN {
            return Ok(());
        }
        let began_ns = self.clock.elapsed_ns();
        let (mut now_ns, mut last_arrival_ns) = (began_ns, began_ns);
        while now_ns - last_arrival_ns < COMPANY_GAP_NS
            && now_ns - began_ns < sends as u64 * COMPANY_NS_PER_SEND
        {
            let turned = self.ring.look(completed)?;
            now_ns = self.clock.elapsed_ns();
            if !completed.is_empty() {
                self.take_in(turned, completed);
                sends = self.shard.planned_sends();
                last_arrival_ns = now_ns;
            }
        }
        Ok(())
    }

    fn take_in(&mut self, turned: Turned, completed: &[Completion]) {
        self.count(turned);
        for completion in completed {
            self.deliver(completion);
        }
    }

    fn count(&mut self, turned: Turned) {
        let metrics = self.shard.metrics_mut();
        metrics.ring_overflows += u64::from(turned.overflows);
        if let Some(errno) = turned.refused {
            metrics.ring_failures += 1;
            self.telling.failed(self.now_us, "the kernel takes no operations of a shard", errno);
        }
    }

    /// How long the ring may wait. Short waits end by themselves; for long ones the timer is armed, and stays so
    /// over all the turns until it completes, rather than being set and cancelled in every one of them.
    fn wait(&mut self) -> Option<Duration> {
        let mut wait_us = self.shard.wait_us();
        if !self.unarmed.is_empty() && self.may_accept() {
            let rest_us = self.accept_at_us.saturating_sub(self.now_us);
            wait_us = Some(wait_us.map_or(rest_us, |wait_us| wait_us.min(rest_us)));
        }
        if let Accepting::Begun { until_us } = self.accepting {
            let left_us = until_us.saturating_sub(self.now_us);
            wait_us = Some(wait_us.map_or(left_us, |wait_us| wait_us.min(left_us)));
        }
        if !self.later.is_empty() {
            let rest_us = self.later_at_us.saturating_sub(self.now_us);
            wait_us = Some(wait_us.map_or(rest_us, |wait_us| wait_us.min(rest_us)));
        }
        if self.allocated.is_much_freed() {
            wait_us = Some(wait_us.map_or(REST_US, |wait_us| wait_us.min(REST_US)));
        }
        let wait_us = wait_us?;
        let wait = Duration::from_micros(wait_us);
        if wait < LONG_WAIT {
            return Some(wait);
        }
        let at_us = self.now_us + wait_us;
        match self.timer_us {
            None => self.ring.queue_timer(wait),
            Some(armed_us) if at_us < armed_us => self.ring.queue_move_timer(wait),
            Some(_) => return None,
        }
        self.timer_us = Some(at_us);
        None
    }
}

// Arming: what must be under way for anything to happen.
impl Driver {
    fn arm(&mut self) {
        if !self.unarmed.is_empty() && self.may_accept() && self.now_us >= self.accept_at_us {
            for index in std::mem::take(&mut self.unarmed) {
                if let Some(listener) = self.listeners.get(index as usize) {
                    self.ring.queue_accept(listener.as_fd(), index, listener.takes());
                }
            }
        }
        let mut receive_next = std::mem::take(&mut self.receive_next);
        receive_next.drain(..).for_each(|id| self.receive(id));
        // In the place of an empty list, for its memory.
        self.receive_next = receive_next;
        if !self.later.is_empty() && self.now_us >= self.later_at_us {
            std::mem::take(&mut self.later).into_iter().for_each(|operation| self.ask_again(operation));
        }
    }

    /// Arms the receive of `id` if it is wanted and not armed.
    fn receive(&mut self, id: ConnectionId) {
        let Some((id, socket)) = self.sockets.find(id) else { return };
        if socket.wanted && !socket.receiving && !socket.closing {
            socket.receiving = true;
            match socket.one_by_one {
                0 => self.ring.queue_receive(socket.as_fd(), id),
                _ => self.ring.queue_receive_one(socket.as_fd(), id),
            }
        }
    }
}

// Accepting, and its end.
impl Driver {
    fn hands_over(&self) -> bool {
        self.control.signal() == Signal::HandOver
    }

    /// What is spoken where this listener listens.
    fn transport(&self, index: u32) -> Transport {
        match self.listeners.get(index as usize) {
            Some(listener) if listener.place() >= self.tls_from => Transport::Tls,
            _ => Transport::Plain,
        }
    }

    fn may_accept(&self) -> bool {
        matches!(self.accepting, Accepting::Everyone | Accepting::Begun { .. })
    }

    /// Takes the next step once it is time: cancels what is armed, then closes the listeners once nothing is.
    fn wind_down_accepting(&mut self) {
        if matches!(self.accepting, Accepting::Begun { until_us } if self.now_us >= until_us) {
            self.accepting = Accepting::Ending;
            for index in 0..self.listeners.len() as u32 {
                self.ring.queue_cancel_accept(index);
            }
        }
        if self.accepting == Accepting::Ending && self.unarmed.len() == self.listeners.len() {
            self.accepting = Accepting::Nobody;
            if !self.hands_over() {
                self.listeners.clear();
            }
            self.unarmed.clear();
            self.shard.stopped_accepting();
        }
    }
}

// Commands.
impl Driver {
    /// Whether the shard has ended.
    fn carry_out_commands(&mut self) -> bool {
        let mut commands = std::mem::take(&mut self.commands);
        self.shard.take_commands(&mut commands);
        let mut exit = false;
        for &command in &commands {
            match command {
                Command::Send(id) => self.send(id),
                Command::PauseReading(id) => self.pause(id),
                Command::ResumeReading(id) => self.resume(id),
                Command::Shutdown(id) => {
                    if let Some((_, socket)) = self.sockets.find(id) {
                        let _ = rustix::net::shutdown(socket.as_fd(), Shutdown::Write);
                    }
                }
                Command::Close(id) => self.close(id),
                Command::Wake(target) => self.wake(target),
                Command::WakeStorage => self.beside.storage.iter().for_each(Event::raise),
                Command::WakeDesk => self.beside.desk.iter().for_each(Event::raise),
                Command::WakeHooks => self.beside.hooks.iter().for_each(Event::raise),
                Command::WakeAdmin => self.beside.admin.iter().for_each(Event::raise),
                Command::StopAccepting => self.stop_accepting(),
                Command::Exit => exit = true,
            }
        }
        commands.clear();
        self.commands = commands;
        exit
    }

    fn send(&mut self, id: ConnectionId) {
        let Some((id, socket)) = self.sockets.find(id) else { return };
        if socket.closing {
            return;
        }
        socket.sending = true;
        let mut pieces = self.shard.in_flight(id);
        match (pieces.next(), pieces.next()) {
            (Some(only), None) => self.ring.queue_send(socket.as_fd(), id, only),
            _ => {
                let pieces = self.shard.in_flight(id);
                socket.gather = Some(self.ring.queue_send_pieces(socket.as_fd(), id, pieces));
            }
        }
    }

    fn pause(&mut self, id: ConnectionId) {
        let Some((id, socket)) = self.sockets.find(id) else { return };
        (socket.wanted, socket.one_by_one) = (false, RECEIVES_ONE_BY_ONE);
        if socket.receiving {
            self.ring.queue_cancel_receive(id);
        }
    }

    fn resume(&mut self, id: ConnectionId) {
        if let Some((id, socket)) = self.sockets.find(id) {
            socket.wanted = true;
            self.receive(id);
        }
    }

    /// Ends whatever is under way, so that its completions come, and closes the socket after the last.
    fn close(&mut self, id: ConnectionId) {
        let Some((id, socket)) = self.sockets.find(id) else { return };
        socket.closing = true;
        let _ = rustix::net::shutdown(socket.as_fd(), Shutdown::Both);
        self.release_if_quiet(id);
    }

    fn release_if_quiet(&mut self, id: ConnectionId) {
        if let Some((id, socket)) = self.sockets.find(id)
            && socket.is_quiet()
        {
            self.sockets.remove(id);
            self.shard.released(id);
        }
    }

    fn wake(&mut self, target: ShardIndex) {
        self.ring.queue_wake(self.rings[usize::from(target)], target);
    }

    fn stop_accepting(&mut self) {
        if self.hands_over() {
            self.accepting = Accepting::Begun { until_us: self.now_us };
            return;
        }
        self.listeners.iter().for_each(|listener| listener::refuse_more(listener.as_fd()));
        self.accepting = Accepting::Begun { until_us: self.now_us + ACCEPT_LINGER_MS * 1000 };
    }
}

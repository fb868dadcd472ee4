//! What has completed goes to the shard, and what has failed gets its answer (`failures.rs`).

use rustix::io::Errno;

use super::{Accepting, Driver, RECEIVES_ONE_BY_ONE};
use crate::io::control::Signal;
use crate::io::failures::{ACCEPT_REST_US, Answer, RETRY_US, answer, name};
use crate::io::operation::{Completion, Operation};
use crate::io::ring;
use crate::io::sockets::peer_address;
use crate::limits::RECEIVE_BUFFER_BYTES;
use crate::mesh::ConnectionId;

impl Driver {
    pub(super) fn deliver(&mut self, completion: &Completion) {
        match completion.operation {
            Operation::Accept(index) => self.accepted(index, completion),
            Operation::Receive(id) => self.received(id, completion),
            Operation::Send(id) => self.sent(id, completion),
            Operation::Control => {
                // Or the storage has progressed, which the turn that has begun has seen.
                self.control.pulse().answer();
                if self.control.signal() != Signal::Serve {
                    self.shard.drain();
                }
                match completion.result {
                    Ok(_) => self.ring.queue_control(self.control.event()),
                    Err(errno) => self.failed(completion.operation, errno),
                }
            }
            Operation::Timer | Operation::MoveTimer => {
                if let Err(errno) = completion.result
                    && (completion.operation == Operation::Timer
                        || answer(completion.operation, errno) != Answer::Nothing)
                {
                    self.timer_us = None;
                    self.failed(completion.operation, errno);
                }
            }
            Operation::Woken | Operation::Unknown => {}
            operation => {
                if let Err(errno) = completion.result {
                    self.failed(operation, errno);
                }
            }
        }
    }

    /// Answers the failure of what belongs to no connection.
    fn failed(&mut self, operation: Operation, errno: Errno) {
        if answer(operation, errno) == Answer::Later {
            self.later_at_us = self.now_us + RETRY_US;
            self.later.push(operation);
            self.tell(operation, errno);
        }
    }

    fn tell(&mut self, operation: Operation, errno: Errno) {
        self.shard.metrics_mut().ring_failures += 1;
        self.telling.failed(self.now_us, name(operation), errno);
    }

    fn accepted(&mut self, index: u32, completion: &Completion) {
        match completion.result {
            Ok(raw) => {
                let fd = ring::adopt(raw);
                if let Ok(address) = peer_address(&fd)
                    && let Some(id) = self.shard.accepted(address, self.transport(index))
                {
                    self.sockets.insert(id, fd);
                    self.receive(id);
                }
            }
            Err(errno) => {
                if answer(completion.operation, errno) == Answer::Later {
                    self.accept_at_us = self.now_us + ACCEPT_REST_US;
                    self.tell(completion.operation, errno);
                }
            }
        }
        if !completion.more {
            self.unarmed.push(index);
        }
    }

    fn received(&mut self, id: ConnectionId, completion: &Completion) {
        let known = self.sockets.find(id).map(|(id, socket)| {
            socket.receiving = completion.more;
            if socket.one_by_one > 0 {
                let has_more = completion.result == Ok(RECEIVE_BUFFER_BYTES as u32);
                socket.one_by_one = if has_more { RECEIVES_ONE_BY_ONE } else { socket.one_by_one - 1 };
            }
            (id, socket.closing)
        });
        if let Some(buffer) = completion.buffer {
            if let (Some((id, false)), Ok(len @ 1..)) = (known, completion.result) {
                self.shard.received(id, self.ring.buffers().filled(buffer, len as usize), len as usize);
            }
            self.ring.buffers().give_back(buffer);
        }
        let Some((id, closing)) = known else { return };
        if closing {
            return self.release_if_quiet(id);
        }
        match completion.result {
            Ok(0) => self.shard.received_end(id),
            Ok(_) if completion.more => {}
            // By the next turn the shard may not want it any more.
            Ok(_) => self.receive_next.push(id),
            Err(errno) => match answer(completion.operation, errno) {
                Answer::EndConnection => self.shard.failed(id),
                // The buffers of this turn go back at its end; then reading goes on where it stopped, one buffer at a time,
                // as whoever takes all of them takes them from others.
                _ => {
                    if errno == Errno::NOBUFS
                        && let Some((_, socket)) = self.sockets.find(id)
                    {
                        socket.one_by_one = RECEIVES_ONE_BY_ONE;
                    }
                    let is_short = errno == Errno::NOBUFS && !self.ring.buffers().grow();
                    self.shard.metrics_mut().buffer_shortages += u64::from(is_short);
                    self.receive_next.push(id);
                }
            },
        }
    }

    fn sent(&mut self, id: ConnectionId, completion: &Completion) {
        let Some((id, socket)) = self.sockets.find(id) else { return };
        socket.sending = false;
        if let Some(gather) = socket.gather.take() {
            self.ring.reuse(gather);
        }
        if socket.closing {
            return self.release_if_quiet(id);
        }
        match completion.result {
            Ok(bytes) => self.shard.sent(id, bytes as usize),
            Err(_) => self.shard.failed(id),
        }
    }

    /// Asks for what has failed, if it is still wanted.
    pub(super) fn ask_again(&mut self, operation: Operation) {
        match operation {
            Operation::Control => self.ring.queue_control(self.control.event()),
            Operation::Wake(target) => self.wake(target),
            Operation::CancelAccept(index)
                if self.accepting == Accepting::Ending && !self.unarmed.contains(&index) =>
            {
                self.ring.queue_cancel_accept(index);
            }
            Operation::CancelReceive(id) => {
                if let Some((id, socket)) = self.sockets.find(id)
                    && socket.receiving
                    && !socket.wanted
                {
                    self.ring.queue_cancel_receive(id);
                }
            }
            // The next wait arms the timer. The others are armed by what they belong to.
            _ => {}
        }
    }
}

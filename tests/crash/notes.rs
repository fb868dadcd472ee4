//! When operations were sent and when they were promised, in writes and flushes that the disk had seen.

use std::collections::VecDeque;
use std::fs::File;

use crate::op::Op;
use crate::promises::Promises;
use crate::recorded;
use crate::replica::Stamp;

/// See the module.
pub struct Notes {
    log: File,
    sent: VecDeque<(u64, Sent)>,
    kept: VecDeque<(u64, Kept)>,
}

struct Sent {
    writer: String,
    number: u64,
    op: Op,
}

struct Kept {
    op: Op,
    stamp: Option<Stamp>,
}

impl Notes {
    /// Of a disk that is recorded in this log.
    pub const fn new(log: File) -> Self {
        Self { log, sent: VecDeque::new(), kept: VecDeque::new() }
    }

    pub fn sending(&mut self, writer: &str, number: u64, op: &Op) {
        let sent = Sent { writer: writer.to_owned(), number, op: op.clone() };
        self.sent.push_back((recorded::entries(&self.log), sent));
    }

    pub fn kept(&mut self, op: &Op, stamp: Option<&Stamp>) {
        let kept = Kept { op: op.clone(), stamp: stamp.cloned() };
        self.kept.push_back((recorded::entries(&self.log), kept));
    }

    /// Moves into `promises` what was promised when the disk had seen `kept` entries, and what may have been sent by `sent`
    /// entries. Both only grow from one call to the next. How many were promised.
    pub fn tell(&mut self, promises: &mut Promises, kept: usize, sent: usize) -> u64 {
        let [kept, sent] = [kept, sent].map(|entries| entries as u64);
        // The number that is noted is that of the last flush, so that nothing was sent before it.
        while self.sent.front().is_some_and(|(at, _)| *at <= sent) {
            let (_, Sent { writer, number, op }) = self.sent.pop_front().expect("it was just seen");
            promises.sending(&writer, number, &op);
        }
        let mut told = 0;
        while self.kept.front().is_some_and(|(at, _)| *at <= kept) {
            let (_, Kept { op, stamp }) = self.kept.pop_front().expect("it was just seen");
            promises.acked(op, stamp, true);
            told += 1;
        }
        told
    }
}

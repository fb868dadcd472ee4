//! Failures of the kernel, for tests: what it would not do on demand.

use std::collections::VecDeque;
use std::time::Duration;

use io_uring::{opcode, squeue};
use rustix::io::Errno;

use super::operation::{Completion, Operation};

/// Whether an operation is one that fails.
type Concerns = fn(Operation) -> bool;

/// At the boundary of a ring.
#[derive(Default)]
pub struct Faults {
    /// What the next enters that submit end with.
    pub refusals: VecDeque<Errno>,
    /// What completes as if it had failed, as long as it is here.
    pub failing: Option<(Concerns, Errno)>,
    /// How many such completions there were.
    pub struck: usize,
    /// How long the enters that only wait were to wait.
    pub rests: Vec<Duration>,
    /// Looks without a wait, and what happens before each.
    pub looks: usize,
    pub before_look: Option<Box<dyn FnMut(usize)>>,
}

impl Faults {
    pub fn refuse(&mut self, submits: bool, timeout: Option<Duration>) -> Option<Errno> {
        if submits {
            return self.refusals.pop_front();
        }
        self.rests.extend(timeout);
        None
    }

    pub fn look(&mut self) {
        if let Some(before) = &mut self.before_look {
            before(self.looks);
        }
        self.looks += 1;
    }

    /// What fails does not happen either.
    pub fn replace(&self, entry: squeue::Entry, operation: Operation) -> squeue::Entry {
        match self.failing {
            Some((concerns, _)) if concerns(operation) => {
                opcode::Nop::new().build().user_data(operation.encode())
            }
            _ => entry,
        }
    }

    pub fn strike(&mut self, completion: &mut Completion) {
        if let Some((concerns, errno)) = self.failing
            && concerns(completion.operation)
        {
            completion.result = Err(errno);
            self.struck += 1;
        }
    }
}

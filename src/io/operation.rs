//! What is asked of the kernel, by the name that its completion brings back.

use io_uring::cqueue;
use rustix::io::Errno;

use crate::mesh::{ConnectionId, ShardIndex};

/// What an operation was, as its completion tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Of the listener with this index.
    Accept(u32),
    Receive(ConnectionId),
    Send(ConnectionId),
    /// The control event of the shard.
    Control,
    /// Another shard has put something into its queue to this one.
    Woken,
    /// The time of the timer has come.
    Timer,
    // Those below complete only if they fail, or interest nobody if they do not.
    /// Of the shard with this index.
    Wake(ShardIndex),
    MoveTimer,
    CancelAccept(u32),
    CancelReceive(ConnectionId),
    /// Nothing that this program asks for.
    Unknown,
}

const KIND_SHIFT: u32 = 56;
const GENERATION_SHIFT: u32 = 32;
/// Bits of a generation that travel with an operation. A slot is freed only after its last completion, so a
/// generation that comes around after 16 million accepts names nothing else by then.
const GENERATION_MASK: u32 = (1 << (KIND_SHIFT - GENERATION_SHIFT)) - 1;

impl Operation {
    pub(super) const fn encode(self) -> u64 {
        const fn of(index: u32) -> ConnectionId {
            ConnectionId { index, generation: 0 }
        }
        let (kind, id) = match self {
            Self::Unknown => (0, of(0)),
            Self::Accept(index) => (1, of(index)),
            Self::Receive(id) => (2, id),
            Self::Send(id) => (3, id),
            Self::Control => (4, of(0)),
            Self::Woken => (5, of(0)),
            Self::Timer => (6, of(0)),
            Self::Wake(shard) => (7, of(shard as u32)),
            Self::MoveTimer => (8, of(0)),
            Self::CancelAccept(index) => (9, of(index)),
            Self::CancelReceive(id) => (10, id),
        };
        kind << KIND_SHIFT | ((id.generation & GENERATION_MASK) as u64) << GENERATION_SHIFT | id.index as u64
    }

    const fn decode(user_data: u64) -> Self {
        let generation = (user_data >> GENERATION_SHIFT) as u32 & GENERATION_MASK;
        let id = ConnectionId { index: user_data as u32, generation };
        match user_data >> KIND_SHIFT {
            1 => Self::Accept(id.index),
            2 => Self::Receive(id),
            3 => Self::Send(id),
            4 => Self::Control,
            5 => Self::Woken,
            6 => Self::Timer,
            7 => Self::Wake(id.index as ShardIndex),
            8 => Self::MoveTimer,
            9 => Self::CancelAccept(id.index),
            10 => Self::CancelReceive(id),
            _ => Self::Unknown,
        }
    }
}

/// Whether `generation` is the one that an operation could carry of it.
pub const fn same_generation(carried: u32, generation: u32) -> bool {
    carried == generation & GENERATION_MASK
}

/// One operation that has come to an end, or one shot of a multishot operation.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    pub operation: Operation,
    pub result: Result<u32, Errno>,
    /// More completions of the same operation will come.
    pub more: bool,
    /// The receive buffer that was filled.
    pub buffer: Option<u16>,
}

impl Completion {
    /// Whether nothing has come with it but the time.
    pub fn is_timer(&self) -> bool {
        matches!(self.operation, Operation::Timer | Operation::MoveTimer)
    }

    pub(super) fn of(entry: &cqueue::Entry) -> Self {
        Self {
            operation: Operation::decode(entry.user_data()),
            result: u32::try_from(entry.result()).map_err(|_| Errno::from_raw_os_error(-entry.result())),
            more: cqueue::more(entry.flags()),
            buffer: cqueue::buffer_select(entry.flags()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_comes_back_as_it_was() {
        let id = ConnectionId { index: 7, generation: 0x12_3456 };
        for operation in [
            Operation::Accept(3),
            Operation::Receive(id),
            Operation::Send(id),
            Operation::Control,
            Operation::Woken,
            Operation::Timer,
            Operation::Wake(127),
            Operation::MoveTimer,
            Operation::CancelAccept(3),
            Operation::CancelReceive(id),
            Operation::Unknown,
        ] {
            assert_eq!(Operation::decode(operation.encode()), operation);
        }
    }
}

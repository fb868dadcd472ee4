//! How rooms of `/v1` are told of.

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Milliseconds between two times that a room is told of.
    pub tick_ms: u64,
    /// How long a member stays whose last connection is gone without a word, unless it says otherwise.
    pub grace_ms: u64,
    /// Members past which only their count is told.
    pub full_max: usize,
    /// Bytes of one member's state, as canonical JSON.
    pub state_bytes_max: usize,
}

impl Default for Presence {
    fn default() -> Self {
        Self { tick_ms: 30, grace_ms: 0, full_max: 200, state_bytes_max: 4 << 10 }
    }
}

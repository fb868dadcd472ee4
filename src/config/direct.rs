//! What is kept of direct messages for each user.

/// See the module. A message is kept until a connection of the user has said that it has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectConfig {
    /// Messages of one user.
    pub messages_max: usize,
    /// Bytes of those, with the names of who has sent them.
    pub bytes_max: usize,
    /// How long one is kept.
    pub ttl_ms: u64,
}

impl Default for DirectConfig {
    fn default() -> Self {
        Self { messages_max: 1_000, bytes_max: 1 << 20, ttl_ms: 3_600_000 }
    }
}

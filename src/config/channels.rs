//! What channels keep of what was said.

/// How much of one channel is kept, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelBounds {
    /// The last so many messages; 0: none.
    pub messages: usize,
    /// Of these no more than take so many bytes of memory.
    pub bytes: usize,
    /// And none older than this.
    pub ttl_ms: u64,
    /// Whether that is on disk, too, where there is one.
    pub is_durable: bool,
}

impl Default for ChannelBounds {
    fn default() -> Self {
        Self { messages: 100, bytes: 1 << 20, ttl_ms: 3_600_000, is_durable: false }
    }
}

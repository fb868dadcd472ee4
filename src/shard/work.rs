//! What things cost, in units of work, and how much of it a turn and a connection in it may do.
//!
//! A unit is about what it takes to copy 64 bytes, 10 ns on the machines of `docs/benchmarks.md`. It is counted where
//! it is done, so that a bound holds whatever a client makes large: its message, a key, a map's log, the number of its
//! subscribers. Tests assert units and never time.

/// Packing an operation that is carried out elsewhere or later, beside its bytes.
pub const PACKED: u64 = 8;
/// Finding, merging, expiring or packing one cell, beside its bytes.
pub const CELL: u64 = 64;
/// Asking a query of one value, beside the bytes of its conditions: its own memory is seldom in the cache.
pub const QUERY: u64 = 12;
/// Changes of a map that queries look at are told, and looked at, once they are so much work: what is put off to the end of a turn is
/// counted too late for it.
pub const QUERIED_MAX: u64 = TURN_MAX / 8;
/// Packing one cell of many that a walk comes to in a row, of which the cache misses overlap, beside its bytes.
pub const WALKED: u64 = CELL / 4;
/// An entry of a map's log that is passed over as it is stale, or does not pass a filter.
pub const PASSED_OVER: u64 = 1;
/// A frame to or from one connection, beside its bytes.
pub const FRAME: u64 = 32;
/// A frame that is only a part of a message.
pub const FRAGMENT: u64 = 4;
/// A tag of a set that is compared or moved.
pub const TAG: u64 = 2;
/// A record of TLS that is opened or made, beside its bytes.
pub const RECORD: u64 = 32;
/// A handshake of TLS up to our signature, with a key of an elliptic curve, with one of RSA, and what is left of it then.
pub const HANDSHAKE: u64 = 15_000;
pub const SLOW_HANDSHAKE: u64 = 80_000;
pub const HANDSHAKE_END: u64 = 3_000;
/// The end of a connection, beside what it has to let go of: its close frame, its timer, its line in the log.
pub const DISCONNECT: u64 = 64;
/// A subscription or a watch that a connection lets go of as it ends.
pub const LET_GO: u64 = 32;
/// Touching one subscriber or watcher that is sent what others get as well.
pub const RECEIVER: u64 = 32;

/// Bytes of JSON read.
pub const fn decoded(bytes: usize) -> u64 {
    bytes as u64 / 8
}

/// Bytes written as JSON, or packed.
pub const fn encoded(bytes: usize) -> u64 {
    bytes as u64 / 16
}

/// Bytes copied as they are.
pub const fn copied(bytes: usize) -> u64 {
    bytes as u64 / 64
}

/// Bytes encrypted or decrypted.
pub const fn sealed(bytes: usize) -> u64 {
    bytes as u64 / 32
}

/// Bytes of many small things that are freed.
pub const fn freed(bytes: usize) -> u64 {
    bytes as u64 / 16
}

/// So many that are sent these bytes as others are: each is touched, and the kernel copies the bytes for each.
pub const fn receivers(count: usize, bytes: usize) -> u64 {
    count as u64 * (RECEIVER + copied(bytes))
}

/// Past this a turn begins nothing large: about a millisecond. What waits goes on in the next, in order.
pub const TURN_MAX: u64 = 100_000;
/// Members of channels and rooms that a turn sends to, past which it has done as much as past [`TURN_MAX`]: the kernel takes
/// some 4 µs to send to each once the turn has ended, 5 ms in all, and who is answered meanwhile waits for that. It is not
/// in units, as one send takes along whatever is there for a connection. A message to a thousand still is one turn's.
pub const RECEIVERS_MAX: u32 = 1024;
/// Past this not even what is small is begun: what it causes may be large, as a message to all who watch a map.
pub const TURN_CEILING: u64 = 2 * TURN_MAX;
/// Past this a connection's next operation or message waits for the next turn, so that the connections with work take turns.
pub const CONNECTION_MAX: u64 = TURN_MAX / 4;
/// What one message may do in the turn in which it is begun, whatever that and its connection have done: reading what is
/// small, and some dozens of operations on single cells.
pub const MESSAGE_MIN: u64 = CONNECTION_MAX / 5;
/// Bytes of messages that are handled though the turn has done what it may: what others wait for should not wait for an
/// importer.
pub const SMALL_BYTES: usize = 4 << 10;

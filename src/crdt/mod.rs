//! The CRDT layer: pure values, no I/O, and no clock of its own.
//!
//! A [`Map`] holds the keys of one map that one shard owns. Changes come in as [`Delta`]s, which are state and
//! not commands: merging is commutative, associative and idempotent (`tests/crdt_laws.rs`), so it matters neither
//! in which order nor how often a delta arrives. Imports nothing of ours but `limits`.
//!
//! ```text
//! map.rs      merge, find, walk, sums       upkeep.rs  what most small maps do without
//!   cells.rs  all cells                       order.rs   what changed since a tick
//!   index.rs  finds them by key
//!     cell.rs one key                         expiry.rs  values with a time to live
//!       lww.rs  or_set.rs  counter.rs         prune.rs   forgetting old removals
//!         or_set/removal.rs  many tags at once  digest.rs  entry hashes
//! delta.rs    what merges                   restore.rs to and from storage
//!                                           ties.rs    equal ticks of former shards
//!                                           stamp.rs, clock.rs   hybrid logical time
//! ```

mod cell;
mod cells;
mod chunks;
mod clock;
mod counter;
mod delta;
mod digest;
mod expiry;
mod index;
mod large;
mod lww;
mod map;
mod or_set;
mod order;
mod prune;
mod restore;
mod stamp;
mod ties;
mod upkeep;

pub use cell::{Cell, CellIndex, CellName, State};
pub use clock::{COUNTER_MAX, Clock, ClockDrift, Reference};
pub use counter::{Counter, Totals};
use delta::CellLimits;
pub use delta::{Count, Delta, HashedKey, Lack, MapType, Refused};
pub use lww::Lww;
pub use map::{Map, Merge};
pub use or_set::{OrSet, Removal, Tag, TagMark, Tagged};
pub use prune::Pruned;
pub use stamp::{Node, Stamp, Time};

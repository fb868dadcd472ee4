//! What talks to the kernel: rings, sockets, the clock, the log's stream, and the limits of the host.
//!
//! The only place with `unsafe`, and the only one that knows io_uring. `driver.rs` is the loop; the shard it
//! drives decides everything.

pub mod allocator;
mod buffers;
mod clock;
mod control;
mod driver;
pub mod entries;
mod failures;
#[cfg(test)]
mod faults;
mod gather;
pub mod host;
pub mod inherited;
mod listener;
pub mod log;
mod operation;
pub mod probe;
pub mod process;
pub mod recent;
mod ring;
pub mod ring_memory;
mod sockets;
mod unfinished;
pub mod volume;

pub use clock::Clock;
pub use control::{Beside, Control, Event, Pulse, Signal};
pub use driver::Driver;
pub use inherited::Inherited;
pub use listener::{Bound, Listener, NotBound, bind};
pub use ring::Ring;
pub use unfinished::Unfinished;
